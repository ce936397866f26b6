# Installs into a k3s and a systemd that only say what they are asked for.
# shellcheck shell=sh
export PATH="/usr/local/bin:$PATH"
mkdir -p /run/systemd/system /usr/local/bin
for name in k3s systemctl; do
  printf '#!/bin/sh\necho "called: %s $*"\n' "$name" >"/usr/local/bin/$name"
  chmod 755 "/usr/local/bin/$name"
done
k3s=/var/lib/rancher/k3s

# On an agent of k3s, and with a binary that needs a linker.
if "$INSTALL" --k3s "$BINARY" 2>&1; then exit 1; fi
mkdir -p "$k3s/server/manifests" && touch "$k3s/server/manifests/traefik.yaml"
if "$INSTALL" --k3s "$GATELET" 2>&1; then exit 1; fi
"$INSTALL" --k3s --dry-run "$BINARY"
if [ -e "$k3s/agent" ]; then exit 1; fi

"$INSTALL" --k3s "$BINARY"
cmp "$k3s/server/manifests/gatelet.yaml" "${INSTALL%/*}/configs/k3s/gatelet.yaml"
if command -v skopeo >/dev/null; then
  skopeo inspect --config "docker-archive:$k3s/agent/images/gatelet.tar"
  skopeo copy -q "docker-archive:$k3s/agent/images/gatelet.tar" "dir:$ASIDE/image"
  layer=$(sed -n 's/.*"digest":"sha256:\([0-9a-f]*\)".*/\1/p' "$ASIDE/image/manifest.json" | tail -n 1)
  tar -tvf "$ASIDE/image/$layer"
fi

echo 'again:'
"$INSTALL" --k3s --disable-traefik "$BINARY"
cat /etc/rancher/k3s/config.yaml.d/gatelet.yaml
echo 'upgraded:'
cp "$BINARY" "$ASIDE/next" && echo '# the next version' >>"$ASIDE/next"
"$INSTALL" --k3s --disable-traefik "$ASIDE/next"
"$INSTALL" --uninstall
find "$k3s" -type f

#!/bin/sh
# Installs gatelet as a service of systemd or OpenRC, upgrades it, or takes it away again. POSIX sh.
set -eu

usage() {
  cat <<'TEXT'
Installs gatelet as a service of systemd or OpenRC, or in k3s. Run again with another binary, it upgrades.

Usage: install.sh [--mini-cluster] [--dry-run] [--root DIR] [BINARY]
       install.sh --k3s [--disable-traefik] [--dry-run] [BINARY]
       install.sh --uninstall [--purge] [--dry-run] [--root DIR]

  BINARY             the gatelet to install [default: gatelet or target/dist/gatelet beside this script]: a file, or a
                     folder or an https URL that ends in a slash, with gatelet-x86_64, gatelet-aarch64 and
                     gatelet-armv7, of which the one for this machine is taken. BINARY.sha256 beside it, if there is
                     one, must have its checksum; at a URL there must be one
  --mini-cluster     serve the built-in API server, even where there is a k3s
  --k3s              serve the k3s of this machine from a pod: puts the image and the manifest where k3s takes them
  --disable-traefik  turn off the Traefik of k3s, which holds ports 80 and 443, and restart k3s
  --uninstall        stop the service and remove the binary and the unit, and what --k3s has put there; configuration,
                     state and user stay
  --purge            with --uninstall: remove configuration, state and user too
  --dry-run          print what would be done, and change nothing
  --root DIR         put the files below DIR, for an image; no user is made and no service is called
  --help             print this

Examples: sudo ./install.sh
          sudo ./install.sh --k3s --disable-traefik
          sudo ./install.sh --uninstall --purge
TEXT
}

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

wrong() {
  echo "install.sh: $* (--help shows what there is)" >&2
  exit 2
}

# Runs a command and says so; in a dry run it says so only.
step() {
  if [ "$dry" = yes ]; then
    echo "would run: $*"
  else
    echo "$*"
    "$@"
  fi
}

# place FROM TO MODE: replaces a file in one move, so that it is never half there, not even after a power cut. The old one
# is kept as TO.old while a service may need it again.
place() {
  if cmp -s "$1" "$2"; then
    echo "unchanged: $2"
    return
  fi
  [ ! -e "$2" ] || [ "$keep" = no ] || step ln -f "$2" "$2.old"
  step install -m "$3" "$1" "$2.new"
  step sync "$2.new"
  step mv -f "$2.new" "$2"
}

# Whether services can be started and stopped (not in a chroot, for example).
manager_runs() {
  [ "$staged" = no ] || return 1
  case $manager in
    systemd) [ -d /run/systemd/system ] ;;
    openrc) [ -e /run/openrc/softlevel ] ;;
  esac
}

# The files of the service, a line each: where it comes from, where it goes, its mode.
service_files() {
  case $manager in
    systemd)
      for name in gatelet.service gatelet-http.socket gatelet-https.socket; do
        echo "systemd/$name etc/systemd/system/$name 0644"
      done
      ;;
    openrc) echo "openrc/gatelet etc/init.d/gatelet 0755" ;;
  esac
}

# service VERB: asks the service manager to do this with the service.
service() {
  case $manager-$1 in
    systemd-enable | systemd-start | systemd-restart) step systemctl "$1" gatelet.service ;;
    systemd-disable | systemd-stop) step systemctl "$1" gatelet-http.socket gatelet-https.socket gatelet.service ;;
    systemd-restart-running) step systemctl try-restart gatelet.service ;;
    systemd-reload) step systemctl daemon-reload ;;
    openrc-enable) step rc-update add gatelet default ;;
    openrc-disable) step rc-update delete gatelet default ;;
    openrc-start | openrc-stop | openrc-restart) step rc-service gatelet "$1" ;;
    openrc-restart-running) step rc-service --ifstarted gatelet restart ;;
    openrc-reload) ;;
  esac
}

# The name of this machine's kind in the names of binaries.
architecture() {
  case $(uname -m) in
    x86_64 | amd64) echo x86_64 ;;
    aarch64 | arm64) echo aarch64 ;;
    armv7* | armv8l) echo armv7 ;;
    *) fail "there is no gatelet for $(uname -m)" ;;
  esac
}

# download URL FILE: with whichever program is there.
download() {
  if command -v curl >/dev/null; then
    curl --fail --silent --show-error --location --proto '=https' --tlsv1.2 --output "$2" "$1"
  elif command -v wget >/dev/null; then
    wget -q -O "$2" "$1"
  else
    fail "it takes curl or wget to download $1"
  fi || fail "$1 cannot be downloaded; nothing was changed"
}

# A folder for what lives no longer than this script.
make_aside() {
  [ -z "$aside" ] || return 0
  aside=$(mktemp -d)
  trap 'rm -rf "$aside"' EXIT
}

find_binary() {
  case $binary in
    https://*)
      url=$binary
      case $url in */) url=${url}gatelet-$(architecture) ;; esac
      make_aside
      binary=$aside/gatelet
      download "$url" "$binary"
      download "$url.sha256" "$binary.sha256"
      chmod 0755 "$binary"
      return
      ;;
    *://*) fail "$binary: only https:// is downloaded" ;;
    */) binary=${binary}gatelet-$(architecture) ;;
  esac
  if [ -n "$binary" ]; then
    [ -f "$binary" ] || fail "$binary: no such file"
    # Without a folder, the shell would look for a program of that name elsewhere.
    case $binary in */*) ;; *) binary=./$binary ;; esac
    return
  fi
  for binary in "$here/gatelet" "$here/target/dist/gatelet"; do
    [ ! -f "$binary" ] || return 0
  done
  fail "neither $here/gatelet nor $here/target/dist/gatelet is there;" \
    "name the binary, or build it with: cargo build --profile dist --locked"
}

# Before anything is changed: the new binary is whole, runs here, and takes the configuration that is there.
check_binary() {
  if [ -f "$binary.sha256" ]; then
    sum=$(sha256sum <"$binary")
    read -r expected _ <"$binary.sha256" || true
    [ "${sum%% *}" = "$expected" ] || fail "$binary has not the checksum in $binary.sha256; nothing was changed"
  fi
  if ! version=$("$binary" version 2>&1); then
    [ "$staged" = yes ] || fail "$binary does not run on this machine: $version"
    runs=no
    return 0
  fi
  case $version in
    gatelet\ *) ;;
    *) fail "$binary is not gatelet: it says \"$version\"" ;;
  esac
  [ ! -e "$config" ] || "$binary" config check --config "$config" >/dev/null ||
    fail "$config is not what $version understands; nothing was changed"
}

# completions SHELL FILE: writes the completions for a shell.
completions() {
  [ -d "${2%/*}" ] || step install -d -m 0755 "${2%/*}"
  [ "$dry" = no ] || printf 'would run: '
  echo "$program completions $1 >$2"
  [ "$dry" = yes ] || "$program" completions "$1" >"$2"
}

# The binary writes its man pages and completions itself, unless it is for another machine.
describe() {
  if [ "$runs" = no ]; then
    echo "left out: man pages and completions, because $binary does not run on this machine"
    return 0
  fi
  step "$program" man "$man"
  completions bash "$bash"
  completions zsh "$zsh"
  completions fish "$fish"
}

# Everything that an upgrade replaces.
replaced() {
  echo "$program"
  service_files | while read -r _ to _; do echo "$root/$to"; done
}

# A service that does not become ready with the new files gets the old ones back.
restart() {
  if service restart-running; then
    replaced | while read -r file; do
      [ ! -e "$file.old" ] || step rm -f "$file.old"
    done
    return 0
  fi
  replaced | while read -r file; do
    [ ! -e "$file.old" ] || step mv -f "$file.old" "$file"
  done
  service reload
  service restart
  fail "with $version the service does not become ready ($log shows why); the old one serves again"
}

make_user() {
  [ "$staged" = no ] && ! id gatelet >/dev/null 2>&1 || return 0
  if command -v useradd >/dev/null; then
    step useradd --system --user-group --home-dir "$state" --no-create-home --shell /usr/sbin/nologin gatelet
  else
    step addgroup -S gatelet
    step adduser -S -D -H -h "$state" -s /sbin/nologin -G gatelet gatelet
  fi
}

# The configuration of a first installation. One that is there belongs to the operator.
configure() {
  if [ -e "$config" ]; then
    echo "kept: $config"
    [ "$mini" = no ] || grep -q '^mode = "standalone"' "$config" ||
      fail "--mini-cluster: set mode = \"standalone\" in $config, which is yours"
    return 0
  fi
  source=$here/configs/gatelet.toml
  if [ "$mini" = yes ]; then
    make_aside
    sed 's/^mode = .*/mode = "standalone"/' "$source" >"$aside/gatelet.toml"
    source=$aside/gatelet.toml
  fi
  place "$source" "$config" 0644
}

install_all() {
  find_binary
  for file in configs/gatelet.toml $(service_files | while read -r from _; do echo "$from"; done); do
    [ -f "$here/$file" ] || fail "$here/$file is missing: run this script from the folder that it came in"
  done
  check_binary
  first=no
  [ -e "$unit" ] || first=yes

  make_user
  for folder in "${program%/*}" "${config%/*}" "${unit%/*}"; do
    [ -d "$folder" ] || step install -d -m 0755 "$folder"
  done
  if [ "$staged" = yes ]; then
    [ -d "$state" ] || step install -d -m 0700 "$state"
  else
    [ -d "$state" ] || step install -d -m 0700 -o gatelet -g gatelet "$state"
  fi
  configure
  ! manager_runs || keep=yes
  place "$binary" "$program" 0755
  service_files | while read -r from to mode; do place "$here/$from" "$root/$to" "$mode"; done

  if [ "$staged" = no ] && [ "$first" = yes ]; then
    service enable
  fi
  if manager_runs; then
    service reload
    # One that was stopped on purpose stays stopped.
    if [ "$first" = yes ]; then
      service start
    else
      restart
    fi
  fi
  describe
}

# === k3s ===

# Writes the image for the manifest, as `docker save` would: the binary and nothing else.
make_image() {
  case $(architecture) in
    x86_64) platform='"architecture":"amd64"' ;;
    aarch64) platform='"architecture":"arm64"' ;;
    armv7) platform='"architecture":"arm","variant":"v7"' ;;
  esac
  mkdir "$aside/layer" "$aside/image"
  install -m 0755 "$binary" "$aside/layer/gatelet"
  # Without times: the same binary makes the same image.
  touch -t 197001020000 "$aside/layer/gatelet"
  tar -C "$aside/layer" -cf "$aside/image/layer.tar" gatelet
  sum=$(sha256sum <"$aside/image/layer.tar")
  cat >"$aside/image/config.json" <<JSON
{$platform,"os":"linux",
 "config":{"User":"65532:65532","Entrypoint":["/gatelet"],"Cmd":["run"]},
 "rootfs":{"type":"layers","diff_ids":["sha256:${sum%% *}"]}}
JSON
  cat >"$aside/image/manifest.json" <<JSON
[{"Config":"config.json","RepoTags":["docker.io/library/$image"],"Layers":["layer.tar"]}]
JSON
  touch -t 197001020000 "$aside/image"/*
  tar -C "$aside/image" -cf "$aside/gatelet.tar" manifest.json config.json layer.tar
}

install_k3s() {
  find_binary
  [ -f "$manifest" ] || fail "$manifest is missing: run this script from the folder that it came in"
  command -v k3s >/dev/null || fail "--k3s: there is no k3s on this machine (https://docs.k3s.io)"
  [ -d "$k3s/server" ] || fail "--k3s: this machine is an agent of k3s; run this on its server"
  config=''
  check_binary
  # An image has no linker for it.
  ! head -c 4096 "$binary" | grep -aq 'ld-linux\|ld-musl' ||
    fail "$binary is not linked statically: build it as docs/install.md says for k3s"
  image=$(sed -n 's/^ *image: *//p' "$manifest")

  make_aside
  make_image
  [ -d "$k3s/agent/images" ] || step install -d -m 0755 "$k3s/agent/images"
  new=no
  cmp -s "$aside/gatelet.tar" "$k3s/agent/images/gatelet.tar" || new=yes
  # k3s takes both by itself when it starts. It is running, so the image is given to it too.
  place "$aside/gatelet.tar" "$k3s/agent/images/gatelet.tar" 0644
  [ "$new" = no ] || step k3s ctr images import "$k3s/agent/images/gatelet.tar"
  before=no
  [ ! -e "$k3s/server/manifests/gatelet.yaml" ] || before=yes
  place "$manifest" "$k3s/server/manifests/gatelet.yaml" 0600

  if [ "$traefik" = disable ]; then
    make_aside
    echo 'disable+: [traefik]' >"$aside/disable.yaml"
    [ -d "$k3s_config" ] || step install -d -m 0755 "$k3s_config"
    if ! cmp -s "$aside/disable.yaml" "$k3s_config/gatelet.yaml"; then
      place "$aside/disable.yaml" "$k3s_config/gatelet.yaml" 0644
      case $manager in
        systemd) step systemctl restart k3s ;;
        openrc) step rc-service k3s restart ;;
      esac
    fi
  elif [ -e "$k3s/server/manifests/traefik.yaml" ]; then
    echo "note: the Traefik of k3s holds ports 80 and 443 until you turn it off (--disable-traefik)"
  fi
  [ "$before" = no ] || [ "$new" = no ] ||
    step k3s kubectl --namespace gatelet rollout restart daemonset/gatelet
}

# k3s deletes nothing when a manifest goes, so that is done here.
uninstall_k3s() {
  if [ -e "$k3s/server/manifests/gatelet.yaml" ]; then
    step k3s kubectl delete --ignore-not-found -f "$k3s/server/manifests/gatelet.yaml"
    step rm -f "$k3s/server/manifests/gatelet.yaml" "$k3s/agent/images/gatelet.tar"
  fi
  [ ! -e "$k3s_config/gatelet.yaml" ] ||
    echo "kept: $k3s_config/gatelet.yaml, by which k3s runs without its Traefik"
}

uninstall_all() {
  [ "$staged" = yes ] || uninstall_k3s
  if [ -e "$unit" ]; then
    if manager_runs; then
      service stop
    fi
    [ "$staged" = yes ] || service disable
    service_files | while read -r _ to _; do [ ! -e "$root/$to" ] || step rm -f "$root/$to"; done
    if manager_runs; then
      service reload
    fi
  fi
  for left in "$program" "$man"/gatelet.1 "$man"/gatelet-*.1 "$bash" "$zsh" "$fish"; do
    [ ! -e "$left" ] || step rm -f "$left"
  done
  if [ "$purge" = no ]; then
    for left in "${config%/*}" "$state"; do
      [ ! -d "$left" ] || echo "kept: $left (--purge removes it)"
    done
    return 0
  fi
  for left in "${config%/*}" "$state"; do
    [ ! -d "$left" ] || step rm -rf "$left"
  done
  if [ "$staged" = no ] && id gatelet >/dev/null 2>&1; then
    if command -v userdel >/dev/null; then
      step userdel gatelet
    else
      step deluser gatelet
    fi
  fi
}

here=$(cd "$(dirname "$0")" && pwd)
action=install purge=no dry=no staged=no runs=yes mini=no traefik=keep keep=no root='' binary='' aside=''
while [ $# -gt 0 ]; do
  case $1 in
    --uninstall) action=uninstall ;;
    --purge) purge=yes ;;
    --mini-cluster) mini=yes ;;
    --k3s) action=k3s ;;
    --disable-traefik) traefik=disable ;;
    --dry-run) dry=yes ;;
    --root)
      [ $# -ge 2 ] || wrong "--root needs a folder"
      root=$2 staged=yes
      shift
      ;;
    --root=*) root=${1#--root=} staged=yes ;;
    -h | --help)
      usage
      exit 0
      ;;
    -*) wrong "unknown option $1" ;;
    *)
      [ -z "$binary" ] || wrong "one binary is enough, but $binary and $1 were named"
      binary=$1
      ;;
  esac
  shift
done
[ "$purge" = no ] || [ "$action" = uninstall ] || wrong "--purge goes with --uninstall"
[ -z "$binary" ] || [ "$action" != uninstall ] || wrong "--uninstall takes no binary"
[ "$mini" = no ] || [ "$action" = install ] || wrong "--mini-cluster goes with an installation as a service"
[ "$traefik" = keep ] || [ "$action" = k3s ] || wrong "--disable-traefik goes with --k3s"
[ "$staged" = no ] || [ "$action" != k3s ] || wrong "--k3s goes without --root"
if [ "$staged" = yes ]; then
  [ -d "$root" ] || fail "--root: $root is not a folder"
  root=$(cd "$root" && pwd)
  [ "$root" != / ] || wrong "--root / is this machine: leave it out"
else
  [ "$dry" = yes ] || [ "$(id -u)" = 0 ] || fail "it takes root to do this: run it with sudo, or look with --dry-run"
fi
if [ "$staged" = no ] && [ -d /run/systemd/system ]; then
  manager=systemd
elif [ -x "$root/sbin/openrc-run" ]; then
  manager=openrc
elif [ "$staged" = yes ] || command -v systemctl >/dev/null; then
  manager=systemd
else
  fail "there is no systemd and no OpenRC here; run the binary under what this machine has instead"
fi
case $manager in
  systemd) unit=$root/etc/systemd/system/gatelet.service log='journalctl -u gatelet' ;;
  openrc) unit=$root/etc/init.d/gatelet log='the system log' ;;
esac
program=$root/usr/local/bin/gatelet
config=$root/etc/gatelet/gatelet.toml
state=$root/var/lib/gatelet
man=$root/usr/local/share/man/man1
bash=$root/usr/local/share/bash-completion/completions/gatelet
zsh=$root/usr/local/share/zsh/site-functions/_gatelet
fish=$root/usr/local/share/fish/vendor_completions.d/gatelet.fish
k3s=/var/lib/rancher/k3s
k3s_config=/etc/rancher/k3s/config.yaml.d
manifest=$here/configs/k3s/gatelet.yaml

case $action in
  install) install_all ;;
  k3s) install_k3s ;;
  uninstall) uninstall_all ;;
esac

# Installs, upgrades and uninstalls under OpenRC, where /usr, /run and /etc are for this process alone.
# shellcheck shell=sh
mkdir "$ASIDE/usr" && mount -t tmpfs none "$ASIDE/usr" && mkdir "$ASIDE/usr/up" "$ASIDE/usr/work"
mount -t overlay -o "lowerdir=/usr,upperdir=$ASIDE/usr/up,workdir=$ASIDE/usr/work" overlay /usr
mount -t tmpfs -o mode=0755 none /usr/local
mount -t tmpfs -o mode=0755 none /run
for package in "$PEERS"/openrc/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -C / --keep-directory-symlink -xf -
done
touch /etc/insserv.conf /etc/fstab
for folder in daemons exclusive failed hotplugged inactive init.d options scheduled started \
  starting stopping tmp wasinactive; do
  mkdir -p "/run/openrc/$folder"
done
touch /run/openrc/softlevel
export PATH="/usr/local/bin:$PATH:/sbin"

"$INSTALL" --mini-cluster "$BINARY" 2>&1
rc-service gatelet status 2>&1
gatelet status >/dev/null && echo 'it serves'
ps -C gatelet -o user= | sort -u
rc-update show default
grep '^mode' /etc/gatelet/gatelet.toml
cp "$BINARY" "$ASIDE/next" && echo '# the next version' >>"$ASIDE/next"
"$INSTALL" "$ASIDE/next" 2>&1
cmp "$ASIDE/next" /usr/local/bin/gatelet && gatelet status >/dev/null && echo 'the next one serves'

# One that does not start is taken back.
cat >"$ASIDE/broken" <<SCRIPT
#!/bin/sh
[ "\$1" != run ] || exit 1
exec $GATELET "\$@"
SCRIPT
chmod 755 "$ASIDE/broken"
mkdir -p /etc/conf.d && echo ready_timeout=5 >/etc/conf.d/gatelet
if "$INSTALL" "$ASIDE/broken" 2>&1; then exit 1; fi
cmp "$ASIDE/next" /usr/local/bin/gatelet && gatelet status >/dev/null && echo 'the old one serves'

"$INSTALL" --uninstall --purge 2>&1
for left in /etc/init.d/gatelet /usr/local/bin/gatelet /var/lib/gatelet /etc/gatelet; do
  if [ -e "$left" ]; then exit 1; fi
done
if pgrep -x gatelet; then exit 1; fi
echo gone

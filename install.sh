#!/bin/sh
# Installs gatelet as a systemd service, upgrades it, or takes it away again. POSIX sh.
set -eu

usage() {
  cat <<'TEXT'
Installs gatelet as a systemd service. Run again with another binary, it upgrades.

Usage: install.sh [--dry-run] [--root DIR] [BINARY]
       install.sh --uninstall [--purge] [--dry-run] [--root DIR]

  BINARY       the gatelet to install [default: gatelet or target/dist/gatelet beside this script];
               BINARY.sha256 beside it, if there is one, must have its checksum
  --uninstall  stop the service and remove the binary and the unit; configuration, state and user stay
  --purge      with --uninstall: remove configuration, state and user too
  --dry-run    print what would be done, and change nothing
  --root DIR   put the files below DIR, for an image; no user is made and systemctl is not called
  --help       print this

Examples: sudo ./install.sh
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
# is kept as TO.old where a service may need it again.
place() {
  if cmp -s "$1" "$2"; then
    echo "unchanged: $2"
    return
  fi
  [ ! -e "$2" ] || ! systemd_runs || step ln -f "$2" "$2.old"
  step install -m "$3" "$1" "$2.new"
  step sync "$2.new"
  step mv -f "$2.new" "$2"
}

# Whether there is a systemd that services can be started with (not in a chroot, for example).
systemd_runs() {
  [ "$staged" = no ] && [ -d /run/systemd/system ]
}

find_binary() {
  if [ -n "$binary" ]; then
    [ -f "$binary" ] || fail "$binary: no such file"
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

# A service that does not become ready with the new files gets the old ones back.
restart() {
  if step systemctl try-restart gatelet.service; then
    for file in "$program" "$unit" "$http" "$https"; do
      [ ! -e "$file.old" ] || step rm -f "$file.old"
    done
    return 0
  fi
  for file in "$program" "$unit" "$http" "$https"; do
    [ ! -e "$file.old" ] || step mv -f "$file.old" "$file"
  done
  step systemctl daemon-reload
  step systemctl restart gatelet.service
  fail "with $version the service does not become ready (journalctl -u gatelet shows why); the old one serves again"
}

install_all() {
  find_binary
  for file in "$here/systemd/gatelet.service" "$here/systemd/gatelet-http.socket" \
    "$here/systemd/gatelet-https.socket" "$here/configs/gatelet.toml"; do
    [ -f "$file" ] || fail "$file is missing: run this script from the folder that it came in"
  done
  check_binary
  first=no
  [ -e "$unit" ] || first=yes

  if [ "$staged" = no ] && ! id gatelet >/dev/null 2>&1; then
    step useradd --system --user-group --home-dir "$state" --no-create-home --shell /usr/sbin/nologin gatelet
  fi
  for folder in "${program%/*}" "${config%/*}" "${unit%/*}"; do
    [ -d "$folder" ] || step install -d -m 0755 "$folder"
  done
  if [ "$staged" = yes ]; then
    [ -d "$state" ] || step install -d -m 0700 "$state"
  else
    [ -d "$state" ] || step install -d -m 0700 -o gatelet -g gatelet "$state"
  fi
  place "$binary" "$program" 0755
  place "$here/systemd/gatelet.service" "$unit" 0644
  place "$here/systemd/gatelet-http.socket" "$http" 0644
  place "$here/systemd/gatelet-https.socket" "$https" 0644
  if [ -e "$config" ]; then
    echo "kept: $config"
  else
    place "$here/configs/gatelet.toml" "$config" 0644
  fi
  if [ "$staged" = no ] && [ "$first" = yes ]; then
    step systemctl enable gatelet.service
  fi
  if systemd_runs; then
    step systemctl daemon-reload
    # One that was stopped on purpose stays stopped.
    if [ "$first" = yes ]; then
      step systemctl start gatelet.service
    else
      restart
    fi
  fi
  describe
}

uninstall_all() {
  if [ -e "$unit" ]; then
    if systemd_runs; then
      step systemctl stop gatelet-http.socket gatelet-https.socket gatelet.service
    fi
    [ "$staged" = yes ] || step systemctl disable gatelet-http.socket gatelet-https.socket gatelet.service
    step rm -f "$unit" "$http" "$https"
    if systemd_runs; then
      step systemctl daemon-reload
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
    step userdel gatelet
  fi
}

here=$(cd "$(dirname "$0")" && pwd)
action=install purge=no dry=no staged=no runs=yes root='' binary=''
while [ $# -gt 0 ]; do
  case $1 in
    --uninstall) action=uninstall ;;
    --purge) purge=yes ;;
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
[ -z "$binary" ] || [ "$action" = install ] || wrong "--uninstall takes no binary"
if [ "$staged" = yes ]; then
  [ -d "$root" ] || fail "--root: $root is not a folder"
  root=$(cd "$root" && pwd)
  [ "$root" != / ] || wrong "--root / is this machine: leave it out"
else
  command -v systemctl >/dev/null || fail "there is no systemd here; run the binary under what this machine has instead"
  [ "$dry" = yes ] || [ "$(id -u)" = 0 ] || fail "it takes root to do this: run it with sudo, or look with --dry-run"
fi
program=$root/usr/local/bin/gatelet
config=$root/etc/gatelet/gatelet.toml
unit=$root/etc/systemd/system/gatelet.service
http=${unit%/*}/gatelet-http.socket
https=${unit%/*}/gatelet-https.socket
state=$root/var/lib/gatelet
man=$root/usr/local/share/man/man1
bash=$root/usr/local/share/bash-completion/completions/gatelet
zsh=$root/usr/local/share/zsh/site-functions/_gatelet
fish=$root/usr/local/share/fish/vendor_completions.d/gatelet.fish

case $action in
  install) install_all ;;
  uninstall) uninstall_all ;;
esac

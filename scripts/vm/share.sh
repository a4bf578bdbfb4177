#!/bin/sh
# Runs a program (virtiofsd) over a view of this machine's files, in a mount namespace of its own, in which nothing can
# be written but the folders named. Whatever the VM's root tries ends here, not at a mount option inside the VM.
#   share.sh VIEW [WRITABLE…] -- PROGRAM ARGS…
set -eu
view=$1
shift

mount --rbind / "$view"
# These are this machine's controls, not files, and the VM has its own.
for controls in proc sys dev; do
  mount -t tmpfs -o ro,size=4k none "$view/$controls"
done

mounts=$(cat /proc/self/mountinfo)
while read -r _ _ _ _ point options _; do
  point=$(printf '%b' "$point")
  case $point in
    "$view"/proc/* | "$view"/sys/* | "$view"/dev/* | "$view"/proc | "$view"/sys | "$view"/dev) continue ;;
    "$view" | "$view"/*) ;;
    *) continue ;;
  esac
  # A user's namespace may only add to the options of a mount: all are named again.
  options=$(printf %s ",$options," | sed 's/,rw,/,ro,/; s/^,//; s/,$//')
  mount -o "remount,bind,$options" "$point" 2>/dev/null ||
    mount -t tmpfs -o ro,size=4k none "$point" 2>/dev/null ||
    [ ! -e "$point" ] || { echo "$point cannot be made read-only" >&2; exit 1; }
done <<END
$mounts
END

while [ "$1" != -- ]; do
  mount --bind -o nosuid,nodev "$1" "$view$1"
  shift
done
shift
cd /
# A new user namespace has dropped the signal that was asked for outside of it.
exec setpriv --pdeathsig KILL "$@"

#!/bin/sh
# Runs a program (virtiofsd) over a view of this machine's files, in a mount namespace of its own. What a VM may not
# write is read-only here, on this side: whatever root does in the VM ends at these mounts.
#   share.sh VIEW -- PROGRAM ARGS…           all files, read-only
#   share.sh VIEW FOLDER… -- PROGRAM ARGS…   these folders alone, as VIEW/0, VIEW/1, …, writable
set -eu
view=$1
shift

show_everything() {
  mount --rbind / "$view"
  # These are this machine's controls, not files, and the VM has its own.
  for controls in proc sys dev; do
    mount -t tmpfs -o ro,size=4k none "$view/$controls"
  done
  mounts=$(cat /proc/self/mountinfo)
  while read -r _ _ _ _ point options _; do
    # Blanks are written as octal numbers.
    point=$(printf '%b' "$point")
    case $point in
      "$view/proc" | "$view/proc/"* | "$view/sys" | "$view/sys/"* | "$view/dev" | "$view/dev/"*) ;;
      "$view" | "$view/"*) make_read_only "$point" "$options" ;;
    esac
  done <<END
$mounts
END
}

make_read_only() {
  # A user's own namespace may add to the options of a mount but drop none: all are named again.
  options=$(printf %s ",$2," | sed 's/,rw,/,ro,/; s/^,//; s/,$//')
  mount -o "remount,bind,$options" "$1" 2>/dev/null && return
  # It is covered if it cannot be changed, and under another mount if it cannot be reached.
  mount -t tmpfs -o ro,size=4k none "$1" 2>/dev/null && return
  [ ! -e "$1" ] || { echo "$1 cannot be made read-only for the VM" >&2; exit 1; }
}

if [ "$1" = -- ]; then
  show_everything
else
  mount -t tmpfs -o size=64k,mode=755 none "$view"
  number=0
  while [ "$1" != -- ]; do
    mkdir "$view/$number"
    mount --bind "$1" "$view/$number"
    number=$((number + 1))
    shift
  done
  mount -o remount,bind,ro "$view"
fi
shift
# virtiofsd wants to keep a process id in there, which only root could, and which would stay.
mount -t tmpfs -o size=64k,mode=755 none /run
cd /
# A new user namespace has dropped the signal that was asked for outside of it.
exec setpriv --pdeathsig KILL "$@"

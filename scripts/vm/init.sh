#!/bin/busybox sh
# The first process of the VM. It stays on the initial file system, so that it lives on whatever the command, or the
# loss of the shared root, does to the rest. The host speaks to it on virtio port 1; see ports.mjs.

# The shell finds busybox's other tools through /proc.
/bin/busybox mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
. /settings

while read -r module; do
  case $module in
    vhost_net) modprobe "$module" "experimental_zcopytx=$zerocopy" ;;
    *) modprobe "$module" ;;
  esac
done </loaded

waited=0
# The first number is the serial device's place among all virtio devices.
until port=$(ls /dev/vport*p1 2>/dev/null); do
  waited=$((waited + 1))
  [ "$waited" -lt 100 ] || { echo 'init: no port to the host'; exit 1; }
  usleep 50000
done
port=${port%1}
exec 5<>"${port}1"
[ "$proof" = 0 ] || { echo ready >&5; sleep 60; poweroff -f; }

# Ends the VM with a reason that the host can print.
fail() {
  echo "failed $*" >&5
  sleep 10
  poweroff -f
}

mount -t virtiofs host /lower || fail 'the shared root cannot be mounted'
if [ "$overlay" = 1 ]; then
  # Programs may write wherever they like; it stays in memory, over the host's files, and is gone at the end.
  mount -t tmpfs -o size=75% over /over
  mkdir /over/upper /over/work
  mount -t overlay -o lowerdir=/lower,upperdir=/over/upper,workdir=/over/work,redirect_dir=on,volatile overlay /host ||
    fail 'the overlay over the shared root cannot be mounted'
else
  mount --bind /lower /host
  while read -r path; do
    mount -t tmpfs -o mode=1777 tmp "/host$path"
  done </temporary
  while read -r path; do
    mkdir -p "/host$path"
    mount --bind "/lower$path" "/host$path" || fail "$path cannot be shown"
  done </shown
fi
mount -t proc proc /host/proc
mount -t sysfs sys /host/sys
mount -t cgroup2 cgroup /host/sys/fs/cgroup
mount -t devtmpfs dev /host/dev
mkdir -p /host/dev/pts /host/dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /host/dev/pts
mount -t tmpfs -o mode=1777 shm /host/dev/shm
ln -s /proc/self/fd /host/dev/fd
ln -s fd/0 /host/dev/stdin
ln -s fd/1 /host/dev/stdout
ln -s fd/2 /host/dev/stderr
# The host's sockets and process ids mean nothing here, and `ip netns` must not meet the host's names.
[ "$keep_run" = 1 ] || mount -t tmpfs -o mode=755 run /host/run
mount -t virtiofs writable /writable || fail 'the writable folders cannot be mounted'
number=0
while read -r path; do
  [ "$overlay" = 1 ] || mkdir -p "/host$path"
  mount --bind "/writable/$number" "/host$path" || fail "$path cannot be made writable"
  number=$((number + 1))
done </paths
# For a command that wants a module with other parameters.
modules=/lib/modules/$(uname -r)
[ "$overlay" = 0 ] || mkdir -p "/host$modules" && mount --bind "$modules" "/host$modules"
hostname "$hostname"
ip link set lo up
[ "$hugepages" = 0 ] || {
  mkdir -p /host/dev/hugepages
  mount -t hugetlbfs hugetlbfs /host/dev/hugepages
}
# From here on / means the host's files to every process that is started with `chroot .`; and since that is where the
# namespace's own root is, such a process may still make namespaces.
cd /host && mount --move . / || fail 'the root cannot be moved into place'

mkfifo /out /err
echo "ready $(uname -r)" >&5
{
  while read -r word first second; do
    case $word in
      signal) kill -s "$first" -- "-$(cat /pid)" ;;
      size) stty -F /dev/hvc0 rows "$first" cols "$second" ;;
    esac
  done <&5
} &
kept="1 $!"

if [ "$terminal" = 1 ]; then
  # A terminal forgets its size when nobody has it open.
  exec 7<>/dev/hvc0
  stty sane rows "$rows" cols "$columns" <&7
  setsid -c sh /command <&7 >&7 2>&1 5>&- 7>&-
  status=$?
else
  # Held open at both ends here, so that no opening waits for the other side: a signal that comes meanwhile would make
  # the shell give the command up.
  exec 8<>/out 9<>/err
  # The mark tells the host that a stream is complete: what a port still holds when the VM stops would be lost.
  cat /out /mark >"${port}2" 5>&- 8>&- 9>&- &
  kept="$kept $!"
  cat /err /mark >"${port}3" 5>&- 8>&- 9>&- &
  kept="$kept $!"
  if [ "$stdin" = 1 ]; then
    mkfifo /in
    exec 4<>/in 3</in
    # A port reads as ended until the host is there; to write to it waits for that.
    { echo >&6; exec cat <&6 >&4; } 6<>"${port}4" 3<&- 5>&- 8>&- 9>&- &
    exec 4>&-
  else
    exec 3</dev/null
  fi
  # Not in the background: a shell without job control would make it ignore SIGINT.
  setsid sh /command <&3 >&8 2>&9 3<&- 5>&- 8>&- 9>&-
  status=$?
  exec 3<&- 8>&- 9>&-
fi
echo "status $status" >&5

# What the command left running may hold its output open.
victims=
for entry in /proc/[0-9]*; do
  pid=${entry#/proc/}
  case " $kept " in
    *" $pid "*) ;;
    *) victims="$victims $pid" ;;
  esac
done
kill -KILL $victims 2>/dev/null
[ "$terminal" = 1 ] || wait ${kept#* * }
sync
echo flushed >&5
# The host ends the VM now. Should it be gone:
sleep 10
poweroff -f

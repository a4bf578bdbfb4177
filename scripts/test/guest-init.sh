#!/bin/busybox sh
# The first process of a guest of the tests: does what the second serial line tells it, a line at a time, and answers with
# what that printed and its status.

# The shell finds busybox's other tools through /proc.
/bin/busybox mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
while read -r module; do insmod "/modules/$module.ko"; done </loaded
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
echo ready
while read -r line; do
  eval "$line"
  echo "status $?"
done

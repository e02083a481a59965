#!/bin/sh
# A Debian in a directory as a machine of its own: systemd as its first process, its own network. Usage: boot.sh ROOT; runs in namespaces that
# `unshare --fork --pid --mount --uts --ipc --cgroup --net` has made.
set -eu
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
exec env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" /sbin/init --log-target=console --show-status=false

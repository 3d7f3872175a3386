#!/bin/bash
# SPDX-License-Identifier: MIT
# In a machine that has started from disk.sh's disk: dkms puts the modules that it has built in place, as it does when a kernel is installed. Where the
# packages have been removed it makes ready for them.
set -eu
release=$(uname -r)
mount -o remount,rw /
ln -sfn "/usr/src/linux-headers-$release" "/usr/lib/modules/$release/build"
module=$(dkms status mitosis | sed -n '1s/[,:].*//p')
[ -z "$module" ] || dkms install --force -k "$release" "$module" > /tmp/dkms.log 2>&1 || { cat /tmp/dkms.log; exit 1; }
# Numbers of processes that start on a are not in use on b.
sysctl -q kernel.pid_max=4194304
[ "$(hostname)" != a ] || echo 1000000 > /proc/sys/kernel/ns_last_pid

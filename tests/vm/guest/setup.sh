#!/bin/bash
# SPDX-License-Identifier: MIT
# In a machine that has just started, or again after a change: everything in its place, the module loaded.
set -eu
ldconfig
if [ -d /sys/module/mitosis ] && ! cat /root/t/mitosis*.ko | cmp -s - /run/mitosis.ko.loaded; then
	mitosis-cli release --all > /dev/null 2>&1 || true
	/root/t/unload.sh
fi
if [ ! -d /sys/module/mitosis ]; then
	insmod /root/t/mitosis.ko
	cat /root/t/mitosis*.ko > /run/mitosis.ko.loaded
fi
# A machine without RDMA has nothing of it loaded.
transport=$(cat /root/t/transport 2> /dev/null || true)
if [ "$transport" = tcp ] && [ ! -d /sys/module/mitosis_tcp ]; then
	[ ! -d /sys/class/infiniband/rxe0 ] || rdma link delete rxe0
	# whether it has gone case tcp-loopback looks at
	for m in rdma_ucm rdma_rxe ib_uverbs rdma_cm iw_cm ib_cm ib_core; do
		modprobe -r "$m" || true
	done
	# the processor's own AES, which udev would have found
	modprobe -q aesni_intel || true
	# Where the kernel has TLS for modules, memory goes under it: lib.sh.
	! modprobe -q nvme-keyring || /root/t/tlshd.sh start
	insmod /root/t/mitosis_tcp.ko
	echo tcp > /sys/module/mitosis/parameters/transports
elif [ "$transport" != tcp ] && [ ! -d /sys/module/mitosis_rc ]; then
	modprobe -a ib_core rdma_cm rdma_rxe
	insmod /root/t/mitosis_rc.ko
fi
# Where there is a ConnectX it is what snapshots are offered over, and nothing else unless a case names it.
if [ -d /sys/module/mlx5_ib ] && [ ! -d /sys/module/mitosis_dct ]; then
	insmod /root/t/mitosis_dct.ko
	echo dct > /sys/module/mitosis/parameters/transports
fi
# Programs that are moved must find the same directory on both sides.
mkdir -p /tmp/mt
sysctl -q kernel.core_pattern=/tmp/mt/core.%p
mount -o remount,rw /
# Numbers of processes that start on a are not in use on b.
sysctl -q kernel.pid_max=4194304
if [ "$(hostname)" = a ] && [ "$(cat /proc/sys/kernel/ns_last_pid)" -lt 1000000 ]; then
	echo 1000000 > /proc/sys/kernel/ns_last_pid
fi

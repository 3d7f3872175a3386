# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Memory made lazy in place, without CRIU: the pager alone, with no drain (every page comes by a fault) and against one.

lazy() {
	drive lazy "$@"
}

lazy_draining() {
	on a "DRAIN_MS=0 /root/t/drive.sh lazy $*"
}

lazy_again() {
	drive again "$@"
}

# with_sysfs FILE=VALUE[,FILE=VALUE]... COMMAND...: set on machine a for the time of a case.
with_sysfs() {
	local s=$1 save='' set='' f
	shift
	for f in ${s//,/ }; do
		save+="echo \$(sed -E 's/.*\\[(.*)\\].*/\\1/' ${f%%=*}) > /run/${f//[\/=]/_}; "
		set+="echo ${f#*=} > ${f%%=*}; "
	done
	on a "$save $set"
	local rc=0
	"$@" || rc=$?
	for f in ${s//,/ }; do
		on a "cat /run/${f//[\/=]/_} > ${f%%=*}"
	done
	return $rc
}

with_swap() {
	on a 'grep -q /swapfile /proc/swaps || { fallocate -l 128M /swapfile && chmod 600 /swapfile && mkswap -q /swapfile && swapon /swapfile; }'
	local rc=0
	"$@" || rc=$?
	on a 'swapoff /swapfile'
	return $rc
}

THP=/sys/kernel/mm/transparent_hugepage
KSM=/sys/kernel/mm/ksm

for p in brkstack cow direct dontneed dontneed-race exits filepriv forkflags forks futex jit join locked lookup madvfree mprotect mremap \
	remote shared signals syscalls threads tls uring; do
	add "lazy-$p" 120 lazy $p
done
for p in dontneed dontneed-race exits forks mremap remote threads; do
	add "lazy-draining-$p" 120 lazy_draining $p
done
# What is read is shared.
lazy_cached() {
	on a "CACHE=1 DRAIN_MS=0 /root/t/drive.sh lazy $*"
}

for p in dontneed-race forks threads; do
	add "lazy-cached-$p" 120 lazy_cached $p
done
add lazy-sparse 180 lazy sparse
add lazy-unreadable 180 drive unreadable
add lazy-unreadable-all 180 drive unreadable_all
add lazy-thp 180 lazy thp
add lazy-thp-always 180 with_sysfs "$THP/enabled=always,$THP/khugepaged/scan_sleep_millisecs=10" lazy_draining thp
add lazy-ksm 180 with_sysfs "$KSM/run=1,$KSM/sleep_millisecs=1,$KSM/pages_to_scan=4000" lazy ksm
add lazy-swap 180 with_swap lazy swapped
# walk COMMAND SEED STEPS: as many steps as a slow kernel can take in the time of others.
walk() {
	"$1" walk "$2" $(($3 / SLOW))
}
add lazy-walk 240 walk lazy 1 10000
add lazy-walk-draining 240 walk lazy_draining 2 10000
add lazy-walk-again 300 walk lazy_again 3 10000
add lazy-walk-cached 240 walk lazy_cached 5 10000

# policy POLICY CACHE PROGRAM ARGS...: with pages that are read before they are touched.
policy() {
	on a "PREFETCH=$1 ${2:+CACHE=1} /root/t/drive.sh lazy ${*:3}"
}

walk_policy() {
	policy "$1" "$2" walk "$3" $(($4 / SLOW))
}
for p in window=32 sequential; do
	add "lazy-${p%=*}-walk" 240 walk_policy $p "" 6 10000
	add "lazy-${p%=*}-walk-cached" 240 walk_policy $p 1 7 10000
	for c in dontneed-race mremap forks; do
		add "lazy-${p%=*}-$c" 120 policy $p "" $c
	done
done

# Pages go to swap, and are moved about, from when the walk is to be moved on: what presses on a program that starts proves nothing, and on a busy
# computer kept it from getting ready in time. A sixteenth of what there is, and rest: more, and a slow machine does nothing but fetch back programs.
walk_under_pressure() {
	# shellcheck disable=SC2016 # expanded in the machine
	on a 'cd /sys/fs/cgroup && mkdir -p pressure && rm -f /tmp/mt/walk.log
		(until grep -sq ^ready /tmp/mt/walk.log; do sleep 0.2; done
		while :; do echo 1 > /proc/sys/vm/compact_memory; echo $(($(cat pressure/memory.current) / 16)) > pressure/memory.reclaim; cat pressure/memory.swap.current >> /run/pressure.swapped; sleep 3; done) > /dev/null 2>&1 &
		echo $! > /run/pressure.pid'
	local rc=0
	with_swap pressed || rc=$?
	on a 'kill "$(cat /run/pressure.pid)"; rmdir /sys/fs/cgroup/pressure'
	return $rc
}

pressed() {
	# shellcheck disable=SC2016
	on a 'echo $$ > /sys/fs/cgroup/pressure/cgroup.procs; rm -f /run/pressure.swapped
		DRAIN_MS=0 /root/t/drive.sh lazy walk 4 $((5000 / $(cat /root/t/slow))) || exit 1
		echo "bytes in swap: $(paste -s /run/pressure.swapped)"
		grep -q "[1-9]" /run/pressure.swapped || { echo "FAIL: nothing was swapped out"; exit 1; }'
}
add lazy-walk-pressure 300 walk_under_pressure

#!/bin/bash
# SPDX-License-Identifier: MIT
# Proves the rig: everything that the other tests take for granted. Usage: rig_selftest.sh [KERNEL...]
set -uo pipefail
TOP=$(cd "$(dirname "$0")/../.." && pwd)
NAME=selftest-$$
passed=0
failed=0
dir=$(mktemp -d)

rig() {
	"$TOP/scripts/rig/rig" -n "$NAME" "$@" < /dev/null
}

finish() {
	rig down
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# check WHAT COMMAND...
check() {
	local what=$1
	shift
	if "$@" > "$dir/out" 2>&1; then
		passed=$((passed + 1))
		echo "ok - $what"
	else
		failed=$((failed + 1))
		echo "not ok - $what"
		sed 's/^/# /' "$dir/out"
	fi
}

# status_is STATUS COMMAND...
status_is() {
	local want=$1 got=0
	shift
	"$@" || got=$?
	echo "status $got"
	[ $got = "$want" ]
}

prints() {
	local want=$1 got
	shift
	got=$("$@")
	printf 'printed: %s\n' "$got"
	[ "$got" = "$want" ]
}

criu_is_good() {
	rig run a -- criu check 2>&1 | tee /dev/stderr | grep -q 'Looks good'
}

# shellcheck disable=SC2016 # the guest expands it
# Reads 4 KiB out of the other machine's memory a hundred times.
rdma_reads() {
	local from=$1 to=$2 rc
	rig run "$to" --timeout 90 -- ib_read_lat -d rxe0 -x 1 -s 4096 -n 100 > /dev/null 2>&1 &
	rig run "$to" -- 'for i in $(seq 100); do ss -ltn | grep -q :18515 && exit; sleep 0.1; done; exit 1' &&
		rig run "$from" --timeout 90 -- ib_read_lat -d rxe0 -x 1 -s 4096 -n 100 "$to.data"
	rc=$?
	wait
	return $rc
}

carrier_is() {
	rig run "$1" -- "for i in \$(seq 50); do [ \$(cat /sys/class/net/eth0/carrier) = $2 ] && exit; sleep 0.1; done; exit 1"
}

data_reaches() {
	rig run "$1" -- "ping -q -c 20 -i 0.2 -w 20 $2.data | grep -Eq ' [1-9][0-9]* received'"
}

copies_come_back() {
	head -c 300000 /dev/urandom > "$dir/sent"
	rig put a "$dir/sent" /root/there && rig get a /root/there "$dir/back" && cmp "$dir/sent" "$dir/back"
}

memory_is_lost_disk_stays() {
	rig run b -- 'echo disk > /root/kept; sync; echo memory > /tmp/lost' && rig reset b &&
		prints disk rig run b -- 'cat /root/kept; [ ! -e /tmp/lost ]'
}

# shellcheck disable=SC2016
two_machines() {
	check "$1: two machines come up" rig up --kernel "$1" || return
	check "$1: it runs that kernel" prints "$(cat "$TOP/build/rig/kernel-$1/release")" rig run b -- uname -r
	check "$1: the name is taken" status_is 1 rig up --kernel "$1"
	check "$1: its processor has no instruction that QEMU gets wrong" prints 0 rig run b -- grep -cw cx16 /proc/cpuinfo
	check "$1: criu can work" criu_is_good
	check "$1: an exit status passes through" status_is 7 rig run a -- 'exit 7'
	check "$1: arguments pass through exactly" prints "<a  b><\$x><it's>" rig run a -- printf '<%s>' 'a  b' '$x' "it's"
	check "$1: a time bound bites" status_is 124 rig run a --timeout 2 -- sleep 60
	check "$1: and leaves nothing running" status_is 1 rig run a -- pgrep -x sleep
	check "$1: files go in and come out" copies_come_back
	check "$1: a reaches b by ssh" prints b rig run a -- ssh b hostname
	check "$1: b reaches a by ssh" prints a rig run b -- ssh a hostname
	check "$1: a reads b's memory" rdma_reads a b
	check "$1: b reads a's memory" rdma_reads b a
	check "$1: a large frame fits" rig run a -- ping -q -c 1 -W 5 -M 'do' -s 8900 b.data
	rig link b data down
	check "$1: b's data cable is out" carrier_is b 0
	check "$1: so nothing arrives" status_is 1 rig run a -- ping -q -c 2 -W 1 b.data
	check "$1: but ssh does" prints b rig run a -- ssh b hostname
	rig link b data up
	check "$1: b's data cable is in" carrier_is b 1
	check "$1: so data arrives" data_reaches a b
	check "$1: a reset takes the memory and not the disk" memory_is_lost_disk_stays
	check "$1: after it b can be read again" rdma_reads a b
	rig pause b
	check "$1: a paused machine does nothing" status_is 1 rig run a -- ping -q -c 2 -W 1 b
	rig resume b
	check "$1: until it goes on" rig run a -- ping -q -c 5 -w 20 b
	rig run b -- 'echo "<4>a warning" > /dev/kmsg'
	check "$1: the console log has what the kernel says" grep -q 'a warning' "$(rig log b)"
	check "$1: no kernel complained" status_is 1 grep -E 'WARNING:|BUG:|Oops|Call Trace|rig: no ' "$(rig log a)" "$(rig log b)"
	check "$1: they go down" rig down
	check "$1: and are gone" status_is 255 rig run a -- true
}

# shellcheck disable=SC2016
connectx() {
	check "$1 mlx5: two machines come up" rig up --kernel "$1" --mlx5 || return
	check "$1 mlx5: b's port has LID 2" prints 0x2 rig run b -- cat /sys/class/infiniband/mlx5_0/ports/1/lid
	check "$1 mlx5: and is active" prints "4: ACTIVE" rig run b -- cat /sys/class/infiniband/mlx5_0/ports/1/state
	check "$1 mlx5: soft RoCE is there too" rdma_reads a b
	check "$1 mlx5: it can be asked for a property" prints 2 rig mlx5 b get lid
	check "$1 mlx5: it can be taken out" rig mlx5 b unplug
	check "$1 mlx5: so that b has none" rig run b -- test ! -e /sys/class/infiniband/mlx5_0
	check "$1 mlx5: and be put back" rig mlx5 b plug
	check "$1 mlx5: so that b has one" rig run b -- 'until [ -e /sys/class/infiniband/mlx5_0 ]; do sleep 0.2; done'
	check "$1 mlx5: a reset leaves it there" eval 'rig reset b && prints 0x2 rig run b -- cat /sys/class/infiniband/mlx5_0/ports/1/lid'
	check "$1 mlx5: no kernel complained" status_is 1 grep -E 'WARNING:|BUG:|Oops|Call Trace|rig: no ' "$(rig log a)" "$(rig log b)"
	rig down
}

counting_clock() {
	cat > "$dir/script" <<-'END'
	cat word > out/word
	s=$(date +%s%N); for i in $(seq 2000); do :; done; e=$(date +%s%N)
	echo $((e - s))
	sleep 300
	exit 9
	END
	echo fish > "$dir/word"
	tar -C "$dir" -cf "$dir/in.tar" word
	for i in 1 2; do
		status_is 9 rig icount --script "$dir/script" --put "$dir/in.tar" --get "$dir/out$i" > "$dir/time$i" || return 1
	done
	cat "$dir"/time?
	local a b
	a=$(head -n 1 "$dir/time1")
	b=$(head -n 1 "$dir/time2")
	[ "$(cat "$dir/out2/word")" = fish ] && [ $((a * 100)) -lt $((b * 110)) ] && [ $((b * 100)) -lt $((a * 110)) ]
}

[ $# -gt 0 ] || set -- 6.1 6.12
for kernel; do
	two_machines "$kernel"
	connectx "$kernel"
done
check "a clock that counts instructions gives the same figure twice" counting_clock
echo "$passed passed, $failed failed"
[ $failed = 0 ]

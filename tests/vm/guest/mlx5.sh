#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in machine a: Debian's own RDMA tools over the modelled ConnectX of both machines. They find each other by IP and then use the device.
set -u
# shellcheck source=lib.sh
. "${0%/*}/lib.sh"
DEV=mlx5_0
LOG=/run/mlx5-tool

# ready_or_ended PID COMMAND...: until the server is ready, if it gets there.
ready_or_ended() {
	is_gone "$1" || "${@:2}"
}

listens() {
	on_peer "ss -Hltn sport = :18515" | grep -q .
}

# pair NAME SHAPE COMMAND...: as a server on the peer and as its client here. SHAPE: what the client prints when it has worked.
pair() {
	local name=$1 shape=$2 server rc
	shift 2
	on_peer "exec timeout $((60 * SLOW)) $*" > $LOG.server 2>&1 &
	server=$!
	until_true 30 ready_or_ended $server listens
	timeout $((60 * SLOW)) "$@" "$PEER.data" > $LOG.client 2>&1
	rc=$?
	wait $server || rc=$?
	if [ $rc = 0 ] && grep -qE "$shape" $LOG.client && ! grep -q 'invalid data' $LOG.client $LOG.server; then
		echo "ok $name"
	else
		echo "not ok $name: status $rc, $(tail -n 1 $LOG.client) (server: $(tail -n 1 $LOG.server))"
		cat $LOG.client $LOG.server
	fi
}

cmd_devinfo() {
	local m lid=1 info
	for m in a b; do
		info=$(ssh "$m" "ibv_devinfo -v -d $DEV" 2>&1)
		expect "$m: device" "*hca_id:*$DEV*" "$info"
		expect "$m: port" "*PORT_ACTIVE*port_lid:*$lid?*link_layer:*InfiniBand*" "$info"
		lid=$((lid + 1))
	done
}

# pingpong NAME TOOL ARGUMENTS...: what is received is compared with what was sent (-c).
pingpong() {
	local name=$1 n=100
	shift
	pair "$name" "^$n iters in " "$@" -d $DEV -c -n $n
}

cmd_pingpong() {
	pingpong rc ibv_rc_pingpong
	pingpong rc-events ibv_rc_pingpong -e
	pingpong rc-large ibv_rc_pingpong -s 65536 -r 50
	pingpong rc-new-send ibv_rc_pingpong -N
	pingpong uc ibv_uc_pingpong
	pingpong ud ibv_ud_pingpong -s 2048
	pingpong srq ibv_srq_pingpong -q 4
	pair xsrq "^success" ibv_xsrq_pingpong -d $DEV -n 100
}

# perftest NAME SIZE TOOL ARGUMENTS...: a row of figures for that size. QUEUES: how many times the iterations it counts.
perftest() {
	local name=$1 size=$2 n=20
	shift 2
	pair "$name" "^ *$size +$((n * ${QUEUES:-1})) +[0-9.]+" "$@" -d $DEV -F -s "$size" -n $n
}

cmd_perftest() {
	local tool
	for tool in read_lat write_lat send_lat; do
		perftest $tool 64 ib_$tool
	done
	for tool in read_bw write_bw send_bw; do
		perftest $tool 65536 ib_$tool
	done
	perftest read_lat-events 4096 ib_read_lat -e
	perftest uc-write_bw 65536 ib_write_bw -c UC
	perftest ud-send_lat 1024 ib_send_lat -c UD
	pair atomic_lat "^ *8 +20 +[0-9.]+" ib_atomic_lat -d $DEV -F -n 20
	QUEUES=4 perftest read_bw-4-queues 4096 ib_read_bw -q 4
	perftest dc-read_lat 4096 ib_read_lat -c DC
	perftest dc-read_bw 65536 ib_read_bw -c DC
	perftest dc-write_bw 65536 ib_write_bw -c DC
	perftest dc-send_bw 4096 ib_send_bw -c DC
}

# dc NAME SERVER [write]: through a DC target of SERVER's; each side looks at the data, and at what is refused.
dc() {
	local name=$1 server
	ssh "$2" "exec timeout $((90 * SLOW)) $BIN/dc serve $((60 * SLOW)) ${3:-}" > $LOG.server 2>&1 &
	server=$!
	until_true 30 ready_or_ended $server grep -q ^ready $LOG.server
	# shellcheck disable=SC2046
	timeout $((90 * SLOW)) $BIN/dc use $(sed -n 's/^ready //p' $LOG.server) ${3:-} > $LOG.client 2>&1
	wait $server
	cat $LOG.client
	expect "$name" "*PASS" "$(tail -n 1 $LOG.client)"
	expect "$name: on the other side" "*PASS" "$(tail -n 1 $LOG.server)"
}

cmd_dc() {
	dc peer b
	dc peer-write b write
	cmd_dc_self
}

cmd_dc_self() {
	dc self a
}

# The driver takes the device anew.
cmd_probe() {
	local bus=/sys/bus/pci/drivers/mlx5_core device
	device=$(basename "$(readlink /sys/class/infiniband/$DEV/device)")
	echo "$device" > $bus/unbind
	until_true 60 test ! -e /sys/class/infiniband/$DEV || fail "the driver does not let go of $device"
	echo "$device" > $bus/bind
	until_true 60 test -e /sys/class/infiniband/$DEV || fail "the driver does not take $device again"
}

# A test that takes too long ends itself, or else all of its module.
cmd_pyverbs() {
	local out=$LOG.pyverbs
	timeout $((BOUND * SLOW)) "${0%/*}/rdma_tests.py" $DEV $((30 * SLOW)) "$1" > $out ||
		fail "$1 ended with status $? after $(tail -n 1 $out)"
	cat $out
}

cmd=$1
shift
"cmd_$cmd" "$@"

#!/bin/bash
# SPDX-License-Identifier: MIT
# In one machine whose clock counts instructions, both source and destination: what READs, faults and the drain cost over soft RoCE (rc), over a
# modelled ConnectX (dct) and over TCP (tcp), in instructions (ns of that clock). Prints "NAME VALUE" lines.
set -eu
cp -a root/t /root/
cp -a usr etc / 2>/dev/null || true
/root/t/setup.sh
BIN=/root/t/bin
# shellcheck source=guest-watch.sh
. $BIN/guest-watch.sh
export TEST_DIR=/tmp/mt
MB=${MB:-32}
ADDR=10.77.0.1
TIMES=5
TRACING=/sys/kernel/tracing

# lat DEVICE SIZE TIMES ARGUMENTS...: what soft RoCE does this machine's processor executes, what a ConnectX does it does not.
lat() {
	ib_read_lat -d "$1" -s "$2" -n "$3" "${@:4}" > /tmp/lat.server 2>&1 &
	sleep 1
	ib_read_lat -d "$1" -s "$2" -n "$3" "${@:4}" $ADDR > /tmp/lat 2>&1 || cat /tmp/lat >&2
	wait
	# size, iterations, min, max, typical, ...: microseconds
	awk -v s="$2" '$1 == s {print $5}' /tmp/lat
}

# start PROGRAM ARGUMENTS...
start() {
	NAME=$1
	rm -f $TEST_DIR/"$NAME".*
	(exec setsid -f "$BIN/$1" "${@:2}" < /dev/null > /dev/null 2>&1)
	until grep -q ^ready $TEST_DIR/"$NAME".log 2>/dev/null; do sleep 0.1; done
	PID=$(sed -n 's/^ready //p' $TEST_DIR/"$NAME".log)
}

pass() {
	touch $TEST_DIR/touch.go
	until grep -qE '^(PASS|FAIL)' $TEST_DIR/touch.log; do sleep 0.1; done
	grep -q ^PASS $TEST_DIR/touch.log || fail "$(cat $TEST_DIR/touch.log)"
}

end() {
	kill -9 "$PID"
	until [ "$($BIN/ctl stat links)" = 0 ] && [ "$($BIN/ctl stat snapshots)" = 0 ]; do sleep 0.1; done
}

calls() {
	awk -v f="$1" '$1 == f {print $2}' $TRACING/kprobe_profile
}

# faults TRANSPORT: the median of what random touches take.
faults() {
	local id
	start touch "$MB" $((MB * 256 / 4))
	id=$($BIN/ctl lazify $ADDR -1 "$PID")
	pass
	sed -n "s/^touch: \([0-9]*\) pages, min \([0-9]*\), median \([0-9]*\), mean \([0-9]*\) ns/$1.fault_min_ns \2\n$1.fault_median_ns \3\n$1.fault_mean_ns \4/p" $TEST_DIR/touch.log
	$BIN/ctl drain "$id"
	end
}

# first TRANSPORT: a source that this machine has not spoken to for this snapshot: until it may be read from, and its first page. The very first of
# a transport sets up what the others use as well.
first() {
	local i id ns
	watch_calls mitosis:xprt_conn_open
	for i in first $(seq $TIMES); do
		start touch 1 16
		watch_begin
		echo 1 > $TRACE/events/mitosis/mitosis_fault/enable
		id=$($BIN/ctl lazify $ADDR -1 "$PID")
		pass
		echo 0 > $TRACE/tracing_on
		ns=$(sed -nE '0,/mitosis_fault:/s/.*mitosis_fault:.* ns=([0-9]+).*/\1/p' $TRACE/trace)
		echo "$i $(watch_us xprt_conn_open) $((ns / 1000))"
		$BIN/ctl drain "$id"
		end
	done > /tmp/first
	awk -v t="$1" '$1 == "first" {printf "%s.first_open_us %d\n%s.first_page_us %d\n", t, $2, t, $3; next} {print}' /tmp/first | grep -v '^[0-9]'
	grep -v ^first /tmp/first | sort -n -k 2 | awk -v t="$1" -v n=$(((TIMES + 1) / 2)) 'NR == n {printf "%s.open_us %d\n%s.open_page_us %d\n", t, $2, t, $3}'
}

# drain NAME PROGRAM ARGUMENTS...
drain() {
	local name=$1 reads doorbells
	shift
	start "$@"
	reads=$($BIN/ctl stat pages_read)
	doorbells=$(calls ring)
	echo > $TRACING/trace
	$BIN/ctl lazify $ADDR 0 "$PID" > /dev/null
	for _ in $(seq 100); do
		grep -q mitosis_drain: $TRACING/trace && break
		sleep 0.1
	done
	awk -v t="$name" '/mitosis_attach:/ {sub(":", "", $4); a = $4}
		/mitosis_drain:/ {sub(":", "", $4); split($NF, p, "="); printf "%s_pages %d\n%s_ns_a_page %d\n", t, p[2], t, ($4 - a) * 1e9 / p[2]}' $TRACING/trace
	echo "${name}_read $(($($BIN/ctl stat pages_read) - reads))"
	[ -z "$doorbells" ] || echo "${name}_doorbells $(($(calls ring) - doorbells))"
	[ "$NAME" != touch ] || pass
	end
}

costs() {
	echo "$1" > /sys/module/mitosis/parameters/transports
	first "$1"
	mitosis-cli check --transport "$1" --loopback --json | sed -n "s/.*\"read_ns\": *\([0-9]*\).*/$1.read_ns \1/p"
	faults "$1"
	echo mono > $TRACING/trace_clock
	echo 1 > $TRACING/events/mitosis/mitosis_attach/enable
	echo 1 > $TRACING/events/mitosis/mitosis_drain/enable
	drain "$1.drain" touch "$MB" 16
	# No two pages beside each other: a READ each.
	drain "$1.sparse" parent "$MB" 2 parent
	if [ "$1" = dct ]; then
		watch_calls
		echo 'p:bench/ring mitosis_dct:dc_initiator_ring' > $TRACING/kprobe_events
		echo 1 > $TRACING/events/bench/enable
		drain dct.rung touch "$MB" 16
		echo 0 > $TRACING/events/bench/enable
	fi
	echo 0 > $TRACING/events/mitosis/enable
}

# Two programs that exchange pages.
tcp_programs() {
	$BIN/exchange 7576 &
	sleep 1
	$BIN/exchange 7576 $ADDR 300 | sed -n 's/.* median \([0-9]*\),.*/tcp.exchange_ns \1/p'
	kill $!
}

echo "rc.read_lat_4096_us $(lat rxe0 4096 300 -x 1)"
echo "rc.read_lat_4096_event_us $(lat rxe0 4096 300 -x 1 -e)"
echo "rc.read_lat_131072_us $(lat rxe0 131072 100 -x 1)"
echo "mlx5.read_lat_4096_us $(lat mlx5_0 4096 300)"
echo "mlx5.read_lat_4096_event_us $(lat mlx5_0 4096 300 -e)"
costs rc
costs dct
insmod /root/t/mitosis_tcp.ko
export MITOSIS_INSECURE=1
tcp_programs
costs tcp

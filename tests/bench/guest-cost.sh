#!/bin/bash
# SPDX-License-Identifier: MIT
# In one machine whose clock counts instructions, both source and destination: what READs, faults and the drain cost, in
# instructions (ns of that clock). Prints "NAME VALUE" lines.
set -eu
cp -a root/t /root/
cp -a usr etc / 2>/dev/null || true
/root/t/setup.sh
BIN=/root/t/bin
export TEST_DIR=/tmp/mt
MB=${MB:-32}
ADDR=10.77.0.1

lat() {
	ib_read_lat -d rxe0 -x 1 -s "$1" -n "$2" "${@:3}" > /tmp/lat.server 2>&1 &
	sleep 1
	ib_read_lat -d rxe0 -x 1 -s "$1" -n "$2" "${@:3}" $ADDR > /tmp/lat 2>&1 || cat /tmp/lat >&2
	wait
	# size, iterations, min, max, typical, ...: microseconds
	awk -v s="$1" '$1 == s {print $5}' /tmp/lat
}

echo "read_lat_4096_us $(lat 4096 300)"
echo "read_lat_4096_event_us $(lat 4096 300 -e)"
echo "read_lat_131072_us $(lat 131072 100)"

start() {
	rm -f $TEST_DIR/touch.*
	(exec setsid -f $BIN/touch "$@" < /dev/null > /dev/null 2>&1)
	until grep -q ^ready $TEST_DIR/touch.log 2>/dev/null; do sleep 0.1; done
	PID=$(sed -n 's/^ready //p' $TEST_DIR/touch.log)
}

start "$MB" $((MB * 256 / 4))
id=$($BIN/ctl lazify $ADDR -1 "$PID")
touch $TEST_DIR/touch.go
until grep -qE '^(PASS|FAIL)' $TEST_DIR/touch.log; do sleep 0.1; done
sed -n 's/^touch: \([0-9]*\) pages, min \([0-9]*\), median \([0-9]*\), mean \([0-9]*\) ns/fault_min_ns \2\nfault_median_ns \3\nfault_mean_ns \4/p' $TEST_DIR/touch.log
grep -q ^PASS $TEST_DIR/touch.log || cat $TEST_DIR/touch.log
$BIN/ctl drain "$id"
kill -9 "$PID"
sleep 1

echo 1 > /sys/kernel/tracing/events/mitosis/enable
echo mono > /sys/kernel/tracing/trace_clock
start "$MB" 16
echo > /sys/kernel/tracing/trace
id=$($BIN/ctl lazify $ADDR 0 "$PID")
for _ in $(seq 100); do
	grep -q mitosis_drain: /sys/kernel/tracing/trace && break
	sleep 0.1
done
awk '/mitosis_attach:/ {sub(":", "", $4); a = $4}
	/mitosis_drain:/ {sub(":", "", $4); split($NF, p, "="); printf "drain_pages %d\ndrain_ns_a_page %d\n", p[2], ($4 - a) * 1e9 / p[2]}' /sys/kernel/tracing/trace
touch $TEST_DIR/touch.go
until grep -qE '^(PASS|FAIL)' $TEST_DIR/touch.log; do sleep 0.1; done
kill -9 "$PID"

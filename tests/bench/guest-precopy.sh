#!/bin/bash
# SPDX-License-Identifier: MIT
# In machine a, with b beside it. Prints "NAME VALUE" lines:
#
#	guest-precopy.sh run MB RATE NAME none|auto	moves a process of MB megabytes that writes to RATE KiB of them a second
#	guest-precopy.sh link MB			KiB a second that a drain moves
set -eu -o pipefail
BIN=/root/t/bin
# Longer than any drain here takes: a program that checks its memory meanwhile has pages read one by one.
CHECK_AFTER=20
export TEST_DIR=/tmp/mt
# shellcheck source=guest-watch.sh
. $BIN/guest-watch.sh
[ "$(cat /root/t/transport)" != tcp ] || export MITOSIS_INSECURE=1

# of JSON KEY
of() {
	sed -n "s/^ *\"$2\": *\([0-9]*\),*$/\1/p" "$1"
}

# move MB RATE OPTION...: writes to all of its memory in turn, at random
move() {
	local mb=$1 rate=$2 pid
	shift 2
	mkdir -p $TEST_DIR
	rm -f $TEST_DIR/writer.*
	on_b "mkdir -p $TEST_DIR; rm -f $TEST_DIR/writer.*; touch $TEST_DIR/writer.go"
	(cd / && exec setsid -f $BIN/writer "$mb" "$rate" 100 $CHECK_AFTER < /dev/null > /dev/null 2>&1)
	until grep -qs ^ready $TEST_DIR/writer.log; do
		sleep 0.1
	done
	pid=$(sed -n 's/^ready //p' $TEST_DIR/writer.log)
	on_b mitosis-cli stats > /tmp/before
	mitosis-cli migrate --pid "$pid" --to b --json "$@" > /tmp/migrate.json 2> /tmp/migrate.said || fail "migrate fails: $(tail -n 1 /tmp/migrate.said)"
	on_b mitosis-cli stats > /tmp/after
	on_b "for _ in \$(seq 600); do grep -qsE '^(PASS|FAIL)' $TEST_DIR/writer.log && break; sleep 0.2; done
		kill -KILL $pid; cat $TEST_DIR/writer.log" > /tmp/check || true
	grep -q ^PASS /tmp/check || fail "the moved process does not pass: $(tail -n 1 /tmp/check)"
}

# of_b NAME: what a counter of b grew by
of_b() {
	awk -v n="$1" '$1 == n {v = $2 - v} END {print v}' /tmp/before /tmp/after
}

case $1 in
run)
	name=precopy.$4.$5
	move "$2" "$3" "--precopy=$([ "$5" = none ] && echo 0 || echo auto)"
	for key in downtime_ms dump_ms hold_and_send_ms restore_ms drain_ms pages pages_precopied precopy_rounds precopy_ms precopy_pages; do
		value=$(of /tmp/migrate.json $key)
		[ -z "$value" ] || echo "$name.$key $value"
	done
	# read after the process was stopped
	echo "$name.pages_after $(($(of_b pages_read) - $(of_b pages_filled)))"
	# the longest time that it has stood still before that
	echo "$name.stopped_ms $(sed -n 's/^stopped //p' $TEST_DIR/writer.log | sort -n | tail -n 1 | grep . || echo 0)"
	;;
link)
	move "$2" 0 --precopy=0
	awk -v p="$(of_b pages_drain)" -v ns="$(of_b drain_ns)" 'BEGIN {print int(p * 4 * 1e9 / ns)}'
	;;
esac

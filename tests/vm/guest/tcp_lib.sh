# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034 # read by them
# Sourced by scripts that run in machine b against snapshots of machine a over transport tcp.

# source_start MB: of process PID of machine a, [A, A + MB - 2) is to be held.
source_start() {
	rm -rf "${TEST_DIR:?}"/tcp.*
	mkdir -p "$TEST_DIR"
	on_peer "rm -rf $TEST_DIR; mkdir -p $TEST_DIR; TEST_DIR=$TEST_DIR setsid -f $BIN/target $1 < /dev/null > /dev/null 2>&1
		until grep -q ^ready $TEST_DIR/target.log 2>/dev/null; do sleep 0.05; done"
	PID=$(on_peer "sed -n 's/^ready //p' $TEST_DIR/target.log")
	AREA=$(on_peer "sed -nE 's/^area (0x[0-9a-f]+) .*/\1/p' $TEST_DIR/target.log")
	A=$(((AREA + 0x1fffff) & ~0x1fffff))
}

# hold ADDRESS START INSECURE: what ctl says of a snapshot of 2 MiB
hold() {
	on_peer "${3:+MITOSIS_INSECURE=1} TRANSPORT=tcp $BIN/ctl hold $1 $PID $2 512" || fail "hold: it cannot be held at $1"
}

value() {
	sed -nE "0,/^$2/s/^$2 (.*)/\1/p" <<< "$1"
}

has_link() {
	[ "$(stat_of links)" = 1 ]
}

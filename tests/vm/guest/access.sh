#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in machine b against snapshots of machine a: nobody without the key reads a byte, and nobody writes one.
set -u
export TEST_DIR=/tmp/mt
PEER=a
# shellcheck source=lib.sh
. "${0%/*}/lib.sh"
mkdir -p $TEST_DIR
rm -f $TEST_DIR/access.*

peer() {
	timeout $((60 * SLOW)) $BIN/access 10.77.0.1 "$PORT" "$@" 2>&1 | tail -n 1
}

hold() {
	local out
	out=$(on_peer "$BIN/ctl hold 10.77.0.1 $PID $1 $2") || fail "hold: $out"
	SNAP=$(sed -n 's/^snapshot //p' <<< "$out")
	KEY=$(sed -n 's/^key //p' <<< "$out")
	PORT=$(sed -n 's/^port //p' <<< "$out")
	RKEY=$(sed -nE '0,/^region/s/^region [0-9]+ [0-9]+ //p' <<< "$out")
	LEN=$(sed -nE '0,/^region/s/^region [0-9]+ ([0-9]+) .*/\1/p' <<< "$out")
	LEN=$((LEN * 4096))
}

on_peer "rm -rf $TEST_DIR; mkdir -p $TEST_DIR; TEST_DIR=$TEST_DIR setsid -f $BIN/target 8 < /dev/null > /dev/null 2>&1
	until grep -q ^ready $TEST_DIR/target.log 2>/dev/null; do sleep 0.05; done"
PID=$(on_peer "sed -n 's/^ready //p' $TEST_DIR/target.log")
AREA=$(on_peer "sed -nE 's/^area (0x[0-9a-f]+) .*/\1/p' $TEST_DIR/target.log")
# A block of 2 MiB that is all in the area, so that there is one region.
A=$(((AREA + 0x1fffff) & ~0x1fffff))
refused=$(on_peer "$BIN/ctl stat peers_refused")
errors=$(on_peer "$BIN/ctl stat access_errors")

hold $A 512
S1=$SNAP K1=$KEY R1=$RKEY L1=$LEN A1=$A
hold $((A + 0x200000)) 512
S2=$SNAP K2=$KEY R2=$RKEY
[ "$L1" = $((512 * 4096)) ] || fail "the region has $L1 bytes"
word=$(peer "$S1" "$K1" read $A1 "$R1" 4096)
expect "right key reads" "read 0x*" "$word"
expect "whole region reads" "$word" "$(peer "$S1" "$K1" read $A1 "$R1" "$L1")"
expect "other snapshot's key" refused "$(peer "$S1" "$K2" read $A1 "$R1" 8)"
expect "key of zeros" refused "$(peer "$S1" 00000000000000000000000000000000 read $A1 "$R1" 8)"
last=${K1:31:1}
expect "key wrong in one bit" refused "$(peer "$S1" "${K1:0:31}$(printf %x $((16#$last ^ 1)))" read $A1 "$R1" 8)"
expect "no such snapshot" refused "$(peer "0123456789abcdef" "$K1" read $A1 "$R1" 8)"
expect "other snapshot's region" "error: remote access error*" "$(peer "$S1" "$K1" read $((A + 0x200000)) "$R2" 8)"
expect "behind the region" "error: remote access error*" "$(peer "$S1" "$K1" read $((A1 + L1 - 8)) "$R1" 16)"
expect "before the region" "error: remote access error*" "$(peer "$S1" "$K1" read $((A1 - 8)) "$R1" 16)"
expect "around the address space" "error: remote*" "$(peer "$S1" "$K1" read 0xfffffffffffffff8 "$R1" 16)"
expect "guessed region key" "error: remote access error*" "$(peer "$S1" "$K1" read $A1 $((R1 ^ 0x100)) 8)"
expect "write" "error: remote*" "$(peer "$S1" "$K1" write $A1 "$R1" 8)"
expect "atomic operation" "error: remote*" "$(peer "$S1" "$K1" atomic $A1 "$R1" 0)"
expect "nothing was written" "$word" "$(peer "$S1" "$K1" read $A1 "$R1" 8)"
expect "send with a payload" "error: *" "$(peer "$S1" "$K1" send 4096)"
peer "$S1" "$K1" imm 0x1234 > /dev/null
expect "after a message without meaning" "$word" "$(peer "$S1" "$K1" read $A1 "$R1" 8)"

accepted=''
for i in $(seq 24); do
	[ "$(peer "$S1" "$K1" request $((i * 7 % 57)) "$i")" = refused ] || accepted+=" $i"
done
expect "connection requests of random content" "" "$accepted"

[ "$(on_peer "$BIN/ctl stat peers_refused")" -ge $((refused + 28)) ] && n=counted || n="not counted"
expect "refusals are counted" counted "$n"
# The device's word of it can come after the peer's.
n="not counted"
for _ in $(seq 100); do
	[ "$(on_peer "$BIN/ctl stat access_errors")" -lt $((errors + 7)) ] || { n=counted; break; }
	sleep 0.1
done
expect "forbidden requests are counted" counted "$n"

# Nothing is known of the neighbour on the link.
links() {
	for _ in $(seq "$1"); do
		ip neigh flush dev eth0
		$BIN/ctl link "$S1" "$K1" 10.77.0.1 "$PORT" 2>&1 || return
	done
	echo opened
}
expect "opened 40 times by a stranger" opened "$(links 40)"

# Released while a peer is connected, and after.
timeout $((60 * SLOW)) $BIN/access 10.77.0.1 "$PORT" "$S1" "$K1" again $A1 "$R1" 8 > $TEST_DIR/again.out 2>&1 &
for _ in $(seq 200); do
	grep -q ^read $TEST_DIR/again.out && break
	sleep 0.1
done
on_peer "$BIN/ctl release $S1"
touch $TEST_DIR/access.go
wait
expect "released under a connected peer" "error: *" "$(tail -n 1 $TEST_DIR/again.out)"
expect "released snapshot" refused "$(peer "$S1" "$K1" read $A1 "$R1" 8)"
expect "other snapshot is not touched by a release" "read 0x*" "$(peer "$S2" "$K2" read $((A + 0x200000)) "$R2" 8)"
expect "released snapshot's region by another's key" "error: remote access error*" "$(peer "$S2" "$K2" read $A1 "$R1" 8)"
on_peer "$BIN/ctl release $S2"
expect "all pages are let go" 0 "$(on_peer "$BIN/ctl stat pages_held")"

# A lease ends by itself.
out=$(on_peer "$BIN/ctl hold 10.77.0.1 $PID $A 16 1") || echo "FAIL: hold"
n=held
for _ in $(seq 100); do
	[ "$(on_peer "$BIN/ctl stat snapshots")" = 0 ] && n=gone && break
	sleep 0.1
done
expect "lease expires" gone "$n"
on_peer "kill -KILL $PID"

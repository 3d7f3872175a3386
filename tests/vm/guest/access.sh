#!/bin/bash
# SPDX-License-Identifier: MIT
# access.sh [rc|dct]: runs in machine b against snapshots of machine a: nobody without the key reads a byte, and nobody writes one. Who a peer
# asks for is, over rc, a snapshot; over dct a LID and a DC target, which is reached without a connection.
set -u
export TEST_DIR=/tmp/mt
PEER=a
# shellcheck source=lib.sh
. "${0%/*}/lib.sh"
TRANSPORT=${1:-rc}
mkdir -p $TEST_DIR
rm -f $TEST_DIR/{access,dc}.*

# raw WHO KEY COMMAND...
raw() {
	# shellcheck disable=SC2086 # a LID and a number
	case $TRANSPORT in
	rc) timeout $((60 * SLOW)) $BIN/access 10.77.0.1 "$PORT" "$@" 2>&1 ;;
	dct) timeout $((60 * SLOW)) $BIN/dc peer $1 "${@:2}" 2>&1 ;;
	esac
}

peer() {
	raw "$@" | tail -n 1
}

# denied NAME PATTERN WHO KEY COMMAND...: the device of the source refuses it. Over dct it refuses a key, too, and who asks is told the same:
# it counts those elsewhere.
DENIED=0
denied() {
	local answer
	answer=$(peer "${@:3}")
	[[ $answer != "error: remote access error" || $2 = "$shut_out" ]] || DENIED=$((DENIED + 1))
	expect "$1" "$2" "$answer"
}

hold() {
	local out
	DCT=''
	out=$(on_peer "TRANSPORT=$TRANSPORT $BIN/ctl hold 10.77.0.1 $PID $1 $2") || fail "hold: $out"
	SNAP=$(sed -n 's/^snapshot //p' <<< "$out")
	KEY=$(sed -n 's/^key //p' <<< "$out")
	PORT=$(sed -n 's/^port //p' <<< "$out")
	WHO=$SNAP SECRET=$KEY
	if [ "$TRANSPORT" = dct ]; then
		DCT=$(sed -n 's/^dct //p' <<< "$out")
		WHO=$(cut -d , -f 2,3 --output-delimiter ' ' <<< "$DCT")
		KEY=$(cut -d , -f 4 <<< "$DCT")
	fi
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
case $TRANSPORT in
rc)
	shut_out=refused nobody="0123456789abcdef"
	;;
dct)
	# for each of them a request with a wrong key is counted
	shut_out="error: remote access error" nobody="1 0xfffff0"
	;;
esac

hold $A 512
S1=$SNAP W1=$WHO D1=$DCT K1=$KEY R1=$RKEY L1=$LEN A1=$A
hold $((A + 0x200000)) 512
S2=$SNAP W2=$WHO D2=$DCT K2=$KEY R2=$RKEY
[ "$L1" = $((512 * 4096)) ] || fail "the region has $L1 bytes"
word=$(peer "$W1" "$K1" read $A1 "$R1" 4096)
expect "right key reads" "read 0x*" "$word"
expect "whole region reads" "$word" "$(peer "$W1" "$K1" read $A1 "$R1" "$L1")"
denied "other snapshot's key" "$shut_out" "$W1" "$K2" read $A1 "$R1" 8
denied "key of zeros" "$shut_out" "$W1" "${K1//?/0}" read $A1 "$R1" 8
last=${K1: -1}
denied "key wrong in one bit" "$shut_out" "$W1" "${K1::-1}$(printf %x $((16#$last ^ 1)))" read $A1 "$R1" 8
denied "no such snapshot" "$shut_out" "$nobody" "$K1" read $A1 "$R1" 8
denied "other snapshot's region" "error: remote access error*" "$W1" "$K1" read $((A + 0x200000)) "$R2" 8
denied "behind the region" "error: remote access error*" "$W1" "$K1" read $((A1 + L1 - 8)) "$R1" 16
denied "before the region" "error: remote access error*" "$W1" "$K1" read $((A1 - 8)) "$R1" 16
denied "around the address space" "error: remote*" "$W1" "$K1" read 0xfffffffffffffff8 "$R1" 16
denied "guessed region key" "error: remote access error*" "$W1" "$K1" read $A1 $((R1 ^ 0x100)) 8
denied "write" "error: remote*" "$W1" "$K1" write $A1 "$R1" 8
denied "write with a wrong key" "$shut_out" "$W1" "$K2" write $A1 "$R1" 8
denied "atomic operation" "error: remote*" "$W1" "$K1" atomic $A1 "$R1" 0
expect "nothing was written" "$word" "$(peer "$W1" "$K1" read $A1 "$R1" 8)"
expect "send with a payload" "error: *" "$(peer "$W1" "$K1" send 4096)"
peer "$W1" "$K1" imm 0x1234 > /dev/null
expect "after a message without meaning" "$word" "$(peer "$W1" "$K1" read $A1 "$R1" 8)"

believed=''
for i in $(seq 24); do
	case $TRANSPORT in
	rc) [ "$(peer "$W1" "$K1" request $((i * 7 % 57)) "$i")" = refused ] || believed+=" $i" ;;
	# a transport acknowledges what has come, whatever it is
	dct) peer "$W1" "$K1" junk "$i" > /dev/null ;;
	esac
done
expect "first words of random content" "" "$believed"
[ "$TRANSPORT" = rc ] || expect "nobody is taken for a reader" 0 "$(on_peer "mitosis-cli show $S1 --json" | sed -n 's/.*"peers": *\([0-9]*\).*/\1/p')"

# keys and requests; over dct a device counts keys, and these are messages
[ "$TRANSPORT" = rc ] && n=$((refused + 29)) || n=$((refused + 26))
[ "$(on_peer "$BIN/ctl stat peers_refused")" -ge "$n" ] && n=counted || n="not counted"
expect "refusals are counted" counted "$n"

access_errors() {
	echo $(($(on_peer "$BIN/ctl stat access_errors") - errors))
}

# counted N COMMAND...: the device's word of it can come after the peer's.
counted() {
	local n
	for _ in $(seq 100); do
		n=$("${@:2}")
		[ "$n" -lt "$1" ] || break
		sleep 0.1
	done
	echo "$n"
}

# Nothing is known of the neighbour on the link.
links() {
	for _ in $(seq "$1"); do
		ip neigh flush dev eth0
		$BIN/ctl link "$S1" "$K1" 10.77.0.1 "$PORT" 2>&1 || return
	done
	echo opened
}
# reader NAME PATTERN DCT PAGE RKEY: a process whose page is said to be there, and the module reads it.
reader() {
	expect "reader: $1" "$2" "$(timeout $((60 * SLOW)) $BIN/ctl read "$S1" "$SECRET" "$3" "$4" 1 "$5" 2>&1 | tail -n 1)"
	until_true 20 idle_links || fail "the reader's link is left: $(mitosis-cli list)"
}

# Of a descriptor that is not true. Who reads what is refused is killed alone.
readers() {
	local unreadable gid lid number key mtu
	unreadable=$(stat_of pages_unreadable)
	IFS=, read -r gid lid number key mtu <<< "$D1"
	reader "right descriptor" "$word" "$D1" $A1 "$R1"
	reader "other snapshot's region" killed "$D1" $((A + 0x200000)) "$R2"
	reader "behind the region" killed "$D1" $((A1 + L1)) "$R1"
	reader "guessed region key" killed "$D1" $A1 $((R1 ^ 0x100))
	reader "other snapshot's key" refused "$gid,$lid,$number,$K2,$mtu" $A1 "$R1"
	reader "other snapshot's target" refused "$gid,$lid,$(cut -d , -f 3 <<< "$D2"),$key,$mtu" $A1 "$R1"
	reader "no such target" refused "$gid,$lid,$((0xfffff0)),$key,$mtu" $A1 "$R1"
	reader "no such port" "error: *" "$gid,77,$number,$key,$mtu" $A1 "$R1"
	reader "other subnet" "error: *" "fe90${gid:4},$lid,$number,$key,$mtu" $A1 "$R1"
	reader "right descriptor again" "$word" "$D1" $A1 "$R1"
	expect "unreadable pages are counted" 3 $(($(stat_of pages_unreadable) - unreadable))
	# of the six that were refused two had a wrong key, and one found no target
	expect "what the device has refused readers is counted" $((DENIED + 3)) "$(counted $((DENIED + 3)) access_errors)"
}

case $TRANSPORT in
rc)
	[ "$(counted 7 access_errors)" -ge 7 ] && n=counted || n="not counted"
	expect "forbidden requests are counted" counted "$n"
	expect "opened 40 times by a stranger" opened "$(links 40)"
	;;
dct)
	expect "what the device has refused is counted" $DENIED "$(counted $DENIED access_errors)"
	readers
	;;
esac

# Released while a peer is connected, and after.
raw "$W1" "$K1" again $A1 "$R1" 8 > $TEST_DIR/again.out &
for _ in $(seq 200); do
	grep -q ^read $TEST_DIR/again.out && break
	sleep 0.1
done
n=$(($(access_errors) + 5))
on_peer "$BIN/ctl release $S1"
[ "$TRANSPORT" = rc ] || expect "wrong keys are counted with the release" $n "$(counted $n access_errors)"
touch $TEST_DIR/access.go $TEST_DIR/dc.go
wait
expect "released under a connected peer" "error: *" "$(tail -n 1 $TEST_DIR/again.out)"
expect "released snapshot" "$shut_out" "$(peer "$W1" "$K1" read $A1 "$R1" 8)"
expect "other snapshot is not touched by a release" "read 0x*" "$(peer "$W2" "$K2" read $((A + 0x200000)) "$R2" 8)"
expect "released snapshot's region by another's key" "error: remote access error*" "$(peer "$W2" "$K2" read $A1 "$R1" 8)"
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

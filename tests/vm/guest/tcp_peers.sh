#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in machine b against snapshots of machine a over transport tcp: bad peers are refused, counted and bounded.
set -u
export TEST_DIR=/tmp/mt
PEER=a
# shellcheck source=lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=tcp_lib.sh
. "${0%/*}/tcp_lib.sh"

source_start 8
# TLS is for whoever can have it here.
[ -n "${MITOSIS_INSECURE:-}" ] && unasked="*unencrypted*--insecure*" || unasked="*refuses the key*"
export MITOSIS_INSECURE=1

# Without the word that allows it nothing goes unencrypted.
if [ "$unasked" != "*refuses the key*" ]; then
	out=$(on_peer "TRANSPORT=tcp $BIN/ctl hold 10.77.0.1 $PID $A 512" 2>&1)
	expect "nothing is offered unencrypted unasked" "$unasked" "$out"
fi
out=$(on_peer "MITOSIS_INSECURE=1 TRANSPORT=tcp $BIN/ctl hold 10.77.0.99 $PID $A 512" 2>&1)
expect "nor at an address that it has not" "*no network device has this address*" "$out"
refused=$(on_peer "$BIN/ctl stat peers_refused")
errors=$(on_peer "$BIN/ctl stat access_errors")
one=$(hold 10.77.0.1 "$A" 1)
other=$(hold 10.77.0.1 $((A + 0x200000)) 1)
SNAPSHOT=$(value "$one" snapshot) KEY=$(value "$one" key) PORT=$(value "$one" port)
region=$(value "$one" region)
out=$(env -u MITOSIS_INSECURE TRANSPORT=tcp $BIN/ctl link "$SNAPSHOT" "$KEY" 10.77.0.1 "$PORT" 2>&1)
expect "nothing is read unencrypted unasked" "$unasked" "$out"
out=$(TRANSPORT=tcp $BIN/ctl link "$SNAPSHOT" "${KEY//[0-7]/8}" 10.77.0.1 "$PORT" 2>&1)
expect "the module with a wrong key" "*refuses the key*" "$out"
out=$(TRANSPORT=tcp $BIN/ctl link "$SNAPSHOT" "$KEY" 10.77.0.1 $((PORT + 1)) 2>&1)
expect "the module where nobody listens" "*nobody listens there*" "$out"
out=$(TRANSPORT=tcp $BIN/ctl link "$SNAPSHOT" "$KEY" 10.77.0.1 "$PORT" 2>&1)
expect "the module with the right key" "" "$out"
mkfifo $TEST_DIR/tcp.stay
TRANSPORT=tcp STAY=1 $BIN/ctl link "$SNAPSHOT" "$KEY" 10.77.0.1 "$PORT" < $TEST_DIR/tcp.stay &
exec 4> $TEST_DIR/tcp.stay
until_true 30 has_link || echo "not ok a link stays: there is none"
out=$(TRANSPORT=tcp $BIN/ctl link "$SNAPSHOT" "$KEY" 10.77.0.1 "$PORT" 2>&1)
expect "a link that is there" "*is open already*" "$out"
out=$(env -u MITOSIS_INSECURE TRANSPORT=tcp $BIN/ctl link "$SNAPSHOT" "$KEY" 10.77.0.1 "$PORT" 2>&1)
expect "one that is there is not joined unencrypted unasked" "*unencrypted*--insecure*" "$out"
exec 4>&-
wait

on_peer "dd if=/proc/$PID/mem bs=4096 skip=$((A / 4096)) count=512 2> /dev/null" > $TEST_DIR/tcp.memory
(
	until [ -e $TEST_DIR/tcp.go ]; do sleep 0.1; done
	on_peer "timeout 30 $BIN/ctl release $SNAPSHOT" && touch $TEST_DIR/tcp.released
) &
read -r _ _ rkey <<< "$region"
read -r _ _ other_rkey <<< "$(value "$other" region)"
ADDR=10.77.0.1 OTHER_ADDR=10.77.1.1 PORT=$PORT SNAPSHOT=$SNAPSHOT KEY=$KEY RKEY=$rkey START=$A NPAGES=512 MEMORY=$TEST_DIR/tcp.memory \
	OTHER_RKEY=$other_rkey GO=$TEST_DIR/tcp.go RELEASED=$TEST_DIR/tcp.released python3 "${0%/*}/tcp_peers.py" || echo "not ok tcp_peers.py: status $?"
touch $TEST_DIR/tcp.go
wait
[ "$(on_peer "$BIN/ctl stat peers_refused")" -ge $((refused + 40 + 150)) ] && n=counted || n="not counted"
expect "refusals are counted" counted "$n"
[ "$(on_peer "$BIN/ctl stat access_errors")" -ge $((errors + 10 + 7)) ] && n=counted || n="not counted"
expect "forbidden requests are counted" counted "$n"
on_peer "$BIN/ctl release $(value "$other" snapshot)"
expect "all pages are let go" 0 "$(on_peer "$BIN/ctl stat pages_held")"
sockets=$(on_peer "ss -Htn 'sport = :$PORT' | wc -l")
expect "no connection is left" 0 "$sockets"
on_peer "kill -KILL $PID"

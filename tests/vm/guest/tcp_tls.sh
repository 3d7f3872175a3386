#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in machine b against snapshots of machine a over transport tcp with TLS: who is not as he should be, and tlshd that is not there.
set -u
export TEST_DIR=/tmp/mt
PEER=a
# shellcheck source=lib.sh
. "${0%/*}/lib.sh"
# shellcheck source=tcp_lib.sh
. "${0%/*}/tcp_lib.sh"

link() {
	env -u MITOSIS_INSECURE TRANSPORT=tcp $BIN/ctl link "$SNAPSHOT" "$KEY" 10.77.0.1 "$PORT" 2>&1
}

has_no_psk() {
	! grep 'mitosis-' /proc/keys && ! on_peer "grep mitosis- /proc/keys"
}

source_start 8
one=$(hold 10.77.0.1 "$A" "")
SNAPSHOT=$(value "$one" snapshot) KEY=$(value "$one" key) PORT=$(value "$one" port)
read -r _ _ rkey <<< "$(value "$one" region)"
expect "the module" "" "$(link)"
on_peer dmesg -C
expect "unencrypted" "*refuses the key*" "$(MITOSIS_INSECURE=1 TRANSPORT=tcp $BIN/ctl link "$SNAPSHOT" "$KEY" 10.77.0.1 "$PORT" 2>&1)"
expect "the source says why" "*does not want TLS*" "$(on_peer dmesg | grep refused:)"
expect "a wrong key" "*refuses the key*" "$(KEY=${KEY//[0-7]/8} link)"
on_peer "dd if=/proc/$PID/mem bs=4096 skip=$((A / 4096)) count=512 2> /dev/null" > $TEST_DIR/tcp.memory
other=$(hold 10.77.0.1 $((A + 0x200000)) "")
reader() {
	OTHER_SNAPSHOT=$(value "$other" snapshot) OTHER_KEY=$(value "$other" key) ADDR=10.77.0.1 PORT=$PORT SNAPSHOT=$SNAPSHOT KEY=$KEY RKEY=$rkey START=$A NPAGES=512 MEMORY=$TEST_DIR/tcp.memory PYTHONPATH=${0%/*} python3 "$@" ||
		echo "not ok ${*: -1}: status $?"
}
reader "${0%/*}/tcp_tls.py"
on_peer "$BIN/ctl release $(value "$other" snapshot)"

two=$(hold 10.77.0.1 $((A + 0x200000)) 1)
expect "TLS where it is offered without" "*refuses the key*" "$(SNAPSHOT=$(value "$two" snapshot) KEY=$(value "$two" key) link)"
on_peer "$BIN/ctl release $(value "$two" snapshot)"

# Somebody at one of the addresses that a source may have, who does not have the key.
reader -c '
from tcp_reader import *
listener = socket.create_server(("10.77.0.2", 7999))
listener.settimeout(60)
if os.fork():
    os._exit(0)
client = listener.accept()[0]
recv(client, 48)
client.sendall(struct.pack("<IHH", MAGIC, VERSION, 0) + bytes(16))
recv(client, 32)
client.sendall(struct.pack("<II", MAGIC, NO_TLS) + bytes(32))
recv(client, 1)' > /dev/null < /dev/null
expect "a stranger at the address says that it has no tlshd" "*nobody listens there, or does not show the key*" \
	"$(TRANSPORT=tcp $BIN/ctl link "$SNAPSHOT" "$KEY" 10.77.0.2 7999 2>&1)"

# Without tlshd nothing goes, whatever else there is.
"${0%/*}/tlshd.sh" stop
expect "no tlshd here" "*nobody here does TLS handshakes*tlshd*" "$(link)"
"${0%/*}/tlshd.sh" start
on_peer "/root/t/tlshd.sh stop"
expect "no tlshd at the source" "*nobody at the source does TLS handshakes*tlshd*" "$(link)"
# One that says that it has done what it has not.
on_peer "setsid -f python3 /root/t/tls_liar.py < /dev/null > $TEST_DIR/liar.log 2>&1; until grep -q ready $TEST_DIR/liar.log; do sleep 0.1; done"
reader -c 'from tcp_reader import *; expect("a page in the clear", "closed", read(greet(flags=F_TLS)[0], START))'
expect "which it has said" lied "$(on_peer "grep lied $TEST_DIR/liar.log; kill \$(sed -n 's/^ready //p' $TEST_DIR/liar.log)")"
on_peer "/root/t/tlshd.sh start"
expect "with tlshd again" "" "$(link)"

# In the middle of handshakes.
kill -STOP "$(pidof tlshd)"
begin=$SECONDS
expect "tlshd does not go on" "*TLS handshake with the source fails*" "$(link)"
[ $((SECONDS - begin)) -lt $((40 * SLOW)) ] && n=bounded || n="$((SECONDS - begin)) s"
expect "it is not waited for for ever" bounded "$n"
kill -KILL "$(pidof tlshd)"
"${0%/*}/tlshd.sh" start
expect "after it has been killed" "" "$(link)"
on_peer 'kill -STOP $(pidof tlshd)'
link > $TEST_DIR/tcp.out &
until_true 30 has_link || echo "not ok a link is tried: there is none"
sleep 1
expect "released with a handshake under way" 0 "$(on_peer "timeout 20 $BIN/ctl release $SNAPSHOT; echo \$?")"
wait
expect "whose reader is told" "*" "$(cat $TEST_DIR/tcp.out)"
[ -s $TEST_DIR/tcp.out ] || echo "not ok whose reader is told: it hears nothing"
expect "and the modules go" 0 "$(on_peer "/root/t/unload.sh > /dev/null 2>&1; echo \$?")"
on_peer 'kill -CONT $(pidof tlshd); /root/t/setup.sh'
until_true 20 has_no_psk && n=none || n=$(grep -h mitosis- /proc/keys)
expect "no key is left" none "$n"
expect "all pages are let go" 0 "$(on_peer "$BIN/ctl stat pages_held")"
on_peer "kill -KILL $PID"

#!/bin/bash
# SPDX-License-Identifier: MIT
# In machine a, with b beside it. Prints "NAME VALUE" lines:
#
#	guest-migrate.sh run MB		moves a process of MB megabytes with mitosis, with CRIU, and with CRIU's lazy pages
#	guest-migrate.sh tcp MB		the same over TCP, and with CRIU's page server, beside what programs make of the link
#	guest-migrate.sh bandwidth	what ib_read_bw reads with reads like the drain's
#
# All ways have the same process, images in memory, the same options of criu and an ssh session that is open already. The kernel
# here says when the process stands still and when it is gone: criu's own account of it (frozen_time) is void with --lazy-pages,
# because starting the page server clears it.
set -eu -o pipefail
BIN=/root/t/bin
export TEST_DIR=/tmp/mt
DIR=/run/bench
CRIU=(-v2 --manage-cgroups=ignore)
DATA=10.77.0.1
DATA_B=10.77.0.2
# shellcheck source=guest-watch.sh
. $BIN/guest-watch.sh

# put NAME VALUE
put() {
	echo "$WAY.$MB.$1 $2"
}

# start [PAGES]: that it touches in a random order, and times
start() {
	rm -rf $DIR $TEST_DIR/touch.*
	mkdir -p $DIR
	on_b "rm -rf $DIR $TEST_DIR/touch.*; mkdir -p $DIR $TEST_DIR"
	(cd / && exec setsid -f $BIN/touch "$MB" "${1:-16}" < /dev/null > /dev/null 2>&1)
	until grep -qs ^ready $TEST_DIR/touch.log; do
		sleep 0.1
	done
	PID=$(sed -n 's/^ready //p' $TEST_DIR/touch.log)
	watch_begin "$PID"
}

# The moved process finds all its memory right, and ends.
check_on_b() {
	on_b "touch $TEST_DIR/touch.go
		for _ in \$(seq 1200); do grep -qsE '^(PASS|FAIL)' $TEST_DIR/touch.log && break; sleep 0.2; done
		kill -KILL $PID; cat $TEST_DIR/touch.log" > /tmp/check || true
	grep -q ^PASS /tmp/check || fail "$WAY: the moved process of $MB MB does not pass: $(tail -n 1 /tmp/check)"
}

# bytes_of PATTERN: of all such files
bytes_of() {
	find $DIR -name "$1" -printf '%s\n' | awk '{n += $1} END {print n + 0}'
}

stats_of_b() {
	on_b mitosis-cli stats > "$1"
}

# of_b NAME: what a counter of b grew by
of_b() {
	awk -v n="$1" '$1 == n {v = $2 - v} END {print v}' /tmp/before /tmp/after
}

copy_to_b() {
	tar -C $DIR -b 128 -cf - . | on_b tar -C $DIR -b 128 -xf -
}

# The dump alone, as the plugin makes it, until peers can read the memory.
dump_mitosis() {
	WAY=mitosis
	start
	watch_mark begin
	criu dump "${CRIU[@]}" --config /etc/criu/mitosis.conf -t "$PID" -D $DIR -o dump.log
	watch_mark dumped
	put dump_ms "$(watch_ms begin dumped)"
	put image_bytes "$(bytes_of '*.img')"
	put eager_bytes "$(bytes_of 'pages-*.img')"
	mitosis-cli release --all
}

# run_mitosis [OPTION...]
run_mitosis() {
	local key
	start
	stats_of_b /tmp/before
	# pre-copy has figures of its own: precopy.sh
	mitosis-cli migrate --pid "$PID" --to b --precopy=0 --json "$@" > /tmp/migrate.json || fail "mitosis-cli migrate fails"
	stats_of_b /tmp/after
	check_on_b
	# RUNNING has come before the process here is killed: at most too long
	put downtime_ms "$(watch_ms frozen gone)"
	for key in dump_ms hold_and_send_ms restore_ms commit_ms downtime_ms; do
		sed -n "s/^ *\"$key\": *\([0-9]*\),*$/$WAY.$MB.cli_$key \1/p" /tmp/migrate.json
	done
	sed -n "s/^ *\"bytes_before_resume\": *\([0-9]*\),*$/$WAY.$MB.bytes \1/p" /tmp/migrate.json
	put drain_pages "$(of_b pages_drain)"
	put drain_ns "$(of_b drain_ns)"
	put drain_busy_ns "$(of_b drain_busy_ns)"
}

# run_faults [OPTION...]: it touches a quarter of its pages before any is drained.
run_faults() {
	start $((MB * 64))
	on_b 'rm -f /tmp/mitosis-test-go; echo drain:hold > /run/mitosis-test-step'
	mitosis-cli migrate --pid "$PID" --to b --precopy=0 "$@" > /tmp/migrate.log 2>&1 &
	until ! [ -d "/proc/$PID" ]; do
		[ -n "$(jobs -r)" ] || fail "mitosis-cli migrate fails: $(tail -n 1 /tmp/migrate.log)"
		sleep 0.1
	done
	check_on_b
	on_b 'rm -f /run/mitosis-test-step; touch /tmp/mitosis-test-go'
	wait $! || true # the process has been killed
	put fault_median_ns "$(sed -n 's/^touch: .* median \([0-9]*\),.*/\1/p' /tmp/check)"
}

# What both of CRIU's ways have to say.
put_steps() {
	put dump_ms "$(watch_ms begin dumped)"
	put copy_ms "$(watch_ms dumped copied)"
	put restore_ms "$(watch_ms copied running)"
	put downtime_ms "$(watch_ms frozen running)"
	put bytes "$(bytes_of '*.img')"
}

run_criu() {
	WAY=criu
	start
	watch_mark begin
	criu dump "${CRIU[@]}" -t "$PID" -D $DIR -o dump.log
	watch_mark dumped
	copy_to_b
	watch_mark copied
	on_b criu restore "${CRIU[@]}" -d -D $DIR -o restore.log
	watch_mark running
	check_on_b
	put_steps
}

run_lazy() {
	local dump
	WAY=lazy
	start
	rm -f /tmp/status
	mkfifo /tmp/status
	exec 4<> /tmp/status
	watch_mark begin
	criu dump "${CRIU[@]}" -t "$PID" -D $DIR -o dump.log --lazy-pages --address $DATA --port 7575 --status-fd 4 &
	dump=$!
	# criu writes a zero byte when its page server listens
	IFS= read -r -d '' -t 600 -u 4 || fail "criu's page server does not start"
	watch_mark dumped
	copy_to_b
	watch_mark copied
	on_b "cd $DIR
		setsid -f criu lazy-pages ${CRIU[*]} --page-server --address $DATA --port 7575 -D $DIR -o lazy.log < /dev/null > /dev/null 2>&1
		until [ -S lazy-pages.socket ]; do sleep 0.02; done
		exec criu restore ${CRIU[*]} --lazy-pages -d -D $DIR -o restore.log"
	watch_mark running
	wait $dump
	watch_mark drained
	exec 4<&-
	check_on_b
	put_steps
	put drain_ms "$(watch_ms running drained)"
}

# The other way round: pages are sent while it stands still.
run_page_server() {
	WAY=page_server
	start
	on_b "cd $DIR && exec criu page-server ${CRIU[*]} --address $DATA_B --port 7575 -D $DIR -o server.log -d"
	watch_mark begin
	criu dump "${CRIU[@]}" -t "$PID" -D $DIR -o dump.log --page-server --address $DATA_B --port 7575
	watch_mark dumped
	[ "$(on_b "cat $DIR/pages-*.img | wc -c")" -ge $((MB << 20)) ] || fail "criu's page server does not have all pages"
	put dump_ms "$(watch_ms begin dumped)"
}

# stream NAME [OPTION...]: what iperf3 sends to b
stream() {
	local name=$1
	shift
	on_b 'iperf3 -s -1 -D > /dev/null; until ss -Htln "sport = :5201" | grep -q .; do sleep 0.1; done'
	iperf3 -c $DATA_B -t 5 -J "$@" > /tmp/iperf3.json || fail "iperf3 fails: $(tail -n 3 /tmp/iperf3.json)"
	python3 -c 'import json, sys; print(sys.argv[1], json.load(open("/tmp/iperf3.json"))["end"]["sum_received"]["bits_per_second"] / 8 / (1 << 20))' "$name"
}

# What an answer of a page takes two programs.
exchange() {
	$BIN/exchange 7576 &
	until ss -Htln 'sport = :7576' | grep -q .; do
		sleep 0.1
	done
	on_b "$BIN/exchange 7576 $DATA 1000" | sed -n 's/.* median \([0-9]*\),.*/exchange_median_ns \1/p'
	kill $!
}

# What the kernel's AES-GCM makes of records as long as TLS's, and nothing else, in MiB/s.
aes_gcm() {
	modprobe -q algif_aead
	python3 - <<-'END'
	import socket, time
	s = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)
	s.bind(("aead", "gcm(aes)"))
	s.setsockopt(socket.SOL_ALG, socket.ALG_SET_KEY, bytes(16))
	s.setsockopt(socket.SOL_ALG, socket.ALG_SET_AEAD_AUTHSIZE, None, 16)
	op = s.accept()[0]
	record, n, begin = bytes(1 << 14), 0, time.monotonic()
	while time.monotonic() < begin + 5:
	    op.sendmsg_afalg([record], op=socket.ALG_OP_ENCRYPT, iv=bytes(12), assoclen=0)
	    op.recv(len(record) + 16)
	    n += 1
	print("aes_gcm_mib_s", n / 64 / (time.monotonic() - begin))
	END
}

# bandwidth NAME OPTION...: READs from a by b, as many outstanding and as long as the drain's
bandwidth() {
	local name=$1 depth server
	shift
	depth=$(on_b cat /sys/module/mitosis/parameters/drain_depth)
	ib_read_bw -d rxe0 -x 1 -s 131072 -t "$depth" -o "$depth" -n 1000 "$@" > /tmp/bw.server 2>&1 &
	server=$!
	sleep 2
	on_b ib_read_bw -d rxe0 -x 1 -s 131072 -t "$depth" -o "$depth" -n 1000 "$@" $DATA > /tmp/bw 2>&1 ||
		fail "ib_read_bw fails: $(tail -n 1 /tmp/bw)"
	wait $server
	# size, iterations, peak, average (MiB/s), ...
	awk -v n="$name" '$1 == 131072 {print n, $4}' /tmp/bw
}

# A page server that nobody asks any more would stay.
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
case $1 in
run)
	MB=$2
	dump_mitosis
	run_mitosis
	run_criu
	run_lazy
	rm -rf $DIR
	on_b rm -rf $DIR
	;;
tcp)
	MB=$2
	WAY=clear
	run_mitosis --transport tcp --insecure
	run_faults --transport tcp --insecure
	# where both machines can do that
	if mitosis-cli check --transport tcp --loopback > /dev/null 2>&1 && on_b mitosis-cli check --transport tcp --loopback > /dev/null 2>&1; then
		WAY=tls
		run_mitosis --transport tcp
		run_faults --transport tcp
		aes_gcm
	fi
	run_lazy
	run_page_server
	stream iperf3_mib_s
	stream iperf3_zerocopy_mib_s -Z
	exchange
	rm -rf $DIR
	on_b rm -rf $DIR
	;;
bandwidth)
	bandwidth read_bw_mib_s
	bandwidth read_bw_event_mib_s -e
	;;
esac

#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in machine a: what else has to work with a moved process. Real programs, tools on a lazy process, CRIU by itself.
set -u
D=/root/t/drive.sh
T=/tmp/mt

# shellcheck source=lib.sh
. "${0%/*}/lib.sh"

migrate() {
	mitosis-cli migrate --pid "$1" --to "${2:-b}" > $T/migrate.log 2>&1 || { cat $T/migrate.log; fail "migrate: $(grep ^mitosis-cli $T/migrate.log | tail -n 1)"; }
	grep -qE '^pages +[1-9]' $T/migrate.log || fail "migrate has not counted what was held: $(grep ^pages $T/migrate.log | paste -s -d ' ')"
}

cmd_redis() {
	local pid before after
	(cd / && setsid -f redis-server --port 6390 --enable-debug-command local --save '' --appendonly no --logfile '' --dir / < /dev/null > /dev/null 2>&1)
	until_true 20 redis-cli -p 6390 ping || fail "redis does not start"
	pid=$(pgrep -x redis-server)
	redis-cli -p 6390 debug populate 20000 key 64 > /dev/null
	redis-cli -p 6390 set answer 42 > /dev/null
	before=$(redis-cli -p 6390 debug digest)
	migrate "$pid"
	after=$(on_peer 'redis-cli -p 6390 debug digest')
	[[ $before =~ ^[0-9a-f]{40}$ ]] || fail "redis gives no digest: $before"
	[ "$before" = "$after" ] || fail "redis's digest was $before and is $after"
	[ "$(on_peer 'redis-cli -p 6390 incr answer')" = 43 ] || fail "redis cannot be written to"
	[ "$(on_peer 'redis-cli -p 6390 dbsize')" = 20001 ] || fail "redis has lost keys"
	on_peer "kill -KILL $pid"
}

cmd_python() {
	local want got pid
	cat > /root/t/compute.py <<-'END'
	import os, sys, threading, time
	out, go = sys.argv[1], sys.argv[2]
	data = [list(range(i, i + 2000)) for i in range(200)]
	sums = [0] * 4
	def work(me):
	    for r in range(3):
	        for row in data[me::4]:
	            sums[me] = (sums[me] * 31 + sum(x * x for x in row)) % (1 << 61)
	        while r == 0 and not os.path.exists(go):
	            time.sleep(0.01)
	ts = [threading.Thread(target=work, args=(i,)) for i in range(4)]
	[t.start() for t in ts]
	[t.join() for t in ts]
	open(out, "w").write(str(sums))
	END
	scp -q /root/t/compute.py b:/root/t/
	rm -f $T/py.*
	touch $T/py.go0
	python3 /root/t/compute.py $T/py.want $T/py.go0
	want=$(cat $T/py.want)
	(cd / && setsid -f python3 /root/t/compute.py $T/py.got $T/py.go < /dev/null > /dev/null 2>&1)
	until_true 20 pgrep -f py.got
	pid=$(pgrep -f py.got)
	# In its first round, or waiting after it.
	until_true 30 eval "[ \$(ls /proc/$pid/task | wc -l) -ge 5 ]" || fail "python does not start its threads"
	on_peer "mkdir -p $T; rm -f $T/py.*; touch $T/py.go"
	migrate "$pid"
	until_true 60 on_peer "test -s $T/py.got" || fail "python does not end"
	got=$(on_peer "cat $T/py.got")
	[ "$want" = "$got" ] || fail "python computed $got, not $want"
}

OOM=/sys/fs/cgroup/oom

# [MODE]
target_there() {
	on_peer "$D prepare target drain:hold && rm -f $T/target.go"
	rm -f $T/target.*
	(cd / && TEST_DIR=$T setsid -f /root/t/bin/target 4 "$@" < /dev/null > /dev/null 2>&1)
	until_true 20 grep -q ^ready $T/target.log || fail "target does not start"
	PID=$(sed -n 's/^ready //p' $T/target.log)
	AREA=$(sed -nE 's/^area (0x[0-9a-f]+) ([0-9]+)/\1 \2/p' $T/target.log)
	# It stays as long as the receiver, which waits for the drain.
	setsid -f mitosis-cli migrate --pid "$PID" --to b > $T/migrate.log 2>&1 < /dev/null
	until_true 60 eval "[ ! -d /proc/$PID ]" || fail "migrate: $(tail -n 1 $T/migrate.log)"
	on_peer "$D armed $PID" || fail "the process is not lazy"
}

cmd_core() {
	target_there
	on_peer "prlimit --pid $PID --core=unlimited:unlimited; kill -ABRT $PID; for i in \$(seq 100); do [ -d /proc/$PID ] || break; sleep 0.1; done
		/root/t/bin/corecheck $T/core.$PID $AREA" || fail "the core file is wrong"
	on_peer touch /tmp/mitosis-test-go
	# It has died before its drain began, which only this test can bring about: nobody has told the source.
	mitosis-cli release --all
	$D source_idle
}

cmd_gdb() {
	local out
	target_there
	out=$(on_peer "gdb -q -batch -nx -p $PID -ex 'set pagination off' -ex 'x/gx ${AREA% *}+4096*700+8' -ex 'set {long}(${AREA% *}+4096*701)=77' \
		-ex 'x/gd ${AREA% *}+4096*701' -ex 'generate-core-file $T/core.gdb' -ex detach 2>&1")
	grep -q 'Saved corefile' <<< "$out" || fail "gdb cannot save a core file: $out"
	grep -q $':\t77' <<< "$out" || fail "gdb cannot write: $out"
	on_peer "! /root/t/bin/corecheck $T/core.gdb $AREA" > $T/gdb.log || fail "the core file lacks gdb's write"
	grep -q 'has 0x4d at' $T/gdb.log || fail "the core file is wrong: $(cat $T/gdb.log)"
	on_peer "$D drains $PID" || exit 1
	$D source_idle
}

# oom fault|drain: its cgroup there has less room than it needs, and its pages come by its own faults, or by the drain alone.
cmd_oom() {
	target_there touch
	on_peer "mkdir -p $OOM && echo 2M > $OOM/memory.max && echo 0 > $OOM/memory.swap.max && echo $PID > $OOM/cgroup.procs && $D quiet &&
		touch $([ "$1" = fault ] && echo $T/target.go || echo /tmp/mitosis-test-go)" || fail "the cgroup cannot be made"
	until_true 60 on_peer "[ ! -d /proc/$PID ]" || fail "the process is not killed: $(on_peer "cat $OOM/memory.current")"
	on_peer "grep -q 'oom_kill [1-9]' $OOM/memory.events" || fail "it was not the cgroup's limit: $(on_peer "dmesg | tail -n 3" | paste -s)"
	on_peer "$D quiet_end" || exit 1
	on_peer "touch /tmp/mitosis-test-go; rmdir $OOM; $D links_idle" || exit 1
	# As above: without a drain, nobody has told the source.
	[ "$1" = drain ] || mitosis-cli release --all
	$D source_idle
}

# A to B to A, with a look in each place; then once more by plain CRIU.
cmd_and_back() {
	on_peer "$D prepare target"
	$D start_server || exit 1
	PID=$(sed -n 's/^ready //p' $T/target.log)
	migrate "$PID"
	[ "$(on_peer "$D ask")" = "$PID right" ] || fail "it does not answer on b: $(on_peer "$D ask")"
	on_peer "mitosis-cli migrate --pid $PID --to a" > $T/migrate.log 2>&1 || fail "the way back: $(tail -n 1 $T/migrate.log)"
	[ "$($D ask)" = "$PID right" ] || fail "it does not answer on a again: $($D ask)"
	migrate "$PID"
	[ "$(on_peer "$D ask")" = "$PID right" ] || fail "it does not answer on b again"
	on_peer "mkdir -p /root/plain && rm -rf /root/plain/* && criu dump -v0 -t $PID -D /root/plain && criu restore -v0 -d -D /root/plain" ||
		fail "plain CRIU cannot dump and restore what was moved"
	[ "$(on_peer "$D ask")" = "$PID right" ] || fail "it does not answer after plain CRIU"
	on_peer "kill -KILL $PID; rm -rf /root/plain"
}

# criu itself with the configuration files, no mitosis-cli.
cmd_bare() {
	local dir=/root/bare
	on_peer "$D prepare target; rm -rf $dir; mkdir -m 700 $dir"
	rm -rf $dir
	mkdir -m 700 $dir
	$D start_server || exit 1
	PID=$(sed -n 's/^ready //p' $T/target.log)
	criu dump --config /etc/criu/mitosis.conf -v2 -o dump.log -t "$PID" -D $dir || fail "criu dump: $(grep Error $dir/dump.log | head -n 1)"
	[ "$(du -sk $dir | cut -f 1)" -lt 700 ] || fail "the images are large: $(du -sk $dir)"
	# Without the plugin a restore must fail, not give zeros.
	! criu restore -v1 -o plain.log -d -D $dir 2> /dev/null || fail "plain criu restores images that have no memory"
	tar -C $dir -cf - . | on_peer "tar -C $dir -xf -"
	on_peer "criu restore --config /etc/criu/mitosis.conf -v2 -o restore.log -d -D $dir" ||
		fail "criu restore: $(on_peer "grep Error $dir/restore.log | head -n 1")"
	[ "$(on_peer "$D ask")" = "$PID right" ] || fail "it does not answer on b: $(on_peer "$D ask")"
	on_peer "$D drains $PID" || exit 1
	mitosis-cli release --all
	$D source_idle
}

# The script for bpftrace counts each fault that has waited, as the module does, and names the process.
cmd_trace() {
	local faults seen users refs=/sys/module/mitosis/refcnt
	# each of the script's three tracepoints holds the module
	users=$(on_peer "cat $refs")
	on_peer "cd / && setsid -f bpftrace /root/t/mitosis-faults.bt > $T/trace 2>&1 < /dev/null"
	until_true 60 on_peer "[ \$(cat $refs) = $((users + 3)) ]" || fail "bpftrace does not start: $(on_peer cat $T/trace)"
	faults=$(on_peer "$BIN/ctl stat faults_read")
	target_there touch
	on_peer touch $T/target.go
	until_true 60 on_peer "grep -q ^round $T/target.log" || fail "target does not touch its memory"
	on_peer "touch /tmp/mitosis-test-go; $D links_idle" || exit 1
	faults=$(($(on_peer "$BIN/ctl stat faults_read") - faults))
	on_peer "kill -INT \$(pgrep -x bpftrace)"
	until_true 30 on_peer '! pgrep -x bpftrace' || fail "bpftrace does not end"
	on_peer "cat $T/trace; kill -KILL $PID" > $T/trace
	# what it prints at last
	seen=$(awk -v of="@us[target, $PID]:" '$0 == of {on = 1; n = 0; next} !/^\[/ {on = 0} on {sub(/^[^])]*[])] */, ""); n += $1} END {print n + 0}' $T/trace)
	[ "$faults" -ge 16 ] || fail "only $faults faults have waited"
	[ "$seen" = "$faults" ] || fail "$faults faults have waited, and bpftrace has seen $seen: $(cat $T/trace)"
	grep -qE '^@slowest_us\[target, '"$PID"'\]: [1-9]' $T/trace || fail "the slowest is not there: $(cat $T/trace)"
	grep -qE '^[0-9:]{8} link to snapshot [0-9a-f]{16}: state [0-9], error 0' $T/trace || fail "no link is there: $(cat $T/trace)"
	$D source_idle
}

# What is in the plugin's file for criu by itself is not mitosis-cli's: it would offer memory that it has not been told to, for one reader, and not
# read what it has been told to.
cmd_settings() {
	local other=tcp conf=/etc/criu/mitosis-plugin.conf n
	[ -z "${TRANSPORT:-}" ] || other=rc
	for n in "" on_peer; do
		$n cp -p $conf /root/plugin.conf
	done
	trap 'mv /root/plugin.conf /etc/criu/mitosis-plugin.conf; on_peer mv /root/plugin.conf /etc/criu/mitosis-plugin.conf' EXIT
	printf 'MITOSIS_%s\n' INSECURE=1 ONESHOT=1 TRANSPORT=$other NO_DRAIN=1 > $conf
	scp -q $conf "$PEER:$conf"
	on_peer "$D prepare target"
	$D start_server || exit 1
	PID=$(sed -n 's/^ready //p' $T/target.log)
	mitosis-cli prepare --pid "$PID" --name settings > $T/prepare.log 2>&1 || fail "prepare: $(tail -n 1 $T/prepare.log)"
	mitosis-cli list --json > $T/list
	! grep -qE '"oneshot": *true' $T/list || fail "the snapshot is for one reader"
	! grep -qE "\"transport\": *\"$other\"" $T/list || fail "the snapshot is offered over $other"
	# who is not told --insecure does not read what is offered unencrypted
	on_peer "mitosis-cli resume settings --from a --json > $T/resume 2> $T/resume.err" || fail "resume: $(on_peer tail -n 1 $T/resume.err)"
	on_peer "kill -KILL \$(sed -n 's/.*\"init\": *\([0-9]*\).*/\1/p' $T/resume)"
	until_true 20 mitosis-cli release --all || fail "the snapshot is still read from"
	migrate "$PID" "$PEER"
	[ "$(on_peer "$D ask")" = "$PID right" ] || fail "it does not answer on $PEER"
	on_peer "$D drains $PID" || exit 1
	$D source_idle
}

# Images of a snapshot that has been let go: the restore fails and leaves nothing behind.
cmd_stale() {
	local dir=/root/stale
	on_peer "$D prepare target; rm -rf $dir; mkdir -m 700 $dir"
	rm -rf $dir
	mkdir -m 700 $dir
	$D start_server || exit 1
	PID=$(sed -n 's/^ready //p' $T/target.log)
	criu dump --config /etc/criu/mitosis.conf -v2 -o dump.log -t "$PID" -D $dir || fail "criu dump: $(grep Error $dir/dump.log | head -n 1)"
	tar -C $dir -cf - . | on_peer "tar -C $dir -xf -"
	mitosis-cli release --all
	on_peer "! criu restore --config /etc/criu/mitosis.conf -v2 -o restore.log -d -D $dir" || fail "criu restores from a released snapshot"
	[ -z "$(on_peer "$D ask")" ] || fail "it runs with nobody's memory"
	until_true 10 on_peer "[ ! -d /proc/$PID ]" || fail "a process without memory is left"
	on_peer "$D settle_peer"
}

command=$1
shift
"cmd_$command" "$@"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in machine a: snapshots of a program that runs on, and children of them here and on machine b.
set -u
export TEST_DIR=/tmp/mt
T=$TEST_DIR
# shellcheck source=lib.sh
. "${0%/*}/lib.sh"
# Images and what became of resumes.
OUT=/run/fork-test
LIMITS=/sys/module/mitosis/parameters

# What read_once compares with.
cmd_count_from_here() {
	stat_of pages_read > $T/pages_read
	stat_of cache_hits > $T/cache_hits
}

# The parent, and its snapshot, of earlier calls.
parent_known() {
	PID=$(sed -n 's/^ready //p' $T/forked.log)
	snapshot_known
}

snapshot_known() {
	SNAPSHOT=$(sed -n 's/.*"snapshot":"\{0,1\} *"\([0-9a-f]*\)".*/\1/p' $OUT/prepare)
}

# start ARGS...: of the parent's.
start() {
	rm -rf $OUT $T/forked.*
	mkdir -p $OUT
	(cd / && exec setsid -f "$BIN/forked" "$@" < /dev/null > /dev/null 2>&1)
	until_true 20 grep -q ^ready $T/forked.log || fail "the parent does not start"
	PID=$(sed -n 's/^ready //p' $T/forked.log)
	cmd_count_from_here
	# what a child opens must be there; it need not be as long
	on_peer "rm -f $T/forked.*; mkdir -p $T; /root/t/fork.sh count_from_here; echo other > $T/forked.log.grow; echo other > $T/forked.log"
}

prepare() {
	# criu itself gives up after 10 s, in which a slow kernel does not stop many threads
	[ "$SLOW" = 1 ] || set -- "$@" -- --timeout $((10 * SLOW))
	mitosis-cli prepare --pid "$PID" --name t --json "$@" > $OUT/prepare 2> $OUT/prepare.err || fail "prepare: $(tail -n 2 $OUT/prepare.err | paste -s -d ' ')"
	snapshot_known
	[ -n "$SNAPSHOT" ] || fail "prepare does not name the snapshot: $(cat $OUT/prepare)"
}

# resume ARGS...: with what it says in $OUT/resume.
resume() {
	mitosis-cli resume t --json "$@" > $OUT/resume 2> $OUT/resume.err ||
		{ cat $OUT/resume.err; fail "resume $*: $(tail -n 2 $OUT/resume.err | paste -s -d " ")"; }
}

# [HOST]: of the children there.
inits() {
	sed -n "/\"init\"/{s/[^0-9]//g;h};/\"host\": *\"${1:-.*}\"/{g;p}" $OUT/resume
}

# Of all children.
pids() {
	sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' $OUT/resume
}

# verdicts N [FIRST]: of children here.
cmd_verdicts() {
	local i
	for ((i = ${2:-0}; i < ${2:-0} + $1; i++)); do
		until_true 60 grep -sqE '^(PASS|FAIL)' $T/forked.log.$i || fail "child $i gives no verdict"
		grep -q ^PASS $T/forked.log.$i || fail "child $i: $(grep ^FAIL $T/forked.log.$i)"
	done
}

# read_once PAGES: whether several children have read the PAGES that all of them have touched once.
cmd_read_once() {
	local read hits
	read=$(($(stat_of pages_read) - $(cat $T/pages_read)))
	hits=$(($(stat_of cache_hits) - $(cat $T/cache_hits)))
	echo "$read pages were read, faults found $hits here"
	[ $read -ge "$1" ] && [ $read -lt $(($1 * 3 / 2)) ] || fail "$read pages were read, and $1 should be, once"
	# one fault maps what is around it, too
	[ $hits -ge $(($1 / 16)) ] || fail "faults found only $hits pages here"
}

# The histograms of how long faults have waited, of the machine and of each child.
cmd_latency() {
	python3 - "$(mitosis-cli stats --json)" "$(mitosis-cli list --json)" << 'END' || fail "what the histograms say is not so"
import json, sys
stats, processes = json.loads(sys.argv[1]), json.loads(sys.argv[2])["processes"]
faults = lambda o: sum(x["faults"] for x in o["fault_latency"])
longest = sum(x["faults"] * x["below_ns"] for x in stats["fault_latency"])
print("%d faults have waited %d us, in a histogram of %d; of the processes: %s" % (stats["faults_read"], stats["fault_ns"] // 1000, faults(stats),
    [faults(p) for p in processes]))
sys.exit(faults(stats) != stats["faults_read"] or not longest // 2 <= stats["fault_ns"] <= longest or
    not processes or min(map(faults, processes)) < 10 or sum(map(faults, processes)) > faults(stats))
END
}

# The most that one of the children here has mapped of what is kept, in pages.
most_mapped() {
	local pid all=0 n
	for pid in $(mitosis-cli list --json | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p'); do
		n=$(awk '/^Shared_Clean/ { print int($2 / 4) }' "/proc/$pid/smaps_rollup")
		[ "$n" -le $all ] || all=$n
	done
	echo $all
}

kept_at_most() {
	echo 3 > /proc/sys/vm/drop_caches
	[ "$(stat_of cache_pages)" -le "$1" ]
}

# Memory that is short takes what is kept for children; of what they have mapped what they do not use.
cmd_shrink() {
	local kept mapped
	kept=$(stat_of cache_pages)
	mapped=$(most_mapped)
	echo "$kept pages are kept, of these children map $mapped"
	[ "$kept" -ge 2048 ] || fail "only $kept pages are kept"
	# each has read at least what it has not written
	[ "$mapped" -ge 1024 ] || fail "children share only $mapped pages"
	until_true 20 kept_at_most 64 || fail "$(stat_of cache_pages) pages are kept when memory is short"
}

# An attachment has a reference to the module, and a read one to its attachment.
nothing_is_used() {
	until_true 20 module_is_unused
}

# end INIT...: children end when their first process is asked to.
cmd_end() {
	local i
	for i in "$@"; do
		kill "$i"
		until_true 20 is_gone "$i" || fail "child under $i does not end"
	done
	until_true 20 idle_links || fail "links are left: $(mitosis-cli list)"
	[ "$(stat_of cache_pages)" = 0 ] || fail "$(stat_of cache_pages) pages are kept for nobody"
	nothing_is_used || fail "attachments or reads are left: the module has $(module_users) users"
}

parent_passes() {
	touch $T/forked.go
	until_true 60 grep -qE '^(PASS|FAIL)' $T/forked.log || fail "the parent gives no verdict"
	grep -q ^PASS $T/forked.log || fail "the parent: $(grep ^FAIL $T/forked.log)"
}

end_all() {
	is_gone "$PID" || tree_kill "$PID"
	until_true 20 idle_source || fail "memory is held: $(mitosis-cli list)"
}

# On the other machine, with the parent writing over its memory; then one that is refused a release.
cmd_remote() {
	start
	prepare
	mitosis-cli list | grep -q "^$SNAPSHOT  t  *sealed" || fail "list does not show it: $(mitosis-cli list)"
	touch $T/forked.go
	resume -n 3 --on "$PEER"
	[ "$(inits | wc -l)" = 3 ] || fail "not three children: $(cat $OUT/resume)"
	python3 - $OUT/resume << 'END' || fail "the phases are not the time that each has taken: $(cat $OUT/resume)"
import json, sys
for child in json.load(open(sys.argv[1])):
    print(child["ms"], child["phases"])
    assert list(child["phases"]) == ["start", "link", "criu", "attach", "finish"] and min(child["phases"].values()) >= 0
    assert sum(child["phases"].values()) == child["ms"] and child["phases"]["criu"] > 0
END
	on_peer "/root/t/fork.sh verdicts 3" || fail "children there"
	on_peer "/root/t/fork.sh read_once 2048" || exit 1
	on_peer /root/t/fork.sh latency || exit 1
	on_peer /root/t/fork.sh shrink || exit 1
	parent_passes
	mitosis-cli release "$SNAPSHOT" 2> $OUT/release && fail "released under its children"
	grep -q "read from it" $OUT/release || fail "release does not say why not: $(cat $OUT/release)"
	# shellcheck disable=SC2046
	on_peer "/root/t/fork.sh end $(inits | paste -s -d ' ')" || fail "children there do not end"
	until_true 20 mitosis-cli release "$SNAPSHOT" 2> /dev/null || fail "it cannot be released"
	end_all
}

cmd_local() {
	start
	prepare --pin
	resume -n 3
	touch $T/forked.go
	cmd_verdicts 3
	parent_passes
	tree_kill "$PID"
	sleep 3
	mitosis-cli list | grep -q "^$SNAPSHOT" || fail "a pinned snapshot has gone with its parent"
	# shellcheck disable=SC2046
	cmd_end $(inits)
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
}

# Memory that a device lets others read is not given back before it has been told not to, however often it must be asked.
cmd_revoke_prepare() {
	start
	prepare
	stat_of pages_held > $T/pages_held
	dmesg -C
}

cmd_revoke() {
	parent_known
	mitosis-cli release "$SNAPSHOT" &
	until_true 20 asked_again || fail "the device was not asked again: $(dmesg | tail -n 3)"
	[ "$(stat_of pages_held)" = "$(cat $T/pages_held)" ] || fail "$(stat_of pages_held) pages are held while the device lets others read all"
	wait $! || fail "it cannot be released"
	[ "$(dmesg | grep -c 'it is asked again')" = "$1" ] || fail "not asked $1 times more: $(dmesg | tail -n 3)"
	end_all
}

asked_again() {
	dmesg | grep -q 'does not take back what it lets peers read.*it is asked again'
}

# Children that bring in all are on their own then.
cmd_eager() {
	start
	prepare
	resume -n 2 --eager --on "$PEER"
	on_peer "until [ \$(mitosis-cli stats | sed -n 's/^attached  *//p') = 0 ]; do sleep 0.2; done"
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released: children have all"
	on_peer "/root/t/fork.sh verdicts 2" || fail "children there"
	# shellcheck disable=SC2046
	on_peer "/root/t/fork.sh end $(inits | paste -s -d ' ')" || fail "children there do not end"
	end_all
}

# What list says of the process below INIT.
cmd_process() {
	local pid
	# shellcheck disable=SC2046
	for pid in $(tree_of "$1"); do
		mitosis-cli list | sed -nE "s/^[0-9a-f]{16} +$pid +([0-9]+) +([0-9]+) +([0-9]+) +([0-9]+)$/\1 pages, \2 missing, \3 by fault, \4 by drain/p"
	done
}

# One of two children on a machine brings in all, and the other one stays lazy: whether it comes before or after.
cmd_one_eager() {
	local order lazy eager what
	for order in lazy-first eager-first; do
		start
		prepare
		if [ $order = lazy-first ]; then
			resume -n 1 --on "$PEER"
			lazy=$(inits)
		fi
		resume -n 1 --on "$PEER" --eager
		eager=$(inits)
		if [ $order = eager-first ]; then
			resume -n 1 --on "$PEER"
			lazy=$(inits)
		fi
		# both are child 0, with one log
		on_peer ". /root/t/lib.sh; until_true 60 test_count 2 ^PASS $T/forked.log.0" || fail "not both children pass"
		on_peer ". /root/t/lib.sh; until_true 60 sh -c '[ -z \"\$(/root/t/fork.sh process $eager)\" ]'" || fail "the eager one is not drained"
		what=$(on_peer "/root/t/fork.sh process $lazy")
		echo "the lazy one: $what"
		[[ $what == *" 0 by drain" && $what != *", 0 missing"* ]] || fail "the lazy one is not lazy: $what"
		on_peer "/root/t/fork.sh end $eager $lazy" || fail "children there do not end"
		mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
		end_all
	done
}

# The parent ends: children that are there keep the snapshot, and nothing else does.
cmd_follow() {
	start
	prepare
	resume -n 1 --on "$PEER"
	tree_kill "$PID"
	sleep 3
	mitosis-cli list | grep -q "^$SNAPSHOT" || fail "the snapshot has gone under a child"
	on_peer "/root/t/fork.sh verdicts 1" || fail "child there"
	# shellcheck disable=SC2046
	on_peer "/root/t/fork.sh end $(inits | paste -s -d ' ')" || fail "the child there does not end"
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
	start
	prepare
	tree_kill "$PID"
	until_true 10 idle_source || fail "a snapshot that nobody reads outlives its parent"
}

cmd_lease() {
	start
	prepare --lease 1h
	mitosis-cli list --json | grep -q '"lease_s":35[0-9][0-9]' || mitosis-cli list --json | grep -q '"lease_s": *35[0-9][0-9]' ||
		fail "the lease is not shown: $(mitosis-cli list --json)"
	mitosis-cli extend "$SNAPSHOT" --lease 0 || fail "extend"
	mitosis-cli list --json | grep -q lease_s && fail "a lease of 0 is one"
	# long enough for a machine that has other things to do
	mitosis-cli extend "$SNAPSHOT" --lease 12 || fail "extend"
	mitosis-cli extend "$SNAPSHOT" --lease 2m || fail "extend"
	sleep 13
	mitosis-cli list | grep -q "^$SNAPSHOT" || fail "the old lease has ended it"
	mitosis-cli extend "$SNAPSHOT" --lease 1s || fail "extend"
	until_true 10 idle_source || fail "the lease does not end"
	mitosis-cli extend "$SNAPSHOT" --lease 4s 2> /dev/null && fail "what is gone is extended"
	mitosis-cli resume t 2> $OUT/gone && fail "what is gone is resumed"
	grep -q "no such snapshot" $OUT/gone || fail "it is not said that the snapshot is gone: $(cat $OUT/gone)"
	end_all
}

# speaker COMMAND: in PID, the parent that COMMAND starts.
speaker() {
	rm -rf $OUT $T/speaker.* $T/spoken*
	mkdir -p $OUT
	(cd / && exec setsid -f sh -c "$1" < /dev/null > /dev/null 2>&1)
	until_true 20 grep -sq ^ready $T/speaker.log || fail "the parent does not start"
	PID=$(sed -n 's/^ready //p' $T/speaker.log)
	on_peer "rm -f $T/speaker.*; mkdir -p $T"
}

# has_said FILE: all that a child has to, once, and it has ended with the status that a child ends with.
has_said() {
	[ "$(grep -c '^line' "$1")" = 20000 ] && grep -q '^line 19999' "$1" || fail "what the child says does not all come: $(grep -c ^line "$1") lines, $(tail -n 1 "$1")"
	! grep -q ^parent "$1" || fail "the child says what its parent does"
	[ "$2" = 7 ] || fail "the child's keeper ends with $2: $(cat $OUT/err)"
}

# Standard output is a pipe, and a file where the child is: the child goes on writing where who starts it has written.
cmd_to_file() {
	local rc=0
	speaker "$BIN/speaker 2>&1 | cat > $T/spoken"
	prepare
	(echo one; mitosis-cli resume t --foreground; rc=$?; echo end; exit $rc) > $OUT/said 2> $OUT/err || rc=$?
	has_said $OUT/said $rc
	[ "$(head -n 2 $OUT/said | paste -s -d ' ')" = "one child" ] && [ "$(tail -n 1 $OUT/said)" = end ] && [ "$(wc -l < $OUT/said)" = 20003 ] ||
		fail "the file is written over: $(head -n 3 $OUT/said | paste -s -d ' ') ... $(tail -n 2 $OUT/said | paste -s -d ' ')"
	# a socket, as a server's standard output may be
	rc=0
	python3 -c '
import socket, subprocess, sys
ours, its = socket.socketpair()
child = subprocess.Popen(["mitosis-cli", "resume", "t", "--foreground"], stdout=its)
its.close()
sys.stdout.writelines(ours.makefile())
sys.exit(child.wait())' > $OUT/said 2> $OUT/err || rc=$?
	has_said $OUT/said $rc
	until_true 20 idle_links || fail "links are left: $(mitosis-cli list)"
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
}

# terminal COMMAND: a parent in a terminal, which it leads or not; children in none, in one of theirs, and with what they say in a file.
cmd_terminal() {
	local rc=0
	speaker "script -qfc 'stty cols 99 -echo; $1' $T/spoken"
	prepare
	resume -n 2 --on "$PEER"
	on_peer "for i in \$(seq 300); do [ \$(grep -c ^PASS $T/speaker.log) = 2 ] && break; sleep 0.1; done; cat $T/speaker.log" > $OUT/log
	[ "$(grep -c ^PASS $OUT/log)" = 2 ] || fail "children without a terminal do not end: $(cat $OUT/log)"
	(echo one; mitosis-cli resume t --foreground) > $OUT/said 2> $OUT/err < /dev/null || rc=$?
	tr -d '\r' < $OUT/said > $OUT/lines
	has_said $OUT/lines $rc
	[ "$(head -n 3 $OUT/lines | paste -s -d ' ')" = "one child columns 99" ] || fail "the child has no terminal like its parent's: $(head -n 3 $OUT/lines)"
	touch $T/speaker.go
	rc=0
	(until grep -q ^columns $OUT/said; do sleep 0.1; done; echo hello; until grep -q "^line 19999" $OUT/said; do sleep 0.1; done) |
		script -qefc 'stty cols 77; was=$(stty -g); mitosis-cli resume t --foreground; rc=$?; [ "$(stty -g)" = "$was" ] && echo as it was; exit $rc' $OUT/said > /dev/null 2> $OUT/err || rc=$?
	tr -d '\r' < $OUT/said > $OUT/lines
	has_said $OUT/lines $rc
	grep -q '^columns 77' $OUT/lines || fail "the child does not see its terminal: $(grep ^columns $OUT/lines)"
	grep -q '^read hello' $OUT/lines || fail "the child does not read from its terminal: $(grep ^read $OUT/lines)"
	grep -q '^as it was' $OUT/lines || fail "the terminal is not left as it was"
	until_true 20 idle_links || fail "links are left: $(mitosis-cli list)"
	is_gone "$PID" && fail "the parent is gone"
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
}

# An interactive shell's own way to its terminal.
cmd_controlling() {
	speaker "script -qfc 'exec 5<> /dev/tty; exec $BIN/speaker' $T/spoken"
	mitosis-cli prepare --pid "$PID" --name t > $OUT/prepare 2>&1 && fail "a process with /dev/tty can be prepared"
	grep -q "has opened its controlling terminal, /dev/tty" $OUT/prepare || fail "it is not said what is in the way: $(tail -n 2 $OUT/prepare | paste -s -d ' ')"
	until_true 20 is_longer $T/spoken "$(stat -c %s $T/spoken)" || fail "the process does not run on when it was refused"
	idle_source || fail "memory is held: $(mitosis-cli list)"
	tree_kill "$PID"
}

# others_end PID: of all children that were begun on this machine only that of process PID lives on.
cmd_others_end() {
	local init begun
	init=$(sed -E 's/.*\) . ([0-9]+) .*/\1/' "/proc/$1/stat")
	begun=$(wc -l < $T/hooked)
	[ "$begun" -lt 8 ] || fail "all children have been begun: nothing can be seen of the session's end"
	until_true 20 only_runs "$init" || fail "children that nobody waits for live on: $(pgrep -a -x mitosis-cli | paste -s -d ' '), the first one's is $init"
	sleep 2
	[ "$(wc -l < $T/hooked)" = "$begun" ] || fail "children are begun when nobody waits for them"
	is_gone "$1" && fail "a child that has been handed over is gone"
	cmd_verdicts 1
	cmd_end "$init"
}

only_runs() {
	[ "$(pgrep -x mitosis-cli)" = "$1" ]
}

two_hooked() {
	on_peer "[ \$(wc -l < $T/hooked) -ge 2 ]"
}

# session ssh|receiver: ends while children are on their way. The first has been handed over.
cmd_session() {
	local pid first rc=0
	start
	prepare
	on_peer "rm -f $T/hooked $T/hook.go"
	mitosis-cli resume t -n 8 --on "$PEER" --hook "echo \$MITOSIS_CHILD >> $T/hooked; [ \$MITOSIS_CHILD = 0 ] || until [ -e $T/hook.go ]; do sleep 0.1; done" > $OUT/resume 2>&1 &
	pid=$!
	until_true 60 grep -q '^child 0 on' $OUT/resume || fail "the first child does not start: $(cat $OUT/resume)"
	until_true 20 two_hooked || fail "the second child is not begun: $(cat $OUT/resume)"
	first=$(sed -n 's/^child 0 on .*: process \([0-9]*\),.*/\1/p' $OUT/resume)
	if [ "$1" = ssh ]; then
		kill -KILL $pid
		wait $pid
	else
		# nobody is left to end them: they do so as soon as they could be handed over
		# children have its command line, too
		on_peer "pkill -KILL -o -f '^mitosis-cli receive'; touch $T/hook.go"
		wait $pid || rc=$?
		[ $rc = 1 ] && grep -q "1 of 8 children are known to run there" $OUT/resume || fail "resume ends with $rc: $(cat $OUT/resume)"
	fi
	on_peer "/root/t/fork.sh others_end $first" || exit 1
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
}

peers() {
	mitosis-cli show "$1" --json | sed -n 's/.*"peers": *\([0-9]*\).*/\1/p'
}

has_no_peers() {
	[ "$(peers "$1")" = 0 ]
}

is_released() {
	! mitosis-cli show "$1" > /dev/null 2>&1
}

# gone_start: three snapshots of one parent, each with a child on a machine that is about to lose its power.
cmd_gone_start() {
	local name
	start
	for name in leased plain pinned; do
		set --
		[ $name != leased ] || set -- --lease 1h
		[ $name != pinned ] || set -- --pin
		mitosis-cli prepare --pid "$PID" --name $name --json "$@" > $OUT/$name || fail "prepare $name"
		mitosis-cli resume $name --on "$PEER" > $OUT/resume 2>&1 || fail "resume $name: $(tail -n 2 $OUT/resume | paste -s -d ' ')"
		sed -n 's/.*"snapshot":"\{0,1\} *"\([0-9a-f]*\)".*/\1/p' $OUT/$name > $OUT/$name.id
		[ "$(peers "$(cat $OUT/$name.id)")" = 1 ] || fail "the child of $name does not read from it: $(mitosis-cli list)"
	done
	echo "$PID" > $OUT/pid
}

# Without its power: the lease ends as it would have, the parent's end is one, and what is pinned can be released.
cmd_gone() {
	local leased plain pinned begin
	leased=$(cat $OUT/leased.id) plain=$(cat $OUT/plain.id) pinned=$(cat $OUT/pinned.id)
	mitosis-cli extend "$leased" --lease 1s || fail "extend"
	until_true 20 is_released "$leased" || fail "a machine that is gone keeps a snapshot beyond its lease: $(mitosis-cli list)"
	tree_kill "$(cat $OUT/pid)"
	until_true 60 has_no_peers "$plain" || fail "a machine that is gone still reads from it: $(mitosis-cli list)"
	begin=$SECONDS
	# it may have been the network, and have come back
	sleep 20
	! is_released "$plain" || fail "a child that comes back finds nothing"
	until_true 180 is_released "$plain" || fail "a machine that is gone keeps the snapshot of a parent that has ended: $(mitosis-cli list)"
	[ $((SECONDS - begin)) -ge 100 ] || fail "a child that comes back after $((SECONDS - begin)) s finds nothing"
	has_no_peers "$pinned" || fail "a machine that is gone still reads from it: $(mitosis-cli list)"
	mitosis-cli release "$pinned" || fail "it cannot be released"
	idle_source || fail "memory is held: $(mitosis-cli list)"
}

# start_user UID: in PID, a parent of that user's; it writes to its log as long as it runs.
start_user() {
	local dir=$T/u$1
	rm -rf "$dir"
	install -d -o "$1" "$dir"
	(cd / && TEST_DIR=$dir exec setsid -f setpriv --reuid "$1" --regid "$1" --clear-groups $BIN/forked < /dev/null > /dev/null 2>&1)
	until_true 20 grep -q ^ready "$dir/forked.log" || fail "the parent of user $1 does not start"
	PID=$(sed -n 's/^ready //p' "$dir/forked.log")
}

is_longer() {
	[ "$(stat -c %s "$1")" -gt "$2" ]
}

# over_limit UID MIB COMMAND...: by the limit of that user, and the process goes on as if nothing had happened.
over_limit() {
	local log=$T/u$1/forked.log.grow
	"${@:3}" > $OUT/refused 2>&1 && fail "user $1 gets more than its limit"
	grep -q "user $1 would hold more than $2 MiB, [0-9.]* MiB of it in other snapshots: release one, .*/max_held_user_mb" $OUT/refused ||
		fail "it is not said what is over which limit: $(tail -n 3 $OUT/refused | paste -s -d ' ')"
	kill -CONT "$PID"
	until_true 20 is_longer "$log" "$(stat -c %s "$log")" || fail "the process does not run on when it was refused"
}

prepare_as() {
	mitosis-cli prepare --pid "$2" --name "$1" > $OUT/prepare 2>&1 || fail "prepare $1: $(tail -n 2 $OUT/prepare | paste -s -d ' ')"
	SNAPSHOT=$(sed -n 's/^snapshot \([0-9a-f]*\) .*/\1/p' $OUT/prepare)
}

# Memory is counted for its user and for the machine, and refused for either; who is not root counts.
cmd_quota() {
	local one two root held all dir
	trap 'echo 0 > $LIMITS/max_held_user_mb; echo 0 > $LIMITS/max_held_mb' EXIT
	chmod 755 /root /root/t /root/t/bin
	rm -rf $OUT
	mkdir -p $OUT
	start_user 1001
	one=$PID
	start_user 1002
	two=$PID
	start
	root=$PID
	echo 12 > $LIMITS/max_held_user_mb
	prepare_as one "$one"
	held=$(mitosis-cli stats | sed -n 's/^pages_held_uid_1001 *//p')
	[ "${held:-0}" -ge 2048 ] && [ "$held" -le 3072 ] || fail "user 1001 has '$held' pages by the counters"
	mitosis-cli stats --json | grep -q "\"1001\": *$held" || fail "not so as JSON: $(mitosis-cli stats --json)"
	mitosis-cli show "$SNAPSHOT" --json | grep -q '"uid": *1001' || fail "show does not name the user: $(mitosis-cli show "$SNAPSHOT" --json)"
	mitosis-cli list | grep -q "^$SNAPSHOT  one  *sealed  *1001 " || fail "list does not name the user: $(mitosis-cli list)"
	PID=$one
	over_limit 1001 12 mitosis-cli prepare --pid "$one" --name more
	# what it writes to must be there, and have that size
	kill -STOP "$one"
	on_peer "mkdir -p $T/u1001; truncate -s $(stat -c %s $T/u1001/forked.log.grow) $T/u1001/forked.log.grow"
	over_limit 1001 12 mitosis-cli migrate --pid "$one" --to "$PEER"
	[ "$(mitosis-cli stats | sed -n 's/^pages_held_uid_1001 *//p')" = "$held" ] || fail "what was refused is counted: $(mitosis-cli list)"
	prepare_as two "$two"
	prepare_as root "$root"
	prepare_as root-again "$root"
	# the machine's is for root as well
	all=$(stat_of pages_held)
	echo $((all / 256 + 4)) > $LIMITS/max_held_mb
	mitosis-cli prepare --pid "$root" --name more > $OUT/refused 2>&1 && fail "the machine gives more than its limit"
	grep -q "max_held_mb: release one, or raise it" $OUT/refused || fail "it is not said what is over which limit: $(tail -n 3 $OUT/refused | paste -s -d ' ')"
	[ "$(stat_of pages_held)" = "$all" ] || fail "what was refused is held"
	echo 0 > $LIMITS/max_held_mb
	mitosis-cli release "$(mitosis-cli list | sed -n 's/^\([0-9a-f]*\)  one .*/\1/p')" || fail "it cannot be released"
	prepare_as again "$one"
	mitosis-cli release --all
	mitosis-cli stats | grep pages_held_uid && fail "what is released is counted"
	idle_source || fail "memory is held: $(mitosis-cli list)"
	touch $T/u1001/forked.go $T/u1002/forked.go $T/forked.go
	for dir in u1001/ u1002/ ''; do
		until_true 60 grep -qE '^(PASS|FAIL)' $T/${dir}forked.log || fail "the parent in '$dir' gives no verdict"
		grep -q ^PASS $T/${dir}forked.log || fail "the parent in '$dir': $(grep ^FAIL $T/${dir}forked.log)"
	done
	for PID in $one $two $root; do
		tree_kill "$PID"
	done
}

# verdict NAME: of a program that may go on now.
cmd_verdict() {
	touch "$T/$1.go"
	until_true 90 grep -sqE '^(PASS|FAIL)' "$T/$1.log" || fail "$1 gives no verdict on $(hostname)"
	grep -q ^PASS "$T/$1.log" || fail "$1 on $(hostname): $(grep ^FAIL "$T/$1.log")"
}

# prog_start NAME ARGS...: here, and makes room for what it says as a child there.
prog_start() {
	rm -rf $OUT $T/"$1".*
	mkdir -p $OUT
	(cd / && exec setsid -f "$BIN/$1" "${@:2}" < /dev/null > /dev/null 2>&1)
	until_true 60 grep -q ^ready "$T/$1.log" || fail "$1 does not get ready: $(cat "$T/$1.log")"
	PID=$(sed -n 's/^ready //p' "$T/$1.log")
	on_peer "mkdir -p $T; rm -f $T/$1.*"
}

# slow_disk WHAT: reads of the program take half a second each, so that they are under way when the snapshot is taken: riops=2, or riops=max
# again. A kernel that cannot do that has many of them.
slow_disk() {
	local cg=/sys/fs/cgroup/slow
	[ "${SLOW_DISK:-}" ] && { [ -d $cg ] || echo +io > /sys/fs/cgroup/cgroup.subtree_control; } 2> /dev/null || return 0
	mkdir -p $cg
	echo "$(mountpoint -d /) $1" > $cg/io.max
	echo "$PID" > $cg/cgroup.procs
	sleep 1
}

# prog NAME ARGS...: a program that checks itself goes on here, and as a child there; both at the same time, and it writes to its memory.
cmd_prog() {
	local here rc=0
	prog_start "$@"
	slow_disk riops=2
	prepare
	slow_disk riops=max
	[ "$1" != inflight ] || on_peer "$BIN/inflight file"
	cmd_verdict "$1" &
	here=$!
	resume -n 1 --on "$PEER"
	on_peer "/root/t/fork.sh verdict $1" || rc=$?
	wait $here && [ $rc = 0 ] || exit 1
	# shellcheck disable=SC2046
	on_peer "/root/t/fork.sh end $(inits | paste -s -d ' ')" || fail "the child does not end"
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
}

# limit: a child that reads more than its memory cgroup has room for lives, and what it has read is charged there.
cmd_limit() {
	local pid cg=/sys/fs/cgroup/limit
	prog_start reader
	prepare
	resume -n 1 --on "$PEER"
	pid=$(pids)
	on_peer "/root/t/fork.sh limit_there $cg $pid" || exit 1
	# shellcheck disable=SC2046
	on_peer "/root/t/fork.sh end $(inits | paste -s -d ' '); rmdir $cg" || fail "the child does not end"
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
}

# limit_write: a child whose memory cgroup is full of what it has only read writes to what another child has read, and lives.
cmd_limit_write() {
	local pid first cg=/sys/fs/cgroup/limit
	prog_start touched
	prepare
	resume -n 1 --on "$PEER"
	first=$(inits)
	on_peer "/root/t/fork.sh touch 0 upper" || exit 1
	resume -n 1 --on "$PEER"
	pid=$(pids)
	on_peer "/root/t/fork.sh in_limit $cg 5M $pid && /root/t/fork.sh touch 1 write" || fail "$(on_peer "grep oom_kill $cg/memory.events" | paste -s)"
	on_peer "/root/t/fork.sh end $first $(inits); rmdir $cg" || fail "the children do not end"
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
}

# touch N HOW: the Nth child of "touched" here touches pages; how many of its faults waited, how many pages were read ahead, in how many reads.
cmd_touch() {
	local c before after
	# large reads need contiguous memory
	echo 1 > /proc/sys/vm/compact_memory
	for c in faults_waited pages_ahead reads; do
		before+="$(stat_of $c) "
	done
	echo "$2" > $T/touched.log."$1".go
	until_true 60 grep -sqE '^(PASS|FAIL)' $T/touched.log."$1" || fail "child $1 gives no verdict"
	grep -q ^PASS $T/touched.log."$1" || fail "child $1: $(grep ^FAIL $T/touched.log."$1")"
	for c in faults_waited pages_ahead reads; do
		after+="$(stat_of $c) "
	done
	# shellcheck disable=SC2086
	set -- $before $after
	echo $(($4 - $1)) $(($5 - $2)) $(($6 - $3))
}

# touches WHAT MOST-WAITED LEAST-AHEAD N HOW: what cmd_touch says there must be.
touches() {
	local got waited ahead reads
	got=$(on_peer "/root/t/fork.sh touch $4 $5") || fail "$1: $got"
	read -r waited ahead reads <<< "$got"
	echo "$1: $waited faults waited, $ahead pages were read ahead, in $reads reads"
	READS=$reads AHEAD=$ahead
	[ "$waited" -le "$2" ] || fail "$1: $waited faults waited, and not more than $2 should have"
	[ "$ahead" -ge "$3" ] || fail "$1: only $ahead pages were read ahead, and $3 should have been"
}

end_there() {
	# shellcheck disable=SC2046
	on_peer "/root/t/fork.sh end $(inits | paste -s -d ' ')" || fail "the child there does not end"
}

refused() {
	local sentence=$1
	shift
	mitosis-cli "$@" > $OUT/refused 2>&1 && fail "this is not refused: $*"
	grep -q "$sentence" $OUT/refused || fail "$* does not say '$sentence': $(cat $OUT/refused)"
}

# Children read 1024 pages upwards or downwards. Others that they need are some dozens.
cmd_prefetch() {
	local n=0 cache
	prog_start touched
	prepare
	refused "is no policy" resume t --prefetch windows
	refused "is no policy" resume t --prefetch window=12
	refused "is no policy" resume t --prefetch sequential=64
	refused "is no policy" resume t --prefetch recorded=8
	refused "no record" resume t --prefetch recorded
	refused "no record" resume t --prefetch recorded --on "$PEER"
	refused "leave one of them out" resume t --record --eager
	for cache in "" --no-cache; do
		# shellcheck disable=SC2086
		{
			resume -n 1 --on "$PEER" --prefetch none $cache
			touches "none $cache" 1200 0 $((n++)) up
			[ "$READS" -ge 1024 ] && [ "$AHEAD" = 0 ] || fail "there was something ahead"
			end_there
			resume -n 1 --on "$PEER" --prefetch window=8 $cache
			touches "window=8 $cache" 240 800 $((n++)) up
			[ "$READS" -ge 128 ] || fail "a window has more than 8 pages"
			end_there
			resume -n 1 --on "$PEER" --prefetch window=32 $cache
			touches "window=32 $cache" 120 900 $((n++)) down
			[ "$READS" -ge 32 ] || fail "a window has more than 32 pages"
			end_there
			resume -n 1 --on "$PEER" --prefetch sequential $cache
			touches "sequential $cache" 160 800 $((n++)) up
			end_there
			resume -n 1 --on "$PEER" --prefetch sequential $cache
			touches "sequential $cache, downwards" 1200 0 $((n++)) down
			[ "$READS" -ge 1000 ] && [ "$AHEAD" -le 100 ] || fail "what goes downwards is read upwards"
			end_there
		}
	done
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
}

# in_limit CGROUP BYTES PID
cmd_in_limit() {
	mkdir -p "$1" && echo "$2" > "$1/memory.max" && echo 0 > "$1/memory.swap.max" && echo "$3" > "$1/cgroup.procs" || fail "the cgroup cannot be made"
}

cmd_limit_there() {
	local file unmapped
	unmapped=$(stat_of cache_unmapped)
	cmd_in_limit "$1" 6M "$2"
	touch $T/reader.log.again $T/reader.go
	# 6,000 pages, each by a fault that waits: over TLS on a busy computer 65 a second
	until_true 240 grep -sqE '^(PASS|FAIL)' $T/reader.log || fail "no verdict: $(stat_of pages_read) pages have been read, $(grep oom_kill "$1/memory.events" | paste -s)"
	grep -q ^PASS $T/reader.log || fail "$(grep ^FAIL $T/reader.log)"
	file=$(sed -n 's/^file //p' "$1/memory.stat")
	echo "$((file >> 10)) KiB are charged, $(($(stat_of cache_unmapped) - unmapped)) pages were unmapped"
	[ "$file" -ge $((2 << 20)) ] || fail "only $file bytes of what it has read are charged to its cgroup"
	[ "$(stat_of cache_unmapped)" -gt "$unmapped" ] || fail "12 MiB are mapped in 6"
}

# chain: a child of a child that has not got all of its memory, back on the machine of the first.
cmd_chain() {
	local child held
	prog_start chain
	prepare
	resume -n 1 --on "$PEER"
	child=$(pids)
	on_peer "/root/t/fork.sh chain_there $child" || exit 1
	held=$(on_peer "mitosis-cli list --json" | tr -d ' \n' | sed 's/.*"snapshots":\[{[^}]*"pages":\([0-9]*\).*/\1/')
	# a quarter is written, one read and one discarded
	[ "$held" -ge 512 ] && [ "$held" -lt 1400 ] || fail "the child's snapshot holds $held pages"
	mitosis-cli resume u --from "$PEER" --json > $OUT/again 2> $OUT/again.err || fail "resume of the child's child: $(paste -s $OUT/again.err)"
	until_true 60 grep -sqE '^(PASS|FAIL)' $T/chain.log.2 || fail "the child's child gives no verdict"
	grep -q ^PASS $T/chain.log.2 || fail "the child's child: $(grep ^FAIL $T/chain.log.2)"
	# what its memory is needed for is needed, whoever has ended
	on_peer "kill $(inits)"
	mitosis-cli release "$SNAPSHOT" 2> $OUT/release && fail "released under its child's snapshot"
	grep -q "read from it" $OUT/release || fail "release does not say why not: $(cat $OUT/release)"
	kill "$(sed -n 's/.*"init": *\([0-9]*\).*/\1/p' $OUT/again)"
	until_true 20 idle_links || fail "links are left: $(mitosis-cli list)"
	mitosis-cli release "$SNAPSHOT" 2> /dev/null && fail "released under its child's snapshot, which nobody reads"
	# the loss of a parent is told by its name
	mitosis-cli release --force "$SNAPSHOT" || fail "it cannot be released by force"
	mitosis-cli resume u --from "$PEER" 2> $OUT/orphan > /dev/null && fail "it is resumed without its parent"
	grep -q "$SNAPSHOT" $OUT/orphan || fail "the parent is not named: $(paste -s $OUT/orphan)"
	on_peer "mitosis-cli release \$(mitosis-cli list | awk '\$2 == \"u\" { print \$1 }')" || fail "the child's snapshot cannot be released"
	on_peer "/root/t/fork.sh idle" || exit 1
	touch $T/chain.go
	until_true 60 grep -q ^PASS $T/chain.log || fail "the parent: $(grep ^FAIL $T/chain.log)"
	end_all
}

cmd_chain_there() {
	until_true 60 grep -sqE "^(ready|FAIL)" $T/chain.log.1 || fail "the child does not get ready"
	mitosis-cli prepare --pid "$1" --name u > $T/prepare.log 2>&1 || fail "prepare of the child: $(paste -s $T/prepare.log)"
	[ "$(mitosis-cli list --json | tr -d ' \n' | sed 's/.*"pending":\([0-9]*\).*/\1/')" -ge 512 ] || fail "the child has got all of its memory first"
}

# foreign: a process in namespaces that somebody else has made, where criu is what they say it is.
cmd_foreign() {
	local ns
	rm -rf $OUT $T/foreign*
	mkdir -p $OUT $T
	printf '#!/bin/sh\ntouch %s/foreign.ran\n' $T > $T/foreign.criu
	chmod 755 $T/foreign.criu
	unshare --mount --pid --fork --mount-proc sh -c "mount --bind $T/foreign.criu $(command -v criu) && { sleep 1000 & echo > $T/foreign.ready; wait; }" &
	ns=$!
	until_true 10 test -e $T/foreign.ready || fail "it does not get ready"
	mitosis-cli prepare --pid "$(pgrep -x -f 'sleep 1000')" --name t > $OUT/foreign 2>&1 && fail "it is prepared: $(cat $OUT/foreign)"
	[ ! -e $T/foreign.ran ] || fail "a program of the process's own mount namespace was run: $(cat $OUT/foreign)"
	idle_source || fail "memory is held: $(mitosis-cli list)"
	tree_kill $ns
}

# A lazy child there, as long as nobody ends it.
cmd_stats_begin() {
	start
	prepare
	resume -n 1 --on "$PEER"
}

cmd_stats_end() {
	parent_known
	# shellcheck disable=SC2046
	on_peer "/root/t/fork.sh end $(inits | paste -s -d ' ')" || fail "the child there does not end"
	until_true 20 mitosis-cli release "$SNAPSHOT" 2> /dev/null || fail "it cannot be released"
	end_all
}

cmd_idle() {
	until_true 20 idle_links && until_true 20 idle_source || fail "something is left: $(mitosis-cli list)"
}

# refused WORD NAME ARGS...: a program that prepare has to refuse for something that it does. When it has stopped doing it, it can be prepared.
cmd_refused() {
	local word=$1
	shift
	prog_start "$@"
	slow_disk riops=2
	mitosis-cli prepare --pid "$PID" --name t > $OUT/refused 2>&1 && fail "it is not refused: $(cat $OUT/refused)"
	cat $OUT/refused
	grep -q "mitosis.*process $PID.*$word.*:" $OUT/refused || fail "it is not said why it is refused"
	idle_source || fail "memory is held: $(mitosis-cli list)"
	[ ! -e /run/mitosis/prepared/t ] || fail "a descriptor is left"
	slow_disk riops=max
	cmd_verdict "$1"
	prepare
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
}

# Whether so many pages have been read ahead, and have come.
replayed() {
	local ahead
	ahead=$(($(stat_of pages_ahead) - $(cat $T/ahead.before)))
	[ $ahead -ge "$1" ] && [ $(($(stat_of pages_read) - $(cat $T/read.before))) -ge $ahead ]
}

cmd_replayed() {
	until_true 60 replayed "$1"
}

# What the first child touches, the second has before it touches it: on the machine with a record that was kept, and where the first still runs.
cmd_record() {
	local first cache n=0 mark
	mark="$BIN/ctl stat pages_ahead > $T/ahead.before; $BIN/ctl stat pages_read > $T/read.before"
	prog_start touched
	prepare
	for cache in "" --no-cache; do
		# shellcheck disable=SC2086
		{
			resume -n 1 --on "$PEER" --record $cache
			touches "recorded $cache" 700 0 $((n++)) some
			[ "$READS" -ge 512 ] || fail "only $READS pages were touched"
			mitosis-cli record t --on "$PEER" > $OUT/record || fail "it is not kept"
			cat $OUT/record
			[ "$(cut -d ' ' -f 1 $OUT/record)" -ge 512 ] && [ "$(cut -d ' ' -f 1 $OUT/record)" -le 800 ] || fail "it is not what was touched"
			first=$(inits)
			if [ -n "$cache" ]; then
				# by what the module knows
				rm /run/mitosis/prepared/t/mitosis-record.img
			else
				end_there
				first=
			fi
			on_peer "$mark"
			resume -n 1 --on "$PEER" --prefetch recorded $cache
			on_peer "/root/t/fork.sh replayed 500" || fail "what is recorded is not read"
			touches "replayed $cache" 64 0 $((n++)) some
			on_peer "/root/t/fork.sh end $first $(inits)" || fail "children there do not end"
		}
	done
	refused "notes what it touches" record t --on "$PEER"
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
}

# drained: a child, and its own child, that read what they share while it is drained, and when memory is short afterwards.
cmd_drained() {
	prog_start reader
	prepare
	resume -n 1 --on "$PEER"
	on_peer "/root/t/fork.sh drained_there $SNAPSHOT" || exit 1
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released: children have all"
	on_peer "/root/t/fork.sh end $(inits)" || fail "the child does not end"
	end_all
}

cmd_drained_there() {
	touch $T/reader.go
	until_true 120 grep -sqE '^(read|FAIL)' $T/reader.log || fail "the child does not read on: $(stat_of pages_read) pages have been read"
	[ "$(most_mapped)" -ge 2048 ] || fail "the child shares only $(most_mapped) pages"
	$BIN/ctl drain "$1"
	until_true 60 idle_links || fail "it is not drained: $(mitosis-cli list)"
	echo 3 > /proc/sys/vm/drop_caches
	touch $T/reader.log.again
	until_true 60 grep -sqE '^(PASS|FAIL)' $T/reader.log || fail "no verdict"
	grep -q ^PASS $T/reader.log || fail "$(grep ^FAIL $T/reader.log)"
}

counted() {
	grep -qx "$2: $3" "$1"
}

# becomes SOUGHT COMMAND...: what the examples do, on the machine without the parent.
cmd_becomes() {
	local sought=$1 child rc=0
	shift
	"$@" > $T/counter 2>&1 < /dev/null &
	child=$!
	until_true 60 counted $T/counter child "$sought" || fail "the child does not count: $(tail -n 3 $T/counter)"
	counted $T/counter child 11 || fail "the child has not gone on where its parent was: $(head -n 3 $T/counter)"
	! grep -qE '^parent|^child: 10$' $T/counter || fail "the child says what its parent has said"
	kill $child
	wait $child || rc=$?
	[ $rc = 143 ] || fail "the child's keeper ends with $rc"
	until_true 20 idle_links || fail "links are left: $(mitosis-cli list)"
}

# counter PARENT CHILD: the examples. Standard output is a pipe, and the parent no leader of a session.
cmd_counter() {
	local parent
	rm -f $T/counter
	(cd $BIN && setsid -f sh -c "$1 2>&1 < /dev/null | cat > $T/counter" > /dev/null 2>&1)
	until_true 60 counted $T/counter parent 12 || fail "the parent does not count on: $(tail -n 3 $T/counter)"
	on_peer "mkdir -p $T; cd $BIN && /root/t/fork.sh becomes 14 $2 a" || exit 1
	until_true 20 counted $T/counter parent 20 || fail "the parent does not count on: $(tail -n 3 $T/counter)"
	! grep -q ^child $T/counter || fail "the child says it at its parent's"
	parent=$(pgrep -x -f "$1")
	kill "$parent"
	mitosis-cli release "$(mitosis-cli list | sed -n 's/^\([0-9a-f]*\)  fork-73 .*/\1/p')" || fail "it cannot be released"
	until_true 20 idle_source || fail "memory is held: $(mitosis-cli list)"
}

# Whether anything of a hundred of them is left.
cmd_hundred() {
	local i held
	start
	held=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
	for ((i = 0; i < 100 / SLOW; i++)); do
		prepare
		mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
		done
	[ "$($BIN/ctl stat pages_held)" = 0 ] || fail "$($BIN/ctl stat pages_held) pages are held"
	held=$((held - $(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)))
	# one leaked snapshot has 8 MiB; a debug kernel keeps freed memory for a while
	[ $held -lt $((16384 * SLOW)) ] || fail "$held KiB are missing after it"
	parent_passes
	end_all
}

# What the module does here, in counters.
work() {
	mitosis-cli stats | grep -E '^(faults|pages_read|reads|read_errors|access_errors|snapshots|pages_held|regions) '
}

# All that the module does, in calls of its functions.
calls_begin() {
	(
		cd /sys/kernel/tracing || exit 1
		echo ':mod:mitosis*' > set_ftrace_filter && echo function > current_tracer && echo > trace
	) || fail "the module's functions cannot be traced"
}

calls_end() {
	(
		cd /sys/kernel/tracing || exit 1
		sed -n 's/.*: \([a-z_0-9.]*\) *\(\[mitosis[a-z_]*\]\)* *<-.*/\1/p' trace | sort | uniq -c > $OUT/calls
		echo nop > current_tracer
		echo > set_ftrace_filter
	)
}

# Many children on two machines, of which one is the parent's. The other one's come first: what they read costs the source nothing.
cmd_fanout() {
	local n=$1 before
	start 2 wait
	prepare --pin
	resume -n "$n" --on "$PEER" --on "$(hostname)"
	[ "$(inits "$PEER" | wc -l)" = "$n" ] && [ "$(inits "$(hostname)" | wc -l)" = "$n" ] || fail "not twice $n children: $(cat $OUT/resume)"
	sed -n 's/.*"ms": *\([0-9]*\).*/\1/p' $OUT/resume | sort -n | sed -n "1p;${n}p;\$p" | paste -s -d ' ' | sed 's/^/ms from start to running, least, median, most: /'
	before=$(work)
	[ "$(wc -l <<< "$before")" = 8 ] || fail "these are not eight counters: $before"
	calls_begin
	on_peer "touch $T/forked.children; /root/t/fork.sh verdicts $n" || fail "children there"
	calls_end
	[ "$(work)" = "$before" ] || fail "the source's counters move: $(diff <(echo "$before") <(work) | paste -s -d ' ')"
	cat $OUT/calls
	# it looks after its peers every ten seconds; over tcp it answers
	[ "$TRANSPORT" = tcp ] || ! grep -E '^ *[0-9]{3}' $OUT/calls || fail "the source does something for each read"
	on_peer "/root/t/fork.sh read_once 512" || exit 1
	touch $T/forked.children
	cmd_verdicts "$n" "$n"
	cmd_read_once 512
	{ on_peer "cat $T/forked.log.*"; cat $T/forked.log.*; } | sed -n 's/^id //p' > $OUT/ids
	[ "$(sort -u $OUT/ids | grep -cE '^[0-9a-f]{32}$')" = $((2 * n)) ] || fail "$(sort -u $OUT/ids | wc -l) identities of $((2 * n)) children"
	parent_passes
	# shellcheck disable=SC2046
	on_peer "/root/t/fork.sh end $(inits "$PEER" | paste -s -d ' ')" || fail "children there do not end"
	# shellcheck disable=SC2046
	cmd_end $(inits "$(hostname)")
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
}

# waiting SECONDS N HOST...: for what is done to the machines meanwhile. N children on each that wait for word, and are given up after SECONDS
# without their source.
cmd_waiting() {
	local give_up=$1 n=$2 h
	shift 2
	start 2 wait
	prepare --pin
	# shellcheck disable=SC2046
	resume -n "$n" --give-up "$give_up" $(printf -- '--on %s ' "$@")
	for h in "$@"; do
		[ "$(inits "$h" | wc -l)" = "$n" ] || fail "not $n children on $h: $(cat $OUT/resume)"
	done
	on_peer "mkdir -p $OUT; cat > $OUT/resume" < $OUT/resume
}

# go_on [FIRST]: children here do what they have to, and end.
cmd_go_on() {
	touch $T/forked.children
	# shellcheck disable=SC2046
	cmd_verdicts "$(inits "$(hostname)" | wc -l)" "${1:-0}"
	# shellcheck disable=SC2046
	cmd_end $(inits "$(hostname)")
}

# Children here are without their source, for good.
cmd_given_up() {
	local p n=0
	touch $T/forked.children
	for p in $(inits "$(hostname)"); do
		until_true 90 is_gone "$p" || fail "the child under $p is still there: $(stacks "$p")"
		! grep -sE '^(PASS|FAIL)' $T/forked.log.$n || fail "child $n has gone on without its memory"
		n=$((n + 1))
	done
	dmesg | grep -q "mitosis: snapshot $1: link to .* given up .*: the source did not answer in time" || fail "it is not said why they were killed: $(dmesg | grep mitosis: | tail -n 3)"
	cmd_end
	echo "$n children were killed"
}

# child_pid N
child_pid() {
	pids | sed -n "$(($1 + 1))p"
}

child_waits() {
	grep -qs pager "/proc/$(child_pid "$1")/wchan"
}

# The one whose read it is that all wait for is killed.
cmd_kill_reader() {
	local pids n
	# shellcheck disable=SC2207
	pids=($(pids))
	for n in "${!pids[@]}"; do
		touch $T/forked.child.$n
		until_true 20 child_waits "$n" || fail "child $n does not wait for a page: $(stacks "${pids[n]}")"
	done
	kill -KILL "${pids[0]}"
	until_true 10 is_gone "$(inits | head -n 1)" || fail "child 0 does not die of SIGKILL while it waits: $(stacks "${pids[0]}")"
	# the link is looked at every ten seconds, and reads that nobody waits for are dropped then
	until_true 40 eval "dmesg | grep -q 'snapshot $1: link to .* lost'" || fail "nobody has noticed that the link is down"
	sleep 12
	for n in 1 2; do
		child_waits "$n" || fail "child $n does not wait any more: $(stacks "${pids[n]}")"
	done
}

# loses N: the read for which child N waits is what the link is lost by.
cmd_loses() {
	local down
	down=$(stat_of link_down)
	touch $T/forked.child.$1
	until_true 20 child_waits "$1" || fail "child $1 does not wait for a page"
	until_true 60 at_least $((down + 1)) stat_of link_down || fail "nobody has noticed that the link is down"
	child_waits "$1" || fail "child $1 does not wait any more: $(dmesg | grep mitosis: | tail -n 2)"
}

# It is the only one that waits.
cmd_kill_alone() {
	kill -KILL "$(child_pid "$1")"
	# the link is looked at every ten seconds, and reads that nobody waits for are dropped then
	sleep 12
}

cmd_link_is_up() {
	until_true 60 eval "mitosis-cli list | grep -q '^$1 .* up '" || fail "the link does not come back: $(mitosis-cli list)"
}

# Its siblings get what they wait for.
cmd_siblings() {
	local n
	for n in 1 2; do
		until_true 60 grep -sqE '^(PASS|FAIL)' $T/forked.log.$n || fail "child $n gives no verdict"
		grep -q ^PASS $T/forked.log.$n || fail "child $n: $(grep ^FAIL $T/forked.log.$n)"
	done
	! grep -sE '^(PASS|FAIL)' $T/forked.log.0 || fail "a child that was killed has gone on"
	# shellcheck disable=SC2046
	cmd_end $(inits | tail -n +2)
}

cmd_snapshot() {
	snapshot_known
	echo "$SNAPSHOT"
}

# child PREFETCH NAME ARGS...: a child there, for what is done to it and to the machines.
cmd_child() {
	prog_start "${@:2}"
	prepare
	# as without it, of a slow kernel: it is to be as patient as who looks at it
	resume -n 1 --on "$PEER" --prefetch "$1" --give-up $((120 * SLOW))
	on_peer "mkdir -p $OUT; cat > $OUT/resume" < $OUT/resume
}

# child_end NAME
cmd_child_end() {
	PID=$(sed -n 's/^ready //p' "$T/$1.log")
	snapshot_known
	end_there
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
}

# The snapshot is as good as before, and goes when asked to.
cmd_waiting_end() {
	parent_known
	resume -n 1 --on "$PEER"
	on_peer "cat > $OUT/resume; /root/t/fork.sh go_on" < $OUT/resume || fail "a new child there"
	parent_passes
	mitosis-cli release "$SNAPSHOT" || fail "it cannot be released"
	end_all
}

"cmd_$1" "${@:2}"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in machine a, and from there in b: moves a test program and looks at what has become of it on both sides.
set -u
export TEST_DIR=/tmp/mt
T=$TEST_DIR
# shellcheck source=lib.sh
. "${0%/*}/lib.sh"

# Armed mappings are both "sr" and "rr", which no other mapping is.
is_armed() {
	local p
	for p in "$@"; do
		! grep -qE '^VmFlags:.* sr rr ' "/proc/$p/smaps" 2>/dev/null || return 0
	done
	return 1
}

not_armed() {
	! is_armed "$@"
}

# Nothing of mitosis is to be seen in a process that has all its memory.
ordinary() {
	local p
	until_true "${DRAIN:-60}" not_armed "$@" || fail "mappings of $* are not ordinary after ${DRAIN:-60} s"
	for p in "$@"; do
		! grep -il mitosis "/proc/$p/maps" || fail "/proc/$p/maps still names mitosis"
	done
}

start() {
	local name=$1
	shift
	mkdir -p $T
	rm -f "$T/$name".*
	(cd / && exec setsid -f "$BIN/$name" "$@" < /dev/null > /dev/null 2>&1)
	if ! until_true 60 grep -q ^ready "$T/$name.log"; then
		PID=$(pgrep -n -x "$name") && stacks "$PID"
		fail "$name does not get ready: $(tail -n 1 "$T/$name.log")"
	fi
	PID=$(sed -n 's/^ready //p' "$T/$name.log")
}

# On the destination: waits for the verdict of the program.
cmd_verdict() {
	local name=$1 pid=$2 bound=$3 log=$T/$1.log line
	until_true "$bound" grep -sqE '^(PASS|FAIL)' "$log"
	grep -svE '^(ready|PASS|FAIL)' "$log"
	line=$(grep -s -m 1 ^FAIL "$log") && fail "${line#FAIL: } (on the destination)"
	if ! grep -sq ^PASS "$log"; then
		is_gone "$pid" && fail "$name ended without a verdict"
		stacks "$pid"
		fail "$name gave no verdict within $bound s"
	fi
	[ -z "${LAZY:-}" ] || is_armed "$pid" || fail "$name was not lazy to its end"
	rm -f /run/mitosis-test-step
	touch /tmp/mitosis-test-go
}

# Then for an ordinary process, and ends it.
cmd_finish() {
	cmd_verdict "$@"
	local pid=$2
	# shellcheck disable=SC2046
	ordinary $(tree_of "$pid")
	[ -n "${KEEP:-}" ] || tree_kill "$pid"
	until_true 20 idle_links || fail "the destination still has links: $(mitosis-cli list 2>&1 | tail -n +2)"
}

# The destination before a move: the program may go on there, and the receiver stops at STEP.
cmd_prepare() {
	local name=$1 step=${2:-}
	mkdir -p $T
	rm -f "${T:?}/$name".* /tmp/mitosis-test-go /tmp/mitosis-test-at /run/mitosis-test-step
	[ -z "$step" ] || echo "$step" > /run/mitosis-test-step
	touch "$T/$name.go"
}

migrate() {
	# shellcheck disable=SC2086
	mitosis-cli migrate --pid "$PID" --to "$PEER" ${MIGRATE:-} > $T/migrate.log 2>&1
}

migrate_failed() {
	cat $T/migrate.log
	is_gone "$PID" || tree_kill "$PID"
	fail "mitosis-cli migrate ended with $1: $(grep '^mitosis-cli' $T/migrate.log | tail -n 2 | paste -s -d ' ')"
}

# prog NAME ARGS...: moved while it works. BOUND: seconds for its checks. LAZY: the drain begins when it is done.
cmd_prog() {
	local name=$1
	on_peer "/root/t/drive.sh prepare $name ${LAZY:+drain:hold}" || fail "machine $PEER does not answer"
	start "$@"
	if [ -n "${LAZY:-}" ]; then
		migrate &
		on_peer "LAZY=1 /root/t/drive.sh verdict $name $PID ${BOUND:-60}" || { on_peer touch /tmp/mitosis-test-go; wait $!; migrate_failed $?; }
		wait $! || migrate_failed $?
	else
		migrate || migrate_failed $?
	fi
	is_gone "$PID" || fail "process $PID is still on the source"
	on_peer "DRAIN=${DRAIN:-60} KEEP=${KEEP:-} /root/t/drive.sh finish $name $PID ${BOUND:-60}" || exit 1
	until_true 20 idle_source || fail "the source still holds memory: $(mitosis-cli list 2>&1 | tail -n +2)"
	compgen -G '/sys/fs/cgroup/mitosis-*' > /dev/null && fail "a frozen cgroup is left: $(compgen -G '/sys/fs/cgroup/mitosis-*')"
	compgen -G '/var/lib/mitosis/*.json' > /dev/null && fail "a journal is left: $(compgen -G '/var/lib/mitosis/*.json')"
	true
}

# What migrate --json says of KEY.
migrated() {
	sed -n "s/^ *\"$1\": *\([0-9]*\),*$/\1/p" $T/migrate.log
}

# Counters of the destination, since the last call of it.
peer_counters() {
	on_peer "for c in pages_filled cache_hits pages_read; do echo \$c \$($BIN/ctl stat \$c); done" > $T/counters.now || fail "machine $PEER does not answer"
	[ ! -e $T/counters ] || awk 'NR == FNR { was[$1] = $2; next } { print $1, $2 - was[$1] }' $T/counters $T/counters.now > $T/counters.grown
	mv $T/counters.now $T/counters
}

grown() {
	awk -v n="$1" '$1 == n { print $2 }' $T/counters.grown
}

# precopy ROUNDS NAME ARGS...: what has been brought before and was not written to since is not read again.
cmd_precopy() {
	local rounds=$1 all same
	shift
	rm -f $T/counters
	peer_counters
	MIGRATE="--json --precopy=$rounds" cmd_prog "$@"
	peer_counters
	cat $T/migrate.log $T/counters.grown
	[ "$(migrated precopy_rounds)" = "$rounds" ] || fail "there were $(migrated precopy_rounds) rounds"
	all=$(migrated pages) same=$(migrated pages_precopied)
	[ "$(grown pages_filled)" -ge "$same" ] || fail "$same pages are said to have come before, and $(grown pages_filled) have"
	[ $(($(grown pages_read) - $(grown pages_filled))) -le $((all - same)) ] ||
		fail "$(grown pages_read) pages were read, $(grown pages_filled) of them before, and $((all - same)) had been written to"
	case "$*" in
	"writer "*" 0 0" | "writer "*" name") [ $((all - same)) -le 128 ] || fail "$((all - same)) of $all pages are read after the move, though none was written to" ;;
	"writer "*" 10") [ $((all - same)) -le $((all / 2)) ] || fail "$((all - same)) of $all pages are read after the move, though a tenth is written to" ;;
	"writer "*" children") [ "$same" -ge $((all / 4)) ] || fail "$same of $all pages had come before" ;;
	"writer "*" 100") [ "$same" -le $((all / 2)) ] || fail "$same of $all pages are said to be the same, though all are written to" ;;
	esac
}

# As prog, of which some pages have moved before.
cmd_precopied_prog() {
	cmd_prog "$@"
	[ "$(migrated precopy_rounds)" = 2 ] || fail "there were $(migrated precopy_rounds) rounds"
	[ "$(migrated pages_precopied)" -gt 0 ] || fail "none of $(migrated pages) pages had come before"
}

# The default is by size, and by what is written to meanwhile.
cmd_precopy_auto() {
	MIGRATE=--json cmd_prog writer 32 0 0
	cat $T/migrate.log
	grep -q '^mitosis-cli: no pre-copy: 3[0-9]\.[0-9] MiB are fetched sooner' $T/migrate.log || fail "it is not said why there was no pre-copy"
	[ -z "$(migrated precopy_rounds)" ] || fail "a small process was copied before it was moved"
	MIGRATE=--json cmd_prog writer 80 1024 1
	cat $T/migrate.log
	grep -q '^mitosis-cli: pre-copy: [0-9] round' $T/migrate.log || fail "it is not said what was chosen"
	[ "$(migrated pages_precopied)" -gt $((60 * 256)) ] || fail "$(migrated pages_precopied) pages had come before"
	# as much as the processor can
	MIGRATE=--json cmd_prog writer 80 409600 100 1 keep
	cat $T/migrate.log
	grep -q '^mitosis-cli: pre-copy: 1 round,.*, which is as fast as the link: the rest comes afterwards' $T/migrate.log || fail "it is not said that rounds do not help"
}

# What is under way would be lost to a process that runs on: by default it is moved without pre-copy.
cmd_precopy_refused() {
	local rc=0
	on_peer "/root/t/drive.sh prepare writer" || fail "machine $PEER does not answer"
	start writer 80 1024 10 1 aio
	MIGRATE=--precopy=1 migrate || rc=$?
	cat $T/migrate.log
	[ $rc = 1 ] || fail "migrate --precopy=1 ends with $rc"
	grep -q 'io_setup' $T/migrate.log && grep -q "process $PID runs on here" $T/migrate.log || fail "it is not said why, or what has become of the process"
	! is_gone "$PID" || fail "the process has ended"
	until_true 20 idle_source || fail "memory is held"
	on_peer "/root/t/drive.sh no_receiver 20 && /root/t/drive.sh prepare writer" || exit 1
	migrate || migrate_failed $?
	cat $T/migrate.log
	grep -q '^mitosis-cli: no pre-copy: ' $T/migrate.log || fail "it is not said that there was no pre-copy"
	on_peer "/root/t/drive.sh finish writer $PID 60" || exit 1
	until_true 20 idle_source || fail "the source still holds memory"
}

# What is to be held of the process fits, and not once more what has changed since: by default it is moved all the same.
cmd_precopy_held() {
	trap 'echo 0 > /sys/module/mitosis/parameters/max_held_mb' EXIT
	echo 82 > /sys/module/mitosis/parameters/max_held_mb
	MIGRATE=--json cmd_prog writer 80 0 0
	cat $T/migrate.log
	grep -q "max_held_mb: release one" $T/migrate.log && grep -q "process $PID is dumped once more" $T/migrate.log || fail "all could be held"
	[ -z "$(migrated precopy_rounds)" ] || fail "it was moved with what had come before"
}

# start_tight LIMIT ARGS...: a writer in a cgroup that has room for that much.
start_tight() {
	local group=/sys/fs/cgroup/tight
	mkdir -p $group && echo "$1" > $group/memory.max && echo 0 > $group/memory.swap.max || fail "the cgroup cannot be made"
	on_peer "/root/t/drive.sh prepare writer" || fail "machine $PEER does not answer"
	echo $$ > $group/cgroup.procs
	start writer "${@:2}"
	echo $$ > /sys/fs/cgroup/cgroup.procs
}

end_tight() {
	grep -qx 'oom_kill 0' /sys/fs/cgroup/tight/memory.events || fail "somebody was killed for want of memory"
	rmdir /sys/fs/cgroup/tight
}

# In a cgroup that leaves little for copies of pages there is no pre-copy, or it is given up: nobody is killed.
cmd_precopy_tight() {
	local option how why
	# what it writes in the last is faster than anybody looks
	for how in "--precopy=auto 110M 1024 50" "--precopy=2 110M 1024 50" "--precopy=auto 150M 102400 100"; do
		option=${how%% *} why="memory became short"
		[ $option != --precopy=auto ] || why="[1-7][0-9]\.[0-9] MiB of memory are left"
		# shellcheck disable=SC2086 # its words
		set -- $how
		start_tight "$2" 80 "$3" "$4"
		MIGRATE="--json $option" migrate || migrate_failed $?
		cat $T/migrate.log
		grep -q "^mitosis-cli: no pre-copy: $why" $T/migrate.log || fail "with $option it is not said that memory is short"
		[ -z "$(migrated precopy_rounds)" ] || fail "with $option it is moved with what had come before"
		on_peer "/root/t/drive.sh finish writer $PID 60" || exit 1
		until_true 20 idle_source || fail "the source still holds memory"
		end_tight
	done
}

# Memory is looked after while the other side is in the middle of a word.
cmd_precopy_stalled() {
	local rc=0
	start_tight 130M 80 5120 100
	MIGRATE="--precopy=1 --ssh /root/t/half_word.py" migrate || rc=$?
	cat $T/migrate.log
	[ $rc = 1 ] || fail "migrate ends with $rc"
	grep -q 'memory is short here while the other side reads' $T/migrate.log || fail "it is not said that memory is short"
	until_true 20 idle_source || fail "memory is held"
	! is_gone "$PID" || fail "the process has ended"
	tree_kill "$PID"
	end_tight
	on_peer "/root/t/drive.sh no_receiver 20" || exit 1
}

# What completes a dump is killed when it has sealed the snapshot: nothing is left of that, nor of what it leaves pages to.
cmd_precopy_finish_killed() {
	local plugin=/root/plugin rc=0
	rm -rf $plugin && cp -r /usr/lib/mitosis/criu $plugin
	cat > $plugin/mitosis-dump-finish <<-'END'
	#!/bin/sh
	exec strace -f -qq -o /dev/null -e trace=renameat,renameat2,rename -e inject=renameat,renameat2,rename:signal=KILL /usr/lib/mitosis/criu/mitosis-dump-finish "$@"
	END
	on_peer "/root/t/drive.sh prepare writer" || fail "machine $PEER does not answer"
	start writer 16 0 0
	export MITOSIS_PLUGIN_DIR=$plugin
	MIGRATE=--precopy=1 migrate || rc=$?
	unset MITOSIS_PLUGIN_DIR
	cat $T/migrate.log
	[ $rc = 1 ] || fail "migrate ends with $rc"
	grep -q "process $PID runs on here" $T/migrate.log || fail "it is not said what has become of the process"
	! is_gone "$PID" || fail "the process has ended"
	until_true 20 idle_source || fail "memory is held: $(mitosis-cli list)"
	on_peer "/root/t/drive.sh no_receiver 20 && /root/t/drive.sh prepare writer" || exit 1
	migrate || migrate_failed $?
	on_peer "/root/t/drive.sh finish writer $PID 60" || exit 1
	until_true 20 idle_source || fail "the source still holds memory"
}

cmd_precopy_evicted_start() {
	on_peer "/root/t/drive.sh prepare writer" || fail "machine $PEER does not answer"
	peer_counters
	start writer 16 0 0
	echo "$PID" > /run/paused.pid
	(
		MITOSIS_TEST_STEP=fenced:pause MIGRATE="--json --precopy=1" migrate
		echo $? > /run/paused.rc
	) > /dev/null 2>&1 &
	rm -f /run/paused.rc
	until_true 60 test -e /tmp/mitosis-test-at || fail "it does not get to step fenced: $(cat $T/migrate.log)"
}

cmd_precopy_evicted_end() {
	touch /tmp/mitosis-test-go
	cmd_paused_end
	PID=$(cat /run/paused.pid)
	on_peer "/root/t/drive.sh finish writer $PID 60" || exit 1
	peer_counters
	cat $T/counters.grown
	[ "$(grown pages_read)" -gt $((16 * 256 * 3 / 2)) ] || fail "only $(grown pages_read) pages were read: nothing had been taken away"
	until_true 20 idle_source || fail "the source still holds memory"
}

# lazy NAME ARGS...: made lazy in place, without CRIU. DRAIN_MS: -1 starts the drain when the program is done. THEN: a command for when it is lazy,
# which is given the snapshot.
cmd_lazy() {
	local name=$1 id
	start "$@"
	# shellcheck disable=SC2046
	id=$($BIN/ctl lazify 10.77.0.1 "${DRAIN_MS:--1}" $(tree_of "$PID")) || fail "it cannot be made lazy"
	${THEN:-true} "$id" || fail "$THEN fails"
	touch "$T/$name.go"
	until_true "${BOUND:-60}" grep -qE '^(PASS|FAIL)' "$T/$name.log"
	[ "${DRAIN_MS:--1}" -ge 0 ] || $BIN/ctl drain "$id" || true
	cmd_finish "$name" "$PID" 1
	until_true 20 idle_source || fail "the source still holds memory"
}

# tcp_source NAME ARGS...: as lazy, over sources that are not as they should be. Each costs the connection, and the process nothing.
cmd_tcp_source() {
	local log=$T/tcp_source.log down n pid
	down=$($BIN/ctl stat link_down)
	rm -f $log
	mkdir -p $T
	python3 "${0%/*}/tcp_source.py" 7999 10.77.0.1 7574 $log < /dev/null > $log.err 2>&1 &
	pid=$!
	until_true 30 grep -q ^ready $log || fail "nobody stands between: $(cat $log.err)"
	# who stands between two that have TLS has nothing to say
	MITOSIS_INSECURE=1 LINK_PORT=7999 DRAIN_MS=0 cmd_lazy "$@"
	kill $pid
	cat $log
	n=$(grep -c '^did ' $log)
	[ "$n" = 13 ] || fail "$n of 13 misdeeds were done"
	[ $(($($BIN/ctl stat link_down) - down)) -ge 11 ] || fail "they have not cost connections"
}

# A process of whose memory the source cannot read two pages.
cmd_unreadable() {
	local id log=$T/unreadable.log unreadable
	unreadable=$($BIN/ctl stat pages_unreadable)
	start unreadable
	id=$(BEYOND=$(sed -n 's/^beyond //p' $log) $BIN/ctl lazify 10.77.0.1 -1 "$PID") || fail "it cannot be made lazy"
	touch $T/unreadable.go
	until_true "${BOUND:-60}" grep -qE '^(drain|FAIL)' $log
	$BIN/ctl drain "$id"
	until_true "${DRAIN:-60}" idle_links || fail "the rest does not come in: $(mitosis-cli list 2>&1 | tail -n +2)"
	until_true 20 idle_source || fail "the source still holds memory"
	is_gone "$PID" && fail "the process was killed: $(dmesg | grep mitosis: | tail -n 2 | paste -s -d ' ')"
	touch $T/unreadable.go2
	cmd_verdict unreadable "$PID" 20
	unreadable=$(($($BIN/ctl stat pages_unreadable) - unreadable))
	[ "$unreadable" = 2 ] || fail "$unreadable pages are counted as unreadable, not 2"
	mitosis-cli list | grep -q " $PID " || fail "mitosis-cli list does not know it any more"
	mitosis-cli dump --pid "$PID" --dir /run/unreadable > /run/unreadable.log 2>&1 && fail "it can be dumped"
	grep -q "$PID has 1 pages that the source" /run/unreadable.log || fail "the dump does not say why: $(tail -n 3 /run/unreadable.log)"
	rm -rf /run/unreadable
	tree_kill "$PID"
	until_true 20 "${0%/*}/unload.sh" || fail "the module cannot be unloaded"
	"${0%/*}/setup.sh"
}

# wire [INSECURE]: what passes while a process moves over TCP: pages of it only where that has been allowed.
cmd_wire() {
	local area
	on_peer "/root/t/drive.sh prepare target"
	start target 4
	area=$(sed -nE 's/^area (0x[0-9a-f]+) .*/\1/p' $T/target.log)
	dd if="/proc/$PID/mem" bs=4096 skip=$((area / 4096)) count=1024 2> /dev/null | on_peer "cat > $T/wire.memory
		rm -f $T/wire.pcap; setsid -f tcpdump -i eth0 -s 0 -B 32768 -U -w $T/wire.pcap > $T/wire.log 2>&1 < /dev/null
		until grep -q 'listening on' $T/wire.log; do sleep 0.1; done"
	MITOSIS_INSECURE=${1:-} migrate || migrate_failed $?
	# what has been recorded is written later: up to and with this
	on_peer "until grep -q END-OF-IT $T/wire.pcap; do echo END-OF-IT > /dev/udp/10.77.0.1/7574; sleep 0.1; done
		kill \$(pidof tcpdump); while pidof -q tcpdump; do sleep 0.1; done; grep '^0 packets dropped by kernel' $T/wire.log" || fail "not all has been recorded"
	on_peer "kill -KILL $PID"
	until_true 20 idle_source || fail "the source still holds memory"
}

# One of whose memory it can read nothing.
cmd_unreadable_all() {
	local id n
	start target 4
	n=$($BIN/ctl stat pages_unreadable)
	id=$(WRONG_KEY=1 $BIN/ctl lazify 10.77.0.1 0 "$PID") || fail "it cannot be made lazy"
	until_true "${DRAIN:-60}" is_gone "$PID" || fail "the process lives on without its memory"
	until_true 20 idle_links || fail "the destination still has links"
	n=$(($($BIN/ctl stat pages_unreadable) - n))
	[ "$n" -le 64 ] || fail "$n pages were tried, each with a connection of its own"
	dmesg | grep -qE "snapshot $id: (link to .* given up .*: the source refuses to read its pages|killed process $PID .*cannot be had)" ||
		fail "the log does not say why"
	# a process that touched such a page before all were tried has ended, which a one-shot source is told
	$BIN/ctl release "$id" 2> /dev/null
	until_true 20 idle_source || fail "the source still holds memory"
}

# A lazy process that stays so.
cmd_start_target() {
	start target 4
	# shellcheck disable=SC2046
	$BIN/ctl lazify 10.77.0.1 -1 $(tree_of "$PID") > /run/target.snapshot || fail "it cannot be made lazy"
	is_armed "$PID" || fail "the process is not lazy"
}

cmd_lazy_end() {
	PID=$(sed -n 's/^ready //p' $T/target.log)
	tree_kill "$PID"
	until_true 20 idle_links || fail "links are left"
	$BIN/ctl release "$(cat /run/target.snapshot)" 2> /dev/null
	until_true 20 idle_source || fail "memory is held"
}

# again NAME ARGS...: made lazy in place again and again while it works.
cmd_again() {
	local name=$1 times=0
	start "$@"
	touch "$T/$name.go"
	while ! grep -qE '^(PASS|FAIL)' "$T/$name.log" && ! is_gone "$PID"; do
		$BIN/ctl lazify 10.77.0.1 $((times % 3 * 200)) "$PID" > /dev/null || fail "it cannot be made lazy"
		times=$((times + 1))
		until_true "${DRAIN:-60}" idle_links || fail "its memory does not come in"
	done
	echo "made lazy $times times"
	cmd_finish "$name" "$PID" 1
	until_true 20 idle_source || fail "the source still holds memory"
}

# A server on port 7000 that says its pid and whether its memory is right.
ask() {
	timeout 3 bash -c 'exec 3<> /dev/tcp/127.0.0.1/7000 && head -n 1 <&3' 2> /dev/null
}

cmd_ask() {
	ask
}

answers_right() {
	[ "$(ask)" = "$PID right" ]
}

# Where it answers: "here", "there", "nowhere", or "twice".
where() {
	local here there
	here=$(ask)
	there=$(on_peer /root/t/drive.sh ask)
	case $here,$there in
	,) echo nowhere ;;
	,"$PID right") echo there ;;
	"$PID right",) echo here ;;
	*,) echo "wrong here: $here" ;;
	,*) echo "wrong there: $there" ;;
	*) echo twice ;;
	esac
}

is_at() {
	[ "$(where)" = "$1" ]
}

is_somewhere() {
	is_at here || is_at there
}

unfinished() {
	mitosis-cli resolve | sed -nE 's/^([0-9a-f]{16}) .*/\1/p'
}

images_left() {
	compgen -G '/run/mitosis/*/'
}

cmd_images_left() {
	images_left
}

cmd_tree_kill() {
	tree_kill "$@"
}

cmd_unfinished() {
	unfinished
}

# shellcheck disable=SC2120 # options are for cases to come
server_start() {
	on_peer "/root/t/drive.sh prepare target" || fail "machine $PEER does not answer"
	start target 4 listen 7000
	until_true 10 answers_right || fail "the server does not answer before it is moved: $(ask)"
}

cmd_start_server() {
	server_start
}

# After a fault: where it must run, then no leftover may be in the way of the same move once more.
settle() {
	local want=$1 id at
	[ "$want" != here-or-doubt ] || { want=here; [ -z "$(unfinished)" ] || want=doubt-here; }
	case $want in
	doubt-*)
		id=$(unfinished)
		[ -n "$id" ] || fail "there is nothing to resolve, it runs $(where)"
		at=$(where)
		[ "$at" = nowhere ] || [ "$at" = "${want#doubt-}" ] || fail "before resolve it runs $at"
		mitosis-cli resolve "$id" --to "$PEER" || fail "resolve fails"
		want=${want#doubt-}
		;;
	esac
	if [ "$want" = one-or-doubt ]; then
		for id in $(unfinished); do
			[ "$(where)" != twice ] || fail "it runs twice before resolve"
			mitosis-cli resolve "$id" --to "$PEER" || fail "resolve fails"
		done
		want=one
	fi
	if [ "$want" = one ]; then
		# Whichever it is, it is one.
		until_true 30 is_somewhere
		at=$(where)
		[ "$at" = here ] || [ "$at" = there ] || fail "it runs $at"
		want=$at
	fi
	until_true 30 is_at "$want" || fail "it runs $(where), not $want ($(tail -n 1 $T/migrate.log))"
	if [ "$want" = here ]; then
		until_true 20 idle_source || fail "it runs here, and its memory is still held: $(mitosis-cli list)"
		[ -z "$(unfinished)" ] || fail "it runs here, and something is left to resolve: $(mitosis-cli resolve)"
		on_peer '/root/t/drive.sh settle_peer' || exit 1
		# Nothing of the first try is in the way.
		on_peer "/root/t/drive.sh prepare target"
		unset MITOSIS_TEST_STEP
		migrate || { cat $T/migrate.log; false; } || fail "the second try fails: $(grep ^mitosis-cli $T/migrate.log | tail -n 1)"
		until_true 30 is_at there || fail "after the second try it runs $(where)"
	else
		is_gone "$PID" || fail "it runs there, and process $PID is still here"
		for id in $(unfinished); do
			mitosis-cli resolve "$id" || fail "what is left cannot be resolved"
			[ -z "$(on_peer /root/t/drive.sh unfinished)" ] || fail "resolve has not told the destination"
		done
	fi
	on_peer "PID=$PID /root/t/drive.sh settle_there" || exit 1
	until_true 30 idle_source || fail "the source still holds memory: $(mitosis-cli list)"
	compgen -G '/sys/fs/cgroup/mitosis-*' > /dev/null && fail "a frozen cgroup is left: $(compgen -G '/sys/fs/cgroup/mitosis-*')"
	[ -z "$(unfinished)" ] || fail "something is left to resolve: $(mitosis-cli resolve)"
	# The next one sweeps what is left of one that was killed.
	mitosis-cli check --to "$PEER" || fail "nothing can be moved any more"
	[ -z "$(images_left)" ] || fail "images, with their key, are left: $(images_left)"
	[ -z "$(on_peer /root/t/drive.sh images_left)" ] || fail "images, with their key, are left there"
	echo "it ran $want"
}

cmd_no_receiver() {
	until_true "$1" eval '! pgrep -f "^mitosis-cli receive"' ||
		fail "a receiver is left on the destination: $(ps -o pid,etimes,stat,wchan:20,args -p "$(pgrep -d , -f '^mitosis-cli receive')" | tail -n +2)"
}

# What a dead receiver leaves is frozen; it can be ended. One whose session died with a cable waits for COMMIT as long as the source would
# for RUNNING, 60 s here: only TCP's next attempt, which can come later than that, tells it sooner.
cmd_settle_peer() {
	local id
	cmd_no_receiver 75
	for id in $(unfinished); do
		mitosis-cli resolve "$id" --here kill || fail "what is left on the destination cannot be resolved"
	done
	until_true 20 idle_links || fail "the destination still has links: $(mitosis-cli list)"
}

cmd_settle_there() {
	local id
	# shellcheck disable=SC2046
	ordinary $(tree_of "$PID")
	for id in $(unfinished); do
		mitosis-cli resolve "$id" --here run > /dev/null
	done
	until_true 20 idle_links || fail "the destination still has links: $(mitosis-cli list)"
	answers_right || fail "it does not answer right when it has all its memory: $(ask)"
	tree_kill "$PID"
}

# fault here|there STEP ACTION WHERE: one side of a migration is hit at a step.
cmd_fault() {
	local side=$1 step=$2 action=$3 want=$4 rc=0
	server_start
	if [ "$side" = here ]; then
		export MITOSIS_TEST_STEP=$step:$action
	else
		on_peer "echo $step:$action > /run/mitosis-test-step"
	fi
	MIGRATE="${MIGRATE:---timeout 60}" migrate || rc=$?
	on_peer rm -f /run/mitosis-test-step
	cat $T/migrate.log
	echo "migrate ended with $rc"
	case $want,$rc in
	here,0) fail "migrate says that all went well" ;;
	esac
	settle "$want"
}

# resolved_there run|ended: the destination's administrator was asked first, and the source after that.
cmd_resolved_there() {
	local id rc=0
	server_start
	MITOSIS_TEST_STEP=committed:kill MIGRATE="--timeout 60" migrate || rc=$?
	cat $T/migrate.log
	id=$(unfinished)
	[ -n "$id" ] || fail "there is nothing to resolve, migrate ended with $rc"
	until_true 30 is_at there || fail "before resolve it runs $(where)"
	# It is not moved once more while nobody has said what has become of the first time.
	! MITOSIS_TEST_STEP='' migrate || fail "what is frozen here is moved again"
	if [ "$1" = run ]; then
		on_peer "mitosis-cli resolve $id --here run" || fail "resolve fails on the destination"
		mitosis-cli resolve "$id" || fail "resolve fails"
		settle there
	else
		on_peer "/root/t/drive.sh tree_kill $PID"
		! on_peer "mitosis-cli resolve $id --here run" || fail "resolve says that a process runs which has ended"
		! mitosis-cli resolve "$id" || fail "resolve makes it run from before the move though it ran on there"
		[ "$(where)" = nowhere ] || fail "it runs $(where)"
		mitosis-cli resolve "$id" --here kill || fail "what is frozen here cannot be killed"
		on_peer "mitosis-cli resolve $id --here kill" || fail "what is left on the destination cannot be taken away"
		until_true 30 idle_source || fail "the source still holds memory: $(mitosis-cli list)"
		[ -z "$(unfinished)$(on_peer /root/t/drive.sh unfinished)" ] || fail "something is left to resolve"
	fi
}

# COMMIT arrives when the source has given up waiting, and resolve has made the destination forget: nothing may run there any more.
cmd_late_commit() {
	local rc=0
	server_start
	on_peer "echo commit:pause > /run/mitosis-test-step"
	MIGRATE="--timeout 60" migrate || rc=$?
	cat $T/migrate.log
	[ $rc = 4 ] || fail "migrate ends with $rc, not 4"
	on_peer test -e /tmp/mitosis-test-at || fail "the destination did not get COMMIT"
	mitosis-cli resolve "$(unfinished)" --to "$PEER" || fail "resolve fails"
	until_true 10 is_at here || fail "after resolve it runs $(where)"
	on_peer "rm -f /run/mitosis-test-step; touch /tmp/mitosis-test-go"
	settle here
}

# failing WORD [MIGRATE-OPTION...]: the move fails with a sentence that has WORD, and the process runs on.
cmd_failing() {
	local word=$1 rc=0
	shift
	[ -z "${SETUP-x}" ] || on_peer "/root/t/drive.sh prepare target"
	# shellcheck disable=SC2086
	start target 4 listen 7000 ${SHARED_MB:-}
	MIGRATE="--timeout 60 $*" migrate || rc=$?
	cat $T/migrate.log
	[ $rc != 0 ] || fail "migrate says that all went well"
	grep -qi -- "$word" $T/migrate.log || fail "migrate does not say '$word': $(grep ^mitosis-cli $T/migrate.log | tail -n 1)"
	until_true 20 answers_right || fail "the process does not run on: $(ask)"
	until_true 20 idle_source || fail "its memory is still held"
	[ -z "$(unfinished)" ] || fail "something is left to resolve"
	on_peer "/root/t/drive.sh no_receiver 10" || exit 1
	tree_kill "$PID"
}

# STEP [STEP-THERE]. For what has to be done from outside the machines while migrate waits at a step.
cmd_paused_start() {
	server_start
	[ -z "${2:-}" ] || on_peer "echo $2 > /run/mitosis-test-step"
	rm -f /tmp/mitosis-test-go /tmp/mitosis-test-at
	echo "$PID" > /run/paused.pid
	(
		rc=0
		MITOSIS_TEST_STEP=$1:pause MIGRATE="${MIGRATE:---timeout 60}" migrate || rc=$?
		echo $rc > /run/paused.rc
	) > /dev/null 2>&1 &
	rm -f /run/paused.rc
	until_true 60 test -e /tmp/mitosis-test-at || fail "it does not get to step $1: $(cat $T/migrate.log)"
}

cmd_paused_end() {
	until_true 120 test -s /run/paused.rc || fail "migrate does not end"
	echo "migrate ended with $(cat /run/paused.rc): $(grep ^mitosis-cli $T/migrate.log | tail -n 1)"
}

cmd_paused_settle() {
	PID=$(cat /run/paused.pid)
	rm -f "/run/t-$PEER.ctl"
	until_true 30 on_peer true || fail "machine $PEER does not answer again"
	on_peer "mkdir -p $T"
	settle "$1"
}

cmd_quiet() {
	quiet
}

cmd_quiet_end() {
	quiet_end
}

cmd_links_idle() {
	until_true 30 idle_links || fail "links are left: $(mitosis-cli list)"
}

# Moved and lazy: nothing is read there until the file target.go is made, or the drain is let go. Prints the pid. TARGET: what it is told.
cmd_lost_start() {
	on_peer "/root/t/drive.sh prepare target drain:hold && rm -f $T/target.go" || fail "machine $PEER does not answer"
	# shellcheck disable=SC2086
	start target ${TARGET:-16 touch}
	# It stays as long as the receiver, which waits for the drain.
	# shellcheck disable=SC2086
	setsid -f mitosis-cli migrate --pid "$PID" --to "$PEER" --give-up "${GIVE_UP:-120}" ${MIGRATE:-} > $T/migrate.log 2>&1 < /dev/null
	until_true 60 is_gone "$PID" || migrate_failed 0
	until_true 20 on_peer "/root/t/drive.sh armed $PID" || fail "the process is not lazy there"
	echo "$PID"
}

cmd_armed() {
	is_armed "$1"
}

# The reading thread waits for a page, and can be killed.
waits() {
	grep -qs pager "/proc/$1/task/"*/wchan
}

cmd_waits() {
	until_true 30 waits "$1" || fail "no thread of $1 waits for a page: $(cat "/proc/$1/task/"*/wchan)"
}

cmd_reads_on() {
	if ! until_true "${2:-90}" grep -qs ^round $T/target.log; then
		stacks "$1"
		mitosis-cli list
		mitosis-cli stats
		dmesg | tail -n 20
		fail "the process does not go on: $(cat "/proc/$1/task/"*/wchan)"
	fi
	! grep ^FAIL $T/target.log || exit 1
}

cmd_is_killed() {
	until_true "${2:-60}" is_gone "$1" || fail "process $1 is still there: $(cat "/proc/$1/task/"*/wchan)"
	! grep -s ^FAIL $T/target.log || fail "the process misread before it ended"
	dmesg | tail -n 60 | grep -q "mitosis.*$1.*\(kill\|lost\)" || dmesg | tail -n 60 | grep -q "mitosis.*kill" ||
		fail "the kernel's log does not say why: $(dmesg | grep mitosis | tail -n 2)"
	[ "$(dmesg | grep -c "killed process $1 ")" -le 1 ] || fail "that it was killed is told more than once: $(dmesg | grep "killed process $1 " | paste -s)"
	touch /tmp/mitosis-test-go
	until_true 60 idle_links || fail "links are left: $(mitosis-cli list)"
}

# What is read here is read over TRANSPORT.
cmd_reads_over() {
	local links
	links=$(mitosis-cli list --json | sed -n '/"links"/,/"processes"/s/.*"transport": *"\([a-z]*\)".*/\1/p')
	[ "$links" = "$1" ] || fail "links use '$links', not $1"
}

draining() {
	mitosis-cli list --json | tr -d ' \n' | grep -q '"drain":[1-9]'
}

# It has brought in something, and not all.
cmd_draining() {
	until_true 60 draining || fail "the drain does not bring in anything: $(mitosis-cli list)"
	! idle_links || fail "it has brought in all"
}

has_told() {
	dmesg | grep -q "$1"
}

# Why processes of this machine were killed.
cmd_told() {
	until_true 60 has_told "$1" || fail "the kernel's log does not say '$1': $(dmesg | grep mitosis | tail -n 3)"
}

cmd_kill() {
	kill -KILL "$1"
	until_true 10 is_gone "$1" || fail "process $1 does not die of SIGKILL while it waits: $(cat "/proc/$1/task/"*/stack)"
	# Its drain has not begun, so nothing is left to do here, and the link need not come back for that.
	cmd_links_idle
	touch /tmp/mitosis-test-go
}

# ends_untold PID SNAPSHOT SECONDS: killed while its link is down, and its source never hears of it.
cmd_ends_untold() {
	local lost
	lost=$(stat_of link_lost)
	kill -KILL "$1"
	until_true 10 is_gone "$1" || fail "process $1 does not die of SIGKILL while it waits"
	until_true "$3" idle_links || fail "its link is kept: $(mitosis-cli list)"
	has_told "snapshot $2 is drained, but .* could not be told" || fail "the kernel's log does not say what is left at the source: $(dmesg | grep mitosis: | tail -n 3)"
	[ "$(stat_of link_lost)" = "$lost" ] || fail "a link is lost by which nobody has lost anything: $(dmesg | grep mitosis: | tail -n 3)"
}

cmd_drains() {
	touch /tmp/mitosis-test-go
	ordinary "$1"
	cmd_links_idle
	tree_kill "$1"
}

cmd_source_idle() {
	until_true "${1:-30}" idle_source || fail "the source still holds memory: $(mitosis-cli list)"
}

cmd_clean() {
	# shellcheck disable=SC2046
	tree_kill $(pgrep -f "^$BIN/") $(pgrep -x redis-server)
	for id in $(unfinished); do
		mitosis-cli resolve "$id" --here kill > /dev/null 2>&1
	done
	rm -rf $T
	mkdir -p $T
	rm -f /tmp/mitosis-test-{go,at} /run/mitosis-test-step
	! command -v mitosis-cli > /dev/null || mitosis-cli release --all > /dev/null 2>&1
	true
}

command=$1
shift
[ "$(type -t "cmd_$command")" = function ] || fail "no command $command"
"cmd_$command" "$@"

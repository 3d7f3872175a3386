#!/bin/bash
# SPDX-License-Identifier: MIT
# What it costs to prepare children of a process, and to start them. Prints "NAME VALUE" lines:
#
#	guest-fork.sh cost	in a machine whose clock counts instructions, beside the kernel's own fork() and registration of memory
#	guest-fork.sh run MB	in machine a, with children on b: clocks, and what a child takes of b's memory
#	guest-fork.sh policies	the same, of the policies of --prefetch: a child that touches pages at random, and the service of the fork demo
#
# A child's working set is WORK pages (parent.c).
set -eu -o pipefail
BIN=/root/t/bin
export TEST_DIR=/tmp/mt
WORK=2048
IDLE=8
POLICIES=(none window=4 window=8 window=16 window=32 sequential recorded)
PREPARED=/run/mitosis/prepared/t
SOURCE=(kernel_clone mitosis:hold_create mitosis:hold_add_mm mitosis:hold_add_pages mitosis:xprt_expose_region mitosis:hold_seal)
DESTINATION=(mitosis:link_open mitosis:link_add mitosis:pager_arm)
# shellcheck source=guest-watch.sh
. $BIN/guest-watch.sh

# put NAME VALUE
put() {
	echo "$RUN.$1 $2"
}

# put_us NAME FROM [TO]
put_us() {
	local us
	us=$(watch_us "${@:2}") || exit 1
	put "$1_us" "$us"
}

now_us() {
	echo "${EPOCHREALTIME/./}"
}

# start STEP MODE WORD: the program, until it says WORD
start() {
	rm -f $TEST_DIR/parent.*
	(cd / && exec setsid -f $BIN/parent "$MB" "$1" "$2" < /dev/null > /dev/null 2>&1)
	until grep -qsE "^(FAIL|$3)" $TEST_DIR/parent.log; do
		sleep 0.1
	done
	! grep ^FAIL $TEST_DIR/parent.log >&2 || fail "the program of $MB MB, $2"
}

# said WORD: what it said last
said() {
	sed -n "s/^$1:* //p" $TEST_DIR/parent.log | tail -n 1
}

# measure MODE: of processes that have done nothing else
measure() {
	for _ in 1 2 3; do
		start 1 "$1" "$1"
		put "$1_us" "$(($(said "$1") / 1000))"
		kill -9 "$(pgrep -x parent)"
	done
}

# bytes PATTERN: of the descriptor's files
bytes() {
	find $PREPARED -name "$1" -printf '%s\n' | awk '{n += $1} END {print n + 0}'
}

# prepare STEP
prepare() {
	start "$1" parent ready
	PID=$(said ready)
	touch $TEST_DIR/parent.go
	sleep 0.1
	watch_begin "$PID"
	watch_mark begin
	mitosis-cli prepare --pid "$PID" --name t --json > /run/bench.prepare || fail "prepare of $MB MB"
	watch_mark end
	sleep 0.2
}

put_descriptor() {
	put pages "$(sed -n 's/^ *"pages": *\([0-9]*\),*$/\1/p' /run/bench.prepare)"
	put mitosis_img_bytes "$(bytes mitosis.img)"
	put copied_bytes "$(bytes 'pages-*.img')"
	put image_bytes "$(bytes '*.img')"
}

put_prepare() {
	put_us clone kernel_clone
	put_us hold hold_add_pages
	put_us expose xprt_expose_region
	put_us seal hold_seal
	put_us prepare begin end
	put_us frozen frozen thawed
	put_us ends thawed end
	put gap_us "$(($(said gap) / 1000))"
	put_descriptor
}

end() {
	kill -9 "$PID"
	mitosis-cli release --all
	rm -rf /run/mitosis/prepared
}

# On the machine of the child, before it is started: so many pages will it touch.
cmd_expect() {
	mkdir -p $TEST_DIR
	echo "$1 $TRACE/trace_marker" > $TEST_DIR/parent.work
	$BIN/ctl stat pages_read > /run/bench.pages_read
	$BIN/ctl stat faults_waited > /run/bench.faults_waited
	[ -d $TRACE/events/bench ] || watch_calls "${DESTINATION[@]}"
	watch_begin
}

# Afterwards, in the way of put: what the kernel here has seen of it.
cmd_answer() {
	RUN=$1
	for _ in $(seq 1200); do
		! grep -q 'bench: answer' $TRACE/trace || break
		! grep -qs ^FAIL $TEST_DIR/parent.log || fail "$(grep ^FAIL $TEST_DIR/parent.log)"
		sleep 0.1
	done
	put_us start exec-mitosis-cli exec-criu
	put_us link link_open
	put_us armed exec-criu pager_arm
	put_us arm pager_arm
	put_us criu exec-criu exit-criu
	put_us receive exec-mitosis-cli exit-criu
	put_us total exec-mitosis-cli answer
	cmd_reads "$RUN"
}

# What has been read since.
cmd_reads() {
	RUN=$1
	put pages_read "$(($($BIN/ctl stat pages_read) - $(cat /run/bench.pages_read)))"
	put faults_waited "$(($($BIN/ctl stat faults_waited) - $(cat /run/bench.faults_waited)))"
}

# resume ARGUMENTS...: takes RESUME_US; what comes of it is to be ended by children_end.
resume() {
	local begin
	begin=$(now_us)
	mitosis-cli resume t --json "$@" > /run/bench.resume || fail "resume $*"
	RESUME_US=$(($(now_us) - begin))
	resumed init >> /run/bench.inits
}

# resumed pid|init: of each child of the last resume
resumed() {
	sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" /run/bench.resume
}

# child RUN WORK ARGUMENTS...: here, or with --on on the other machine
child() {
	local there=()
	RUN=$1
	[[ " $* " != *" --on "* ]] || there=(on_b)
	"${there[@]}" $BIN/guest-fork.sh expect "$2"
	resume "${@:3}"
	put resume_us $RESUME_US
	[ "$2" = 0 ] || "${there[@]}" $BIN/guest-fork.sh answer "$RUN"
}

# What the first child on b has touched.
record() {
	mitosis-cli record t --on b > /dev/null || fail "what the first child has touched cannot be had"
}

# Those that were started since the last time.
children_end() {
	local there=("$@")
	# shellcheck disable=SC2046 # numbers of processes
	"${there[@]}" kill $(cat /run/bench.inits)
	rm /run/bench.inits
	for _ in $(seq 300); do
		[ "$("${there[@]}" $BIN/ctl stat links)" != 0 ] || return 0
		sleep 0.1
	done
	fail "children do not end"
}

cmd_cost() {
	watch_calls "${SOURCE[@]}" "${DESTINATION[@]}"
	# criu looks at the kernel when it is first run
	MB=1 RUN=first
	prepare 1
	child first 16 > /dev/null
	children_end
	end
	for MB in 64 256 1024; do
		RUN=$MB
		measure fork
		measure register
		prepare 1
		put_prepare
		child "$MB.child" $WORK
		children_end
		end
	done
	# a descriptor's size, where one page in so many has content
	for step in 512 16 2; do
		RUN=1024/$step
		prepare $step
		put_descriptor
		end
	done
}

# Kilobytes. What lies in a processor's lists of free pages is free, and not in MemAvailable.
cmd_memory() {
	sync
	echo 3 > /proc/sys/vm/drop_caches
	sleep 1
	awk '/^ +count:/ {kb += 4 * $2}
		/^MemAvailable:/ {kb += $2}
		/^(AnonPages|PageTables|Slab|KernelStack|Shmem):/ {sub(":", ""); print $1, $2}
		END {print "Free", kb}' /proc/zoneinfo /proc/meminfo
}

# Mean of a field of smaps_rollup, of processes.
cmd_pss() {
	local pid
	for pid in "$@"; do
		sed -n 's/^Pss: *\([0-9]*\) kB/\1/p' "/proc/$pid/smaps_rollup"
	done | awk '{n += $1} END {print n / NR}'
}

cmd_run() {
	local next=(--prefetch recorded)
	MB=$1
	RUN=$MB
	watch_calls "${SOURCE[@]}"
	rm -f /run/bench.inits
	measure fork
	measure register
	prepare 1
	put_prepare
	child "$MB.first" $WORK --on b --record
	record
	for _ in 1 2 3; do
		child "$MB.next" $WORK --on b "${next[@]}"
	done
	children_end on_b
	# with nothing that others have read
	child "$MB.alone" $WORK --on b "${next[@]}"
	children_end on_b

	child "$MB.idle" 0 --on b > /dev/null
	RUN=$MB.idle
	on_b $BIN/guest-fork.sh memory > /run/bench.before
	child "$MB.idle" 0 --on b -n $IDLE > /dev/null
	on_b $BIN/guest-fork.sh memory > /run/bench.after
	paste -d ' ' /run/bench.before /run/bench.after | awk -v n=$IDLE '{printf "%s %.1f\n", $1, ($4 - $2) / n}' |
		while read -r what kb; do
			put "$what" "$kb"
		done
	put pss "$(on_b $BIN/guest-fork.sh pss "$(resumed pid | paste -s -d ' ')")"
	put pss_init "$(on_b $BIN/guest-fork.sh pss "$(resumed init | paste -s -d ' ')")"
	children_end on_b
	end
}

# prefetch POLICY: as options. The first child is recorded.
prefetch() {
	local recorded=()
	[ "$1" != none ] || recorded=(--record)
	echo --prefetch "$1" "${recorded[@]}"
}

# policies CALL NAME: with each policy, as NAME.POLICY; nothing is kept of the others' children.
policies() {
	local p
	for p in "${POLICIES[@]}"; do
		# shellcheck disable=SC2046 # options
		"$1" "$2.$p" $(prefetch "$p")
		[ "$p" != none ] || record
		children_end on_b
	done
}

service_child() {
	local answer
	on_b $BIN/guest-fork.sh expect 0
	RUN=$1
	resume --on b --netns "${@:2}"
	answer=$(on_b $BIN/fork_guest.sh first_answer "$(resumed pid)" 0 b) || fail "the service's child does not answer"
	put answer_us "$(awk '{print $2 * 1000}' <<< "$answer")"
	on_b $BIN/guest-fork.sh reads "$RUN"
}

random_child() {
	child "$1" $WORK --on b "${@:2}"
}

cmd_policies() {
	rm -f /run/bench.inits
	MB=64 RUN=64
	prepare 1
	policies random_child random
	end
	$BIN/fork_guest.sh start 30000 > /dev/null
	PID=$(cat /run/warm.ready)
	mitosis-cli prepare --pid "$PID" --name t --json > /run/bench.prepare || fail "prepare of the service"
	policies service_child service
	end
}

"cmd_$1" "${@:2}"

#!/bin/bash
# SPDX-License-Identifier: MIT
# call WHAT: each allocation that one call of the interface makes fails once. faults PROGRAM: one in ten that the module makes fails while a lazy
# program comes in, whoever makes it. For a kernel with fault injection.
set -u
export TEST_DIR=/tmp/mt
# shellcheck source=lib.sh
. "${0%/*}/lib.sh"
DEBUGFS=/sys/kernel/debug
D=/root/t/drive.sh
PID=none

[ -d $DEBUGFS/failslab ] || mount -t debugfs none $DEBUGFS
[ -d $DEBUGFS/failslab ] || fail "this kernel has no fault injection"

# range PATTERN: first byte and size of what modules of that name take
range() {
	local name size at from=$((1 << 62)) to=0
	while read -r name size _ _ _ at _; do
		# shellcheck disable=SC2053
		[[ $name == $1 ]] || continue
		# addresses of the kernel are negative to a shell
		at=$((at)) from=$((at < from ? at : from)) to=$((to && to > at + size ? to : at + size))
	done < /proc/modules
	[ $to = 0 ] && echo 0 0 || echo $from $((to - from))
}

# inject PERCENT TIMES: where one of our modules is on the stack. A ConnectX' driver leaks, with a warning, what it has no memory to destroy: not
# below it.
inject() {
	local kind from size not_from not_size
	read -r from size < <(range 'mitosis*')
	read -r not_from not_size < <(range mlx5_core)
	for kind in failslab fail_page_alloc fail_usercopy; do
		(
			cd $DEBUGFS/$kind || exit 1
			case $kind in
			failslab) echo N > ignore-gfp-wait ;;
			fail_page_alloc) echo N > ignore-gfp-wait && echo N > ignore-gfp-highmem && echo 0 > min-order ;;
			esac
			printf '0x%x' $((from)) > require-start
			printf '0x%x' $((from + size)) > require-end
			printf '0x%x' $((not_from)) > reject-start
			printf '0x%x' $((not_from + not_size)) > reject-end
			echo 1 > verbose
			echo "$2" > ./times
			echo "$1" > probability
		) || fail "$kind cannot be set"
	done
}

start() {
	rm -f $TEST_DIR/target.*
	(cd / && exec setsid -f $BIN/target 4 listen 7000 < /dev/null > /dev/null 2>&1)
	until_true 20 grep -q ^ready $TEST_DIR/target.log || fail "the server does not start"
	PID=$(sed -n 's/^ready //p' $TEST_DIR/target.log)
}

# The call fails and leaves nothing, or does what it should.
cmd_call() {
	local what=$1 n rc id tried=0 failed=0
	quiet
	inject 0 -1
	# the first all, then fewer and fewer: what is done for each region is the same
	for ((n = 1; ; n += 1 + n / 12)); do
		[ -d "/proc/$PID" ] || start
		tried=$((tried + 1))
		rc=0
		id=$($BIN/ctl fail "$what" $n lazify 10.77.0.1 0 "$PID" 2> /run/inject.err) || rc=$?
		case $rc in
		0 | 3)
			until_true 20 idle_links || fail "allocation $n: it does not drain: $(mitosis-cli list)"
			[ "$($D ask)" = "$PID right" ] || fail "allocation $n: its memory is wrong"
			;;
		*)
			echo "allocation $n: $(cat /run/inject.err)"
			# the kernel's own answer to a neighbour for which it has no memory
			[ "$what" = link ] && grep -q 'cannot be reached.*No route to host' /run/inject.err ||
				grep -qi memory /run/inject.err || fail "allocation $n: it is not said that memory is short: $(cat /run/inject.err)"
			failed=$((failed + 1))
			# as criu would
			tree_kill "$PID"
			[ -z "$id" ] || $BIN/ctl close "$id" 2> /dev/null
			mitosis-cli release --all > /dev/null 2>&1
			until_true 20 idle_links || fail "allocation $n: a link is left: $(mitosis-cli list)"
			;;
		esac
		until_true 20 idle_source || fail "allocation $n: memory is held: $(mitosis-cli list)"
		[ $rc != 3 ] || break
	done
	tree_kill "$PID"
	quiet_end
	echo "$failed of $tried made it fail"
	[ $failed -gt 0 ] || fail "no allocation has failed"
}

# A parent that runs on, its clone, and two children.
brood_start() {
	rm -f $TEST_DIR/brood.*
	(cd / && exec setsid -f $BIN/brood < /dev/null > /dev/null 2>&1)
	until_true 20 grep -q ^ready $TEST_DIR/brood.log || fail "the parent does not start"
	mapfile -t BROOD < <(sed -n 's/^ready //p' $TEST_DIR/brood.log; sed -n 's/^child //p' $TEST_DIR/brood.log)
}

# brood_passes LOG
brood_passes() {
	until_true 40 grep -sqE '^(PASS|FAIL)' "$TEST_DIR/$1" || fail "allocation $n: $1 has no verdict: $(mitosis-cli list)"
	grep -q ^PASS "$TEST_DIR/$1" || fail "allocation $n: $1: $(grep ^FAIL "$TEST_DIR/$1")"
}

nothing_left() {
	mitosis-cli stats | awk '/^(links|attached|snapshots|pages_held|regions|cache_pages) / && $2 { exit 1 }' && module_is_unused
}

# brood_end SNAPSHOT
brood_end() {
	tree_kill "${BROOD[0]}"
	[ -z "$1" ] || until_true 20 mitosis-cli release "$1" || fail "allocation $n: the snapshot cannot be released: $(mitosis-cli list)"
	until_true 20 nothing_left || fail "allocation $n: it has left something: module with $(module_users) users, $(mitosis-cli stats | paste -s -d ' ')"
}

# The same for a snapshot of a process that runs on, and for two children that share what they read: whoever is not the one for whom it was goes on.
cmd_fork() {
	local what=$1 n rc id i tried=0 failed=0 hits gone
	quiet
	inject 0 -1
	for ((n = 1; ; n += 1 + n / 12)); do
		brood_start
		tried=$((tried + 1))
		rc=0
		hits=$(stat_of cache_hits)
		id=$($BIN/ctl fail "$what" $n fork 10.77.0.1 "${BROOD[@]}" 2> /run/inject.err) || rc=$?
		# the parent first: what it writes is not for its children
		touch $TEST_DIR/brood.go
		brood_passes brood.log
		touch $TEST_DIR/brood.children
		gone=0
		for i in 1 2; do
			if is_gone "${BROOD[i + 1]}"; then
				gone=$((gone + 1))
			else
				brood_passes brood.log.$i
			fi
		done
		case $rc in
		0 | 3)
			[ $gone = 0 ] || fail "allocation $n: a child has ended: $(cat /run/inject.err)"
			# of 64 pages; one fault maps what is around it, too
			[ "$(($(stat_of cache_hits) - hits))" -ge 4 ] || fail "allocation $n: faults found only $(($(stat_of cache_hits) - hits)) pages of the sibling's"
			;;
		*)
			echo "allocation $n, $gone children ended: $(cat /run/inject.err)"
			# the kernel's own answers to a neighbour, and to a file, for which it has no memory
			grep -qiE 'memory|cannot be reached.*No route to host|Too many open files in system' /run/inject.err ||
				fail "allocation $n: it is not said that memory is short: $(cat /run/inject.err)"
			[ $gone -le 1 ] || fail "allocation $n: one has failed, and both have ended"
			failed=$((failed + 1))
			;;
		esac
		brood_end "$id"
		[ $rc != 3 ] || break
	done
	quiet_end
	echo "$failed of $tried made it fail"
	[ $failed -gt 0 ] || fail "no allocation has failed"
}

# An allocation that the module makes for a child that touches its memory: it notices nothing, nor does its sibling.
cmd_touch() {
	local n id left=0 tried=0
	quiet
	inject 0 -1
	# what is done for each page is the same
	for ((n = 1; left == 0; n += 1 + n / 4)); do
		brood_start
		tried=$((tried + 1))
		id=$($BIN/ctl fork 10.77.0.1 "${BROOD[@]}") || fail "there is no fork"
		echo $n > "/proc/${BROOD[2]}/fail-nth"
		touch $TEST_DIR/brood.go
		brood_passes brood.log
		touch $TEST_DIR/brood.children
		brood_passes brood.log.1
		brood_passes brood.log.2
		left=$(cat "/proc/${BROOD[2]}/fail-nth")
		brood_end "$id"
	done
	quiet_end
	echo "$((tried - 1)) allocations have failed, the last of all before $n"
	[ $tried -gt 8 ] || fail "hardly an allocation has failed"
}

cmd_from_now_on() {
	inject 10 -1
	$BIN/ctl drain "$1"
}

cmd_faults() {
	local n rc=0
	quiet
	THEN="$0 from_now_on" $D lazy "$@" || rc=$?
	inject 0 0
	n=$(dmesg | grep -c 'FAULT_INJECTION: forcing a failure')
	echo "$n allocations have failed"
	quiet_end
	[ "$n" -gt 0 ] || fail "no allocation has failed"
	exit $rc
}

command=$1
shift
"cmd_$command" "$@"

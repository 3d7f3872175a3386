#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in machine a, and from there in b: moves a test program and looks at what has become of it on both sides.
set -u
BIN=/root/t/bin
export TEST_DIR=/tmp/mt
T=$TEST_DIR
PEER=${PEER:-b}

fail() {
	echo "FAIL: $*"
	exit 1
}

on_peer() {
	ssh -o ControlMaster=auto -o "ControlPath=/run/t-$PEER.ctl" -o ControlPersist=1800 "$PEER" "$@"
}

# until_true SECONDS COMMAND...
until_true() {
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000))
	shift
	until "$@" > /dev/null 2>&1; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || return 1
		sleep 0.05
	done
}

stat_of() {
	$BIN/ctl stat "$1"
}

# Descendants included; nothing when it is gone.
tree_of() {
	local p
	for p in "$@"; do
		[ -d "/proc/$p" ] || continue
		echo "$p"
		# shellcheck disable=SC2046 # a list of pids
		tree_of $(cat "/proc/$p/task/"*/children 2>/dev/null)
	done
}

is_gone() {
	local state
	state=$(sed -E 's/.*\) (.).*/\1/' "/proc/$1/stat" 2>/dev/null) || return 0
	[ -z "$state" ] || [ "$state" = Z ] || [ "$state" = X ]
}

tree_kill() {
	local all
	all=$(tree_of "$@")
	# shellcheck disable=SC2086
	[ -z "$all" ] || kill -KILL $all 2>/dev/null
	for p in $all; do
		until_true 10 is_gone "$p" || fail "process $p on $(hostname) does not die of SIGKILL"
	done
}

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

idle_links() {
	[ "$(stat_of links)" = 0 ] && [ "$(stat_of attached)" = 0 ]
}

idle_source() {
	[ "$(stat_of snapshots)" = 0 ] && [ "$(stat_of pages_held)" = 0 ]
}

start() {
	local name=$1
	shift
	mkdir -p $T
	rm -f "$T/$name".*
	(cd / && exec setsid -f "$BIN/$name" "$@" < /dev/null > /dev/null 2>&1)
	until_true 60 grep -q ^ready "$T/$name.log" || fail "$name does not get ready: $(tail -n 1 "$T/$name.log")"
	PID=$(sed -n 's/^ready //p' "$T/$name.log")
}

# On the destination: waits for the verdict, then for an ordinary process, then ends it.
cmd_finish() {
	local name=$1 pid=$2 bound=$3 log=$T/$1.log line
	until_true "$bound" grep -qE '^(PASS|FAIL)' "$log"
	grep -vE '^(ready|PASS|FAIL)' "$log"
	line=$(grep -m 1 ^FAIL "$log") && fail "${line#FAIL: } (on the destination)"
	if ! grep -q ^PASS "$log"; then
		is_gone "$pid" && fail "$name ended without a verdict"
		for t in /proc/"$pid"/task/*; do
			echo "$t $(cat "$t/wchan"): $(tr '\n' ' ' < "$t/stack")"
		done
		fail "$name gave no verdict within $bound s"
	fi
	# shellcheck disable=SC2046
	ordinary $(tree_of "$pid")
	[ -n "${KEEP:-}" ] || tree_kill "$pid"
	until_true 20 idle_links || fail "the destination still has links: $(mitosis-cli list 2>&1 | tail -n +2)"
}

cmd_prepare() {
	local f
	mkdir -p $T
	for f in "$@"; do
		rm -f "$T/$f".*
		touch "$T/$f.go"
	done
}

# prog NAME ARGS...: the usual case. BOUND: seconds for its checks.
cmd_prog() {
	local name=$1 rc=0
	on_peer "${ENV_PEER:-} /root/t/drive.sh prepare $name" || fail "machine $PEER does not answer"
	start "$@"
	# shellcheck disable=SC2086
	mitosis-cli migrate --pid "$PID" --to "$PEER" ${MIGRATE:-} > $T/migrate.log 2>&1 || rc=$?
	if [ $rc != 0 ]; then
		cat $T/migrate.log
		is_gone "$PID" || tree_kill "$PID"
		fail "mitosis-cli migrate ended with $rc: $(grep -v '^$' $T/migrate.log | tail -n 1)"
	fi
	is_gone "$PID" || fail "process $PID is still on the source"
	on_peer "DRAIN=${DRAIN:-60} KEEP=${KEEP:-} /root/t/drive.sh finish $name $PID ${BOUND:-60}" || exit 1
	until_true 20 idle_source || fail "the source still holds memory: $(mitosis-cli list 2>&1 | tail -n +2)"
}

# lazy NAME ARGS...: made lazy in place, without CRIU. DRAIN_MS: -1 starts the drain when the program is done.
cmd_lazy() {
	local name=$1 id
	start "$@"
	# shellcheck disable=SC2046
	id=$($BIN/ctl lazify 10.77.0.1 "${DRAIN_MS:--1}" $(tree_of "$PID")) || fail "it cannot be made lazy"
	touch "$T/$name.go"
	until_true "${BOUND:-60}" grep -qE '^(PASS|FAIL)' "$T/$name.log"
	[ "${DRAIN_MS:--1}" -ge 0 ] || $BIN/ctl drain "$id" || true
	cmd_finish "$name" "$PID" 1
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

cmd_clean() {
	# shellcheck disable=SC2046
	tree_kill $(pgrep -f "^$BIN/")
	rm -rf $T
	! command -v mitosis-cli > /dev/null || mitosis-cli release --all > /dev/null 2>&1
	true
}

command=$1
shift
[ "$(type -t "cmd_$command")" = function ] || fail "no command $command"
"cmd_$command" "$@"

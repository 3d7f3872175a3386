#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in machine a, and from there in b: moves one of CRIU's tests with criu and the shipped configuration files, and asks for its verdict.
# The last "ok", "skip: REASON" or "FAIL: REASON" it prints counts. PLAIN=1: without mitosis, by CRIU alone.
set -u
# shellcheck source=../vm/guest/lib.sh
. /root/t/lib.sh
# Where CRIU's own runner has them, because some tests name the path. Temporary files are moved along.
Z=/zdtm
IMAGES=/run/zdtm
PLAIN=${PLAIN:-}

skip() {
	echo "skip: $*"
	exit 0
}

# Tests make processes that are nobody's children.
strays() {
	find /proc/[0-9]*/exe -lname "$Z/*" 2> /dev/null | cut -d / -f 3
}

# The machine as a test is to find it.
tidy() {
	# shellcheck disable=SC2046 # a list of pids
	tree_kill $(strays)
	rm -rf "$Z" "$IMAGES" "$IMAGES".*
	# A dumped connection stays locked here, and tests have rules of their own.
	iptables -F
	ip6tables -F
	# As many as CRIU's own runner has.
	echo 20 > /proc/sys/vm/nr_hugepages
}

config() {
	[ -n "$PLAIN" ] || echo "--config /etc/criu/mitosis.conf"
}

first_error() {
	local line
	line=$(grep -m 1 -a 'Error (' "$1" 2> /dev/null) || line="status $2"
	sed -E 's/^\([0-9.]+\) *//; s/^ *[0-9]+: //' <<< "$line"
}

start() {
	local kind=$1 test=$2 flags=$3 env=("TMPDIR=$Z/tmp")
	shift 3
	mkdir -p "$Z/$kind" "$Z/tmp" "$IMAGES"
	chmod 777 "$Z" "$Z/$kind"
	chmod 1777 "$Z/tmp"
	cp -p "/root/zdtm/$kind/$test" "$Z/$kind/"
	# As CRIU's own runner does: a test that is not marked suid is another user's.
	[[ " $flags " == *" suid "* ]] || env+=(ZDTM_UID=18943 ZDTM_GID=58467 "ZDTM_GROUPS=27495 48244")
	(cd "$Z/$kind" && exec env "${env[@]}" timeout -k 5 60 "$@" < /dev/null > "$IMAGES.begin" 2>&1) ||
		fail "it does not start: $(cat "$IMAGES.begin" "$Z/$kind/$test".out* 2> /dev/null | tail -n 1)"
	PID=$(cat "$Z/$kind/$test.pid") && kill -0 "$PID" || fail "it has ended before it is moved"
}

# move NAME FLAGS FEATURES DUMP-OPTIONS RESTORE-OPTIONS COMMAND: fields as cases.py prints them.
cmd_move() {
	local kind=${1%/*} test=${1#*/} flags=$2 features=$3 dump=$4 restore=$5 command=$6 f rc=0
	tidy
	[ "$features" != - ] || features=
	[ "$dump" != - ] || dump=
	[ "$restore" != - ] || restore=
	for f in $features; do
		criu check --feature "$f" > /dev/null 2>&1 || skip "the kernel or CRIU has no $f"
	done
	f=/root/zdtm/$1.checkskip
	[ ! -x "$f" ] || "$f" > /dev/null 2>&1 || skip "its own check says that it cannot run here"
	# shellcheck disable=SC2086 # words
	start "$kind" "$test" "$flags" $command
	# shellcheck disable=SC2046,SC2086
	MITOSIS_ONESHOT=1 timeout 90 criu dump $(config) -t "$PID" -D "$IMAGES" -o "$IMAGES.dump" --timeout 60 $dump || rc=$?
	if [[ " $flags " == *" crfail "* ]] && [ $rc != 0 ]; then
		refused
	elif [ $rc != 0 ]; then
		fail "criu dump: $(first_error "$IMAGES.dump" $rc)"
	fi
	[ -n "$PLAIN" ] || [ -s "$IMAGES/mitosis.img" ] || fail "the dump has no descriptor"
	tar -C / --format=posix -cSf - "${Z#/}" "${IMAGES#/}" | on_peer "PLAIN=$PLAIN timeout 220 /root/zdtm/guest.sh arrive '$1' '$PID' '$flags' '$restore'" || exit 1
	until_true 20 idle_source || fail "the source still holds memory: $(mitosis-cli list 2>&1 | tail -n +2)"
}

# What CRIU cannot move runs on where it was, and none of its memory is held.
refused() {
	kill -0 "$PID" || fail "criu dump fails, as it has to, but the test is gone"
	until_true 20 idle_source || fail "criu dump fails, as it has to, but memory is held"
	tidy
	echo ok
	exit 0
}

# arrive NAME PID FLAGS RESTORE-OPTIONS: what has been sent is restored, ended, and asked.
cmd_arrive() {
	local kind=${1%/*} test=${1#*/} pid=$2 flags=$3 rc=0 out skipped
	tidy
	tar -C / -xpf - || fail "its files do not arrive"
	# shellcheck disable=SC2046,SC2086
	timeout 90 criu restore $(config) -D "$IMAGES" -o "$IMAGES.restore" -d $4 < /dev/null || rc=$?
	if [ $rc != 0 ]; then
		[[ " $flags " != *" crfail "* ]] || { tidy; echo ok; exit 0; }
		fail "criu restore: $(first_error "$IMAGES.restore" $rc)"
	fi
	[[ " $flags " != *" crfail "* ]] || fail "it is moved, which CRIU says is impossible"
	# At once: its memory is not here yet.
	kill -TERM "$pid" || fail "it has died before it is ended: $(dmesg | grep -a mitosis | tail -n 1)"
	out=$Z/$kind/$test.out
	until_true 120 is_gone "$pid" || { stacks "$pid"; fail "it does not end within 120 s of SIGTERM"; }
	grep -qw PASS "$out" 2> /dev/null || { cat "$out"* 2> /dev/null; fail "its verdict: $(verdict "$out")"; }
	skipped=$(grep -am 1 'SKIP: ' "$out")
	tidy
	until_true 20 idle_links || fail "the destination still has links: $(mitosis-cli list 2>&1 | tail -n +2)"
	[ -z "$skipped" ] || skip "it says that it cannot run here:${skipped#*SKIP:}"
	echo ok
}

verdict() {
	local line
	line=$(grep -ahE 'FAIL|ERR' "$1" "$1.inprogress" 2> /dev/null | head -n 1)
	echo "${line:-none, it ended without one}" | sed -E 's/^[0-9:.]+ *[0-9]+: //'
}

cmd_clear() {
	tidy
	mitosis-cli release --all > /dev/null 2>&1
	until_true 20 idle_links || fail "links are left: $(mitosis-cli list 2>&1 | tail -n +2)"
	until_true 20 idle_source || fail "memory is held: $(mitosis-cli list 2>&1 | tail -n +2)"
}

# For the log of a test that has failed.
cmd_report() {
	local f
	for f in dump restore; do
		[ ! -f "$IMAGES.$f" ] || { echo "criu $f on $(hostname):"; grep -aE 'Error|Warn' "$IMAGES.$f"; tail -n 15 "$IMAGES.$f"; }
	done
	dmesg | grep -a mitosis | tail -n 5
	true
}

command=$1
shift
[ "$(type -t "cmd_$command")" = function ] || fail "no command $command"
"cmd_$command" "$@"

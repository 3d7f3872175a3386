# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Sourced by scripts that run in the machines.

BIN=/root/t/bin
PEER=${PEER:-b}
# How many times longer this kernel takes; the host has written it.
SLOW=$(cat /root/t/slow 2>/dev/null || echo 1)
# As run.sh was told; empty: the module's setting.
TRANSPORT=$(cat /root/t/transport 2>/dev/null || true)
if [ "$TRANSPORT" = tcp ]; then
	export TRANSPORT
	# tlshd.sh has made it; empty: whoever calls does without
	[ -e /run/tlshd.log ] || export MITOSIS_INSECURE=${MITOSIS_INSECURE-1}
fi

fail() {
	echo "FAIL: $*"
	exit 1
}

# expect NAME PATTERN ACTUAL: one test of those that a script makes.
expect() {
	# shellcheck disable=SC2053
	if [[ $3 == $2 ]]; then
		echo "ok $1"
	else
		echo "not ok $1: the answer is '$3', not '$2'"
	fi
}

# For what the kernel reports with a call trace by design, which is not for the console: an allocation that fails, the OOM killer.
quiet() {
	dmesg -C
	dmesg -D
}

quiet_end() {
	dmesg -E
	! dmesg | grep -E 'WARNING:|BUG:|UBSAN:|possible recursive|possible circular|inconsistent lock|suspicious RCU|general protection|Oops|blocked for more' ||
		fail "the kernel complains"
}

on_peer() {
	ssh -o ControlMaster=auto -o "ControlPath=/run/t-$PEER.ctl" -o ControlPersist=1800 "$PEER" "$@"
}

# until_true SECONDS COMMAND...: seconds of a kernel that is not slow.
until_true() {
	local end=$((${EPOCHREALTIME/./} + $1 * SLOW * 1000000))
	shift
	until "$@" > /dev/null 2>&1; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# at_least N COMMAND...: what it prints is that, or more.
at_least() {
	[ "$("${@:2}")" -ge "$1" ]
}

# test_count N PATTERN FILE
test_count() {
	[ "$(grep -cE "$2" "$3")" = "$1" ]
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

# What uses mitosis.ko, but for modules that need it, as transports do.
module_users() {
	local holders
	holders=$(find /sys/module/mitosis/holders -mindepth 1 | wc -l)
	echo $(($(cat /sys/module/mitosis/refcnt) - holders))
}

module_is_unused() {
	[ "$(module_users)" = 0 ]
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

# Where the threads of a process wait; its state, major faults, and ticks in user and kernel mode.
stacks() {
	local t
	for t in /proc/"$1"/task/*; do
		echo "$t $(cat "$t/wchan"): $(tr '\n' ' ' < "$t/stack") $(cut -d ' ' -f 3,12,14,15 "$t/stat")"
	done
}

idle_links() {
	[ "$(stat_of links)" = 0 ] && [ "$(stat_of attached)" = 0 ]
}

idle_source() {
	[ "$(stat_of snapshots)" = 0 ] && [ "$(stat_of pages_held)" = 0 ]
}

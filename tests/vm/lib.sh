# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034
# Sourced by run.sh and, through it, by the case files.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
VM=$TOP/tests/vm
LOGS=$TOP/build/test-logs
SPLATS='WARNING:|BUG:|Call Trace|UBSAN:|possible recursive|possible circular|inconsistent lock|suspicious RCU|general protection|Oops|kernel panic|unreferenced object|rcu_preempt detected|blocked for more than'

# A case: name, seconds it may take, function, arguments. What the debug kernel takes longer is added by the runner.
CASE_NAMES=()
declare -A CASE_BOUND CASE_CALL
add() {
	local name=$1 bound=$2
	shift 2
	CASE_NAMES+=("$name")
	CASE_BOUND[$name]=$bound
	CASE_CALL[$name]=$(printf '%q ' "$@")
}

fail() {
	echo "FAIL: $*"
	exit 1
}

rig() {
	"$TOP/scripts/rig/rig" -n "$RIG_NAME" "$@"
}

# In machine a or b, bounded by the case.
on() {
	local m=$1
	shift
	# What waits in there gives up earlier, and says for what it waited.
	rig run "$m" --timeout "${BOUND:-120}" -- "export BOUND=$((${BOUND:-120} * 3 / 4)) DRAIN=$((${BOUND:-120} / 2)); $*"
}

drive() {
	on a "/root/t/drive.sh $*"
}

# until_true SECONDS COMMAND...
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@" > /dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.2
	done
}

# One line a test; a case may have several, each of its own name below the case's.
ok() {
	echo "ok $*"
}

not_ok() {
	echo "not ok $*"
}

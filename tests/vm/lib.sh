# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by run.sh and, through it, by the case files.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
VM=$TOP/tests/vm
LOGS=$TOP/build/test-logs
SPLATS='WARNING:|BUG:|Call Trace|UBSAN:|possible recursive|possible circular|inconsistent lock|suspicious RCU|general protection|Oops|kernel panic|unreferenced object|rcu_preempt detected|blocked for more than'

# A case: name, seconds it may take, function, arguments. What the debug kernel takes longer is added by the runner.
CASE_NAMES=()
declare -A CASE_BOUND CASE_CALL CASE_MLX5 CASE_RDMA CASE_TCP
add() {
	local name=$1 bound=$2
	shift 2
	CASE_NAMES+=("$name")
	CASE_BOUND[$name]=$bound
	CASE_CALL[$name]=$(printf '%q ' "$@")
}

# One for machines that have RDMA (not with run.sh --transport tcp).
add_rdma() {
	add "$@"
	CASE_RDMA[$1]=1
}

# One for machines that have a ConnectX (run.sh --mlx5).
add_mlx5() {
	add "$@"
	CASE_MLX5[$1]=1
}

# One for run.sh --transport tcp.
add_tcp() {
	add "$@"
	CASE_TCP[$1]=1
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
	# What waits in there gives up earlier, and says for what it waited. It knows itself that it is slow.
	rig run "$m" --timeout "${BOUND:-120}" -- "export BOUND=$((${BOUND:-120} / SLOW * 3 / 4)) DRAIN=$((${BOUND:-120} / SLOW / 2)); ${TRANSPORT:+[ -e /run/tlshd.log ] || export MITOSIS_INSECURE=1; }$*"
}

# Whether KERNEL has TLS for modules, and the machines with transport tcp tlshd.
has_tls() {
	[ "$KERNEL" != 6.1 ]
}

# cable M up|down: what memory goes over. ssh has a cable of its own.
cable() {
	rig link "$1" data "$2"
	[ -z "$MLX5" ] || rig mlx5 "$1" set link-down "$([ "$2" = up ] && echo false || echo true)"
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

# With every check on, a kernel takes longer and needs more. For KERNEL.
machines_size() {
	SLOW=1 MEM=1024
	[ "$KERNEL" != debug ] || SLOW=6 MEM=2048
}

# For those who boot machines: KERNEL, MEM, SLOW, KEEP, MLX5, TRANSPORT and logs are set. MORE_PAYLOAD: a second directory of what lies in a machine.
machines_setup() {
	local m
	for m in a b; do
		tar -cf - -C "$TOP/build/tests/vm/payload-$KERNEL" . ${MORE_PAYLOAD:+-C "$MORE_PAYLOAD" .} | rig run $m --timeout $((120 * SLOW)) -- "tar -C / -xf - && echo $SLOW > /root/t/slow && echo $TRANSPORT > /root/t/transport && sync &&
			/root/t/setup.sh && /root/t/drive.sh clean" || return 1
	done
}

machines_boot() {
	rig down
	rig up --kernel "$KERNEL" --mem "$MEM" ${MLX5:+--mlx5} && machines_setup
}

machines_up() {
	[ -z "$KEEP" ] || ! rig run a --timeout 20 -- true > /dev/null 2>&1 || { machines_setup; return; }
	machines_boot
}

machine_reset() {
	timeout $((120 * SLOW)) "$TOP/scripts/rig/rig" -n "$RIG_NAME" reset "$1"
}

# After a case that failed nothing is known of the machines' state, nor of their cables'.
machines_renew() {
	local m
	for m in a b; do
		cable $m up > /dev/null 2>&1
		rig link $m ssh up > /dev/null 2>&1
	done
	{
		machine_reset a && machine_reset b && machines_setup && return
		machines_boot
	} > "$logs/$RIG_NAME-renew.log" 2>&1
}

console_size() {
	stat -c %s "$(rig log "$1")" 2>/dev/null || echo 0
}

# Prints what the kernels said since the case began that they should not have.
splats() {
	local m
	for m in a b; do
		tail -c "+$((size[$m] + 1))" "$(rig log $m)" | tr -d '\r' > "$logs/$1.console-$m"
		grep -m 1 -E "$SPLATS" "$logs/$1.console-$m" | sed "s/^/machine $m: /"
		[ -s "$logs/$1.console-$m" ] || rm "$logs/$1.console-$m"
	done
}

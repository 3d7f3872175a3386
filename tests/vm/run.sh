#!/bin/bash
# SPDX-License-Identifier: MIT
# Two-machine tests: boots a pair of machines once per kernel and runs the cases in cases/*.sh there.
set -u
# shellcheck source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
KERNELS=() ONLY='' SKIP='' LIST='' CASE='' KEEP=''
# inherited by the cases, which are processes of their own
export TRANSPORT=${TRANSPORT:-} MLX5=${MLX5:-}

usage() {
	cat <<-END
	usage: run.sh [--kernel 6.1|6.12|debug]... [--only REGEX] [--mlx5 | --transport tcp] [--list] [--keep]
	  --kernel   which machines to boot; can be repeated; without: 6.12, then 6.1
	  --only     cases whose name matches
	  --skip     but not these
	  --mlx5     machines with a modelled ConnectX, and the cases that need one as well
	  --transport tcp
	             machines without RDMA: memory goes over TCP, under TLS on 6.12
	  --list     names the cases and ends
	  --keep     leaves the machines up (rig -n vm-KERNEL) and uses those that are
	END
}

while [ $# -gt 0 ]; do
	case $1 in
	--kernel) KERNELS+=("${2:?}") && shift ;;
	--only) ONLY=${2:?} && shift ;;
	--skip) SKIP=${2:?} && shift ;;
	--list) LIST=1 ;;
	--keep) KEEP=1 ;;
	--mlx5) MLX5=1 ;;
	--transport)
		[ "${2:?}" = tcp ] || { echo "run.sh: --transport is for tcp" >&2 && exit 2; }
		TRANSPORT=$2 && shift
		;;
	--case) CASE=${2:?} && shift ;;
	--help | -h) usage && exit 0 ;;
	*) echo "run.sh: no option $1: see run.sh --help" >&2 && exit 2 ;;
	esac
	shift
done
[ ${#KERNELS[@]} -gt 0 ] || KERNELS=(6.12 6.1)

for f in "$VM"/cases/*.sh; do
	# shellcheck source=/dev/null
	. "$f"
done

if [ -n "$CASE" ]; then
	# One case, in a process of its own that timeout(1) can end.
	set -eE -o pipefail
	trap 'echo "FAIL: line $LINENO: $BASH_COMMAND"' ERR
	KERNEL=${KERNELS[0]} BOUND=$((${CASE_BOUND[$CASE]} * ${SLOW:-1}))
	export KERNEL BOUND SLOW
	eval "${CASE_CALL[$CASE]}"
	exit 0
fi

selected=()
for c in "${CASE_NAMES[@]}"; do
	[[ -n $ONLY && ! $c =~ $ONLY ]] || [[ -n $SKIP && $c =~ $SKIP ]] || [[ -z $MLX5 && -n ${CASE_MLX5[$c]:-} ]] ||
		[[ -n $TRANSPORT && -n ${CASE_RDMA[$c]:-} ]] || [[ -z $TRANSPORT && -n ${CASE_TCP[$c]:-} ]] || selected+=("$c")
done
if [ -n "$LIST" ]; then
	printf '%s\n' "${selected[@]}"
	exit 0
fi
[ ${#selected[@]} -gt 0 ] || { echo "run.sh: no case matches '$ONLY': see run.sh --list" >&2; exit 2; }

passed=0 failed=0

verdict() {
	echo "$*"
	case $1 in
	ok) passed=$((passed + 1)) ;;
	*) failed=$((failed + 1)) ;;
	esac
}

run_case() {
	local c=$1 begin=$EPOCHREALTIME rc=0 log=$logs/$1.log seconds reason lines splat trace m
	declare -A size=([a]=$(console_size a) [b]=$(console_size b))
	timeout -k 10 $((${CASE_BOUND[$c]} * SLOW + 60)) "$VM/run.sh" --kernel "$KERNEL" --case "$c" > "$log" 2>&1 < /dev/null || rc=$?
	if [ $rc = 0 ]; then
		rig run a --timeout $((60 * SLOW)) -- '/root/t/drive.sh clean & ssh b /root/t/drive.sh clean; wait' >> "$log" 2>&1 || rc=$?
		[ $rc = 0 ] || echo "FAIL: the machines cannot be cleaned up after the case" >> "$log"
	fi
	splat=$(splats "$c" | head -n 1)
	seconds=$(printf '%.1f' "$(echo "$EPOCHREALTIME - $begin" | bc)")
	lines=$(grep -cE '^(not )?ok ' "$log")
	while read -r line; do
		case $line in
		"not ok "*) verdict not ok "$KERNEL $c/${line#not ok }" ;;
		*) verdict ok "$KERNEL $c/${line#ok }" ;;
		esac
	done < <(grep -E '^(not )?ok ' "$log")
	if [ -n "$splat" ]; then
		m=${splat#machine } m=${m%%:*}
		trace=$(grep -m 1 -A 30 -E "$SPLATS" "$logs/$c.console-$m")
		# in the summary, too, which may be all that is seen of it
		reason=$(grep -oE 'Comm: [^ ]+|RIP: .*' <<< "$trace" | head -n 2 | paste -s -d ' ')
		verdict not ok "$KERNEL $c: $splat${reason:+; $reason} (build/test-logs/$KERNEL/$c.console-*)"
		sed 's/^/  | /' <<< "$trace"
	elif [ $rc != 0 ]; then
		case $rc in
		124 | 137) reason="not ended after $((${CASE_BOUND[$c]} * SLOW + 60)) s" ;;
		*) reason=$(grep '^FAIL: ' "$log" | head -n 1) reason=${reason#FAIL: } ;;
		esac
		verdict not ok "$KERNEL $c: ${reason:-status $rc} (build/test-logs/$KERNEL/$c.log, $seconds s)"
		tail -n 30 "$log" | sed 's/^/  | /'
	elif [ "$lines" = 0 ]; then
		verdict ok "$KERNEL $c ($seconds s)"
	fi
	if [ $rc != 0 ] || [ -n "$splat" ] || grep -q '^not ok ' "$log"; then
		machines_renew || return 1
	fi
}

for KERNEL in "${KERNELS[@]}"; do
	export RIG_NAME=${RIG_PREFIX:-vm}-$KERNEL SLOW MEM
	machines_size
	logs=$LOGS/$KERNEL
	mkdir -p "$logs"
	[ -n "$KEEP" ] || trap 'rig down' EXIT
	trap 'exit 130' INT TERM HUP
	if ! machines_up > "$logs/$RIG_NAME-up.log" 2>&1; then
		verdict not ok "$KERNEL machines: they do not start: $(tail -n 1 "$logs/$RIG_NAME-up.log")"
		continue
	fi
	for c in "${selected[@]}"; do
		run_case "$c" || { verdict not ok "$KERNEL machines: they cannot be started again: $(tail -n 1 "$logs/$RIG_NAME-renew.log")"; break; }
	done
	if [ "$KERNEL" = debug ]; then
		for m in a b; do
			if leaks=$(rig run $m --timeout 300 -- '/root/t/leaks.sh' 2>&1); then
				verdict ok "debug kmemleak on $m"
			else
				verdict not ok "debug kmemleak on $m: ${leaks//$'\n'/ | }"
			fi
		done
	fi
	[ -n "$KEEP" ] || rig down
done
echo "machine tests: $passed ok, $failed not ok"
[ $failed = 0 ]

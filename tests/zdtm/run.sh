#!/bin/bash
# SPDX-License-Identifier: MIT
# CRIU's own tests, each moved from one machine to the other. One line a test; known failures and their reasons stand in the file known.
set -u
# shellcheck source=../vm/lib.sh
. "$(dirname "$(readlink -f "$0")")/../vm/lib.sh"
ZDTM=$TOP/tests/zdtm
KERNEL=6.12 ONLY='' KEEP='' PLAIN=''

usage() {
	cat <<-END
	usage: run.sh [--kernel 6.1|6.12|debug] [--only REGEX] [--plain] [--keep]
	  --only     tests whose name matches
	  --plain    by CRIU alone, to compare; known failures are not looked at
	  --keep     leaves the machines up (rig -n zdtm-KERNEL) and uses those that are
	END
}

while [ $# -gt 0 ]; do
	case $1 in
	--kernel) KERNEL=${2:?} && shift ;;
	--only) ONLY=${2:?} && shift ;;
	--plain) PLAIN=1 ;;
	--keep) KEEP=1 ;;
	--help | -h) usage && exit 0 ;;
	*) echo "run.sh: no option $1: see run.sh --help" >&2 && exit 2 ;;
	esac
	shift
done

export RIG_NAME=${RIG_PREFIX:-zdtm}-$KERNEL
machines_size
# Some map a gigabyte.
[ "$MEM" -ge 2048 ] || MEM=2048
MORE_PAYLOAD=$TOP/build/zdtm/payload
logs=$LOGS/zdtm-$KERNEL${PLAIN:+-plain}
mkdir -p "$logs"

# known: "fail NAME REASON", "skip NAME REASON" and, for what CRIU's own runs leave out and works, "run NAME".
declare -A KNOWN REASON
while read -r what name reason; do
	case $what in
	fail | skip | run) KNOWN[$name]=$what REASON[$name]=$reason ;;
	'' | '#'*) ;;
	*) fail "$ZDTM/known: no word '$what': it is fail, skip or run" ;;
	esac
done < "$ZDTM/known"

ok=0 failed=0 skipped=0 known=0

# verdict NAME WORD REASON
verdict() {
	local name=$1 word=$2 reason=${3:-}
	case $word,${KNOWN[$name]:-} in
	ok,fail)
		[ -z "$PLAIN" ] || reason="and fails with mitosis"
		[ -n "$PLAIN" ] || word="not ok" reason="it passes, but stands in tests/zdtm/known as failing: take it out there"
		;;
	"not ok,fail")
		reason+=" (known: ${REASON[$name]})"
		known=$((known + 1))
		;;
	esac
	echo "$word $name${reason:+: $reason}"
	case $word in
	ok) ok=$((ok + 1)) ;;
	skip) skipped=$((skipped + 1)) ;;
	*) failed=$((failed + 1)) ;;
	esac
}

# A test that is left out for a reason that can be told beforehand.
skip_reason() {
	local name=$1 reason=$2 flags=$3
	case ${KNOWN[$name]:-} in
	skip) echo "${REASON[$name]}" ;;
	run) ;;
	*)
		if [ "$reason" != - ]; then
			echo "$reason"
		elif [[ " $flags " == *" noauto "* ]]; then
			echo "CRIU's own runs leave it out (noauto)"
		fi
		;;
	esac
}

run_test() {
	local name=$1 flags=$2 log rc=0 line splat
	log=$logs/${name//\//-}.log
	declare -A size=([a]=$(console_size a) [b]=$(console_size b))
	rig run a --timeout $((320 * SLOW)) -- env "PLAIN=$PLAIN" /root/zdtm/guest.sh move "$@" > "$log" 2>&1 < /dev/null || rc=$?
	splat=$(splats "${name//\//-}" | head -n 1)
	line=$(grep -aE '^(ok$|skip: |FAIL: )' "$log" | tail -n 1)
	if [ -n "$splat" ]; then
		verdict "$name" "not ok" "$splat"
	else
		case $rc,$line in
		0,ok) verdict "$name" ok ;;
		0,skip:*) verdict "$name" skip "${line#skip: }" ;;
		*,FAIL:*) verdict "$name" "not ok" "${line#FAIL: }" ;;
		124,*) verdict "$name" "not ok" "not ended after $((320 * SLOW)) s" ;;
		*) verdict "$name" "not ok" "status $rc: $(tail -n 1 "$log")" ;;
		esac
	fi
	case $rc,$line in
	0,ok | 0,skip:*) [ -n "$splat" ] || return 0 ;;
	esac
	for m in a b; do
		rig run $m --timeout 60 -- '/root/zdtm/guest.sh report' >> "$log" 2>&1
	done
	# What a failed test leaves can mostly be cleared away.
	if [ -n "$splat" ] || ! rig run a --timeout 120 -- '/root/zdtm/guest.sh clear && ssh b /root/zdtm/guest.sh clear' >> "$log" 2>&1; then
		machines_renew
	fi
}

[ -n "$KEEP" ] || trap 'rig down' EXIT
trap 'exit 130' INT TERM HUP
machines_up > "$logs/$RIG_NAME-up.log" 2>&1 || { echo "not ok machines: they do not start: $(tail -n 1 "$logs/$RIG_NAME-up.log")"; exit 1; }
python3 "$ZDTM/cases.py" "$TOP/build/zdtm" > "$logs/cases" || exit 1
while IFS=$'\t' read -r -u 3 name reason flags features dump restore command; do
	[[ -z $ONLY || $name =~ $ONLY ]] || continue
	reason=$(skip_reason "$name" "$reason" "$flags")
	case $reason in
	'') run_test "$name" "$flags" "$features" "$dump" "$restore" "$command" ||
		{ echo "not ok machines: they cannot be started again: $(tail -n 1 "$logs/$RIG_NAME-renew.log")"; exit 1; } ;;
	"not built") verdict "$name" "not ok" "it is not built: see build/zdtm/build.log" ;;
	*) verdict "$name" skip "$reason" ;;
	esac
done 3< "$logs/cases"
echo "zdtm: $ok ok, $failed not ok ($known of them known), $skipped not run"
[ $failed = $known ] && [ $ok -gt 0 ]

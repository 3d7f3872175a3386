#!/bin/bash
# SPDX-License-Identifier: MIT
# Children of processes of several sizes, between two machines: "NAME VALUE" lines, a name as often as it was measured.
#
#	fork.sh > build/bench/fork.txt
set -eu -o pipefail
# shellcheck source=../vm/lib.sh
. "$(dirname "$(readlink -f "$0")")/../vm/lib.sh"
KERNEL=${KERNEL:-6.12} KEEP=''
RIG_NAME=${RIG_PREFIX:+$RIG_PREFIX-}bench-fork

trap 'rig down' EXIT
trap 'exit 130' INT TERM HUP
machines_size
machines_up >&2
for m in a b; do
	rig put $m "$TOP"/tests/bench/guest-{fork,watch}.sh "$TOP/build/tests/bench/parent" "$TOP/scripts/demo/fork_guest.sh" /root/t/bin/
	rig put $m "$TOP/scripts/demo/warm.py" /root/
done

echo "load_before $(cut -d ' ' -f 1 /proc/loadavg)"
echo "bench: once without being counted" >&2
rig run a --timeout 600 -- /root/t/bin/guest-fork.sh run 16 > /dev/null
for mb in 64 256; do
	for i in $(seq "${BENCH_TIMES:-3}"); do
		echo "bench: children of $mb MB, time $i of ${BENCH_TIMES:-3}" >&2
		rig run a --timeout 600 -- /root/t/bin/guest-fork.sh run $mb
	done
done
for i in $(seq "${BENCH_TIMES:-3}"); do
	echo "bench: policies of --prefetch, time $i of ${BENCH_TIMES:-3}" >&2
	rig run a --timeout 600 -- /root/t/bin/guest-fork.sh policies
done
echo "load_after $(cut -d ' ' -f 1 /proc/loadavg)"

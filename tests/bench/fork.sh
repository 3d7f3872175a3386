#!/bin/bash
# SPDX-License-Identifier: MIT
# Children of processes of several sizes, between two machines: "NAME VALUE" lines, a name as often as it was measured.
#
#	fork.sh > build/bench/fork.txt
set -eu -o pipefail
# shellcheck source=machines.sh
. "$(dirname "$(readlink -f "$0")")/machines.sh"

bench_up "$TOP/tests/bench/guest-fork.sh" "$TOP/build/tests/bench/parent" "$TOP/scripts/demo/fork_guest.sh"
for m in a b; do
	rig put $m "$TOP/scripts/demo/warm.py" /root/
done

say "once without being counted"
rig run a --timeout 600 -- /root/t/bin/guest-fork.sh run 16 > /dev/null
for mb in 64 256; do
	for i in $(seq "${BENCH_TIMES:-3}"); do
		say "children of $mb MB, time $i of ${BENCH_TIMES:-3}"
		rig run a --timeout 600 -- /root/t/bin/guest-fork.sh run $mb
	done
done
for i in $(seq "${BENCH_TIMES:-3}"); do
	say "policies of --prefetch, time $i of ${BENCH_TIMES:-3}"
	rig run a --timeout 600 -- /root/t/bin/guest-fork.sh policies
done
bench_end

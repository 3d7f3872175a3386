#!/bin/bash
# SPDX-License-Identifier: MIT
# A process that writes to its memory all the time, moved between two machines with and without pre-copy: "NAME VALUE" lines. The rates are parts of what
# the link moves, which is measured first, in the same run.
#
#	precopy.sh > build/bench/precopy.txt
set -eu -o pipefail
# shellcheck source=machines.sh
. "$(dirname "$(readlink -f "$0")")/machines.sh"
MB=${BENCH_MB:-96}
export TRANSPORT=${TRANSPORT:-}

bench_up "$TOP/tests/bench/guest-precopy.sh"
say "once without being counted"
rig run a --timeout 600 -- /root/t/bin/guest-precopy.sh run "$MB" 0 0 none > /dev/null
say "what the link moves"
link=$(rig run a --timeout 600 -- /root/t/bin/guest-precopy.sh link "$MB")
echo "link_kib_s $link"
for percent in ${BENCH_PERCENT:-0 10 50}; do
	rate=$((link * percent / 100))
	for mode in none auto; do
		for i in $(seq "${BENCH_TIMES:-3}"); do
			say "$percent % of the link, pre-copy $mode, time $i of ${BENCH_TIMES:-3}"
			rig run a --timeout 600 -- /root/t/bin/guest-precopy.sh run "$MB" "$rate" "$percent" $mode
		done
	done
done
bench_end

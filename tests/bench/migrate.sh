#!/bin/bash
# SPDX-License-Identifier: MIT
# Migrations between two machines, mitosis beside CRIU and CRIU's lazy pages: "NAME VALUE" lines, a name as often as it was
# measured.
#
#	migrate.sh > build/bench/two-machines.txt
set -eu -o pipefail
# shellcheck source=machines.sh
. "$(dirname "$(readlink -f "$0")")/machines.sh"
SIZES=${BENCH_SIZES:-16 64 256 1024}

# CRIU alone wants the process and its images in memory, on both machines.
mem_for() {
	echo $(($1 * 2 + 768))
}

mem_fits() {
	[ "$(awk '/^MemAvailable:/ {print int($2 / 1024)}' /proc/meminfo)" -gt $((2 * $(mem_for "$1") + 1024)) ]
}

sizes=() largest=0
for mb in $SIZES; do
	if mem_fits "$mb"; then
		sizes+=("$mb")
		[ "$mb" -le "$largest" ] || largest=$mb
	else
		say "$mb MB are left out: two machines of $(mem_for "$mb") MB each do not fit in this one's free memory"
	fi
done
[ ${#sizes[@]} -gt 0 ] || { say "no size is left: free memory, or choose others with BENCH_SIZES"; exit 1; }

MEM=$(mem_for "$largest")
bench_up "$TOP/tests/bench/guest-migrate.sh" "$TOP/build/tests/bench/touch"

say "once without being counted: criu looks at the kernel, and programs are read from disk"
rig run a --timeout 600 -- /root/t/bin/guest-migrate.sh run 16 > /dev/null
for mb in "${sizes[@]}"; do
	times=1
	[ "$mb" -gt 256 ] || times=3
	[ "$mb" -gt 64 ] || times=5
	for i in $(seq "${BENCH_TIMES:-$times}"); do
		say "$mb MB, time $i of ${BENCH_TIMES:-$times}"
		rig run a --timeout $((600 + mb * 4)) -- /root/t/bin/guest-migrate.sh run "$mb"
	done
done
say "ib_read_bw"
rig run a --timeout 600 -- /root/t/bin/guest-migrate.sh bandwidth
bench_end

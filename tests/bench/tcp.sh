#!/bin/bash
# SPDX-License-Identifier: MIT
# Transport tcp between two machines without RDMA, beside iperf3, CRIU's lazy pages and page server, and two programs that exchange pages, over
# the same link: "NAME VALUE" lines, a name as often as it was measured.
#
#	tcp.sh > build/bench/tcp.txt
set -eu -o pipefail
export TRANSPORT=tcp
# shellcheck source=../vm/lib.sh
. "$(dirname "$(readlink -f "$0")")/../vm/lib.sh"
KERNEL=${KERNEL:-6.12} KEEP=''
SIZE=${BENCH_TCP_MB:-64} TIMES=${BENCH_TIMES:-5}
RIG_NAME=${RIG_PREFIX:+$RIG_PREFIX-}bench-tcp

trap 'rig down' EXIT
trap 'exit 130' INT TERM HUP
machines_size
machines_up >&2
for m in a b; do
	rig put $m "$TOP"/tests/bench/guest-{migrate,watch}.sh "$TOP"/build/tests/bench/{touch,exchange} /root/t/bin/
done

echo "load_before $(cut -d ' ' -f 1 /proc/loadavg)"
echo "bench: once without being counted" >&2
rig run a --timeout 600 -- /root/t/bin/guest-migrate.sh tcp 16 > /dev/null
for i in $(seq "$TIMES"); do
	echo "bench: $SIZE MB over tcp, time $i of $TIMES" >&2
	rig run a --timeout 900 -- /root/t/bin/guest-migrate.sh tcp "$SIZE"
done
echo "load_after $(cut -d ' ' -f 1 /proc/loadavg)"

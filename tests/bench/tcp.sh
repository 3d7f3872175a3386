#!/bin/bash
# SPDX-License-Identifier: MIT
# Transport tcp between two machines without RDMA, beside iperf3, CRIU's lazy pages and page server, and two programs that exchange pages, over
# the same link: "NAME VALUE" lines, a name as often as it was measured.
#
#	tcp.sh > build/bench/tcp.txt
set -eu -o pipefail
export TRANSPORT=tcp
# shellcheck source=machines.sh
. "$(dirname "$(readlink -f "$0")")/machines.sh"
SIZE=${BENCH_TCP_MB:-64} TIMES=${BENCH_TIMES:-5}

bench_up "$TOP/tests/bench/guest-migrate.sh" "$TOP"/build/tests/bench/{touch,exchange}

say "once without being counted"
rig run a --timeout 600 -- /root/t/bin/guest-migrate.sh tcp 16 > /dev/null
for i in $(seq "$TIMES"); do
	say "$SIZE MB over tcp, time $i of $TIMES"
	rig run a --timeout 900 -- /root/t/bin/guest-migrate.sh tcp "$SIZE"
done
bench_end

# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Real programs, tools on a lazy process, there and back again, and CRIU without mitosis-cli.

for c in redis python core gdb trace and_back bare settings stale; do
	add "more-${c//_/-}" 180 on a "/root/t/more.sh $c"
done
for how in fault drain; do
	add "more-oom-$how" 180 on a "/root/t/more.sh oom $how"
done

# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Allocations that fail. Not part of other kernels' runs: only the debug kernel can.

for c in hold hold_mm hold_pages seal link attach arm; do
	add "inject-${c//_/-}" 240 on a "/root/t/inject.sh call '${c/_/ }'"
done
for p in cow dontneed dontneed-race mprotect threads; do
	add "inject-faults-$p" 180 on a "/root/t/inject.sh faults $p"
done

# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Allocations that fail. Not part of other kernels' runs: only the debug kernel can.

for c in hold hold_mm hold_pages seal link attach arm; do
	add "inject-${c//_/-}" 240 on a "/root/t/inject.sh call '${c/_/ }'"
done
for c in hold hold_mm hold_pages seal link attach arm join second_attach second_arm; do
	add "inject-fork-${c//_/-}" 300 on a "/root/t/inject.sh fork '${c/_/ }'"
done
add inject-fork-touch 400 on a "/root/t/inject.sh touch"
for p in cow dontneed dontneed-race mprotect threads; do
	add "inject-faults-$p" 180 on a "/root/t/inject.sh faults $p"
done
# Pages that are read are shared, or are not: nothing else may become of an allocation that fails there. (A fork() for which there is no memory
# to note what its child misses cannot fail any more, and the child is killed: no program that forks.)
for p in cow threads; do
	add "inject-faults-cached-$p" 180 on a "CACHE=1 /root/t/inject.sh faults $p"
done

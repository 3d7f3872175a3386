# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The whole way: mitosis-cli migrate, CRIU, the module. "-lazy": the drain begins when the program has done its checks.

prog() {
	drive prog "$@"
}

prog_lazy() {
	on a "LAZY=1 /root/t/drive.sh prog $*"
}

for p in brkstack cow dontneed-race exits filepriv forks join remote shared signals threads; do
	add "migrate-$p" 120 prog $p
done
# not forkflags: CRIU does not carry MADV_WIPEONFORK over, with or without mitosis
for p in direct dontneed futex jit locked madvfree mprotect mremap syscalls tls uring lookup; do
	add "migrate-lazy-$p" 120 prog_lazy $p
done
add migrate-sparse 180 prog sparse
add migrate-thp 180 with_sysfs "$THP/enabled=always" prog thp
add migrate-ksm 180 with_sysfs "$KSM/run=1,$KSM/sleep_millisecs=1,$KSM/pages_to_scan=4000" prog ksm
add migrate-swap 180 with_swap prog swapped
add migrate-walk 240 walk prog 11 10000
add migrate-walk-lazy 240 walk prog_lazy 12 10000

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

# without_link COMMAND...: while nothing gets through but ssh, and a ConnectX.
without_link() {
	local rc=0
	rig link b data down
	"$@" || rc=$?
	rig link b data up
	return $rc
}

# The better transport does not get through: the next one is taken, and that is said.
migrate_falls_back() {
	local rc=0
	without_link on a "MIGRATE='--transport rc,dct' /root/t/drive.sh prog threads" || rc=$?
	on a "grep 'transport rc is not used, dct goes before it: ' /tmp/mt/migrate.log" || fail "it is not said why: $(on a 'cat /tmp/mt/migrate.log')"
	return $rc
}
add_mlx5 migrate-falls-back 180 migrate_falls_back

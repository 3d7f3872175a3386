#!/bin/bash
# SPDX-License-Identifier: MIT
# The netlink interface in the hands of others than root, and of nonsense.
set -u
export TEST_DIR=/tmp/mt
# shellcheck source=lib.sh
. "${0%/*}/lib.sh"

unprivileged() {
	setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}

chmod 755 /root /root/t /root/t/bin
expect "counters need a capability" "*permi*" "$(unprivileged $BIN/ctl stat links 2>&1)"
expect "release needs a capability" "*permi*" "$(unprivileged $BIN/ctl release 1 2>&1)"
expect "hold needs a capability" "*permi*" "$(unprivileged $BIN/ctl hold 10.77.0.1 $$ 0x10000 1 2>&1)"
expect "root of a user namespace is not root" "*permi*" "$(unprivileged unshare -Ur $BIN/ctl stat links 2>&1)"
expect "no capability but CAP_SYS_ADMIN is needed" "[0-9]*" "$(setpriv --bounding-set -all,+sys_admin --inh-caps -all $BIN/ctl stat links 2>&1)"
expect "root without CAP_SYS_ADMIN" "*permi*" "$(setpriv --bounding-set -sys_admin --inh-caps -sys_admin $BIN/ctl stat links 2>&1)"
expect "tracing is not turned off under the hooks" "*busy*" "$(sysctl kernel.ftrace_enabled=0 2>&1)"
expect "no such snapshot" "*release*" "$($BIN/ctl release 123 2>&1)"
expect "address of no device" "*hold*" "$($BIN/ctl hold 10.99.0.1 $$ 0x10000 1 2>&1)"
expect "pages that are not mapped" "*hold*" "$($BIN/ctl hold 10.77.0.1 $$ 0x10000 1 2>&1)"
expect "pages of the kernel" "*hold*" "$($BIN/ctl hold 10.77.0.1 $$ 0xffffffff81000000 1 2>&1)"
expect "nothing is held after refusals" 0 "$($BIN/ctl stat pages_held)"
for seed in 1 2 3; do
	out=$($BIN/ctl fuzz $seed 1500 2>&1) && n=answered || n="$out"
	expect "1500 random messages, seed $seed" answered "$n"
done
[ "$($BIN/ctl stat attached)" = 0 ] && n=none || n=some
expect "nothing is attached after random messages" none "$n"

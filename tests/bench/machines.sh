# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034
# Sourced by what is measured between two machines. Prints "NAME VALUE" lines.

# shellcheck source=../vm/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../vm/lib.sh"
KERNEL=${KERNEL:-6.12} KEEP=''
RIG_NAME=${RIG_PREFIX:+$RIG_PREFIX-}bench-$(basename "$0" .sh)
machines_size

say() {
	echo "bench: $*" >&2
}

# bench_up FILE...: the machines, of MEM MB, with these programs in them.
bench_up() {
	local m
	trap 'rig down' EXIT
	trap 'exit 130' INT TERM HUP
	machines_up >&2
	for m in a b; do
		rig put $m "$TOP/tests/bench/guest-watch.sh" "$@" /root/t/bin/
	done
	echo "load_before $(cut -d ' ' -f 1 /proc/loadavg)"
}

bench_end() {
	echo "load_after $(cut -d ' ' -f 1 /proc/loadavg)"
}

#!/bin/bash
# SPDX-License-Identifier: MIT
# guest.sh KERNEL: machine a installs the packages, moves a process to b, which has them already, is refused what would cost memory, upgrades,
# removes and purges them. A build takes half an hour under emulation, so dkms takes modules that root.sh has had it build; with COMPILE=1 it builds.
set -euo pipefail
# shellcheck source=../../scripts/deb/lib.sh
. "$(dirname "$(readlink -f "$0")")/../../scripts/deb/lib.sh"
RIG_NAME=${RIG_PREFIX:-vm}-deb-$1
LOG=$TOP/build/test-logs/deb-$1
status=0
mkdir -p "$LOG"

rig() {
	"$TOP/scripts/rig/rig" -n "$RIG_NAME" "$@"
}

# step MACHINE SECONDS NAME...
step() {
	local rc=0 log=$LOG/$1-$3.log
	rig run "$1" --timeout "$2" -- /scripts/in-guest.sh "${@:3}" > "$log" 2>&1 || rc=$?
	grep -E '^(ok|not ok|installed|upgraded) ' "$log" || true
	[ $rc != 0 ] || return 0
	grep -q '^not ok ' "$log" || echo "not ok packages: steps ${*:3} in machine $1: status $rc, see $log"
	tail -n 20 "$log" | sed 's/^/  | /'
	return 1
}

demo() {
	rig run "$1" --timeout 300 -- /root/guest.sh "${@:2}" && return
	echo "not ok packages: $2 in machine $1" >&2
	exit 1
}

trap 'rig down' EXIT
trap 'exit 130' INT TERM HUP
rig down
rm -f "$LOG"/*.log
rig up --kernel "$1" --mem 1024 --mlx5 --root "$DEB/installed.img"
for m in a b; do
	rig run $m -- 'mkdir -p /scripts /packages'
	rig put $m "$TOP"/tests/deb/{lib,in-guest}.sh "$TOP/scripts/deb/machine.sh" /scripts/
	rig put $m "$TOP/scripts/demo/compute.py" "$TOP/scripts/demo/guest.sh" /root/
	rig put $m "$DEB/both/old" "$DEB/both/new" "$DEB/both/built" /packages/
done
step b 900 begin boot &
begin=(purge_first install)
[ -n "${COMPILE:-}" ] || begin=(built_elsewhere purge_first install)
step a 4800 "${begin[@]}" || status=1
wait $! || status=1
if [ $status = 0 ]; then
	want=$(python3 "$TOP/scripts/demo/compute.py" "$LOG/compute" 150000 && cat "$LOG/compute")
	demo a compute_start 150000
	demo a compute_migrate
	got=$(demo b compute_result)
	if [ "$got" = "$want" ]; then
		echo "ok packages: a process is moved and its result is right"
	else
		echo "not ok packages: the moved process says '$got', not '$want'"
		status=1
	fi
	step a 2400 refused_source upgrade || status=1
	step a 2400 refused_reader taken_over gone || status=1
fi
exit $status

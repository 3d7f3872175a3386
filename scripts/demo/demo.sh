#!/bin/bash
# SPDX-License-Identifier: MIT
# The main job, seen: a redis-server and a Python program in the middle of a computation move from machine a to machine b, and the
# same redis once more with plain CRIU. Prints what was measured; exits non-zero when anything is not as promised.
set -eu -o pipefail
TOP=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
KERNEL=${KERNEL:-6.12}
KEYS=${KEYS:-100000}
TRANSPORT=${TRANSPORT:-}		# dct: over a modelled ConnectX, and over nothing else; rc: over soft RoCE; tcp: without RDMA, under TLS where there is tlshd
PACKAGES=${PACKAGES:-}			# 1: machines on which the Debian packages are installed
RIG="$TOP/scripts/rig/rig -n demo"
OUT=$TOP/build/demo
mkdir -p "$OUT"

die() {
	echo "demo: $*" >&2
	exit 1
}

step() {
	printf '\n== %s\n' "$*"
}

run() {
	# shellcheck disable=SC2086
	$RIG run "$@"
}

trap '$RIG down' EXIT

link="an RDMA link" up=() migrate=/root/guest.sh
case $TRANSPORT in
dct) up=(--mlx5) ;;
tcp) link="no RDMA" migrate="[ -e /run/tlshd.log ] || export MITOSIS_INSECURE=1; /root/guest.sh" ;;
esac
step "Two machines with Debian's kernel $KERNEL, unmodified, and $link"
$RIG down
[ -z "$PACKAGES" ] || up+=(--root "$TOP/build/deb/installed.img")
$RIG up --kernel "$KERNEL" --machines 2 --mem 1536 "${up[@]}"
for m in a b; do
	if [ -n "$PACKAGES" ]; then
		$RIG put $m "$TOP/scripts/deb/machine.sh" /root/
		run $m -- "/root/machine.sh && modprobe mitosis && { modprobe -q mitosis_${TRANSPORT:-rc} || true; }"
		# as its unit would
		[ "$TRANSPORT" != tcp ] || run $m -- '! modinfo nvme-keyring > /dev/null 2>&1 || ! command -v tlshd > /dev/null || setsid -f tlshd -s < /dev/null >> /run/tlshd.log 2>&1'
		run $m -- 'dpkg -s mitosis mitosis-dkms | grep -E "^(Package|Version)" | paste -s -d " "'
	else
		tar -C "$TOP/build/tests/vm/payload-$KERNEL" -cf - . | run $m -- "tar -C / -xf - && echo $TRANSPORT > /root/t/transport && /root/t/setup.sh"
	fi
	[ -z "$TRANSPORT" ] || run $m -- "echo $TRANSPORT > /sys/module/mitosis/parameters/transports"
	$RIG put $m "$TOP/scripts/demo/compute.py" "$TOP/scripts/demo/guest.sh" /root/
done

step "A: redis-server with $KEYS keys"
run a -- "/root/guest.sh redis_start $KEYS"
before=$(run a -- /root/guest.sh redis_digest)
echo "digest of the data set: $before"

step "mitosis-cli migrate --pid \$(pidof redis-server) --to b"
run a --timeout 300 -- "$migrate migrate" | tee "$OUT/migrate.log"
$RIG get a /tmp/migrate.json "$OUT/migrate.json"

step "B: the same redis"
after=$(run b -- /root/guest.sh redis_digest)
echo "digest of the data set: $after"
[ "$before" = "$after" ] || die "the data set differs: digest $before on a, $after on b"
run b -- 'redis-cli set written-on b && redis-cli get written-on' | tail -n 1 | grep -qx b || die "b's redis does not take a write"
run a -- '! pidof redis-server' || die "redis-server is still on a"
held=$(run a -- "mitosis-cli stats | sed -n 's/^pages_held *//p'")
[ "$held" = 0 ] || die "a still holds $held pages"
echo "written to on b; a has let go of the memory"
run b -- 'redis-cli shutdown nosave' || true

step "The same with plain CRIU: dump, copy, restore"
run a -- "/root/guest.sh redis_start $KEYS"
before=$(run a -- /root/guest.sh redis_digest)
run a --timeout 300 -- /root/guest.sh criu_migrate | tee "$OUT/criu.log"
after=$(run b -- /root/guest.sh redis_digest)
[ "$before" = "$after" ] || die "plain CRIU's data set differs: digest $before on a, $after on b"
run b -- 'redis-cli shutdown nosave' || true

step "A Python program with threads in the middle of a computation"
want=$(python3 "$TOP/scripts/demo/compute.py" "$OUT/compute" 150000 && cat "$OUT/compute")
run a --timeout 120 -- /root/guest.sh compute_start 150000
run a --timeout 300 -- "$migrate compute_migrate"
got=$(run b --timeout 300 -- /root/guest.sh compute_result)
echo "result here, not moved: $want"
echo "result on b, moved:     $got"
[ "$want" = "$got" ] || die "the moved computation's result is wrong"

step "redis-server, $KEYS keys, from a to b"
python3 "$TOP/scripts/demo/table.py" "$OUT/migrate.json" "$OUT/criu.log"

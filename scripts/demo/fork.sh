#!/bin/bash
# SPDX-License-Identifier: MIT
# Fork, seen: a Python service that takes long to get ready is forked on machine a, while it answers requests, into 16 children on machines b and c.
# Each answers right. Beside it: the service started from nothing, plain CRIU, and a local fork().
set -eu -o pipefail
TOP=$(dirname "$(dirname "$(dirname "$(readlink -f "$0")")")")
KERNEL=${KERNEL:-6.12}
ENTRIES=${ENTRIES:-100000}
CHILDREN=${CHILDREN:-16}
RIG="$TOP/scripts/rig/rig -n demo-fork"
OUT=$TOP/build/demo-fork
EACH=$((CHILDREN / 2))
mkdir -p "$OUT"

die() {
	echo "demo-fork: $*" >&2
	exit 1
}

step() {
	printf '\n== %s\n' "$*"
}

run() {
	# shellcheck disable=SC2086
	$RIG run "$@"
}

g() {
	run "$1" --timeout 300 -- "/root/fork_guest.sh ${*:2}"
}

now_ms() {
	echo $((${EPOCHREALTIME/./} / 1000))
}

trap '$RIG down' EXIT

step "Three machines with Debian's kernel $KERNEL, unmodified, and an RDMA link"
$RIG down
$RIG up --kernel "$KERNEL" --machines 3 --mem 1024
for m in a b c; do
	tar -C "$TOP/build/tests/vm/payload-$KERNEL" -cf - . | run $m -- 'tar -C / -xf - && /root/t/setup.sh'
	$RIG put $m "$TOP/scripts/demo/warm.py" "$TOP/scripts/demo/fork_guest.sh" /root/
done

step "B: the service started from nothing"
scratch=$(g b start "$ENTRIES")
echo "$scratch ms until its first answer"
g b stop

step "A: the service, with $ENTRIES entries in its cache"
g a start "$ENTRIES" > /dev/null
run a -- "rm -f /run/enough; setsid -f sh -c '/root/fork_guest.sh serve /run/enough > /run/served 2>&1 || echo failed >> /run/served' < /dev/null > /dev/null 2>&1"

step "A: mitosis-cli prepare, while it answers requests"
run a -- "mitosis-cli prepare --pid \$(cat /run/warm.ready) --name warm --json" | tee "$OUT/prepare.json"

step "mitosis-cli resume warm -n $EACH --on b --on c"
for m in b c; do
	run $m -- '/root/t/bin/ctl stat pages_read > /run/pages_read'
done
t0=$(now_ms)
run a --timeout 600 -- "mitosis-cli resume warm -n $EACH --on b --on c --netns --json" > "$OUT/resume.json"
t1=$(now_ms)
python3 "$TOP/scripts/demo/fork_table.py" children "$OUT/resume.json" > "$OUT/children"
[ "$(wc -l < "$OUT/children")" = "$CHILDREN" ] || die "not $CHILDREN children: $(cat "$OUT/resume.json")"
while read -r index host pid _; do
	g "$host" first_answer "$pid" "$index" "$host" < /dev/null
done < "$OUT/children" > "$OUT/answers"
echo "all $CHILDREN answer right, $(($(now_ms) - t1)) ms after the last runs"
for m in b c; do
	run $m -- "echo \$((\$(/root/t/bin/ctl stat pages_read) - \$(cat /run/pages_read)))"
	run $m -- 'mitosis-cli list --json' > "$OUT/list-$m.json"
done | tee "$OUT/pages_read"
run a -- 'touch /run/enough; for i in $(seq 100); do [ -s /run/served ] && break; sleep 0.1; done; cat /run/served' | tee "$OUT/served"
! grep -q failed "$OUT/served" || die "the parent has answered wrong meanwhile"

step "A: a local fork()"
fork=$(g a ask "\$(cat /run/warm.ready)" "'fork 10000'")
echo "$fork ms until the child has looked up 10,000 entries"
[ "${fork% *}" = right ] || die "the local child is wrong"

step "The end of the children"
while read -r _ host _ init; do
	run "$host" -- "kill -KILL $init" < /dev/null
done < "$OUT/children"
run a --timeout 100 -- 'id=$(mitosis-cli list | sed -n "s/^\([0-9a-f]*\)  warm .*/\1/p"); for i in $(seq 100); do mitosis-cli release "$id" 2> /dev/null && exit; sleep 0.2; done; exit 1' ||
	die "the snapshot cannot be released"
held=$(run a -- '/root/t/bin/ctl stat pages_held')
[ "$held" = 0 ] || die "a still holds $held pages"

step "The same with plain CRIU: dump, copy to both, $CHILDREN restores"
t2=$(now_ms)
g a plain_dump
t3=$(now_ms)
for m in b c; do
	run a --timeout 300 -- "ssh $m 'rm -rf /run/plain; mkdir -p /run/plain' && tar -C /run/plain -cf - . | ssh $m 'tar -C /run/plain -xf -'"
done
t4=$(now_ms)
g b plain_restores 1 "$EACH" > "$OUT/plain-b" &
g c plain_restores 1 "$EACH" > "$OUT/plain-c"
wait $! || die "plain CRIU on b failed"
t5=$(now_ms)
bytes=$(run a -- 'du -sb /run/plain | cut -f 1')

step "$CHILDREN children of a Python service, on two machines"
python3 "$TOP/scripts/demo/fork_table.py" table "$OUT" scratch="$scratch" fork="${fork#* }" resume=$((t1 - t0)) plain_dump=$((t3 - t2)) \
	plain_copy=$((t4 - t3)) plain_restores=$((t5 - t4)) plain_bytes="$bytes"

# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Snapshots of a process that runs on, and their children.

for c in local remote eager follow lease chain foreign quota; do
	add "fork-$c" 180 on a "/root/t/fork.sh $c"
done
# 12 MiB by faults that wait, one of them several times over
add fork-limit 360 on a "/root/t/fork.sh limit"
add fork-drained 300 on a "/root/t/fork.sh drained"
add fork-limit-write 180 on a "/root/t/fork.sh limit_write"
add fork-prefetch 300 on a "/root/t/fork.sh prefetch"
add fork-record 240 on a "/root/t/fork.sh record"
add fork-one-eager 180 on a "/root/t/fork.sh one_eager"
# Parents with threads, with children, with huge and merged pages, code of their own, locks, a snapshot in swap.
fork_prog() {
	on a "/root/t/fork.sh prog $1"
}
for p in cow direct futex jit mremap shared threads tls uring; do
	add "fork-prog-$p" 180 fork_prog $p
done
add fork-prog-thp 180 with_sysfs "$THP/enabled=always" fork_prog thp
add fork-prog-ksm 180 with_sysfs "$KSM/run=1,$KSM/sleep_millisecs=1,$KSM/pages_to_scan=4000" fork_prog ksm
add fork-prog-swapped 180 with_swap fork_prog swapped
# Reads past the page cache that are under way when the snapshot is taken.
fork_inflight() {
	on a "SLOW_DISK=1 /root/t/fork.sh $*"
}
add fork-inflight-direct 180 fork_inflight prog inflight direct
add fork-inflight-aio 180 fork_inflight refused io_setup inflight aio
add fork-inflight-uring 180 fork_inflight refused io_uring inflight uring
add fork-counter 180 on a "/root/t/fork.sh counter ./simple_parent ./simple_child"
add fork-counter-python 180 on a "/root/t/fork.sh counter 'python3 simple_parent.py' 'python3 simple_child.py'"
add fork-fanout 420 on a "/root/t/fork.sh fanout 32"

fork_do() {
	on "$1" "/root/t/fork.sh ${*:2}"
}

# The link of one of two machines that have children is lost.
fork_link_lost_one() {
	fork_do a waiting 10 3 b a
	cable b down
	fork_do a go_on 3
	fork_do b given_up "$(fork_do a snapshot)"
	cable b up
	fork_do a waiting_end
}
add fork-link-lost-one 240 fork_link_lost_one

# 0x202: DESTROY_MKEY
fork_revoke() {
	fork_do a revoke_prepare
	rig mlx5 a set refuse-op $((0x202))
	rig mlx5 a set refuse-next 3
	fork_do a revoke 3
}
add_mlx5 fork-revoke 180 fork_revoke

fork_kill_mid_read() {
	fork_do a waiting 300 3 b
	cable b down
	fork_do b kill_reader "$(fork_do a snapshot)"
	cable b up
	fork_do b siblings
	fork_do a waiting_end
}
add fork-kill-mid-read 240 fork_kill_mid_read

# What a child waited for that was killed is nothing that the source owes: a link that is lost long after is not given up at once.
fork_lost_again() {
	local snapshot
	fork_do a waiting 40 3 b
	snapshot=$(fork_do a snapshot)
	cable b down
	fork_do b loses 0
	fork_do b kill_alone 0
	cable b up
	fork_do b link_is_up "$snapshot"
	sleep 41
	cable b down
	fork_do b loses 1
	sleep 3
	cable b up
	on b 'touch /tmp/mt/forked.child.2'
	fork_do b siblings
	fork_do a waiting_end
}
add fork-lost-again 300 fork_lost_again
add fork-hundred 600 on a "/root/t/fork.sh hundred"
for c in ssh receiver; do
	add "fork-session-$c" 180 on a "/root/t/fork.sh session $c"
done
add fork-to-file 180 on a "/root/t/fork.sh to_file"
add fork-terminal 180 on a "/root/t/fork.sh terminal 'exec /root/t/bin/speaker'"
add fork-terminal-controlling 120 on a "/root/t/fork.sh controlling"
add fork-terminal-job 180 on a "/root/t/fork.sh terminal '/root/t/bin/speaker; true'"

# Both ways of saying it, when nothing has changed meanwhile.
stats_take() {
	# shellcheck disable=SC2016 # expanded there
	on "$1" 'until [ "$json" = "$(mitosis-cli stats --json)" ]; do json=$(mitosis-cli stats --json); mitosis-cli stats --prometheus > /run/stats.prom; done
		mitosis-cli stats --json > /run/stats.json'
	rig get "$1" /run/stats.prom "$LOGS/$KERNEL/stats.prom-$1"
	rig get "$1" /run/stats.json "$LOGS/$KERNEL/stats.json-$1"
}

# What --prometheus says is what --json says, and Prometheus' own library reads it.
stats_compare() {
	local m
	for m in a b; do
		stats_take $m
		/usr/bin/python3 "$VM/prometheus.py" "$LOGS/$KERNEL/stats.prom-$m" "$LOGS/$KERNEL/stats.json-$m" || fail "what Prometheus is told of $m"
	done
}

fork_stats() {
	fork_do a stats_begin
	stats_compare
	grep -q '^mitosis_pages_held_by_uid{uid="0"} [1-9]' "$LOGS/$KERNEL/stats.prom-a" || fail "it is not said whose pages are held"
	grep -q '^mitosis_pages_pending{.*} [1-9]' "$LOGS/$KERNEL/stats.prom-b" || fail "it is not said what the child misses"
	grep -qE '^mitosis_link_down_seconds\{snapshot="[0-9a-f]{16}",source=".+",transport="(rc|dct|tcp)"\} 0' "$LOGS/$KERNEL/stats.prom-b" || fail "the link is not told of"
	fork_do a stats_end
}
add fork-stats 180 fork_stats

node_gone() {
	on a "/root/t/fork.sh gone_start"
	rig off b
	on a "/root/t/fork.sh gone"
	rig reset b
	on b /root/t/setup.sh
}
add fork-node-gone 420 node_gone

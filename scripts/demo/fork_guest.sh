#!/bin/bash
# SPDX-License-Identifier: MIT
# The fork demo's steps inside a machine. The service listens on port 7100 of the loopback, and each child has one of its own.
set -eu
READY=/run/warm.ready
PORT=7100
WARM=/root/warm.py

now_ms() {
	echo $((${EPOCHREALTIME/./} / 1000))
}

say() {
	echo "demo-fork: $*" >&2
	exit 1
}

# ask PID COMMAND: in the network namespace of PID.
ask() {
	# shellcheck disable=SC2016 # expanded there
	timeout 60 nsenter -t "$1" -n bash -c 'exec 3<> /dev/tcp/127.0.0.1/'$PORT' && echo "$0" >&3 && head -n 1 <&3' "$2"
}

# What entry N must be, worked out anew.
entry() {
	local sum
	sum=$(printf %s "$1" | sha256sum)
	sum=${sum%% *}
	echo "$sum$sum$sum$sum"
}

# ENTRIES: milliseconds until the service gives its first answer.
start() {
	local t0 pid
	t0=$(now_ms)
	rm -f $READY
	(cd / && exec setsid -f $WARM "$1" $PORT $READY < /dev/null > /dev/null 2>&1)
	until [ -s $READY ]; do
		sleep 0.02
	done
	pid=$(cat $READY)
	[ "$(ask "$pid" "get 5")" = "parent $(entry 5)" ] || say "the service's answer is wrong"
	echo $(($(now_ms) - t0))
}

stop() {
	kill "$(cat $READY)"
}

# FILE COUNT: asks the service all the while, until FILE exists; how many of the answers were right.
serve() {
	local pid n=0 right=0
	pid=$(cat $READY)
	while [ ! -e "$1" ]; do
		n=$((n + 1))
		[ "$(ask "$pid" "get $((n % 1000))")" = "parent $(entry $((n % 1000)))" ] && right=$((right + 1))
	done
	echo "$right of $n"
	[ $right = $n ] && [ $n -gt 0 ]
}

# PID INDEX NAME: asks child INDEX NAME for three entries. "INDEX ms-to-first-answer KiB-of-its-own"
first_answer() {
	local t0 t1 n
	t0=$(now_ms)
	[ "$(ask "$1" "get 5")" = "$2 $(entry 5)" ] || say "child $2 (process $1) answers wrong: $(ask "$1" "get 5")"
	t1=$(now_ms)
	for n in 77 9999; do
		[ "$(ask "$1" "get $n")" = "$2 $(entry $n)" ] || say "child $2 (process $1) answers wrong for entry $n"
	done
	echo "$3 $((t1 - t0)) $(sed -n 's/^Pss: *\([0-9]*\) kB/\1/p' "/proc/$1/smaps_rollup")"
}

# Beginning of CRIU's plain way: all memory in the images.
plain_dump() {
	rm -rf /run/plain
	mkdir -p /run/plain
	criu dump -v1 -t "$(cat $READY)" -D /run/plain --leave-running
}

# FIRST LAST: as many restores, each in namespaces of its own; then their first answers.
plain_restores() {
	local i pid pids=()
	for ((i = $1; i <= $2; i++)); do
		# shellcheck disable=SC2016 # expanded there
		setsid -f unshare --pid --fork --mount-proc --net sh -c 'ip link set lo up
			criu restore -v1 -d -D /run/plain -W "$0" --pidfile "$0/pid" && touch "$0/done" || touch "$0/failed"; exec sleep 1000' \
			"$(mktemp -d "/run/restore-$i.XXXX")" < /dev/null > /dev/null 2>&1
		# as many at a time as there are processors
		while [ "$(($(compgen -G '/run/restore-*/done' | wc -l) + $(nproc)))" -le $((i - $1 + 1)) ]; do
			! compgen -G '/run/restore-*/failed' > /dev/null || say "plain criu restore failed"
			sleep 0.02
		done
	done
	until [ "$(compgen -G '/run/restore-*/done' | wc -l)" = $(($2 - $1 + 1)) ]; do
		! compgen -G '/run/restore-*/failed' > /dev/null || say "plain criu restore failed"
		sleep 0.02
	done
	mapfile -t pids < <(pgrep -f "^/usr/bin/python3 $WARM|^python3 $WARM")
	[ ${#pids[@]} = $(($2 - $1 + 1)) ] || say "${#pids[@]} restored processes are here"
	for pid in "${pids[@]}"; do
		first_answer "$pid" parent plain
	done
	kill -KILL "${pids[@]}"
	rm -rf /run/restore-*
}

"$@"

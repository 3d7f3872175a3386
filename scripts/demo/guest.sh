#!/bin/bash
# SPDX-License-Identifier: MIT
# The demo's steps inside a machine.
set -eu

now_ms() {
	echo $((${EPOCHREALTIME/./} / 1000))
}

redis_start() {
	mkdir -p /root/redis
	ssh b mkdir -p /root/redis
	# shellcheck disable=SC2016
	(cd /root/redis && exec setsid -f redis-server --save "" --daemonize no --port 6379 --bind 0.0.0.0 \
		--protected-mode no --enable-debug-command yes < /dev/null > /dev/null 2>&1)
	for _ in $(seq 100); do
		redis-cli ping > /dev/null 2>&1 && break
		sleep 0.1
	done
	redis-cli debug populate "$1" key 256
	redis-cli dbsize
}

redis_digest() {
	redis-cli debug digest
}

redis_pid() {
	pidof redis-server
}

migrate() {
	mitosis-cli migrate --pid "$(redis_pid)" --to b --json > /tmp/migrate.json
	cat /tmp/migrate.json
}

criu_migrate() {
	local d=/run/plain t0 t1 t2 t3
	rm -rf $d
	mkdir -p $d
	ssh b "rm -rf $d; mkdir -p $d"
	t0=$(now_ms)
	criu dump -v1 -t "$(redis_pid)" -D $d
	t1=$(now_ms)
	tar -C $d -cf - . | ssh b "tar -C $d -xf -"
	t2=$(now_ms)
	ssh b "criu restore -v1 -d -D $d"
	t3=$(now_ms)
	echo "dump_ms $((t1 - t0))"
	echo "copy_ms $((t2 - t1))"
	echo "restore_ms $((t3 - t2))"
	echo "bytes $(du -sb $d | cut -f 1)"
	rm -rf $d
}

compute_start() {
	mkdir -p /root/compute
	rm -f /root/compute/*
	(cd /root/compute && exec setsid -f python3 /root/compute.py /root/compute/result "$1" < /dev/null > /dev/null 2>&1)
	until [ -s /root/compute/result.begun ]; do
		sleep 0.1
	done
	# its file is closed
	sleep 0.2
}

compute_migrate() {
	ssh b 'mkdir -p /root/compute; rm -f /root/compute/*'
	mitosis-cli migrate --pid "$(pgrep -f /root/compute.py)" --to b --no-wait
	echo "moved after step $(cat /root/compute/result.begun) of each thread, or a little later"
}

compute_result() {
	until [ -s /root/compute/result ]; do
		pgrep -f /root/compute.py > /dev/null || [ -s /root/compute/result ] || { echo "it has ended without a result"; exit 1; }
		sleep 0.2
	done
	cat /root/compute/result
}

"$@"

#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in machine a: containers of podman, runc and crun, by the engines' own checkpoint and restore, and by mitosis-cli migrate --container.
set -u
T=/tmp/mt
IMAGE=localhost/redis
REDIS=(redis-server --save '' --appendonly yes --dir /data --enable-debug-command yes --protected-mode no)
LIMIT=$((192 << 20))

# shellcheck source=lib.sh
. "${0%/*}/lib.sh"

# One program and what it needs, in place of a distribution.
rootfs() {
	local r=$1 f
	mkdir -p "$r"/{bin,data,dev,etc,proc,run,sys,tmp}
	cp /usr/bin/redis-server /usr/bin/redis-cli /usr/bin/busybox "$r/bin/"
	ln -sf busybox "$r/bin/sh"
	echo 'root:x:0:0:root:/:/bin/sh' > "$r/etc/passwd"
	ldd /usr/bin/redis-server /usr/bin/redis-cli | grep -oE '/[^ :]+\.so[^ :]*' | sort -u | while read -r f; do
		install -D "$f" "$r$f"
	done
}

# Here and on the peer: podman without systemd, the network, nothing of an earlier case.
cmd_machine() {
	mkdir -p /etc/containers
	printf '%s\n' '[engine]' 'cgroup_manager = "cgroupfs"' 'events_logger = "none"' > /etc/containers/containers.conf
	rm -f /etc/criu/{default,runc,crun}.conf
	podman rm -a -f -t 0 > /dev/null
	podman volume rm -a -f > /dev/null
	podman network exists lan ||
		podman network create -d macvlan -o parent=eth0 --subnet 10.77.0.0/24 --ip-range 10.77.0.128/26 lan > /dev/null
}

machines() {
	on_peer "$0 machine" & cmd_machine
	wait $! || fail "podman cannot be prepared on the peer"
	if ! podman image exists $IMAGE; then
		rm -rf /root/rootfs
		rootfs /root/rootfs
		tar -C /root/rootfs -cf - . | podman import -q - $IMAGE > /dev/null || fail "podman makes no image"
	fi
	on_peer "podman image exists $(podman image inspect -f '{{.Id}}' $IMAGE)" ||
		podman image save $IMAGE | on_peer podman image load > /dev/null || fail "the image cannot be copied"
}

# redis_start PODMAN-OPTION...: container r
redis_start() {
	podman run -d --name r --memory $LIMIT --pids-limit 100 --cpus 1.5 -v data:/data "$@" $IMAGE "${REDIS[@]}" > /dev/null || fail "podman starts no container"
	until_true 20 podman exec r redis-cli ping || fail "redis does not start"
	podman exec r redis-cli debug populate 20000 key 64 > /dev/null
	podman exec r redis-cli set marker 1 > /dev/null
	DIGEST=$(redis_digest)
	[[ $DIGEST =~ ^[0-9a-f]{40}$ ]] || fail "redis gives no digest: $DIGEST"
}

redis_digest() {
	podman exec r redis-cli debug digest
}

held() {
	stat_of snapshots
}

# One line of configuration has an engine use mitosis.
configure() {
	case $1 in
	runc) ln -sf mitosis.conf /etc/criu/runc.conf ;;
	crun) ln -sf mitosis.conf /etc/criu/default.conf ;;
	esac
}

# Its limits are what they were, its processes are in them, and its memory is charged to it.
limits_hold() {
	local group
	group=/sys/fs/cgroup/libpod_parent/libpod-$(podman inspect -f '{{.Id}}' r)
	[ "$(cat "$group"/{memory,pids,cpu}.max | paste -s)" = "$LIMIT	100	150000 100000" ] || fail "the container's limits are $(cat "$group"/{memory,pids,cpu}.max | paste -s)"
	grep -q populated.1 "$group/cgroup.events" || fail "nothing is in the container's cgroup"
	grep ^anon "$group/memory.stat"
	# 20,000 values of 64 bytes, with as much beside them
	[ "$(sed -n 's/^anon //p' "$group/memory.stat")" -ge $((20000 * 128)) ] || fail "the container's memory is not charged to it: $(grep ^anon "$group/memory.stat")"
}

# What must be so where container r has come to, after its memory.
cmd_arrived() {
	local digest=$1
	until_true "${DRAIN:-60}" idle_links || fail "memory does not arrive"
	[ "$(redis_digest)" = "$digest" ] || fail "redis's digest was $digest and is $(redis_digest)"
	limits_hold
	podman exec r sh -c 'cat /data/appendonlydir/*.aof' | grep -q marker || fail "the volume has not come"
}

# podman's own checkpoint and restore: here, and with an archive in the other machine.
cmd_podman() {
	local runtime=$1 n
	machines
	configure "$runtime"
	configure_peer "$runtime"
	n=$(held)
	redis_start --runtime "$runtime" -p 6390:6379
	podman container checkpoint --tcp-established --file-locks r > /dev/null || fail "podman does not checkpoint"
	[ "$(held)" = $((n + 1)) ] || fail "mitosis holds nothing of the container"
	podman container restore --tcp-established --file-locks r > /dev/null || fail "podman does not restore"
	cmd_arrived "$DIGEST"
	podman container checkpoint --tcp-established --file-locks --compress none --export $T/r.tar r > /dev/null || fail "podman does not export"
	checkpointctl show $T/r.tar | grep -q "| r .*$IMAGE.* $runtime .*Podman" || fail "checkpointctl does not know the archive: $(checkpointctl show $T/r.tar)"
	checkpointctl inspect --metadata --mounts --stats --files --sockets $T/r.tar > $T/inspect || fail "checkpointctl cannot read the archive"
	grep -q redis-server $T/inspect || fail "checkpointctl does not know the process: $(cat $T/inspect)"
	tar -tf $T/r.tar checkpoint/mitosis.img > /dev/null || fail "the archive has no descriptor"
	scp -q $T/r.tar "$PEER:$T/"
	on_peer "podman container restore --tcp-established --file-locks --import $T/r.tar > /dev/null" || fail "podman does not import on the peer"
	on_peer "$0 arrived $DIGEST" || exit 1
	[ "$(on_peer redis-cli -p 6390 dbsize)" = 20001 ] || fail "redis does not answer at its published port"
	finish
}

configure_peer() {
	on_peer "$0 configure $1"
}

# The runtimes by themselves.
cmd_runtime() {
	local runtime=$1 b=$T/bundle pid
	machines
	configure "$runtime"
	# the log is appended to
	rm -rf $b $T/bare.out
	mkdir -p $b
	rootfs $b/rootfs
	(cd $b && "$runtime" spec)
	python3 - $b/config.json "${REDIS[@]}" --save '' --appendonly no --logfile /tmp/log <<-'END'
	import json, sys
	c = json.load(open(sys.argv[1]))
	c["process"]["args"] = sys.argv[2:]
	c["process"]["terminal"] = False
	c["root"]["readonly"] = False
	c["linux"]["resources"] = dict(c["linux"].get("resources", {}), memory={"limit": 192 << 20})
	json.dump(c, open(sys.argv[1], "w"))
	END
	# what the program has open must be within the container: neither a file for its output nor a terminal of here
	"$runtime" --log $T/bare.out run -d --bundle $b bare < /dev/null > /dev/null 2>&1 || fail "$runtime runs nothing: $(cat $T/bare.out)"
	until_true 20 "$runtime" exec bare redis-cli ping || fail "redis does not start"
	"$runtime" exec bare redis-cli debug populate 5000 key 64 > /dev/null
	DIGEST=$("$runtime" exec bare redis-cli debug digest)
	[[ $DIGEST =~ ^[0-9a-f]{40}$ ]] || fail "redis gives no digest: $DIGEST"
	"$runtime" checkpoint --image-path $T/bare --work-path $T bare || {
		cat $T/dump.log
		fail "$runtime does not checkpoint: $(grep Error $T/dump.log | tail -n 1)"
	}
	[ "$(held)" = 1 ] || fail "mitosis holds nothing of the container"
	"$runtime" delete bare 2> /dev/null
	"$runtime" --log $T/bare.out restore -d --image-path $T/bare --bundle $b bare < /dev/null > /dev/null 2>&1 || fail "$runtime does not restore: $(cat $T/bare.out)"
	until_true "${DRAIN:-60}" idle_links || fail "memory does not arrive"
	pid=$("$runtime" state bare | sed -nE 's/.*"pid": ([0-9]+).*/\1/p')
	# runc leaves that to whoever makes the network
	nsenter -t "$pid" -n ip link set lo up
	[ "$("$runtime" exec bare redis-cli debug digest)" = "$DIGEST" ] || fail "redis's digest has changed"
	[ "$(cat "/sys/fs/cgroup$(cut -d : -f 3 "/proc/$pid/cgroup")/memory.max")" = $LIMIT ] || fail "the container has lost its memory limit"
	"$runtime" delete -f bare
	finish
}

move() {
	mitosis-cli migrate --container r --to "$PEER" > $T/migrate.log 2>&1
}

moved() {
	move || { cat $T/migrate.log; fail "migrate: $(grep ^mitosis-cli $T/migrate.log | tail -n 1)"; }
	! podman container exists r || fail "podman still knows the container here"
	[ "$(mitosis-cli resolve)" = "nothing to resolve" ] || fail "a journal is left"
	until_true 10 idle_source || fail "memory is still held here"
}

# A published port: a client that connects anew where the command has said finds all that it was answered.
cmd_port() {
	local runtime=$1
	machines
	redis_start --runtime "$runtime" -p 6390:6379
	rm -f $T/client*
	setsid -f "${0%/*}/redis_client.py" $T/client 120 10.77.0.1:6390 10.77.0.2:6390 < /dev/null > /dev/null 2>&1
	until_true 30 grep -q '^[1-9]' $T/client.n || fail "the client does not start"
	moved
	grep -q "port 6390/tcp of container r is published by $PEER now" $T/migrate.log || fail "the change of the address is not told: $(cat $T/migrate.log)"
	client_end 'count * reconnected [1-9]*'
	on_peer "$0 limits" || exit 1
	finish
}

# client_end PATTERN
client_end() {
	local n
	n=$(cat $T/client.n)
	until_true 60 eval "[ \"\$(cat $T/client.n)\" -gt $((n + 20)) ] || [ -s $T/client ]" || fail "the client does not go on: $n"
	touch $T/client.stop
	until_true 60 test -s $T/client || fail "the client does not end"
	# shellcheck disable=SC2053
	[[ $(cat $T/client) == $1 ]] || fail "the client: $(cat $T/client)"
	cat $T/client
}

# Memory, limits and volume where the container is, while a client writes to it.
cmd_limits() {
	[ "$(podman exec r redis-cli dbsize)" -ge 20002 ] || fail "redis has lost keys"
	limits_hold
	podman exec r sh -c 'cat /data/appendonlydir/*.aof' | grep -q counter || fail "the volume has not come"
}

# An address that moves: clients, one of which counts, see a pause and nothing else. They are machines of their own in the same network.
cmd_address() {
	local runtime=$1
	machines
	redis_start --runtime "$runtime" --network lan --ip 10.77.0.130
	"$0" clients 10.77.0.130:6379 || exit 1
	moved
	grep -q "container r has kept its address 10.77.0.130" $T/migrate.log || fail "the address is not told: $(cat $T/migrate.log)"
	client_end 'count * reconnected 0'
	kill -0 "$(cat $T/benchmark.pid)" || fail "redis-benchmark has ended: $(cat $T/benchmark)"
	on_peer "$0 limits" || exit 1
	[ "$(on_peer "$0 connections")" -ge 8 ] || fail "redis-benchmark has lost connections"
	kill "$(cat $T/benchmark.pid)"
	finish
}

# Of clients in their own network namespace to the container.
connections() {
	podman exec r redis-cli client list | grep -c addr=10.77.0.90:
}

cmd_connections() {
	connections
}

# A machine of its own in the network, as the one that has the container cannot speak with it (macvlan).
cmd_clients() {
	local server=$1
	ip netns add client 2> /dev/null
	ip -n client link show lan0 > /dev/null 2>&1 || {
		ip link add lan0 link eth0 netns client type macvlan mode bridge
		ip -n client addr add 10.77.0.90/24 dev lan0
		ip -n client link set lan0 up
	}
	rm -f $T/client* $T/benchmark*
	setsid -f ip netns exec client "${0%/*}/redis_client.py" $T/client 120 "$server" < /dev/null > /dev/null 2>&1
	# shellcheck disable=SC2016
	setsid -f ip netns exec client sh -c 'echo $$ > $0.pid; exec redis-benchmark -h $1 -p $2 -c 8 -l --csv -t set,get -n 10000' $T/benchmark "${server%:*}" "${server#*:}" < /dev/null > $T/benchmark 2>&1
	until_true 30 grep -q '^[1-9]' $T/client.n || fail "the client does not start: $(cat $T/client)"
	until_true 60 eval '[ "$(connections)" -ge 9 ]' || fail "redis-benchmark does not connect: $(cat $T/benchmark)"
}

# refused PATTERN COMMAND [OPTION...]: by a check on either side.
refused() {
	local pattern=$1
	shift
	mitosis-cli "$@" --to "$PEER" > $T/refused 2>&1
	[ $? = 3 ] || fail "mitosis-cli $* is not refused: $(cat $T/refused)"
	grep -q "$pattern" $T/refused || fail "mitosis-cli $*: '$pattern' is not said: $(cat $T/refused)"
}

# Another container named r, with a volume named data, on the peer.
cmd_stand_in() {
	podman run -d --name r -v data:/data $IMAGE busybox sleep 100000 > /dev/null
}

cmd_stand_in_lives() {
	runs || fail "a stand-in of the same name has been ended"
	podman volume exists data || fail "a stand-in's volume has been removed"
}

# leave MIB: of memory, and no more.
cmd_leave() {
	local available
	available=$(sed -nE 's/MemAvailable: *([0-9]+) kB/\1/p' /proc/meminfo)
	mkdir -p /run/full
	mount -t tmpfs -o size=100% none /run/full
	head -c $(((available / 1024 - $1) << 20)) /dev/zero > /run/full/f
}

# paused STEP LOG: a move that waits there.
paused() {
	rm -f /tmp/mitosis-test-{go,at}
	MITOSIS_TEST_STEP=$1:pause mitosis-cli migrate --container r --to "$PEER" > "$2" 2>&1 &
	PAUSED=$!
	until_true 300 test -e /tmp/mitosis-test-at || fail "a move does not come to $1: $(cat "$2")"
}

# The exit status of a move in the background is RC then.
move_ends() {
	wait "$PAUSED"
	RC=$?
}

paused_goes_on() {
	touch /tmp/mitosis-test-go
	move_ends
}

# peer_paused STEP: a move whose receiver waits there.
peer_paused() {
	on_peer "rm -f /tmp/mitosis-test-{go,at}; echo $1:pause > /run/mitosis-test-step"
	move &
	PAUSED=$!
	until_true 300 on_peer test -e /tmp/mitosis-test-at || fail "the receiver does not come to $1: $(cat $T/migrate.log)"
}

peer_goes_on() {
	on_peer "rm /run/mitosis-test-step; touch /tmp/mitosis-test-go"
	move_ends
}

# Everything is here as it was before a move that has failed with RC.
runs_on() {
	[ $RC = 1 ] || fail "a move that cannot succeed ends with $RC: $(cat $T/migrate.log)"
	grep -q "container r runs on here" $T/migrate.log || fail "it is not told where it runs: $(cat $T/migrate.log)"
	cmd_arrived "$DIGEST"
	until_true 10 idle_source || fail "memory is still held here"
	[ "$(mitosis-cli resolve)" = "nothing to resolve" ] || fail "a journal is left"
}

# Nothing of it there.
nothing_left() {
	! on_peer podman container exists r || fail "a container is left there"
	! on_peer podman volume exists data || fail "a volume is left there"
	[ "$(on_peer mitosis-cli resolve)" = "nothing to resolve" ] || fail "a journal is left there"
	on_peer "$0 gone" || exit 1
}

# The receiver dies before COMMIT: it goes on here, from the checkpoint.
cmd_fails() {
	local runtime=$1
	machines
	redis_start --runtime "$runtime" -p 6390:6379
	redis-cli -p 6390 set answer 42 > /dev/null
	podman run -d --name user --restart always --network container:r -v data:/data $IMAGE busybox sleep 100000 > /dev/null
	refused "container user depends on container r" check --container r
	grep -q "container user uses volume data, too" $T/refused || fail "a volume that another one writes to is not told: $(cat $T/refused)"
	refused "restart policy always" check --container user
	podman rm -f -t 0 user > /dev/null
	podman exec r sh -c 'head -c 60000000 /dev/zero > /dev/shm/x'
	on_peer "$0 leave 45"
	refused "MiB are available, container r has" check --container r
	on_peer "umount /run/full"
	podman exec r rm /dev/shm/x
	on_peer "echo restored:kill > /run/mitosis-test-step"
	! move || fail "a move succeeds whose receiver is dead"
	grep -q "container r runs on here" $T/migrate.log || fail "it is not told where it runs: $(cat $T/migrate.log)"
	[ "$(redis-cli -p 6390 incr answer)" = 43 ] || fail "redis does not go on here"
	until_true "${DRAIN:-60}" idle_links || fail "memory does not come back"
	until_true 10 idle_source || fail "memory is still held here"
	on_peer "rm /run/mitosis-test-step"
	[ "$(mitosis-cli resolve)" = "nothing to resolve" ] || fail "a journal is left here"
	on_peer "cp /var/lib/mitosis/*.json $T/" || fail "the receiver has left no journal"
	refused "there is a container r already" check --container r
	on_peer podman container exists r || fail "a mere check has removed a container"
	# what the dead receiver has left goes with the next one
	refused "volume data of container r is not there" migrate --container r --shared-volumes
	! on_peer podman container exists r || fail "what a dead receiver has left has not gone"
	# as if the next one had come after somebody had helped himself
	on_peer "cp $T/????????????????.json /var/lib/mitosis/; $0 stand_in"
	refused "there is a container r already" migrate --container r
	on_peer "$0 stand_in_lives" || exit 1
	on_peer "podman rm -f -t 0 r && podman volume rm data && podman volume create data2" > /dev/null
	# two that have looked at the same time
	paused checked $T/second.log
	moved
	paused_goes_on
	[ $RC = 3 ] || fail "a second move ends with $RC: $(cat $T/second.log)"
	grep -q "container r does not run as it did" $T/second.log || fail "a second move does not say why: $(cat $T/second.log)"
	on_peer "podman volume exists data2" || fail "another volume has been removed"
	[ "$(on_peer redis-cli -p 6390 incr answer)" = 44 ] || fail "redis does not go on there"
	[ "$(on_peer redis-cli -p 6390 dbsize)" = 20002 ] || fail "redis has lost keys"
	finish
}

runs() {
	[ "$(podman inspect -f '{{.State.Running}}' r 2> /dev/null)" = true ]
}

cmd_runs() {
	runs
}

# The command is told to end when the container stands still, and then killed; another loses its session when it has sent COMMIT. resolve ends both.
cmd_cut() {
	local runtime=$1 id n=0
	machines
	redis_start --runtime "$runtime" -p 6390:6379
	paused dumped $T/migrate.log
	refused "container r is being moved to $PEER" check --container r
	kill -TERM "$PAUSED"
	paused_goes_on
	[ $RC = 143 ] || fail "a command that is told to end ends with $RC: $(cat $T/migrate.log)"
	grep -q "container r runs on here" $T/migrate.log || fail "it is not told where it runs: $(cat $T/migrate.log)"
	cmd_arrived "$DIGEST"
	until_true 10 idle_source || fail "memory is still held here"
	! MITOSIS_TEST_STEP=dumped:kill move || fail "the command was not killed"
	! runs || fail "the container runs"
	id=$(mitosis-cli resolve | sed -nE 's/^([0-9a-f]{16}) .* r$/\1/p')
	refused "mitosis-cli resolve $id" check --container r
	mitosis-cli resolve "$id" || fail "resolve $id does not restore it"
	cmd_arrived "$DIGEST"
	until_true 10 idle_source || fail "memory is still held here"
	MITOSIS_TEST_STEP=committed:kill-ssh move
	[ $? = 4 ] || fail "a session that is lost is no doubt: $(cat $T/migrate.log)"
	! runs || fail "the container runs before anything is resolved"
	id=$(in_doubt)
	refused "mitosis-cli resolve $id" check --container r
	mitosis-cli resolve "$id" --to "$PEER" || fail "resolve $id finds no answer"
	if runs; then
		n=1
		cmd_arrived "$DIGEST"
	fi
	if on_peer "$0 runs"; then
		n=$((n + 1))
		on_peer "$0 arrived $DIGEST" || exit 1
	fi
	[ $n = 1 ] || fail "the container runs on $n machines"
	[ "$(mitosis-cli resolve)$(on_peer mitosis-cli resolve)" = "nothing to resolvenothing to resolve" ] || fail "a journal is left"
	finish
}

# The id of the move that nobody can say the end of.
in_doubt() {
	sed -nE 's/.*mitosis-cli resolve ([0-9a-f]{16}) --to.*/\1/p' $T/migrate.log
}

# What has failed there after COMMIT, with RC, comes back here.
resolved_here() {
	local id
	[ "$RC" = 4 ] || fail "COMMIT has been sent, and that is no doubt: $(cat $T/migrate.log)"
	id=$(in_doubt)
	mitosis-cli resolve "$id" --to "$PEER" || fail "resolve $id finds no answer"
	runs || fail "the container does not run here"
	cmd_arrived "$DIGEST"
	nothing_left
}

# criu dies there while its tasks wait for COMMIT: none of them runs, though COMMIT is on its way, and the container comes back.
cmd_criu() {
	local runtime=$1
	machines
	redis_start --runtime "$runtime" -p 6390:6379
	peer_paused restored
	on_peer pgrep -x redis-server > /dev/null || fail "nothing waits there"
	on_peer 'kill -KILL $(pgrep -f "^criu: restore")'
	on_peer "$0 gone" || exit 1
	peer_goes_on
	resolved_here
	finish
}

# Podman dies there, when its runtime restores and when the container waits for COMMIT.
cmd_engine() {
	local runtime=$1
	machines
	redis_start --runtime "$runtime" -p 6390:6379
	peer_paused restoring
	until_true 60 on_peer "pgrep -f '^[^ ]*bin/$runtime .*restore '" || fail "the runtime restores nothing there"
	on_peer "$0 kill_podman" || exit 1
	peer_goes_on
	grep -q "podman could not restore container r there" $T/migrate.log || fail "it is not told what has failed: $(cat $T/migrate.log)"
	runs_on
	nothing_left
	peer_paused restored
	on_peer "$0 kill_podman" || exit 1
	peer_goes_on
	resolved_here
	moved
	on_peer "$0 arrived $DIGEST" || exit 1
	finish
}

cmd_kill_podman() {
	kill -KILL "$(pgrep -f '^podman container restore')" || fail "no podman restores anything"
}

# small MIB DIR: a file system of its own, that full may fill.
cmd_small() {
	mkdir -p "$2"
	mount -t tmpfs -o size="$1"m none "$2"
}

cmd_full() {
	! head -c 1G /dev/zero > "$1/full" 2> /dev/null || fail "$1 is not full with 1 GiB"
}

# The disk there gets full: where the archive goes, and where podman has its containers.
cmd_disk() {
	local runtime=$1
	machines
	redis_start --runtime "$runtime"
	podman exec r sh -c 'head -c 20000000 /dev/urandom > /tmp/big'
	on_peer "$0 small 16 /var/lib/mitosis"
	refused "in /var/lib/mitosis on their way, and there are" check --container r
	on_peer "umount /var/lib/mitosis; $0 small 64 /var/lib/mitosis"
	paused dumped $T/migrate.log
	on_peer "$0 full /var/lib/mitosis" || exit 1
	paused_goes_on
	grep -q "cannot be written to .*No space left on device" $T/migrate.log || fail "it is not told that a disk is full: $(cat $T/migrate.log)"
	runs_on
	on_peer umount /var/lib/mitosis
	on_peer "$0 small 160 /var/lib/containers"
	podman image save $IMAGE | on_peer podman image load > /dev/null || fail "the image cannot be copied"
	peer_paused received
	on_peer "$0 full /var/lib/containers" || exit 1
	peer_goes_on
	grep -qi "no space left on device" $T/migrate.log || fail "it is not told that podman's disk is full: $(cat $T/migrate.log)"
	runs_on
	on_peer rm /var/lib/containers/full
	nothing_left
	moved
	on_peer "$0 arrived $DIGEST" || exit 1
	on_peer "podman rm -f -t 0 r > /dev/null; umount /var/lib/containers" || fail "a file system there is still in use"
	finish
}

# It runs there, which nobody here has heard, and there somebody has ended the migration by hand: what is asked then is podman.
cmd_resolved() {
	local runtime=$1 id
	machines
	redis_start --runtime "$runtime"
	paused committed $T/migrate.log
	until_true 60 on_peer "$0 runs" || fail "the container does not run there: $(cat $T/migrate.log)"
	kill -KILL "$PAUSED"
	id=$(mitosis-cli resolve | sed -nE 's/^([0-9a-f]{16}) .* r$/\1/p')
	until_true 60 on_peer "mitosis-cli resolve $id --here run" || fail "resolve there: $(on_peer "mitosis-cli resolve $id --here run" 2>&1)"
	mitosis-cli resolve "$id" --to "$PEER" || fail "resolve $id finds no answer"
	! podman container exists r || fail "podman still knows the container here"
	on_peer "$0 arrived $DIGEST" || exit 1
	until_true 10 idle_source || fail "memory is still held here"
	[ "$(mitosis-cli resolve)$(on_peer mitosis-cli resolve)" = "nothing to resolvenothing to resolve" ] || fail "a journal is left"
	finish
}

# podman dies while it exports: what it has written of that is nothing to restore from.
cmd_export() {
	local runtime=$1 sum dir
	machines
	redis_start --runtime "$runtime"
	podman exec r sh -c 'head -c 150000000 /dev/urandom > /tmp/big'
	sum=$(podman exec r busybox md5sum /tmp/big)
	dir=$(podman inspect -f '{{.StaticDir}}' r)
	move &
	PAUSED=$!
	until_true 120 test -s "$dir/rootfs-diff.tar" || fail "podman exports nothing: $(cat $T/migrate.log)"
	kill -KILL "$(pgrep -f '^podman container checkpoint')"
	move_ends
	runs_on
	[ "$(podman exec r busybox md5sum /tmp/big)" = "$sum" ] || fail "a file of the container's has changed"
	[ ! -e "$dir/rootfs-diff.tar" ] || fail "what podman has exported is left"
	finish
}

cmd_gone() {
	until_true 20 eval '! pgrep -x redis-server' || fail "what criu has restored is there without it"
}

finish() {
	ip netns del client 2> /dev/null
	on_peer "$0 machine" & cmd_machine
	wait $!
}

cmd_configure() {
	configure "$1"
}

mkdir -p $T
c=$1
shift
"cmd_$c" "$@"

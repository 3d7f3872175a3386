# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The source is lost while memory is still there: a task waits killably, goes on, or is killed with the reason logged.

# lost_start [SECONDS [NAME=VALUE]]: until it gives up, and what migrate has in its environment.
lost_start() {
	pid=$(on a "GIVE_UP=${1:-120} ${2:-} /root/t/drive.sh lost_start") || fail "${pid##*FAIL: }"
}

there() {
	on b "/root/t/drive.sh $*"
}

go() {
	on b 'touch /tmp/mt/target.go'
}

goes_on() {
	there reads_on "$pid"
	there drains "$pid"
	on a '/root/t/drive.sh source_idle'
}

# is_at_least WHAT N LEAST
is_at_least() {
	[ "$2" -ge "$3" ] || fail "$1: $2, and not at least $3"
	echo "$1: $2"
}

# wire_rate MBIT: for what comes from the source; 0: as fast as ever.
wire_rate() {
	if [ "$TRANSPORT" != tcp ]; then
		faults a rate-mbit "$1"
	elif [ "$1" = 0 ]; then
		netem a
	else
		netem a rate "$1mbit"
	fi
}

# Of the process that has been moved.
snapshot_there() {
	on b "mitosis-cli list --json" | sed -n '/"links"/,$s/.*"snapshot": *"\([0-9a-f]*\)".*/\1/p' | head -n 1
}

# middle [SECONDS [drain]]: a process on b, pid, of 16 MiB that its threads read and that is drained, or only drained, over a slow wire. It is given
# up after SECONDS. A slow machine takes most of a minute until something is done to it in the middle; it must not have everything by then.
middle() {
	lost_start "${1:-120}" "TARGET='16 touch 16'"
	there reads_over "${TRANSPORT:-dct}"
	snapshot=$(snapshot_there)
	wire_rate $((SLOW > 1 ? 1 : 4))
	[ "${2:-}" ] || go
	on b 'touch /tmp/mitosis-test-go'
	there draining
}

# It gets the rest, and is an ordinary process.
middle_goes_on() {
	wire_rate 0
	goes_on
}

# It ends with a sentence.
middle_killed() {
	there is_killed "$pid" 150
	there told "\"snapshot $snapshot: link to .* given up .*: $1\""
}

middle_released() {
	on a "mitosis-cli release --all; /root/t/drive.sh source_idle"
}

middle_ends() {
	middle_killed "$1"
	middle_released
}

returns() {
	lost_start
	cable b down
	go
	there waits "$pid"
	cable b up
	goes_on
}
add lost-source-returns 240 returns

# A firewall's or a route's word is not the source's: it is waited until that changes.
prohibited() {
	lost_start
	# shellcheck disable=SC2016
	on b 'n=$(/root/t/bin/ctl stat link_down)
		ip route add prohibit 10.77.0.1
		touch /tmp/mt/target.go
		for i in $(seq 600); do [ "$(/root/t/bin/ctl stat link_down)" -gt "$n" ] && break; sleep 0.1; done
		sleep 3'
	there waits "$pid"
	on b 'ip route del prohibit 10.77.0.1'
	goes_on
}
add_tcp lost-source-prohibited 240 prohibited

killed_waiting() {
	lost_start
	cable b down
	go
	there waits "$pid"
	there kill "$pid"
	cable b up
}
add lost-source-sigkill-while-waiting 240 killed_waiting

# What has ended while its source was away has lost nothing: it is said what is left at the source, when that was given the time it has.
ended_untold() {
	local snapshot
	lost_start 40
	snapshot=$(snapshot_there)
	cable b down
	go
	on b 'touch /tmp/mitosis-test-go'
	there told "\"snapshot $snapshot: link to .* lost (\""
	sleep 15
	there ends_untold "$pid" "$snapshot" 80
	cable b up
	middle_released
}
add lost-source-ended-untold 300 ended_untold

given_up() {
	lost_start 8
	cable b down
	go
	there waits "$pid"
	there is_killed "$pid" 90
	cable b up
}
add lost-source-given-up 240 given_up

drain_resumes() {
	lost_start
	on b 'touch /tmp/mitosis-test-go'
	cable b down
	sleep 3
	cable b up
	go
	goes_on
}
add lost-source-drain-resumes 240 drain_resumes

power_cut() {
	lost_start 8
	rig reset a
	on a /root/t/setup.sh
	go
	there is_killed "$pid" 120
}
add lost-source-power-cut 300 power_cut

released() {
	lost_start 20
	on a 'mitosis-cli release --all'
	go
	there is_killed "$pid" 90
}
add lost-source-released 240 released

# A lease is for who dumps without mitosis-cli; a process that has been moved may take its time.
no_lease() {
	lost_start 120 MITOSIS_LEASE=3
	sleep 6
	go
	goes_on
}
add lost-source-no-lease 240 no_lease

# Over rc, with a ConnectX as well: that is taken away in dct-unbind-* and dct-unplug-*.
device_here() {
	lost_start 120 "MIGRATE='--transport rc'"
	on b 'rdma link delete rxe0'
	go
	there waits "$pid"
	on b 'rdma link add rxe0 type rxe netdev eth0'
	there reads_on "$pid"
	there drains "$pid"
}
add_rdma lost-source-device-removed-there 240 device_here

device_source() {
	lost_start 10 "MIGRATE='--transport rc'"
	on a 'rdma link delete rxe0'
	go
	there is_killed "$pid" 120
	on a 'rdma link add rxe0 type rxe netdev eth0 && mitosis-cli release --all; /root/t/drive.sh source_idle'
	drive prog dontneed
}
add_rdma lost-source-device-removed-at-source 300 device_source

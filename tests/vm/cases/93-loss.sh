# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# Transport tcp while its network fails: cables, packets, and machines that stand still, in the middle of a drain and of faults. The process
# looks at all its memory itself.

# netem M SETTINGS...: for what machine M sends; without: as ever.
netem() {
	if [ $# = 1 ]; then
		on "$1" 'tc qdisc del dev eth0 root'
	else
		on "$1" "tc qdisc replace dev eth0 root netem limit 10000 ${*:2}"
	fi
}

dropped() {
	on "$1" 'tc -s qdisc show dev eth0 root' | sed -n 's/.*(dropped \([0-9]*\),.*/\1/p'
}

out_of_order() {
	on b 'nstat -asz TcpExtTCPOFOQueue' | awk '$1 == "TcpExtTCPOFOQueue" { print $2 }'
}

# All of it goes over a network like that, both ways. Of some 1900 packets one in a hundred is 19.
bad_network() {
	local before
	lost_start 120 "TARGET='16 touch 16'"
	there reads_over tcp
	before=$(out_of_order)
	for m in a b; do
		netem $m "$@"
	done
	go
	on b 'touch /tmp/mitosis-test-go'
	goes_on
	dropped=$(dropped a) reordered=$(($(out_of_order) - before))
	for m in a b; do
		netem $m
	done
	on a '/root/t/drive.sh prog dontneed'
}

packets_lost() {
	local dropped reordered
	bad_network "delay 5ms loss $1%"
	is_at_least "packets lost" "$dropped" "$2"
}
add_tcp loss-packets-1 240 packets_lost 1 3
add_tcp loss-packets-10 240 packets_lost 10 100

# A quarter overtakes the others, and some come twice.
packets_reordered() {
	local dropped reordered
	bad_network "delay 10ms reorder 25% 50% duplicate 1%"
	is_at_least "packets that came too early" "$reordered" 10
}
add_tcp loss-reordered 240 packets_reordered

interrupt() {
	case $1 in
	cable) cable "$2" down ;;
	frozen) rig pause "$2" ;;
	esac
}

restore() {
	case $1 in
	cable) cable "$2" up ;;
	frozen) rig resume "$2" ;;
	esac
}

# interrupted HOW M SECONDS GIVE_UP: in time. Connections are lost, if it takes long enough to notice, and the process is not.
interrupted() {
	local down killed
	middle "$4"
	down=$(figure b link_down)
	killed=$(figure b killed)
	interrupt "$1" "$2"
	sleep "$3"
	restore "$1" "$2"
	middle_goes_on
	on a 'cat /tmp/mt/migrate.log'
	[ "$3" -lt 10 ] || is_at_least "connections lost" $(($(figure b link_down) - down)) 1
	rose_by killed "$killed" 0
}

# interrupted_too_long HOW M GIVE_UP: it ends when it has been told to, not before, and the kernel's log says why.
interrupted_too_long() {
	local begin
	middle "$3"
	interrupt "$1" "$2"
	begin=$SECONDS
	middle_killed "the source did not answer in time"
	is_at_least "seconds until it was killed" $((SECONDS - begin)) "$3"
	restore "$1" "$2"
	middle_released
	wire_rate 0
	on a '/root/t/drive.sh prog dontneed'
}

# silent_for SECONDS TIMEOUT: the source stands still for that long, and whether that is told then.
silent_for() {
	local down begin
	on b "echo $2 > /sys/module/mitosis_tcp/parameters/timeout"
	lost_start 120
	down=$(figure b link_down)
	rig pause a
	go
	begin=$SECONDS
	until [ $((SECONDS - begin)) -ge "$1" ] || [ "$(figure b link_down)" != "$down" ]; do
		sleep 1
	done
	silence=$(($(figure b link_down) - down))
	rig resume a
	echo "time-out $2: $silence connections lost after $((SECONDS - begin)) s"
	on b 'touch /tmp/mitosis-test-go'
	goes_on
}

# How long a machine may say nothing is a setting.
timeout_set() {
	local silence
	silent_for 30 3
	is_at_least "connections lost with a time-out of 3 s" "$silence" 1
	silent_for 12 30
	[ "$silence" = 0 ] || fail "with a time-out of 30 s the connection is lost after 12"
	on b 'echo 6 > /sys/module/mitosis_tcp/parameters/timeout'
}
add_tcp loss-timeout 240 timeout_set

add_tcp loss-cable-5 240 interrupted cable b 5 120
add_tcp loss-cable-30 240 interrupted cable b 30 120
add_tcp loss-cable-30-given-up 240 interrupted_too_long cable b 8
# 120 s is also how long is waited without --give-up
add_tcp loss-cable-120 420 interrupted cable a 120 300
add_tcp loss-cable-120-given-up 420 interrupted_too_long cable a 120
for m in a b; do
	add_tcp loss-frozen-$m-10 240 interrupted frozen $m 10 120
	add_tcp loss-frozen-$m-40 300 interrupted frozen $m 40 120
done
add_tcp loss-frozen-a-given-up 240 interrupted_too_long frozen a 8

# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# Transport dct between two machines with a modelled ConnectX: who may do what, and what is done to initiators, targets, devices, the module
# and the wire while memory is on its way.

dct() {
	on "$1" "/root/t/dct.sh ${*:2}"
}

# The device's, or else the module's.
figure() {
	dct "$1" figure "$2"
}

# faults M PROPERTY VALUE...: of the device.
faults() {
	local m=$1
	shift
	while [ $# -gt 0 ]; do
		rig mlx5 "$m" set "$1" "$2"
		shift 2
	done
}

# rose_by FIGURE BEFORE N: of machine b's.
rose_by() {
	local n
	n=$(($(figure b "$1") - $2))
	[ $n = "$3" ] || fail "$1 rose by $n, and not by $3"
}

# new_move: as ever, and the modules can be unloaded.
new_move() {
	on a "MIGRATE='--transport dct' /root/t/drive.sh prog dontneed"
	dct a reload
	dct b reload
}

add_mlx5 dct-access 300 on b "/root/t/access.sh dct"

# ---- an initiator in error under load ----

# crowd_start [bad]: a child on b whose 112 threads have 64 pages each to read when they go, 8 at a time, all by one initiator: b has one processor,
# and one source. bad: its own child has a page that is read when it is told to.
crowd_start() {
	rm -f "$trace"
	on a "/root/t/fork.sh child window=8 target 28 touch 112 $*"
	there reads_over dct
	# large reads need contiguous memory
	on b 'echo 1 > /proc/sys/vm/compact_memory'
	rig mlx5 b set trace "$trace"
	flushed=$(figure b req_cqe_flush_error)
}

# Initiators that b's device has brought from reset to RTS: 2RST_QP, RST2INIT_QP, INIT2RTR_QP, RTR2RTS_QP.
brought_up() {
	awk '$1 == "cmd" && $3 == "00" {
			qpn = substr($4, 19, 6)
			if ($2 == "050a")
				step[qpn] = 1
			else if (step[qpn] && $2 == "050" (step[qpn] + 1)) {
				n += step[qpn] == 3
				step[qpn] = step[qpn] == 3 ? 0 : step[qpn] + 1
			}
		}
		END { print n + 0 }' "$trace"
}

crowd_end() {
	dct b says '^round'
	rig mlx5 b set trace ""
	is_at_least "initiators brought up again" "$(brought_up)" "$1"
	rm -f "$trace"
	on a "/root/t/fork.sh child_end target"
}

# One READ is refused, and more than 64 are behind it: only who needs it is killed. At two megabits a second 8 pages take an eighth of a second, so
# that hardly a thread does anything but wait for its next ones, for two minutes.
initiator_refused() {
	local trace=$LOGS/$KERNEL/$CASE.trace flushed refused errors down unreadable killed
	crowd_start bad
	refused=$(figure b req_remote_access_errors)
	errors=$(figure b read_errors)
	down=$(figure b link_down)
	unreadable=$(figure b pages_unreadable)
	killed=$(figure b killed)
	faults a rate-mbit 2 access-error-rkey "$(dct a bad_rkey)"
	dct b go_and_wait 64
	dct b bad_waits
	dct b at_least req_remote_access_errors $((refused + 1))
	faults a rate-mbit 0
	dct b says '"^child ended with status 0x9$"'
	is_at_least "READs flushed" $(($(figure b req_cqe_flush_error) - flushed)) 64
	rose_by pages_unreadable "$unreadable" 1
	rose_by killed "$killed" 1
	# those behind are asked for again without anybody being told
	rose_by read_errors "$errors" 1
	rose_by link_down "$down" 0
	crowd_end 1
	faults a access-error-rkey 0
}
add_mlx5 dct-initiator-refused 300 initiator_refused

# No answer comes, again and again, until one does: the link is lost each time, and nothing else. Only when they wait: who is to tell them to go may
# have to read a page for that.
initiator_lost() {
	local trace=$LOGS/$KERNEL/$CASE.trace flushed down killed
	crowd_start
	down=$(figure b link_down)
	killed=$(figure b killed)
	faults a rate-mbit 2
	dct b go_and_wait 64
	faults a drop-ops 64 drop-every 1
	dct b at_least link_down $((down + 2))
	faults a drop-every 0 drop-ops 0 rate-mbit 0
	is_at_least "READs flushed" $(($(figure b req_cqe_flush_error) - flushed)) 64
	rose_by killed "$killed" 0
	crowd_end 2
}
add_mlx5 dct-initiator-lost 300 initiator_lost

# ---- in the middle of a drain ----

# The target is drained, with READs to answer, and then destroyed.
released_reading() {
	local trace=$LOGS/$KERNEL/$CASE.trace order
	rm -f "$trace"
	middle 120 drain
	rig mlx5 a set trace "$trace"
	on a "mitosis-cli release --force $snapshot"
	rig mlx5 a set trace ""
	middle_ends "the source has released it or refuses the key"
	# DRAIN_DCT, the event DCT_DRAINED, DESTROY_DCT; with nothing to answer the event comes before the command ends
	order=$(awk '$1 == "cmd" && ($2 == "0712" || $2 == "0711") { print $2 $3 } $1 == "evt" && $2 == "1c" { print $2 }' "$trace" | paste -s -d ' ')
	[ "$order" = "071200 1c 071100" ] || fail "the target ends by '$order'"
	rm -f "$trace"
	faults a rate-mbit 0
	new_move
}
add_mlx5 dct-released-reading 300 released_reading

# Of a machine that reads, and of one that is read from.
unload_refused() {
	middle
	dct a stays_loaded
	dct b stays_loaded
	middle_goes_on
	new_move
}
add_mlx5 dct-unload-refused 300 unload_refused

remove() {
	case $2 in
	unbind) dct "$1" unbind ;;
	unplug) rig mlx5 "$1" unplug ;;
	esac
}

put_back() {
	case $2 in
	unbind) dct "$1" bind ;;
	unplug)
		rig mlx5 "$1" plug
		dct "$1" device_is_there
		;;
	esac
}

# HOW: its driver lets go of the device, or the device is taken out. The debug kernel knows no hot-plug.
removed_there() {
	middle
	remove b "$1"
	there waits "$pid"
	put_back b "$1"
	middle_goes_on
	new_move
}

removed_at_source() {
	middle 10
	remove a "$1"
	middle_ends "\(the source has released it or refuses the key\|the source did not answer in time\)"
	put_back a "$1"
	faults a rate-mbit 0
	new_move
}

for how in unbind unplug; do
	add_mlx5 dct-$how-there 420 removed_there $how
	add_mlx5 dct-$how-at-source 420 removed_at_source $how
done

# ---- a wire that is not good ----

# Requests of b's are lost, and answers of a's.
lost_packets() {
	faults a drop-every 101
	faults b drop-every 17
	lost_start 120 "TARGET='16 touch 16'"
	there reads_over dct
	go
	goes_on
	is_at_least "lost by a" "$(rig mlx5 a get dropped)" 20
	is_at_least "lost by b" "$(rig mlx5 b get dropped)" 10
	faults a drop-every 0
	faults b drop-every 0
}
add_mlx5 dct-lost-packets 300 lost_packets

all_used() {
	[ "$(rig mlx5 a get rnr-next)" = 0 ]
}

# The source has no room for what its reader says: when it comes, and when it goes. More often than a card repeats it by itself.
not_ready() {
	local exceeded
	exceeded=$(figure b req_cqe_error)
	faults a rnr-next 20
	lost_start 120 "TARGET='16 touch 16'"
	there reads_over dct
	all_used || fail "the source had room for what its reader said when it came"
	is_at_least "messages given up by the device" $(($(figure b req_cqe_error) - exceeded)) 2
	faults a rnr-next 20
	go
	goes_on
	all_used || fail "the source had room for what its reader said when it went"
	is_at_least "messages given up by the device" $(($(figure b req_cqe_error) - exceeded)) 4
}
add_mlx5 dct-not-ready 300 not_ready

# Answers come later than the reader's card waits for them, so that it asks again, each time.
slow_wire() {
	local again
	again=$(figure a duplicate_request)
	lost_start 120 "TARGET='4 touch 16'"
	there reads_over dct
	faults a delay-us 600000 rate-mbit 40
	go
	on b 'touch /tmp/mitosis-test-go'
	goes_on
	is_at_least "requests repeated" $(($(figure a duplicate_request) - again)) 20
	faults a rate-mbit 0 delay-us 0
}
add_mlx5 dct-slow-wire 300 slow_wire

# The port of machine $1 is down for as long as it takes for the other side to notice.
port_down() {
	local down
	middle
	down=$(figure b link_down)
	faults "$1" link-down true
	dct b at_least link_down $((down + 1))
	there waits "$pid"
	faults "$1" link-down false
	middle_goes_on
}
add_mlx5 dct-port-down-there 300 port_down b
add_mlx5 dct-port-down-at-source 300 port_down a

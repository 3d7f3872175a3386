# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Who may do what: peers on the network, and users of the netlink interface.
# shellcheck disable=SC2016,SC2154 # expanded in the machine; pid is of lost_start

add_rdma access 240 on b /root/t/access.sh
add_tcp tcp-peers 300 on b /root/t/tcp_peers.sh
add_tcp tcp-source 240 drive tcp_source cow
# On a machine that has nothing of RDMA.
tcp_loopback() {
	on a '! grep -E "^(ib_core|rdma_cm|mitosis_rc) " /proc/modules' || fail "something of RDMA is loaded"
	on a '/root/t/unload.sh && /root/t/setup.sh' || fail "the modules cannot be loaded anew"
	on a '! ss -Htln "sport = :7574" | grep .' || fail "it listens though nothing is offered"
	on a "mitosis-cli check --transport tcp --insecure --loopback"
	on a 'ss -Htln "sport = :7574" | grep -q .' || fail "nobody listens where a snapshot has been offered"
	on a "mitosis-cli check --transport tcp --insecure --loopback --addr 10.77.0.1"
	if has_tls; then
		on a "mitosis-cli check --transport tcp --loopback" || fail "there is no TLS"
		on a "/root/t/tlshd.sh stop"
		on a "! mitosis-cli check --transport tcp --loopback > /run/check.log 2>&1" || fail "it goes in the clear unasked"
		on a "grep 'nobody here does TLS handshakes.*ktls-utils' /run/check.log || { cat /run/check.log; false; }" || fail "it is not said why"
		on a 'sleep 300 < /dev/null > /dev/null 2>&1 & pid=$!; ! mitosis-cli prepare --pid $pid --name untold --transport tcp > /run/prepare.log 2>&1; rc=$?; kill $pid; exit $rc' ||
			fail "what nobody can read is offered"
		on a "grep 'nobody here does TLS handshakes.*ktls-utils' /run/prepare.log || { cat /run/prepare.log; false; }" || fail "prepare does not say why"
		on a '[ "$(/root/t/bin/ctl stat snapshots)" = 0 ]' || fail "a snapshot is left"
		on a "/root/t/tlshd.sh start"
	else
		on a "! env -u MITOSIS_INSECURE mitosis-cli check --transport tcp --loopback > /run/check.log 2>&1" || fail "it goes in the clear unasked"
		on a "grep 'this kernel has no TLS.*--insecure' /run/check.log || { cat /run/check.log; false; }" || fail "it is not said why"
	fi
	on a 'MITOSIS_INSECURE=0 mitosis-cli check --transport tcp --loopback 2>&1 | grep -q "neither yes nor no"' || fail "a no is taken for a yes"
}
add_tcp tcp-loopback 120 tcp_loopback

# Offered at an address of IPv6, and at no other: read, cut off in the middle, and read on; also unencrypted.
tcp_ipv6() {
	local m n=0 insecure=
	has_tls || insecure=--insecure
	for m in a b; do
		on $m "ip -6 addr replace fd77::$((++n))/64 dev eth0 nodad"
	done
	on a "mitosis-cli check --transport tcp --loopback --addr fd77::1 $insecure"
	lost_start 120 "MIGRATE='--addr fd77::1'"
	there reads_over tcp
	on b 'mitosis-cli list --json' | grep -q '"source": *"fd77::1"' || fail "it is not read from fd77::1: $(on b mitosis-cli list)"
	cable b down
	go
	there waits "$pid"
	sleep 10
	cable b up
	on b 'touch /tmp/mitosis-test-go'
	goes_on
	on a "MIGRATE='--addr fd77::1 --insecure' /root/t/drive.sh prog dontneed"
	for m in a b; do
		on $m "ip -6 addr flush dev eth0 to fd77::/64"
	done
}
add_tcp tcp-ipv6 240 tcp_ipv6

# wire_seen [1]: how much of its memory is on the wire while a process moves; 1: with --insecure.
wire_seen() {
	local f seen all
	drive wire "$@"
	for f in memory pcap; do
		rig get b /tmp/mt/wire.$f "$LOGS/wire.$f"
	done
	on b 'rm /tmp/mt/wire.*'
	seen=$("$VM/wire.py" "$LOGS/wire.memory" "$LOGS/wire.pcap") || fail "nothing has been seen"
	rm "$LOGS/wire.memory" "$LOGS/wire.pcap"
	all=${seen#* } seen=${seen% *}
	echo "$seen of $all pieces of its memory have been seen"
	if [ -n "${1:-}" ]; then
		[ "$seen" -ge $((all * 7 / 8)) ] || fail "what goes unencrypted is not seen: this proves nothing"
	else
		[ "$seen" = 0 ] || fail "memory is on the wire"
	fi
}

# With --insecure, too, so that it is known that the look-out sees what there is.
tcp_wire() {
	if has_tls; then
		wire_seen
	fi
	wire_seen 1
}
add_tcp tcp-wire 240 tcp_wire

# A move without tlshd on one side is not tried, and says so. 6.1 has nothing to do without.
tcp_no_tlshd() {
	local m rc=0
	if ! has_tls; then
		on a "MITOSIS_INSECURE= /root/t/drive.sh failing 'this kernel has no TLS' --transport tcp"
		return
	fi
	for m in a b; do
		on $m "/root/t/tlshd.sh stop"
		drive failing "'does TLS handshakes: install ktls-utils.*tlshd'" || rc=$?
		on $m "/root/t/tlshd.sh start"
	done
	return $rc
}
add_tcp tcp-no-tlshd 240 tcp_no_tlshd

tcp_tls() {
	if has_tls; then
		on b /root/t/tcp_tls.sh
	else
		# not without a word for it
		! on a "env -u MITOSIS_INSECURE TRANSPORT=tcp /root/t/bin/ctl hold 10.77.0.1 1 0 1" > "$LOGS/tcp-tls.$KERNEL" 2>&1 || fail "it goes in the clear unasked"
		grep "this kernel has no TLS.*--insecure" "$LOGS/tcp-tls.$KERNEL" || fail "it is not said why: $(cat "$LOGS/tcp-tls.$KERNEL")"
	fi
}
add_tcp tcp-tls 300 tcp_tls
add control 120 on a /root/t/control.sh

unload() {
	drive start_target
	on a "! /root/t/unload.sh 2>/dev/null" || fail "the module can be unloaded while a process is lazy"
	on a "/root/t/drive.sh lazy_end"
	on a "/root/t/unload.sh" || fail "the module cannot be unloaded when nothing uses it"
	on a "! dmesg | tail -n 20 | grep -E 'WARNING|BUG'" || fail "unloading is not clean"
	on a "/root/t/setup.sh"
	drive lazy dontneed
}
add unload 180 unload

# Loaded and unloaded again and again while others ask for it.
unload_race() {
	on a '(for i in $(seq 200); do /root/t/bin/ctl stat links; /root/t/bin/ctl fuzz $i 20; done) > /dev/null 2>&1 & pid=$!
		/root/t/unload.sh
		for i in $(seq 15); do for m in mitosis mitosis_'${TRANSPORT:-rc}'; do insmod /root/t/$m.ko; done 2>/dev/null; rmmod mitosis_'${TRANSPORT:-rc}' mitosis 2>/dev/null; done
		kill $pid; wait $pid 2>/dev/null; /root/t/setup.sh' || fail "the module does not load again"
}
add unload-race 180 unload_race

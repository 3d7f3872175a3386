#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs in a machine with a modelled ConnectX, in the middle of what is done to it from outside.
set -u
export TEST_DIR=/tmp/mt
T=$TEST_DIR
# shellcheck source=lib.sh
. "${0%/*}/lib.sh"
HW=/sys/class/infiniband/mlx5_0/ports/1/hw_counters
DRIVER=/sys/bus/pci/drivers/mlx5_core

# Figures of the device, or else of the module.
figure() {
	cat "$HW/$1" 2> /dev/null || stat_of "$1"
}

cmd_figure() {
	figure "$1"
}

# at_least FIGURE N: it becomes that.
cmd_at_least() {
	until_true 60 at_least "$2" figure "$1" || fail "$1 is $(figure "$1"), and not $2 yet"
}

child_known() {
	PID=$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' /run/fork-test/resume)
	[ -d "/proc/$PID" ] || fail "there is no child"
}

# Threads that wait for a page.
waiting() {
	grep -ls pager "/proc/$1/task/"*/wchan | wc -l
}

# go_and_wait LEAST: its threads go, and so many wait.
cmd_go_and_wait() {
	child_known
	touch $T/target.go
	until_true 60 at_least "$1" waiting "$PID" || fail "$(waiting "$PID") threads wait for a page, and not $1: $(mitosis-cli list)"
}

# The child's child waits for the page that it will not get.
cmd_bad_waits() {
	local bad
	child_known
	bad=$(cat "/proc/$PID/task/"*/children)
	touch $T/target.bad
	# shellcheck disable=SC2086 # one
	until_true 30 at_least 1 waiting $bad || fail "process $bad does not wait for its page: $(cat $T/target.log)"
}

# All that has been said in there, and nothing wrong.
cmd_says() {
	until_true 90 grep -qE "$1|^FAIL" $T/target.log || fail "it does not say '$1': $(tail -n 3 $T/target.log | paste -s -d '|'); $(mitosis-cli list)"
	! grep ^FAIL $T/target.log || exit 1
}

# The key of the region of the page that a child of the parent's here has to itself.
cmd_bad_rkey() {
	local snapshot
	snapshot=$(sed -n 's/.*"snapshot":"\{0,1\} *"\([0-9a-f]*\)".*/\1/p' /run/fork-test/prepare)
	sed -n 's/^bad //p' $T/target.log | {
		read -r mm page
		$BIN/ctl regions "$snapshot" | awk -v mm="$mm" -v page="$page" '$1 == mm && $2 == page && $3 == 1 { print $4 }'
	} | grep . || fail "the page has no region to itself: $($BIN/ctl regions "$snapshot")"
}

# The driver lets go of the device, and takes it again.
cmd_unbind() {
	local device
	device=$(basename "$(readlink -f /sys/class/infiniband/mlx5_0/device)")
	echo "$device" > /run/unbound
	echo "$device" > $DRIVER/unbind
	[ ! -e /sys/class/infiniband/mlx5_0 ] || fail "the driver does not let go of $device"
}

cmd_bind() {
	cat /run/unbound > $DRIVER/bind || fail "the driver does not take its device again"
	cmd_device_is_there
}

is_active() {
	grep -qs ACTIVE /sys/class/infiniband/mlx5_0/ports/1/state
}

cmd_device_is_there() {
	until_true 60 is_active || fail "no port is up: $(dmesg | grep mlx5 | tail -n 3)"
}

# No use of mitosis_dct comes to its end before its users do.
cmd_stays_loaded() {
	! rmmod mitosis_dct 2> /run/rmmod || fail "mitosis_dct can be unloaded while it is used"
	grep -q 'in use' /run/rmmod || fail "it is not said that mitosis_dct is in use: $(cat /run/rmmod)"
}

# They can be taken out, and are as before.
cmd_reload() {
	until_true 20 "${0%/*}/unload.sh" || fail "the modules cannot be unloaded: $(lsmod | grep mitosis)"
	"${0%/*}/setup.sh"
}

command=$1
shift
"cmd_$command" "$@"

# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# shellcheck disable=SC2016 # expanded in the machine
# migrate --precopy: pages that move while the process still runs, are not written to since, and are right.

# A process of 32 MiB that writes 1 MiB a second to a tenth of it, and gives pages back, all the time.
add precopy-writer 240 drive precopy 2 writer 32 1024 10
add precopy-idle 180 drive precopy 1 writer 32 0 0
# Nothing is the same as before.
add precopy-all-written 240 drive precopy 1 writer 8 16384 100
add precopy-auto 300 drive precopy_auto

# A round is a dump that is ended in time: by a count of processes, whatever their names are.
add precopy-name 180 drive precopy 2 writer 16 0 0 1 name
# Some of its processes end between the snapshot and the look at what they have.
add precopy-children 240 drive precopy 2 writer 16 256 10 1 children

precopied_prog() {
	on a "MIGRATE='--json --precopy=2' /root/t/drive.sh precopied_prog $*"
}
for p in forks signals threads uring; do
	add "precopy-prog-$p" 180 precopied_prog $p
done
add precopy-prog-thp 240 with_sysfs "$THP/enabled=always" precopied_prog thp
add precopy-prog-ksm 240 with_sysfs "$KSM/run=1,$KSM/sleep_millisecs=1,$KSM/pages_to_scan=4000" precopied_prog ksm
add precopy-prog-swap 240 with_swap precopied_prog swapped
add precopy-walk 240 walk precopied_prog 13 10000

# What has come before the process is not there any more when it comes: it is read from the source once more.
precopy_evicted() {
	drive precopy_evicted_start
	on b 'sync; echo 3 > /proc/sys/vm/drop_caches'
	drive precopy_evicted_end
}
add precopy-evicted 240 precopy_evicted

# It ends before the process has been touched, and nothing is left of it on either side.
fault() {
	on a "MIGRATE='--timeout 60 --precopy=2' /root/t/drive.sh fault $*"
}
add precopy-kill-cli 180 fault here precopied kill here
add precopy-kill-ssh 180 fault here precopied kill-ssh here
add precopy-kill-receiver 180 fault there filled kill here
# The dump and its snapshots go together: both have gone when it runs here again, and neither before it has drained there.
add precopy-kill-cli-ready 180 fault here ready kill here
add precopy-kill-cli-committed 180 fault here committed kill doubt-there

# By one address: over tcp there are others, which are tried as well. A ConnectX has none.
precopy_link_down() {
	local addr='--addr 10.77.0.1'
	[ -z "$MLX5" ] || addr=
	on a "MIGRATE='--timeout 60 --give-up 5 --precopy=2 $addr' /root/t/drive.sh paused_start precopied"
	cable b down
	on a 'touch /tmp/mitosis-test-go'
	drive paused_end
	cable b up
	on a "MIGRATE='--precopy=2' /root/t/drive.sh paused_settle here"
}
add precopy-link-down 300 precopy_link_down

# A process that cannot be had a snapshot of while it runs is moved without, unless that was asked for.
add precopy-refused 240 drive precopy_refused

# What pre-copy needs beside the process is not there.
add precopy-held 240 drive precopy_held
add precopy-tight 300 drive precopy_tight
add precopy-stalled 180 drive precopy_stalled
add precopy-finish-killed 240 drive precopy_finish_killed

# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# shellcheck disable=SC2016 # expanded in the machine
# Exactly one copy runs, whatever fails at whatever step, and its TCP listener answers.

# "doubt-X": frozen on both sides, and X after mitosis-cli resolve.
for step in start dumped held fenced sent ready; do
	add "one-copy-kill-cli-$step" 150 drive fault here $step kill here
done
add one-copy-kill-cli-commit 150 drive fault here commit kill doubt-here
add one-copy-kill-cli-committed 150 drive fault here committed kill doubt-there
add one-copy-kill-cli-running 150 drive fault here running kill there
for step in start dumped held; do
	add "one-copy-kill-criu-$step" 150 drive fault here $step kill-criu here
done
for step in fenced sent ready commit committed running; do
	add "one-copy-kill-criu-$step" 150 drive fault here $step kill-criu one
done
for step in start dumped held fenced sent ready commit; do
	add "one-copy-kill-ssh-$step" 150 drive fault here $step kill-ssh here
done
add one-copy-kill-ssh-committed 150 drive fault here committed kill-ssh one-or-doubt
add one-copy-kill-ssh-running 150 drive fault here running kill-ssh there
for step in received restoring restored; do
	add "one-copy-kill-receiver-$step" 150 drive fault there $step kill here
done
# READY has been said: whether COMMIT is sent before the session's end is seen is a race that nobody can decide.
add one-copy-kill-receiver-ready 150 drive fault there ready kill here-or-doubt
add one-copy-kill-receiver-commit 150 drive fault there commit kill doubt-here
add one-copy-kill-receiver-journaled 150 drive fault there journaled kill doubt-there
add one-copy-kill-receiver-thawed 150 drive fault there thawed kill doubt-there
add one-copy-kill-receiver-running 150 drive fault there running kill there

add one-copy-resolved-there-first 150 drive resolved_there run
add one-copy-ended-there 150 drive resolved_there ended
add one-copy-late-commit 300 drive late_commit

# refused SETUP UNDO WORD: machine b is made unfit by SETUP; the move fails with a sentence that has WORD in it.
refused() {
	on b "$1"
	local rc=0
	drive failing "'$3'" || rc=$?
	on b "$2"
	return $rc
}
add one-copy-disk-full 150 refused 'mkdir -p /run/mitosis && mount -t tmpfs -o size=24k none /run/mitosis' 'umount /run/mitosis' 'room'
add one-copy-wrong-criu 150 refused 'mkdir -p /run/x && printf "#!/bin/sh\necho Version: 3.17.1\n" > /run/x/criu && chmod 755 /run/x/criu && mount --bind /run/x/criu /usr/sbin/criu' \
	'umount /usr/sbin/criu' criu
add one-copy-no-module 150 refused /root/t/unload.sh /root/t/setup.sh module

no_device() {
	local word=RDMA
	[ -z "$MLX5" ] || word="no transport of dct can be used here"
	refused 'rdma link delete rxe0; [ ! -d /sys/module/mitosis_dct ] || rmmod mitosis_dct' 'rdma link add rxe0 type rxe netdev eth0; /root/t/setup.sh' "$word"
}
add_rdma one-copy-no-device 150 no_device
add one-copy-program-differs 150 refused 'cp /root/t/bin/walk /run/other && mount --bind /run/other /root/t/bin/target' 'umount /root/t/bin/target' target
add one-copy-criu-refuses 150 drive failing criu -- --no-such-option

# What the step that takes the memory says gets through criu.
held_too_much() {
	local rc=0
	on a 'echo 1 > /sys/module/mitosis/parameters/max_held_mb'
	drive failing max_held_mb || rc=$?
	on a 'echo 0 > /sys/module/mitosis/parameters/max_held_mb'
	return $rc
}
add one-copy-held-too-much 150 held_too_much

# ssh gets through, what would bring the memory does not: the process is not touched. Over tcp by one address, as another would do.
unreached() {
	local rc=0 addr=
	[ "$TRANSPORT" != tcp ] || addr='--addr 10.77.0.1'
	without_link on a "/root/t/drive.sh failing 'source is not reached over transport ${TRANSPORT:-rc}' --transport ${TRANSPORT:-rc} $addr" || rc=$?
	on a '! test -e /run/mitosis/*/dump.log' || fail "criu has dumped"
	return $rc
}
add one-copy-unreached 150 unreached

# An ssh that takes in a few bytes at a time: the process does not stand still for as long as that goes on.
slow_reader() {
	on a 'cat > /run/drip <<-"END"
		#!/bin/bash
		python3 -uc "
		import os, time
		n = 0
		while True:
		    b = os.read(0, 1000 if n < 20000 else 50)
		    if not b: break
		    os.write(1, b)
		    n += len(b)
		    if n >= 20000: time.sleep(0.1)
		" | ssh "$@"
		END
		chmod 755 /run/drip'
	on a "SHARED_MB=1 /root/t/drive.sh failing 'cannot be sent' --timeout 15 --ssh /run/drip"
}
add one-copy-slow-reader 150 slow_reader

# The program vanishes between the preflight and criu's restore.
restore_fails() {
	on b "/root/t/drive.sh prepare target received:pause"
	on a "SETUP='' /root/t/drive.sh failing criu" &
	on b 'until [ -e /tmp/mitosis-test-at ]; do sleep 0.1; done
		mv /root/t/bin/target /root/t/bin/target.away; touch /tmp/mitosis-test-go'
	local rc=0
	wait $! || rc=$?
	on b 'mv /root/t/bin/target.away /root/t/bin/target'
	return $rc
}
add one-copy-restore-fails 150 restore_fails

# paused STEP WHERE WHILE AFTER: migrate waits at STEP while WHILE is done to the machines; AFTER before it is settled.
paused() {
	local step=$1 want=$2
	drive paused_start "$step"
	eval "$3"
	on a 'touch /tmp/mitosis-test-go'
	drive paused_end
	eval "$4"
	drive paused_settle "$want"
}
# The first image has arrived, the others do not; nothing tells the receiver that they never will.
add one-copy-ssh-link-cut-in-images 300 paused sending here 'sleep 2; rig link b ssh down' \
	'on b "/root/t/drive.sh no_receiver 75"; rig link b ssh up'
# READY cannot come before the cut.
add one-copy-ssh-link-cut-before-commit 240 paused 'sent received:pause' here \
	'rig link b ssh down; on b "rm -f /run/mitosis-test-step; touch /tmp/mitosis-test-go"' 'rig link b ssh up'
# TCP may deliver COMMIT when the link is back, or resolve may be faster.
add one-copy-ssh-link-cut-after-commit 240 paused commit one-or-doubt 'rig link b ssh down' 'rig link b ssh up'
add one-copy-receiver-rebooted-before-commit 300 paused sent here 'rig reset b; on b /root/t/setup.sh' true
# The source's ssh is dead when COMMIT is to be sent.
add one-copy-receiver-rebooted-at-commit 300 paused commit here \
	'rig reset b; on b /root/t/setup.sh; on a "until ! pgrep -f \"^ssh .*mitosis-cli receive\"; do sleep 0.2; done"' true

# criu's plugin cannot tell any more whether the dump was complete; the process runs on there, and needs the memory here.
image_spoilt() {
	drive paused_start running drain:hold
	on a 'for f in /run/mitosis/*/mitosis.img; do echo spoilt > "$f"; done
		touch /tmp/mitosis-test-go
		until ! [ -e "/proc/$(cat /run/paused.pid)" ]; do sleep 0.1; done'
	on b 'rm -f /run/mitosis-test-step; touch /tmp/mitosis-test-go'
	drive paused_end
	drive paused_settle there
}
add one-copy-image-spoilt 150 image_spoilt

# criu's action script asks last: the migration was cut off, and resolve has had its say, before it looks. It is frozen for that: a stopped
# one is sent SIGHUP when its group loses the parent.
script_late() {
	drive paused_start committed
	on a 'script=$(pgrep -P "$(pgrep -x criu)" -x mitosis-cli) || { echo "FAIL: criu has no action script"; exit 1; }
		mkdir /sys/fs/cgroup/late && cd /sys/fs/cgroup/late && echo $script > cgroup.procs && echo 1 > cgroup.freeze
		kill -KILL $(pgrep -f "^mitosis-cli migrate")
		/root/t/drive.sh paused_end
		mitosis-cli resolve "$(/root/t/drive.sh unfinished)" || exit 1
		[ -d /proc/$script ] || { echo "FAIL: the action script has not waited"; exit 1; }
		echo 0 > cgroup.freeze; cd; until rmdir /sys/fs/cgroup/late; do sleep 0.1; done 2> /dev/null'
	drive paused_settle there
}
add one-copy-script-late 150 script_late

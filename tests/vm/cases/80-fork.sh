# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Snapshots of a process that runs on, and their children.

for c in local remote eager follow lease; do
	add "fork-$c" 180 on a "/root/t/fork.sh $c"
done
add fork-counter 180 on a "/root/t/fork.sh counter ./simple_parent ./simple_child"
add fork-counter-python 180 on a "/root/t/fork.sh counter 'python3 simple_parent.py' 'python3 simple_child.py'"
add fork-hundred 600 on a "/root/t/fork.sh hundred"

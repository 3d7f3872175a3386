# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Snapshots of a process that runs on, and their children.

for c in local remote eager follow lease; do
	add "fork-$c" 180 on a "/root/t/fork.sh $c"
done
add fork-hundred 600 on a "/root/t/fork.sh hundred"

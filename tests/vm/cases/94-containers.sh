# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Containers: by their engines' own checkpoint and restore with a line of configuration, and moved by one command under load.

container() {
	on a "/root/t/containers.sh $*"
}

for r in crun runc; do
	for c in podman runtime port address criu export resolved; do
		add "container-$c-$r" 400 container $c $r
	done
	# three moves each, of which two fail
	for c in engine disk; do
		add "container-$c-$r" 800 container $c $r
	done
	# three moves, each of them taken back or ended by hand
	add "container-cut-$r" 600 container cut $r
	# two moves, one of which fails, and seven that are refused
	add "container-fails-$r" 800 container fails $r
done

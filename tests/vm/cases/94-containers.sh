# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Containers: by their engines' own checkpoint and restore with a line of configuration, and moved by one command under load.

container() {
	on a "/root/t/containers.sh $*"
}

for r in crun runc; do
	for c in podman runtime port address cut criu; do
		add "container-$c-$r" 400 container $c $r
	done
	# two moves, and five that are refused
	add "container-fails-$r" 600 container fails $r
done

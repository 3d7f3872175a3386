# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Long random walks with seeds of their own each time; only when SOAK says how many (make soak).

soak_walk() {
	local seed=$1
	echo "seed $seed"
	case $((seed % 4)) in
	0) lazy walk "$seed" 30000 16384 3 ;;
	1) lazy_draining walk "$seed" 30000 16384 3 ;;
	2) lazy_again walk "$seed" 30000 ;;
	3) prog walk "$seed" 30000 ;;
	esac
}

# RANDOM would differ between the runner and the process that it starts for the case.
if [ -n "${SOAK:-}" ]; then
	export SOAK_BASE=${SOAK_BASE:-$((SRANDOM % 1000000))}
	for ((i = 0; i < SOAK; i++)); do
		add "soak-walk-$((SOAK_BASE + i))" 900 soak_walk $((SOAK_BASE + i))
	done
fi

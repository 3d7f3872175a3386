#!/bin/bash
# SPDX-License-Identifier: MIT
# Live migration with mitosis-cli: check, move, and act on what came of it. As root, where the process is:
#
#	migrate-cli.sh PID HOST
set -u
[ $# = 2 ] || { echo "usage: migrate-cli.sh PID HOST" >&2; exit 2; }
pid=$1 host=$2

# What would fail is said before anything is touched.
mitosis-cli check --pid "$pid" --to "$host" || exit

# --no-wait returns when the process runs there; without it, when it needs this machine no more.
mitosis-cli migrate --pid "$pid" --to "$host" --json
case $? in
0) echo "moved: this machine is free of it" ;;
3) echo "refused, nothing was touched: see above" ;;
4)
	# The machines lost each other at the one moment where nobody can tell: frozen on both sides.
	id=$(mitosis-cli resolve | awk '$3 == "committed" {print $1; exit}')
	until mitosis-cli resolve "$id" --to "$host"; do
		sleep 10
	done
	;;
*) echo "failed: the process runs on here, unless the message above says that it runs there" ;;
esac

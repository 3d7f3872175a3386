#!/bin/bash
# SPDX-License-Identifier: MIT
# Live migration with criu alone: what to run, in which order, as a beginning for a script of your own. As root, where the process is:
#
#	migrate-bare.sh PID HOST
#
# Unlike mitosis-cli migrate this is no transaction: when HOST fails after criu has dumped, the process is gone here, and its
# memory is held until somebody restores it elsewhere (the descriptor is in DIR) or lets go of it (mitosis-cli release).
set -eu
[ $# = 2 ] || { echo "usage: migrate-bare.sh PID HOST" >&2; exit 2; }
pid=$1 host=$2
dir=/run/migrate-$pid

# A descriptor of a few kilobytes. It holds the key to the memory: keep the directory to yourself.
mkdir -m 700 "$dir"
ssh "$host" "mkdir -m 700 '$dir'"

# MITOSIS_ONESHOT: the memory is let go of when the destination has all of it.
# An action script of your own can stop it all: post-dump runs while the tasks are frozen and the images are complete, and its failure
# makes criu let them go on (--action-script /path; CRTOOLS_SCRIPT_ACTION tells the step).
MITOSIS_ONESHOT=1 criu dump --config /etc/criu/mitosis.conf -t "$pid" -D "$dir"

# Here the address of a service would move, too: ip addr del ... here, ip addr add ... and arping -U there.
tar -C "$dir" -cf - . | ssh "$host" "tar -C '$dir' -xf -"

# It runs there when this returns; its memory follows.
ssh "$host" "criu restore --config /etc/criu/mitosis.conf -D '$dir' -d"

# Until this is empty the process needs both machines.
ssh "$host" mitosis-cli list

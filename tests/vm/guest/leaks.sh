#!/bin/bash
# SPDX-License-Identifier: MIT
# What kmemleak finds in the module's name, after the module has let go of everything.
set -u
mitosis-cli release --all > /dev/null 2>&1
"${0%/*}/unload.sh" || { echo "the module cannot be unloaded: $(lsmod | grep mitosis)"; exit 1; }
[ -w /sys/kernel/debug/kmemleak ] || mount -t debugfs none /sys/kernel/debug 2> /dev/null
[ -w /sys/kernel/debug/kmemleak ] || { echo "this kernel has no kmemleak"; exit 1; }
# An object counts when two scans in a row have not found it.
echo scan > /sys/kernel/debug/kmemleak
sleep 6
echo scan > /sys/kernel/debug/kmemleak
leaks=$(cat /sys/kernel/debug/kmemleak)
[ -z "$leaks" ] || { echo "$leaks" | head -n 40; exit 1; }

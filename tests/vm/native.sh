#!/bin/bash
# SPDX-License-Identifier: MIT
# Runs every test program here, without moving it: what it checks holds for any process.
set -u
bin=$(cd "$(dirname "$0")/../.." && pwd)/build/tests/vm/bin
TEST_DIR=$(mktemp -d)
export TEST_DIR
trap 'rm -rf "$TEST_DIR"' EXIT
failed=0
for p in "$bin"/*; do
	name=${p##*/} args=()
	case $name in
	corecheck | access | ctl | dc | unreadable) continue ;;
	walk) args=(1 3000) ;;
	writer) args=(16 10240 50) ;;
	forked) touch "$TEST_DIR/forked.go" ;;
	esac
	# "abort" and the like need no core files here.
	if (ulimit -c 0 && timeout 60 "$p" now "${args[@]}") > /dev/null 2>&1 && grep -qx PASS "$TEST_DIR/$name.log"; then
		echo "ok program $name"
	else
		echo "not ok program $name: $(grep -s -m 1 ^FAIL "$TEST_DIR/$name.log" || echo "no verdict")"
		failed=1
	fi
done
exit $failed

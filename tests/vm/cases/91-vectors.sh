# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What mitosis asks a ConnectX for, against what the stock drivers and libmlx5 ask for, out of the device model's trace.

# Bytes of the trace so far.
traced() {
	stat -c %s "$trace"
}

# The device is probed anew under the trace, so that it has the numbers of what the drivers make first.
vectors() {
	local trace=$LOGS/$KERNEL/mlx5-trace out=$LOGS/$KERNEL/mlx5-vectors stock ours rc=0
	rm -f "$trace"
	on a /root/t/unload.sh
	rig mlx5 a set trace "$trace"
	on a /root/t/mlx5.sh probe
	stock=$(traced)
	on a /root/t/mlx5.sh dc_self
	stock+=-$(traced)
	ours=$(traced)
	on a "/root/t/setup.sh && mitosis-cli check --transport dct --loopback"
	ours+=-$(traced)
	rig mlx5 a set trace ""
	"$TOP/build/tests/vectors/mlx5-vectors" compare "$trace" "$stock" "$ours" "$TOP/tests/vectors/differences" "$KERNEL" > "$out" 2>&1 || rc=$?
	cat "$out"
	[ $rc = 0 ] || grep -q '^not ok ' "$out" || fail "the trace cannot be compared"
	[ $rc != 0 ] || ok differences
}
add_mlx5 mlx5-vectors 300 vectors

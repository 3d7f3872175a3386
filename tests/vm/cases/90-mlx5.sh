# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The modelled ConnectX is honest: what Debian's own tools and rdma-core's own tests find, with the stock drivers and libmlx5.

for c in devinfo pingpong perftest dc; do
	add_mlx5 "mlx5-$c" 300 on a "/root/t/mlx5.sh $c"
done

# What a module's tests came to, as a row of the table in the documentation: why tests are skipped is said in their own words.
pyverbs_row() {
	local passed skipped
	passed=$(grep -c '^passed ' "$2") || true
	skipped=$(sed -nE 's/^skipped [^:]*: //p' "$2" | LC_ALL=C sort | uniq -c | sed -E 's/^ *([0-9]+) (.*)/\1 × \2/; s/\|/\\|/g' | paste -s -d ';')
	echo "| $1 | $passed | ${skipped//;/; } |"
}

pyverbs() {
	local module=$1 out=$LOGS/$KERNEL/pyverbs-$1 row
	on a "/root/t/mlx5.sh pyverbs $module" > "$out" || { cat "$out"; fail "$module does not run"; }
	cat "$out"
	! grep -q '^failed ' "$out" || { sed -nE 's/^failed /not ok /p' "$out"; return; }
	row=$(pyverbs_row "$module" "$out")
	grep -qFx -- "$row" "$TOP/docs/mlx5-model.md" || fail "docs/mlx5-model.md has no row '$row'"
}
for c in addr atomic cq cq_events cqex device fork mlx5_cq mlx5_dc mlx5_huge_page mlx5_mkey mlx5_ooo_qp mlx5_query_port mlx5_raw_wqe \
	mlx5_timestamp mr odp parent_domain pd qp qpex relaxed_ordering shared_pd srq; do
	add_mlx5 "mlx5-pyverbs-$c" 300 pyverbs test_$c
done

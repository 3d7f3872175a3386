#!/bin/bash
# SPDX-License-Identifier: MIT
# precopy-table.sh FIGURES: medians, as a table.
set -eu
# medians: "NAME VALUE" for each name
medians() {
	sort -k 1,1 -k 2,2n "$1" | awk '
		function out() { if (n) print name, v[int((n + 1) / 2)] }
		$1 != name { out(); name = $1; n = 0 }
		{ v[++n] = $2 }
		END { out() }'
}

medians "$1" | awk '
	{ m[$1] = $2 }
	function of(key) { k = "precopy." p "." mode "." key; return k in m ? m[k] : 0 }
	END {
		printf "The link moves %.1f MiB/s in a drain. Medians.\n\n", m["link_kib_s"] / 1024
		print "| written, of the link'"'"'s rate | pre-copy | rounds | before the stop | longest stop before | downtime | drain | read after the stop |"
		print "| --- | --- | --- | --- | --- | --- | --- | --- |"
		split("0 10 50", parts)
		for (i = 1; i <= 3; i++) {
			p = parts[i]
			for (j = 0; j < 2; j++) {
				mode = j ? "auto" : "none"
				printf "| %d %% | %s | %d | %.1f MiB in %.1f s | %s | %.2f s | %.2f s | %.1f MiB |\n", p, j ? "auto" : "no", of("precopy_rounds"),
				       of("precopy_pages") / 256, of("precopy_ms") / 1000, j ? of("stopped_ms") " ms" : "", of("downtime_ms") / 1000, of("drain_ms") / 1000,
				       of("pages_after") / 256
			}
		}
	}'

#!/bin/bash
# SPDX-License-Identifier: MIT
# What the cost figures mean, beside their bars.
set -eu
cat "$1"
awk '
	{ v[$1] = $2 }
	END {
		printf "\n%-52s %8.3f  (bar 1.25)\n", "page fault / 4 KiB READ (ib_read_lat)", v["fault_median_ns"] / 1000 / v["read_lat_4096_us"]
		printf "%-52s %8.3f\n", "page fault / 4 KiB READ by events", v["fault_median_ns"] / 1000 / v["read_lat_4096_event_us"]
		printf "%-52s %8d  (bar 9000)\n", "instructions a drained page, beyond the READ", v["drain_ns_a_page"] - v["read_lat_131072_us"] * 1000 / 32
	}' "$1"

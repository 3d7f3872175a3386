#!/bin/bash
# SPDX-License-Identifier: MIT
# What the cost figures mean, beside their bars.
set -eu
cat "$1"
awk '
	function row(what, value, bar) {
		printf "%-76s %10.3f%s\n", what, value, bar == "" ? "" : "  (bar " bar ")"
	}
	# A drained page in a READ of its own costs what 31 of 32 pages of a large READ save, and no page less.
	function of_a_read(t) {
		return (v[t ".sparse_ns_a_page"] - v[t ".drain_ns_a_page"]) * 32 / 31
	}
	{ v[$1] = $2 }
	END {
		print ""
		row("rc: page fault / 4 KiB READ (ib_read_lat)", v["rc.fault_median_ns"] / 1000 / v["rc.read_lat_4096_us"], 1.25)
		row("rc: page fault / 4 KiB READ by events", v["rc.fault_median_ns"] / 1000 / v["rc.read_lat_4096_event_us"])
		row("rc: instructions a drained page, beyond the READ", v["rc.drain_ns_a_page"] - v["rc.read_lat_131072_us"] * 1000 / 32, 9000)
		row("dct: a READ of a page, posted, completed and its waiter woken, instructions", v["dct.read_ns"])
		row("dct: the same / ib_read_lat by events on the same ConnectX", v["dct.read_ns"] / 1000 / v["mlx5.read_lat_4096_event_us"])
		row("dct: page fault, instructions", v["dct.fault_median_ns"])
		row("dct: instructions a drained page, all included", v["dct.drain_ns_a_page"], 9000)
		row("dct: instructions a READ more in the drain, with what a run of pages costs", of_a_read("dct"))
		row("dct: doorbells a drained page", v["dct.rung_doorbells"] / v["dct.rung_read"])
		row("dct / rc: first page of a source that is contacted for the first time", (v["dct.open_us"] + v["dct.open_page_us"]) / (v["rc.open_us"] + v["rc.open_page_us"]))
		row("dct / rc: the same, very first use of the transport", (v["dct.first_open_us"] + v["dct.first_page_us"]) / (v["rc.first_open_us"] + v["rc.first_page_us"]))
		row("tcp: page fault / request and answer of a page between two programs", v["tcp.fault_median_ns"] / v["tcp.exchange_ns"])
		row("tcp: instructions a drained page, all included", v["tcp.drain_ns_a_page"])
	}' "$1"

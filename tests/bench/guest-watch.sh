# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the scripts that run in the machines share; above all what the kernel saw, and when. A trace instance of our own, with the monotonic clock.

TRACE=/sys/kernel/tracing/instances/bench
WATCHED=-1

fail() {
	echo "${0##*/}: $*" >&2
	exit 1
}

on_b() {
	ssh -o ControlMaster=auto -o ControlPath=/run/bench.ctl -o ControlPersist=3600 b "$@"
}

# watch_calls FUNCTION...: calls of these, and their ends, are noted. MODULE:FUNCTION for a module's.
watch_calls() {
	local f
	! [ -d $TRACE/events/bench ] || echo 0 > $TRACE/events/bench/enable
	for f in "$@"; do
		printf 'p:bench/%s %s\nr:bench/%s_end %s\n' "${f#*:}" "$f" "${f#*:}" "$f"
	done > /sys/kernel/tracing/kprobe_events
}

# watch_begin [PID]: from here on the kernel notes when PID is stopped by a tracer, goes on, and ends, when programs start, when criu ends, and
# what watch_calls has named.
watch_begin() {
	local e
	WATCHED=${1:--1}
	mkdir -p $TRACE
	echo 0 > $TRACE/tracing_on
	echo mono > $TRACE/trace_clock
	echo "prev_pid == $WATCHED && prev_state & 8 || next_pid == $WATCHED" > $TRACE/events/sched/sched_switch/filter
	echo "pid == $WATCHED || comm == \"criu\"" > $TRACE/events/sched/sched_process_exit/filter
	# criu makes processes, too
	for e in $TRACE/events/bench/kernel_clone*; do
		! [ -d "$e" ] || echo "common_pid == $WATCHED" > "$e/filter"
	done
	for e in sched/sched_switch sched/sched_process_exit sched/sched_process_exec bench; do
		! [ -d $TRACE/events/$e ] || echo 1 > $TRACE/events/$e/enable
	done
	echo > $TRACE/trace
	echo 1 > $TRACE/tracing_on
}

# An instant on the same clock.
watch_mark() {
	echo "bench: $1" > $TRACE/trace_marker
}

# "NAME FIRST LAST SUM" in microseconds. NAME is frozen, thawed, gone, exec-PROGRAM, exit-criu, what was marked, or a function, whose SUM is of
# its calls' times. frozen is when it was stopped first, thawed when it ran after it had been stopped for the last time. Of exec-criu the last
# counts, as mitosis-cli asks criu for its version first.
watch_instants() {
	awk -v watched="$WATCHED" '
		function see(name) {
			if (!(name in first))
				first[name] = t
			last[name] = t
		}
		match($0, / [0-9]+\.[0-9]+: /) {
			t = substr($0, RSTART, RLENGTH - 2) * 1000000
			name = what = substr($0, RSTART + RLENGTH)
			sub(/:.*/, "", name)
			task = substr($0, 1, index($0, "[") - 1)
		}
		name == "sched_switch" && what ~ "prev_pid=" watched " " { stopped = 1; if (!("frozen" in first)) see("frozen") }
		name == "sched_switch" && what ~ "next_pid=" watched " " && stopped { stopped = 0; delete first["thawed"]; see("thawed") }
		name == "sched_process_exec" {
			sub(/.*filename=/, "", what)
			sub(/ .*/, "", what)
			sub(/.*\//, "", what)
			if (what == "criu")
				delete first["exec-criu"]
			see("exec-" what)
		}
		name == "sched_process_exit" { see(what ~ " pid=" watched " " ? "gone" : "exit-criu") }
		/: bench: / { see($NF) }
		name ~ /_end$/ { sub(/_end$/, "", name); last[name] = t; sum[name] += t - since[name, task]; next }
		what ~ /: \(/ { see(name); since[name, task] = t }
		END {
			for (name in first)
				printf "%s %.0f %.0f %.0f\n", name, first[name], last[name], sum[name]
		}' $TRACE/trace
}

# watch_us FROM [TO]: microseconds from the first FROM to the last TO; without TO: those of all calls of FROM.
watch_us() {
	watch_instants | awk -v from="$1" -v to="${2:-}" '
		$1 == from { begin = $2; us = $4; found++ }
		$1 == to { end = $3; found++ }
		END {
			if (found != (to == "" ? 1 : 2))
				exit 1
			printf "%.0f\n", to == "" ? us : end - begin
		}' || fail "the kernel has not seen both $1 and ${2:-its end}"
}

watch_ms() {
	local us
	us=$(watch_us "$@") && echo $(((us + 500) / 1000))
}

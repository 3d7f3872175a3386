#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Figures of two machines beside their bars: two-machines.py FIGURES TABLE.md PLOT.dat

Of what was measured several times the median is taken. PLOT.dat has a line a size: MB, then downtime in seconds and
bytes before it runs of mitosis, CRIU and CRIU's lazy pages.
"""
import statistics
import sys

values = {}
for line in open(sys.argv[1]):
    name, value = line.split()
    values.setdefault(name, []).append(float(value))
v = {name: statistics.median(all) for name, all in values.items()}
sizes = sorted({int(name.split(".")[1]) for name in v if name.count(".") == 2})


def of(way, mb, key):
    return v["%s.%d.%s" % (way, mb, key)]


def describe(mb):
    return of("mitosis", mb, "image_bytes") - of("mitosis", mb, "eager_bytes")


def busy(mb):
    return 100 * of("mitosis", mb, "drain_busy_ns") / of("mitosis", mb, "drain_ns")


def rate(mb):
    return of("mitosis", mb, "drain_pages") / 256 / (of("mitosis", mb, "drain_ns") / 1e9)


def ratio(key):
    return lambda mb: of("mitosis", mb, key) / of("criu", mb, key)


def seconds(way, key):
    return lambda mb: of(way, mb, key) / 1000


AT_MOST, AT_LEAST = "≤", "≥"
# what, its value at a size, format, and bar: direction, bound, from which size to which
FIGURES = [
    ("images without what CRIU dumps at once, KiB", lambda mb: describe(mb) / 1024, "%.1f", (AT_MOST, 128, 0, 1 << 20)),
    ("what CRIU dumps at once, KiB", lambda mb: of("mitosis", mb, "eager_bytes") / 1024, "%.0f", None),
    ("dump to the end of exposure, s", seconds("mitosis", "dump_ms"), "%.2f", None),
    ("CRIU: dump, s", seconds("criu", "dump_ms"), "%.2f", None),
    ("**dump, ratio to CRIU**", ratio("dump_ms"), "%.2f", (AT_MOST, 0.35, 256, 1 << 20)),
    ("downtime, s", seconds("mitosis", "downtime_ms"), "%.2f", None),
    ("CRIU: downtime, s", seconds("criu", "downtime_ms"), "%.2f", None),
    ("CRIU's lazy pages: downtime, s", seconds("lazy", "downtime_ms"), "%.2f", None),
    ("**downtime, ratio to CRIU**", ratio("downtime_ms"), "%.3f", (AT_MOST, 0.2, 256, 256)),
    ("downtime, ratio to CRIU's lazy pages", lambda mb: of("mitosis", mb, "downtime_ms") / of("lazy", mb, "downtime_ms"),
     "%.2f", None),
    ("bytes before it runs, KiB", lambda mb: of("mitosis", mb, "bytes") / 1024, "%.0f", None),
    ("drain, s", lambda mb: of("mitosis", mb, "drain_ns") / 1e9, "%.2f", None),
    ("CRIU's lazy pages: until all are there, s", seconds("lazy", "drain_ms"), "%.2f", None),
    ("**drain's time with a READ outstanding, %**", busy, "%.1f", (AT_LEAST, 95, 0, 1 << 20)),
    ("drain's rate, ratio to ib_read_bw's", lambda mb: rate(mb) / v["read_bw_mib_s"], "%.2f", None),
]


def verdict(value, bar):
    direction, bound, first, last = bar
    missed = [mb for mb in sizes if first <= mb <= last and
              (value(mb) > bound if direction == AT_MOST else value(mb) < bound)]
    judged = [mb for mb in sizes if first <= mb <= last]
    if not judged:
        return "not measured"
    return "missed at " + ", ".join(str(mb) for mb in missed) if missed else "met"


def bar_text(bar):
    direction, bound, first, last = bar
    where = " at %d MB" % first if first == last else " from %d MB on" % first if first else ""
    return "%s %g%s" % (direction, bound, where)


with open(sys.argv[2], "w") as out:
    print("| | " + " | ".join("%d MB" % mb for mb in sizes) + " | bar | |", file=out)
    print("| --- |" + " ---: |" * len(sizes) + " --- | --- |", file=out)
    for what, value, form, bar in FIGURES:
        cells = [what] + [form % value(mb) for mb in sizes]
        cells += [bar_text(bar), verdict(value, bar)] if bar else ["", ""]
        print("| " + " | ".join(cells) + " |", file=out)
    print("\nib_read_bw, same size and number of READs: %.1f MiB/s, %.1f by events. Load of the computer: %s before, %s after. Runs of each size, of which the table has the median: %s."
          % (v["read_bw_mib_s"], v["read_bw_event_mib_s"], v["load_before"], v["load_after"],
             ", ".join("%d" % len(values["mitosis.%d.downtime_ms" % mb]) for mb in sizes)), file=out)

with open(sys.argv[3], "w") as out:
    for mb in sizes:
        row = [of(way, mb, "downtime_ms") / 1000 for way in ("mitosis", "criu", "lazy")]
        row += [of(way, mb, "bytes") for way in ("mitosis", "criu", "lazy")]
        print(mb, *row, file=out)

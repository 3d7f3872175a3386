#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""fork_table.py children RESUME.json: "INDEX HOST PID INIT" a line. fork_table.py table DIR NAME=NUMBER...: the demo's table."""
import json
import statistics
import sys

if sys.argv[1] == "children":
    for c in json.load(open(sys.argv[2])):
        print(c["child"], c["host"], c["pid"], c["init"])
    sys.exit()

out = sys.argv[2]
v = {k: int(n) for k, n in (a.split("=") for a in sys.argv[3:])}
prepare = json.load(open(out + "/prepare.json"))
resume = json.load(open(out + "/resume.json"))
answers = [line.split() for line in open(out + "/answers")]
plain = [line.split() for m in "bc" for line in open(out + "/plain-" + m)]
read = sum(int(line) for line in open(out + "/pages_read"))
touched = [p["fault"] + p["shared"] + p["eager"] for m in "bc" for p in json.load(open(out + "/list-%s.json" % m))["processes"]]


def mean(numbers):
    return statistics.mean(numbers)


runs = mean(c["ms"] for c in resume)
first = mean(int(a[1]) for a in answers)
plain_total = v["plain_dump"] + v["plain_copy"] + v["plain_restores"]
rows = [
    ("snapshot, or dump", prepare["ms"], v["plain_dump"], None, "ms"),
    ("bytes copied to each machine", prepare["image_bytes"], v["plain_bytes"], 0, ""),
    ("all run", v["resume"], v["plain_copy"] + v["plain_restores"], None, "ms"),
    ("one runs, and gives its first answer", runs + first, None, v["scratch"], "ms, mean"),
    ("of this, the answer", first, mean(int(a[1]) for a in plain), None, "ms, mean"),
    ("dump to all running", prepare["ms"] + v["resume"], plain_total, None, "ms"),
    ("pages that a child has", mean(touched), prepare["pages"], None, "mean"),
    ("pages read over the link, both machines", read, None, None, ""),
    ("memory of a child", mean(int(a[2]) for a in answers), mean(int(a[2]) for a in plain), None, "KiB, mean Pss"),
]
print("%-42s %12s %12s %12s" % ("", "mitosis", "plain CRIU", "from nothing"))
for name, *numbers, unit in rows:
    print("%-42s" % name + "".join(" %12s" % ("-" if x is None else "%d" % x) for x in numbers) + "  " + unit)
print("\nfrom nothing to the first answer: %d ms; a local fork() that looks up 10,000 entries: %d ms" % (v["scratch"], v["fork"]))

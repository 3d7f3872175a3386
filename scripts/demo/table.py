#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demo's table: table.py MIGRATE.json CRIU.log"""
import json
import sys

m = json.load(open(sys.argv[1]))
c = {}
for line in open(sys.argv[2]):
    word = line.split()
    if len(word) == 2 and word[1].isdigit():
        c[word[0]] = int(word[1])

rows = [
    ("dump", m["dump_ms"] + m["hold_and_send_ms"], c["dump_ms"], "ms"),
    ("copy", 0, c["copy_ms"], "ms"),
    ("restore", m["restore_ms"] + m["commit_ms"], c["restore_ms"], "ms"),
    ("downtime", m["downtime_ms"], c["dump_ms"] + c["copy_ms"] + c["restore_ms"], "ms"),
    ("bytes copied before it runs", m["bytes_before_resume"], c["bytes"], ""),
    ("drain, while it runs", m["drain_ms"], None, "ms"),
    ("pages by fault", m["pages_by_fault"], None, ""),
    ("pages by drain", m["pages_by_drain"], None, ""),
    ("pages before it runs", m["pages_eager"], None, ""),
]
print("%-30s %14s %14s %8s" % ("", "mitosis", "plain CRIU", "ratio"))
for name, ours, theirs, unit in rows:
    ratio = "%.3f" % (ours / theirs) if theirs else ""
    theirs = "-" if theirs is None else "%d" % theirs
    print("%-30s %14d %14s %8s  %s" % (name, ours, theirs, ratio, unit))

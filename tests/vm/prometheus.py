#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""prometheus.py TEXT JSON: what stats --prometheus and stats --json say of one machine is the same."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

with open(sys.argv[1]) as f:
    families = {f.name: f for f in text_string_to_metric_families(f.read())}
with open(sys.argv[2]) as f:
    stats = json.load(f)

for name, family in families.items():
    assert name.startswith("mitosis_") and family.documentation and family.type != "unknown", family
value = {s.name: s.value for f in families.values() for s in f.samples if not s.labels}
n = 0
for name, figure in stats.items():
    if not isinstance(figure, int):
        continue
    if name.endswith("_ns"):
        name, figure = name[:-3] + "_seconds_total", figure / 1e9
    elif "mitosis_" + name not in value:
        name += "_total"
    assert abs(value["mitosis_" + name] - figure) <= 1e-6 * max(figure, 1), (name, value["mitosis_" + name], figure)
    n += 1
assert n >= 30, "only %d figures are compared" % n
latency = families["mitosis_fault_latency_seconds"]
bounds = [float(s.labels["le"]) for s in latency.samples if s.name.endswith("_bucket")]
assert len(bounds) == 30 and abs(bounds[0] - 1.024e-6) < 1e-12 and bounds[-1] == float("inf"), bounds
assert all(abs(b / a - 2) < 1e-6 for a, b in zip(bounds, bounds[1:-1])), bounds
buckets = [s.value for s in latency.samples if s.name.endswith("_bucket")]
assert buckets == sorted(buckets) and buckets[-1] == value["mitosis_fault_latency_seconds_count"] == stats["faults_read"], buckets

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Transport tcp beside what else goes over the same link: tcp-table.py FIGURES TABLE.md

Of what was measured several times the median is taken, of ratios that of each time's own. What is "tls" is there where the machines can do that.
"""
import statistics
import sys

values = {}
for line in open(sys.argv[1]):
    name, value = line.split()
    values.setdefault(name, []).append(float(value))
mb = next(int(name.split(".")[1]) for name in values if name.startswith("clear."))


def of(way, key):
    return values.get("%s.%d.%s" % (way, mb, key), [])


def drain(way):
    return [pages / 256 / (ns / 1e9) for pages, ns in zip(of(way, "drain_pages"), of(way, "drain_ns"))]


def rate(way, key):
    return [mb / (ms / 1000) for ms in of(way, key)]


def us(figures):
    return [ns / 1000 for ns in figures]


def ratio(what, to):
    return [a / b for a, b in zip(what, to)]


lazy, pushed = rate("lazy", "drain_ms"), rate("page_server", "dump_ms")
exchange = values["exchange_median_ns"]
rows = [
    ("iperf3, MiB/s", lambda way: values["iperf3_mib_s"], "%.1f"),
    ("iperf3 --zerocopy, MiB/s", lambda way: values["iperf3_zerocopy_mib_s"], "%.1f"),
    ("CRIU's lazy pages, until all are there, MiB/s", lambda way: lazy, "%.1f"),
    ("CRIU's dump into a page server, MiB/s", lambda way: pushed, "%.1f"),
    ("drain, MiB/s", drain, "%.1f"),
    ("**drain, ratio to iperf3**", lambda way: ratio(drain(way), values["iperf3_mib_s"]), "%.2f"),
    ("**drain, ratio to CRIU's lazy pages**", lambda way: ratio(drain(way), lazy), "%.2f"),
    ("drain, ratio to CRIU's page server", lambda way: ratio(drain(way), pushed), "%.2f"),
    ("request and answer of a page between two programs, µs", lambda way: us(exchange), "%.0f"),
    ("page fault, µs", lambda way: us(of(way, "fault_median_ns")), "%.0f"),
    ("**page fault, ratio to request and answer**", lambda way: ratio(of(way, "fault_median_ns"), exchange), "%.2f"),
    ("downtime, s", lambda way: [ms / 1000 for ms in of(way, "downtime_ms")], "%.2f"),
]
ways = [("clear", "in the clear"), ("tls", "under TLS")]
ways = [way for way in ways if of(way[0], "drain_ns")]

with open(sys.argv[2], "w") as out:
    print("| %d MB | " % mb + " | ".join(text for _, text in ways) + " |", file=out)
    print("| --- |" + " ---: |" * len(ways), file=out)
    for what, figures, form in rows:
        print("| %s | " % what + " | ".join(form % statistics.median(figures(way)) for way, _ in ways) + " |", file=out)
    if len(ways) == 2:
        print("| AES-GCM alone, in records of 16 KiB, by the kernel, MiB/s | | %.1f |" % statistics.median(values["aes_gcm_mib_s"]), file=out)
        print("| **drain under TLS, ratio to AES-GCM alone** | | %.2f |" % statistics.median(ratio(drain("tls"), values["aes_gcm_mib_s"])), file=out)
        print("| **drain under TLS, ratio to that in the clear** | | %.2f |" % statistics.median(ratio(drain("tls"), drain("clear"))), file=out)
    print("\nMedians of %d times. Load of the computer: %s before, %s after." %
          (len(drain("clear")), values["load_before"][0], values["load_after"][0]), file=out)

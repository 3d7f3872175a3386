#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What children of a snapshot cost, beside the bars: fork-table.py COST FORK TABLE.md

COST is of the machine that counts instructions, FORK of two machines. Of what was measured several times the median is taken.
"""
import statistics
import sys


def read(path):
    values = {}
    for line in open(path):
        name, value = line.split()
        values.setdefault(name, []).append(float(value))
    return {name: statistics.median(all) for name, all in values.items()}


cost, fork = read(sys.argv[1]), read(sys.argv[2])
out = open(sys.argv[3], "w")
COLUMNS = [("%d MB, instructions" % mb, cost, str(mb)) for mb in (64, 256, 1024)] + \
          [("%d MB, two machines" % mb, fork, str(mb)) for mb in (64, 256)]
PARENT_KB = 256 * 1024


def ms(*names):
    return lambda v, run: sum(v["%s.%s_us" % (run, name)] for name in names) / 1000


def table(head, columns, rows):
    """Rows are (what, function of values and run, format, bar or None); a bar is an upper bound. What is counted is judged, and of a row that
    has no such column what was timed."""
    counted = [v for _, v, _ in columns if v is cost]
    print("\n| %s | " % head + " | ".join(name for name, _, _ in columns) + " | bar | |", file=out)
    print("| --- |" + " ---: |" * len(columns) + " --- | --- |", file=out)
    for what, value, form, bar in rows:
        values = [value(v, run) for _, v, run in columns]
        cells = [form % x for x in values]
        if bar is None:
            cells += ["", ""]
        else:
            missed = [name for (name, v, _), x in zip(columns, values) if x > bar and (v is cost or not counted)]
            cells += ["≤ %g" % bar, "missed: " + "; ".join(missed) if missed else "met"]
        print("| %s | " % what + " | ".join(cells) + " |", file=out)


def added(v, run):
    return ms("clone", "hold", "seal")(v, run) / ms("fork", "register")(v, run)


def within(whole, *parts):
    return lambda v, run: ms(whole)(v, run) - ms(*parts)(v, run)


def count(name):
    return lambda v, run: v["%s.%s" % (run, name)]


PAGES_READ = ("pages read over the link", count("pages_read"), "%d", None)
FAULTS_WAITED = ("faults that waited for a page", count("faults_waited"), "%d", None)


print("## Prepare, ms", file=out)
table("", COLUMNS, [
    ("the kernel's own fork()", ms("fork"), "%.1f", None),
    ("registering its memory (ibv_reg_mr)", ms("register"), "%.1f", None),
    ("clone", ms("clone"), "%.1f", None),
    ("pages taken", within("hold", "expose"), "%.1f", None),
    ("pages registered", ms("expose"), "%.1f", None),
    ("sealed", ms("seal"), "%.1f", None),
    ("**these four, ratio to the first two**", added, "%.2f", 1.5),
    ("mitosis-cli prepare", ms("prepare"), "%.0f", None),
    ("of it until criu stops the process", within("prepare", "frozen", "ends"), "%.0f", None),
    ("the process stands still", ms("frozen"), "%.0f", None),
    ("of it without these four", within("frozen", "clone", "hold", "seal"), "%.0f", None),
    ("after it", ms("ends"), "%.0f", None),
    ("largest gap that the process has seen", ms("gap"), "%.0f", None),
])

print("\n## Descriptor, KiB for a parent of 1 GiB", file=out)
table("", [("all pages", cost, "1024")] + [("one page in %d" % s, cost, "1024/%d" % s) for s in (512, 16, 2)], [
    ("pages held", count("pages"), "%d", None),
    ("mitosis.img", lambda v, r: v[r + ".mitosis_img_bytes"] / 1024, "%.1f", 64),
    ("all images without what CRIU copies at once", lambda v, r: (v[r + ".image_bytes"] - v[r + ".copied_bytes"]) / 1024, "%.1f", 64),
    ("what CRIU copies at once", lambda v, r: v[r + ".copied_bytes"] / 1024, "%.1f", None),
])

print("\n## Where the time of one resume goes, ms", file=out)
children = [("%d MB, instructions" % mb, cost, "%d.child" % mb) for mb in (64, 256)]
children += [("%d MB, b: %s" % (mb, what), fork, "%d.%s" % (mb, run)) for mb in (64, 256)
             for what, run in (("first", "first"), ("2nd to 4th", "next"), ("after all have ended", "alone"))]
table("", children, [
    ("session: ssh's handshake and end, in mitosis-cli resume --on", lambda v, r: 0 if v is cost else within("resume", "receive")(v, r), "%.0f", None),
    ("mitosis-cli there, checks and images, until criu starts", ms("start"), "%.0f", None),
    ("criu until memory is attached, but for the link", within("armed", "link", "arm"), "%.0f", None),
    ("link open", ms("link"), "%.1f", None),
    ("attach: arm, and the pages that are wanted first", ms("arm"), "%.1f", None),
    ("criu from there on", within("criu", "armed"), "%.0f", None),
    ("its first answer: 2048 pages read, 256 of them written", within("total", "receive"), "%.0f", None),
    ("**from criu's start to the answer**", within("total", "start"), "%.0f", None),
    PAGES_READ,
    FAULTS_WAITED,
])
def ratios(which):
    return ", ".join("%.2f at %d MB" % (within("total", "start")(fork, "%d.%s" % (mb, which)) /
                                        within("total", "start")(fork, "%d.first" % mb), mb) for mb in (64, 256))


print("\nThe first is recorded, the others have its record (mitosis-cli record, --prefetch recorded). From criu's start to the answer, ratio to the first: "
      "2nd to 4th %s; after all have ended, when none of their pages is kept any more, %s." % (ratios("next"), ratios("alone")), file=out)


def policies(kind):
    runs = dict.fromkeys(name.rpartition(".")[0] for name in fork)
    return [(run.split(".")[1], fork, run) for run in runs if run.startswith(kind + ".")]


print("\n## Policies of --prefetch, b holds nothing of the snapshot", file=out)
table("2048 of 16384 pages, at random", policies("random"), [
    ("from criu's start to the answer, ms", within("total", "start"), "%.0f", None),
    FAULTS_WAITED,
    PAGES_READ,
])
table("a Python service's first three answers", policies("service"), [
    ("the first answer, ms after it runs", ms("answer"), "%.0f", None),
    FAULTS_WAITED,
    PAGES_READ,
])

print("\n## An idle child's memory, KiB", file=out)
idle = [("%d MB" % mb, fork, "%d.idle" % mb) for mb in (64, 256)]
table("", idle, [
    ("what the machine has less", lambda v, r: -v[r + ".Free"], "%.0f", None),
    ("**the same, % of the parent's**", lambda v, r: -100 * v[r + ".Free"] / 1024 / float(r.split(".")[0]), "%.2f", 1),
    ("of it anonymous", count("AnonPages"), "%.0f", None),
    ("page tables", count("PageTables"), "%.0f", None),
    ("slab", count("Slab"), "%.0f", None),
    ("kernel stacks", count("KernelStack"), "%.0f", None),
    ("its log and /run/mitosis-child", count("Shmem"), "%.0f", None),
    ("Pss of the child", count("pss"), "%.0f", None),
    ("Pss of its namespace's first process", count("pss_init"), "%.0f", None),
])
print("\nLoad of the computer: %s before, %s after." % (fork["load_before"], fork["load_after"]), file=out)

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What CRIU's descriptions of its tests say of each, one line a test, fields separated by tabs:
name, why it is not run (or "-"), flags, features, options of dump, options of restore, command."""

import os
import sys

FLAVOURS = "h ns uns"


def describe(path):
    if not os.path.exists(path):
        return {}
    with open(path) as f:
        # A Python expression, as CRIU's own runner reads it.
        return eval(f.read(), {"os": os})  # pylint: disable=eval-used


def reason(desc, program):
    flavours = desc.get("flavor", FLAVOURS).split()
    if "h" not in flavours:
        return "needs namespaces of its own (" + " ".join(flavours) + ")"
    if "x86_64" not in desc.get("arch", "x86_64").split():
        return "for " + desc["arch"]
    if not os.path.exists(program):
        return "not built"
    return "-"


def main(zdtm):
    payload = os.path.join(zdtm, "payload/root/zdtm")
    for kind in "static", "transition":
        with open(os.path.join(zdtm, kind + ".start")) as start:
            for line in start:
                name = line.split()[0].removeprefix("./")
                desc = describe(os.path.join(zdtm, "src/test/zdtm", kind, name + ".desc"))
                opts = desc.get("opts", "")
                print(kind + "/" + name, reason(desc, os.path.join(payload, kind, name)),
                      desc.get("flags", "") or "-", desc.get("feature", "") or "-",
                      (opts + " " + desc.get("dopts", "")).strip() or "-",
                      (opts + " " + desc.get("ropts", "")).strip() or "-", line.strip(), sep="\t")


main(sys.argv[1])

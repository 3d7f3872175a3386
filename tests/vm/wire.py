#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wire.py MEMORY CAPTURE: how much of the memory has been on the wire, of each 16 bytes, and of how many."""

import sys

memory, wire = (open(f, "rb").read() for f in sys.argv[1:])
assert len(wire) > len(memory), f"{len(wire)} bytes have been seen of {len(memory)}"
pieces = {memory[at:at + 16] for at in range(0, len(memory), 16)}
assert len(pieces) == len(memory) // 16, "the memory has a piece twice"
print(len({wire[at:at + 16] for at in range(len(wire) - 15)} & pieces), len(pieces))

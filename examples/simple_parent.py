#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts, can be forked from other machines when it has come to 10, and counts on."""
import time

import mitosis

who = "parent"
i = 0
while True:
    print(f"{who}: {i}", flush=True)
    if i == 10 and mitosis.prepare(73):
        who = "child"
    time.sleep(0.2)
    i += 1

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""simple_child.py NODE: becomes a child of the simple_parent.py that runs on NODE, and counts on from 11."""
import sys

import mitosis

if len(sys.argv) != 2:
    sys.exit(f"usage: {sys.argv[0]} NODE")
mitosis.resume(sys.argv[1], 73)

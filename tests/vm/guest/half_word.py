#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""half_word.py HOST COMMAND...: an ssh whose other side says half of how much is left to read, and no more."""

import os
import subprocess
import sys
import time

with subprocess.Popen(["ssh", "-o", "BatchMode=yes"] + sys.argv[1:], stdout=subprocess.PIPE) as ssh:
    for line in ssh.stdout:
        if b'"left"' in line:
            os.write(1, line[:1])
            time.sleep(600)
        os.write(1, line)
sys.exit(ssh.returncode)

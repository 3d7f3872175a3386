#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A computation with threads whose result is known: compute.py RESULT-FILE [STEPS].

Each thread walks through a table of its own in an order that the table's content decides, and changes what it
passes, so one wrong page anywhere makes the result wrong. RESULT-FILE.begun says that it is in the middle of it.
"""
import hashlib
import sys
import threading

THREADS = 4
ENTRIES = 120_000


def work(number, steps, out, progress):
    table = [hashlib.blake2b(b"%d %d" % (number, i), digest_size=32).digest() for i in range(ENTRIES)]
    progress[number] = 0
    place, state = 0, bytes(32)
    for step in range(steps):
        state = hashlib.blake2b(state + table[place], digest_size=32).digest()
        table[place] = state
        place = int.from_bytes(state[:4], "little") % ENTRIES
        progress[number] = step
    digest = hashlib.blake2b(digest_size=32)
    for entry in table:
        digest.update(entry)
    out[number] = digest.hexdigest()


def main():
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    out, progress = [None] * THREADS, [-1] * THREADS
    threads = [threading.Thread(target=work, args=(n, steps, out, progress)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    # written once, before anybody would move it: a file that is open must be the same on both machines
    while min(progress) < steps // 50 and any(thread.is_alive() for thread in threads):
        threads[0].join(0.1)
    with open(sys.argv[1] + ".begun", "w") as f:
        f.write("%d of %d\n" % (min(progress), steps))
    for thread in threads:
        thread.join()
    with open(sys.argv[1], "w") as f:
        f.write(hashlib.blake2b("".join(out).encode(), digest_size=16).hexdigest() + "\n")


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""redis_client.py FILE SECONDS HOST:PORT...: increments a counter over one connection until FILE.stop is there, and checks each answer.

With one server any error is one. With several it connects to the next when a connection ends; an increment that was not answered may have been
done or not, one that was answered must not be lost. FILE gets "count C longest-pause-ms P reconnected R", or "error ...", at its end, and FILE.n what
has been counted, all the time."""
import os
import socket
import sys
import time

out, bound, servers = sys.argv[1], float(sys.argv[2]), sys.argv[3:]


def end(text, status):
    with open(out + ".new", "w") as f:
        print(text, file=f)
    os.rename(out + ".new", out)
    sys.exit(status)


def connect(server):
    host, port = server.rsplit(":", 1)
    s = socket.create_connection((host, int(port)), timeout=bound)
    s.settimeout(bound)
    return s, s.makefile("rb")


def incr(s, f):
    s.sendall(b"*2\r\n$4\r\nINCR\r\n$7\r\ncounter\r\n")
    line = f.readline()
    if not line.startswith(b":"):
        raise ConnectionError("the answer is %r" % line)
    return int(line[1:])


at = last = reconnected = 0
pause = 0.0
began = time.monotonic()
unknown = False
conn = None
while not os.path.exists(out + ".stop"):
    try:
        conn = conn or connect(servers[at])
        n = incr(*conn)
    except OSError as e:
        if len(servers) == 1:
            end("error after %d: %s" % (last, e), 1)
        # the one that was on its way when the connection ended
        unknown = unknown or conn is not None
        conn = None
        reconnected += 1
        at = (at + 1) % len(servers)
        if time.monotonic() - began > bound:
            end("error after %d: no server for %d s" % (last, bound), 1)
        time.sleep(0.1)
        continue
    if n != last + 1 and not (unknown and n == last + 2):
        end("error: %d follows %d" % (n, last), 1)
    unknown = False
    last = n
    now = time.monotonic()
    pause = max(pause, now - began)
    began = now
    with open(out + ".n", "w") as f:
        f.write(str(last))
    time.sleep(0.005)
end("count %d longest-pause-ms %d reconnected %d" % (last, pause * 1000, reconnected), 0)

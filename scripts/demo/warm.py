#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""warm.py ENTRIES PORT READY: a service that takes long to get ready. It imports much, fills a cache, and answers requests from it.

get N      entry N of the cache, and who says so: "parent", or the index of a child of a snapshot
fork N     milliseconds until a local fork() has looked N entries up
"""
import asyncio  # noqa: F401
import concurrent.futures  # noqa: F401
import decimal  # noqa: F401
import difflib  # noqa: F401
import email.mime.multipart  # noqa: F401
import hashlib
import http.server  # noqa: F401
import json  # noqa: F401
import logging.handlers  # noqa: F401
import multiprocessing  # noqa: F401
import os
import pydoc  # noqa: F401
import socket
import ssl  # noqa: F401
import statistics  # noqa: F401
import sys
import tarfile  # noqa: F401
import time
import unittest.mock  # noqa: F401
import urllib.request  # noqa: F401
import xml.dom.minidom  # noqa: F401


def entry(n):
    return hashlib.sha256(b"%d" % n).hexdigest() * 4


def who():
    try:
        with open("/run/mitosis-child/index") as f:
            return f.read().strip()
    except OSError:
        return "parent"


def forked(n):
    t0 = time.monotonic()
    r, w = os.pipe()
    pid = os.fork()
    if not pid:
        right = all(cache[i] == entry(i) for i in range(n))
        os.write(w, b"right" if right else b"wrong")
        os._exit(0)
    os.close(w)
    word = os.read(r, 5).decode()
    os.close(r)
    os.waitpid(pid, 0)
    return "%s %d" % (word, (time.monotonic() - t0) * 1000)


cache = {i: entry(i) for i in range(int(sys.argv[1]))}
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])), backlog=64)
with open(sys.argv[3], "w") as f:
    f.write("%d\n" % os.getpid())
while True:
    peer, _ = listener.accept()
    with peer, peer.makefile("rw") as stream:
        word = stream.readline().split()
        if len(word) == 2 and word[0] == "get":
            stream.write("%s %s\n" % (who(), cache[int(word[1])]))
        elif len(word) == 2 and word[0] == "fork":
            stream.write("%s\n" % forked(int(word[1])))

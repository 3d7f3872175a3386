#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Peers of transport tcp that are not as they should be, against a source on another machine (kmod/xprt_tcp_wire.h).

Environment: that of tcp_reader.py, and OTHER_ADDR of the source, OTHER_RKEY of another snapshot. GO: a file that is made when the other side
shall release the snapshot, RELEASED: one that is there when it has.
"""
import os
import random
import struct
import time

from tcp_reader import (ACK, answer, ask, connect, DATA, DONE, env, expect, greet, hello, ID, is_closed, KEY, MEMORY, NPAGES, PAGE,
                        prove, READ, read, recv, REFUSED, RKEY, send, SLOW, START, still_good, verdict_of, VERSION)

good, said_to_good = greet()
expect('right key', 'welcome', said_to_good)
expect('a page', 'right', read(good, START))
expect('32 pages', 'right', read(good, START, npages=32))
expect('the last page', 'right', read(good, START + (NPAGES - 1) * PAGE))

bit = bytes([KEY[0] ^ 1]) + KEY[1:]
expect('key wrong in one bit', 'refused', verdict_of(bit))
expect('key of zeros', 'refused', verdict_of(bytes(16)))
expect('no such snapshot', 'refused', verdict_of(snapshot=ID ^ 1))
expect("the source's proof for the reader's", 'refused', verdict_of(who=b'source'))
expect('no proof', 'refused', verdict_of(proof=bytes(32)))
expect('passed on by somebody at another address', 'refused', verdict_of(said_addr=env['OTHER_ADDR']))
expect('another address than it is offered at', 'refused', verdict_of(addr=env['OTHER_ADDR']))

# What has been said once is of no use a second time.
s = connect()
once = hello()
send(s, once)
proof_once = prove(KEY, b'reader', once, recv(s, 24))
send(s, proof_once)
recv(s, 40)
s.close()
s = connect()
send(s, once)
recv(s, 24)
send(s, proof_once)
expect('replay', REFUSED, struct.unpack('<II', recv(s, 40)[:8])[1])
expect('replay: it is over', True, is_closed(s))

s = connect()
send(s, hello(version=2))
expect('another version is told ours', VERSION, struct.unpack('<IH', recv(s, 24)[:6])[1])
send(s, bytes(48))
expect('another version: it is over', True, is_closed(s))

# (address, region, pages)
for what, a, r, n in (
        ('behind the region', START + NPAGES * PAGE, RKEY, 1), ('over its end', START + (NPAGES - 1) * PAGE, RKEY, 2),
        ('before it', START - PAGE, RKEY, 1), ('around the address space', 2**64 - PAGE, RKEY, 2), ('within a page', START + 8, RKEY, 1),
        ('no pages', START, RKEY, 0), ('33 pages', START, RKEY, 33), ('65535 pages', START, RKEY, 65535),
        ("another snapshot's region", START, int(env['OTHER_RKEY']), 1), ('no region', START, RKEY ^ 0x5a5a, 1)):
    expect(what, 'refused', read(good, a, r, n))
expect('after refusals it reads on', 'right', read(good, START + PAGE))

# More than the source takes at a time, and read later.
for i in range(0, 960, 16):
    ask(good, *((START + (i + k) % NPAGES * PAGE, RKEY, 1, (i + k) % 128) for k in range(16)))
bad = 0
for i in range(960):
    t, number, content = answer(good)
    off = i % NPAGES * PAGE
    bad += t != DATA or number != i % 128 or content != MEMORY[off:off + PAGE]
expect('960 READs at once', 0, bad)

for what, message in (
        ('no such message', struct.pack('<HHHH', 9, 0, 0, 0)), ('an answer', struct.pack('<HHHH', DATA, 1, 0, 0)),
        ('17 READs in a message', struct.pack('<HHHH', READ, 17, 0, 0)), ('none', struct.pack('<HHHH', READ, 0, 0, 0)),
        ('a head that is none', struct.pack('<HHHH', READ, 1, 0, 1)), ('DONE with something', struct.pack('<HHHH', DONE, 1, 0, 0))):
    s, _ = greet()
    send(s, message + bytes(17 * 16))
    expect(what, True, is_closed(s))
    s.close()
s, _ = greet()
send(s, struct.pack('<HHHH', DONE, 0, 0, 0))
expect('DONE is noted', ACK, answer(s)[0])
expect('after DONE it reads on', 'right', read(s, START))
send(s, struct.pack('<HHHH', DONE, 0, 0, 0))
expect('DONE twice', True, is_closed(s))

random.seed(6)
left = []
for i in range(40):
    s = connect()
    send(s, random.randbytes(random.choice((1, 47, 48, 49, 500, 70000))))
    left.append(s)
for text in (b'GET / HTTP/1.1\r\nHost: a\r\n\r\n', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03' + bytes(500)):
    s = connect()
    send(s, text)
    left.append(s)
expect('garbage', 0, sum(not is_closed(s) for s in left))

# Many that say nothing, or half of what they should.
idle = []
for i in range(300):
    try:
        idle.append(connect())
        if i % 2:
            send(idle[-1], hello()[:20])
    except OSError:
        pass
# each has a second
time.sleep(2)
still_good('300 half-open connections')
# They have five seconds. One that the kernel over there has never handed out, as too many waited, is so when it says something.
time.sleep(7 * SLOW)
for s in idle:
    send(s, bytes(64))
begin = time.monotonic()
expect('half-open ones are ended', 0, sum(not is_closed(s) for s in idle))
expect('within seconds', True, time.monotonic() - begin < 20 * SLOW)

# Those that do not read what they have asked for.
stuck = []
for i in range(20):
    s, _ = greet()
    s.settimeout(2)
    try:
        for k in range(40):
            ask(s, *((START, RKEY, 32, (16 * k + j) % 128) for j in range(16)))
    except OSError:
        pass
    stuck.append(s)
still_good('20 that do not read')

# With all of them there it is released.
open(env['GO'], 'w', encoding='ascii').close()
end = time.monotonic() + 60 * SLOW
while not os.path.exists(env['RELEASED']) and time.monotonic() < end:
    time.sleep(0.1)
expect('released under its readers', True, os.path.exists(env['RELEASED']))
expect('a reader is told', True, is_closed(good))
expect('nobody gets in', 'refused', verdict_of())
got = 0
for s in stuck:
    s.settimeout(30 * SLOW)
    try:
        while True:
            part = s.recv(1 << 20)
            if not part:
                break
            got += len(part)
    except OSError:
        pass
# What was in flight: 20 windows at most, where 20 * 640 * 32 pages had been asked for.
expect('what was queued is not sent on', True, got < 20 * 640 * 32 * PAGE // 8)

#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Peers of transport tcp that are not as they should be, against a source on another machine (kmod/xprt_tcp_wire.h).

Environment: ADDR and OTHER_ADDR of the source, PORT, SNAPSHOT and KEY (hexadecimal), RKEY, START and NPAGES of its one region, MEMORY: a file
with what is there; OTHER_RKEY of another snapshot. GO: a file that is made when the other side shall release the snapshot, RELEASED: one that is there when it has.
"""
import hashlib
import hmac
import os
import random
import socket
import struct
import time

PAGE = 4096
MAGIC, VERSION = 0x4D746370, 1
READ, DONE, DATA, REFUSE, ACK = 1, 2, 0x101, 0x102, 0x103
WELCOME, REFUSED = 1, 2
SLOW = int(open('/root/t/slow', encoding='ascii').read())

env = os.environ
ID, KEY = int(env['SNAPSHOT'], 16), bytes.fromhex(env['KEY'])
RKEY, START, NPAGES = int(env['RKEY']), int(env['START'], 0), int(env['NPAGES'])
MEMORY = open(env['MEMORY'], 'rb').read()


def expect(name, want, got):
    print(f'ok {name}' if want == got else f"not ok {name}: the answer is '{got}', not '{want}'", flush=True)


def connect(addr=None):
    sock = socket.create_connection((addr or env['ADDR'], int(env['PORT'])), timeout=30 * SLOW)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def recv(sock, n):
    """All n bytes, or fewer when the other side has gone."""
    data = b''
    try:
        while len(data) < n:
            part = sock.recv(n - len(data))
            if not part:
                break
            data += part
    except (ConnectionError, socket.timeout):
        pass
    return data


def send(sock, data):
    try:
        sock.sendall(data)
    except (ConnectionError, socket.timeout):
        pass


def is_closed(sock):
    sock.settimeout(30 * SLOW)
    try:
        return sock.recv(1) == b''
    except ConnectionError:
        return True
    except socket.timeout:
        return False


def hello(snapshot=ID, version=VERSION, flags=0, addr=None):
    return struct.pack('<IHHQ', MAGIC, version, flags, snapshot) + os.urandom(16) + bytes(10) + b'\xff\xff' + socket.inet_aton(addr or env['ADDR'])


def prove(key, who, said, challenge):
    return hmac.new(key, who.ljust(8, b'\0') + said + challenge, hashlib.sha256).digest()


def greet(key=KEY, snapshot=ID, addr=None, said_addr=None, who=b'reader', proof=None):
    """A socket and the verdict; what the source proves is looked at."""
    sock = connect(addr)
    said = hello(snapshot, addr=said_addr or addr)
    send(sock, said)
    challenge = recv(sock, 24)
    if len(challenge) < 24:
        return sock, 'closed'
    send(sock, proof or prove(key, who, said, challenge))
    verdict = recv(sock, 40)
    if len(verdict) < 40:
        return sock, 'closed'
    code = struct.unpack('<II', verdict[:8])[1]
    if code == REFUSED:
        return sock, 'refused' if verdict[8:] == bytes(32) else 'refused, with a proof'
    if code == WELCOME:
        return sock, 'welcome' if verdict[8:] == prove(key, b'source', said, challenge) else 'welcome by another'
    return sock, f'code {code}'


def ask(sock, *reads):
    """reads: (address, rkey, npages, id)"""
    send(sock, struct.pack('<HHHH', READ, len(reads), 0, 0) + b''.join(struct.pack('<QIHH', *r) for r in reads))


def answer(sock):
    """(type, id, data)"""
    head = recv(sock, 8)
    if len(head) < 8:
        return 'closed', 0, b''
    kind, count, number, _ = struct.unpack('<HHHH', head)
    return kind, number, recv(sock, count * PAGE) if kind == DATA else b''


def read(sock, addr, rkey=RKEY, npages=1, number=7):
    ask(sock, (addr, rkey, npages, number))
    kind, got, data = answer(sock)
    if kind == REFUSE and got == number:
        return 'refused'
    if kind == DATA and got == number:
        at = addr - START
        return 'right' if data == MEMORY[at:at + npages * PAGE] else 'wrong'
    return kind


def verdict_of(*args, **kwargs):
    sock, verdict = greet(*args, **kwargs)
    sock.close()
    return verdict


def still_good(name):
    sock, verdict = greet()
    expect(f'{name}: others read', 'right', read(sock, START) if verdict == 'welcome' else verdict)
    sock.close()


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

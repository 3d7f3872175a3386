#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A reader of transport tcp, for tests: what a peer on the network says (kmod/xprt_tcp_wire.h).

Environment: ADDR of the source, PORT, SNAPSHOT and KEY (hexadecimal), RKEY, START and NPAGES of its one region, MEMORY: a file with what is there.
"""
import hashlib
import hmac
import os
import socket
import struct

PAGE = 4096
MAGIC, VERSION = 0x4D746370, 1
READ, DONE, DATA, REFUSE, ACK = 1, 2, 0x101, 0x102, 0x103
WELCOME, REFUSED, BUSY, NO_TLS = 1, 2, 3, 4
F_TLS = 1
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


def greeting(key=KEY, snapshot=ID, addr=None, said_addr=None, who=b'reader', proof=None, flags=0):
    """A socket, the verdict, and what has been said and answered; what the source proves is looked at."""
    sock = connect(addr)
    said = hello(snapshot, flags=flags, addr=said_addr or addr)
    send(sock, said)
    challenge = recv(sock, 24)
    if len(challenge) < 24:
        return sock, 'closed', said, challenge
    send(sock, proof or prove(key, who, said, challenge))
    verdict = recv(sock, 40)
    if len(verdict) < 40:
        return sock, 'closed', said, challenge
    code = struct.unpack('<II', verdict[:8])[1]
    words = {REFUSED: 'refused', WELCOME: 'welcome', BUSY: 'busy', NO_TLS: 'no TLS'}
    proofs = {REFUSED: bytes(32), BUSY: bytes(32), NO_TLS: prove(key, b'no-tls', said, challenge), WELCOME: prove(key, b'source', said, challenge)}
    word = words.get(code, f'code {code}')
    return sock, word if verdict[8:] == proofs.get(code) else word + ', with another proof', said, challenge


def greet(*args, **kwargs):
    """A socket and the verdict."""
    return greeting(*args, **kwargs)[:2]


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

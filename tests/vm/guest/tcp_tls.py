#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Readers of transport tcp with TLS, against a source on another machine: OpenSSL, on this side. Environment: that of tcp_reader.py, and
OTHER_SNAPSHOT and OTHER_KEY.
"""
import ssl
import struct
import time

from tcp_reader import (answer, ask, connect, env, expect, F_TLS, greet, greeting, hello, is_closed, KEY, NPAGES, PAGE, prove, read, recv, RKEY, send,
                        START, WELCOME)


def with_tls(sock, name, psk):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_psk_client_callback(lambda hint: (name, psk))
    return context.wrap_socket(sock)


def half():
    """One that has shown the key, and has not looked at the verdict."""
    sock = connect()
    said = hello(flags=F_TLS)
    send(sock, said)
    send(sock, prove(KEY, b'reader', said, recv(sock, 24)))
    return sock


def tls(wrong=0, other_name=False):
    """A socket with TLS, or why there is none."""
    sock, verdict, said, challenge = greeting(flags=F_TLS)
    if verdict != 'welcome':
        return verdict
    psk = prove(KEY, b'tls', said, challenge)
    name = 'mitosis-' + (bytes(16) if other_name else challenge[8:]).hex()
    try:
        return with_tls(sock, name, bytes([psk[0] ^ wrong]) + psk[1:])
    except (ssl.SSLError, OSError):
        return 'no handshake'


good = tls()
expect('a page', 'right', read(good, START) if isinstance(good, ssl.SSLSocket) else good)
expect('TLS 1.3', 'TLSv1.3', good.version())
expect('32 pages', 'right', read(good, START, npages=32))
expect('what is not exposed', 'refused', read(good, START + NPAGES * PAGE))
for i in range(0, 128, 16):
    ask(good, *((START + (i + k) * PAGE, RKEY, 1, i + k) for k in range(16)))
expect('128 READs at once', 128, sum(answer(good)[2] != b'' for _ in range(128)))

expect('a pre-shared key that is wrong in one bit', 'no handshake', tls(wrong=1))
expect('the name of none', 'no handshake', tls(other_name=True))
expect('a wrong key', 'refused', greet(key=bytes(16), flags=F_TLS)[1])
expect('without TLS', 'refused', greet()[1])

# Where a handshake should be.
for what, message in (('a READ', struct.pack('<HHHHQIHH', 1, 1, 0, 0, START, RKEY, 1, 0)), ('garbage', bytes(500)),
                      ('a head of a record', b'\x16\x03\x01\x02\x00'), ('another record', b'\x17\x03\x03\x00\x20' + bytes(32))):
    s, said_to_it = greet(flags=F_TLS)
    send(s, message)
    got = b''
    part = recv(s, 1)
    while part and len(got) < 4096:
        got += part
        part = recv(s, 1)
    expect(f'{what} for a handshake', True, said_to_it == 'welcome' and len(got) < 100 and is_closed(s))
    s.close()

# Those who let their handshakes stand keep out nobody who reads another snapshot, and of their own only as long as they are there.
idle = [half() for _ in range(65)]
# Readers ask again: with little memory the kernel takes three handshakes, and no more until tlshd has begun with one of them.
for _ in range(50):
    other = greet(key=bytes.fromhex(env['OTHER_KEY']), snapshot=int(env['OTHER_SNAPSHOT'], 16), flags=F_TLS)
    if other[1] != 'busy':
        break
    time.sleep(0.2)
expect('65 handshakes that do not go on, and one of another snapshot', 'welcome', other[1])
last = half()
# Who waits goes first, so that no place is given to who has gone.
for s in reversed(idle):
    s.close()
expect('one that has waited', WELCOME, struct.unpack('<II', recv(last, 40)[:8])[1])
last.close()

expect('the good one reads on', 'right', read(good, START + PAGE))
good.close()

#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Sources of transport tcp that are not as they should be: stands between a reader and its source, lets them greet each other, and
then answers in the source's place. One misdeed a connection, then connections that are as they should be. tcp_source.py PORT SOURCE SOURCE_PORT LOG
"""
import socket
import struct
import sys
import threading
import time

PAGE = 4096
DATA, REFUSE, ACK = 0x101, 0x102, 0x103
NOT_ASKED = 127     # a drain has fewer READs under way, and the lowest numbers are taken first
LOG = open(sys.argv[4], 'a', encoding='ascii')


def say(text):
    print(text, file=LOG, flush=True)


def recv(sock, n):
    data = b''
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            raise ConnectionError
        data += part
    return data


def reads(sock):
    """The READs of one message: (address, region, pages, id)"""
    kind, count = struct.unpack('<HHHH', recv(sock, 8))[:2]
    assert kind == 1, kind
    return [struct.unpack('<QIHH', recv(sock, 16)) for _ in range(count)]


def head(kind, count, number):
    return struct.pack('<HHHH', kind, count, number, 0)


def wait_end(sock):
    """What the other side still says, until it has gone."""
    sock.settimeout(60)
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass


def garbage(sock, asked):
    sock.sendall(b'\xa5' * 4096)


def wrong_id(sock, asked):
    sock.sendall(head(DATA, asked[0][2], NOT_ASKED) + bytes(asked[0][2] * PAGE))


def id_out_of_range(sock, asked):
    sock.sendall(head(DATA, asked[0][2], 65535) + bytes(asked[0][2] * PAGE))


def wrong_count(sock, asked):
    sock.sendall(head(DATA, asked[0][2] + 1, asked[0][3]) + bytes((asked[0][2] + 1) * PAGE))


def no_pages(sock, asked):
    sock.sendall(head(DATA, 0, asked[0][3]))


def refuse_what_was_not_asked(sock, asked):
    sock.sendall(head(REFUSE, 0, NOT_ASKED))


def ack_what_was_not_said(sock, asked):
    sock.sendall(head(ACK, 0, 0))


def cut_in_a_page(sock, asked):
    sock.sendall(head(DATA, asked[0][2], asked[0][3]) + b'\x5a' * 1000)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


def silent(sock, asked):
    wait_end(sock)


def silent_in_a_page(sock, asked):
    sock.sendall(head(DATA, asked[0][2], asked[0][3]) + b'\x5a' * 5)
    wait_end(sock)


def dribble(sock, asked):
    """A byte a second is no progress."""
    sock.sendall(head(DATA, asked[0][2], asked[0][3]))
    try:
        for _ in range(600):
            sock.sendall(b'\x5a')
            time.sleep(1)
    except ConnectionError:
        pass


def greet_falsely(client, source, code):
    """The verdict, welcome or refused, of somebody who does not have the key."""
    source.sendall(recv(client, 48))
    client.sendall(recv(source, 24))
    recv(client, 32)
    client.sendall(struct.pack('<II', 0x4D746370, code) + bytes(32))
    wait_end(client)


MISDEEDS = [garbage, wrong_id, id_out_of_range, wrong_count, no_pages, refuse_what_was_not_asked, ack_what_was_not_said, cut_in_a_page,
            silent, silent_in_a_page, dribble]


def pump(one, other):
    try:
        while True:
            data = one.recv(1 << 18)
            if not data:
                break
            other.sendall(data)
    except OSError:
        pass
    for sock in (one, other):
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client, number):
    source = socket.create_connection((sys.argv[2], int(sys.argv[3])))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        # the first one is greeted well, as a link that never was is not connected again
        if number in (1, 2):
            greet_falsely(client, source, number)
            say(f'did greet_falsely {number}')
            return
        source.sendall(recv(client, 48))
        client.sendall(recv(source, 24))
        source.sendall(recv(client, 32))
        client.sendall(recv(source, 40))
        misdeed = max(number - 2, 0)
        if misdeed < len(MISDEEDS):
            MISDEEDS[misdeed](client, reads(client))
            say(f'did {MISDEEDS[misdeed].__name__}')
            wait_end(client)
            return
        say('well')
        threading.Thread(target=pump, args=(client, source)).start()
        pump(source, client)
    except OSError as e:
        say(f'connection {number}: {e}')
    finally:
        client.close()
        source.close()


# at the source's own address, as it refuses who has connected to another one
listener = socket.create_server((sys.argv[2], int(sys.argv[1])))
say('ready')
connections = 0
listener.settimeout(600)
end = time.monotonic() + 600
while time.monotonic() < end:
    accepted, _ = listener.accept()
    threading.Thread(target=serve, args=(accepted, connections), daemon=True).start()
    connections += 1

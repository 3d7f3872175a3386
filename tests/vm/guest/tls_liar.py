#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""An agent for TLS handshakes (include/uapi/linux/handshake.h) in tlshd's place, which says that each has succeeded, and does nothing."""
import os
import socket
import struct

NETLINK_GENERIC, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 16, 270, 1
CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME, CTRL_ATTR_MCAST_GROUPS = 16, 3, 1, 2, 7
READY, ACCEPT, DONE = 1, 2, 3
ACCEPT_SOCKFD, ACCEPT_HANDLER_CLASS, ACCEPT_PEER_IDENTITY = 1, 2, 6
DONE_STATUS, DONE_SOCKFD, DONE_REMOTE_AUTH = 1, 2, 3

sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)


def attr(kind, data):
    return struct.pack('=HH', 4 + len(data), kind) + data + bytes(-len(data) % 4)


def attrs(data):
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack('=HH', data[:4])
        found[kind & 0x3fff] = data[4:length]
        data = data[(length + 3) & ~3:]
    return found


def u32(data):
    return struct.unpack('=I', data)[0]


def say(family, command, body):
    """NLM_F_REQUEST"""
    sock.send(struct.pack('=IHHIIBBH', 20 + len(body), family, 1, 0, 0, command, 1, 0) + body)


def hear():
    """(command, attributes)"""
    message = sock.recv(65536)
    return message[16], attrs(message[20:])


say(CTRL, CTRL_CMD_GETFAMILY, attr(CTRL_ATTR_FAMILY_NAME, b'handshake\0'))
answer = hear()[1]
handshake = struct.unpack('=H', answer[CTRL_ATTR_FAMILY_ID])[0]
for group in map(attrs, attrs(answer[CTRL_ATTR_MCAST_GROUPS]).values()):
    if group[1] == b'tlshd\0':
        sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, u32(group[2]))
print('ready', os.getpid(), flush=True)
while True:
    if hear()[0] == READY:
        say(handshake, ACCEPT, attr(ACCEPT_HANDLER_CLASS, struct.pack('=I', 1)))
        request = hear()[1]
        say(handshake, DONE, attr(DONE_STATUS, bytes(4)) + attr(DONE_SOCKFD, request[ACCEPT_SOCKFD]) +
            attr(DONE_REMOTE_AUTH, request[ACCEPT_PEER_IDENTITY]))
        print('lied', flush=True)

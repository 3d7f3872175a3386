# SPDX-License-Identifier: MIT
"""fork() and exec() across machines: see mitosis_fork_prepare() and mitosis_fork_resume() in mitosis.h."""
import ctypes
import os

_lib = ctypes.CDLL("libmitosis.so.0")
PIN = 1


def prepare(handler, flags=0):
    """False in the parent, True in every child."""
    ret = _lib.mitosis_fork_prepare(ctypes.c_uint(handler), ctypes.c_uint(flags))
    if ret < 0:
        raise OSError(-ret, os.strerror(-ret))
    return ret == 1


def resume(node, handler):
    """Becomes a child of the process that has prepared itself on node; does not return."""
    ret = _lib.mitosis_fork_resume(node.encode() if node else None, ctypes.c_uint(handler), ctypes.c_uint(0))
    raise OSError(-ret, os.strerror(-ret))

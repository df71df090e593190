"""Freed blocks go back to the system, whatever was freed before."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import ctypes, sys
from clipn import memory

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
if sys.argv[1] == "set":
    memory.return_large_blocks()
libc.free(libc.malloc(16 * 2**20))  # by itself glibc takes blocks of up to this size from its own heap from now on
before = libc.mallinfo2().hblks
libc.malloc(4 * 2**20)
print(libc.mallinfo2().hblks - before)
"""


def test_large_blocks_stay_separate_mappings() -> None:
    counts = {
        mode: subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True).stdout
        for mode in ("set", "unset")
    }
    assert counts == {"set": "1\n", "unset": "0\n"}

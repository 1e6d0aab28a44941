"""The memory that a process has allocated and not freed, in all threads; tests compare it before and after."""

from __future__ import annotations

import ctypes
import gc

import pytest


class _Sizes(ctypes.Structure):
    _names = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = [(name, ctypes.c_size_t) for name in _names]


def memory_in_use() -> float:
    """Return it in MiB, after the garbage is collected. Unlike resident memory it does not count what was freed.

    The test is skipped where the C library cannot tell.
    """
    gc.collect()
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        pytest.skip("needs mallinfo2, which glibc has from 2.33 on")
    mallinfo.restype = _Sizes
    found = mallinfo()
    return float(found.uordblks + found.hblkhd) / 2**20

"""Memory that was freed, and that the C library keeps for later."""

from __future__ import annotations

import contextlib
import ctypes
import gc


def release_freed_memory() -> None:
    """Return freed memory to the system, if the C library supports it.

    One process runs many jobs. With memory left over from earlier models, the last of eight equal designs seemed to
    need 3.8 GiB and the first 2.9.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # glibc only; other C libraries keep less
        ctypes.CDLL(None).malloc_trim(0)

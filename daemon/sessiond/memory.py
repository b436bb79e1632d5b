"""This process's memory: kept from others, and given back."""

from __future__ import annotations

import ctypes
import resource
import sys
from contextlib import suppress

# From glibc's malloc.h.
M_ARENA_MAX = -8
# From Linux's sys/prctl.h.
PR_SET_DUMPABLE = 4


def keep() -> None:
    """Let no core file hold what is in memory, and no other process of this user read it.

    Where core files go to a program a limit of 0 does not hold (core(5)), so Linux is told as well that there
    is nothing to dump.  What is started from here may be dumped again, but has the limit.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def share_one_heap() -> None:
    """Let all threads take memory from one heap, where the C library would give each its own.

    They take turns anyway, and every heap keeps what its thread once needed: 3 of 64 MB (measured).
    Before the first thread starts.
    """
    with suppress(AttributeError, OSError):  # glibc's alone
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def trim() -> None:
    """Give memory that is free back to the system; the C library keeps it for the next burst of work."""
    with suppress(AttributeError, OSError):  # glibc's alone
        ctypes.CDLL(None).malloc_trim(0)

"""This process's memory: kept from others, taken from one heap, and given back."""

from __future__ import annotations

import gc
import os
import resource
import sys
from contextlib import suppress

from sessionsync.libraries import library

# Settings of glibc's malloc; other C libraries do not look there.
GLIBC = "GLIBC_TUNABLES"
LARGE_BYTES, SLACK_BYTES = 32 * 1024, 1024 * 1024
ONE_HEAP = (
    "glibc.malloc.arena_max=1:glibc.malloc.tcache_count=0"
    f":glibc.malloc.mmap_threshold={LARGE_BYTES}:glibc.malloc.trim_threshold={SLACK_BYTES}"
)
# From glibc's malloc.h, and the most that it takes for the first of them.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
HELD_BYTES = 32 * 1024 * 1024
BEGUN_ANEW = "_SESSIOND_BEGUN_ANEW"
"""Says that it was tried: of a program with capabilities of its own the C library drops its settings."""
# From Linux's sys/prctl.h.
PR_SET_DUMPABLE = 4


def keep() -> None:
    """Let no core file hold what is in memory, and no other process of this user read it.

    Where core files go to a program a limit of 0 does not hold (core(5)), so Linux is told as well that there
    is nothing to dump.  What is started from here may be dumped again, but has the limit.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux" and (libc := library(None, "prctl")) is not None:
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def share_one_heap() -> None:
    """Let all threads of the daemon take memory from one heap: put this process in its own place anew, once.

    By itself the C library gives each thread a heap, and a store of freed pieces beside it, and both keep
    what their thread once needed: 3 of 64 MB, and 4 MB more in ten minutes of traffic (measured).  They take
    turns anyway.  And it comes to take large pieces from the heap as well, once some were freed: small ones
    that lie behind them then keep all of it, 5 MB, and more with time.  So large ones stay outside.
    It reads its settings when a process begins and never again.  They are this process's alone: what it
    starts does not get them, and whoever has set some keeps them.
    """
    told = os.environ.get(GLIBC)
    if os.environ.pop(BEGUN_ANEW, None):
        if told == ONE_HEAP:
            del os.environ[GLIBC]
    elif told is None and sys.platform == "linux":
        environ = {**os.environ, GLIBC: ONE_HEAP, BEGUN_ANEW: "1"}
        with suppress(OSError):  # it runs all the same
            os.execve(sys.executable, sys.orig_argv, environ)  # noqa: S606 - this program


def hold() -> None:
    """Keep what is freed for the next piece of work, in a process that ends with its work.

    The C library gives a block of megabytes back when it is freed, and the system has to clear the next one:
    of a first backup's 96,000 page faults three in four were for that (measured).
    """
    if (libc := library(None, "mallopt")) is not None:
        libc.mallopt(M_MMAP_THRESHOLD, HELD_BYTES)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * HELD_BYTES)


def trim() -> None:
    """Give memory that is free back to the system; the C library keeps it for the next burst of work.

    With what only a cycle of objects still holds, which nobody looks for where nothing happens: after a merge
    17 MB of tables to compress with (measured).
    """
    gc.collect()
    if (libc := library(None, "malloc_trim")) is not None:  # glibc's alone
        libc.malloc_trim(0)

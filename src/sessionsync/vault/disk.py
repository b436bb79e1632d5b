"""A whole file system made durable at once, which for many files costs a fraction of one after the other.

`syncfs(2)` is Linux's, and tells of what could not be written since the descriptor was opened from 5.8 on.
Where that cannot be had, or is not known to reach the disk, as with file systems in user space, or where
much that others have written would be waited for as well, the caller flushes file by file.

The disk begins with what is long as soon as it is written, while the caller goes on, so that less is left to
be waited for; the kernel by itself lets it lie for seconds.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sessionsync.libraries import library

if TYPE_CHECKING:
    from collections.abc import Callable

# Those of Linux whose own code writes to a disk, or that have none.
_PLAIN = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs"})
_SINCE = (5, 8)
_MOUNTS = Path("/proc/self/mountinfo")
_MEMORY = Path("/proc/meminfo")
# What others have written, and the disk has not, would be waited for as well: up to so much that is seconds.
MOST_BYTES = 1024**3
# Less is not worth a call of its own.
LONG_BYTES = 64 * 1024
# `SYNC_FILE_RANGE_WRITE` of sync_file_range(2): begin, and wait for nothing.
_BEGIN = 2


class Disk:
    """The file system that `folder` lies on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None
        self._device = 0
        self._is_all = True

    def will_change(self, descriptor: int) -> None:
        """Say that the open file, below the folder, is going to be written."""
        device = os.fstat(descriptor).st_dev
        if self._descriptor is None and self._is_all:
            self._descriptor = _opened(self._folder)
            self._device = device
        self._is_all = self._is_all and self._descriptor is not None and device == self._device

    def has_changed(self, descriptor: int, offset: int, size: int) -> None:
        """Say that so much of it was written; nothing is durable by that."""
        if size >= LONG_BYTES and self._descriptor is not None and (begin := _beginning()) is not None:
            begin(descriptor, offset, size, _BEGIN)

    def sync(self) -> bool:
        """Make all that has changed since the last time durable; False where that is not sure.

        Then each file must be flushed by itself, and shows which of them cannot be.
        """
        if self._descriptor is None or not self._is_all:
            return False
        try:
            return _unwritten() <= MOST_BYTES and _syncfs(self._descriptor) == 0
        except OSError:
            return False

    def rest(self) -> None:
        """Let go of it until something will change again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._is_all = None, True


def _opened(folder: Path) -> int | None:
    with contextlib.suppress(OSError):
        if is_synced_whole(os.stat(folder).st_dev):  # noqa: PTH116 - the device is what counts
            return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return None


def _unwritten() -> int:
    """How many bytes in memory wait for any disk."""
    said = re.findall(r"^(?:Dirty|Writeback): +(\d+) kB$", _MEMORY.read_text(encoding="ascii"), re.MULTILINE)
    return sum(map(int, said)) * 1024


@functools.lru_cache(maxsize=8)
def is_synced_whole(device: int) -> bool:
    """Whether all of the file system with this device number can be made durable at once, and surely is.

    Raises:
        OSError: that cannot be found out.
    """
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if sys.platform != "linux" or version is None or (int(version[1]), int(version[2])) < _SINCE:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        fields = line.split(" ")
        if fields[2] == number:
            return fields[fields.index("-") + 1] in _PLAIN
    return False


@functools.cache
def _beginning() -> Callable[[int, int, int, int], int] | None:
    if (libc := library(None, "sync_file_range")) is None:
        return None
    import ctypes  # noqa: PLC0415 - it is there by now

    libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return libc.sync_file_range


def _syncfs(descriptor: int) -> int:
    libc = library(None, "syncfs")
    return -1 if libc is None else int(libc.syncfs(descriptor))

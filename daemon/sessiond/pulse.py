"""The clocks of this machine, and the last sign of life, which outlives a process that is killed.

The ledger is written every one to five minutes; in between a few bytes in the folder of the socket, which
is in memory where the system offers that, say how long the process was there.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from contextlib import suppress
from pathlib import Path

from sessiond.process import boot_id
from sessionsync.reliability.ledger import Clocks

# Goes on while the machine sleeps; `time.monotonic` does not (Linux: CLOCK_MONOTONIC, macOS: mach time).
SLEEPLESS = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_SIGN = struct.Struct("<ddd40s")
_SUM = struct.Struct("<I")
_SLOT_BYTES = _SIGN.size + _SUM.size
# Written in turns, so that a write that is cut leaves the one before.
_SLOTS = 2


def read_clocks(boot: str = "") -> Clocks:
    """All clocks, now; `boot` may be left out where readings of one process alone are compared."""
    return Clocks(time.time(), time.monotonic(), time.clock_gettime(SLEEPLESS), boot)


class Pulse:
    """Reads the clocks, and keeps the last reading in `file`.  Any thread may show a sign of life."""

    def __init__(self, file: Path) -> None:
        self.folder = file.parent
        self._boot = boot_id()
        self._turn = 0
        self._descriptor: int | None = None
        self.last = _last(file)
        """The last sign of life of the process before this one; None where there is none."""
        with suppress(OSError):  # a full disk: then the last beat of the ledger is the sign
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def clocks(self) -> Clocks:
        """All clocks, now."""
        return read_clocks(self._boot)

    def show(self) -> None:
        """Leave a sign of life; costs one write into memory."""
        descriptor = self._descriptor
        if descriptor is None:
            return
        now = self.clocks()
        sign = _SIGN.pack(now.wall, now.awake_s, now.boot_s, now.boot.encode())
        self._turn = (self._turn + 1) % _SLOTS
        with suppress(OSError):
            os.pwrite(descriptor, sign + _SUM.pack(zlib.crc32(sign)), self._turn * _SLOT_BYTES)

    def close(self) -> None:
        """No more signs."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _last(file: Path) -> Clocks | None:
    """The newest whole sign in a file."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    found = []
    for start in range(0, _SLOTS * _SLOT_BYTES, _SLOT_BYTES):
        sign, check = data[start : start + _SIGN.size], data[start + _SIGN.size : start + _SLOT_BYTES]
        if len(check) == _SUM.size and _SUM.unpack(check)[0] == zlib.crc32(sign):
            wall, awake_s, boot_s, boot = _SIGN.unpack(sign)
            found.append(Clocks(wall, awake_s, boot_s, boot.rstrip(b"\0").decode()))
    return max(found, key=lambda clocks: clocks.boot_s, default=None)

"""What a process uses, asked from outside.  Linux only."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Used(NamedTuple):
    """What a command took: seconds on the clock, until its first word (or its end) and in all, and of CPU,
    MiB of the largest process, bytes read and written.
    """

    said_s: float
    wall_s: float
    cpu_s: float
    mib: float
    read: int
    written: int


def cpu_s(pid: int) -> float:
    """Seconds of CPU time of all its threads so far, ended ones too: clock_getcpuclockid(3), to the nanosecond."""
    return time.clock_gettime(~pid << 3 | 2)


def tree_cpu_s(pid: int) -> float:
    """The same with all its children, those that run and those that have ended; to a hundredth of a second."""
    running = [pid, *children(pid)]
    spent = 0.0
    for each in running:
        with suppress(OSError):
            spent += cpu_s(each) + sum(map(int, _stat(each)[13:15])) / os.sysconf("SC_CLK_TCK")
    return spent


def children(pid: int) -> list[int]:
    """Its children, and theirs, that run now."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it may have ended since
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name, so that the first is the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def bytes_read(pid: int) -> int:
    """Bytes that its reads have returned so far, from the disk or from memory, sockets and pipes too."""
    return _status(Path(f"/proc/{pid}/io"))["rchar"]


def rss_mib(pid: int) -> float:
    """Resident memory now."""
    return _status(Path(f"/proc/{pid}/status"))["VmRSS"] / 1024


def peak_mib(pid: int) -> float:
    """The most resident memory it ever had."""
    return _status(Path(f"/proc/{pid}/status"))["VmHWM"] / 1024


def wake_ups(pid: int) -> int:
    """How often its threads have slept and were woken so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(_status(task / "status")["voluntary_ctxt_switches"] for task in tasks)


def threads(pid: int) -> int:
    """How many threads it has."""
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())


def descriptors(pid: int) -> int:
    """How many files, sockets and pipes it holds open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _status(file: Path) -> dict[str, int]:
    found = {}
    for line in file.read_text().splitlines():
        name, _, value = line.partition(":")
        number = value.strip().removesuffix(" kB")
        if number.isdecimal():
            found[name] = int(number)
    return found

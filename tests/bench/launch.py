"""Run a command and write what it took: `python -IS launch.py FILE COMMAND …`.

A process of its own, and a small one: the kernel counts to a new process the memory of the one that made it.
"""

from __future__ import annotations

import os
import sys
import time


def main(file: str, *command: str) -> int:
    """Write seconds on the clock, until the first word and in all, and of CPU, KiB of the largest process,
    bytes read and written.

    What its own children did is in it, where it waited for them.  Ends as the command did.
    """
    theirs, ours = os.pipe()
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, ours, 1)])
    os.close(ours)
    said_s = 0.0
    while words := os.read(theirs, 65536):
        said_s = said_s or time.monotonic() - began
        os.write(1, words)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    wall_s = time.monotonic() - began
    with open(f"/proc/{pid}/io") as counts:  # noqa: PTH123 - pathlib is memory
        read, written = (int(line.split()[1]) for line in list(counts)[:2])
    _, status, usage = os.wait4(pid, 0)
    with open(file, "w") as said:  # noqa: PTH123
        print(
            said_s or wall_s,
            wall_s,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss,
            read,
            written,
            file=said,
        )
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

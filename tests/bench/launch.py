"""Run a command and write what it took: `python -IS launch.py FILE COMMAND …`.

A process of its own, and a small one: the kernel counts to a new process the memory of the one that made it.
"""

from __future__ import annotations

import os
import sys
import time


def main(file: str, *command: str) -> int:
    """Write seconds on the clock, seconds of CPU and KiB of the largest process; ends as the command did."""
    began = time.monotonic()
    pid = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.monotonic() - began
    with open(file, "w") as said:  # noqa: PTH123 - pathlib is memory
        print(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, file=said)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

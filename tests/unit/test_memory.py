"""What a process of ours does with memory, by what the system counts of it."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from sessionsync.libraries import library

BLOCKS, BLOCK_BYTES = 50, 8 * 1024 * 1024
PAGES = BLOCKS * BLOCK_BYTES // resource.getpagesize()
PROGRAM = f"""
import resource, sys
from sessiond import memory
if sys.argv[1:]:
    memory.hold()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({BLOCKS}):
    one, other = (bytearray(b"x") * {BLOCK_BYTES} for _ in range(2))
    del one, other
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(library(None, "mallopt") is None, reason="a malloc without settings")
def test_a_block_that_was_freed_is_there_for_the_next_one() -> None:
    faults = [
        int(subprocess.run([sys.executable, "-c", PROGRAM, *hold], capture_output=True, check=True).stdout)
        for hold in ([], ["hold"])
    ]
    assert faults[1] < 4 * PAGES / BLOCKS < PAGES < faults[0]

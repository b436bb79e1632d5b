"""Kills of the real daemon at chosen moments, and a count of what is lost or doubled: a part of `make chaos`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.kills import Kills


def run(kills: int, seed: int) -> bool:
    """Kill it so often; whether anything is lost or doubled."""
    print(f"{kills} kills, seed {seed}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, Kills(Path(folder), seed) as killing:
        try:
            for number in range(1, kills + 1):
                killing.kill()
                if number % 10 == 0:
                    asked = len(killing.gh.requests())
                    print(f"  {number:4} kills, {asked} requests, {time.monotonic() - began:.0f} s")
            killing.check()
        except AssertionError as broken:
            print(f"broken: {broken}")
            return True
        size = sum(map(len, killing.written.values()))
        requests, writes = len(killing.gh.requests()), len(killing.gh.effects())
    print(f"{size} bytes in {len(killing.written)} sessions, {requests} requests, {writes} writes.")
    print(f"Nothing lost, nothing doubled, in {time.monotonic() - began:.0f} s.")
    return False

"""What was counted since the last beat, which outlives a process that is killed.

It is written into the ledger within a minute; until then each count is a line in a file beside the pulse,
with the number of the beat that will write it.  Two files take turns, so that one can go when its beat is
written while the other one already grows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

FILES = ("counted-0", "counted-1")


class Jotter:
    """Such files in a folder.  Any thread may add."""

    def __init__(self, folder: Path) -> None:
        self._files = [folder / name for name in FILES]

    def left(self, beat: int) -> list[tuple[str, str, float]]:
        """What no beat before that one has written: name, source and by how much."""
        return [count for file in self._files for count in _read(file, beat)]

    def add(self, beat: int, name: str, source: str, by: float) -> None:
        """Keep a count until its beat is written; costs one write into memory."""
        line = f"\n{beat}\t{name}\t{source}\t{by!r}\t".encode()  # whole with its last tab
        with suppress(OSError):  # a full disk: then a kill takes along what it does not hold
            file = os.open(
                self._files[beat % 2],
                os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
                0o600,
            )
            try:
                os.write(file, line)
            finally:
                os.close(file)

    def forget(self, beat: int) -> None:
        """All beats before that one are written."""
        with suppress(OSError):
            self._files[(beat + 1) % 2].unlink(missing_ok=True)


def _read(file: Path, beat: int) -> Iterator[tuple[str, str, float]]:
    with suppress(OSError):
        for line in file.read_text("utf-8", "replace").splitlines():
            with suppress(ValueError):  # it was cut
                number, name, source, by, _ = line.split("\t")
                if int(number) >= beat:
                    yield name, source, float(by)

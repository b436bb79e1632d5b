"""What the copies stand on: whether their folders are still those that the daemon wrote into.

Nothing tells of a folder that is removed, or put back from somewhere else, while nobody reads it.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

# Two changes may have one time where a file system's clock is coarse: what is so young is looked at again.
COARSE_NS = 2_500_000_000


class Identity(NamedTuple):
    """What tells a folder from another one of the same name, as far as a file system does."""

    device: int
    inode: int


class Footing:
    """Folders of copies, and those of the projects in them.  For one thread.

    A root is listed when its own stat says that something in it came or went.
    """

    def __init__(self, roots: Iterable[Path]) -> None:
        # by its name in the root, '' for the root itself
        self._known: dict[Path, dict[str, Identity]] = {root: {} for root in roots}
        self._listed: dict[Path, tuple[int, ...]] = {}
        self.lost()

    def lost(self) -> list[Path]:
        """Those that are gone or other ones since the last look, each root before what lies in it.

        Each loss is told once.  Where a root cannot be looked into, nothing is known to be lost.
        """
        lost: dict[Path, None] = {}
        for root, known in self._known.items():
            there = self._there(root, known)
            if there is not known:
                lost |= dict.fromkeys(root / name for name, was in known.items() if there.get(name) != was)
                self._known[root] = there
        return list(lost)

    def _there(self, root: Path, known: dict[str, Identity]) -> dict[str, Identity]:
        """A root and the folders in it; what was `known` where nobody can tell that it has changed."""
        try:
            status = root.stat()
            if self._listed.get(root) == (says := _says(status)):
                return known
            self._listed.pop(root, None)
            there = _look(root, status)
            if time.time_ns() - status.st_mtime_ns > COARSE_NS:
                self._listed[root] = says
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError:
            return known
        return there


def _look(root: Path, status: os.stat_result) -> dict[str, Identity]:
    """A folder, and each folder in it that is no link."""
    found = {"": _identity(status)}
    with os.scandir(root) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    found[entry.name] = _identity(status)
    return found


def _says(status: os.stat_result) -> tuple[int, ...]:
    """What is another number where something in a folder came, went or took another's place."""
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _identity(status: os.stat_result) -> Identity:
    return Identity(status.st_dev, status.st_ino)

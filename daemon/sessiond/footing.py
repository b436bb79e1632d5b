"""What the copies stand on: whether their folders are still those that the daemon wrote into.

Nothing tells of a folder that is removed, or put back from somewhere else, while nobody reads it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Identity(NamedTuple):
    """What tells a folder from another one of the same name, as far as a file system does."""

    device: int
    inode: int


class Footing:
    """Folders of copies, and those of the projects in them.  For one thread."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(roots)
        self._known: dict[Path, Identity] = {}
        self.lost()

    def lost(self) -> list[Path]:
        """Those that are gone or other ones since the last look, each root before what lies in it.

        Each loss is told once.  Where a root cannot be looked into, nothing is known to be lost.
        """
        there: dict[Path, Identity] = {}
        for root in self._roots:
            try:
                there |= _look(root)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                there |= {path: was for path, was in self._known.items() if root in (path, path.parent)}
        lost = [path for path, was in self._known.items() if there.get(path) != was]
        self._known = there
        return lost


def _look(root: Path) -> dict[Path, Identity]:
    """A folder, and each folder in it that is no link."""
    found = {root: _identity(root.stat())}
    with os.scandir(root) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    found[root / entry.name] = _identity(status)
    return found


def _identity(status: os.stat_result) -> Identity:
    return Identity(status.st_dev, status.st_ino)

"""Plain transcripts in the backup folders that this program did not put there, or no longer knows of.

An older backup may have left `<PROJECT>/<SESSION_ID>.jsonl`, alone or in folders of its own; plain copies
outlive a lost state.  They are read, and never changed, moved or removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sessionsync.peek import is_session_id

# How deep below a project older backups are looked for.
DEPTH = 6
ENDING = ".jsonl"


class Stray(NamedTuple):
    """A transcript at `path` in the folder of `project`, last changed `at` (Unix seconds)."""

    project: str
    session_id: str
    path: Path
    size: int
    at: float


def strays(folder: Path, *, depth: int = DEPTH) -> Iterator[Stray]:
    """Every regular file below `folder` that is named like a transcript, without links; sorted by path.

    Folders that begin with a dot and sessions' own folders in a vault are left out.
    """
    for above, folders, names in os.walk(folder):
        here = Path(above)
        inside = here.relative_to(folder).parts
        if "journal" in names and len(inside) == 2:
            folders.clear()
            continue
        folders[:] = (
            sorted(name for name in folders if not name.startswith(".")) if len(inside) < depth else []
        )
        for name in sorted(names):
            stem = name.removesuffix(ENDING)
            if stem == name or not inside or not is_session_id(stem):
                continue
            path = here / name
            try:
                status = path.stat(follow_symlinks=False)
            except OSError:
                continue
            if path.is_file() and not path.is_symlink() and status.st_size:
                yield Stray(inside[0], stem, path, status.st_size, status.st_mtime)

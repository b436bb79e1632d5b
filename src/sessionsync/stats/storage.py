"""How many bytes lie where: the sessions themselves, their copies, the archive and the index."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from sessionsync.catalog import Catalog

AREAS = ("live", "mirror", "vault", "archive", "index")


def live_bytes(catalog: Catalog) -> int:
    """What the agents' own files hold, as far as it was captured."""
    ((size,),) = catalog.store.rows("SELECT coalesce(sum(length), 0) FROM files WHERE deleted_at IS NULL")
    return int(size)


def bytes_below(*places: Path, progress: Callable[[], object] = lambda: None) -> int:
    """The size of files, or of all that lies below folders; what is not there, or goes meanwhile, is none.

    A slow disk may take long: `progress` is told of each folder.
    """
    return sum(map(_size, _files(places, progress)))


def _files(places: Iterable[Path], progress: Callable[[], object]) -> Iterable[str]:
    for place in places:
        if not place.is_dir():
            yield str(place)
            continue
        for folder, _, names in os.walk(place):
            progress()
            for name in names:
                yield f"{folder}/{name}"


def _size(file: str) -> int:
    try:
        return os.lstat(file).st_size
    except OSError:
        return 0

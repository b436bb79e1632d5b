"""A live file, read beside its agent."""

from __future__ import annotations

import os
from pathlib import Path

from sessionsync.vault.journal import Description


def read_live(path: Path, start: int, end: int) -> bytes:
    """Bytes of a live file; none where it is gone, or is a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, end - start, start)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def is_live(said: Description) -> bool:
    """Whether the file that a vault was begun for is there: then some home watches it, and captures it."""
    location = said.meta.get("location")
    return not said.meta.get("adopted") and bool(location) and os.path.lexists(str(location))

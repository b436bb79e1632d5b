"""A live file, read beside its agent."""

from __future__ import annotations

import os
from pathlib import Path


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

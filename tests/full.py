"""A disk that is full, or read-only, below a folder."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest


def full_below(patch: pytest.MonkeyPatch, folder: Path, number: int = errno.ENOSPC) -> None:
    """Let the system refuse to write, and to make files, below a folder."""
    real_open, real_pwrite = os.open, os.pwrite

    def is_below(descriptor: int) -> bool:
        return Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(folder)

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        descriptor = real_open(path, flags, mode, dir_fd=dir_fd)
        if flags & os.O_CREAT and is_below(descriptor):
            os.close(descriptor)
            raise OSError(number, os.strerror(number))
        return descriptor

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if is_below(descriptor):
            raise OSError(number, os.strerror(number))
        return real_pwrite(descriptor, data, offset)

    patch.setattr(os, "open", opened)
    patch.setattr(os, "pwrite", pwrite)

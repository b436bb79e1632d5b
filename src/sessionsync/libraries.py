"""Functions of C libraries that Python itself does not offer."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctypes import CDLL


@functools.cache
def library(file: str | None, *functions: str) -> CDLL | None:
    """A shared library that has these functions, this process's own for None.

    None where it lacks one, or where Python may not call any, as where a service is hardened: then whoever
    asks does without.  `ctypes` takes a megabyte, so it is imported here, for those who ask.
    """
    try:
        import ctypes  # noqa: PLC0415 - see above

        found = ctypes.CDLL(file)
        for name in functions:
            getattr(found, name)
    except (OSError, AttributeError, ImportError, MemoryError):
        return None
    return found

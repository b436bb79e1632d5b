"""A version's bytes, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

BLOCK_BYTES = 1024 * 1024
"""How much of a file is in memory at once."""


class Source(Protocol):
    """A file's bytes, to be read anywhere and again."""

    @property
    def size(self) -> int:
        """How many there are."""

    def read(self, start: int, end: int) -> Iterable[bytes]:
        """Bytes [start, end), in pieces of any length."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.data)

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Bytes [start, end)."""
        yield self.data[start:end]


def whole(source: Source) -> bytes:
    """All bytes of a source."""
    return b"".join(source.read(0, source.size))


def equal(one: Source, two: Source) -> bool:
    """Whether two sources have the same bytes."""
    if one.size != two.size:
        return False
    for start in range(0, one.size, BLOCK_BYTES):
        end = min(start + BLOCK_BYTES, one.size)
        if b"".join(one.read(start, end)) != b"".join(two.read(start, end)):
            return False
    return True

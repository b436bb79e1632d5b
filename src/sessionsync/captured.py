"""Captured files, read on from where somebody has read them to, as the search index and the numbers are.

Bytes come from the plain copy, and from the vault where that lacks them; what a file was before it was cut or
written anew comes from the vault alone, as far as that keeps it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sessionsync.catalog import File, Session
from sessionsync.sources.lines import LINE_BYTES
from sessionsync.vault import Mirror, SessionVault, Vault

# What is read at once of a transcript: then others have their turn.
BLOCK_BYTES = 4 * 1024 * 1024
# What is read at once to find where a line begins.
LOOK_BYTES = 64 * 1024

Block = tuple[int, bytes]
"""Bytes and the offset at which they begin; they end on a line, if those end."""


Read = Callable[[int, int], bytes]
"""Gives the bytes [begin, end) of something."""


@dataclass(frozen=True, slots=True)
class Life:
    """What a file was before, in this `generation`."""

    generation: int
    blocks: Callable[[int | None], Iterator[Block]]
    """Its bytes from an offset on; for None from the first line on that the generation before has not."""


class Captured:
    """The copies of a home, for reading.  Any thread may have one of its own."""

    def __init__(self, mirror: Mirror, vault: Vault) -> None:
        self._mirror = mirror
        self._vault = vault

    def blocks(self, session: Session, file: File, start: int) -> Iterator[Block]:
        """The whole lines behind `start` of a file that grows by lines.

        Raises:
            CopyError: they cannot be read now.
        """
        yield from blocks_of(lambda begin, end: self._read(session, file, begin, end), start, file.read_to)

    def whole(self, session: Session, file: File) -> bytes:
        """All of a file.

        Raises:
            CopyError: it cannot be read now.
        """
        return self._read(session, file, 0, file.length)

    def pieces(self, session: Session, file: File) -> Iterator[bytes]:
        """All of a file, also a last line that is not whole yet, a block at a time.

        Raises:
            CopyError: it cannot be read now.
        """
        for begin in range(0, file.length, BLOCK_BYTES):
            yield self._read(session, file, begin, min(begin + BLOCK_BYTES, file.length))

    def lives(self, session: Session, file: File) -> Iterator[Life]:
        """What a file was before it was cut or written anew, as the vault keeps it, the oldest first."""
        stored = self._vault.open(session.project or "unknown", session.stored_as)
        for generation in range(file.generation):
            fold = stored.fold()
            life = fold.generations.get((file.name, generation))
            if life is None:
                continue
            read = partial(_read_life, stored, file.name, generation)
            yield Life(generation, partial(_blocks_from, read, life.shared, life.reach(fold.line)))

    def own_from(self, session: Session, file: File) -> int:
        """Where the first line begins that is not one of the file's generation before: 0 in the first one.

        Raises:
            CopyError: it cannot be read now.
        """
        return line_at(lambda begin, end: self._read(session, file, begin, end), file.forked_at)

    def path_of(self, session: Session, file: File) -> Path:
        """Where the plain copy of a file lies."""
        return self._mirror.path_of(session.project or "unknown", session.stored_as, file.name)

    def _read(self, session: Session, file: File, begin: int, end: int) -> bytes:
        data = b"" if file.is_rewritten else self._mirror.read(self.path_of(session, file), begin, end)
        if len(data) == end - begin:
            return data
        stored = self._vault.open(session.project or "unknown", session.stored_as)
        return b"".join(stored.read(file.name, file.generation, end, start=begin))


def _read_life(stored: SessionVault, name: str, generation: int, begin: int, end: int) -> bytes:
    return b"".join(stored.read(name, generation, end, start=begin))


def _blocks_from(read: Read, shared: int, end: int, start: int | None) -> Iterator[Block]:
    yield from blocks_of(read, line_at(read, shared) if start is None else start, end)


def line_at(read: Read, offset: int) -> int:
    """Where the line begins that has the byte at `offset`: two lines of JSON begin alike."""
    end = offset
    while end > 0:
        begin = max(0, end - LOOK_BYTES)
        if (newline := read(begin, end).rfind(b"\n")) >= 0:
            return begin + newline + 1
        end = begin
    return 0


def blocks_of(read: Read, start: int, end: int) -> Iterator[Block]:
    """The bytes [start, end) of a file in blocks that end on lines, if those end, each with its offset.

    It ends early where nothing more can be read: an agent's own file may be cut at any time.
    """
    while start < end:
        size = BLOCK_BYTES
        data = read(start, min(start + size, end))
        while start + len(data) < end and size < LINE_BYTES and b"\n" not in data:
            size *= 2
            data = read(start, min(start + size, end))
        if not data:
            return
        if start + len(data) < end:
            data = data[: data.rfind(b"\n") + 1] or data
        yield start, data
        start += len(data)

"""What is in the archive as older rules of the privacy gate have let it through.

What is encrypted has passed no rules, and is none of it; what was there in clear before is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from sessionsync.errors import ArchiveUnreadable
from sessionsync.remote.archive import refs
from sessionsync.remote.archive.cache import Cache
from sessionsync.remote.archive.ledger import Branch, FileState, Ledger
from sessionsync.remote.archive.reader import Head, Reader
from sessionsync.remote.archive.tree import (
    BLOB_BYTES,
    Line,
    damaged,
    decode_page,
    page_path,
    segment_path,
    unpack,
)


class Pushed:
    """Reads what this machine has committed; nothing is fetched."""

    def __init__(self, cache: Cache, ledger: Ledger, reader: Reader) -> None:
        self._cache = cache
        self._ledger = ledger
        self._reader = reader

    def under_other_rules(self, session: int, rules: str) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The files of a session of which something went through other rules than these, and that part.

        A part begins and ends with whole segments, which may hold lines of the neighbouring part.

        Raises:
            CopyMismatch: the local copy lacks some of it, or it is damaged; while it is read.
        """
        branch = self._ledger.branch(session)
        if branch is None or not branch.pushed:
            return
        files = self._ledger.files(session)
        if any(state.sealed for state in files.values()):
            yield from self._in_clear(branch)
            return
        for name, state in sorted(files.items()):
            parts = list(_other(state, rules))
            if parts:
                yield name, self._bytes(branch.tip, state, parts)

    def _in_clear(self, branch: Branch) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The files of the newest commit that can be read without an identity, whatever rules they are of."""
        place = refs.parse(branch.ref)
        if place is None:
            return
        try:
            version = self._reader.versions(Head(place, branch.tip))[-1]
        except ArchiveUnreadable:
            return
        for file in version.files():
            yield file.name, version.read(file)

    def _bytes(self, tip: str, state: FileState, parts: list[tuple[int, int]]) -> Iterator[bytes]:
        name = state.entry.name
        for page in range(state.entry.pages):
            for line in decode_page(self._read(f"{tip}:{page_path(state.entry.number, page)}", name), name):
                if any(line.offset < end and line.end > start for start, end in parts):
                    yield self._segment(tip, line, name)

    def _segment(self, tip: str, line: Line, name: str) -> bytes:
        return unpack(self._read(f"{tip}:{segment_path(line.segment)}", name), line, name)

    def _read(self, path: str, name: str) -> bytes:
        data = self._cache.read(path, at_most=BLOB_BYTES)
        if data is None:
            raise damaged(name)
        return data


def _other(state: FileState, rules: str) -> Iterator[tuple[int, int]]:
    """From where to where other rules were in force; also where it is not known which."""
    searched = (
        state.searched if state.searched[:1] and not state.searched[0][0] else [(0, ""), *state.searched]
    )
    for (start, of), (end, _) in pairwise([*searched, (state.entry.length, "")]):
        if of != rules and start < end:
            yield start, end

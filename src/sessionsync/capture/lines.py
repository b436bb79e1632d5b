"""Blocks of a growing file as whole lines."""

from __future__ import annotations

from sessionsync.catalog import File
from sessionsync.model import Mark, Summary
from sessionsync.sources import Source
from sessionsync.sources.lines import LINE_BYTES


class Lines:
    """Cuts appended blocks into whole lines for the source, and moves `file.read_to` behind them."""

    def __init__(self, source: Source, summary: Summary, file: File) -> None:
        self._source = source
        self._summary = summary
        self._file = file
        self._rest: list[bytes] = []

    def begin(self, rest: bytes) -> None:
        """Go on behind the beginning of a line that is read already."""
        self._rest = [rest]

    def feed(self, block: bytes) -> list[Mark]:
        """Read the lines that `block` completes.

        A last line without its newline waits, also where it looks whole: another may be glued to it, and
        a checkpoint behind it must not depend on where the bytes were split.
        """
        self._rest.append(block)
        if b"\n" not in block and sum(map(len, self._rest)) <= LINE_BYTES:
            return []  # in pieces: a huge line is put together once
        data = b"".join(self._rest)
        end = data.rfind(b"\n") + 1
        if len(data) - end > LINE_BYTES:
            end = len(data)
        self._rest = [data[end:]]
        if not end:
            return []
        start, self._file.read_to = self._file.read_to, self._file.read_to + end
        return self._source.follow(self._summary, self._file.name, data[:end], start)

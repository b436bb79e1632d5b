"""Blocks of a growing file as whole lines."""

from __future__ import annotations

from sessionsync.catalog import File
from sessionsync.linewise import Linewise
from sessionsync.model import Mark, Summary
from sessionsync.sources import Source
from sessionsync.sources.lines import LINE_BYTES


class Lines:
    """Cuts appended blocks into whole lines for the source, and moves `file.read_to` behind them.

    They are followed, or only skimmed.
    """

    def __init__(self, source: Source, summary: Summary, file: File, *, skims: bool = False) -> None:
        self._read = source.skim if skims else source.follow
        self._summary = summary
        self._file = file
        self._cut = Linewise()
        self._before = b""

    def begin(self, rest: bytes) -> None:
        """Go on behind the beginning of a line that is read already."""
        self._before = self._cut.feed(rest)

    def feed(self, block: bytes) -> list[Mark]:
        """Read the lines that `block` completes.

        A last line without its newline waits, also where it looks whole: another may be glued to it, and
        a checkpoint behind it must not depend on where the bytes were split.
        """
        whole = self._cut.feed(block)
        if self._before:
            whole, self._before = self._before + whole, b""
        if self._cut.size > LINE_BYTES:
            whole += self._cut.rest()
        if not whole:
            return []
        start, self._file.read_to = self._file.read_to, self._file.read_to + len(whole)
        return self._read(self._summary, self._file.name, whole, start)

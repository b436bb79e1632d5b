"""Blocks of bytes cut behind whole lines.

What begins a line waits in pieces and is joined once: joined to each next block again, a line of n blocks
would cost n squared.
"""

from __future__ import annotations


class Linewise:
    """Takes blocks in the order in which they lie, gives back whole lines."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0
        """How many bytes wait for the end of their line."""

    def feed(self, block: bytes) -> bytes:
        """The lines that `block` completes, with all that waited for them; b"" where it ends none."""
        end = block.rfind(b"\n") + 1
        if not end:
            self._wait(block)
            return b""
        if end == len(block) and not self._pieces:
            return block  # which is how files are mostly read
        whole = b"".join([*self._pieces, memoryview(block)[:end]])
        self._pieces, self.size = [], 0
        self._wait(block[end:])
        return whole

    def rest(self) -> bytes:
        """What waits, and waits no longer: the beginning of a line."""
        rest = b"".join(self._pieces)
        self.drop()
        return rest

    def drop(self) -> None:
        """Let go of what waits, which costs no copy of it."""
        self._pieces, self.size = [], 0

    def _wait(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            self.size += len(piece)

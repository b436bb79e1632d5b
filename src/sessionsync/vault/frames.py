"""The frames of one pack, read and checked."""

from __future__ import annotations

from collections.abc import Iterable

from sessionsync.vault.folder import read_at
from sessionsync.vault.journal import Segment
from sessionsync.vault.pack import Damaged, Unpacker


class Frames:
    """The frames in the pack open at `descriptor`; None for a pack that is not there."""

    def __init__(self, descriptor: int | None, unpacker: Unpacker) -> None:
        self._descriptor = descriptor
        self._unpacker = unpacker

    def packed(self, segment: Segment) -> bytes:
        """A segment's frame as it lies there, sound or not; shorter where the pack ends before.

        Raises:
            OSError: it cannot be read.
        """
        if self._descriptor is None:
            return b""
        return read_at(self._descriptor, segment.at, segment.packed_end)

    def unpack(self, segment: Segment) -> bytes | None:
        """A segment's bytes; None where the frame is not what was stored."""
        try:
            return self.opened(self.packed(segment), segment)
        except OSError:
            return None

    def twin(self, segment: Segment, others: Iterable[Segment]) -> tuple[Segment, bytes] | None:
        """The first of others that holds a damaged segment's bytes, as it was stored again, and those."""
        for other in others:
            data = self.unpack(other) if other is not segment else None
            if data is not None and segment.is_of(data):
                return other, data
        return None

    def unproven(self, segment: Segment) -> bytes | None:
        """The bytes in a segment's frame, not compared with its hash; None where they cannot be unpacked.

        They may be others: whoever takes them has to prove them.
        """
        try:
            return self._unpacker.unpack(self.packed(segment), segment.length)
        except (Damaged, OSError):
            return None

    def opened(self, frame: bytes, segment: Segment) -> bytes | None:
        """The bytes in a segment's frame; None where they are not what was stored."""
        try:
            data = self._unpacker.unpack(frame, segment.length)
        except Damaged:
            return None
        return data if segment.is_of(data) else None

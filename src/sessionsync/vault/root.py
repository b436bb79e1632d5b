"""The identity of a file that grows: a Merkle tree whose state can be stored.

The tree is that of RFC 6962, section 2.1, over leaves of 64 KiB: a leaf hashes to
`SHA-256(00 | bytes)`, a node to `SHA-256(01 | left | right)`, the left subtree is the largest full
one, and the root of nothing is `SHA-256("")`.  Only the last leaf may be shorter.

Python's running SHA-256 cannot be stored and continued; this can.  The state is the size and the roots of
the full subtrees, the *peaks*, one for each bit set in the number of whole leaves:

                    o  peak of 4 leaves
                ┌───┴───┐
                o       o           o  peak of 2
              ┌─┴─┐   ┌─┴─┐       ┌─┴─┐
              ▒   ▒   ▒   ▒       ▒   ▒   ░  the partial leaf, read again to continue

So the cost of an append is that of its bytes and of at most one leaf, whatever the size, and two
versions of a file have the same root exactly when they are the same bytes.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence
from typing import Self

# The beginning of every leaf.
_LEAF = hashlib.sha256(b"\0")


class Root:
    """The root of the bytes fed so far, however they were split."""

    LEAF_BYTES = 64 * 1024

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []
        self._leaf = _LEAF.copy()
        # bytes of the last leaf that are not hashed yet: most appends close none, and then nobody asks
        self._behind = bytearray()

    @classmethod
    def resume(cls, size: int, peaks: Iterable[str], partial: bytes) -> Self:
        """Continue at `size`: `peaks` as stored, `partial` the bytes behind the last whole leaf.

        Raises:
            ValueError: they do not belong together.
        """
        root = cls()
        root._peaks = [bytes.fromhex(peak) for peak in peaks]
        leaves, rest = divmod(size, cls.LEAF_BYTES)
        if len(root._peaks) != leaves.bit_count() or len(partial) != rest:
            raise ValueError(f"{len(root._peaks)} peaks and {len(partial)} bytes are no state at size {size}")
        root._behind += partial
        root.size = size
        return root

    @property
    def peaks(self) -> list[str]:
        """The roots of the full subtrees, largest first, in hex: what to store beside `size`."""
        return [peak.hex() for peak in self._peaks]

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take in the next bytes."""
        view, at = memoryview(data), 0
        while at < len(view):
            part = view[at : at + self.LEAF_BYTES - self.size % self.LEAF_BYTES]
            self.size += len(part)
            at += len(part)
            if self._behind:
                self._behind += part
            else:
                self._leaf.update(part)
            if self.size % self.LEAF_BYTES == 0:
                self._close_leaf()

    def hexdigest(self) -> str:
        """The root of everything fed so far."""
        if not self.size:
            return hashlib.sha256().hexdigest()
        subtrees = list(self._peaks)
        if self.size % self.LEAF_BYTES:
            subtrees.append(self._digest())
        return _joined(subtrees).hex()

    def copy(self) -> Self:
        """An independent root that goes on from here."""
        other = copy.copy(self)
        other._peaks, other._leaf = self._peaks.copy(), self._leaf.copy()  # noqa: SLF001 - its own kind
        other._behind = self._behind.copy()  # noqa: SLF001 - as above
        return other

    def _digest(self) -> bytes:
        """The last leaf's hash."""
        if self._behind:
            self._leaf.update(self._behind)
            self._behind.clear()
        return self._leaf.digest()

    def _close_leaf(self) -> None:
        # like a carry in binary: two subtrees of the same height become one
        root, whole = self._digest(), self.size // self.LEAF_BYTES
        while whole % 2 == 0:
            root, whole = _node(self._peaks.pop(), root), whole // 2
        self._peaks.append(root)
        self._leaf = _LEAF.copy()


def root_of(data: bytes | bytearray) -> str:
    """The root of all these bytes."""
    root = Root()
    root.update(data)
    return root.hexdigest()


def _joined(subtrees: Sequence[bytes]) -> bytes:
    """The root above subtrees of falling height."""
    *others, root = subtrees
    for left in reversed(others):
        root = _node(left, root)
    return root


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()

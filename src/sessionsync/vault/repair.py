"""Damaged bytes, healed from another copy that proves that it still has them.

What is proof: the SHA-256 of the segment that is damaged; where nothing is left of it, the root of a
checkpoint, or of the plain copy, computed over all the bytes of the copy that offers them.  Nothing is
invented, and nothing that is damaged is deleted: a vault's bytes are stored again behind the damaged
ones, a plain copy's damaged bytes and a damaged journal are kept in files beside them.

    damaged      healed from                                             proof
    vault        plain copy, what was set aside of it, live file, others  SHA-256 of the segment, or root
    plain copy   vault, live file, others                                 the vault's own, or root and end
    journal      itself, where one bit of a line has changed              CRC-32 of the line
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sessionsync.errors import CopyError
from sessionsync.model import checkpoint_id
from sessionsync.vault.folder import Folder, read_at, sync, translated, write_at
from sessionsync.vault.mend import patches
from sessionsync.vault.mirror import Mirror
from sessionsync.vault.pack import FRAME_BYTES
from sessionsync.vault.plan import ALL, statements
from sessionsync.vault.root import Root
from sessionsync.vault.session import SessionVault
from sessionsync.vault.verify import JOURNAL, MIRROR, TAIL_BYTES, VAULT, Bad, Expected

Reader = Callable[[str, int, int], bytes]
"""Bytes [start, end) of a file by its name, fewer or none where it has not so many."""


@dataclass(frozen=True, slots=True)
class Cure:
    """Bytes that belong at `start` of a file in `store`, and which copy had them."""

    store: str
    name: str
    generation: int
    start: int
    data: bytes
    source: str

    @property
    def end(self) -> int:
        """Where they end."""
        return self.start + len(self.data)


class Repair:
    """Finds what heals the damage of one session.  Reads only; `apply` belongs to the writer's thread.

    `others` are further copies by their names, asked in this order: the live file first.
    """

    def __init__(
        self,
        vault: SessionVault,
        mirror: Mirror,
        expected: Iterable[Expected],
        others: Mapping[str, Reader],
    ) -> None:
        self._vault = vault
        self._mirror = mirror
        self._expected = {file.name: file for file in expected}
        self._others = others
        self._proofs: dict[tuple[str, str, int, str], bool] = {}

    def cures(self, bad: Bad) -> Iterator[Cure]:
        """What heals this damage, as far as anything does."""
        if bad.name == JOURNAL and not bad.end:
            return
        if bad.store == MIRROR:
            yield from self._of_mirror(bad)
        elif bad.segment is not None:
            segment = bad.segment
            for source, read in self._copies(bad.name):
                data = _read(read, bad.name, segment.offset, segment.end)
                if len(data) == segment.length and segment.is_of(data):
                    yield Cure(VAULT, bad.name, bad.generation, segment.offset, data, source)
                    return
        else:
            yield from self._of_gap(bad)

    def _of_gap(self, bad: Bad) -> Iterator[Cure]:
        for source, read in self._copies(bad.name):
            if any(self._proven(source, read, bad.name, *proof) for proof in self._proofs_of(bad)):
                yield from self._pieces(VAULT, bad, bad.start, bad.end, source, read)
                return

    def _of_mirror(self, bad: Bad) -> Iterator[Cure]:
        file = self._expected[bad.name]
        generation, stored = self._vault.stored(bad.name)
        upto = min(bad.end, stored) if generation == bad.generation else bad.start
        position = bad.start
        for begin in range(bad.start, upto, FRAME_BYTES):
            end = min(begin + FRAME_BYTES, upto)
            try:
                data = b"".join(self._vault.read(bad.name, bad.generation, end, begin))
            except CopyError:
                break
            yield Cure(MIRROR, bad.name, bad.generation, begin, data, VAULT)
            position = end
        if position < bad.end:
            for source, read in self._others.items():
                if self._proven(source, read, bad.name, file.length, file.peaks):
                    yield from self._pieces(MIRROR, bad, position, bad.end, source, read)
                    return

    @staticmethod
    def _pieces(store: str, bad: Bad, start: int, end: int, source: str, read: Reader) -> Iterator[Cure]:
        for begin in range(start, end, FRAME_BYTES):
            data = _read(read, bad.name, begin, min(begin + FRAME_BYTES, end))
            yield Cure(store, bad.name, bad.generation, begin, data, source)

    def _copies(self, name: str) -> Iterator[tuple[str, Reader]]:
        """Everybody who may have bytes of a file that the vault has lost."""
        path = self._mirror.path_of(self._vault.project, self._vault.ref, name)

        def plain(_name: str, start: int, end: int) -> bytes:
            return self._mirror.read(path, start, end)

        yield MIRROR, plain
        before: Reader = plain
        for aside, offset in self._mirror.asides(path):  # from one cut back to the one before it
            before = self._joined(before, aside, offset)
            yield aside.name, before
        yield from self._others.items()

    def _joined(self, then: Reader, aside: Path, offset: int) -> Reader:
        """The file as it was before its bytes from `offset` on were set aside; `then` is as it was after."""

        def read(name: str, start: int, end: int) -> bytes:
            kept = then(name, start, min(end, offset)) if start < offset else b""
            cut = self._mirror.read(aside, max(start - offset, 0), end - offset) if end > offset else b""
            return kept + cut

        return read

    def _proofs_of(self, bad: Bad) -> Iterator[tuple[int, str | tuple[str, ...]]]:
        """Lengths and roots that bytes in a gap would have to fit."""
        for name, generation, length, root in statements(self._vault.fold(), {}):
            if (name, generation) == (bad.name, bad.generation) and length >= bad.end and length != ALL:
                yield length, root
        file = self._expected.get(bad.name)
        if file is not None and file.generation == bad.generation and file.length >= bad.end:
            yield file.length, file.peaks

    def _proven(
        self, source: str, read: Reader, name: str, length: int, proof: str | tuple[str, ...]
    ) -> bool:
        """Whether the bytes before `length` have this root, or these peaks and the end that was captured."""
        key = source, name, length, str(proof)
        if key not in self._proofs:
            root = Root()
            while root.size < length:
                data = _read(read, name, root.size, min(root.size + FRAME_BYTES, length))
                if not data:
                    break
                root.update(data)
            if isinstance(proof, str):
                self._proofs[key] = root.size == length and root.hexdigest() == proof
            else:
                end = _read(read, name, max(0, length - TAIL_BYTES), length)
                tail = self._expected[name].tail
                self._proofs[key] = (
                    root.size == length
                    and tuple(root.peaks) == proof
                    and hashlib.sha256(end).hexdigest() == tail
                )
        return self._proofs[key]


def apply(cure: Cure, vault: SessionVault, mirror: Mirror, path: Path, at: float) -> Path | None:
    """Put it where it belongs, in the writer's thread; returns where damaged bytes of a plain copy went.

    Raises:
        CopyError: it could not be written or verified.
    """
    if cure.store == VAULT:
        vault.append(cure.name, cure.generation, cure.start, cure.data)
        return None
    if mirror.read(path, cure.start, cure.end) == cure.data:
        return None
    return mirror.mend(path, cure.start, cure.data, at)


def mend_journal(tree: Folder, folder: Path, at: float) -> int:
    """Turn back the bits that changed in a journal, which is first kept as it is; returns how many.

    Raises:
        CopyError: it could not be read or written.
    """
    file = folder / JOURNAL
    with translated(file), tree.writing(file) as descriptor:
        content = read_at(descriptor, 0, os.fstat(descriptor).st_size)
        found = list(patches(content))
        if found:
            with tree.writing(folder / f"damaged-journal-{checkpoint_id(at)}") as aside:
                os.ftruncate(aside, 0)
                write_at(aside, 0, content)
                sync(aside)
            for position, value in found:
                write_at(descriptor, position, bytes([value]))
            sync(descriptor)
            tree.flush()
        return len(found)


def _read(read: Reader, name: str, start: int, end: int) -> bytes:
    try:
        return read(name, start, end)
    except (CopyError, OSError):
        return b""

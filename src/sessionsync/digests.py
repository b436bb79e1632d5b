"""Hashes of files as a record lists them: of the bytes on disk, or of what redaction leaves of them.

A hash of unredacted text never leaves the machine where redaction changed the file: short secrets
could be guessed.  Hashes run on over what was appended, also after a start, as they are put down in the
state.  Where a hash cannot be put down, the first record of a file after a start hashes it once.  What held
no secret is not searched again then, nor unpacked and verified: the plain copy has these bytes if it has
their hash.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from sessionsync.catalog import Session
from sessionsync.errors import CopyError
from sessionsync.linewise import Linewise
from sessionsync.model import FileEntry
from sessionsync.privacy.gate import Gate
from sessionsync.sha256 import Sha256, begun, put_down, taken_up
from sessionsync.store import Store
from sessionsync.vault import Mirror, SessionVault, StoredFile

# What is read of a copy at once: it is hashed while it stays in the processor's cache.
BLOCK_BYTES = 256 * 1024
# Running hashes are kept of so many files, those asked for last, and of one generation of each.
KEPT = 256


@dataclass(frozen=True, slots=True)
class Digest:
    """A file's entry in the record, and how many secrets were taken out of it."""

    entry: FileEntry
    redactions: int


@dataclass(slots=True)
class _Running:
    """The hash of the whole lines up to `length` as they may leave, and how many secrets that takes out."""

    length: int = 0
    redactions: int = 0
    sha256: Sha256 = field(default_factory=begun)

    def take(self, data: bytes, cleared: bytes, redactions: int) -> None:
        self.sha256.update(cleared)
        self.length += len(data)
        self.redactions += redactions

    def digest(self, gate: Gate, name: str, rest: bytes) -> Digest:
        """The digest of these lines and the torn end of another; it stays as it is."""
        final = _Running(self.length, self.redactions, self.sha256.copy())
        if rest:
            final.take(rest, *gate.data(name, rest))
        sha256, is_exact = final.sha256.hexdigest(), final.redactions == 0
        return Digest(
            FileEntry(
                path=name,
                size=final.length,
                sha256=sha256 if is_exact else None,
                stored_sha256=msgspec.UNSET if is_exact else sha256,
            ),
            final.redactions,
        )


class _Known(NamedTuple):
    """A running hash as it was last written down; `state` is b"" where it could not be put down."""

    length: int = 0
    redactions: int = 0
    sha256: str = ""
    state: bytes = b""

    @property
    def clean_to(self) -> int:
        """Up to where it is known that nothing was to be taken out."""
        return 0 if self.redactions else self.length

    def taken_up(self) -> _Running | None:
        sha256 = taken_up(self.state, self.sha256)
        return None if sha256 is None else _Running(self.length, self.redactions, sha256)


def digest_of(gate: Gate, name: str, blocks: Iterable[bytes]) -> Digest:
    """The digest of a file that is not in this machine's vault.

    Raises:
        RedactionFailed: the privacy gate could not judge it.
    """
    running, lines = _Running(), Linewise()
    for block in blocks:
        if whole := lines.feed(block):
            running.take(whole, *gate.data(name, whole))
    return running.digest(gate, name, lines.rest())


class Digests:
    """Digests of stored files.  Call it from one thread."""

    def __init__(self, store: Store, gate: Gate, mirror: Mirror) -> None:
        self._store = store
        self._gate = gate
        self._mirror = mirror
        self._rules = gate.rules
        self._running: OrderedDict[tuple[int, str], tuple[int, _Running]] = OrderedDict()

    def of(self, session: Session, vault: SessionVault, file: StoredFile) -> Digest:
        """The digest of a file as a checkpoint holds it.

        Raises:
            CopyMismatch: the vault's bytes are not what was stored.
            RedactionFailed: the privacy gate could not judge them.
        """
        key = (session.id, file.name, file.generation)
        generation, running = self._running.pop(key[:2], (0, None))
        known = self._known(key)
        if running is None or generation != file.generation or running.length > file.length:
            running = self._go_on(session, file, known)
        lines = Linewise()
        for chunk in vault.read(
            file.name, file.generation, file.length, start=running.length, root=file.root
        ):
            whole = lines.feed(chunk)
            if running.length + len(whole) <= known.clean_to:
                running.take(whole, whole, 0)
            elif whole:
                running.take(whole, *self._gate.data(file.name, whole))
        self._running[key[:2]] = file.generation, running
        if len(self._running) > KEPT:
            self._running.popitem(last=False)
        self._remember(key, known, running)
        return running.digest(self._gate, file.name, lines.rest())

    def _go_on(self, session: Session, file: StoredFile, known: _Known) -> _Running:
        """The hash from where it was written down, of a file that is as long by now; else from nothing."""
        if known.length > file.length:
            return _Running()
        return known.taken_up() or self._of_copy(session, file.name, known) or _Running()

    def _of_copy(self, session: Session, name: str, known: _Known) -> _Running | None:
        """The hash of the first bytes of the plain copy; None where it is not the one that is known."""
        running = _Running()
        with suppress(CopyError):  # the vault has them as well
            path = self._mirror.path_of(session.project or "unknown", session.stored_as, name)
            for block in self._mirror.blocks(path, known.clean_to, BLOCK_BYTES):
                running.take(block, block, 0)
        return running if running.sha256.hexdigest() == known.sha256 else None

    def _known(self, key: tuple[int, str, int]) -> _Known:
        """How far the hash of a file was under the same rules."""
        row = self._store.row(
            "SELECT length, redactions, sha256, state FROM digests"
            " WHERE session = ? AND name = ? AND generation = ? AND rules = ?",
            (*key, self._rules),
        )
        return _Known(*row) if row else _Known()

    def _remember(self, key: tuple[int, str, int], known: _Known, running: _Running) -> None:
        state = put_down(running.sha256)
        now = _Known(running.length, running.redactions, running.sha256.hexdigest(), state)
        # what had secrets is of no use without its state: the plain copy is not what was hashed
        if now != known and (state or not running.redactions):
            self._store.execute(
                "INSERT OR REPLACE INTO digests"
                " (session, name, generation, rules, length, redactions, sha256, state)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*key, self._rules, *now),
            )

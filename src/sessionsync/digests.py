"""Hashes of files as a record lists them: of the bytes on disk, or of what redaction leaves of them.

A hash of unredacted text never leaves the machine where redaction changed the file: short secrets
could be guessed.  Hashes run on over what was appended; a running SHA-256 cannot be stored, so the
first record of a file after a start hashes it once.  What held no secret is not searched again, nor
unpacked and verified: its hash was stored, and the plain copy has these bytes if it has that hash.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from sessionsync.catalog import Session
from sessionsync.errors import CopyError
from sessionsync.linewise import Linewise
from sessionsync.model import FileEntry
from sessionsync.privacy.gate import Gate
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
    """Hashes of the whole lines up to `length`; `redacted` is None while nothing was taken out."""

    length: int = 0
    plain: hashlib._Hash = field(default_factory=hashlib.sha256)
    redacted: hashlib._Hash | None = None
    redactions: int = 0

    def take(self, data: bytes, cleared: bytes, redactions: int) -> None:
        if redactions and self.redacted is None:
            self.redacted = self.plain.copy()
        self.plain.update(data)
        if self.redacted is not None:
            self.redacted.update(cleared)
        self.length += len(data)
        self.redactions += redactions

    def digest(self, gate: Gate, name: str, rest: bytes) -> Digest:
        """The digest of these lines and the torn end of another; it stays as it is."""
        redacted = self.redacted.copy() if self.redacted is not None else None
        final = _Running(self.length, self.plain.copy(), redacted, self.redactions)
        if rest:
            final.take(rest, *gate.data(name, rest))
        return Digest(
            FileEntry(
                path=name,
                size=final.length,
                sha256=None if final.redactions else final.plain.hexdigest(),
                stored_sha256=final.redacted.hexdigest() if final.redacted is not None else msgspec.UNSET,
            ),
            final.redactions,
        )


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
        clean_to, sha256 = self._clean_to(key)
        if running is None or generation != file.generation or running.length > file.length:
            running = self._of_copy(session, file.name, clean_to, sha256) if clean_to <= file.length else None
        if running is None:
            running = _Running()
        lines = Linewise()
        for chunk in vault.read(
            file.name, file.generation, file.length, start=running.length, root=file.root
        ):
            whole = lines.feed(chunk)
            if running.redacted is None and running.length + len(whole) <= clean_to:
                running.take(whole, whole, 0)
            elif whole:
                running.take(whole, *self._gate.data(file.name, whole))
        self._running[key[:2]] = file.generation, running
        if len(self._running) > KEPT:
            self._running.popitem(last=False)
        if running.redactions == 0:
            self._remember_clean(key, running)
        return running.digest(self._gate, file.name, lines.rest())

    def _of_copy(self, session: Session, name: str, length: int, sha256: str) -> _Running | None:
        """The hash of the first bytes of the plain copy, to be continued; None where it is not this one."""
        running = _Running()
        with suppress(CopyError):  # the vault has them as well
            path = self._mirror.path_of(session.project or "unknown", session.stored_as, name)
            for block in self._mirror.blocks(path, length, BLOCK_BYTES):
                running.take(block, block, 0)
        return running if running.plain.hexdigest() == sha256 else None

    def _clean_to(self, key: tuple[int, str, int]) -> tuple[int, str]:
        """Up to where nothing was to be taken out, under the same rules, and the hash of that."""
        row = self._store.row(
            "SELECT clean_to, sha256 FROM digests"
            " WHERE session = ? AND name = ? AND generation = ? AND rules = ?",
            (*key, self._rules),
        )
        return (int(row[0]), str(row[1])) if row else (0, "")

    def _remember_clean(self, key: tuple[int, str, int], running: _Running) -> None:
        self._store.execute(
            "INSERT OR REPLACE INTO digests (session, name, generation, rules, clean_to, sha256)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (*key, self._rules, running.length, running.plain.hexdigest()),
        )

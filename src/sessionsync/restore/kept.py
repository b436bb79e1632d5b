"""Versions from elsewhere that are kept here: what a record held before this machine wrote over it.

Such a copy lost to another by a rule or a person's word, so it is put back only where it is named (`--at`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sessionsync.restore.copies import CopyFile
from sessionsync.restore.known import Known
from sessionsync.sources.roles import role_of
from sessionsync.vault import StoredFile

if TYPE_CHECKING:  # nobody waits for it who asks for none of them
    from sessionsync.elsewhere import Kept


class KeptCopy:
    """A version that was in a record, and its bytes in the vault."""

    origin = "github"
    alias = ""
    united = False
    main: StoredFile | None = None

    def __init__(self, session: Known, kept: Kept) -> None:
        self._source = session.ref.source
        self._kept = kept
        meta = kept.snapshot.meta
        self.checkpoint: str | None = kept.snapshot.id
        self.at = kept.snapshot.at
        self.doubtful = kept.snapshot.doubtful
        self.author = str(meta.get("author", ""))
        self.revision = int(meta.get("revision", 0))
        self.exact = _is_exact(meta.get("record"))

    def files(self) -> list[CopyFile]:
        """Its files."""
        return [
            CopyFile(name, stored.size, role_of(self._source, name), stored.file)
            for name, stored in self._kept.files.items()
        ]

    def read(self, file: CopyFile) -> Iterator[bytes]:
        """Its bytes, each segment checked by its hash, and all of them by the root."""
        stored = self._kept.files[file.name]
        return stored.vault.read(file.name, stored.file.generation, stored.size, root=stored.file.root)


class KeptShelf:
    """What other machines had in the records."""

    name = "github"

    def __init__(self, vault_dir: Path) -> None:
        self._vault_dir = vault_dir

    def copies(self, session: Known) -> list[KeptCopy]:
        """Every version of which there are bytes, the oldest first.

        Raises:
            CopyError: they cannot be read.
        """
        from sessionsync.elsewhere import Elsewhere  # noqa: PLC0415 - as above

        found = (KeptCopy(session, kept) for kept in Elsewhere(self._vault_dir).of(session.ref))
        return [copy for copy in found if copy.files()]


def _is_exact(record: object) -> bool:
    from sessionsync.remote.comments import Record  # noqa: PLC0415 - as above

    try:
        files = msgspec.convert(record, Record).files
    except msgspec.ValidationError:
        return False
    return all(entry.sha256 is not None for entry in files)

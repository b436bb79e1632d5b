"""What looking, weighing, drafting and settling work with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sessionsync.conflict.rows import Conflicts
from sessionsync.divergence import Source
from sessionsync.elsewhere import Elsewhere, Versions
from sessionsync.events import Emit
from sessionsync.model import Role
from sessionsync.privacy.gate import Gate
from sessionsync.queue import Queue
from sessionsync.remote import comments
from sessionsync.remote.archive.reader import Reader
from sessionsync.remote.issues import Issues
from sessionsync.store import Store
from sessionsync.vault import Vault

OpenArchive = Callable[[], AbstractContextManager[Reader]]
"""Opens the archive for reading, which asks it anew."""


@dataclass(frozen=True, slots=True)
class Ours:
    """This machine's version: a checkpoint's own files, the draft of its record, and the hash of that."""

    files: Mapping[str, Source]
    draft: comments.Draft
    content: str
    roles: Mapping[str, Role]


@dataclass(frozen=True, slots=True)
class Means:
    """The parts of the engine that a session's two versions are seen to with.

    `limits` are the bytes below which a session is `github_only`, and up to which it is `hybrid`.
    `tells` says that there is a GitHub where conflicts are told of.
    """

    store: Store
    queue: Queue
    vault: Vault
    elsewhere: Elsewhere
    issues: Issues
    gate: Gate
    limits: tuple[int, int]
    host: str
    name: Callable[[], str]
    emit: Emit
    archive: OpenArchive | None
    conflicts: Conflicts
    versions: Versions
    tells: bool = True

    @property
    def machine(self) -> str:
        """This machine's name as it is now: the archive may have given it another."""
        return self.name()

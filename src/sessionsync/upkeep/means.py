"""What every part of the upkeep works with: the state, the copies, and who writes them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sessionsync.catalog import Catalog, Session
from sessionsync.events import Emit
from sessionsync.model import Ref
from sessionsync.project_names import Names
from sessionsync.queue import Queue
from sessionsync.sources import Source
from sessionsync.vault import Mirror, SessionVault, Vault
from sessionsync.vault.repair import Reader
from sessionsync.vault.verify import Expected

T = TypeVar("T")

FindBytes = Callable[[Session, str, str, int, int], bytes]
"""Bytes [start, end) of a session's file from a copy elsewhere: session, machine, name, start, end.

None where it has none.  `machine` says whose copy is meant, '' the newest of all.
"""


Recall = Callable[[str, Ref], Generator[int, None, Callable[[float], bool] | None]]
"""Reads back the session of a project's folder in the vault: yields bytes, returns what commits it."""


class Write(Protocol):
    """Runs something in the writer's thread, after a flush, and returns what it returns."""

    def __call__(self, work: Callable[[float], T], /) -> T:
        """Run it; it is given the time (Unix seconds)."""


@dataclass(frozen=True, slots=True)
class Means:
    """What there is of one home.

    `store_anew` makes the vault of a session again, in the writer's thread; `recall` reads one back that only
    the vault has, and returns what commits it there.  `elsewhere` are further copies by their names,
    `versions` the vault of what other machines have made of the sessions here.
    """

    catalog: Catalog
    queue: Queue
    mirror: Mirror
    vault: Vault
    sources: Mapping[str, Source]
    keep_checkpoints: int
    write: Write
    store_anew: Callable[[Ref, float], None]
    recall: Recall
    emit: Emit
    elsewhere: Mapping[str, FindBytes]
    versions: Vault | None
    names: Names

    def open(self, session: Session) -> SessionVault:
        """A session's vault, for reading in any thread."""
        return self.vault.open(session.project or "unknown", session.stored_as)

    def expected(self, session: Session) -> list[Expected]:
        """Every plain copy of a session as the state knows it."""
        project, ref = session.project or "unknown", session.stored_as
        return [
            Expected(
                name=file.name,
                path=self.mirror.path_of(project, ref, file.name),
                generation=file.generation,
                length=file.length,
                stored=file.stored,
                tail=file.tail,
                peaks=tuple(file.peaks),
                copied=not file.is_rewritten,
            )
            for file in self.catalog.files(session.id).values()
        ]

    def away(self, session: Session, machine: str = "") -> dict[str, Reader]:
        """The copies elsewhere: of one machine, or the newest of all."""

        def of(find: FindBytes) -> Reader:
            return lambda name, start, end: find(session, machine, name, start, end)

        return {name: of(find) for name, find in self.elsewhere.items()}

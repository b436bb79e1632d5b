"""What is left of a session, wherever it lies: the bytes for `reconstruct`, and what else is known of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sessionsync.catalog import Catalog, Session
from sessionsync.errors import CopyError, CopyMismatch, IndexBroken
from sessionsync.model import SessionFile, Summary
from sessionsync.restore.copies import Copy, MirrorShelf
from sessionsync.restore.known import Known
from sessionsync.restore.pieces import Passage, Piece, Version
from sessionsync.restore.records import Filed
from sessionsync.search.index import Index
from sessionsync.search.said import said
from sessionsync.vault import Mirror, SessionVault, Vault
from sessionsync.vault.replaced import plain

LIVE, MIRROR, VAULT, GITHUB = "live", "mirror", "vault", "github"


@dataclass(slots=True)
class Remains:
    """All that is held of a session.

    `versions` are by file name, those that count most first; `lengths` and `generations` are what the state
    and the record say of the newest; `deleted` are files that the session itself had dropped.  `notes` say
    what could not be read.
    """

    versions: dict[str, list[Version]] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    generations: dict[str, frozenset[int]] = field(default_factory=dict)
    passages: dict[str, list[Passage]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    summary: Summary | None = None
    filed: Filed | None = None
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, version: Version) -> None:
        """Take in a version of a file."""
        self.versions.setdefault(name, []).append(version)

    def newest(self, name: str, data: bytes, where: str) -> None:
        """Take in what a file was last, as a copy has it."""
        self.add(name, Version([Piece(0, data, where)], self.generations.get(name, frozenset())))

    def long(self, name: str, length: int) -> None:
        """A file was at least so long."""
        self.lengths[name] = max(length, self.lengths.get(name, 0))


def gather(
    session: Known,
    *,
    vault: Vault,
    mirror: Mirror,
    replaced: Path,
    live: Sequence[SessionFile],
    away: Sequence[Copy],
    filed: Filed | None,
    catalog: Catalog | None,
    index: Index | None,
) -> Remains:
    """Look for a session in state, index, vault, live files, plain copies, comment.

    `replaced` is the folder of what restores have replaced, `away` are copies in other places, the oldest
    first, `filed` is its record.  Memory: that of all its versions.
    """
    remains = Remains(filed=filed)
    row = _row(catalog, session) if catalog is not None else None
    if catalog is not None and row is not None:
        _of_state(remains, catalog, row)
    if index is not None and row is not None:
        _of_index(remains, index, row.id)
    _of_vault(remains, session, vault)
    _of_disk(remains, live)
    _of_mirror(remains, session, mirror, MirrorShelf(mirror, vault))
    _of_replaced(remains, session, replaced)
    _of_copies(remains, away)
    _of_record(remains)
    return remains


def _row(catalog: Catalog, session: Known) -> Session | None:
    return next((each for each in catalog.each() if each.stored_as == session.ref), None)


def _of_state(remains: Remains, catalog: Catalog, row: Session) -> None:
    remains.summary = row.summary
    for file in catalog.files(row.id).values():
        remains.long(file.name, file.length)
        remains.generations[file.name] = frozenset({file.generation})
        if file.deleted_at is not None and row.ref.source != "claude":
            remains.deleted.add(file.name)


# --- the vault


def _of_vault(remains: Remains, session: Known, vault: Vault) -> None:
    for project in session.projects:
        stored = vault.open(project, session.ref)
        with _told(remains, VAULT):
            fold = stored.fold()
            for name, file in stored.files().items():
                if file.deleted_at is not None and session.ref.source != "claude":
                    remains.deleted.add(name)
            for name, generation in sorted(fold.generations, key=lambda each: (each[0], -each[1])):
                extents = fold.generations[name, generation].extents(2**62, fold.line)
                reach = max((extent.end for extent in extents), default=0)
                pieces = list(_sound(stored, name, generation, reach))
                remains.add(name, Version(pieces, frozenset({generation}), reach))


def _sound(stored: SessionVault, name: str, generation: int, reach: int) -> Iterator[Piece]:
    """Every segment that is what was stored; a damaged one is a gap."""
    fold = stored.fold()
    position = 0
    for extent in fold.generations[name, generation].extents(reach, fold.line):
        with suppress(CopyMismatch):
            data = b"".join(stored.read(name, generation, extent.end, max(extent.start, position)))
            yield Piece(max(extent.start, position), data, VAULT)
        position = extent.end


# --- files


def _of_disk(remains: Remains, live: Sequence[SessionFile]) -> None:
    for file in live:
        with _told(remains, LIVE):
            remains.newest(file.name, file.path.read_bytes(), LIVE)


def _of_mirror(remains: Remains, session: Known, mirror: Mirror, shelf: MirrorShelf) -> None:
    for project in session.projects:
        with _told(remains, MIRROR):
            for name, path in shelf.paths(project, session):
                remains.newest(name, mirror.read(path, 0, mirror.size(path)), MIRROR)
            for name in _names(remains, session):
                path = mirror.path_of(project, session.ref, name)
                for aside, offset in mirror.asides(path) if path.parent.is_dir() else ():
                    data = mirror.read(aside, 0, mirror.size(aside))
                    remains.add(name, Version([Piece(offset, data, f"set aside as {aside.name}")]))


def _names(remains: Remains, session: Known) -> list[str]:
    main = [f"{session.session_id}.jsonl"] if session.ref.source == "claude" else ["context.json"]
    return list(dict.fromkeys([*main, *remains.versions]))


def _of_replaced(remains: Remains, session: Known, replaced: Path) -> None:
    """What a restore has put away: `<id>.<time>/projects/<folder>/<name>`, or the session's own folder."""
    for folder in sorted(_folders(replaced), reverse=True):
        if not folder.name.startswith(f"{plain(session.ref.session_id)}."):
            continue
        for above, _, names in os.walk(folder):
            for each in sorted(names):
                path = Path(above, each)
                parts = path.relative_to(folder).parts
                name = _name_of(session, parts)
                if name and path.is_file() and not path.is_symlink():
                    with _told(remains, folder.name):
                        where = f"replaced by a restore, {folder.name}"
                        remains.add(name, Version([Piece(0, path.read_bytes(), where)]))


def _name_of(session: Known, parts: tuple[str, ...]) -> str:
    if session.ref.source != "claude":
        return "/".join(parts[1:]) if parts[0] == session.session_id else ""
    if parts[0] == "projects":
        return "/".join(parts[2:])
    return "/".join(parts)


def _folders(folder: Path) -> list[Path]:
    try:
        return [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


# --- other places


def _of_copies(remains: Remains, away: Sequence[Copy]) -> None:
    """Of each place the newest copy of a file that can be read; an older one only has less of it."""
    seen: set[tuple[str, str]] = set()
    for copy in reversed(away):
        for file in copy.files():
            if (copy.origin, file.name) in seen:
                continue
            with _told(remains, copy.origin):
                data = b"".join(copy.read(file))
                seen.add((copy.origin, file.name))
                piece = Piece(0, data, f"{copy.origin} {copy.checkpoint or ''}".strip())
                remains.add(file.name, Version([piece], length=len(data), exact=copy.exact))


# --- the record


def _of_record(remains: Remains) -> None:
    filed = remains.filed
    if filed is None:
        return
    redacted = {entry.path for entry in filed.record.files if entry.sha256 is None}
    for entry in filed.record.files:
        remains.long(entry.path, entry.size if entry.path not in redacted else 0)
    for name, data in (filed.contents or {}).items():
        remains.add(name, Version([Piece(0, data, GITHUB)], length=len(data), exact=name not in redacted))


# --- the index


def _of_index(remains: Remains, index: Index, number: int) -> None:
    try:
        for hit, text in said(index, number):
            remains.passages.setdefault(hit.name, []).append(
                Passage(hit.generation, hit.offset, hit.length, hit.nth, hit.role, hit.at, text)
            )
    except IndexBroken as error:
        remains.notes.append(str(error))


class _told:  # noqa: N801 - read as a word
    """What cannot be read there is said, and the rest is taken all the same."""

    def __init__(self, remains: Remains, where: str) -> None:
        self._remains, self._where = remains, where

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
        if isinstance(error, CopyError | OSError):
            self._remains.notes.append(f"Not all in {self._where} could be read: {error}")
            return True
        return False

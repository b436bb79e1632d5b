"""A session that the vault has and the state has not, read back: the state was lost, or it was adopted."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path

from sessionsync.capture.lines import Lines
from sessionsync.capture.work import HEAD_BYTES, TAIL_BYTES, Work, sha256
from sessionsync.catalog import REWRITTEN, Checkpoint, File, Session
from sessionsync.model import Found, Ref, SessionFile, Summary
from sessionsync.peek import leading_id
from sessionsync.sources import Source
from sessionsync.sources.roles import PAPERS, role_of
from sessionsync.vault import Root, SessionVault
from sessionsync.vault.journal import Description

# A file that is read as a whole for what it says of its session is held up to this size.
SMALL_BYTES = 4 * 1024 * 1024


def recall(vault: SessionVault, source: Source) -> Generator[int, None, Work | None]:
    """All that a vault tells of its session, as capturing it would have left it, but for its project.

    Its files are gone, and its plain copies are not believed.  Yields the bytes just read; returns None where
    the vault does not say whose it is, or has no checkpoint.  Any thread.

    Raises:
        CopyError: it cannot be read.
    """
    said, points, kept = vault.description(), vault.snapshots(), vault.files()
    if said is None or not points or not kept:
        return None
    ref, root, location = _place(vault.ref, said)
    newest = points[-1]
    session = Session(
        id=0,
        ref=ref,
        root=root,
        location=location,
        summary=Summary(),
        modified_at=newest.at,
        changed_at=newest.at,
        key=vault.ref.session_id,
        project_key=said.project_key or None,
        project=vault.project,
    )
    work = Work(session, {})
    small: dict[str, bytes] = {}
    for stored in kept.values():
        file = work.files[stored.name] = File(stored.name, role_of(ref.source, stored.name))
        file.deleted_at, file.changed_at = stored.deleted_at or newest.at, newest.at
        yield from _read(vault, source, session.summary, file, small)
    session.captured_bytes = sum(file.length for file in work.files.values())
    there = [work.files[name] for name, stored in kept.items() if stored.deleted_at is None]
    found = as_captured(session, there)
    session.size = found.size
    if there:
        source.conclude(session.summary, found, small.get)
    work.changed = set(work.files)
    for point in points:
        size = int(point.meta.get("size", 0))
        work.checkpoints.append(Checkpoint(point.id, point.at, point.trigger, size, point.alias))
    work.checkpoints[-1].summary = session.summary
    session.checkpoint, session.checkpoint_at = newest.id, newest.at
    return work


def _read(
    vault: SessionVault, source: Source, summary: Summary, file: File, small: dict[str, bytes]
) -> Generator[int, None, None]:
    """Take a file's positions, and what it says of its session, from its newest generation."""
    fold = vault.fold()
    file.generation, file.length = vault.stored(file.name)
    life = fold.generations.get((file.name, file.generation))
    file.forked_at = life.shared if life is not None else 0
    file.stored, file.size = file.length, REWRITTEN
    root, head, tail, whole = Root(), b"", b"", b""
    lines = Lines(source, summary, file) if source.append_only(file.name) else None
    for data in vault.read(file.name, file.generation, file.length):
        root.update(data)
        head = head if len(head) >= HEAD_BYTES else (head + data)[:HEAD_BYTES]
        tail = (tail + data)[-TAIL_BYTES:]
        if lines is not None:
            lines.feed(data)
        elif file.length <= SMALL_BYTES:
            whole += data
        yield len(data)
    file.peaks, file.head, file.tail = root.peaks, sha256(head), sha256(tail)
    if lines is None and file.length <= SMALL_BYTES:
        small[file.name] = whole


def _place(ref: Ref, said: Description) -> tuple[Ref, Path, Path]:
    """Which session it is on this machine, what its place is relative to, and where it lay."""
    location = Path(str(said.meta.get("location", "")))
    root = Path(str(said.meta.get("root", location.parent)))
    if ref.source == "claude":
        # copies of a second one of the same id have a longer name
        return Ref(ref.source, leading_id(ref.session_id) or ref.session_id), root, location
    is_paper = ref.source in PAPERS and location.is_relative_to(root)
    name = location.relative_to(root).as_posix() if is_paper else location.name
    return Ref(ref.source, name, str(root)), root, location


def as_captured(session: Session, files: Iterable[File]) -> Found:
    """A session as its source saw it when these files of it were captured."""
    seen = tuple(_as_found(file, session.location) for file in files)
    return Found(session.ref, session.root, session.location, seen)


def _as_found(file: File, location: Path) -> SessionFile:
    """A file as its source saw it when it was there."""
    mtime_ns = int(file.changed_at * 1e9)
    return SessionFile(file.name, location.parent / file.name, file.role, file.length, mtime_ns, 0)

"""The upkeep of a rig's copies, and ways to hurt them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

from sessionsync.catalog import Session
from sessionsync.elsewhere import Elsewhere
from sessionsync.upkeep import FindBytes, Upkeep, Verdict
from sessionsync.vault.journal import pack_name
from tests.rig import Rig

T = TypeVar("T")


def done(work: Generator[object, None, T]) -> T:
    """What comes of it, at once."""
    try:
        while True:
            next(work)
    except StopIteration as end:
        found: T = end.value
        return found


def upkeep_of(rig: Rig, *, keep: int = 50, **elsewhere: FindBytes) -> Upkeep:
    def write(work: Callable[[float], T]) -> T:
        rig.capture.flush(rig.now)
        return work(rig.now)

    return Upkeep(
        catalog=rig.catalog,
        queue=rig.queue,
        mirror=rig.mirror,
        vault=rig.vault,
        sources=rig.sources,
        keep_checkpoints=keep,
        write=write,
        store_anew=rig.capture.store_anew,
        recall=rig.capture.recall,
        emit=rig.events,
        elsewhere=elsewhere,
        versions=Elsewhere(rig.home.vault).vault,
    )


def place_of(rig: Rig, session: Session) -> Path:
    """The session's folder in the vault."""
    return rig.home.vault / (session.project or "") / f"{session.ref.source}.{session.key}"


def pack_of(rig: Rig, session: Session) -> Path:
    fold = rig.vault.open(session.project or "", session.stored_as).fold()
    return place_of(rig, session) / pack_name(fold.pack)


def flip(path: Path, position: int, bit: int = 0) -> None:
    """Let one bit change, as a disk may."""
    with path.open("r+b") as file:
        file.seek(position)
        value = file.read(1)[0]
        file.seek(position)
        file.write(bytes([value ^ (1 << bit)]))


def wheres(verdict: Verdict) -> list[str]:
    return [bad.where for _, bad in verdict.bad]

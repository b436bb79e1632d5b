"""Which checkpoints of a session stay.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Protocol

from sessionsync.vault.journal import StoredFile

DAY_S = 86_400
# One a day stays for so many days in UTC, today among them.
DAYS = 30


class Point(Protocol):
    """A checkpoint: its id, and when it was made (Unix seconds)."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def at(self) -> float:
        """When it was made."""


def kept(points: Sequence[Point], *, keep: int, now: float, pinned: Collection[str] = ()) -> set[str]:
    """The ids of the checkpoints that stay, of `points` in the order in which they were made.

    The newest always stays; so do the `keep` newest, the last one of each of the last 30 days, and the
    `pinned` ones.
    """
    stay = {point.id for point in points[-max(keep, 1) :]}
    today = int(now // DAY_S)
    daily = {int(point.at // DAY_S): point.id for point in points}
    stay |= {name for day, name in daily.items() if day > today - DAYS}
    return stay | {point.id for point in points if point.id in pinned}


def last_of_lives(history: Iterable[tuple[str, Mapping[str, StoredFile]]]) -> set[str]:
    """The last checkpoint of each generation of a transcript but the newest.

    A generation ends where bytes of a transcript were cut or changed, and that is never copied as the
    truth: the last checkpoint before it stays for good.  Other files are rewritten all the time.
    `history` is every checkpoint's id with the session's files, in order.
    """
    return {
        name
        for (name, files), (_, then) in pairwise(history)
        if any(
            file.name.endswith(".jsonl") and then.get(file.name, file).generation != file.generation
            for file in files.values()
        )
    }

"""What comes of a look at copies, and of their repair; and how work is paced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sessionsync.events import Emit
from sessionsync.vault.verify import Bad, Checked

T = TypeVar("T")

Paced = Generator[int, None, T]
"""Yields the bytes just moved; returns what came of it."""

# What it costs to look at a session at all.
JOURNAL_BYTES = 16 * 1024


def outcome(work: Paced[T]) -> T:
    """What comes of a piece of work that is done at once, unpaced."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            found: T = end.value
            return found


@dataclass(slots=True)
class Verdict:
    """What came of a look: how many sessions, how many bytes, what was bad in which of them."""

    checked: int = 0
    size: int = 0
    bad: list[tuple[str, Bad]] = field(default_factory=list)
    results: dict[tuple[str, str], int] = field(default_factory=dict)
    """How many comparisons, by store and result (`ok`, `mismatch`, `missing`)."""
    references: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many references, by kind and result (`ok`, `broken`)."""

    def count(self, checked: Checked) -> None:
        """Take in one comparison."""
        self.size += checked.size
        result = "ok" if checked.bad is None else checked.bad.result
        self.results[checked.store, result] = self.results.get((checked.store, result), 0) + 1

    def add(self, other: Verdict) -> None:
        """Take in what came of another look."""
        self.checked += other.checked
        self.size += other.size
        self.bad += other.bad
        for key, number in other.results.items():
            self.results[key] = self.results.get(key, 0) + number
        self.references += other.references

    def tell(self, emit: Emit, session: str) -> None:
        """Say how many comparisons and references of a session there were, by result."""
        for (store, result), number in self.results.items():
            emit("integrity_checked", session=session, store=store, result=result, count=number)
        for (kind, result), number in self.references.items():
            emit("references_checked", session=session, kind=kind, result=result, count=number)


@dataclass(slots=True)
class Healing:
    """What came of a repair: how many bytes were healed from which copy, and what is still bad."""

    healed: dict[str, int] = field(default_factory=dict)
    bits: int = 0
    left: list[Bad] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    """Where damaged bytes of plain copies went."""

    def tell(self, emit: Emit, session: str) -> None:
        """Say what was healed of a session, and what stays bad."""
        if self.healed or self.bits:
            emit(
                "damage_healed",
                session=session,
                bytes=sum(self.healed.values()),
                bits=self.bits,
                sources=sorted(self.healed),
            )
        for each in self.left:
            emit("damage_remained", session=session, where=each.where, what=each.what)

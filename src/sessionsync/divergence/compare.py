"""All files of a session in two versions: how they relate, and the files of the union."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from sessionsync.divergence.redaction import MARK, SLOW_BYTES, same
from sessionsync.divergence.relation import Relation
from sessionsync.divergence.source import Source, equal, whole
from sessionsync.divergence.union import unite


@dataclass(frozen=True, slots=True)
class Comparison:
    """How all files of a session relate, and what holds both.

    `united` are the files of that union by name; `differing` those that cannot be united, and of which it
    holds theirs beside ours.
    """

    relation: Relation
    united: Mapping[str, Source]
    differing: Sequence[str]


def compare(
    ours: Mapping[str, Source],
    theirs: Mapping[str, Source],
    *,
    grows: Callable[[str], bool],
    machine: str,
    their_machine: str,
) -> Comparison:
    """Compare two versions of a session, and unite them.

    `grows` tells which files grow by lines.  Of a file that does not, and that differs, the union holds
    theirs under a name with `their_machine` in it; where a union that somebody else made holds ours under
    such a name, it is there.
    """
    relation = Relation.EQUAL
    united: dict[str, Source] = {}
    differing: list[str] = []
    beside_ours = {beside(name, machine): name for name in ours}
    for name in sorted({*ours, *theirs}):
        mine, yours = ours.get(name), theirs.get(name)
        if mine is None and yours is not None:
            original = beside_ours.get(name)
            if original is None or not equal(ours[original], yours):
                relation &= Relation.THEIRS_EXTENDS
            united[name] = yours
        elif mine is not None and yours is None:
            relation &= Relation.OURS_EXTENDS
            united[name] = mine
        elif mine is not None and yours is not None:
            part, found = _unite_file(name, mine, yours, grows=grows)
            if part is Relation.DIVERGED and not grows(name):
                kept = theirs.get(beside(name, machine))
                if kept is not None and equal(kept, mine):
                    part, found = Relation.THEIRS_EXTENDS, yours
                else:
                    differing.append(name)
                    united[beside(name, their_machine)] = yours
            relation &= part
            united[name] = found
    return Comparison(relation, united, differing)


def beside(name: str, machine: str) -> str:
    """The name under which a machine's version of a file lies beside another one's."""
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}.{machine}{path.suffix}"))


def _unite_file(
    name: str, ours: Source, theirs: Source, *, grows: Callable[[str], bool]
) -> tuple[Relation, Source]:
    if grows(name):
        union = unite(ours, theirs)
        return union.relation, union
    if equal(ours, theirs):
        return Relation.EQUAL, ours
    if ours.size + theirs.size <= SLOW_BYTES and same(whole(ours), whole(theirs)):
        return Relation.EQUAL, theirs if MARK in whole(ours) else ours
    return Relation.DIVERGED, ours

"""Which copy is put back: the one that was named, else the newest that lost nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sessionsync.errors import NoSuchCheckpoint, NoSuchCopy
from sessionsync.model import rfc3339, unix_seconds
from sessionsync.restore.copies import Copy
from sessionsync.restore.examine import is_continued, is_same, redactions
from sessionsync.restore.known import Known
from sessionsync.restore.names import grows_by_lines

if TYPE_CHECKING:
    from sessionsync.remote.archive.reader import Unread

# The places on this disk; all others hold what another machine may have gone on with.
HERE = ("mirror", "vault")
# What an id ends with where several checkpoints are of one second.
_ONE_OF_SEVERAL = re.compile(r"(?<=Z)-\d+$")


@dataclass(slots=True)
class Choice:
    """The copies to try, the best first, and what is to be said about it."""

    copies: list[Copy]
    notes: list[str] = field(default_factory=list)


def named(session: Known, copies: Sequence[Copy], text: str, unread: Sequence[Unread] = ()) -> Choice:
    """The copies of the checkpoint that `text` names: an id, an alias, or a time (newest at or before it).

    `unread` are those that cannot be read, of which no more is known than their second.

    Raises:
        ArchiveUnreadable: it is one of these, for that reason; or CopyMismatch, where it is damaged.
        NoSuchCheckpoint: there is none.
    """
    points = [copy for copy in copies if copy.checkpoint is not None]
    found = [copy for copy in points if text in {copy.checkpoint, copy.alias}]
    if not found and (second := _moment(_ONE_OF_SEVERAL.sub("", text))) is not None:
        here = {int(copy.at) for copy in points}
        for each in unread:
            if int(each.at) == int(second) and int(each.at) not in here:
                raise each.problem
    if not found and (moment := _moment(text)) is not None:
        # an id has whole seconds: 12:00:00 names what was made within that second
        before = sorted((copy for copy in points if int(copy.at) <= moment), key=lambda copy: copy.at)
        found = [copy for copy in before if copy.checkpoint == before[-1].checkpoint]
    if not found:
        raise NoSuchCheckpoint(
            f"Session {session.name} has no checkpoint {text!r} in {_places(copies)}.",
            hint=f"`sessiond restore {session.name} --list` shows those it has; a time is written in full and"
            " with its zone, as in 2026-01-31T12:00:00Z.",
        )
    return Choice(sorted(found, key=lambda copy: (not copy.exact, -copy.at)))


def newest(session: Known, copies: Sequence[Copy]) -> Choice:
    """The newest checkpoint, or what goes on from it; the others behind it, should that one be damaged.

    Where the newest checkpoint's generation began with a shrink and is still shorter than what was there
    before, the last checkpoint before the shrink is taken instead.  Of every place elsewhere its best copy
    is weighed against what is here.

    Raises:
        NoSuchCopy: there is none.
    """
    stored = [copy for copy in copies if copy.origin == "vault"]
    plain = [copy for copy in copies[::-1] if copy.origin == "mirror"]
    plain = sorted(plain, key=lambda copy: copy.doubtful) if plain[1:] else plain
    choice = Choice([])
    if stored:
        best, older = _best(stored, choice.notes)
        ahead = [copy for copy in plain if best is stored[-1] and is_continued(copy, best)]
        choice.copies = [*ahead, best, *older, *(copy for copy in plain if copy not in ahead)]
    else:
        choice.copies = plain
    if not copies:
        raise NoSuchCopy(
            f"There is no copy of session {session.name} that could be restored.",
            hint=f"`sessiond restore {session.name} --list` shows what there is.",
        )
    elsewhere = [copy for copy in copies if copy.origin not in HERE]
    for place in dict.fromkeys(_place(copy) for copy in reversed(elsewhere)):
        notes: list[str] = []
        best, older = _best([copy for copy in elsewhere if _place(copy) == place], notes)
        _weigh(choice, best, session, stored)
        choice.notes += notes if choice.copies[0] is best else []
        choice.copies += older
    return choice


def _place(copy: Copy) -> tuple[str, str]:
    """Where a copy lies: in the archive each machine has a place of its own."""
    from sessionsync.restore.archived import ArchiveCopy  # noqa: PLC0415 - mostly all lies here

    return copy.origin, copy.machine if isinstance(copy, ArchiveCopy) else ""


def _best(copies: Sequence[Copy], notes: list[str]) -> tuple[Copy, list[Copy]]:
    """The best copy of one place, where the newest is last, and the others, the newest first."""
    best = _before_shrinks(copies)
    if best is not copies[-1]:
        notes.append(
            f"Its main file was cut after checkpoint {best.checkpoint} and is still shorter than it was"
            f" then: that one is taken.  The newest is {copies[-1].checkpoint} (--at)."
        )
    return best, [copy for copy in reversed(copies) if copy is not best]


def _before_shrinks(copies: Sequence[Copy]) -> Copy:
    """The newest copy that is not shorter than what its main file had before its generation."""
    best = copies[-1]
    for copy in reversed(copies[:-1]):
        if best.main is None or copy.main is None:
            break
        if best.main.length and not grows_by_lines(best.main.name):
            break  # people rewrite their files, also to be shorter; but an empty one says nothing
        if copy.main.generation < best.main.generation:
            if copy.main.length <= best.main.length:
                break
            best = copy
    return best


def _weigh(choice: Choice, copy: Copy, session: Known, stored: Sequence[Copy]) -> None:
    """Put a copy from elsewhere before the local ones where it goes on from them, else behind them.

    A clock decides nothing.  A transcript must go on byte for byte; of files that are rewritten the record
    counts that was written anew after the newest checkpoint here had gone into it, unless a redacted
    version came back in it: what is not redacted wins where it is.
    """
    if not choice.copies:
        choice.copies = [copy]
        return
    best = choice.copies[0]
    newer = bool(session.revision) and copy.revision > session.revision
    rewritten = newer and session.ref.source != "claude" and redactions(copy) <= redactions(best)
    if any(is_same(copy, point) for point in reversed(stored)) or (not newer and is_continued(best, copy)):
        choice.copies.append(copy)
        return
    where = f"The copy in {copy.origin} of {rfc3339(copy.at)}"
    if copy.exact and (rewritten or is_continued(copy, best)):
        choice.copies.insert(0, copy)
        choice.notes.append(f"{where} goes on from what is here: it is taken.")
        return
    choice.copies.append(copy)
    if session.ref.source == "claude":
        _unite(choice, best, copy, where)
        return
    if copy.exact and not redactions(copy):
        choice.notes.append(f"{where} differs from what is here: --from {copy.origin} takes it.")
    elif newer or copy.checkpoint not in {point.checkpoint for point in stored}:
        choice.notes.append(f"{where} is redacted, and newer or another: --from {copy.origin} takes it.")


def _unite(choice: Choice, best: Copy, copy: Copy, where: str) -> None:
    """Put what holds both before them, where a transcript went on here and elsewhere."""
    from sessionsync.restore.united import united  # noqa: PLC0415 - as above

    union = united(best, copy)
    if union is None:
        return
    if union.is_theirs and copy.exact:
        choice.copies.remove(copy)
        choice.copies.insert(0, copy)
        choice.notes.append(f"{where} holds all that is here, and more: it is taken.")
        return
    choice.copies.insert(0, union)
    choice.notes.append(
        f"{where} and what is here went different ways: what is put back holds the lines of both, the last"
        f" word is this machine's.  --from {best.origin} or --from {copy.origin} takes one of them."
    )


def _moment(text: str) -> float | None:
    try:
        return unix_seconds(text)
    except (ValueError, OverflowError):
        return None


def _places(copies: Sequence[Copy]) -> str:
    return ", ".join(dict.fromkeys(copy.origin for copy in copies)) or "any copy"

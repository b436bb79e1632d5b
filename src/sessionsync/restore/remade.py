"""A transcript made anew of every version of it that is held, and of what is known of the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from sessionsync.model import rfc3339
from sessionsync.restore.conversation import Conversation
from sessionsync.restore.inferred import MARK, Item, Json, Scribe
from sessionsync.restore.pieces import Line, Passage, Version, gaps_between, joined, lines_of, woven


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes [start, end) that nothing holds; `before` and `after` are the uuids of the lines around.

    `named` are uuids in it that a line which is held goes on from; `inferred` is how many lines stand in it.
    """

    start: int
    end: int
    before: str = ""
    after: str = ""
    named: tuple[str, ...] = ()
    inferred: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """A file as it was made: its bytes, what each line is, and what is missing.

    `lines` say of each line whether it is `exact`, and from where; `length` is how long the file was.
    """

    data: bytes
    lines: list[Json]
    gaps: list[Gap]
    length: int

    @property
    def exact(self) -> bool:
        """Whether it is the file, byte for byte."""
        return not self.gaps and all(line["status"] == "exact" for line in self.lines)

    def count(self, status: str) -> int:
        """How many of its lines are `exact` or `inferred`."""
        return sum(line["status"] == status for line in self.lines)


def transcript(
    session_id: str,
    versions: Iterable[Version],
    *,
    length: int,
    passages: Sequence[Passage] = (),
    told: str = "",
    cwd: str = "",
    is_main: bool = True,
) -> Made:
    """Make a transcript of every version of it that is held, the one to be made anew first.

    `length` is how long it was, as far as anything says; `told` is what the record and the state tell of
    the session, `cwd` where it was begun.  A subagent's (not `is_main`) is not closed for the agent to open.
    """
    lives = joined(versions)
    main = lives[0] if lives else Version([])
    of_main = (passage.end for passage in passages if main.is_of(passage.generation))
    length = max([length, main.length, main.end, *of_main])
    if lives and main.exact and not main.gaps(length):
        whole = b"".join(piece.data for piece in main.pieces)
        others = [lines_of(life, is_main=False) for life in lives[1:]]
        base = lines_of(main)
        known = {line.key for line in base}
        if all(line.key in known for other in others for line in other):
            return Made(whole, [_said(n, line) for n, line in enumerate(base, 1)], [], length)
    lines = lines_of(main)
    gaps = gaps_between(((line.offset, line.end) for line in lines), length)
    for life in lives[1:]:
        lines = woven(lines, lines_of(life, is_main=False))
    made = Conversation(Scribe(session_id, cwd, is_main=is_main))
    _lay(made, lines, gaps, _lost(passages, lives, lines))
    if is_main and (gaps or not lines):
        made.tell(told)
        made.close()
    return _finished(made.items, gaps, length)


def _lost(passages: Sequence[Passage], lives: Sequence[Version], lines: Sequence[Line]) -> list[Passage]:
    """The passages whose own bytes nothing holds, in their order; not those that a redacted line says."""
    said = {(row.type, (row.timestamp or "")[:19]) for line in lines if not line.is_main for row in line.rows}
    held = [life for life in lives if life.exact]
    return [
        passage
        for passage in sorted(passages, key=lambda p: (p.offset, p.generation, p.nth))
        if not any(
            life.is_of(passage.generation) and life.holds(passage.offset, passage.end) for life in held
        )
        and (passage.role, rfc3339(passage.at)[:19]) not in said
    ]


def _lay(
    made: Conversation, lines: Sequence[Line], gaps: Sequence[tuple[int, int]], passages: Sequence[Passage]
) -> None:
    """Lines, gaps and passages in the order in which they were; woven lines stay behind their neighbours."""
    waiting: list[tuple[int, int, Callable[[], None]]] = [
        (start, 0, partial(made.add_gap, start, end)) for start, end in gaps
    ]
    waiting += [
        (passage.offset, 1 + n, partial(made.add_words, passage)) for n, passage in enumerate(passages)
    ]
    waiting.sort(key=lambda each: each[:2])
    for line in lines:
        while line.is_main and waiting and waiting[0][0] < line.end:
            waiting.pop(0)[2]()
        made.add(Item(line, rows=line.rows))
    for _, _, add in waiting:
        add()


def _finished(items: Sequence[Item], gaps: Sequence[tuple[int, int]], length: int) -> Made:
    data, lines = bytearray(), []
    for number, item in enumerate(items, 1):
        if item.line is not None:
            data += item.line.data if item.line.data.endswith(b"\n") else item.line.data + b"\n"
            lines.append(_said(number, item.line))
            continue
        data += json.dumps(item.row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        data += b"\n"
        lines.append(
            {
                "line": number,
                "status": "inferred",
                "from": item.why,
                "offset": item.offset,
                "uuid": item.row.get("uuid", ""),
            }
        )
    return Made(bytes(data), lines, [_described(gap, items) for gap in gaps], length)


def _said(number: int, line: Line) -> Json:
    return {
        "line": number,
        "status": "exact" if line.exact else "inferred",
        "from": line.where,
        "offset": line.offset,
        "uuid": line.uuid,
    }


def _described(gap: tuple[int, int], items: Sequence[Item]) -> Gap:
    """A gap with the lines around it, and what later lines name of it."""
    start, end = gap
    at = next((n for n, i in enumerate(items) if i.why == "gap" and i.offset == start), len(items))
    lines = [(n, item.line) for n, item in enumerate(items) if item.line is not None]
    before = next((line.uuid for n, line in reversed(lines) if n < at and line.uuid), "")
    following = [(n, line) for n, line in lines if n > at and line.is_main]
    behind = following[0][0] if following else len(items)
    within = [item for item in items[at:behind] if item.line is None]
    return Gap(
        start,
        end,
        before=before,
        after=next((line.uuid for _, line in following if line.uuid), ""),
        named=tuple(item.row["uuid"] for item in within if item.row.get(MARK, {}).get("named")),
        inferred=len(within),
    )

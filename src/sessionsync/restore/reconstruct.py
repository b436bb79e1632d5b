"""The best session that can be made of what is left of one.

    exact      lines whose bytes are held somewhere: plain copy, pieces set aside, vault, live file, comment
    inferred   what only the search index, the record or the state still say: words without capitals and
               punctuation, decisions, next steps; and what later lines name that is gone
    missing    gaps, by offset, and by the uuid that a later line goes on from

No exact line is changed: what a later line needs to hang on to (its parent, a tool's call or result) is put
before or behind it, and says of itself that it was inferred.  So the agent can open what comes out.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from sessionsync.events import silent
from sessionsync.model import Found, Ref, Role, SessionFile, Summary, rfc3339
from sessionsync.restore.known import Known
from sessionsync.restore.loadable import Message, Row
from sessionsync.restore.names import grows_by_lines
from sessionsync.restore.pieces import Line, Passage, Version, gaps_between, joined, lines_of, woven
from sessionsync.restore.remains import Remains
from sessionsync.sources.structured import Structured

Json = dict[str, Any]

MARK = "reconstructed"
"""The key of an inferred line that says so."""
ROUNDS = 3
"""An added result may be the last answer's, and so on; it ends by itself sooner."""
CONTEXT = "context.json"
_SPACE = uuid.UUID("2c4b0c0e-6f0a-5b55-9f1e-3f1d6e1d9a57")


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


@dataclass(slots=True)
class _Item:
    """A line of the result: one that is held, or one that is inferred, as an object."""

    line: Line | None = None
    row: Json = field(default_factory=dict)
    why: str = ""
    offset: int | None = None
    rows: Sequence[Row] = ()

    @property
    def is_link(self) -> bool:
        """Whether it is inferred and has a place in the conversation."""
        return self.line is None and "uuid" in self.row


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
    items = _laid(lines, gaps, _lost(passages, lives, lines))
    made = _Making(session_id, cwd, is_main=is_main)
    for item in items:
        made.add(item)
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


def _laid(lines: Sequence[Line], gaps: Sequence[tuple[int, int]], passages: Sequence[Passage]) -> list[_Item]:
    """Lines, gaps and passages in the order in which they were; woven lines stay behind their neighbours."""
    waiting: list[tuple[int, int, _Item]] = [
        (start, 0, _Item(why="gap", offset=start, row={"start": start, "end": end})) for start, end in gaps
    ]
    waiting += [
        (passage.offset, 1 + n, _Item(why="words", offset=passage.offset, row=_of_passage(passage)))
        for n, passage in enumerate(passages)
    ]
    waiting.sort(key=lambda each: each[:2])
    items: list[_Item] = []
    for line in lines:
        while line.is_main and waiting and waiting[0][0] < line.end:
            items.append(waiting.pop(0)[2])
        items.append(_Item(line, rows=line.rows))
    return items + [item for _, _, item in waiting]


def _of_passage(passage: Passage) -> Json:
    return {"role": passage.role, "at": passage.at, "words": passage.words, "name": _named(passage)}


def _named(passage: Passage) -> str:
    return f"{passage.generation}:{passage.offset}:{passage.nth}"


class _Making:
    """Puts lines behind each other, and makes those that are inferred."""

    def __init__(self, session_id: str, cwd: str, *, is_main: bool) -> None:
        self.items: list[_Item] = []
        self._session_id = session_id
        self._common: Json = {"cwd": cwd} if cwd else {}
        self._side = not is_main
        self._at = "1970-01-01T00:00:00.000Z"
        self._gap = (0, 0)

    # --- line by line

    def add(self, item: _Item) -> None:
        if item.line is not None:
            stamps = [row.timestamp for row in item.rows if row.timestamp]
            self._at = stamps[-1] if stamps else self._at
            self.items.append(item)
            return
        if item.why == "gap":
            self._gap = item.row["start"], item.row["end"]
            lost = f"Bytes {self._gap[0]} to {self._gap[1]} of this session are lost."
            text = f"{lost} What is still known of them follows, without capitals and punctuation."
            self._put(self._system(text, f"gap:{self._gap[0]}"), "gap", item.offset)
            return
        said = item.row
        if said["at"]:
            self._at = f"{rfc3339(said['at'])[:-1]}.000Z"
        if said["role"] in {"title", "note"}:
            row = {"type": "ai-title", "aiTitle": said["words"], "sessionId": self._session_id}
            self._put(row, "words", item.offset)
        elif said["role"] == "user":
            self._put(self._user(said["words"], said["name"]), "words", item.offset)
        else:
            called = "(a tool was called) " if said["role"] == "tool" else ""
            self._put(self._assistant(called + said["words"], said["name"]), "words", item.offset)

    def tell(self, told: str) -> None:
        """Begin the first gap with what is known of the whole session."""
        if told:
            first = next((n for n, item in enumerate(self.items) if item.why == "gap"), len(self.items) - 1)
            self.items.insert(first + 1, self._item(self._user(told, "told", isMeta=True), "told", None))

    # --- for the agent to open it

    def close(self) -> None:
        """Give every line that is held what it hangs on to."""
        self._give_parents()
        for _ in range(ROUNDS):
            if not (self._give_calls() or self._give_results()):
                break
        first = next((item for item in self.items if item.rows or item.is_link), None)
        if first is None or any(row.is_sidechain for row in first.rows[:1]):
            self.items.insert(0, self._item(self._system("It begins before this.", "start"), "parent", None))
        if not any(self._is_message(item) for item in self.items):
            text = "Of this session nothing that was said is held any longer."
            self.items.append(self._item(self._user(text, "nothing", isMeta=True), "told", None))
        self._link()

    def _known(self) -> set[str]:
        return {row.uuid for item in self.items for row in item.rows if row.uuid} | {
            item.row["uuid"] for item in self.items if item.is_link
        }

    def _give_parents(self) -> None:
        """Let the inferred line before one whose parent is gone be that parent, or put one there."""
        known, items = self._known(), self.items
        calls = {call for item in items for row in item.rows if row.message for call in row.message.calls()}
        self.items = []
        for item in items:
            for row in item.rows:
                if not row.needs_parent or row.parent is None or row.parent in known:
                    continue
                known.add(row.parent)
                lost = [r for r in (row.message.results() if row.message else ()) if r not in calls]
                if lost:
                    calls.update(lost)
                    parent = self._assistant("", f"call:{lost[0]}", calls=lost)
                elif (free := self._free()) is not None:
                    free.row["uuid"] = row.parent
                    free.row[MARK]["named"] = True
                    continue
                else:
                    parent = self._system("What stood here is lost.", f"parent:{row.parent}")
                parent["uuid"] = row.parent
                parent[MARK]["named"] = True
                self._put(parent, "parent", None)
            self.items.append(item)

    def _free(self) -> _Item | None:
        """The inferred line right before, if it is nobody's parent yet."""
        last = self.items[-1] if self.items else None
        is_free = last is not None and last.is_link and "named" not in last.row[MARK]
        return last if is_free else None

    def _give_calls(self) -> bool:
        """Put a call before each result that has none; whether there was one."""
        calls = {call for item in self.items for call in self._calls(item)}
        items, self.items = self.items, []
        for item in items:
            lost = [result for result in self._results(item) if result not in calls]
            if lost:
                calls.update(lost)
                self._put(self._assistant("", f"call:{lost[0]}", calls=lost), "call", None)
            self.items.append(item)
        return len(self.items) > len(items)

    def _give_results(self) -> bool:
        """Put a result behind each call that has none; whether there was one.  The last answer's may wait."""
        results = {result for item in self.items for result in self._results(item)}
        answers = [name for item in self.items if (name := self._answer(item))]
        items, self.items = self.items, []
        for item in items:
            self.items.append(item)
            lost = [call for call in self._calls(item) if call not in results]
            if lost and self._answer(item) != answers[-1]:
                results.update(lost)
                self._put(self._user("", f"result:{lost[0]}", results=lost), "result", None)
        return len(self.items) > len(items)

    def _link(self) -> None:
        """Let each inferred line go on from the one before it; none from itself."""
        parents = {row.uuid: row.parent for item in self.items for row in item.rows if row.uuid}
        last: str | None = None
        for item in self.items:
            if item.is_link:
                item.row["parentUuid"] = last
                parents[item.row["uuid"]] = last
                if _leads_to(parents, last, item.row["uuid"]):
                    item.row["parentUuid"] = parents[item.row["uuid"]] = None
                last = item.row["uuid"]
            for row in item.rows:
                last = row.uuid if row.uuid and not row.is_sidechain else last

    def _is_message(self, item: _Item) -> bool:
        kinds = {"user", "assistant"}
        if item.line is None:
            return item.row.get("type") in kinds
        return any(row.type in kinds and row.uuid and not row.is_sidechain for row in item.rows)

    def _calls(self, item: _Item) -> list[str]:
        return [call for message in _messages(item) for call in message.calls()]

    def _results(self, item: _Item) -> list[str]:
        return [call for message in _messages(item) for call in message.results()]

    def _answer(self, item: _Item) -> str:
        """The id of the answer that a line is of."""
        if item.line is None:
            return str(item.row["message"]["id"]) if item.row.get("type") == "assistant" else ""
        return next((r.message.id for r in item.rows if r.type == "assistant" and r.message), "")

    # --- rows

    def _put(self, row: Json, why: str, offset: int | None) -> None:
        self.items.append(self._item(row, why, offset))

    def _item(self, row: Json, why: str, offset: int | None) -> _Item:
        mark = {"from": why} if offset is None else {"from": why, "offset": offset}
        row[MARK] = mark | row.get(MARK, {})
        return _Item(row=row, why=why, offset=offset)

    def _row(self, kind: str, name: str, **fields: Any) -> Json:
        return {
            "parentUuid": None,
            "isSidechain": self._side,
            "userType": "external",
            **self._common,
            "sessionId": self._session_id,
            "type": kind,
            "uuid": str(uuid.uuid5(_SPACE, f"{self._session_id}/{name}")),
            "timestamp": self._at,
            **fields,
            MARK: {},
        }

    def _system(self, text: str, name: str) -> Json:
        return self._row("system", name, subtype="informational", level="warning", content=text)

    def _user(self, text: str, name: str, *, results: Sequence[str] = (), **fields: Any) -> Json:
        content: Any = text
        if results:
            content = [
                {"type": "tool_result", "tool_use_id": call, "content": "(lost)", "is_error": True}
                for call in results
            ]
        return self._row("user", name, message={"role": "user", "content": content}, **fields)

    def _assistant(self, text: str, name: str, *, calls: Sequence[str] = ()) -> Json:
        blocks: list[Json] = [{"type": "text", "text": text}] if text else []
        blocks += [{"type": "tool_use", "id": call, "name": "lost", "input": {}} for call in calls]
        message = {
            "id": f"msg_{uuid.uuid5(_SPACE, f'{self._session_id}/{name}').hex}",
            "type": "message",
            "role": "assistant",
            "model": "<synthetic>",
            "content": blocks,
            "stop_reason": "tool_use" if calls else "end_turn",
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return self._row("assistant", name, message=message)


def _messages(item: _Item) -> list[Message]:
    if item.line is not None:
        return [row.message for row in item.rows if row.message is not None]
    return [msgspec.convert(item.row["message"], Message)] if "message" in item.row else []


def _leads_to(parents: dict[str, str | None], start: str | None, sought: str) -> bool:
    seen: set[str] = set()
    at = start
    while at is not None and at not in seen:
        if at == sought:
            return True
        seen.add(at)
        at = parents.get(at)
    return False


# --- what comes out


def _finished(items: Sequence[_Item], gaps: Sequence[tuple[int, int]], length: int) -> Made:
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


def _described(gap: tuple[int, int], items: Sequence[_Item]) -> Gap:
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


# --- a whole session


@dataclass(slots=True)
class Reconstruction:
    """What was made of a session: its files, those of which only fragments are held, and those that are lost.

    A fragment is called after its file and its offset.
    """

    files: dict[str, Made] = field(default_factory=dict)
    fragments: dict[str, bytes] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def report(self) -> Json:
        """What is exact, what is inferred and what is missing; of each file, and of each line."""
        return {
            "files": [
                {
                    "path": name,
                    "size": len(made.data),
                    "was": made.length,
                    "status": "exact" if made.exact else "inferred" if not made.count("exact") else "mixed",
                    "exact": made.count("exact"),
                    "inferred": made.count("inferred"),
                    "gaps": [_gap(gap) for gap in made.gaps],
                    "lines": made.lines,
                }
                for name, made in sorted(self.files.items())
            ],
            "fragments": sorted(self.fragments),
            "missing": sorted(self.missing),
            "notes": self.notes,
        }


def _gap(gap: Gap) -> Json:
    return {
        "offset": gap.start,
        "length": gap.end - gap.start,
        "after_uuid": gap.before,
        "before_uuid": gap.after,
        "uuids": list(gap.named),
        "inferred_lines": gap.inferred,
    }


def session(known: Known, remains: Remains) -> Reconstruction:
    """Make the best of what is left of a session; nothing is written."""
    result = Reconstruction(notes=list(remains.notes))
    main = f"{known.session_id}.jsonl" if known.ref.source == "claude" else CONTEXT
    names = {*remains.versions, *remains.lengths, *remains.passages} - remains.deleted
    for name in sorted(names | ({main} if remains.filed or remains.summary else set())):
        versions, passages = remains.versions.get(name, []), remains.passages.get(name, [])
        if grows_by_lines(name):
            made = transcript(
                known.session_id,
                versions,
                length=remains.lengths.get(name, 0),
                passages=passages,
                told=_told(known, remains) if name == main else "",
                cwd=remains.summary.cwd if remains.summary is not None else known.folder,
                is_main=name == main,
            )
            if made.lines:
                result.files[name] = made
            else:
                result.missing.append(name)
        else:
            _document(result, name, versions, passages)
    if known.ref.source == "structured" and main not in result.files:
        result.files[main] = _inferred(_context(known, remains, result), "record")
    return result


def _document(
    result: Reconstruction, name: str, versions: Sequence[Version], passages: Sequence[Passage]
) -> None:
    """A file that is rewritten as a whole: the first version that is whole, else its fragments and words."""
    for version in versions:
        if version.pieces and not version.gaps():
            data = b"".join(piece.data for piece in version.pieces)
            line = {"line": 1, "status": "exact" if version.exact else "inferred", "offset": 0}
            line |= {"from": version.pieces[0].where, "uuid": ""}
            result.files[name] = Made(data, [line], [], len(data))
            return
    result.missing.append(name)
    for version in versions[:1]:
        for piece in version.pieces:
            result.fragments[f"{name}.{piece.offset}.fragment"] = piece.data
    if words := [
        p.words for p in sorted(passages, key=lambda p: (-p.generation, p.offset, p.nth)) if p.words
    ]:
        result.files[f"{name}.words.txt"] = _inferred("\n".join(words) + "\n", "words")


def _inferred(text: str, why: str) -> Made:
    data = text.encode("utf-8", "replace")
    return Made(data, [{"line": 1, "status": "inferred", "from": why, "offset": None, "uuid": ""}], [], 0)


def _facts(known: Known, remains: Remains) -> Json:
    """What the record and the state still tell."""
    record = remains.filed.record if remains.filed is not None else None
    summary = remains.summary
    critical = [c for c in (summary and summary.critical, record and record.critical_data) if c]
    return {
        "title": (summary.title if summary else "") or (record.title if record else "") or known.title,
        "branch": (summary.branch if summary else "") or (record.context.branch if record else ""),
        "current_phase": next((c.current_phase for c in critical if c.current_phase), ""),
        "decisions": list(dict.fromkeys(text for c in critical for text in c.decisions)),
        "next_steps": list(dict.fromkeys(text for c in critical for text in c.next_steps)),
        "checkpoints": list({e.id: msgspec.to_builtins(e) for c in critical for e in c.checkpoints}.values()),
    }


def _told(known: Known, remains: Remains) -> str:
    """The facts as a person, and an agent, reads them."""
    facts = _facts(known, remains)
    lines = ["This session was put together again from what was left of it."]
    for name in ("title", "branch", "current_phase"):
        lines += [f"{name.replace('_', ' ').capitalize()}: {facts[name]}"] if facts[name] else []
    for name in ("decisions", "next_steps"):
        if facts[name]:
            lines += [f"{name.replace('_', ' ').capitalize()}:", *(f"- {text}" for text in facts[name])]
    return "\n".join(lines)


def _context(known: Known, remains: Remains, result: Reconstruction) -> str:
    """A `context.json` of what the record, the state, or else the session's own checkpoints tell."""
    if remains.summary is None:
        remains.summary = _concluded(known, result)
    facts = {name: value for name, value in _facts(known, remains).items() if value}
    return json.dumps(facts | {MARK: True}, ensure_ascii=False, indent=1) + "\n"


def _concluded(known: Known, result: Reconstruction) -> Summary:
    """What a structured session's files that are held say, as if they were captured."""
    source, summary, folder = Structured(list, silent), Summary(), Path(known.session_id)
    files = [
        SessionFile(name, folder / name, Role.PART, len(made.data), number, 0)
        for number, (name, made) in enumerate(sorted(result.files.items()))
    ]
    found = Found(Ref("structured", known.session_id), folder, folder, tuple(files))
    source.conclude(summary, found, lambda name: made.data if (made := result.files.get(name)) else None)
    return summary

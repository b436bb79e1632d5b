"""`note lint`: what keeps the next reader of a note from going on with it.

Every rule says where, what is wrong, and how to mend it.  A `hint` is worth a thought and no problem.

    text        binary · encoding · length · empty · name
    topic       title-missing · one-topic
    metadata    status-missing · status-unknown · status-repeated · date-missing · date-invalid
                date-order · date-future · date-name · thread-broken
    status      status-open · status-blocked · next-missing
    entries     failed-why · next-order · next-priority · todo-priority · todo-context · vague
                approach-path · approach-time (hints)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

from sessionsync.model import rfc3339
from sessionsync.notes import naming, wording
from sessionsync.notes.entries import Entry, entries
from sessionsync.sources import note_reading
from sessionsync.sources.markdown import plain
from sessionsync.sources.note_reading import Field, Heading, Note
from sessionsync.sources.note_terms import STATES, TIMES, state_of
from sessionsync.sources.objects import moment
from sessionsync.sources.papers import issue_of
from sessionsync.sources.prose import clip

PROBLEM, HINT = "problem", "hint"
_SHOWN = 60  # characters of an entry in a message
_ZONES_S = 36 * 3600.0
"""A time without a zone may be that far ahead of UTC, and a clock be a little wrong."""
_STATED = ", ".join(STATES)
_JUDGED = ("worked", "failed", "untried", "next", "decisions", "issues", "blockers")
"""Sections whose entries somebody is to act on, or not to try again."""
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_JOINTS = ("; ", " + ", " / ", " & also ", " and also ")


class Problem(NamedTuple):
    """Something in a note: `line` counts from 1, `hint` is how to mend it, `severity` problem or hint."""

    line: int
    rule: str
    message: str
    hint: str
    severity: str = PROBLEM


@dataclass(frozen=True, slots=True)
class _Looked:
    """What the rules look at."""

    note: Note
    name: str
    now: float
    exists: Callable[[str], bool]

    def fields(self, *names: str) -> Iterator[Field]:
        return (said for said in self.note.metadata if said.name in names)

    def entries(self, section: str) -> list[Entry]:
        """What was read with its line; of a note that is too long what is behind that is left out."""
        last = self.note.read_lines
        found = entries(self.note.sections.get(section, []))
        return [entry for entry in found if not last or entry.line <= last]


def lint(name: str, data: bytes, *, now: float, exists: Callable[[str], bool]) -> list[Problem]:
    """Everything that is wrong with a note, by line.

    `name` is its path in the notes' folder, `now` Unix seconds; `exists` says whether a file lies at a path
    that is relative to the note.
    """
    looked = _Looked(note_reading.read(data), name, now, exists)
    found = list(_text(looked, data))
    if all(problem.rule not in {"binary", "empty"} for problem in found):
        rules = (_topic, _status, _dates, _thread, _state, _failed, _next, _todos, _vague, _approaches)
        found += [problem for rule in rules for problem in rule(looked)]
    return sorted(found, key=lambda problem: (problem.line, problem.rule))


# --- the file


def _text(looked: _Looked, data: bytes) -> Iterator[Problem]:
    if b"\0" in data[:4096] and data[:2] not in _BOMS:
        yield Problem(
            1, "binary", "This is no text.", "A note is Markdown in UTF-8; move the file elsewhere."
        )
        return
    if not data.strip(b"\xef\xbb\xbf \t\r\n\0"):
        yield Problem(1, "empty", "Nothing is in it.", "Begin it with: sessiond note new TOPIC")
        return
    if coding := _BOMS.get(data[:2]):
        yield Problem(1, "encoding", f"It is written in {coding}.", "Save it as UTF-8.")
    else:
        yield from _bad_bytes(data)
    if looked.note.read_lines:
        message = "It is so long that what stands behind this line was not looked at."
        yield Problem(
            looked.note.read_lines, "length", message, "Move logs and code into files, and link them."
        )
    yield from _named(looked.name)
    yield from _twice(looked)


def _bad_bytes(data: bytes) -> Iterator[Problem]:
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        yield Problem(line, "encoding", "Here is a byte that is no UTF-8.", "Save it as UTF-8.")
    if (at := data.find(b"\0")) >= 0 and data[:2] not in _BOMS:
        yield Problem(data.count(b"\n", 0, at) + 1, "encoding", "Here is a NUL.", "Take it out.")


def _named(name: str) -> Iterator[Problem]:
    if issue_of(name):
        return
    said = naming.parse(name)
    stem, _, ending = name.rpartition(".")
    if said.day is None:
        what = "Its name does not begin with the day."
    elif any(not (letter.isalnum() or letter in "-_") for letter in stem):
        what = "Its name has blanks or marks in it, which links and commands stumble over."
    else:
        return
    better = f"{said.day or 'YYYY-MM-DD'}-{said.topic or 'topic'}.{ending}"
    yield Problem(1, "name", what, f"Call it {better}", HINT)


def _twice(looked: _Looked) -> Iterator[Problem]:
    stem, _, ending = PurePosixPath(looked.name).name.rpartition(".")
    other = f"{stem}.{'tmp' if ending == 'md' else 'md'}"
    if stem and looked.exists(other):
        message = f"{other} has the same name, so commands take one for the other."
        yield Problem(1, "name", message, "Call one of them otherwise, or make one of both.", HINT)


# --- what it is about


def _topic(looked: _Looked) -> Iterator[Problem]:
    note = looked.note
    if not note.title and not note.fields.get("title"):
        yield Problem(1, "title-missing", "It has no title.", "Begin with a line: # What this is about")
    titles = [heading for heading in note.headings if heading.depth == 1 and not heading.section]
    for heading in titles[1:]:
        message = f"A second topic begins here: {clip(heading.title, _SHOWN)}"
        yield Problem(
            heading.line, "one-topic", message, "Give it a note of its own: sessiond note new TOPIC"
        )
    for again in [heading for heading in note.headings if heading.section == "metadata"][1:]:
        message = "A second Metadata begins here, so there are two notes in this file."
        yield Problem(again.line, "one-topic", message, "Move the second one into a file of its own.")
    named = list(looked.fields("title"))
    for field in [field for field in named[1:] if field.value != named[0].value]:
        message = f"A second topic is named: {clip(field.value, _SHOWN)}"
        yield Problem(field.line, "one-topic", message, "One topic a file: give it a note of its own.")
    for heading in titles[:1]:
        if any(joint in heading.title for joint in _JOINTS):
            message = "The title names more than one topic."
            yield Problem(
                heading.line, "one-topic", message, "One topic a file: give each a note of its own."
            )


# --- its metadata


def _status(looked: _Looked) -> Iterator[Problem]:
    said = [(field.line, field.value) for field in looked.fields("status")]
    stands = (block for block in looked.note.sections.get("status", ()) if block.kind in {"item", "text"})
    said = said or [(block.line, plain(block.text)) for block in stands][:1]
    if not said:
        yield Problem(
            _top(looked), "status-missing", "No status is given.", f"Add **Status:** and one of {_STATED}."
        )
        return
    line, first = said[0]
    if first not in STATES:
        meant = state_of(first)
        how = f"Write {meant}." if meant else f"Write one of {_STATED}."
        yield Problem(line, "status-unknown", f"{clip(first, _SHOWN) or 'Nothing'} is no status.", how)
    for line, value in said[1:]:
        if value != first:
            message = f"The status is {clip(first, _SHOWN)} above, and {clip(value, _SHOWN)} here."
            yield Problem(line, "status-repeated", message, "Leave the one that is true now.")


def _dates(looked: _Looked) -> Iterator[Problem]:
    note = looked.note
    for names, word in ((("created", "date"), "Created"), (("updated", "ended"), "Updated")):
        if not any(looked.fields(*names)):
            begun = naming.parse(looked.name).day if word == "Created" else None
            how = f"Add **{word}:** {begun or rfc3339(looked.now)}"
            yield Problem(_top(looked), "date-missing", f"It does not say when it was {word.lower()}.", how)
    day = note.fields.get("date", "")
    for field in looked.fields(*TIMES):
        at = moment(field.value) or moment(f"{day} {field.value}")
        if not at:
            what = f"{clip(field.value, _SHOWN) or 'Nothing'} is no date."
            how = f"Write it as 2026-01-31 or 2026-01-31T14:05:00Z, as in {rfc3339(looked.now)}"
            yield Problem(field.line, "date-invalid", what, how)
        elif at > rfc3339(looked.now + _ZONES_S):
            yield Problem(field.line, "date-future", f"{field.value} is yet to come.", "Write when it was.")
    yield from _order(looked)


def _order(looked: _Looked) -> Iterator[Problem]:
    note = looked.note
    begun = note.time("created", "date")
    for name in ("updated", "ended"):
        at, field = note.time(name), next(looked.fields(name), None)
        if field is None or not at or not begun:
            continue
        bare = min(len(field.value), len(note.fields.get("created", ""))) <= len("2026-01-31")
        if at[:10] < begun[:10] or (at < begun and not bare):
            message = f"It says {name} {field.value}, before it was begun at {begun}."
            yield Problem(field.line, "date-order", message, "Set right whichever of the two is wrong.")
    named = naming.parse(looked.name).day
    if named and begun and abs((date.fromisoformat(begun[:10]) - named).days) > 1:
        line = next(looked.fields("created", "date"), Field(1, "", "")).line
        message = f"It was begun on {begun[:10]}, and its name says {named}."
        yield Problem(line, "date-name", message, "Set right whichever of the two is wrong.")


def _thread(looked: _Looked) -> Iterator[Problem]:
    target = looked.note.thread
    if naming.is_note(target) and not looked.exists(target):
        line = next(looked.fields("thread"), Field(1, "", "")).line
        message = f"The note before this one is not there: {clip(target, _SHOWN)}"
        how = "Name a file in the same folder; one that was deleted: sessiond restore"
        yield Problem(line, "thread-broken", message, how)


def _state(looked: _Looked) -> Iterator[Problem]:
    status, note = looked.note.status, looked.note
    line = next(looked.fields("status"), Field(_top(looked), "", "")).line
    steps = note.open_items("next")
    if status == "completed" and (left := [e for e in looked.entries("next") if e.done is False]):
        message = f"It is completed, and this is not done: {clip(left[0].text, _SHOWN)}"
        yield Problem(left[0].line, "status-open", message, "Tick it, move it into a new note, or go on.")
    if status == "blocked" and not note.open_items("blockers"):
        message = "It is blocked, and nothing says by what."
        yield Problem(line, "status-blocked", message, "Say under Dependencies & Blockers what it waits for.")
    if status == "in_progress" and not steps:
        message = "It is in progress, and no next step is left."
        yield Problem(
            line, "next-missing", message, "Say under Next Steps what comes now, or write completed."
        )


# --- its entries


def _failed(looked: _Looked) -> Iterator[Problem]:
    for entry in looked.entries("failed"):
        if not wording.says_why(entry.text) and not wording.means(entry.below):
            message = f"Nothing says why this failed: {clip(entry.text, _SHOWN)}"
            yield Problem(
                entry.line, "failed-why", message, "Add the reason: … because …, or the message it gave."
            )


def _next(looked: _Looked) -> Iterator[Problem]:
    steps = [entry for entry in looked.entries("next") if not entry.done]
    ranks = [wording.priority(entry.text) for entry in steps]
    numbered = all(entry.number for entry in steps)
    if len(steps) > 1 and not numbered and None in ranks:
        entry = steps[ranks.index(None)]
        message = f"Nothing says how urgent this is beside the others: {clip(entry.text, _SHOWN)}"
        yield Problem(
            entry.line, "next-priority", message, "Number the steps by urgency, or mark each P1, P2 or P3."
        )
    highest, last = 0, 0
    for entry, rank in zip(steps, ranks, strict=True):
        how = "Put the most urgent first."
        if rank is not None and rank < highest:
            message = f"This is more urgent than what stands above it: {clip(entry.text, _SHOWN)}"
            yield Problem(entry.line, "next-order", message, how)
        elif entry.number < last and numbered:
            message = f"Number {entry.number} stands behind number {last}."
            yield Problem(entry.line, "next-order", message, how)
        highest, last = max(highest, rank or 0), entry.number


def _todos(looked: _Looked) -> Iterator[Problem]:
    note = looked.note
    listed = {entry.line for entry in _in_todo_lists(looked)}
    blocks = [block for section in (*note.sections.values(), note.loose) for block in section]
    for block in blocks:
        if note.read_lines and block.line > note.read_lines:
            continue
        for number, line in enumerate(block.text.split("\n"), block.line):
            is_listed = block.done is not True and block.kind == "item" and number in listed
            if is_listed or wording.is_todo(line):
                yield from _todo(number, plain(line))


def _in_todo_lists(looked: _Looked) -> Iterator[Entry]:
    """What stands below a heading that says that these are TODOs."""
    headings = [*looked.note.headings, Heading(sys.maxsize, 0, "", "")]
    for heading, following in pairwise(headings):
        if heading.title.lower().startswith(("todo", "to do", "to-do")):
            listed = looked.entries(heading.section) if heading.section else entries(looked.note.loose)
            yield from (entry for entry in listed if heading.line < entry.line < following.line)


def _todo(line: int, text: str) -> Iterator[Problem]:
    if wording.priority(text) is None:
        message = f"This has no priority: {clip(text, _SHOWN)}"
        yield Problem(line, "todo-priority", message, "Mark it P1, P2 or P3: TODO P2: …")
    if not wording.has_context(text):
        message = f"This does not say where, or what for: {clip(text, _SHOWN)}"
        yield Problem(line, "todo-context", message, "Name the file, the issue, or what goes wrong.")


def _vague(looked: _Looked) -> Iterator[Problem]:
    for section in _JUDGED:
        for entry in looked.entries(section):
            if wording.is_vague(entry.text) and not wording.means(entry.below):
                message = f"Nobody can act on this: {clip(entry.text, _SHOWN)}"
                yield Problem(
                    entry.line, "vague", message, "Say what exactly, where, and how it is known to be done."
                )


def _approaches(looked: _Looked) -> Iterator[Problem]:
    for entry in (*looked.entries("worked"), *looked.entries("failed")):
        text, shown = f"{entry.text} {entry.below}", clip(entry.text, _SHOWN)
        if not wording.has_path(text):
            message = f"This names no file: {shown}"
            yield Problem(entry.line, "approach-path", message, "Add the path, as in src/cache.py:12", HINT)
        if not wording.has_time(text):
            message = f"This does not say when, or how long it took: {shown}"
            yield Problem(
                entry.line, "approach-time", message, "Add it, as in 2026-01-31 14:05, or 20 min", HINT
            )


def _top(looked: _Looked) -> int:
    """Where metadata belongs: below its heading, else in the first line."""
    headings = (heading.line for heading in looked.note.headings if heading.section == "metadata")
    return next(headings, 1)

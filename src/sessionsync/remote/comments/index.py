"""The body of a project's issue: the hidden line by which it is found, and an index of its sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sessionsync.privacy.gate import ClearedText, Gate
from sessionsync.remote.comments.inert import code, one_line, plain
from sessionsync.remote.comments.marker import (
    end_line,
    parse_end,
    parse_project_marker,
    project_marker,
    split_lines,
    text_hash,
)
from sessionsync.remote.comments.record import readable

BODY_BYTES = 60_000
"""The body stays below: GitHub takes 65,536 at least, and one report has it drop longer ones in silence."""
TITLE_CHARS = 256
"""Of an issue's title (GitHub)."""

_HEAD = (
    "The AI coding sessions of this project, one comment each, kept up to date by sessiond.",
    "A comment shows what was decided, what is next, and the command that resumes it on any machine.",
)


class IndexEntry(NamedTuple):
    """A session in the index.  `comment` is the id of the comment with its record, 0 for no link to it."""

    session_id: str
    title: str
    tier: str
    comment: int = 0


def new_issue(gate: Gate, project: str, key: str, volume: int = 1) -> tuple[ClearedText, ClearedText]:
    """Title and body of a project's issue before it has sessions."""
    suffix = f" ({volume})" if volume > 1 else ""
    name = one_line(gate.text(project)[0], TITLE_CHARS - len(f"Sessions: {suffix}"))
    return ClearedText(f"Sessions: {name}{suffix}"), render_issue_body(gate, key, (), volume=volume)


def render_issue_body(
    gate: Gate, key: str, entries: Sequence[IndexEntry], *, volume: int = 1, kept: str = ""
) -> ClearedText:
    """The body of a project's issue.

    `entries` are in the order in which their comments were made; the newest is shown first, and the oldest
    are only counted where the body would reach `BODY_BYTES`.  It says nothing that changes with each
    checkpoint.  `kept` is what `outside_index` found in the body that is replaced.
    """
    kept = kept.strip("\n").rstrip()[: BODY_BYTES // 8]
    head = list(_HEAD)
    if volume > 1:
        head.append("The issue before this one is full; its sessions stay there.")
    room = BODY_BYTES - _size(_body(key, volume, [*head, "", _older(len(entries))], kept))
    lines: list[str] = []
    for entry in reversed(entries):
        line = _line(gate, entry)
        room -= _size(line) + 1
        if room <= 0:
            lines.append(_older(len(entries) - len(lines)))
            break
        lines.append(line)
    return ClearedText(_body(key, volume, [*head, "", *(lines or ["No session yet."])], kept))


def outside_index(body: str) -> str:
    """Return what a person wrote before or behind the index in an issue's body, to be kept at the next edit.

    Of a body without an end line, as a person makes it who adds the hidden line by hand, that is all else.
    """
    lines = split_lines(body)
    start = next((at for at, line in enumerate(lines) if parse_project_marker(line)), None)
    if start is None:
        return ""
    end = next((at for at in range(start, len(lines)) if parse_end(lines[at])), start)
    texts = ("\n".join(part).strip("\n").rstrip() for part in (lines[:start], lines[end + 1 :]))
    return "\n\n".join(text for text in texts if text)


def _line(gate: Gate, entry: IndexEntry) -> str:
    title = plain(gate.text(entry.title)[0], 120) or "Untitled session"
    shown = f"[{title}](#issuecomment-{entry.comment})" if entry.comment else title
    tier = f"`{entry.tier}` · " if entry.tier else ""
    return f"- {shown} · {tier}{code(one_line(readable(entry.session_id), 600))}"


def _older(count: int) -> str:
    return f"- and {count:,} older sessions, each in a comment below"


def _body(key: str, volume: int, lines: Sequence[str], kept: str) -> str:
    own = "\n".join(lines)
    text = f"{project_marker(key, volume)}\n{own}\n{end_line(text_hash(own))}"
    return f"{text}\n\n{kept}" if kept else text


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))

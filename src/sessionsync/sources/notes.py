"""Session notes: Markdown that agents, their hooks and people keep beside the work.

    <project>/.claude/sessions/*.tmp, *.md        all that is no context file
    <agent>/session-data/*.tmp, sessions/*.tmp    of the project that the note itself names

Hooks rewrite them in place, and sweep the old ones away; over midnight a session gets a second one.  So a
note that is gone is nobody's decision, and what a rewriting cut is kept as every generation is.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import PurePosixPath

from sessionsync.model import Context, Found, Summary, rfc3339
from sessionsync.sources import Read, note_reading
from sessionsync.sources.folders import head
from sessionsync.sources.note_reading import Note
from sessionsync.sources.objects import ENTRIES
from sessionsync.sources.papers import STAMP, Papers, issue_of
from sessionsync.sources.passages import Passage, of_text
from sessionsync.sources.places import SESSIONS
from sessionsync.sources.prose import TITLE_CHARS, clip

FAILED = 15
"""Failed approaches among the decisions: not to go that way again is one."""
_DRAFTS = (".md.tmp", ".json.tmp", ".tmp.tmp")
"""What a program writes before it moves it into the place of the file that it is."""
_UNKNOWN = frozenset({"", "unknown", "none", "n/a"})


class Notes(Papers):
    """The notes of the projects, and those in the agent's own folders."""

    name = "note"
    nested = True

    def takes(self, name: str, *, of_agent: bool) -> bool:
        """Markdown and `.tmp`; in the agent's own folders `.tmp` alone."""
        if name.endswith(_DRAFTS):
            return False
        return name.endswith(".tmp") or (name.endswith(".md") and not of_agent and not issue_of(name))

    def peek_cwd(self, found: Found, limit_bytes: int) -> str:
        """The project's folder; of a note in the agent's, the one that it names."""
        if found.ref.session_id.startswith("/".join(SESSIONS)):
            return super().peek_cwd(found, limit_bytes)
        return _worktree(note_reading.read(head(found.files[0].path, limit_bytes)))

    def passages(self, name: str, data: bytes, offset: int) -> Iterator[Passage]:
        """The whole text."""
        del name
        return of_text(data, offset)

    def conclude(self, summary: Summary, found: Found, read: Read) -> None:
        """Read the note anew."""
        take_note(summary, found, read(found.files[0].name))


def take_note(summary: Summary, found: Found, data: bytes | None) -> None:
    """Bring `summary` up to date from a note's bytes; of one that is too large only its name is known."""
    note = note_reading.read(data or b"")
    critical = summary.critical
    summary.title = title_of(note) or clip(PurePosixPath(found.ref.session_id).stem, TITLE_CHARS)
    summary.cwd = summary.cwd or _worktree(note) or str(found.root)
    summary.status = note.status
    summary.started_at = note.time("created", "date") or summary.started_at
    summary.last_at = rfc3339(found.mtime)  # what is written has no time zone
    branch = note.fields.get("branch", "")
    summary.branch = clip("" if branch.lower() in _UNKNOWN else branch, 200)
    issue, repository = note.number("issue")
    pull, of_pull = note.number("pr")
    summary.context = Context(repo=repository or of_pull, branch=summary.branch, issue=issue, pr=pull)
    failed = [f"Did not work: {text}" for text in note.entries("failed", joined=True)]
    decided = [*failed[-FAILED:], *note.entries("decisions", joined=True)]
    critical.decisions = list(dict.fromkeys(map(clip, decided)))[-ENTRIES:]
    steps = note.open_items("next") or note.open_items("untried") or note.boxes()
    critical.next_steps = steps[:ENTRIES]
    critical.current_phase = (
        note.fields.get("phase", "") or note.first("phase") or note.last("progress") or note.first("context")
    )
    if note.status or note.updated:
        summary.scratch[STAMP] = f"{note.status}\n{note.updated}"


def title_of(note: Note) -> str:
    """What the note calls itself, without the word `Session`; where that is but a day, its first task."""
    title = note.fields.get("title", "") or note.title
    word, colon, rest = title.partition(":")
    if colon and word.strip().lower() in {"session", "session note", "session notes"}:
        title = rest.strip()
    try:
        date.fromisoformat(title)
    except ValueError:
        return clip(title, TITLE_CHARS)
    return clip(next(iter(note.entries("tasks")), "") or note.first("context"), TITLE_CHARS)


def _worktree(note: Note) -> str:
    """The folder that a note says it is about; '' where it says none."""
    folder = note.fields.get("worktree", "")
    return folder if folder.startswith("/") and "\0" not in folder else ""

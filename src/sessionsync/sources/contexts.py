"""Context files: `<project>/.claude/sessions/<number>.md` and `*issue-<number>.md`, each of one GitHub issue.

Markdown as notes are; its record is a comment of that very issue.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from sessionsync.model import Found, Summary
from sessionsync.sources import Read
from sessionsync.sources.notes import take_note
from sessionsync.sources.papers import Papers, issue_of
from sessionsync.sources.passages import Passage, of_text


class Contexts(Papers):
    """The context files of the projects."""

    name = "context"

    def takes(self, name: str, *, of_agent: bool) -> bool:
        """What is named after an issue."""
        return not of_agent and issue_of(name) > 0

    def passages(self, name: str, data: bytes, offset: int) -> Iterator[Passage]:
        """The whole text."""
        del name
        return of_text(data, offset)

    def conclude(self, summary: Summary, found: Found, read: Read) -> None:
        """Read the file anew; its name says which issue it is of, whatever stands inside."""
        name = found.files[0].name
        take_note(summary, found, read(name))
        summary.context = msgspec.structs.replace(summary.context, issue=issue_of(name), repo="")

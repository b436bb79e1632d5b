"""`note new`: a note is made where there is none, and nothing is ever written over."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import NamedTuple

from sessionsync.errors import NoteError, NoteExists, UsageError
from sessionsync.notes import naming
from sessionsync.notes.template import draft
from sessionsync.sources.folders import real
from sessionsync.sources.places import SESSIONS


class Begun(NamedTuple):
    """A new note, and the name of the topic's note before it; '' where it is the first."""

    path: Path
    previous: str


def begin(project: Path, topic: str, kind: str, *, day: date, at: str, session: str) -> Begun:
    """Make the note of a topic in a project's `.claude/sessions`.

    `day` goes into its name, `at` (RFC 3339) into its metadata; `session` is the agent's, as `source:id`.

    Raises:
        UsageError: nothing of the topic can stand in a file's name.
        NoteExists: there is a note of that name.
        NoteError: it could not be written.
    """
    wanted = naming.slug(topic)
    if not wanted:
        raise UsageError(f"The topic {topic!r} has no letter and no digit.", hint="Name what it is about.")
    project = real(project)
    folder = project.joinpath(*SESSIONS)
    if not real(folder).is_relative_to(project):
        raise NoteError(
            f"{folder} is a link out of the project.", hint="What lies there would not be watched: remove it."
        )
    path = folder / naming.file_name(day, topic)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        previous = _previous(folder, wanted, path.name)
        _write(path, draft(topic, kind, at=at, session=session, previous=previous))
    except OSError as error:
        if isinstance(error, FileExistsError) and os.path.lexists(path):
            raise NoteExists(
                f"There is a note of today about that: {path}", hint="Go on in it, or name another topic."
            ) from error
        raise NoteError(
            f"{path} could not be written: {error.strerror}.", hint="Make room, or let it be written to."
        ) from error
    return Begun(path, previous)


def _previous(folder: Path, topic: str, name: str) -> str:
    """The newest other note of the topic."""
    named = ((naming.parse(entry.name), entry.name) for entry in os.scandir(folder) if entry.is_file())
    notes = [
        (said.day, other)
        for said, other in named
        if said.day and said.topic == topic and naming.is_note(other) and other != name
    ]
    return max(notes, default=(None, ""))[1]


def _write(path: Path, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o666), "w", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - by descriptor
        try:
            file.write(text)
            file.flush()
        except OSError:
            path.unlink(missing_ok=True)
            raise

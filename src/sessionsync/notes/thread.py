"""`note show`: the notes of one topic as one story, the oldest first.

Notes belong together that have one topic in their names, name each other as their thread, or name the same
issue or address as it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from sessionsync.errors import NoSuchNote, UsageError
from sessionsync.notes import naming
from sessionsync.sources import note_reading
from sessionsync.sources.note_reading import Note
from sessionsync.sources.note_terms import says
from sessionsync.sources.notes import title_of

CANDIDATES = 10


class Paper(NamedTuple):
    """A note's file: its path in the notes' folder, its place, its bytes, and whether only a copy is left."""

    name: str
    path: str
    data: bytes
    deleted: bool = False


class Told(NamedTuple):
    """What one note tells; `begun` and `updated` are RFC 3339, '' where it does not say."""

    paper: Paper
    topic: str
    title: str
    status: str
    begun: str
    updated: str
    session: str
    worked: list[str]
    failed: list[str]
    decided: list[str]
    open: list[str]
    links: frozenset[str]
    """What it has in common with the others of its thread."""


def told(paper: Paper) -> Told:
    """Read a note for its story."""
    note = note_reading.read(paper.data)
    named = naming.parse(paper.name)
    day = named.day.isoformat() if named.day else ""
    return Told(
        paper,
        named.topic,
        title_of(note) or named.topic,
        note.status,
        note.time("created", "date") or day,
        note.time("updated", "ended"),
        note.fields.get("session", "") if says(note.fields.get("session", "")) else "",
        _listed(note, "worked"),
        _listed(note, "failed"),
        _listed(note, "decisions"),
        list(dict.fromkeys((*note.open_items("next"), *note.open_items("untried")))) or note.boxes(),
        frozenset(_links(paper.name, named.topic, note)),
    )


def thread(papers: Iterable[Paper], topic: str = "") -> list[Told]:
    """The notes of a topic, the oldest first; without one, of the newest note's.

    Raises:
        NoSuchNote: there is none.
        UsageError: the topic could be several.
    """
    notes = sorted(map(told, papers), key=lambda each: (each.begun, each.updated, each.paper.name))
    if not notes:
        raise NoSuchNote(
            "There are no notes in this project.", hint="Begin one with: sessiond note new TOPIC"
        )
    chosen = _chosen(notes, topic) if topic else notes[-1]
    links = set(chosen.links)
    while more := {link for note in notes if links & note.links for link in note.links} - links:
        links |= more
    return [note for note in notes if links & note.links]


def topics(papers: Iterable[Paper]) -> list[str]:
    """Every topic that a name says, the newest first."""
    dated = sorted((naming.parse(paper.name) for paper in papers), key=lambda name: str(name.day or ""))
    return list(dict.fromkeys(name.topic for name in reversed(dated) if name.topic))


def _chosen(notes: Sequence[Told], topic: str) -> Told:
    """The note that a person means: by topic, by file, by its title, or by a part of its topic."""
    wanted, name = naming.slug(topic), PurePosixPath(topic).name
    for fits in (
        [note for note in notes if note.topic == wanted],
        [note for note in notes if topic == note.paper.path or name == PurePosixPath(note.paper.name).name],
        [note for note in notes if name == PurePosixPath(note.paper.name).stem],
        [note for note in notes if naming.slug(note.title) == wanted],
    ):
        if fits and wanted:
            return fits[-1]
    near = [note for note in notes if wanted and wanted in note.topic]
    found = sorted({note.topic for note in near})
    if not found:
        raise NoSuchNote(f"There is no note about {topic!r}.", hint=f"There are: {_some(notes)}")
    if len(found) > 1:
        raise UsageError(f"{topic!r} could be {', '.join(found[:CANDIDATES])}.", hint="Name one of them.")
    return near[-1]


def _some(notes: Sequence[Told]) -> str:
    known = list(dict.fromkeys(note.topic for note in reversed(notes) if note.topic))
    return ", ".join(known[:CANDIDATES]) + (" …" if len(known) > CANDIDATES else "")


def _listed(note: Note, section: str) -> list[str]:
    return [text for text in note.entries(section, joined=True) if says(text)]


def _links(name: str, topic: str, note: Note) -> Iterator[str]:
    yield f"file {name}"
    if topic:
        yield f"topic {topic}"
    target = note.thread
    issue, repository = note.number("issue")
    if naming.is_note(target):
        yield f"file {PurePosixPath(target).name}"
    elif "://" in target:
        yield f"address {target}"
    if issue:
        yield f"issue {repository}#{issue}"

"""Structured sessions: a folder each, `<project>/.claude/sessions/<session>/`, kept by people and scripts.

Nobody has fixed what is in them, so the reading is generous: keys count without regard to case and
to `_`, `-` and spaces, a decision may be a text or an object, a time a text or a number.

    context.json     decisions · current_phase, phase · next_steps, todo · status · title, name, goal, task
                     issue · pr · branch · commit · repo · checkpoints · created_at · updated_at
    checkpoints/*    each a checkpoint; of `.json` files: at, timestamp, created_at · trigger · summary
    metrics.json     its numbers, nested ones with dots
    artifacts/**     kept, not read

A file that does not parse is counted and changes nothing: what was read last stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sessionsync.events import Emit
from sessionsync.model import CheckpointEntry, Found, Mark, Ref, Role, SessionFile, Summary, rfc3339
from sessionsync.sources import Read
from sessionsync.sources.folders import Folders, is_folder, is_real_folder, real, session_file
from sessionsync.sources.lines import document
from sessionsync.sources.objects import ENTRIES, PHASE, TIMES, alike, items_of, take, text_of, time_of
from sessionsync.sources.passages import Passage, of_text
from sessionsync.sources.places import SESSIONS, Places
from sessionsync.sources.prose import clip

if TYPE_CHECKING:
    from sessionsync.sources.usage import Usage

NUMBERS = 50  # of one metrics.json
DEPTH = 5  # of its nesting
CONTEXT, METRICS, CHECKPOINTS, ARTIFACTS = "context.json", "metrics.json", "checkpoints/", "artifacts/"


# How far a score may fall before it is told of.
DROP = 0.2
_HEIGHTS = "heights"


class Structured:
    """The session folders of the projects."""

    name = "structured"
    prunes = False

    def __init__(self, places: Places, emit: Emit) -> None:
        self._folders = Folders(emit)
        self._places = places

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Folders that could not be looked into the last time, and why."""
        return self._folders.unreadable

    @property
    def passed_over(self) -> Mapping[str, str]:
        """What was passed over where a session is looked for, and why."""
        return self._folders.links

    def roots(self) -> list[Path]:
        """The folders `.claude/sessions` that exist."""
        return list(self._places.survey().values())

    def awaited(self) -> list[Path]:
        """Those that the projects do not have yet."""
        return self._places.awaited()

    def find(self) -> Iterator[Found]:
        """Every session folder with something in it."""
        for project, sessions in self._places.survey().items():
            for entry in self._folders.entries(sessions):
                if is_folder(entry) and self._is_id(entry.name, entry.path):
                    found = self._found(project, sessions, entry.name)
                    if found is not None:
                        yield found

    def look(self, ref: Ref) -> Found | None:
        """One session, in the project that is its scope."""
        if ref.source != self.name or "/" in ref.session_id or not self._is_id(ref.session_id, ""):
            return None
        project = Path(ref.scope)
        sessions = self._places.of(project)
        return self._found(project, sessions, ref.session_id) if sessions else None

    def locate(self, path: Path) -> Ref | None:
        """The session whose folder the path is in, whether or not that is there any more."""
        if (place := self._places.around(path)) is None:
            return None
        project, sessions = place
        session, *rest = path.relative_to(sessions).parts or ("",)
        is_inside = bool(rest) or is_real_folder(path)
        return Ref(self.name, session, str(project)) if is_inside and self._is_id(session, "") else None

    def peek_cwd(self, found: Found, limit_bytes: int) -> str:
        """The project's folder."""
        del limit_bytes
        return str(found.root)

    def append_only(self, name: str) -> bool:
        """Logs among the artifacts grow by lines."""
        return name.endswith(".jsonl")

    def passages(self, name: str, data: bytes, offset: int) -> Iterator[Passage]:
        """The text of every text file."""
        del name
        return of_text(data, offset)

    def usage(self, role: Role, data: bytes, memory: str, restored: Sequence[int]) -> Usage:
        """Nothing: its numbers are the quality scores in `metrics.json`."""
        from sessionsync.sources.usage import Usage  # noqa: PLC0415 - who captures does not ask

        del role, data, memory, restored
        return Usage("")

    def follow(self, summary: Summary, name: str, data: bytes, offset: int) -> list[Mark]:
        """Nothing: no line of these sessions has a known meaning."""
        del summary, name, data, offset
        return []

    skim = follow  # it is short

    def conclude(self, summary: Summary, found: Found, read: Read) -> None:
        """Read `context.json`, the newest 50 checkpoints and `metrics.json`."""
        names = {file.name for file in found.files}
        entries = {entry.id: entry for entry in summary.critical.checkpoints}
        summary.bad_lines = 0
        summary.cwd = summary.cwd or str(found.root)
        summary.last_at = rfc3339(found.mtime)
        latest = self._read_checkpoints(summary, found, read, entries)
        if CONTEXT in names and (context := alike(_read(summary, read, CONTEXT))):
            _take_context(summary, context, latest, entries)
        if METRICS in names and (metrics := _read(summary, read, METRICS)) is not None:
            summary.quality = dict(list(_numbers(metrics))[:NUMBERS])
            _follow_quality(summary)
        newest_last = sorted(entries.values(), key=lambda entry: (entry.at, entry.id))
        summary.critical.checkpoints = newest_last[-ENTRIES:]

    def checkpoint_files(self, found: Found) -> list[SessionFile]:
        """The visible files right in `checkpoints/` that are no `.tmp`, the oldest first."""
        files = [file for file in found.files if _is_checkpoint(file.name)]
        return sorted(files, key=lambda file: (file.mtime_ns, file.name))

    def is_complete(self, name: str, data: bytes) -> bool:
        """Whether JSON parses; other files are taken as they are."""
        if not name.endswith(".json"):
            return True
        try:
            document(data)
        except ValueError:
            return False
        return True

    def stamp(self, summary: Summary) -> str:
        """Nothing: the files in `checkpoints/` say when something was reached."""
        del summary
        return ""

    def _is_id(self, name: str, path: str) -> bool:
        if name.startswith("."):
            return False
        if not name.isprintable():
            if path:
                self._folders.skip(path, "its name has control characters or is no UTF-8")
            return False
        return bool(name)

    def _found(self, project: Path, sessions: Path, session: str) -> Found | None:
        folder = sessions / session
        if not is_real_folder(folder) or real(sessions) != sessions:
            return None
        files = [
            session_file(name, path, Role.MAIN if name == CONTEXT else Role.PART, status)
            for name, path, status in self._folders.files(folder, "")
        ]
        names = {file.name for file in files}
        is_session = names & {CONTEXT, METRICS} or any(
            is_real_folder(folder / kind.rstrip("/")) for kind in (CHECKPOINTS, ARTIFACTS)
        )
        if not files or not is_session:
            return None
        files.sort(key=lambda file: (file.role is not Role.MAIN, file.name))
        location = project.joinpath(*SESSIONS, session)
        return Found(Ref(self.name, session, str(project)), project, location, tuple(files))

    def _read_checkpoints(
        self, summary: Summary, found: Found, read: Read, entries: dict[str, CheckpointEntry]
    ) -> dict[str, Any]:
        """Add what is in `checkpoints/` to `entries`; returns what the newest readable one says."""
        latest: dict[str, Any] = {}
        for file in self.checkpoint_files(found)[-ENTRIES:]:
            said: dict[str, Any] = {}
            if file.name.endswith(".json"):
                value = _read(summary, read, file.name)
                if value is None:
                    continue
                said = alike(value)
                latest = said or latest
            name = clip(Path(file.name).stem, 100)
            at = time_of(said, TIMES) or rfc3339(file.mtime_ns / 1e9)
            trigger = text_of(said, ("trigger", "type", "event")) or "checkpoint"
            entries[name] = CheckpointEntry(name, at, clip(trigger, 40))
        return latest


def _is_checkpoint(name: str) -> bool:
    file = name.removeprefix(CHECKPOINTS)
    return file != name and "/" not in file and not file.startswith(".") and not file.endswith(".tmp")


def dropped(summary: Summary) -> float:
    """By what part the score that fell furthest is lower than before it fell; 0 where none did."""
    heights = _heights(summary)
    falls = (1 - value / heights[name] for name, value in summary.quality.items() if heights.get(name, 0) > 0)
    return max([0.0, *falls])


def _follow_quality(summary: Summary) -> None:
    """Remember where each score was before it fell; what falls a little, or rises, is the new height."""
    heights = _heights(summary)
    kept = {
        name: height
        for name, value in summary.quality.items()
        if value < (height := heights.get(name, value)) * (1 - DROP)
    }
    summary.scratch[_HEIGHTS] = msgspec.json.encode(summary.quality | kept).decode()


def _heights(summary: Summary) -> dict[str, float]:
    try:
        return msgspec.json.decode(str(summary.scratch.get(_HEIGHTS, "{}")), type=dict[str, float])
    except msgspec.DecodeError:
        return {}


def _read(summary: Summary, read: Read, name: str) -> Any:
    """A JSON file's content; None where it is gone or bad, which is counted."""
    data = read(name)
    if data is None:
        return None
    try:
        return document(data)
    except ValueError:
        summary.bad_lines += 1
        return None


def _take_context(
    summary: Summary,
    context: Mapping[str, Any],
    latest: Mapping[str, Any],
    entries: dict[str, CheckpointEntry],
) -> None:
    take(summary, context)
    if not summary.critical.current_phase:
        said = text_of(latest, (*PHASE, "summary", "reason", "description"))
        summary.critical.current_phase = clip(said)
    for item in items_of(context, ("checkpoints",)):
        entry = alike(item)
        name = clip(text_of(entry, ("id", "name")), 100)
        if name and name not in entries and (at := time_of(entry, TIMES)):
            trigger = clip(text_of(entry, ("trigger", "type", "event")), 40) or "checkpoint"
            entries[name] = CheckpointEntry(name, at, trigger)


def _numbers(value: object, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict) and depth < DEPTH:
        for key, inner in value.items():
            yield from _numbers(
                inner, f"{prefix}.{clip(str(key), 60)}" if prefix else clip(str(key), 60), depth + 1
            )
    elif isinstance(value, int | float) and not isinstance(value, bool) and prefix:
        try:
            number = float(value)
        except OverflowError:
            return
        if math.isfinite(number):
            yield prefix, number

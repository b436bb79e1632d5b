"""`sessiond note`: begin one, check them, and read a topic's as one story.  No daemon need run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sessiond.cli.look import tell
from sessiond.cli.terminal import Terminal, clean, count, wall, wrap
from sessionsync import projects
from sessionsync.config import Config, load, paths
from sessionsync.errors import NoteError
from sessionsync.events import silent
from sessionsync.model import Found, rfc3339
from sessionsync.notes.begin import begin
from sessionsync.notes.current import current_session
from sessionsync.notes.lint import PROBLEM, Problem
from sessionsync.notes.lint import lint as look_at
from sessionsync.notes.thread import Paper, Told, thread, topics
from sessionsync.project_names import Names, ProjectIdentity
from sessionsync.sources.claude import Claude
from sessionsync.sources.note_reading import HEAD_BYTES
from sessionsync.sources.notes import Notes
from sessionsync.sources.places import SESSIONS, Places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json

OTHERS = 8  # topics that are named below a story


def new(topic: str, *, kind: str, project: Path, as_json: bool) -> None:
    """Make a note of today, and say where it is and what it is linked to."""
    now = wall()
    here, config = projects.identify(str(project.absolute())), _config()
    session = current_session(Claude(config.claude_roots(os.environ), silent), here, now)
    day = datetime.fromtimestamp(now, UTC).astimezone().date()
    made = begin(Path(here.root), topic, kind, day=day, at=rfc3339(now), session=session)
    answer = {"file": str(made.path), "kind": kind, "session": session, "previous": made.previous}
    tell(answer, _begun, as_json=as_json)


def lint(file: Path | None, *, project: Path, as_json: bool) -> int:
    """Check a note, or all of a project; 1 where something is wrong, 0 where there are but hints."""
    now = wall()
    found: list[Json] = []
    notes = [(str(file), file.name, file)] if file is not None else sorted(_notes_in(project))
    for shown, name, path in notes:
        found += [_shown(shown, problem) for problem in _looked_at(name, path, now)]
    tell({"problems": found, "files": len(notes)}, _problems, as_json=as_json)
    return 1 if any(problem["severity"] == PROBLEM for problem in found) else 0


def show(topic: str, *, project: Path, as_json: bool) -> None:
    """Tell a topic's notes as one story, the oldest first; without a topic that of the newest note."""
    here = projects.identify(str(project.absolute()))
    papers = list(_papers(here, _config()))
    told = thread(papers, topic)
    answer: Json = {
        "topic": told[-1].topic,
        "status": told[-1].status,
        "notes": [_told(note) for note in told],
        "worked": _all(note.worked for note in told),
        "failed": _all(note.failed for note in told),
        "decisions": _all(note.decided for note in told),
        "open": told[-1].open,
    }
    mine = {note.topic for note in told}
    answer["other_topics"] = [each for each in topics(papers) if each not in mine]
    tell(answer, _story, as_json=as_json)


# --- the notes of a project


def _config() -> Config:
    return load(os.environ, paths(os.environ).config_file)


def _notes_in(project: Path) -> Iterator[tuple[str, str, Path]]:
    """Every note in a project's own folder: as it is shown, its path in that folder, and where it lies."""
    root = Path(projects.identify(str(project.absolute())).root)
    for found in Notes(Places(lambda: [root], silent), silent).find():
        yield found.ref.session_id, _name(found), found.location


def _name(found: Found) -> str:
    """A note's path in the folder of notes that it is in."""
    folder = "/".join(SESSIONS)
    below = found.ref.session_id.removeprefix(f"{folder}/")
    return below if below != found.ref.session_id else found.location.name


def _papers(here: ProjectIdentity, config: Config) -> Iterator[Paper]:
    """The notes of a project: in its folder, in the agent's, and copies of those that were swept away."""
    root = Path(here.root)
    source = Notes(Places(lambda: [root], silent), silent, config.claude_roots(os.environ))
    names = set()
    for found in source.find():
        cwd = Path(source.peek_cwd(found, HEAD_BYTES) or "/")
        if cwd == root or cwd.is_relative_to(root):
            path = found.location
            names.add(path.name)
            shown = path.relative_to(root) if path.is_relative_to(root) else path
            yield Paper(_name(found), str(shown), _read(path))
    for path in _copies(here, config):
        if path.name not in names:
            yield Paper(path.name, str(path), _read(path), deleted=True)


def _copies(here: ProjectIdentity, config: Config) -> Iterator[Path]:
    """The plain copies of a project's notes; what was cut from one lies beside it under another name."""
    mirror = config.backup.mirror_dir
    name = Names(mirror).known().get(here.key)
    for folder in sorted((mirror / name).glob("note.*/")) if name else ():
        for path in folder.iterdir():
            if path.is_file() and folder.name == f"note.{name}.{path.stem}":
                yield path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}."
        raise NoteError(message, hint="Let it be read, or move it elsewhere.") from error


def _looked_at(name: str, path: Path, now: float) -> list[Problem]:
    return look_at(name, _read(path), now=now, exists=lambda other: (path.parent / other).is_file())


# --- what is printed


def _shown(file: str, problem: Problem) -> Json:
    return {"file": file, **problem._asdict()}


def _told(note: Told) -> Json:
    return {
        "file": note.paper.path,
        "deleted": note.paper.deleted,
        "title": note.title,
        "status": note.status,
        "created": note.begun,
        "updated": note.updated,
        "session": note.session,
        "worked": note.worked,
        "failed": note.failed,
        "decisions": note.decided,
        "open": note.open,
    }


def _all(lists: Iterator[list[str]]) -> list[str]:
    return list(dict.fromkeys(text for texts in lists for text in texts))


def _begun(answer: Json, _now: float, _out: Terminal) -> list[str]:
    return [
        f"Made {clean(answer['file'])}",
        f"Session      {answer['session'] or 'none is active in this project'}",
        f"Note before  {clean(answer['previous']) or 'none, it is the first about this'}",
    ]


def _problems(answer: Json, _now: float, out: Terminal) -> list[str]:
    lines = []
    for each in answer["problems"]:
        colour = "red" if each["severity"] == PROBLEM else "dim"
        place = f"{clean(each['file'])}:{each['line']}"
        lines.append(f"{place}: {out.paint(each['rule'], colour)}: {clean(each['message'])}")
        lines.append(f"  → {clean(each['hint'])}")
    wrong = sum(each["severity"] == PROBLEM for each in answer["problems"])
    hints = len(answer["problems"]) - wrong
    looked = f"{count(answer['files'], 'note')} looked at"
    if not answer["files"]:
        return [f"There are no notes in {'/'.join(SESSIONS)}. Begin one with: sessiond note new TOPIC"]
    words = [count(wrong, "problem")] if wrong else ["nothing is wrong"]
    return [*lines, f"{looked}: {', '.join([*words, *([count(hints, 'hint')] if hints else [])])}."]


def _story(answer: Json, _now: float, out: Terminal) -> list[str]:
    notes = answer["notes"]
    state = f", {answer['status']}" if answer["status"] else ""
    lines = [
        out.paint(
            f"{clean(answer['topic'] or notes[-1]['title'])}: {count(len(notes), 'note')}{state}", "bold"
        )
    ]
    for note in notes:
        deleted = "  (deleted; this is the copy)" if note["deleted"] else ""
        status = f"  {clean(note['status'])}" if note["status"] else ""
        lines += ["", f"{note['created'][:10] or 'undated':10}  {clean(note['title'])}{status}"]
        lines.append(out.paint(f"            {clean(note['file'])}{deleted}", "dim"))
        for name, colour in (("worked", "green"), ("failed", "red"), ("decisions", "")):
            for text in note[name]:
                lines += _line(name.removesuffix("s"), colour, text, out)
    lines += ["", out.paint("Open", "bold")] if answer["open"] else ["", "Nothing is open."]
    for number, text in enumerate(answer["open"], 1):
        lines += wrap(f"  {number}. {clean(text)}", out.width, " " * 5)
    if others := answer["other_topics"]:
        more = ", …" if len(others) > OTHERS else ""
        lines += ["", f"Other topics: {', '.join(map(clean, others[:OTHERS]))}{more}"]
    return lines


def _line(name: str, colour: str, text: str, out: Terminal) -> list[str]:
    room = None if out.width is None else max(20, out.width - 12)
    first, *rest = wrap(clean(text), room)
    return [f"  {out.paint(f'{name:8}', colour)}  {first}", *(" " * 12 + line for line in rest)]

"""Where a session is put: in the agent's folder, in its project's, or in any folder one names.

claude       <agent>/projects/<folder>/<id>.jsonl, its subagents and companions around it
structured   <project>/.claude/sessions/<id>/
others       <project>/.claude/sessions/<name>, or where the agent keeps notes
--out DIR    DIR/<name>, as copies and records name the files
"""

from __future__ import annotations

import json
import os
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from sessionsync import projects
from sessionsync.errors import ProjectElsewhere, RestoreError
from sessionsync.events import silent
from sessionsync.model import Found, Ref, Role, SessionFile
from sessionsync.peek import first_cwd, is_session_id
from sessionsync.project_names import ProjectIdentity
from sessionsync.restore.copies import CopyFile
from sessionsync.restore.known import Known
from sessionsync.restore.names import grows_by_lines, in_agent, steps
from sessionsync.sources.folders import head, regular, session_file
from sessionsync.sources.roles import PAPERS

PREFIX_CHARS = 200
"""How much of a long path the agent keeps in a folder's name, before a hash that its runtimes differ in."""
RECENT_S = 120.0
"""A session that changed so lately is taken to be open: its agent writes at every step."""
RUNNING_BYTES = 64 * 1024
PEEK_BYTES = 64 * 1024
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

Alive = Callable[[int], bool]
"""Whether a process of this number lives."""
Allowed = Callable[[str], bool]
"""Whether a file of this name may be put; see `names.is_own`."""


@dataclass(frozen=True, slots=True)
class Put:
    """A file of a copy and where it goes: `parts` below `base`.

    `ends_line`: it must end in a newline.
    """

    file: CopyFile
    base: Path
    parts: tuple[str, ...]
    ends_line: bool = False

    @property
    def path(self) -> Path:
        """Where it goes."""
        return self.base.joinpath(*self.parts)


class Target(Protocol):
    """A place for a session."""

    folder: Path
    """What is told to a person."""
    root: Path
    """What the backup of replaced files is relative to."""
    known_as: str
    """What names the session alone on this machine, see `Found.known_as`."""
    held_open: bool
    """Whether an agent that is open writes on where it was, also in a file that was replaced."""

    @property
    def home(self) -> Path | None:
        """Its project's folder; None where nobody goes on with it."""

    def puts(self, files: Sequence[CopyFile]) -> tuple[list[Put], list[CopyFile]]:
        """Where each file goes, and those that have no place there; RestoreError for one that leads out."""

    def present(self) -> list[SessionFile]:
        """What lies there of the session now, wherever the agent would find it."""

    def in_the_way(
        self, puts: Sequence[Put], present: Sequence[SessionFile]
    ) -> tuple[list[SessionFile], list[SessionFile]]:
        """What of that must go: second versions of files that are put, and files that the copy has not."""

    def live(self, present: Sequence[SessionFile], now: float, alive: Alive) -> str:
        """Why the session there is taken to be open; '' where it is not."""

    def commands(self) -> str:
        """The command that goes on with it."""


# --- the agent's folder


def folder_name(path: str) -> str:
    """What the agent calls the folder of a project at `path`, a real path; without the hash of a long one.

    JavaScript counts in units of UTF-16, so a character beyond the basic plane becomes two dashes.
    """
    units = "".join(c if ord(c) < 0x10000 else "--" for c in unicodedata.normalize("NFC", path))
    return re.sub(r"[^A-Za-z0-9]", "-", units)


def project_folder(root: Path, path: str, environ: Mapping[str, str]) -> str:
    """The name of the folder below `root`, the agent's `projects`, for the project at `path`.

    A long path's is found by its beginning; of several, by what their transcripts say; a new one is
    named as the agent's SDK does.
    """
    wanted = environ.get("CLAUDE_CODE_PROJECT_DIR_NAME", "")
    if environ.get("CLAUDE_CONFIG_DIR") and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", wanted):
        return wanted
    name = folder_name(path)
    if len(name) <= PREFIX_CHARS:
        return name
    prefix = name[:PREFIX_CHARS] + "-"
    made = prefix + _hash(path)
    try:
        there = sorted(entry.name for entry in root.iterdir() if entry.name.startswith(prefix))
    except OSError:
        there = []
    if made in there or not there:
        return made
    speaking = (name for name in there if path in _cwds(root / name))
    return next(speaking, there[0])


def _hash(path: str) -> str:
    """A 32-bit `h * 31 + c` in base 36, as the agent's SDK hashes a path."""
    value = 0
    for character in path:
        value = (value * 31 + ord(character)) & 0xFFFFFFFF
    value = abs(value - (1 << 32) if value >= 1 << 31 else value)
    digits = ""
    while value:
        value, digit = divmod(value, 36)
        digits = DIGITS[digit] + digits
    return digits or "0"


def _cwds(folder: Path) -> Iterator[str]:
    for file in folder.glob("*.jsonl"):
        yield first_cwd(head(file, PEEK_BYTES), whole=False)


class AgentTarget:
    """The agent's folder, for a transcript whose project is at `cwd`."""

    held_open = True

    def __init__(self, root: Path, session_id: str, cwd: Path, environ: Mapping[str, str]) -> None:
        if not is_session_id(session_id):
            raise RestoreError(
                f"{session_id[:200]!r} is no id that the agent gives a session.",
                hint="Whoever wrote that copy made it up; --out DIR shows what is in it.",
            )
        self.home = Path(os.path.realpath(cwd))
        self.root = Path(os.path.realpath(root))
        self.known_as = str(Ref("claude", session_id))
        self._session_id = session_id
        self._projects = Path(os.path.realpath(self.root / "projects"))
        self._name = project_folder(self._projects, str(self.home), environ)
        self.folder = self._projects / self._name

    def puts(self, files: Sequence[CopyFile]) -> tuple[list[Put], list[CopyFile]]:
        """The main file, subagents and companions; of two with one place the first is put."""
        puts: dict[Path, Put] = {}
        left: list[CopyFile] = []
        for file in sorted(files, key=lambda file: (file.name.startswith("projects/"), file.name)):
            place = in_agent(self._session_id, self._name, file.name)
            if place is None:
                left.append(file)
                continue
            base = Path(os.path.realpath(self.root / place[0]))
            put = Put(file, base, place[1:], ends_line=grows_by_lines(file.name))
            if put.path in puts:
                left.append(file)
            else:
                puts[put.path] = put
        return list(puts.values()), left

    def has_transcript(self) -> bool:
        """Whether the transcript lies there, and can be resumed as it is."""
        path = self.folder / f"{self._session_id}.jsonl"
        return path.is_file() and path.stat().st_size > 0  # the agent takes an empty one for none

    def present(self) -> list[SessionFile]:
        """Everything the agent has of the session, in all its projects."""
        from sessionsync.sources.claude import Claude  # noqa: PLC0415 - only where it is put back there

        found = Claude([self.root], silent).look(Ref("claude", self._session_id))
        return [] if found is None else list(found.files)

    def in_the_way(
        self, puts: Sequence[Put], present: Sequence[SessionFile]
    ) -> tuple[list[SessionFile], list[SessionFile]]:
        """What lies in other projects: a second transcript of one id, and the agent finds neither."""
        del puts
        others = [
            file
            for file in present
            if file.path.is_relative_to(self._projects) and not self._is_in_folder(file.path)
        ]
        return others, []

    def _is_in_folder(self, path: Path) -> bool:
        """Whether a path leads through the project's folder, also where a disk takes two names for one."""
        other = self._projects / path.relative_to(self._projects).parts[0]
        try:
            return other == self.folder or other.samefile(self.folder)
        except OSError:
            return False

    def live(self, present: Sequence[SessionFile], now: float, alive: Alive) -> str:
        """Whether a process says that it has the session open, or it has just been written to."""
        for pid in self._running():
            if alive(pid):
                return f"process {pid} has it open"
        mains = [file for file in present if file.name.endswith(f"{self._session_id}.jsonl")]
        return _recent(mains, now)

    def _running(self) -> Iterator[int]:
        """The processes that have the session open: the agent keeps a small file for each of its own."""
        for file in sorted((self.root / "sessions").glob("*.json")):
            text = head(file, RUNNING_BYTES).decode(errors="replace")
            if self._session_id not in text:
                continue
            try:
                said = json.loads(text)
            except (ValueError, RecursionError):
                said = {}
            pid = said.get("pid") if isinstance(said, dict) else None
            if isinstance(pid, int) and not isinstance(pid, bool):
                yield pid
            elif file.stem.isdecimal() and len(file.stem) < 10:
                yield int(file.stem)

    def commands(self) -> str:
        """Change into the project, as older agents look nowhere else."""
        return f"cd {shlex.quote(str(self.home))} && claude --resume {self._session_id}"


# --- a project's folder


class ProjectTarget:
    """The folder of a structured session in its project."""

    held_open = True

    def __init__(self, project: Path, session_id: str, allowed: Allowed | None = None) -> None:
        self._allowed = allowed
        self.home = Path(os.path.realpath(project))
        sessions = Path(os.path.realpath(self.home / ".claude" / "sessions"))
        name = steps(session_id)
        if not sessions.is_relative_to(self.home) or len(name) != 1 or session_id.startswith("."):
            raise RestoreError(
                f"{self.home / '.claude' / 'sessions' / session_id} leads out of its project.",
                hint="A link lies there, or the id is none: use --out DIR.",
            )
        self.root = sessions
        self._session_id = session_id
        self.folder = sessions / session_id
        self.known_as = str(self.folder)

    def puts(self, files: Sequence[CopyFile]) -> tuple[list[Put], list[CopyFile]]:
        """Every file that may be put, as it was."""
        may, left = _parted(files, self._allowed)
        return [Put(file, self.root, (self._session_id, *steps(file.name))) for file in may], left

    def present(self) -> list[SessionFile]:
        """What lies in the folder."""
        from sessionsync.sources.places import Places  # noqa: PLC0415 - as above
        from sessionsync.sources.structured import Structured  # noqa: PLC0415

        places = Places(lambda: [self.home], silent)
        ref = Ref("structured", self._session_id, str(self.home))
        found: Found | None = Structured(places, silent).look(ref)
        return [] if found is None else list(found.files)

    def in_the_way(
        self, puts: Sequence[Put], present: Sequence[SessionFile]
    ) -> tuple[list[SessionFile], list[SessionFile]]:
        """Files that the copy has not: the folder is a whole."""
        names = {put.file.name for put in puts}
        return [], [file for file in present if file.name not in names]

    def live(self, present: Sequence[SessionFile], now: float, alive: Alive) -> str:
        """Whether it has just been written to."""
        del alive
        return _recent(present, now)

    def commands(self) -> str:
        """Where it lies; who goes on with it reads it there."""
        return f"cd {shlex.quote(str(self.home))}"


# --- one file


class FileTarget:
    """The place of a session that is one file: `steps` below `root`, which is its project or the agent's.

    That it has just been written may be but the checkout of what is committed.
    """

    held_open = False

    def __init__(self, root: Path, steps: Sequence[str], home: Path | None) -> None:
        self.root = Path(os.path.realpath(root))
        self._steps = tuple(steps)
        self._path = self.root.joinpath(*steps)
        self.folder = Path(os.path.realpath(self._path.parent))
        if self.folder != self._path.parent:
            raise RestoreError(
                f"{self._path.parent} leads elsewhere: nothing is written there.",
                hint="A link lies there: use --out DIR.",
            )
        self.home = home
        self.known_as = str(self._path)

    def puts(self, files: Sequence[CopyFile]) -> tuple[list[Put], list[CopyFile]]:
        """The one file, whatever the copy calls it."""
        return [Put(file, self.root, self._steps) for file in files[:1]], list(files[1:])

    def present(self) -> list[SessionFile]:
        """The file that lies there."""
        status = regular(str(self._path))
        name = self._steps[-1]
        return [] if status is None else [session_file(name, str(self._path), Role.MAIN, status)]

    def in_the_way(
        self, puts: Sequence[Put], present: Sequence[SessionFile]
    ) -> tuple[list[SessionFile], list[SessionFile]]:
        """Nothing."""
        del puts, present
        return [], []

    def live(self, present: Sequence[SessionFile], now: float, alive: Alive) -> str:
        """Whether it has just been written to."""
        del alive
        return _recent(present, now)

    def commands(self) -> str:
        """Where it lies."""
        return f"cd {shlex.quote(str(self.home))}" if self.home is not None else ""


# --- any folder


class OutTarget:
    """A folder that a person named: byte for byte, and nobody goes on there."""

    held_open = False

    def __init__(self, folder: Path, allowed: Allowed | None = None) -> None:
        self._allowed = allowed
        self.folder = self.root = Path(os.path.realpath(folder))
        self.home = None
        self.known_as = ""

    def puts(self, files: Sequence[CopyFile]) -> tuple[list[Put], list[CopyFile]]:
        """Every file that may be put, under its name."""
        may, left = _parted(files, self._allowed)
        return [Put(file, self.folder, steps(file.name)) for file in may], left

    def present(self) -> list[SessionFile]:
        """Nothing that counts."""
        return []

    def in_the_way(
        self, puts: Sequence[Put], present: Sequence[SessionFile]
    ) -> tuple[list[SessionFile], list[SessionFile]]:
        """Nothing."""
        del puts, present
        return [], []

    def live(self, present: Sequence[SessionFile], now: float, alive: Alive) -> str:
        """Never."""
        del present, now, alive
        return ""

    def commands(self) -> str:
        """None."""
        return ""


def _parted(files: Sequence[CopyFile], allowed: Allowed | None) -> tuple[Sequence[CopyFile], list[CopyFile]]:
    """The files that may be put, and the others."""
    if allowed is None:
        return files, []
    return [file for file in files if allowed(file.name)], [f for f in files if not allowed(f.name)]


def _recent(files: Sequence[SessionFile], now: float) -> str:
    ages = [now - file.mtime_ns / 1e9 for file in files]
    # a disk's clock, as of one in the network, may be ahead of ours
    if recent := [age for age in ages if abs(age) < RECENT_S]:
        return f"it was changed {max(0, int(min(recent)))} s ago"
    return ""


# --- the project on this machine


def home_of(session: Known, cwd: str, here: Path) -> Path:
    """The session's project on this machine: the current folder where that is of the project, else its own.

    In the work tree that the session was begun in, or was put into when it came here, that folder.

    Raises:
        ProjectElsewhere: neither is here.
    """
    places = [path for path in (cwd, session.folder) if path.startswith("/") and "\0" not in path]
    own = next((path for path in places if Path(path).is_dir()), None)
    mine = projects.identify(str(here))
    if is_of(session, mine.key) or _is_called_as(session, mine):
        if own is not None and projects.identify(own).root == mine.root:
            return Path(own)
        return here
    if own is not None and (not session.project_key or _still(session, own)):
        return Path(own)
    was = f", and was begun in {cwd}" if cwd and cwd != session.project_key else ""
    if not session.project_key and not session.project_hash:
        raise ProjectElsewhere(
            f"Which project session {session.name} is of is not told by its copies{was}.",
            hint="Name its folder on this machine with --cwd DIR, this one with --cwd .",
        )
    raise ProjectElsewhere(
        f"The project of session {session.name} is not here: it is {session.project_key or 'another'}{was}.",
        hint="Change into its folder on this machine, or name that with --cwd DIR.",
    )


def project_of(session: Known, cwd: str, home: Path) -> ProjectIdentity | None:
    """What is to be put down of a session, begun in `cwd`, that is put into `home`; None where `cwd` says it.

    A session stays in its project for ever: where that is known, its key counts, whatever `home` is.
    """
    if cwd and is_of(session, projects.identify(cwd).key):
        return None
    here = projects.identify(str(home))
    if not session.project_key or session.project_key == here.key:
        return here
    return ProjectIdentity(session.project_key, here.root, PurePosixPath(session.project_key).name)


def is_of(session: Known, key: str) -> bool:
    """Whether a session is of the project with this key."""
    if session.project_hash:
        from sessionsync.remote.comments import project_hash  # noqa: PLC0415 - only issues say it so

        if session.project_hash == project_hash(key):
            return True
    return bool(session.project_key) and session.project_key == key


def _is_called_as(session: Known, project: ProjectIdentity) -> bool:
    """Whether nothing but its id tells a session's project, and that names this one.

    The record of an issue's context file lies in a person's issue, which is no project's; in its id
    `<source>.<PROJECT>.<stem>` stands what the project is called.
    """
    if session.ref.source not in PAPERS or session.project_key or session.project_hash:
        return False
    name = re.escape(project.name_hint)
    return re.match(rf"{session.ref.source}\.{name}(-[0-9a-f]{{6}})?\.", session.ref.session_id) is not None


def _still(session: Known, cwd: str) -> bool:
    """Whether the folder a session was begun in is still that project's: another may lie there by now."""
    key = projects.identify(cwd).key
    return is_of(session, key) or session.project_key.startswith("/")

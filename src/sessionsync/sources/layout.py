"""Where Claude Code keeps what belongs to a session.

    projects/<folder>/<session>.jsonl                main
    projects/<folder>/<session>/subagents/**         part (2.1.x)
    projects/<folder>/agent-*.jsonl                  part of the session its first line names (2.0.x)
    projects/<folder>/<session>/**                   companion (tool-results …)
    todos/<session>*   tasks/<session>/**   file-history/<session>/**      companion

The folder's name says nothing: several projects share one, and one session may lie in several after
it was continued elsewhere.  Of two main files the one changed last is the main file; everything of
the other folders is kept under `projects/<folder>/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sessionsync.events import Emit
from sessionsync.model import Found, Ref, Role, SessionFile
from sessionsync.peek import is_session_id
from sessionsync.sources.folders import (
    Folders,
    Stat,
    below,
    head,
    is_folder,
    is_real_folder,
    readable,
    real,
    regular,
    session_file,
)

ID_CHARS = 36
FIRST_LINE_BYTES = 64 * 1024  # how far a subagent's first line is read for the session it belongs to
AGENTS = 20_000  # subagents whose session is remembered
SIDE_FOLDERS = ("todos", "tasks", "file-history")

# Quotes inside a JSON text are escaped, so this is a key, not somebody's words.
_SESSION_KEY = re.compile(rb'"sessionId"\s*:\s*"([^"\\]{1,100})"')
_ORDER = {Role.MAIN: 0, Role.PART: 1, Role.COMPANION: 2}

_Beside = tuple[str, str, Stat]  # a file's name, path and stat


class _Place(NamedTuple):
    """A project folder below one of the agent's."""

    root: Path
    folder: str


class _Seat(NamedTuple):
    """What of a session lies in a project folder: main file, own folder, old subagents."""

    place: _Place
    main: Stat | None
    own: bool
    agents: Sequence[_Beside]


class _Known(NamedTuple):
    """Where something of a session was seen, so that looking at it needs no listing of everything.

    Most sessions are one file and nothing else, `alone` in a place: all of a folder then share one of these.
    """

    places: frozenset[_Place] = frozenset()
    agents: frozenset[str] = frozenset()
    todos: frozenset[str] = frozenset()
    alone: _Place | None = None

    def also(self, other: _Known) -> _Known:
        """What both have seen; itself where the other has seen nothing new."""
        is_same = self.alone is None or self.alone == other.alone
        if is_same and all(theirs <= ours for ours, theirs in zip(self[:3], other[:3], strict=True)):
            return self
        return _Known(self.places | other.places, self.agents | other.agents, self.todos | other.todos)


class Layout:
    """The sessions below one or more of the agent's folders, by where their files lie."""

    def __init__(self, source: str, roots: Sequence[Path], emit: Emit) -> None:
        self._source = source
        self._given = list(roots)
        self._folders = Folders(emit)
        self._real: list[Path] = []
        self._known: dict[str, _Known] = {}
        self._agents: dict[str, tuple[int, str, int]] = {}

    def roots(self) -> list[Path]:
        """The folders to watch that exist, as real paths."""
        return [folder for folder in self._places() if is_real_folder(folder)]

    def awaited(self) -> list[Path]:
        """Those that do not exist."""
        return [folder for folder in self._places() if not is_real_folder(folder)]

    def _places(self) -> list[Path]:
        folders = (real(root / name) for root in self._resolved() for name in ("projects", *SIDE_FOLDERS))
        return list(dict.fromkeys(folders))

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Folders that could not be looked into the last time, and why."""
        return self._folders.unreadable

    @property
    def passed_over(self) -> Mapping[str, str]:
        """Transcripts and project folders that are symbolic links."""
        return self._folders.links

    def find(self) -> Iterator[Found]:
        """Every session of which the main file, or something in its own folder, is there.

        What is listed is names: who holds what `stat` says of each takes more memory than all the rest.
        """
        for session, known in self._survey().items():
            found = self._alone(session, known.alone) if known.alone else self._found(session, known)
            if found is not None:
                yield found

    def look(self, ref: Ref) -> Found | None:
        """One session, where it was seen before; one never seen is searched everywhere."""
        session = ref.session_id
        if ref.source != self._source or not is_session_id(session):
            return None
        if session not in self._known and self._is_somewhere(session):
            self._survey()  # once a new session: it may lie in several folders
        known = self._known.get(session)
        return None if known is None else self._found(session, known)

    def locate(self, path: Path) -> Ref | None:
        """The session by the path alone; a subagent of the old layout is opened for it."""
        for root in self._roots():
            for kind in ("projects", *SIDE_FOLDERS):
                if parts := below(path, f"{root}/{kind}"):
                    session = self._session_of(root, kind, parts)
                    return Ref(self._source, session) if session else None
        return None

    def _resolved(self) -> list[Path]:
        """The agent's folders as real paths, asked anew whenever everything is looked at."""
        self._real = list(dict.fromkeys(real(root) for root in self._given))
        return self._real

    def _roots(self) -> list[Path]:
        """The same, as they were then."""
        return self._real or self._resolved()

    def _survey(self) -> dict[str, _Known]:
        """List everything once; returns where something lies of each session."""
        known: dict[str, _Known] = {}
        for root in self._resolved():
            for folder in self._project_folders(root):
                self._list(_Place(root, f"{root}/projects/{folder}"), known)
        for root in self._real:  # of what lies in any of them
            for kind in SIDE_FOLDERS:
                for entry in self._folders.entries(root / kind):
                    session = entry.name[:ID_CHARS]
                    if session not in known:
                        continue
                    if kind != "todos":
                        known[session] = known[session].also(_Known())
                    elif self._folders.is_file(entry):
                        known[session] = known[session].also(_Known(todos=frozenset({entry.path})))
        self._known = known
        return known

    def _project_folders(self, root: Path) -> Iterator[str]:
        """The folders in `projects`.  Of links, those are told that do not lead to another of them."""
        for entry in self._folders.entries(root / "projects"):
            if is_folder(entry):
                if readable(entry.name) == entry.name:
                    yield entry.name
                else:
                    self._folders.skip(entry.path, "its name is no UTF-8")
            elif entry.is_symlink() and not below(real(entry.path), root / "projects"):
                self._folders.pass_over(entry.path)

    def _is_somewhere(self, session: str) -> bool:
        places = (
            f"{root}/projects/{folder}/{session}"
            for root in self._roots()
            for folder in self._project_folders(root)
        )
        return any(regular(f"{place}.jsonl") or is_real_folder(place) for place in places) or any(
            owner == session for _, owner, _ in self._agents.values()
        )

    def _list(self, place: _Place, known: dict[str, _Known]) -> None:
        """Add what lies in one project folder."""
        here = frozenset({place})
        alone, more = _Known(here, alone=place), _Known(here)
        for entry in self._folders.entries(place.folder):
            name, its = entry.name, more
            if name.endswith(".jsonl"):
                session = name[:-6]
                if self._is_session(session):
                    its = alone
                elif not name.startswith("agent-"):
                    continue
                if not self._folders.is_file(entry):
                    if its is alone and entry.is_symlink():
                        self._folders.pass_over(entry.path)
                    continue
                if its is more:
                    session = self._session_of_agent(entry.path, regular(entry.path))
                    its = _Known(here, agents=frozenset({entry.path}))
            else:
                session = name if self._is_session(name) and is_folder(entry) else ""
            if session:
                known[session] = known[session].also(its) if session in known else its

    def _is_session(self, name: str) -> bool:
        """Whether it is a session's id; of one that was seen before it is known."""
        return name in self._known or is_session_id(name)

    def _alone(self, session: str, place: _Place) -> Found | None:
        """A session that is but one file."""
        where = f"{place.folder}/{session}.jsonl"
        if (status := regular(where)) is None:
            return None
        files = (session_file(f"{session}.jsonl", where, Role.MAIN, status),)
        return Found(Ref(self._source, session), place.root, where, files)

    def _found(self, session: str, known: _Known) -> Found | None:
        """A session as it lies in the places where something of it was seen."""
        seats = [self._seat(place, session, known.agents) for place in known.places]
        home = max(seats, key=_newest)
        files: dict[str, SessionFile] = {}
        for seat in sorted(seats, key=lambda seat: (seat is not home, seat.place)):
            for file in self._files(session, seat, is_home=seat is home):
                while file.name in files:  # a folder of the same name below a second root
                    file = file._replace(name=f"{file.name}~")  # noqa: PLW2901 - the same file
                files[file.name] = file
        if not files:
            return None
        files.update((file.name, file) for file in self._beside(session, known.todos))
        ordered = tuple(sorted(files.values(), key=lambda file: (_ORDER[file.role], file.name)))
        where = f"{home.place.folder}/{session}.jsonl"
        return Found(Ref(self._source, session), home.place.root, where, ordered)

    def _seat(self, place: _Place, session: str, agents: Iterable[str]) -> _Seat:
        """What of one session lies in one project folder now."""
        own = f"{place.folder}/{session}"
        there = [
            (path[len(place.folder) + 1 :], path, status)
            for path in agents
            if path.startswith(f"{place.folder}/") and (status := regular(path)) is not None
        ]
        return _Seat(place, regular(f"{own}.jsonl"), is_real_folder(own), there)

    def _files(self, session: str, seat: _Seat, *, is_home: bool) -> Iterator[SessionFile]:
        """The files of one seat."""
        folder = seat.place.folder
        prefix = "" if is_home else f"projects/{Path(folder).name}/"
        if seat.main is not None:
            role = Role.MAIN if is_home else Role.COMPANION
            yield session_file(f"{prefix}{session}.jsonl", f"{folder}/{session}.jsonl", role, seat.main)
        for name, path, status in seat.agents:
            yield session_file(prefix + readable(name), path, Role.PART, status)
        if seat.own:
            subagents = f"{prefix}{session}/subagents/"
            for name, path, status in self._folders.files(f"{folder}/{session}", f"{prefix}{session}/"):
                role = Role.PART if name.startswith(subagents) else Role.COMPANION
                yield session_file(name, path, role, status)

    def _beside(self, session: str, todos: Iterable[str]) -> Iterator[SessionFile]:
        """What lies of it in the side folders now."""
        for path in sorted(todos):  # of one name the same one each time
            if (status := regular(path)) is not None:
                yield session_file(f"todos/{readable(Path(path).name)}", path, Role.COMPANION, status)
        for root in self._roots():
            for kind in SIDE_FOLDERS[1:]:
                if is_real_folder(path := f"{root}/{kind}/{session}"):
                    for name, file, status in self._folders.files(path, f"{kind}/{session}/"):
                        yield session_file(name, file, Role.COMPANION, status)

    def _session_of(self, root: Path, kind: str, parts: Sequence[str]) -> str:
        """The session of a path below `projects` or a side folder; '' for nobody's."""
        name, place = parts[0], f"{root}/{kind}"
        if kind != "projects":
            session = name[:ID_CHARS]
            if not is_session_id(session) or (kind != "todos" and name != session):
                return ""
            if kind == "todos":
                self._note(session, _Known(todos=frozenset({f"{place}/{name}"})))
            return session
        if len(parts) == 1:
            return ""
        name = parts[1]
        session = name.removesuffix(".jsonl") if len(parts) == 2 else name
        if not is_session_id(session):
            path = f"{place}/{parts[0]}/{name}"
            if len(parts) > 2 or not (name.startswith("agent-") and name.endswith(".jsonl")):
                return ""
            session = self._session_of_agent(path, regular(path))
            self._note(session, _Known(agents=frozenset({path})))
        self._note(session, _Known(frozenset({_Place(root, f"{place}/{parts[0]}")})))
        return session

    def _note(self, session: str, seen: _Known) -> None:
        """Remember where something new lies of a session that was seen before."""
        if (known := self._known.get(session)) is not None:
            self._known[session] = known.also(seen)

    def _session_of_agent(self, path: str, status: Stat | None) -> str:
        """The session a subagent of the old layout belongs to, by its first line; '' if it says none."""
        inode, session, at = self._agents.get(path, (0, "", 0))
        if status is None or (inode == status.inode and (session or at == status.mtime_ns)):
            return session
        match = _SESSION_KEY.search(head(Path(path), FIRST_LINE_BYTES).partition(b"\n")[0])
        session = match[1].decode("ascii", "replace") if match else ""
        if not is_session_id(session):
            session = ""
        if len(self._agents) >= AGENTS:
            self._agents.clear()
        self._agents[path] = (status.inode, session, status.mtime_ns)
        return session


def _newest(seat: _Seat) -> tuple[bool, int, str]:
    return seat.main is not None, seat.main.mtime_ns if seat.main else 0, seat.place.folder

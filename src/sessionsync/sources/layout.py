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

import dataclasses
import os
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


class _Seat(NamedTuple):
    """A project folder in which something of a session lies: main file, own folder, old subagents."""

    root: Path
    place: Path
    main: Stat | None
    own: bool
    agents: Sequence[_Beside]


class _Known(NamedTuple):
    """Where something of a session was seen, so that looking at it needs no listing of everything.

    Most sessions have one seat and nothing else: all of a folder then share one of these.
    """

    seats: frozenset[tuple[Path, str]] = frozenset()
    agents: frozenset[str] = frozenset()
    todos: frozenset[str] = frozenset()

    def also(self, other: _Known) -> _Known:
        """What both have seen; itself where the other has seen nothing new."""
        if other is self:
            return self
        both = _Known(self.seats | other.seats, self.agents | other.agents, self.todos | other.todos)
        return self if both == self else both


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
        """Every session of which the main file, or something in its own folder, is there."""
        seats, beside = self._survey()
        for session, its in seats.items():
            if (found := self._found(session, its, beside.get(session, ()))) is not None:
                yield found

    def look(self, ref: Ref) -> Found | None:
        """One session, where it was seen before; one never seen is searched everywhere."""
        session = ref.session_id
        if ref.source != self._source or not is_session_id(session):
            return None
        if session not in self._known and self._is_somewhere(session):
            self._survey()  # once a new session: it may lie in several folders
        known = self._known.get(session)
        if known is None:
            return None
        seats = [self._seat(root, folder, session, known.agents) for root, folder in known.seats]
        return self._found(session, seats, list(self._beside_one(session, known.todos)))

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

    def _survey(self) -> tuple[dict[str, list[_Seat]], dict[str, list[SessionFile]]]:
        """List everything once; returns what lies in project folders and what lies beside, by session."""
        seats: dict[str, list[_Seat]] = {}
        beside: dict[str, list[SessionFile]] = {}
        known: dict[str, _Known] = {}
        for root in self._resolved():
            for folder in self._project_folders(root):
                alone = _Known(frozenset({(root, folder)}))
                for session, seat in self._seats_in(root, folder):
                    seats.setdefault(session, []).append(seat)
                    its = known.get(session, alone).also(alone)
                    agents = frozenset(path for _, path, _ in seat.agents)
                    known[session] = its.also(_Known(agents=agents)) if agents else its
            for kind in SIDE_FOLDERS:
                for entry in self._folders.entries(root / kind):
                    session = entry.name[:ID_CHARS]
                    if session in known:
                        beside.setdefault(session, []).extend(self._side_files(session, kind, entry))
                        if kind == "todos":
                            its = _Known(todos=frozenset({entry.path}))
                            known[session] = known[session].also(its)
        self._known = known
        return seats, beside

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

    def _seats_in(self, root: Path, folder: str) -> Iterator[tuple[str, _Seat]]:
        """Every session in one project folder."""
        main: dict[str, Stat] = {}
        own: set[str] = set()
        agents: dict[str, list[_Beside]] = {}
        place = root / "projects" / folder  # one for all: to make it takes longer than to look
        for entry in self._folders.entries(place):
            name = entry.name
            if name.endswith(".jsonl"):
                is_session = is_session_id(name[:-6])
                if not is_session and not name.startswith("agent-"):
                    continue
                if (status := self._folders.regular(entry)) is None:
                    if is_session and entry.is_symlink():
                        self._folders.pass_over(entry.path)
                    continue
                if is_session:
                    main[name[:-6]] = status
                elif session := self._session_of_agent(entry.path, status):
                    agents.setdefault(session, []).append((name, entry.path, status))
            elif is_session_id(name) and is_folder(entry):
                own.add(name)
        for session in {**main, **dict.fromkeys(own), **agents}:
            yield session, _Seat(root, place, main.get(session), session in own, agents.get(session, ()))

    def _seat(self, root: Path, folder: str, session: str, agents: Iterable[str]) -> _Seat:
        """What of one session lies in one project folder now."""
        place = root / "projects" / folder
        there = [
            (path[len(str(place)) + 1 :], path, status)
            for path in agents
            if path.startswith(f"{place}/") and (status := regular(path)) is not None
        ]
        return _Seat(
            root, place, regular(f"{place}/{session}.jsonl"), is_real_folder(f"{place}/{session}"), there
        )

    def _found(self, session: str, seats: list[_Seat], beside: Sequence[SessionFile]) -> Found | None:
        home = max(seats, key=_newest) if len(seats) > 1 else seats[0]
        name = f"{session}.jsonl"
        location = home.place / name
        if home.main and not (len(seats) > 1 or home.own or home.agents or beside):  # as nearly all are
            alone = session_file(name, location, Role.MAIN, home.main)
            return Found(Ref(self._source, session), home.root, location, (alone,))
        files: dict[str, SessionFile] = {}
        for seat in sorted(seats, key=lambda seat: (seat is not home, seat.place)):
            for file in self._files(session, seat, location if seat is home else None):
                while file.name in files:  # a folder of the same name below a second root
                    file = dataclasses.replace(file, name=f"{file.name}~")  # noqa: PLW2901 - the same file
                files[file.name] = file
        if not files:
            return None
        files.update((file.name, file) for file in beside)
        ordered = tuple(sorted(files.values(), key=lambda file: (_ORDER[file.role], file.name)))
        return Found(Ref(self._source, session), home.root, location, ordered)

    def _files(self, session: str, seat: _Seat, location: Path | None) -> Iterator[SessionFile]:
        """The files of one seat; `location` is the main file where this is the session's home."""
        prefix = f"projects/{seat.place.name}/" if location is None else ""
        if seat.main is not None:
            role = Role.COMPANION if location is None else Role.MAIN
            main = location or seat.place / f"{session}.jsonl"
            yield session_file(f"{prefix}{session}.jsonl", main, role, seat.main)
        for name, path, status in seat.agents:
            yield session_file(prefix + readable(name), path, Role.PART, status)
        if seat.own:
            subagents = f"{prefix}{session}/subagents/"
            for name, path, status in self._folders.files(f"{seat.place}/{session}", f"{prefix}{session}/"):
                role = Role.PART if name.startswith(subagents) else Role.COMPANION
                yield session_file(name, path, role, status)

    def _side_files(self, session: str, kind: str, entry: os.DirEntry[str]) -> Iterator[SessionFile]:
        """What one entry of `todos`, `tasks` or `file-history` holds of a session."""
        if kind == "todos":
            if (status := self._folders.regular(entry)) is not None:
                yield session_file(f"todos/{readable(entry.name)}", entry.path, Role.COMPANION, status)
        elif entry.name == session and is_folder(entry):
            yield from self._side_folder(entry.path, f"{kind}/{session}/")

    def _side_folder(self, path: str, prefix: str) -> Iterator[SessionFile]:
        for name, file, status in self._folders.files(path, prefix):
            yield session_file(name, file, Role.COMPANION, status)

    def _beside_one(self, session: str, todos: Iterable[str]) -> Iterator[SessionFile]:
        for path in todos:
            if (status := regular(path)) is not None:
                yield session_file(f"todos/{readable(Path(path).name)}", path, Role.COMPANION, status)
        for root in self._roots():
            for kind in SIDE_FOLDERS[1:]:
                if is_real_folder(path := f"{root}/{kind}/{session}"):
                    yield from self._side_folder(path, f"{kind}/{session}/")

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
        self._note(session, _Known(frozenset({(root, parts[0])})))
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


def _newest(seat: _Seat) -> tuple[bool, int, Path]:
    return seat.main is not None, seat.main.mtime_ns if seat.main else 0, seat.place

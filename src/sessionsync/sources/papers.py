"""Sessions that are one file each, in a project's `.claude/sessions` or in the agent's own folder.

<project>/.claude/sessions/<name>                      the project's
<project>/.claude/sessions/<date>-…/…/<name>           the same: somebody's title had a `/` in it
<agent>/session-data/<name>   <agent>/sessions/<name>  the agent's, of whatever project it says
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from sessionsync.events import Emit
from sessionsync.model import Found, Mark, Ref, Role, SessionFile, Summary
from sessionsync.sources.folders import Folders, Stat, is_folder, is_real_folder, real, regular, session_file
from sessionsync.sources.places import AGENT_FOLDERS, SESSIONS, Places

if TYPE_CHECKING:
    from sessionsync.sources.usage import Usage

NESTED = 12
"""How deep a title with `/` in it may lead."""
FILES = 10_000
"""Of one folder."""
STAMP = "stamp"
_STRUCTURED = ("context.json", "metrics.json", "checkpoints", "artifacts")


class _Desk(NamedTuple):
    """A folder with such files: `prefix` leads to it from `root`."""

    root: Path
    prefix: str
    folder: Path
    is_agents: bool


class Papers:
    """What the sources of such files have in common; each says which are its own, and what they say."""

    name: str
    prunes = True
    """Hooks sweep old notes away: that a file is gone says nothing."""
    nested = False
    """Whether files count that lie deeper because their title had a `/` in it."""

    def __init__(self, places: Places, emit: Emit, agents: Sequence[Path] = ()) -> None:
        self._folders = Folders(emit)
        self._places = places
        self._agents = list(agents)

    def takes(self, name: str, *, of_agent: bool) -> bool:
        """Whether a file is one of these sessions, by its name."""
        raise NotImplementedError

    def opens(self, path: str, status: Stat) -> bool:
        """Whether it is one, by what is in it."""
        del path, status
        return True

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Folders that could not be looked into the last time, and why."""
        return self._folders.unreadable

    @property
    def passed_over(self) -> Mapping[str, str]:
        """What was passed over where a session is looked for, and why."""
        return self._folders.links

    def roots(self) -> list[Path]:
        """The agent's folders that exist; those of projects are watched for the structured sessions."""
        return [desk.folder for desk in self._agent_desks() if is_real_folder(desk.folder)]

    def awaited(self) -> list[Path]:
        """Those that do not."""
        return [desk.folder for desk in self._agent_desks() if not is_real_folder(desk.folder)]

    def find(self) -> Iterator[Found]:
        """Every such file."""
        seen: set[str] = set()
        for desk in self._desks():
            for parts, path, status in self._files(desk):
                if path not in seen and self.opens(path, status):
                    seen.add(path)
                    yield self._found(desk, parts, path, status)

    def look(self, ref: Ref) -> Found | None:
        """One of them, where its id says; ids that lead elsewhere are nobody's."""
        parts = tuple(ref.session_id.split("/"))
        if ref.source != self.name or len(parts) < 2 or not _is_inside(parts):
            return None
        desk = self._desk_of(Path(ref.scope), parts)
        if desk is None:
            return None
        parts = parts[desk.prefix.count("/") + 1 :]
        above = [desk.folder.joinpath(*parts[:depth]) for depth in range(len(parts))]
        path = str(desk.folder.joinpath(*parts))
        if not all(map(is_real_folder, above)) or (status := regular(path)) is None:
            return None
        is_one = self._fits(desk, parts) and self.opens(path, status)
        return self._found(desk, parts, path, status) if is_one else None

    def locate(self, path: Path) -> Ref | None:
        """The session that a path is, by its name alone."""
        desk = self._desk_around(path)
        if desk is None:
            return None
        parts = path.relative_to(desk.folder).parts
        if not parts or not self._fits(desk, parts):
            return None
        if len(parts) > 1 and _is_structured(desk.folder / parts[0]):
            return None
        return Ref(self.name, "/".join((desk.prefix, *parts)), str(desk.root))

    def peek_cwd(self, found: Found, limit_bytes: int) -> str:
        """The project's folder."""
        del limit_bytes
        return str(found.root)

    # --- of files that are rewritten as a whole

    def append_only(self, name: str) -> bool:
        """Never."""
        del name
        return False

    def usage(self, role: Role, data: bytes, memory: str, restored: Sequence[int]) -> Usage:
        """Nothing: a file that is written anew each time tells nothing of cost and time."""
        from sessionsync.sources.usage import Usage  # noqa: PLC0415 - who captures does not ask

        del role, data, memory, restored
        return Usage("")

    def follow(self, summary: Summary, name: str, data: bytes, offset: int) -> list[Mark]:
        """Nothing: they have no lines."""
        del summary, name, data, offset
        return []

    skim = follow  # it is short

    def checkpoint_files(self, found: Found) -> list[SessionFile]:
        """None: the file itself says when something was reached, see `stamp`."""
        del found
        return []

    def is_complete(self, name: str, data: bytes) -> bool:
        """Nothing is known of that."""
        del name, data
        return True

    def stamp(self, summary: Summary) -> str:
        """What the file says of its state and of when it was brought up to date."""
        said = summary.scratch.get(STAMP, "")
        return said if isinstance(said, str) else ""

    # --- folders

    def _agent_desks(self) -> list[_Desk]:
        return [
            _Desk(root, name, real(root / name), is_agents=True)
            for root in dict.fromkeys(map(real, self._agents))
            for name in AGENT_FOLDERS
        ]

    def _desks(self) -> list[_Desk]:
        """The agent's come first: the home folder may itself be a project."""
        projects = self._places.survey().items()
        ours = [_Desk(project, "/".join(SESSIONS), folder, is_agents=False) for project, folder in projects]
        return [*self._agent_desks(), *ours]

    def _desk_of(self, root: Path, parts: Sequence[str]) -> _Desk | None:
        for desk in self._agent_desks():
            if desk.root == root and desk.prefix == parts[0] and real(desk.folder) == desk.folder:
                return desk
        folder = self._places.of(root) if tuple(parts[:2]) == SESSIONS and len(parts) > 2 else None
        return None if folder is None else _Desk(root, "/".join(SESSIONS), folder, is_agents=False)

    def _desk_around(self, path: Path) -> _Desk | None:
        for desk in self._agent_desks():
            if path.parent == desk.folder and self.takes(path.name, of_agent=True):
                return desk
        if (place := self._places.around(path)) is None:
            return None
        return _Desk(place[0], "/".join(SESSIONS), place[1], is_agents=False)

    def _files(self, desk: _Desk) -> Iterator[tuple[tuple[str, ...], str, Stat]]:
        """The regular files of a folder that fit, and of those below that a title with `/` has made."""
        waiting: list[tuple[str, tuple[str, ...]]] = [(str(desk.folder), ())]
        seen = 0
        while waiting:
            folder, above = waiting.pop()
            for entry in self._folders.entries(folder):
                parts = (*above, entry.name)
                seen += 1
                if seen > FILES:
                    self._folders.skip(folder, f"it holds more than {FILES} files")
                    return
                if is_folder(entry):
                    if self._leads_on(desk, parts) and (above or not _is_structured(Path(entry.path))):
                        waiting.append((entry.path, parts))
                elif self._fits(desk, parts) and (status := self._folders.regular(entry)) is not None:
                    yield parts, entry.path, status

    def _leads_on(self, desk: _Desk, parts: Sequence[str]) -> bool:
        return self.nested and not desk.is_agents and len(parts) < NESTED and _is_dated(parts[0])

    def _fits(self, desk: _Desk, parts: Sequence[str]) -> bool:
        """Whether a file there is one of these, by its path below the folder."""
        if parts[-1].startswith(".") or not self.takes(parts[-1], of_agent=desk.is_agents):
            return False
        if len(parts) > 1 and not self._leads_on(desk, parts[:-1]):
            return False
        if not all(part.isprintable() for part in parts):
            path = desk.folder.joinpath(*parts)
            self._folders.skip(str(path), "its name has control characters or is no UTF-8")
            return False
        return True

    def _found(self, desk: _Desk, parts: Sequence[str], path: str, status: Stat) -> Found:
        below = "/".join((desk.prefix, *parts))
        return Found(
            Ref(self.name, below, str(desk.root)),
            desk.root,
            desk.root / below,
            (session_file(parts[-1], path, Role.MAIN, status),),
            stem="-".join((*parts[:-1], PurePosixPath(parts[-1]).stem)),
        )


def issue_of(name: str) -> int:
    """The issue whose context file this is, by its name: `12.md`, `2026-01-02-issue-12.md`; 0 if none."""
    stem = name.removesuffix(".md").lower()
    before, _, digits = stem.rpartition("issue-")
    is_number = digits.isascii() and digits.isdecimal() and len(digits) < 10
    if stem == name.lower() or not is_number or (before and before[-1].isalnum()):
        return 0
    return int(digits)


def _is_dated(name: str) -> bool:
    """Whether a folder is called as notes are, by the day on which they were begun."""
    try:
        date.fromisoformat(name[:10])
    except ValueError:
        return False
    return True


def _is_structured(folder: Path) -> bool:
    return any(os.path.lexists(folder / name) for name in _STRUCTURED)


def _is_inside(parts: Sequence[str]) -> bool:
    return all(part not in {"", ".", ".."} and "\0" not in part for part in parts)

"""Where projects keep sessions, the folder `.claude/sessions` of each; where notes lie beside the agent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from sessionsync.events import Emit
from sessionsync.sources.folders import Folders, readable, real

SESSIONS = (".claude", "sessions")
AGENT_FOLDERS = ("session-data", "sessions")
"""Where hooks keep notes beside the agent's own files; `sessions` is the older of them."""


class _Seen(NamedTuple):
    """Each project with its folder where that is there, and the folders that are not, as they were named."""

    there: dict[Path, Path]
    awaited: list[Path]


# What is held, and whose it is: by each thread its own.
_held: ContextVar[tuple[Places, _Seen] | None] = ContextVar("held", default=None)


class Places:
    """The session folders of the projects that `projects` gives, which are asked for every time.

    All paths are real ones, and each folder is of one project.  A repository may bring `.claude` along as a
    link; one that leads out of the project would hand somebody else's folders to whoever may read this
    project's issues.
    """

    def __init__(self, projects: Callable[[], Iterable[Path]], emit: Emit) -> None:
        self._projects = projects
        self._folders = Folders(emit)
        self._known: dict[Path, Path] = {}
        self._folder_of: dict[Path, Path] = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Look once for all that is asked within: a rescan asks for each source, and for what to watch.

        What another thread asks meanwhile is looked at by itself: it may be about what has just come.
        """
        before = _held.set((self, self._look()))
        try:
            yield
        finally:
            _held.reset(before)

    def survey(self) -> dict[Path, Path]:
        """Each project with its folder, where that is there."""
        return self._seen().there

    def awaited(self) -> list[Path]:
        """The folders that the projects do not have yet, by the names that the projects were given."""
        return self._seen().awaited

    def _seen(self) -> _Seen:
        held = _held.get()
        return held[1] if held is not None and held[0] is self else self._look()

    def _look(self) -> _Seen:
        known: dict[Path, Path] = {}
        awaited: dict[Path, None] = {}
        for given in self._projects():
            named = given.joinpath(*SESSIONS)
            if not _is_there(named):
                awaited[named] = None
                continue  # most projects have none, and to look for links costs more
            project, sessions = real(given), real(named)
            if sessions in known or readable(str(sessions)) != str(sessions):
                continue
            if sessions.is_relative_to(project):
                known[sessions] = project
            else:
                self._folders.skip(str(named), "it is a link out of its project")
        there = {project: sessions for sessions, project in known.items()}
        self._known, self._folder_of = known, there
        return _Seen(there, list(awaited))

    def of(self, project: Path) -> Path | None:
        """A project's folder, as it was seen last or is now; None where there is none or it is a link now."""
        sessions = self._folder_of.get(project) or self.survey().get(project)
        return sessions if sessions is not None and real(sessions) == sessions else None

    def around(self, path: Path) -> tuple[Path, Path] | None:
        """The project and the folder that a path is in, by the last survey; None where it is in none."""
        if not self._known:
            self.survey()
        folder = next((above for above in (path, *path.parents) if above in self._known), None)
        return None if folder is None else (self._known[folder], folder)


def _is_there(sessions: Path) -> bool:
    """Whether a folder lies there, or behind a link; False where nobody may look."""
    return os.path.isdir(sessions)  # noqa: PTH112 - `Path.is_dir` raises where nobody may look

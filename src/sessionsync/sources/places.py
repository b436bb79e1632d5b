"""Where projects keep sessions, the folder `.claude/sessions` of each; where notes lie beside the agent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from sessionsync.sources.folders import Folders, readable, real

SESSIONS = (".claude", "sessions")
AGENT_FOLDERS = ("session-data", "sessions")
"""Where hooks keep notes beside the agent's own files; `sessions` is the older of them."""


class Places:
    """The session folders of the projects that `projects` gives, which are asked for every time.

    All paths are real ones, and each folder is of one project.  A repository may bring `.claude` along as a
    link; one that leads out of the project would hand somebody else's folders to whoever may read this
    project's issues.
    """

    def __init__(self, projects: Callable[[], Iterable[Path]], folders: Folders) -> None:
        self._projects = projects
        self._folders = folders
        self._known: dict[Path, Path] = {}
        self._folder_of: dict[Path, Path] = {}

    def survey(self) -> dict[Path, Path]:
        """Each project with its folder, where that is there."""
        known: dict[Path, Path] = {}
        for given in self._projects():
            named = given.joinpath(*SESSIONS)
            if not _is_there(named):
                continue  # most projects have none, and to look for links costs more
            project, sessions = real(given), real(named)
            if sessions in known or readable(str(sessions)) != str(sessions):
                continue
            if sessions.is_relative_to(project):
                known[sessions] = project
            else:
                self._folders.skip(str(named), "it is a link out of its project")
        self._known = known
        self._folder_of = {project: sessions for sessions, project in known.items()}
        return dict(self._folder_of)

    def awaited(self) -> list[Path]:
        """The folders that the projects do not have yet, by the names that the projects were given."""
        places = (project.joinpath(*SESSIONS) for project in self._projects())
        return [place for place in dict.fromkeys(places) if not _is_there(place)]

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

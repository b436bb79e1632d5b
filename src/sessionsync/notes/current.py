"""The session that a new note belongs to."""

from __future__ import annotations

from sessionsync import projects
from sessionsync.model import ACTIVE_S
from sessionsync.peek import PEEK_BYTES
from sessionsync.project_names import ProjectIdentity
from sessionsync.sources import Source

LOOKED_AT = 20
"""Of the active sessions, the newest: each costs a look into its file, and git a look at its folder."""


def current_session(transcripts: Source, project: ProjectIdentity, now: float) -> str:
    """The newest active session of a project, as `source:id`; '' where none was changed lately.

    `now` is Unix seconds.  Looks at the disk alone, so no daemon need run.
    """
    active = [found for found in transcripts.find() if found.mtime > now - ACTIVE_S]
    active.sort(key=lambda found: found.mtime, reverse=True)
    keys: dict[str, str] = {project.root: project.key}
    for found in active[:LOOKED_AT]:
        cwd = transcripts.peek_cwd(found, PEEK_BYTES)
        if cwd and cwd not in keys:
            keys[cwd] = projects.identify(cwd).key
        if keys.get(cwd) == project.key:
            return str(found.ref)
    return ""

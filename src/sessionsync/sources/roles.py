"""What a file is to its session, by its name alone."""

from __future__ import annotations

from sessionsync.model import Role
from sessionsync.peek import is_session_id

CONTEXT = "context.json"
PAPERS = frozenset({"note", "context", "messages"})
"""Sources whose sessions are one file each, which lies where its id says: below a project, or the agent's."""


def role_of(source: str, name: str) -> Role:
    """What a file is to its session, as the sources have it."""
    if source != "claude":
        return Role.MAIN if name == CONTEXT or source in PAPERS else Role.PART
    path = name.split("/")
    elsewhere = path[0] == "projects" and len(path) > 2
    path = path[2:] if elsewhere else path
    if len(path) == 1 and path[0].startswith("agent-"):
        return Role.PART
    if len(path) == 1:
        return Role.COMPANION if elsewhere else Role.MAIN
    return Role.PART if is_session_id(path[0]) and path[1] == "subagents" else Role.COMPANION

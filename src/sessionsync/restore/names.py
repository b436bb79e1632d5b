"""Where a file of a session belongs, by its name alone.

Names come from copies, and a copy may come from anyone who can write a comment.  What is put back is
the session's own files and nothing else: never settings, hooks or commands, never outside its folders.
"""

from __future__ import annotations

from sessionsync.errors import RestoreError
from sessionsync.sources.places import AGENT_FOLDERS
from sessionsync.sources.roles import CONTEXT

_METRICS = "metrics.json"
_BELOW = frozenset({"artifacts", "checkpoints"})
_ENDINGS = (".md", ".tmp", ".json")


def steps(name: str) -> tuple[str, ...]:
    """The folders and the file that a name leads through.

    Raises:
        RestoreError: it leads out of the session.
    """
    found = tuple(name.split("/"))
    if "\0" in name or any(step in {"", ".", ".."} for step in found):
        raise RestoreError(
            f"The copy names a file that cannot lie in a session: {name[:200]!r}.",
            hint="Somebody changed it: take another copy (`sessiond restore ID --list`).",
        )
    return found


def in_agent(session_id: str, folder: str, name: str) -> tuple[str, ...] | None:
    """Where a transcript's file lies below the agent's folder, if its project has `folder` there.

    None where the agent would not look for it: a second version of the transcript, which would keep the
    agent from finding either, and what has no place of its own.

    Raises:
        RestoreError: the name leads out of the session.
    """
    path = steps(name)
    elsewhere = path[0] == "projects" and len(path) > 2
    if elsewhere:  # it lay in another project's folder
        path = path[2:]
    first, *rest = path
    if first == f"{session_id}.jsonl" and not rest:
        return None if elsewhere else ("projects", folder, first)
    is_agent = first.startswith("agent-") and first.endswith(".jsonl") and not rest
    if is_agent or (first == session_id and rest):
        return ("projects", folder, *path)
    if first == "todos" and len(rest) == 1 and rest[0].startswith(session_id):
        return path
    if first in {"tasks", "file-history"} and len(rest) > 1 and rest[0] == session_id:
        return path
    return None


def is_own(source: str, session_id: str, name: str) -> bool:
    """Whether a name is one that the files of such a session have, and no settings, hook or command.

    Raises:
        RestoreError: the name leads out of the session.
    """
    first, *rest = steps(name)
    if source == "claude":
        elsewhere = len(rest) == 2 and first == "projects" and rest[1] == f"{session_id}.jsonl"
        return elsewhere or in_agent(session_id, "-", name) is not None
    if source == "structured":
        return first in _BELOW if rest else first in {CONTEXT, _METRICS}
    return not rest and not first.startswith(".") and first.endswith(_ENDINGS)


def in_project(path: str) -> tuple[str, ...]:
    """The steps to a session that is one file, below its project: `.claude/sessions/<name>`.

    Raises:
        RestoreError: it lies elsewhere, as an agent's own notes do, see `beside_agent`.
    """
    found = steps(path)
    if found[:2] != (".claude", "sessions") or not _is_paper(found[2:]):
        raise RestoreError(
            f"{path[:200]!r} is no place of a session.", hint="--out DIR writes it into any folder."
        )
    return found


def beside_agent(path: str) -> tuple[str, ...] | None:
    """The steps to a note in the agent's own folder, below that; None where it is none."""
    found = tuple(path.split("/"))
    return found if len(found) == 2 and found[0] in AGENT_FOLDERS and _is_paper(found[1:]) else None


def _is_paper(found: tuple[str, ...]) -> bool:
    return bool(found) and not any(step.startswith(".") for step in found) and found[-1].endswith(_ENDINGS)


def grows_by_lines(name: str) -> bool:
    """Whether the file is a transcript: its agent adds lines to it, and a torn end would spoil the next."""
    return name.endswith(".jsonl")

"""The Agent SDK's `SessionStore`, so that a program's sessions are kept as the agent's own are.

    options = ClaudeAgentOptions(session_store=conversations.TranscriptStore(), resume=session_id)

It has what the interface demands (`append`, `load`) and what a resume and a list ask for (`list_sessions`,
`list_subkeys`).  It never deletes: that is `sessiond forget`.  The SDK itself is not imported; its interface
is kept to by shape, as it allows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sessionsync.conversations.transcripts import Entry, Key, Transcripts
from sessionsync.paths import claude_root

T = TypeVar("T")


class TranscriptStore:
    """Stores below the agent's folder, `$CLAUDE_CONFIG_DIR` or `~/.claude`, or below another like it.

    Where that is another one, let the daemon watch it (`sources.claude`).  Several processes may add to one
    session.  Files are worked on beside the event loop of the program, asyncio's or trio's.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self._transcripts = Transcripts(claude_root(os.environ) if root is None else Path(root).absolute())

    async def append(self, key: Key, entries: Sequence[Entry]) -> None:
        """Add the entries of a session or of a subagent (`subpath`); each uuid once.

        Raises:
            UsageError: the key cannot be the name of a file.
            ConversationError: they could not be written; nothing of them was.
        """
        await _beside(partial(self._transcripts.append, key, entries))

    async def load(self, key: Key) -> list[Entry] | None:
        """Every entry of a session or of a subagent; None where there never was one.

        Raises:
            UsageError: the key cannot be the name of a file.
            ConversationError: it cannot be read.
        """
        return await _beside(partial(self._transcripts.load, key))

    async def list_sessions(self, project_key: str) -> list[dict[str, Any]]:
        """The sessions of a project, each with `session_id` and `mtime` in milliseconds."""
        found = await _beside(partial(self._transcripts.sessions, project_key))
        return [listed._asdict() for listed in found]

    async def list_subkeys(self, key: Key) -> list[str]:
        """The subpaths of a session's subagents."""
        return await _beside(partial(self._transcripts.subkeys, key))


async def _beside(work: Callable[[], T]) -> T:
    """Do it in a thread: a lock, or a slow disk, must not hold up the program's loop."""
    from anyio import to_thread  # noqa: PLC0415 - 60 ms, and a message store does without

    return await to_thread.run_sync(work)

"""For programs that keep a conversation themselves: sessiond backs it up, shows it, and puts it back.

    from sessionsync import conversations

    store = conversations.open("review-42")                  # .claude/sessions/review-42.json
    store.append({"role": "user", "content": "Is it safe?"})
    store.messages()

`MessageStore` is for programs that talk to an API, `TranscriptStore` is the Agent SDK's `SessionStore`.  Both
are safe for several processes, and neither needs a daemon.
"""

from __future__ import annotations

import os
from pathlib import Path

from sessionsync import projects
from sessionsync.conversations.agent_sdk import TranscriptStore
from sessionsync.conversations.messages import MessageStore

__all__ = ["MessageStore", "TranscriptStore", "open"]


def open(session_id: str, project: str | os.PathLike[str] | None = None) -> MessageStore:  # noqa: A001 - the word for it
    """Return the message store of a session, new or not; nothing is written before the first `append`.

    `project` is any folder of the project that it belongs to, else the one that this process works in.

    Raises:
        UsageError: no file can have that id as its name.
    """
    folder = Path.cwd() if project is None else Path(project).absolute()
    return MessageStore(Path(projects.identify(str(folder)).root), session_id)

"""Lines that are inferred: what is still known of lost ones, as the agent would have written it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sessionsync.model import rfc3339
from sessionsync.restore.loadable import Row
from sessionsync.restore.pieces import Line, Passage

Json = dict[str, Any]

MARK = "reconstructed"
"""The key of an inferred line that says so."""
_SPACE = uuid.UUID("2c4b0c0e-6f0a-5b55-9f1e-3f1d6e1d9a57")


@dataclass(slots=True)
class Item:
    """A line of the result: one that is held, or one that is inferred, as an object."""

    line: Line | None = None
    row: Json = field(default_factory=dict)
    why: str = ""
    offset: int | None = None
    rows: Sequence[Row] = ()

    @property
    def is_link(self) -> bool:
        """Whether it is inferred and has a place in the conversation."""
        return self.line is None and "uuid" in self.row


class Scribe:
    """Writes the inferred lines of one session: the same ones of the same remains.

    `at` is when the line before was written, which a line without a time of its own takes over.
    """

    def __init__(self, session_id: str, cwd: str, *, is_main: bool) -> None:
        self.at = "1970-01-01T00:00:00.000Z"
        self._session_id = session_id
        self._common: Json = {"cwd": cwd} if cwd else {}
        self._side = not is_main

    def item(self, row: Json, why: str, offset: int | None = None) -> Item:
        """A line of the result that says where it comes from; `offset` is where it was in the file."""
        mark = {"from": why} if offset is None else {"from": why, "offset": offset}
        row[MARK] = mark | row.get(MARK, {})
        return Item(row=row, why=why, offset=offset)

    def words(self, passage: Passage) -> Json:
        """A line that says what the index remembers of one."""
        if passage.at:
            self.at = f"{rfc3339(passage.at)[:-1]}.000Z"
        name = f"{passage.generation}:{passage.offset}:{passage.nth}"
        if passage.role in {"title", "note"}:
            return {"type": "ai-title", "aiTitle": passage.words, "sessionId": self._session_id}
        if passage.role == "user":
            return self.user(passage.words, name)
        called = "(a tool was called) " if passage.role == "tool" else ""
        return self.assistant(called + passage.words, name)

    def system(self, text: str, name: str) -> Json:
        """A line of the program's; `name` tells it from the session's other inferred lines, as in all."""
        return self._row("system", name, subtype="informational", level="warning", content=text)

    def user(self, text: str, name: str, *, results: Sequence[str] = (), **fields: Any) -> Json:
        """A line of the user's, or what tools gave back to these calls."""
        content: Any = text
        if results:
            content = [
                {"type": "tool_result", "tool_use_id": call, "content": "(lost)", "is_error": True}
                for call in results
            ]
        return self._row("user", name, message={"role": "user", "content": content}, **fields)

    def assistant(self, text: str, name: str, *, calls: Sequence[str] = ()) -> Json:
        """A line of the agent's, which calls tools or ends its answer."""
        blocks: list[Json] = [{"type": "text", "text": text}] if text else []
        blocks += [{"type": "tool_use", "id": call, "name": "lost", "input": {}} for call in calls]
        message = {
            "id": f"msg_{uuid.uuid5(_SPACE, f'{self._session_id}/{name}').hex}",
            "type": "message",
            "role": "assistant",
            "model": "<synthetic>",
            "content": blocks,
            "stop_reason": "tool_use" if calls else "end_turn",
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return self._row("assistant", name, message=message)

    def _row(self, kind: str, name: str, **fields: Any) -> Json:
        return {
            "parentUuid": None,
            "isSidechain": self._side,
            "userType": "external",
            **self._common,
            "sessionId": self._session_id,
            "type": kind,
            "uuid": str(uuid.uuid5(_SPACE, f"{self._session_id}/{name}")),
            "timestamp": self.at,
            **fields,
            MARK: {},
        }

"""An agent that writes transcript lines as Claude Code does, in the shapes of its versions."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
SESSION = "0b0e7d52-58d7-4cf4-9f3f-6a6f5c9c1a11"


class Agent:
    """Writes the lines of one session; each method adds a line and returns it as an object.

    `modern` versions say in every line of an answer how it ended; older ones leave that null.
    """

    def __init__(
        self,
        *,
        session: str = SESSION,
        cwd: str = "/home/me/app",
        modern: bool = True,
        seed: int = 1,
        **common: Any,
    ) -> None:
        self.session = session
        self.modern = modern
        self.now = START
        self.lines: list[bytes] = []
        self.rows: list[dict[str, Any]] = []
        self._random = Random(seed)
        self._parent: str | None = None
        self._message = ""
        self._common = {
            "cwd": cwd,
            "gitBranch": "main",
            "version": "2.1.217" if modern else "2.1.7",
            **common,
        }

    @property
    def data(self) -> bytes:
        """The file."""
        return b"".join(self.lines)

    def identifier(self) -> str:
        """A new random id."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def write(self, row: dict[str, Any]) -> dict[str, Any]:
        """Add a line as it is."""
        self.rows.append(row)
        self.lines.append(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        return row

    def chain(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Add a line with a place in the conversation."""
        self.now += timedelta(seconds=3)
        row = {
            "parentUuid": self._parent,
            "isSidechain": False,
            "userType": "external",
            "sessionId": self.session,
            **self._common,
            "type": kind,
            "uuid": self.identifier(),
            "timestamp": self.now.strftime("%Y-%m-%dT%H:%M:%S.") + "000Z",
            **fields,
        }
        self._parent = row["uuid"]
        return self.write(row)

    def prompt(self, text: Any, **fields: Any) -> dict[str, Any]:
        """The user types."""
        return self.chain("user", message={"role": "user", "content": text}, **fields)

    def assistant(self, *blocks: dict[str, Any], stop: str | None = None, **fields: Any) -> None:
        """The agent answers: a line for each block."""
        message = "msg_" + self.identifier()[:8]
        for block in blocks:
            body = {
                "id": message,
                "role": "assistant",
                "model": "claude-x",
                "content": [block],
                "stop_reason": stop,
            }
            self.chain("assistant", message=body, requestId="req_1", **fields)

    def say(self, text: str, **fields: Any) -> None:
        """The agent ends its answer with a text."""
        thinking = {"type": "thinking", "thinking": "…", "signature": "c2lnbmF0dXJl"}
        self.assistant(
            thinking, {"type": "text", "text": text}, stop="end_turn" if self.modern else None, **fields
        )

    def call(self, tool: str, arguments: dict[str, Any], *, text: str = "", **fields: Any) -> str:
        """The agent calls a tool, perhaps saying something first; returns the call's id."""
        call = "toolu_" + self.identifier()[:8]
        said = [{"type": "text", "text": text}] if text else []
        stop = "tool_use" if self.modern else None
        self.assistant(
            *said, {"type": "tool_use", "id": call, "name": tool, "input": arguments}, stop=stop, **fields
        )
        return call

    def result(
        self, call: str, content: Any = "done", outcome: Any = None, *, error: bool = False, **fields: Any
    ) -> None:
        """The tool answers."""
        block = {"tool_use_id": call, "type": "tool_result", "content": content, "is_error": error}
        outcome = {"stdout": content} if outcome is None else outcome
        self.chain("user", message={"role": "user", "content": [block]}, toolUseResult=outcome, **fields)

    def use(self, tool: str, arguments: dict[str, Any], outcome: Any = None, *, text: str = "") -> None:
        """The agent calls a tool, which answers."""
        self.result(self.call(tool, arguments, text=text), outcome=outcome)

    def turn(self, prompt: str, *, tools: int = 1, answer: str = "It is done.") -> None:
        """A whole turn."""
        self.prompt(prompt)
        for _ in range(tools):
            self.use("Bash", {"command": "make"}, text="I look.")
        self.say(answer)

    def compact(self, summary: str = "") -> None:
        """The conversation is compacted; the agent goes on with a summary."""
        self.chain("system", subtype="compact_boundary", content="Conversation compacted", level="info")
        if summary:
            self.prompt(summary, isCompactSummary=True, isVisibleInTranscriptOnly=True)

    def label(self, kind: str, **fields: Any) -> None:
        """A line without place in the conversation."""
        self.write({"type": kind, **fields, "sessionId": self.session})

    def attach(self, kind: str, **fields: Any) -> None:
        """What the program hands the agent beside the conversation."""
        self.chain("attachment", attachment={"type": kind, **fields})

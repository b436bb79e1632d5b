"""What a line of a transcript holds, as far as anybody reads it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sessionsync.sources import prompts
from sessionsync.sources.lines import UNREADABLE

ABSENT: Final = msgspec.Raw(b"")
"""A field that the line does not have."""

_CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})


class Block(msgspec.Struct, gc=False):
    """A piece of a message: its text, a call of a tool, or what a tool gave back."""

    type: str | None = None
    text: str | None = None
    name: str | None = None
    id: str | None = None
    input: msgspec.Raw = ABSENT
    tool_use_id: str | None = None
    is_error: bool | None = None
    content: msgspec.Raw = ABSENT


class Message(msgspec.Struct, gc=False):
    """A message: of an agent's, one line holds one block, and all its lines share the rest."""

    model: str | None = None
    stop_reason: str | None = None
    content: list[Block | str] | str = ""

    def said_and_called(self) -> tuple[list[str], list[Block]]:
        """The texts in an agent's message, and its calls of tools."""
        if isinstance(self.content, str):
            return [self.content], []
        said, calls = [], []
        for block in self.content:
            if isinstance(block, str):
                said.append(block)
            elif block.type in _CALLS:
                calls.append(block)
            elif block.type == "text":
                said.append(block.text or "")
        return said, calls

    def blocks(self) -> list[Block]:
        """Its pieces that are more than text."""
        if isinstance(self.content, str):
            return []
        return [block for block in self.content if isinstance(block, Block)]

    def text(self) -> str:
        """Every text in it, one below the other."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join([block if isinstance(block, str) else block.text or "" for block in self.content])


class Entry(msgspec.Struct, rename="camel", gc=False):
    """What every reader of lines asks of one: what it is, when it was written, and who speaks in it."""

    type: str | None = None
    subtype: str | None = None
    uuid: str | None = None
    timestamp: str | None = None
    is_sidechain: bool | None = None
    is_meta: bool | None = None
    is_compact_summary: bool | None = None
    is_api_error_message: bool | None = None
    origin: prompts.Origin | None = None
    prompt_source: str | None = None
    tool_use_result: msgspec.Raw = ABSENT


class Row(Entry, rename="camel", gc=False):
    """A line with what is read of it for the summary."""

    message: Message | None = None
    attachment: msgspec.Raw = ABSENT
    todos: msgspec.Raw = ABSENT
    plan_content: str | None = None
    custom_title: str | None = None
    ai_title: str | None = None
    summary: str | None = None
    leaf_uuid: str | None = None
    last_prompt: str | None = None
    pr_number: int | None = None
    pr_repository: str | None = None


class Place(msgspec.Struct, rename="camel", gc=False):
    """What a line says of where it was written; nearly all of them repeat the line before."""

    cwd: str | None = None
    is_sidechain: bool | None = None
    version: str | None = None
    git_branch: str | None = None


class Attachment(msgspec.Struct, rename="camel", gc=False):
    """What the program hands the agent beside the conversation."""

    type: str | None = None
    command_mode: str | None = None
    origin: prompts.Origin | None = None
    prompt: msgspec.Raw = ABSENT
    content: msgspec.Raw = ABSENT


_decode_attachment = msgspec.json.Decoder(Attachment).decode
_decode_any = msgspec.json.Decoder().decode


def attachment(row: Row) -> Attachment:
    """What is attached to a line; an empty one where it cannot be read."""
    try:
        return _decode_attachment(row.attachment)
    except UNREADABLE:
        return Attachment()


def value(raw: msgspec.Raw) -> Any:
    """What raw JSON says; None where it is none."""
    try:
        return _decode_any(raw)
    except UNREADABLE:
        return None


def field(raw: msgspec.Raw, name: str) -> Any:
    """One field of a raw object; None where there is none."""
    said = value(raw)
    return said.get(name) if isinstance(said, dict) else None


def text_of(said: object) -> str:
    """The text in what may be a text, or a list of blocks with texts."""
    if isinstance(said, str):
        return said
    if isinstance(said, list):
        texts = (block.get("text") for block in said if isinstance(block, dict))
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""

"""What of a session can be searched: the words of people and agents, tool calls, titles.

Tool results are left out: they are most of the bytes and little of what anybody remembers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from sessionsync.sources.lines import UNREADABLE, Reader

TEXT_CHARS = 20_000
"""Of one passage; a longer one is pasted data."""
INPUT_CHARS = 4_000
_PLAIN_CHARS = 8_000


class Passage(NamedTuple):
    """A piece of text and where it lies: `length` bytes from `offset` of its file, one or more to a place."""

    role: str
    at: str
    offset: int
    length: int
    text: str


class _Block(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    name: str | None = None
    input: Any = None


class _Message(msgspec.Struct, gc=False):
    content: list[_Block | str] | str = ""


class _Row(msgspec.Struct, rename="camel", gc=False):
    type: str | None = None
    timestamp: str | None = None
    is_meta: bool | None = None
    message: _Message | None = None
    custom_title: str | None = None
    ai_title: str | None = None
    summary: str | None = None


_SPEAKERS = frozenset({"user", "assistant"})
_reader = Reader(_Row)
_decode = msgspec.json.Decoder(_Row).decode


def of_transcript(data: bytes, offset: int) -> Iterator[Passage]:
    """The passages of whole transcript lines that begin at `offset` in their file."""
    start = 0
    while start < len(data):
        newline = data.find(b"\n", start)
        end = len(data) if newline < 0 else newline + 1
        line = data[start:end]
        try:
            rows: Sequence[_Row] = (_decode(line),)
        except UNREADABLE:
            rows = _reader.read(line.removesuffix(b"\n"))[0] if not line.isspace() else ()
        for row in rows:
            if row.message is not None and not row.is_meta and row.type in _SPEAKERS:
                at = row.timestamp or ""
                for role, text in _said(row.type, row.message.content):
                    yield Passage(role, at, offset + start, end - start, text[:TEXT_CHARS])
            elif row.custom_title or row.ai_title or row.summary:
                for title in (row.custom_title, row.ai_title, row.summary):
                    if title and not title.isspace():
                        yield Passage(
                            "title", row.timestamp or "", offset + start, end - start, title[:TEXT_CHARS]
                        )
        start = end


def of_text(data: bytes, offset: int) -> Iterator[Passage]:
    """The passages of text that lies at `offset` in its file; none where it is binary."""
    if b"\0" in data[:4096]:
        return
    begin = 0
    while begin < len(data):
        end = min(begin + _PLAIN_CHARS, len(data))
        if end < len(data) and (newline := data.rfind(b"\n", begin, end)) > begin:
            end = newline + 1
        text = data[begin:end].decode("utf-8", "replace")
        if text.strip():
            yield Passage("note", "", offset + begin, end - begin, text)
        begin = end


def _said(speaker: str, content: list[_Block | str] | str) -> Iterator[tuple[str, str]]:
    """Who said what in a message: a text, or blocks of text and of tool calls."""
    for block in [content] if isinstance(content, str) else content:
        if isinstance(block, str):
            if block and not block.isspace():
                yield speaker, block
        elif block.type == "text":
            if block.text and not block.text.isspace():
                yield speaker, block.text
        elif block.type == "tool_use":
            words = [block.name or "", *strings(block.input)]
            if text := "\n".join(words)[:INPUT_CHARS].strip():
                yield "tool", text


def strings(value: Any, depth: int = 0) -> Iterator[str]:
    """Every string in a tool's input, bounded."""
    if isinstance(value, str):
        yield value[:INPUT_CHARS]
    elif depth < 6 and isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner, depth + 1)
    elif depth < 6 and isinstance(value, list):
        for inner in value[:100]:
            yield from strings(inner, depth + 1)

"""Message stores: `<project>/.claude/sessions/<session_id>.json`, an object with a list `messages`.

Programs that talk to an API keep them.  A message has a `role` (or `type`) and a `content`: a text, or a
list of blocks.  Beside the list the object may say what `context.json` says: title, status, decisions …
What is half written is kept as it is, and read as far as it was read before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from sessionsync.events import Emit
from sessionsync.model import Found, Summary, rfc3339
from sessionsync.sources import Read
from sessionsync.sources.folders import Stat, head
from sessionsync.sources.lines import UNREADABLE, document
from sessionsync.sources.objects import TIMES, alike, take, text_of, time_of
from sessionsync.sources.papers import STAMP, Papers
from sessionsync.sources.passages import INPUT_CHARS, TEXT_CHARS, Passage, of_text, strings
from sessionsync.sources.places import Places
from sessionsync.sources.prose import TITLE_CHARS, clip

PEEK_BYTES = 64 * 1024
WHOLE_BYTES = 4 * 1024 * 1024
KNOWN = 10_000
"""Files that are remembered for what they are."""
_USERS = frozenset({"user", "human"})
_ASSISTANTS = frozenset({"assistant", "ai", "model", "gemini", "bot"})
_TOOLS = frozenset({"tool", "function", "tool_use", "tool_result"})
# No set: what stands in a type's place need not be a text.
_CALLS = ("tool_use", "tool_call", "function_call")
# Of a file that does not parse, as while it is written.  Quotes inside a JSON text are escaped.
_LIST = re.compile(rb'[{,]\s*"messages"\s*:\s*\[')


class _Store(msgspec.Struct):
    messages: list[msgspec.Raw]


_decode_store = msgspec.json.Decoder(_Store).decode


class Messages(Papers):
    """The message stores of the projects."""

    name = "messages"

    def __init__(self, places: Places, emit: Emit) -> None:
        super().__init__(places, emit)
        self._known: dict[str, Stat] = {}
        self._others: dict[str, Stat] = {}

    def takes(self, name: str, *, of_agent: bool) -> bool:
        """JSON."""
        return not of_agent and name.endswith(".json")

    def opens(self, path: str, status: Stat) -> bool:
        """Whether it holds a list `messages`; one that did is one until it is another file that does not.

        A program that writes in place leaves it empty, or half of it, for a moment.
        """
        if self._known.get(path) == status:
            return True
        if self._others.get(path) == status:
            return False
        is_one = _is_store(head(Path(path), WHOLE_BYTES))
        was_one = path in self._known and not is_one
        found = self._known if is_one or was_one else self._others
        if len(found) >= KNOWN:
            found.clear()
        found[path] = status
        return is_one or was_one

    def passages(self, name: str, data: bytes, offset: int) -> Iterator[Passage]:
        """Every message, with the role of who said it; of what cannot be read the bare text."""
        del name
        try:
            found = _decode_store(data).messages
        except UNREADABLE:
            value = _value(data)
            if isinstance(value, dict | str):  # one message, cut out to be shown
                yield from _of_message(value, offset, len(data))
            else:
                yield from of_text(data, offset)
            return
        at = 0
        for raw in found:
            text = bytes(raw)
            begin = data.find(text, at)
            if begin >= 0:
                at = begin + len(text)
                yield from _of_message(_value(text), offset + begin, len(text))

    def conclude(self, summary: Summary, found: Found, read: Read) -> None:
        """Read the store anew; what does not parse is counted and changes nothing."""
        summary.cwd = summary.cwd or str(found.root)
        summary.last_at = rfc3339(found.mtime)
        data = read(found.files[0].name)
        value = _value(data) if data is not None else None
        summary.bad_lines = int(data is not None and value is None)
        if isinstance(value, dict):
            said = alike({key: item for key, item in value.items() if key != "messages"})
            take(summary, said)
            messages = value.get("messages")
            _count(summary, messages if isinstance(messages, list) else [])
            if stamp := f"{summary.status}\n{text_of(said, ('updatedat', 'lastupdated', 'updated'))}".strip():
                summary.scratch[STAMP] = stamp
        summary.title = summary.title or clip(PurePosixPath(found.ref.session_id).stem, TITLE_CHARS)


def _is_store(data: bytes) -> bool:
    if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return False
    value = _value(data) if len(data) < WHOLE_BYTES else None
    if isinstance(value, dict):
        return isinstance(value.get("messages"), list)
    return _LIST.search(data[:PEEK_BYTES]) is not None


def _value(data: bytes) -> Any:
    """What a JSON text holds; None where it cannot be read, not even with bytes that are no UTF-8."""
    try:
        return document(data)
    except ValueError:
        try:
            return document(data.decode("utf-8", "replace").encode())
        except ValueError:
            return None


def _count(summary: Summary, messages: Sequence[Any]) -> None:
    roles = [_role(message) for message in messages]
    summary.prompts, summary.turns = roles.count("user"), roles.count("assistant")
    if not summary.title:
        first = (message for message, role in zip(messages, roles, strict=True) if role == "user")
        summary.title = clip(next((text for m in first if (text := _text(m))), ""), TITLE_CHARS)
    times = [at for message in messages if (at := _at(message))]
    if times:
        summary.started_at = summary.started_at or times[0]
        summary.last_at = max(times)


def _of_message(message: Any, offset: int, length: int) -> Iterator[Passage]:
    if (text := _text(message)).strip():
        yield Passage(_role(message), _at(message), offset, length, text[:TEXT_CHARS])
    calls = [word for call in _calls(message) for word in strings(call)]
    if calls:
        yield Passage("tool", _at(message), offset, length, "\n".join(calls)[:INPUT_CHARS])


def _role(message: Any) -> str:
    """Who said it, as the index knows them; a role that nobody knows is a note's."""
    said = alike(message) if isinstance(message, dict) else {}
    for key in ("role", "type", "author", "sender"):
        word = said.get(key)
        word = word.get("role") if isinstance(word, dict) else word
        if isinstance(word, str):
            for role, words in (("user", _USERS), ("assistant", _ASSISTANTS), ("tool", _TOOLS)):
                if word.lower() in words:
                    return role
    return "note"


def _at(message: Any) -> str:
    return time_of(alike(message), TIMES) if isinstance(message, dict) else ""


def _text(message: Any) -> str:
    """The words of a message: its content, or the texts of its blocks."""
    if isinstance(message, str):
        return message
    if not isinstance(message, dict):
        return ""
    content = message.get("content", message.get("parts", message.get("text")))
    if isinstance(content, dict):
        content = content.get("parts", content.get("text"))
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    texts = (block if isinstance(block, str) else _block(block) for block in content)
    return "\n".join(text for text in texts if text)


def _block(block: Any) -> str:
    text = block.get("text") if isinstance(block, dict) else None
    return text if isinstance(text, str) else ""


def _calls(message: Any) -> Iterator[Any]:
    """What tools were asked: beside the content, or blocks of it."""
    if not isinstance(message, dict):
        return
    for key in ("tool_calls", "toolCalls", "function_call"):
        if message.get(key):
            yield message[key]
    content = message.get("content")
    for block in content if isinstance(content, list) else ():
        if isinstance(block, dict) and block.get("type") in _CALLS:
            yield [block.get("name"), block.get("input") or block.get("arguments")]

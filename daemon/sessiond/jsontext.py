"""JSON as text: where everything in it stands, so that a change touches nothing but what changes.

What a person has written stays as it is, to the byte: order, indentation, escapes, line ends.
"""

from __future__ import annotations

import json
import re
from json import decoder
from typing import Any, NamedTuple, Self

# What some editors put before a text in UTF-8; it stays where it is.
MARK = "\ufeff"
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)
_LITERALS = {"true": True, "false": False, "null": None}


class Node(NamedTuple):
    """A value at [start, end) of the text.

    `value` is it, for texts and literals; a list's items and an object's members are `inside`,
    where an item has no key.
    """

    start: int
    end: int
    value: Any = None
    kind: str = "scalar"
    inside: tuple[Member, ...] = ()

    def get(self, key: str) -> Node | None:
        """An object's member."""
        return next((member.node for member in self.inside if member.key == key), None)

    @property
    def items(self) -> tuple[Node, ...]:
        """What is inside, without keys."""
        return tuple(member.node for member in self.inside)


class Member(NamedTuple):
    """What is in a list or an object; `start` is where it begins, with its key."""

    key: str
    start: int
    node: Node


class Text(NamedTuple):
    """A JSON text and its root."""

    text: str
    root: Node

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a text.

        Raises:
            ValueError: it is not JSON, or names a key twice; says the line and what is there.
        """
        try:
            root = _value(text, _skip(text, int(text.startswith(MARK))))
        except RecursionError:
            raise ValueError("it is nested too deep") from None
        if (end := _skip(text, root.end)) != len(text):
            raise _wrong(text, end, "something follows the end")
        return cls(text, root)

    def replaced(self, node: Node, value: Any) -> Self:
        """The text with another value in a node's place."""
        return self._edited(node.start, node.end, json.dumps(value, ensure_ascii=False))

    def added(self, node: Node, value: Any, key: str | None = None) -> Self:
        """The text with one more item in a list, or one more member in an object, as the last one."""
        own, step = self._indent(node.start), self._step
        name = "" if key is None else json.dumps(key, ensure_ascii=False) + ": "
        if node.inside:
            last = node.inside[-1].node.end
            gap = self.text[node.start + 1 : node.inside[0].start]
            if "\n" not in gap:
                between = (
                    self.text[node.inside[-2].node.end : node.inside[-1].start] if node.inside[1:] else ", "
                )
                return self._edited(last, last, between + name + json.dumps(value, ensure_ascii=False))
            return self._edited(last, last, "," + gap + name + self._rendered(value, self._indent(last, gap)))
        line = self._newline + own + step
        body = line + name + self._rendered(value, own + step) + self._newline + own
        return self._edited(node.start + 1, node.end - 1, body)

    def removed(self, node: Node, index: int) -> Self:
        """The text without one item or member; what `added` added goes without a trace."""
        inside = node.inside
        if len(inside) == 1:
            return self._edited(node.start + 1, node.end - 1, "")
        if index == len(inside) - 1:
            return self._edited(inside[index - 1].node.end, inside[index].node.end, "")
        return self._edited(inside[index].start, inside[index + 1].start, "")

    def _edited(self, start: int, end: int, new: str) -> Self:
        return self.parse(self.text[:start] + new + self.text[end:])

    def _rendered(self, value: Any, indent: str) -> str:
        step = self._step
        text = json.dumps(value, ensure_ascii=False, indent=step)
        return text.replace("\n", self._newline + indent)

    def _indent(self, at: int, gap: str | None = None) -> str:
        """The blanks that the line at `at` begins with."""
        if gap is not None:
            return gap[gap.rfind("\n") + 1 :]
        line = self.text[self.text.rfind("\n", 0, at) + 1 : at]
        return line[: len(line) - len(line.lstrip(" \t"))]

    @property
    def _newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    @property
    def _step(self) -> str:
        """What one level is indented by: as the root's first member is, else two blanks."""
        if not self.root.inside:
            return "  "
        gap = self.text[self.root.start + 1 : self.root.inside[0].start]
        return gap[gap.rfind("\n") + 1 :] if "\n" in gap and not gap.endswith("\n") else "  "


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _value(text: str, at: int) -> Node:
    match text[at : at + 1]:
        case '"':
            words, end = _string(text, at)
            return Node(at, end, words)
        case "{":
            return _container(text, at, "object", "}")
        case "[":
            return _container(text, at, "list", "]")
    for word, value in _LITERALS.items():
        if text.startswith(word, at):
            return Node(at, at + len(word), value)
    if number := _NUMBER.match(text, at):
        return Node(at, number.end())
    raise _wrong(text, at, "a value is missing")


def _container(text: str, at: int, kind: str, close: str) -> Node:
    inside: list[Member] = []
    end = _skip(text, at + 1)
    if text[end : end + 1] == close:
        return Node(at, end + 1, None, kind)
    keys: set[str] = set()
    while True:
        start, key = end, ""
        if kind == "object":
            key, end = _key(text, end)
            if key in keys:
                raise ValueError(f"{_place(text, start)}: the key {key!r} is there twice")
            keys.add(key)
        node = _value(text, end)
        inside.append(Member(key, start, node))
        end = _skip(text, node.end)
        match text[end : end + 1]:
            case ",":
                end = _skip(text, end + 1)
            case mark if mark == close:
                return Node(at, end + 1, None, kind, tuple(inside))
            case _:
                raise _wrong(text, end, f"',' or {close!r} is missing")


def _key(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 1] != '"':
        raise _wrong(text, at, "a key in quotes is missing")
    key, end = _string(text, at)
    end = _skip(text, end)
    if text[end : end + 1] != ":":
        raise _wrong(text, end, "':' is missing")
    return key, _skip(text, end + 1)


def _string(text: str, at: int) -> tuple[str, int]:
    try:
        value, end = decoder.scanstring(text, at + 1, True)  # type: ignore[attr-defined] # not in typeshed
    except json.JSONDecodeError as problem:
        raise _wrong(text, problem.pos, problem.msg) from None
    return str(value), int(end)


def _wrong(text: str, at: int, what: str) -> ValueError:
    there = text[at : at + 1]
    found = f", {there!r} is there" if there else ", the text ends there"
    return ValueError(f"{_place(text, at)}: {what}{found}")


def _place(text: str, at: int) -> str:
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"

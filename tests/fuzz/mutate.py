"""Broken bytes from good ones, by a seed: cut, doubled, spliced, nested, and what has broken readers before."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

MOST_BYTES = 16 * 1024

# What has broken readers of JSON, Markdown, HTTP and file names before.
WORDS = (
    *(b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\r\n", b"\r", b"\n\n", b"\x1b[2J", b"\x85", b"\xe2\x80\xa8"),
    *(b"\\u0000", b"\\ud800", b"\\udfff\\ud800", b'\\"', b"\\", b'"', b"'", b"`" * 5, b"~~~", b"---\n", b"<!--"),
    *(b"-->", b"</details>", b"```json\n", b"# ", b"- [x] ", b"> " * 40, b"* " * 60, b"[" * 300, b"{" * 300),
    *(b"}{", b"[]", b"{}", b"null", b"true", b"NaN", b"Infinity", b"-0", b"1e999", b"1e-999", b"9" * 400, b"-1"),
    *(b"18446744073709551616", b"0.1", b"../" * 8, b"/etc/passwd", b"..", b"%00", b"%2e%2e%2f", b"%", b"//", b"~"),
    *(b"file:///\0", b"a" * 4096, b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"0000-00-00T00:00:00Z", b"9999-12-31"),
    *(b"9999-12-31T23:59:59.999999+14:00", b"0001-01-01T00:00:00+23:59", b"99999-01-01", b"\xc2\xb2", b"\xd9\xa1"),
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2**63, -(2**63), 2**64, 10**400, 1e308, "", "\0", "\udc80", "\ud800", "a" * 5000),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": {"c": []}}}, [{}] * 50, "../../x", "/", "2026-01-01", "#12", "99"),
)  # fmt: skip


def mutated(good: Sequence[bytes], chance: random.Random) -> bytes:
    """One input: a good one, broken in one way, or, less often, in up to six."""
    data = chance.choice(good)[:MOST_BYTES]
    for _ in range(chance.choice((1, 1, 1, 1, 2, 2, 3, 6))):
        data = chance.choice(WAYS)(data, good, chance)[:MOST_BYTES]
    return data


def _span(data: bytes, chance: random.Random) -> tuple[int, int]:
    start = chance.randint(0, len(data))
    return start, min(len(data), start + chance.choice((1, 1, 2, 4, 16, 64, 512)))


def _flip(data: bytes, good: Sequence[bytes], chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.randint(1, 4) if out else 0):
        out[chance.randrange(len(out))] = chance.choice((chance.randrange(256), 0, 0x22, 0x5C, 0x7B, 0x0A))
    return bytes(out)


def _cut(data: bytes, good: Sequence[bytes], chance: random.Random) -> bytes:
    start, end = _span(data, chance)
    return data[:start] + data[end:]


def _end(data: bytes, good: Sequence[bytes], chance: random.Random) -> bytes:
    return data[: chance.randint(0, len(data))]


def _double(data: bytes, good: Sequence[bytes], chance: random.Random) -> bytes:
    start, end = _span(data, chance)
    return data[:end] + data[start:end] * chance.choice((1, 1, 2, 50)) + data[end:]


def _splice(data: bytes, good: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(good)
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


def _word(data: bytes, good: Sequence[bytes], chance: random.Random) -> bytes:
    start, end = _span(data, chance)
    return data[:start] + chance.choice(WORDS) + data[end if chance.random() < 0.5 else start :]


def _value(data: bytes, good: Sequence[bytes], chance: random.Random) -> bytes:
    """Another value somewhere in JSON: of all its lines, or of one."""
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    for text, whole in ((data, True), (lines[at], False)):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            continue
        changed = json.dumps(_changed(found, chance), ensure_ascii=chance.random() < 0.5)
        new = changed.encode("utf-8", "surrogatepass")
        return new if whole else b"\n".join((*lines[:at], new, *lines[at + 1 :]))
    return _word(data, good, chance)


def _changed(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return value | {key: _changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        return [*value[:at], _changed(value[at], chance), *value[at + chance.randint(0, 1) :]]
    return chance.choice(VALUES)


WAYS: tuple[Callable[[bytes, Sequence[bytes], random.Random], bytes], ...] = (
    *(_flip, _flip, _cut, _end, _double, _splice, _word, _word, _value, _value, _value),
)

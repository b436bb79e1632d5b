"""Private keys: the one secret of many lines, in a file as it is or inside a JSON string."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from sessionsync.pattern import Pattern
from sessionsync.privacy.rules import Span

KIND, RANK = "private_key", 0
KEY_BYTES = 32 * 1024
"""The longest text between BEGIN and END that is still one key; 16,384-bit RSA has 12,700 bytes."""

_HINT = b"PRIVATE KEY"
_BEGIN = Pattern(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_END = Pattern(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_ENDS_STRING = Pattern(rb'(?<!\\)(?:\\\\)*"|\n')
_ESCAPE = Pattern(rb"\\+(?:u[0-9A-Fa-f]{4}|[nrt])")
# A key is base64 and what tools put beside its lines; where more stands, as in code that builds or looks
# for a key, only a run that no name is as long as counts.
_PURE = Pattern(rb"[\sA-Za-z0-9+/=:,|>\xe2\x86\x92-]*+")
_SHORT_RUN = Pattern(rb"[A-Za-z0-9+/=]{8}")
_RUN = Pattern(rb"[A-Za-z0-9+/=]{32}")
# What is left of a key whose END was cut off: lines of base64, numbered or quoted as tools show them.
_BETWEEN = rb"(?:\\+[nrt]|\\u[0-9A-Fa-f]{4}|[ \t0-9:|>+-]|\xe2\x86\x92)"
_CUT_OFF = Pattern(
    rb"(?:(?:\\+[nrt])+[A-Za-z-]+: [^\"\\\n]{0,120})*"
    rb"(?:%b{0,24}[A-Za-z0-9+/=]{16,}+)+"
    rb"(?:%b{1,24}[A-Za-z0-9+/=]{1,15}(?![A-Za-z0-9]))?(?:%b{0,24}-{1,5}[A-Z ]*)?" % ((_BETWEEN,) * 3)
)
_MARGIN = rb"[ \t>|+-]*(?:\d{1,6}(?:\xe2\x86\x92|[\t:|-])[ \t]*)?"
_BODY = Pattern(_MARGIN + rb"(?P<body>[A-Za-z0-9+/=]{1,128})[ \t\r]*")
_HEADER = Pattern(_MARGIN + rb"(?:[A-Za-z-]+: .*)?\r?")
_LONG = 16
"""A line of fewer characters is part of a key only as its last line."""
_LINES = 400
_TRIES = 8
"""So many BEGINs of a string may share an END; the others count as cut off: each looks at all up to it."""


def in_strings(data: bytes) -> Iterator[Span]:
    """Keys that begin and end in one line, as in a JSON string; also those whose END is missing."""
    at = data.find(b"-----BEGIN ") if _HINT in data else -1
    string = last = tried = 0
    while at >= 0:
        end = None
        if begin := _BEGIN.compiled.match(data, at):
            start = begin.end()
            if string < start:  # this, and `last`, are the same for every BEGIN before them
                found = _ENDS_STRING.compiled.search(data, start)
                string = found.start() if found else len(data)
            if last < start:
                last, tried = data.find(b"-----END ", start, string), 0
                last = string if last < 0 else last
            end = _end_of_key(data, start, last if tried < _TRIES else string)
            tried += last < string and last - start < KEY_BYTES
        if end:
            yield Span(at, end, RANK, KIND)
        at = data.find(b"-----BEGIN ", end or at + 1)


def _end_of_key(data: bytes, start: int, at: int) -> int | None:
    """Where the key ends whose text begins at `start`, given the END in its string that may be its own."""
    end = _END.compiled.match(data, at) if at <= start + KEY_BYTES - len(b"-----END ") else None
    if end:
        text = _ESCAPE.compiled.sub(b" ", data[start:at])
        pure = _PURE.compiled.fullmatch(text) and _SHORT_RUN.compiled.search(text)
        return end.end() if pure or _RUN.compiled.search(text) else None
    rest = _CUT_OFF.compiled.match(data, start, start + KEY_BYTES)
    return rest.end() if rest else None


def in_lines(data: bytes) -> Iterator[Span]:
    """The lines between BEGIN and END, where these have lines of their own.

    Each line is judged by what stands beside it only, before or behind: cut a file inside a key, and its
    halves are redacted as the whole was.
    """
    if _HINT not in data:
        return
    seen = -1  # a line is looked at once, whatever stands in it
    for begin in _BEGIN.compiled.finditer(data):
        if begin.end() > seen:
            seen = _behind(data, begin.end())
            yield from _below(data, seen)
    seen = -1
    for end in _END.compiled.finditer(data):
        if seen < 0 or data.find(b"\n", seen, end.start()) >= 0:
            yield from _above(data, data.rfind(b"\n", 0, end.start()))
        seen = end.start()


def count(data: bytes, lines: Sequence[Span]) -> int:
    """How many keys the lines found by `in_lines` are of."""
    gaps = (data.count(b"\n", before.end, line.start) for before, line in pairwise(lines))
    return bool(lines) + sum(gap > 1 for gap in gaps)


def _below(data: bytes, at: int) -> Iterator[Span]:
    seen = False
    for _ in range(_LINES):
        line = data[at : (end := _behind(data, at, newline=False))]
        body = _BODY.compiled.fullmatch(line)
        if body and (seen or len(body["body"]) >= _LONG):
            seen = True
            yield Span(at + body.start("body"), at + body.end("body"), RANK, KIND)
            if len(body["body"]) < _LONG:
                return
        elif seen or not _HEADER.compiled.fullmatch(line):
            return
        at = end + 1
        if at >= len(data):
            return


def _above(data: bytes, end: int) -> Iterator[Span]:
    for count in range(_LINES):
        if end <= 0:
            return
        start = data.rfind(b"\n", 0, end) + 1
        body = _BODY.compiled.fullmatch(data, start, end)
        if not body or (count and len(body["body"]) < _LONG):
            return
        yield Span(body.start("body"), body.end("body"), RANK, KIND)
        end = start - 1


def _behind(data: bytes, at: int, *, newline: bool = True) -> int:
    """Where the line at `at` ends, with its newline or without."""
    end = data.find(b"\n", at)
    return len(data) if end < 0 else end + newline

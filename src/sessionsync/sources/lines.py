"""JSON lines as they are really found: glued, torn, zero-filled, badly encoded and megabytes long.

Good lines are decoded many at a time, in one call.  Where one of them is not, they go the slow way one by
one, which never raises: what can be saved of a line is saved, what cannot makes it a bad line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

LINE_BYTES = 32 * 1024 * 1024
"""A line that does not end within so many bytes is not waited for: one of 13 MB is the longest seen."""
SLOW_BYTES = 16 * 1024 * 1024
"""A line longer than this is not taken apart a second time: the slow way needs several times its size."""
PIECE_BYTES = 64 * 1024
"""So much is decoded at once: it stays in the processor's cache, and a bad line costs few others."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises where something is no JSON, no text, nested too deep, or of another type."""

T = TypeVar("T", bound=msgspec.Struct)

_STARTS = 64  # places in a torn line where a whole object is looked for
# Where one may begin that was glued on: an object inside another is preceded by one of these marks.
_START = re.compile(r'(?<![:,\[\s])\{"')
_OPENS, _CLOSES = b"{}"
_SPACE = re.compile(r"[ \t\r\n]*")
# An escaped half of a surrogate pair, alone: legal in JavaScript, no character anywhere else.
_ESCAPE = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_decode_one = json.JSONDecoder(strict=False).raw_decode


def lines(data: bytes, offset: int) -> Iterator[tuple[bytes, int]]:
    """Split `data`, which lies at `offset` in its file, into lines; blank ones are left out.

    Each comes without its end, and with the offset just behind that.  What follows the last newline is a
    line as well: the caller says what is whole.
    """
    cut = data.split(b"\n")
    return ((line, end) for line, end in zip(cut, _ends(cut, offset), strict=True) if not _is_blank(line))


def _ends(cut: Sequence[bytes], offset: int) -> list[int]:
    """Where the lines of data at `offset` end, with their newlines; the last one has none."""
    ends = [end + number for number, end in enumerate(accumulate(map(len, cut), initial=offset))]
    return [*ends[1:-1], ends[-1] - 1]


def _braced(data: bytes, begin: int, end: int) -> int:
    """How many lines lie there, where each begins and ends as an object; else 0.

    Where all of them do, none lies in the middle of one.
    """
    size = 0
    while begin < end:
        behind = data.find(b"\n", begin, end)
        behind = behind if behind >= 0 else end
        if data[begin] != _OPENS or data[behind - 1] != _CLOSES:
            return 0
        size, begin = size + 1, behind + 1
    return size


def _is_blank(line: bytes) -> bool:
    return not line or line.isspace()


def is_whole(tail: bytes) -> bool:
    """Whether a line without its newline is a complete object: no proper prefix of one is."""
    if not tail.rstrip().endswith(b"}"):
        return False
    try:
        msgspec.json.decode(tail, type=dict[str, msgspec.Raw])
    except UNREADABLE:
        return False
    return True


class Piece(NamedTuple, Generic[T]):
    """Lines that lie between `begin` and `end` in what is read: their objects, and how many are bad.

    `is_even` where each line is known to be one object.
    """

    rows: list[T]
    bad: int
    begin: int
    end: int
    is_even: bool


class Reader(Generic[T]):
    """Reads lines as objects of one `shape`; fields that are not named in it are skipped unread."""

    def __init__(self, shape: type[T]) -> None:
        self._shape = shape
        self._fields = [(f.encode_name, f.name, f.type) for f in msgspec.structs.fields(shape)]
        decoder = msgspec.json.Decoder(shape)
        self._decode, self._decode_lines = decoder.decode, decoder.decode_lines

    def pieces(self, data: bytes) -> Iterator[Piece[T]]:
        """Read whole lines, piece by piece, each of which ends with a line.

        How the lines are spread over pieces makes no difference to what is read of them.
        """
        view, begin, size = memoryview(data), 0, len(data)
        while begin < size:
            end = size
            if size - begin > PIECE_BYTES:
                upto = begin + PIECE_BYTES
                end = data.rfind(b"\n", begin, upto) + 1 or data.find(b"\n", upto) + 1 or size
            rows, bad = self._read_at_once(view[begin:end]), 0
            is_even = 0 < len(rows) == _braced(data, begin, end)
            if not is_even:  # as where some are glued together, or one is spread over lines
                rows, bad = self._read_each(data[begin:end])
            yield Piece(rows, bad, begin, end, is_even)
            begin = end

    def _read_at_once(self, data: memoryview) -> list[T]:
        """The objects of all lines; none where some are not whole."""
        try:
            return self._decode_lines(data)
        except UNREADABLE:
            return []

    def _read_each(self, data: bytes) -> tuple[list[T], int]:
        """The objects of all lines, one by one, and how many lines are bad."""
        rows: list[T] = []
        bad = 0
        for line, _ in lines(data, 0):
            found, is_bad = self.read(line)
            rows += found
            bad += is_bad
        return rows, bad

    def read(self, line: bytes) -> tuple[Sequence[T], bool]:
        """Return the objects of one line, and whether some of it could not be read.

        Objects glued together without a newline (a file restored without its last one) are all
        returned and nothing is bad; of a torn line what follows the tear is returned.
        """
        try:
            return (self._decode(line),), False
        except UNREADABLE:
            return self._take_apart(line)

    def _take_apart(self, line: bytes) -> tuple[Sequence[T], bool]:
        if len(line) > SLOW_BYTES:
            return (), True
        values, bad = _values(line)
        found = [self._lenient(value) for value in values if isinstance(value, dict)]
        return found, bad or len(found) < len(values)

    def _lenient(self, value: dict[str, Any]) -> T:
        """Take from `value` the fields that have the right type, and the defaults for the others."""
        good: dict[str, Any] = {}
        for key, name, kind in self._fields:
            if key in value:
                try:
                    good[name] = msgspec.json.decode(msgspec.json.encode(value[key]), type=kind)
                except (ValueError, TypeError, RecursionError):
                    continue
        return self._shape(**good)


def objects(line: bytes) -> list[dict[str, Any]]:
    """Every object in a line with all that is in it: one, or more where a newline was lost."""
    try:
        found = [msgspec.json.decode(line)]
    except UNREADABLE:
        try:
            found = [json.loads(line)]  # half a surrogate pair, NaN: as they were written
        except (ValueError, RecursionError):
            found, _ = _values(line)
    return [value for value in found if isinstance(value, dict)]


def document(data: bytes) -> Any:
    """Return what a whole JSON file holds; ValueError where it is none, as while it is being written.

    `NaN` and a byte order mark, which other programs write, are taken; half a surrogate pair becomes U+FFFD.
    """
    try:
        return msgspec.json.decode(data)
    except UNREADABLE:
        try:
            return json.loads(_ESCAPE.sub(_whole, data).decode("utf-8-sig"))
        except RecursionError as error:
            raise ValueError("it is nested too deep") from error


def _values(line: bytes) -> tuple[list[Any], bool]:
    """Return every JSON value in `line`, and whether something in it was none."""
    filled = line.strip(b"\0")  # a crash leaves zeros where a block was never written
    text = _ESCAPE.sub(_whole, filled).decode("utf-8", "replace").removeprefix("\ufeff")
    found: list[Any] = []
    torn = len(filled) < len(line)
    starts = _STARTS
    at = len(text) - len(text.lstrip(" \t\r\n"))
    while at < len(text) and starts:
        value, end = _scan(text, at)
        behind = _SPACE.match(text, end).end()  # type: ignore[union-attr] # it always matches
        if value is not None:
            found.append(value)
            at = behind
            continue
        torn = True
        starts -= 1
        start = _START.search(text, at + 1)
        at = start.start() if start else len(text)
    return found, torn or not found


def _scan(text: str, at: int) -> tuple[object, int]:
    """Return the JSON value that begins at `at`, None where there is none, and where it ends."""
    try:
        return _decode_one(text, at)
    except (ValueError, RecursionError):  # also a number of 5,000 digits, and 1,000 brackets
        return None, at


def _whole(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match[1] else match[0]

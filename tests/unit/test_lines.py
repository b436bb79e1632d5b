"""Lines as they are really found: what can be saved is saved, nothing raises, offsets stay true."""

import json
import tracemalloc

import msgspec
import pytest

from sessionsync.sources import lines as module
from sessionsync.sources.lines import Reader, document, lines


class Shape(msgspec.Struct):
    """Two fields of the many a line has."""

    type: str | None = None
    n: int = 0
    message: msgspec.Raw = msgspec.Raw(b"")


reader = Reader(Shape)


def numbers(line: bytes) -> tuple[list[int], bool]:
    found, bad = reader.read(line)
    return [shape.n for shape in found], bad


def test_lines_and_the_offset_behind_each() -> None:
    data = b'{"n":1}\n\n  \r\n{"n":2}\r\n{"n":3}'
    assert [(bytes(line), end) for line, end in lines(data, 100)] == [
        (b'{"n":1}', 108),
        (b'{"n":2}\r', 100 + len(data) - 7),
        (b'{"n":3}', 100 + len(data)),
    ]
    assert list(lines(b"", 5)) == []


@pytest.mark.parametrize(
    ("line", "found", "bad"),
    [
        (b'{"n":1}', [1], False),
        (b' {"n":1} \r', [1], False),
        (b'{"n":1,"unknown":{"deep":[1,2]}}', [1], False),
        (b'{"n":1}{"n":2}', [1, 2], False),  # glued
        (b'{"n":1} {"n":2}{"n":3}', [1, 2, 3], False),
        (b'{"n":1', [], True),  # torn
        (b'{"n":1}{"n":2', [1], True),
        (b'{"type":"us{"n":2}', [2], True),  # torn, then the next one
        (b'{"type":"user","message":{"n":7},"x":"a{"n":2}{"n":3}', [2, 3], True),
        (b'{"type":"user","message":{"n":7},"x":1', [], True),  # a piece of a torn line is no line
        (b"\0\0\0\0", [], True),  # zero-filled by a crash
        (b'\0\0\0{"n":2}', [2], True),
        (b'\xef\xbb\xbf{"n":1}', [1], False),
        (b'{"n":1,"text":"\xff\xfe"}', [1], False),
        (b'{"n":1,"type":"\xff"}', [1], False),
        (b'{"n":1,"type":"\\ud83d"}', [1], False),  # half an emoji
        (b'{"n":1,"other":"\\ud83d"}', [1], False),
        (b'{"n":NaN,"type":"x"}', [0], False),
        (b'{"n":"1","type":"x"}', [0], False),  # another type than we know
        (b'{"n":1,"type":["x"]}', [1], False),
        (b'{"n":1,"text":"raw\ttab"}', [1], False),
        (b"[1]", [], True),
        (b"7", [], True),
        (b"null", [], True),
        (b'"text"', [], True),
        (b"nonsense", [], True),
        (b'{"n":' + b"9" * 5000 + b"}", [], True),
        (b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}", [], True),
    ],
)
def test_what_can_be_saved_of_a_line_is_saved(line: bytes, found: list[int], bad: bool) -> None:
    assert numbers(line) == (found, bad)


def test_lone_halves_are_mended_and_whole_emojis_and_written_backslashes_stay() -> None:
    line = rb'{"n":1,"type":"\ud83d\ude00 \ud83d x \\ud83d"}'
    assert reader.read(line)[0][0].type == "\U0001f600 \ufffd x \\ud83d"


def test_a_raw_field_survives_the_slow_way() -> None:
    (shape,), _ = reader.read(b'{"n":"?","message":{"a":[1,"\xff"]}}')
    assert json.loads(bytes(shape.message)) == {"a": [1, "\ufffd"]}


def test_a_line_of_twelve_megabytes_is_read_in_bounded_memory() -> None:
    image = b"A" * 12_000_000
    for line in (
        b'{"n":1,"message":{"data":"' + image + b'"}}',
        b'{"n":1,"data":"' + image + b'"}{"n":2}',
        b'{"data":"' + image,
    ):
        tracemalloc.start()
        numbers(line)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 * len(line)


def test_a_torn_line_full_of_beginnings_is_given_up_in_time() -> None:
    assert numbers(b'{"a":' * 20_000) == ([], True)
    assert numbers(b'x{"' * 200_000) == ([], True)
    assert numbers(b"[" + b'{"n":1},' * 50_000) == ([], True)


def test_a_line_that_is_too_long_for_the_slow_way_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW_BYTES", 10)
    assert numbers(b'{"n":1}{"n":2}') == ([], True)
    assert numbers(b'{"n":1,"x":"long enough"}') == ([1], False)


@pytest.mark.parametrize("data", [b'{"a": 1}', b'\xef\xbb\xbf{"a": 1}', b'{"a": NaN}', b"[]", b" 1 "])
def test_a_document(data: bytes) -> None:
    document(data)


@pytest.mark.parametrize("data", [b"", b"{", b'{"a": 1} x', b"\0", b"\xff", b"[" * 9999])
def test_no_document(data: bytes) -> None:
    with pytest.raises(ValueError):
        document(data)


@pytest.mark.parametrize("piece_bytes", [1, 30, 10_000])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b'{"type":"a"}\n{"type":"b"}\n',
        b'{"type":"a"}\n{"type":"b"}',
        b'{"type":"a"}\n\n{"type":"b"}\n',
        b'{"type":"a"}{"type":"b"}\nno\n{"type":"c"}\n \n',
        b'{"type":"a","x":"\n"}\n{"type":"b"}\n',
        b'{"type":"a\n{"type":"b"}{"type":"c"}\n\0\0{"type":"d"}\n',
        b'{"type":"a"}\r\n{"type":"b"}\r\n',
        b'{"type":"a",\n"n":1}\n{"type":"b"}\n',  # spread over lines
        b'{"type":"a"}{"type":"b"}\n{"type":"c",\n"n":1}\n',
    ],
)
def test_many_lines_at_once_are_what_they_are_one_by_one(
    data: bytes, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", piece_bytes)
    pieces = list(reader.pieces(data))
    each = [reader.read(line) for line, _ in lines(data, 0)]
    assert [row for piece in pieces for row in piece.rows] == [row for rows, _ in each for row in rows]
    assert sum(piece.bad for piece in pieces) == sum(is_bad for _, is_bad in each)
    for piece in pieces:
        cut = data[piece.begin : piece.end].removesuffix(b"\n").split(b"\n")
        assert not piece.is_even or [reader.read(line) for line in cut] == [
            ((row,), False) for row in piece.rows
        ]
    assert [piece.begin for piece in pieces] == [0, *(piece.end for piece in pieces)][: len(pieces)]
    assert all(data[: piece.end].endswith(b"\n") or piece.end == len(data) for piece in pieces)
    if pieces:
        assert pieces[-1].end == len(data)

"""What the gate would take out of a file: where and of which kind, never what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sessionsync.privacy.gate import Gate


class Hit(NamedTuple):
    """`times` secrets of a kind in the piece of a file that begins with line `line`, counted from 1."""

    line: int
    kind: str
    times: int


def scan(gate: Gate, name: str, chunks: Iterable[bytes]) -> Iterator[Hit]:
    """Look through a file as the gate does: line by line, or as a whole where only that makes sense.

    Raises:
        RedactionFailed: the gate could not judge it.
    """
    number = 1
    for data in _pieces(name, chunks):
        if gate.redact(name, data).kinds:
            yield from _found(gate, name, data, number)
        number += data.count(b"\n")


def _found(gate: Gate, name: str, data: bytes, number: int) -> Iterator[Hit]:
    """Tell the lines apart; what alone they do not show, as a key of many, is told of the piece."""
    lines = data.split(b"\n")
    alone = [gate.redact("", line).kinds for line in lines]
    left = gate.redact(name, data).kinds - sum(alone, Counter[str]())
    for at, kinds in enumerate(alone, number):
        yield from (Hit(at, kind, count) for kind, count in kinds.items())
    yield from (Hit(number, kind, count) for kind, count in left.items())


def _pieces(name: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    if not name.endswith(".jsonl"):
        yield b"".join(chunks)
        return
    rest: list[bytes] = []
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        if end:
            yield b"".join((*rest, chunk[:end]))
            rest = []
        rest.append(chunk[end:])
    yield b"".join(rest)

"""Lines of a journal in which one bit has changed: the CRC-32 says which.  Pure.

A CRC-32 tells every single changed bit in a line of up to 11 KB from every other (its distance there is
4, Koopman 2002), and a line that says something by chance is one in billions; what is found must also
be an entry.  More than one bit is not guessed at.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from sessionsync.vault.journal import decode

# Longer lines could be mended in two ways.
LINE_BYTES = 11 * 1024
_ZERO = zlib.crc32(b"\0")
_STEP = [zlib.crc32(bytes([value])) ^ _ZERO for value in range(256)]
_BITS = [1 << bit for bit in range(8)]
_NEWLINES = [0x0A ^ bit for bit in _BITS]


def patches(content: bytes) -> Iterator[tuple[int, int]]:
    """Which bytes of a journal to change into what, so that damaged lines say again what they said."""
    lines: list[tuple[int, bytes]] = []
    position = 0
    for line in content.split(b"\n"):
        lines.append((position, line))
        position += len(line) + 1
    number = 0
    while number < len(lines):
        start, line = lines[number]
        number += 1
        if not line or decode(line) is not None:
            continue
        if (found := _patch(line)) is not None:
            yield start + found[0], found[1]
        elif number < len(lines) and (value := _joint(line, lines[number][1])) is not None:
            yield start + len(line), value
            number += 1


def mended(content: bytes) -> bytes:
    """A journal with these bytes changed."""
    found = bytearray(content)
    for position, value in patches(content):
        found[position] = value
    return bytes(found)


def is_sound(content: bytes) -> bool:
    """Whether every line of a journal is what was written."""
    return all(decode(line) is not None for line in content.split(b"\n") if line)


def corrected(line: bytes) -> bytes | None:
    """The line as it was before one of its bits changed; None where that cannot be told."""
    found = _patch(line)
    if found is None or found[1] == 0x0A:
        return None
    return line[: found[0]] + bytes([found[1]]) + line[found[0] + 1 :]


def _patch(line: bytes) -> tuple[int, int] | None:
    if not 10 < len(line) <= 2 * LINE_BYTES:
        return None
    if (found := _lost_newline(line)) is not None:
        return found, 0x0A
    for position, value in (*_in_head(line), *_in_body(line)):
        if decode(line[:position] + bytes([value]) + line[position + 1 :]) is not None:
            return position, value
    return None


def _lost_newline(line: bytes) -> int | None:
    """Where two lines became one, or the last one lost its end."""
    last = len(line) - 1
    for position, value in enumerate(line):
        if (
            value in _NEWLINES
            and decode(line[:position])
            and (position == last or decode(line[position + 1 :]))
        ):
            return position
    return None


def _joint(line: bytes, following: bytes) -> int | None:
    """What stood where a line became two."""
    return next((value for value in _NEWLINES if decode(line + bytes([value]) + following)), None)


def _in_head(line: bytes) -> Iterator[tuple[int, int]]:
    """The changed bit where it is in the CRC itself."""
    head = b"%08x " % zlib.crc32(line[9:])
    differing = [n for n in range(9) if head[n] != line[n]]
    if len(differing) == 1 and head[differing[0]] ^ line[differing[0]] in _BITS:
        yield differing[0], head[differing[0]]


def _in_body(line: bytes) -> Iterator[tuple[int, int]]:
    """The changed bit by its syndrome: what it does to the CRC depends only on how far it is from the end."""
    body = line[9:]
    try:
        syndrome = int(line[:8], 16) ^ zlib.crc32(body)
    except ValueError:
        return
    if len(body) > LINE_BYTES:
        return
    traces = [_STEP[bit] for bit in _BITS]
    for distance in range(len(body)):
        if syndrome in traces:
            position = len(body) - 1 - distance
            yield 9 + position, body[position] ^ _BITS[traces.index(syndrome)]
            return
        traces = [_STEP[trace & 0xFF] ^ (trace >> 8) for trace in traces]

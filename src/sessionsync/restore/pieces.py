"""Bytes of a file as they lie about after a loss, and the whole lines that they make.

Pieces of one life of a file agree where they overlap: they are laid together into one version.  What does
not agree is another version, and the lines that only it has are woven in where they were.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from sessionsync.restore.loadable import Row
from sessionsync.sources.lines import Reader

_read = Reader(Row).read


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that lay at `offset` of a file; `where` is the copy that they are from."""

    offset: int
    data: bytes
    where: str

    @property
    def end(self) -> int:
        """The offset just behind them."""
        return self.offset + len(self.data)


@dataclass(slots=True)
class Version:
    """One life of a file as far as it is held: pieces without overlap, in their order.

    `generations` are the vault's numbers of that life, none where nobody knows; `length` is how long it
    was, as far as is known; `exact` says that nothing in it was redacted.
    """

    pieces: list[Piece]
    generations: frozenset[int] = frozenset()
    length: int = 0
    exact: bool = True

    @property
    def end(self) -> int:
        """The offset just behind its last piece."""
        return self.pieces[-1].end if self.pieces else 0

    def is_of(self, generation: int) -> bool:
        """Whether it may be of that generation."""
        return not self.generations or generation in self.generations

    def holds(self, start: int, end: int) -> bool:
        """Whether all of [start, end) is there."""
        return not any(gap[0] < end and gap[1] > start for gap in self.gaps(end))

    def gaps(self, length: int = 0) -> list[tuple[int, int]]:
        """What is not there of [0, length), and of what it had."""
        most = max(length, self.length, self.end)
        return gaps_between(((piece.offset, piece.end) for piece in self.pieces), most)

    def takes(self, other: Version) -> bool:
        """Whether `other` is of the same life: the same where they overlap, and nothing says otherwise."""
        if self.exact is not other.exact:
            return False
        met = False
        for one in self.pieces:
            for two in other.pieces:
                start, end = max(one.offset, two.offset), min(one.end, two.end)
                if start < end:
                    met = True
                    if (
                        one.data[start - one.offset : end - one.offset]
                        != two.data[start - two.offset : end - two.offset]
                    ):
                        return False
        if met or self.generations & other.generations:
            return True
        # cut off just where the other ends
        ends, starts = ({p.end for p in self.pieces}, {p.offset for p in self.pieces})
        return any(piece.offset in ends or piece.end in starts for piece in other.pieces)

    def fill(self, other: Version) -> None:
        """Take over what is not here."""
        added = [
            Piece(start, piece.data[start - piece.offset : end - piece.offset], piece.where)
            for piece in other.pieces
            for gap_start, gap_end in self.gaps(piece.end)
            if (start := max(gap_start, piece.offset)) < (end := min(gap_end, piece.end))
        ]
        self.pieces = sorted([*self.pieces, *added], key=lambda piece: piece.offset)
        self.generations |= other.generations
        self.length = max(self.length, other.length)

    def runs(self) -> Iterator[list[Piece]]:
        """Pieces that follow each other without a gap."""
        run: list[Piece] = []
        for piece in self.pieces:
            if run and run[-1].end != piece.offset:
                yield run
                run = []
            run.append(piece)
        if run:
            yield run


@dataclass(frozen=True, slots=True)
class Passage:
    """What the search index still knows of `length` bytes at `offset`: who said it, when, in which words.

    `at` is Unix seconds, 0 where unknown.  The words have neither capitals nor punctuation.
    """

    generation: int
    offset: int
    length: int
    nth: int
    role: str
    at: float
    words: str

    @property
    def end(self) -> int:
        """The offset just behind the bytes."""
        return self.offset + self.length


def gaps_between(held: Iterable[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """What is left of [0, length) without the ranges in `held`, which need no order."""
    found, position = [], 0
    for start, end in sorted(held):
        if start > position:
            found.append((position, min(start, length)))
        position = max(position, end)
        if position >= length:
            break
    if position < length:
        found.append((position, length))
    return [(start, end) for start, end in found if start < end]


def joined(versions: Iterable[Version]) -> list[Version]:
    """The versions, each life once; what comes first counts where bytes are there twice."""
    lives: list[Version] = []
    for version in versions:
        pieces = [piece for piece in version.pieces if piece.data]
        if not pieces:
            continue
        new = replace(version, pieces=sorted(pieces, key=lambda piece: piece.offset))
        life = next((life for life in lives if life.takes(new)), None)
        if life is None:
            lives.append(new)
        else:
            life.fill(new)
    return lives


@dataclass(frozen=True, slots=True)
class Line:
    """A whole line, with its newline; `rows` are what the agent goes by in it.

    `offset` is where it lay in its version; `is_main` says that this is the version that is made anew.
    """

    offset: int
    data: bytes
    where: str
    exact: bool
    is_main: bool
    rows: Sequence[Row] = field(default=(), repr=False)

    @property
    def end(self) -> int:
        """The offset just behind it."""
        return self.offset + len(self.data)

    @property
    def uuid(self) -> str:
        """The uuid of its first row that has one."""
        return next((row.uuid for row in self.rows if row.uuid), "")

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it that line, wherever it lies."""
        named = tuple(row.uuid for row in self.rows if row.uuid)
        return named or (hashlib.sha256(self.data.strip()).hexdigest(),)


def lines_of(version: Version, *, is_main: bool = True) -> list[Line]:
    """Every whole line of a version; what is torn at the edge of a gap is none, unless it lacks nothing."""
    found: list[Line] = []
    for run in version.runs():
        data = b"".join(piece.data for piece in run)
        starts = [piece.offset for piece in run]
        position, first = run[0].offset, run[0].offset
        for text in _split(data):
            rows, is_bad = _read(text)
            torn = (position == first and position > 0) or not text.endswith(b"\n")
            if text.strip() and not (torn and (is_bad or not rows)):
                where = run[bisect.bisect_right(starts, position) - 1].where
                found.append(Line(position, text, where, version.exact, is_main, tuple(rows)))
            position += len(text)
    return found


def _split(data: bytes) -> list[bytes]:
    *whole, rest = data.split(b"\n")
    return [*(line + b"\n" for line in whole), *([rest] if rest else [])]


def woven(lines: Sequence[Line], other: Sequence[Line]) -> list[Line]:
    """The lines, with those that only `other` has: each behind the one that it followed there."""
    places = {line.key: number for number, line in enumerate(lines)}
    main = [(line.end, number) for number, line in enumerate(lines) if line.is_main]
    behind: dict[int, list[Line]] = {}
    at: int | None = None
    end = -1
    for line in other:
        if line.key in places:
            at = places[line.key]
        else:
            if at is None or line.offset != end:  # by its place, as nothing before it is known
                n = bisect.bisect_right(main, (line.offset, len(lines)))
                at = max(at if at is not None else -1, main[n - 1][1] if n else -1)
            behind.setdefault(at, []).append(line)
            places[line.key] = at
        end = line.end
    result = list(behind.get(-1, ()))
    for number, line in enumerate(lines):
        result += [line, *behind.get(number, ())]
    return result

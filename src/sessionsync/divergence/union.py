"""What holds all lines of two versions of a file that grows by lines.

A line is the same in both where its bytes are, or where one is what redaction left of the other: in the
common beginning wherever it stands there, behind it where both have the same `uuid`.  A union holds

- each line as often as the version that has it most often, so it is idempotent and drops nothing;
- the common beginning first, and the lines of each version in their order, but for lines without a `uuid`
  that stand more than once: they say how things are, and the last one is ours;
- where both go on differently, what theirs alone has before what ours alone has, so that an agent, which
  goes on from the last message in the file, goes on from ours.  Given the other way round it is the same
  lines in that other order;
- of a line that was redacted in one version, the one that was not;
- no torn last line, which is no record yet, unless it is the end of a version that holds all the other has.

In memory are hashes and offsets of the lines behind the common beginning, and one line of each version.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import msgspec

from sessionsync.divergence.redaction import MARK, same
from sessionsync.divergence.relation import Relation
from sessionsync.divergence.source import BLOCK_BYTES, Plain, Source
from sessionsync.linewise import Linewise
from sessionsync.sources.lines import UNREADABLE, Reader

_NEWLINE = b"\n"
_OURS, _THEIRS, _GAP = 0, 1, 2


class _Span(NamedTuple):
    """Bytes [start, end) of one of the versions."""

    version: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Union:
    """What holds all lines of both; a `Source` itself, so that a third can be united with it.

    `shared` is how many bytes of ours are the common beginning.
    """

    relation: Relation
    shared: int
    versions: Sequence[Source]
    spans: Sequence[_Span]
    _ends: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ends", list(accumulate(span.end - span.start for span in self.spans)))

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return self._ends[-1] if self._ends else 0

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Bytes [start, end)."""
        at = bisect_right(self._ends, start)
        while start < min(end, self.size):
            span = self.spans[at]
            begins = self._ends[at] - (span.end - span.start)
            stop = min(end, self._ends[at])
            yield from self.versions[span.version].read(
                span.start + start - begins, span.start + stop - begins
            )
            start, at = stop, at + 1


class _Line(NamedTuple):
    """A line without its end; `torn` says that it has none."""

    data: bytes
    start: int
    end: int
    torn: bool


class _Entry(NamedTuple):
    """What is kept of a line behind the common beginning."""

    digest: bytes
    start: int
    end: int
    torn: bool
    marked: bool


class _Row(msgspec.Struct):
    uuid: str | None = None


_reader = Reader(_Row)


def unite(ours: Source, theirs: Source) -> Union:
    """The union of two versions of a file that grows by lines; see the module for what it holds."""
    spans = _Spans()
    ours_at, theirs_at = _common(ours, theirs, spans)
    shared = ours_at
    mine, yours = _entries(ours, ours_at), _entries(theirs, theirs_at)
    matches = _matches(ours, mine, theirs, yours)
    _merge(mine, yours, matches, spans)
    only_ours = len(mine) - len(matches)
    only_theirs = len(yours) - len(matches)
    if only_ours and only_theirs:
        relation = Relation.DIVERGED
    elif only_ours or only_theirs:
        relation = Relation.OURS_EXTENDS if only_ours else Relation.THEIRS_EXTENDS
    else:
        relation = Relation.EQUAL
    found: Sequence[_Span] = spans.found
    if not only_theirs and _THEIRS not in spans.better:
        found = [_Span(_OURS, 0, ours.size)]
    elif not only_ours and _OURS not in spans.better:
        found = [_Span(_THEIRS, 0, theirs.size)]
    return Union(relation, shared, (ours, theirs, Plain(_NEWLINE)), found)


class _Spans:
    """Where the bytes of a union come from; neighbours are one span.

    `better` names the versions of which a line was taken because the other's was redacted, or torn.
    """

    def __init__(self) -> None:
        self.found: list[_Span] = []
        self.better: set[int] = set()

    def add(self, version: int, line: _Line | _Entry) -> None:
        last = self.found[-1] if self.found else None
        if last is not None and last.version == version and last.end == line.start:
            self.found[-1] = _Span(version, last.start, line.end)
        else:
            self.found.append(_Span(version, line.start, line.end))
        if line.torn:  # or the next would be glued to it
            self.found.append(_Span(_GAP, 0, 1))

    def choose(self, ours: _Line | _Entry, theirs: _Line | _Entry, *, is_worse: tuple[bool, bool]) -> None:
        """Add one of two lines that are the same; `is_worse` says which of them lacks something."""
        if is_worse[0] == is_worse[1]:
            self.add(_OURS, ours)
            return
        version = _THEIRS if is_worse[0] else _OURS
        self.better.add(version)
        self.add(version, theirs if is_worse[0] else ours)


def _lines(source: Source, start: int) -> Iterator[_Line]:
    """Every line from `start` on; the last one may be torn."""
    cut, at = Linewise(), start
    while start < source.size:
        stop = min(start + BLOCK_BYTES, source.size)
        whole = cut.feed(b"".join(source.read(start, stop)))
        start = stop
        for data in whole.split(_NEWLINE)[:-1]:
            yield _Line(data, at, at + len(data) + 1, torn=False)
            at += len(data) + 1
    if rest := cut.rest():
        yield _Line(rest, at, at + len(rest), torn=True)


def _common(ours: Source, theirs: Source, spans: _Spans) -> tuple[int, int]:
    """Take the common beginning; returns where each version goes on."""
    ours_at = theirs_at = 0
    mine, yours = _lines(ours, 0), _lines(theirs, 0)
    while True:
        one, two = next(mine, None), next(yours, None)
        if one is None or two is None:
            return ours_at, theirs_at
        if one.data != two.data:
            # a line that was just being written is no other one
            if one.torn and two.data.startswith(one.data):
                return one.end, theirs_at
            if two.torn and one.data.startswith(two.data):
                return ours_at, two.end
            if not same(one.data, two.data):
                return ours_at, theirs_at
        marked = MARK in one.data, MARK in two.data
        if one.data == two.data or marked[0] == marked[1]:
            marked = one.torn and not two.torn, two.torn and not one.torn
        spans.choose(one, two, is_worse=marked)
        ours_at, theirs_at = one.end, two.end


def _entries(source: Source, start: int) -> list[_Entry]:
    """The lines from `start` on; a torn end that is no whole record is left out."""
    return [
        _Entry(_digest(line.data), line.start, line.end, line.torn, MARK in line.data)
        for line in _lines(source, start)
        if not line.torn or _is_record(line.data)
    ]


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _is_record(data: bytes) -> bool:
    try:
        return isinstance(msgspec.json.decode(data), dict)
    except UNREADABLE:
        return False


def _matches(ours: Source, mine: list[_Entry], theirs: Source, yours: list[_Entry]) -> dict[int, int]:
    """Which of our lines is which of theirs, by number; the n-th of equal lines is the n-th there."""
    places: defaultdict[bytes, list[int]] = defaultdict(list)
    for number, entry in enumerate(yours):
        places[entry.digest].append(number)
    seen: Counter[bytes] = Counter()
    matches: dict[int, int] = {}
    for number, entry in enumerate(mine):
        there = places.get(entry.digest, ())
        if seen[entry.digest] < len(there):
            matches[number] = there[seen[entry.digest]]
            seen[entry.digest] += 1
    taken = set(matches.values())
    left = [number for number in range(len(yours)) if number not in taken]
    mine_left = [number for number in range(len(mine)) if number not in matches]
    if any(mine[n].marked for n in mine_left) or any(yours[n].marked for n in left):
        _match_redacted((ours, mine, mine_left), (theirs, yours, left), matches)
    return matches


_Left = tuple[Source, list[_Entry], list[int]]


def _match_redacted(ours: _Left, theirs: _Left, matches: dict[int, int]) -> None:
    """Add the lines of one `uuid` that differ only where something was redacted."""
    source, entries, left = theirs
    waiting: defaultdict[str, list[int]] = defaultdict(list)
    for number in left:
        for uuid in _uuids(_data(source, entries[number]))[:1]:
            waiting[uuid].append(number)
    own_source, own_entries, own_left = ours
    for number in own_left:
        data = _data(own_source, own_entries[number])
        for uuid in _uuids(data)[:1]:
            for candidate in waiting.get(uuid, ()):
                if same(data, _data(source, entries[candidate])):
                    matches[number] = candidate
                    waiting[uuid].remove(candidate)
                    break


def _data(source: Source, entry: _Entry) -> bytes:
    data = b"".join(source.read(entry.start, entry.end))
    return data if entry.torn else data[:-1]


def _uuids(line: bytes) -> list[str]:
    return [row.uuid for row in _reader.read(line)[0] if row.uuid]


def _merge(mine: list[_Entry], yours: list[_Entry], matches: dict[int, int], spans: _Spans) -> None:
    """Take the lines behind the common beginning, each version's in its order."""
    partners = {there: here for here, there in matches.items()}
    theirs_at = 0
    waiting: list[_Entry] = []

    def take_theirs(until: int) -> None:
        for number in range(theirs_at, until):
            if (partner := partners.get(number)) is None:
                spans.add(_THEIRS, yours[number])
            else:
                _choose(mine[partner], yours[number], spans)

    for number, entry in enumerate(mine):
        there = matches.get(number)
        if there is None:
            waiting.append(entry)
        elif there >= theirs_at:
            take_theirs(there)
            for own in waiting:
                spans.add(_OURS, own)
            waiting.clear()
            _choose(entry, yours[there], spans)
            theirs_at = there + 1
    take_theirs(len(yours))
    for own in waiting:
        spans.add(_OURS, own)


def _choose(ours: _Entry, theirs: _Entry, spans: _Spans) -> None:
    marked = (ours.marked and not theirs.marked, theirs.marked and not ours.marked)
    torn = (ours.torn and not theirs.torn, theirs.torn and not ours.torn)
    spans.choose(ours, theirs, is_worse=marked if any(marked) else torn)

"""Two versions of one session: how they relate, and what holds all that is in both.  Pure.

Files that grow by lines are compared line by line.  A line is the same in both where its bytes are, or
where one is what redaction left of the other: in the common beginning wherever it stands there, behind it
where both have the same `uuid`.  A union holds

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
import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from pathlib import PurePosixPath
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from sessionsync.model import CheckpointEntry, CriticalData
from sessionsync.sources.lines import Reader

BLOCK_BYTES = 1024 * 1024
MARK = b"[REDACTED:"
# What one line may be for a second, slower look at what redaction changed in it.
SLOW_BYTES = 4 * 1024 * 1024

_NEWLINE = b"\n"
_OURS, _THEIRS, _GAP = 0, 1, 2

T = TypeVar("T")


class Relation(StrEnum):
    """How our version relates to theirs."""

    EQUAL = "equal"
    OURS_EXTENDS = "ours_extends"
    THEIRS_EXTENDS = "theirs_extends"
    DIVERGED = "diverged"

    def __and__(self, other: Relation) -> Relation:
        """How two wholes relate of which one part relates so and another so."""
        if Relation.EQUAL in {self, other}:
            return other if self is Relation.EQUAL else self
        return self if self is other else Relation.DIVERGED


class Source(Protocol):
    """A file's bytes, to be read anywhere and again."""

    @property
    def size(self) -> int:
        """How many there are."""

    def read(self, start: int, end: int) -> Iterable[bytes]:
        """Bytes [start, end), in pieces of any length."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.data)

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Bytes [start, end)."""
        yield self.data[start:end]


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


def whole(source: Source) -> bytes:
    """All bytes of a source."""
    return b"".join(source.read(0, source.size))


# --- files that grow by lines


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
    rest, at = b"", start
    while start < source.size:
        stop = min(start + BLOCK_BYTES, source.size)
        *found, rest = (rest + b"".join(source.read(start, stop))).split(_NEWLINE)
        start = stop
        for data in found:
            yield _Line(data, at, at + len(data) + 1, torn=False)
            at += len(data) + 1
    if rest:
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
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


# --- redaction


def same(one: bytes, two: bytes) -> bool:
    """Whether two lines are the same, or one is what redaction left of the other.

    In doubt they differ: then both are kept.
    """
    if one == two:
        return True
    if MARK not in one and MARK not in two:
        return False
    if _covers(one, two) or _covers(two, one):
        return True
    if len(one) + len(two) > SLOW_BYTES:
        return False
    try:  # a line that redaction would have broken was written anew
        return _alike(json.loads(one), json.loads(two))
    except (ValueError, RecursionError):
        return False


def _covers(redacted: bytes, plain: bytes) -> bool:
    """Whether `plain` is `redacted` but for what stands in the place of its marks, within one string."""
    parts = _around_marks(redacted)
    if len(parts) < 2 or not plain.startswith(parts[0]) or not plain.endswith(parts[-1]):
        return False
    at, end = len(parts[0]), len(plain) - len(parts[-1])
    for part in parts[1:-1]:
        found = plain.find(part, at, end)
        if found < 0 or _leaves_string(plain[at:found]):
            return False
        at = found + len(part)
    return at <= end and not _leaves_string(plain[at:end])


def _around_marks(data: bytes) -> list[bytes]:
    parts, at = [], 0
    while (start := data.find(MARK, at)) >= 0:
        end = data.find(b"]", start)
        if end < 0:
            break
        parts.append(data[at:start])
        at = end + 1
    return [*parts, data[at:]]


def _leaves_string(data: bytes) -> bool:
    r"""Whether a JSON string would end inside; `\"` does not end it."""
    return b'"' in data.replace(b"\\\\", b"").replace(b'\\"', b"")


def _alike(one: Any, two: Any) -> bool:
    if isinstance(one, str) and isinstance(two, str):
        if one == two:
            return True
        a, b = one.encode("utf-8", "surrogatepass"), two.encode("utf-8", "surrogatepass")
        return _covers(_bare(a), _bare(b)) or _covers(_bare(b), _bare(a))
    if isinstance(one, dict) and isinstance(two, dict):
        return len(one) == len(two) and all(
            key in two and _alike(value, two[key]) for key, value in one.items()
        )
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_alike, one, two))
    return type(one) is type(two) and bool(one == two)


def _bare(data: bytes) -> bytes:
    """A decoded string, in which a quote ends nothing."""
    return data.replace(b'"', b"'")


# --- all files of a session


@dataclass(frozen=True, slots=True)
class Comparison:
    """How all files of a session relate, and what holds both.

    `united` are the files of that union by name; `differing` those that cannot be united, and of which it
    holds theirs beside ours.
    """

    relation: Relation
    united: Mapping[str, Source]
    differing: Sequence[str]


def compare(
    ours: Mapping[str, Source],
    theirs: Mapping[str, Source],
    *,
    grows: Callable[[str], bool],
    machine: str,
    their_machine: str,
) -> Comparison:
    """Compare two versions of a session, and unite them.

    `grows` tells which files grow by lines.  Of a file that does not, and that differs, the union holds
    theirs under a name with `their_machine` in it; where a union that somebody else made holds ours under
    such a name, it is there.
    """
    relation = Relation.EQUAL
    united: dict[str, Source] = {}
    differing: list[str] = []
    beside_ours = {beside(name, machine): name for name in ours}
    for name in sorted({*ours, *theirs}):
        mine, yours = ours.get(name), theirs.get(name)
        if mine is None and yours is not None:
            original = beside_ours.get(name)
            if original is None or not _equal(ours[original], yours):
                relation &= Relation.THEIRS_EXTENDS
            united[name] = yours
        elif mine is not None and yours is None:
            relation &= Relation.OURS_EXTENDS
            united[name] = mine
        elif mine is not None and yours is not None:
            part, found = _unite_file(name, mine, yours, grows=grows)
            if part is Relation.DIVERGED and not grows(name):
                kept = theirs.get(beside(name, machine))
                if kept is not None and _equal(kept, mine):
                    part, found = Relation.THEIRS_EXTENDS, yours
                else:
                    differing.append(name)
                    united[beside(name, their_machine)] = yours
            relation &= part
            united[name] = found
    return Comparison(relation, united, differing)


def beside(name: str, machine: str) -> str:
    """The name under which a machine's version of a file lies beside another one's."""
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}.{machine}{path.suffix}"))


def _unite_file(
    name: str, ours: Source, theirs: Source, *, grows: Callable[[str], bool]
) -> tuple[Relation, Source]:
    if grows(name):
        union = unite(ours, theirs)
        return union.relation, union
    if _equal(ours, theirs):
        return Relation.EQUAL, ours
    if ours.size + theirs.size <= SLOW_BYTES and same(whole(ours), whole(theirs)):
        return Relation.EQUAL, theirs if MARK in whole(ours) else ours
    return Relation.DIVERGED, ours


def _equal(one: Source, two: Source) -> bool:
    if one.size != two.size:
        return False
    for start in range(0, one.size, BLOCK_BYTES):
        end = min(start + BLOCK_BYTES, one.size)
        if b"".join(one.read(start, end)) != b"".join(two.read(start, end)):
            return False
    return True


# --- critical data


def merge_critical(base: CriticalData, ours: CriticalData, theirs: CriticalData) -> CriticalData:
    """What both sides made of `base`: each one's additions and removals; where both changed the phase, ours.

    With an empty `base` nothing was removed: all entries of both stay.
    """
    return CriticalData(
        decisions=_merge_entries(base.decisions, ours.decisions, theirs.decisions),
        checkpoints=_merge_checkpoints(ours.checkpoints, theirs.checkpoints),
        current_phase=(
            theirs.current_phase
            if ours.current_phase == base.current_phase and theirs.current_phase
            else ours.current_phase
        ),
        next_steps=_merge_entries(base.next_steps, ours.next_steps, theirs.next_steps),
    )


def _merge_entries(base: list[str], ours: list[str], theirs: list[str]) -> list[str]:
    """Theirs in their order with what ours has added, each behind the entry that it follows in ours."""
    gone = {entry for entry in base if entry not in ours} | {entry for entry in base if entry not in theirs}
    merged = list(dict.fromkeys(entry for entry in theirs if entry not in gone))
    at = 0
    for entry in ours:
        if entry in gone:
            continue
        if entry in merged:
            at = merged.index(entry) + 1
        else:
            merged.insert(at or len(merged), entry)
            at = merged.index(entry) + 1
    return merged


def _merge_checkpoints(ours: list[CheckpointEntry], theirs: list[CheckpointEntry]) -> list[CheckpointEntry]:
    found = {(entry.id, entry.at): entry for entry in (*theirs, *ours)}
    return sorted(found.values(), key=lambda entry: (entry.at, entry.id))

"""Whether the copies of a session are still what was stored: their structure, or their bytes as well.

Structure: every line of the journal says what was written, and everything that can be asked for has
its bytes in the pack.  Bytes: each segment has its SHA-256, the plain copy is the same as the newest
generation, its end is what was captured last.  `everything` also computes every root anew, those of all
kept checkpoints and of the plain copies.

A look that meets somebody writing may see damage where there is none: what is found counts when it
is found again in the writer's thread.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from sessionsync.errors import CopyError
from sessionsync.vault.frames import Frames
from sessionsync.vault.journal import Extent, Fold, Generation, Segment
from sessionsync.vault.mirror import Mirror
from sessionsync.vault.plan import ALL, Statement, answer, statements
from sessionsync.vault.root import Root
from sessionsync.vault.session import Opened, SessionVault

MIRROR = "mirror"
VAULT = "vault"
JOURNAL = "journal"
TAIL = "tail"
ROOT = "root"
ASIDE = "aside"
# What is compared of a plain copy's end, as capture remembers it.
TAIL_BYTES = 64 * 1024
BLOCK_BYTES = 1024 * 1024
# What was set aside and differs from what the vault has in so few bytes is a damaged copy of that, no other.
DAMAGED_BYTES = 16


@dataclass(frozen=True, slots=True)
class Expected:
    """A plain copy as the state knows it: `length` bytes of `generation`, `stored` of them in the vault.

    `tail` is the SHA-256 of the 64 KB before `length`, `peaks` are those of the root.  `copied` is False
    while the plain copy is being made anew, and then not looked at.
    """

    name: str
    path: Path
    generation: int
    length: int
    stored: int
    tail: str
    peaks: tuple[str, ...]
    copied: bool = True


class Aside(NamedTuple):
    """What was set aside of a file at `path`: its bytes from `offset` on, in that generation."""

    path: Path
    file: str
    generation: int
    offset: int


@dataclass(frozen=True, slots=True)
class Bad:
    """Bytes [start, end) of a file, or of a generation of it, that are not what was stored.

    `result` is `mismatch`, or `missing`.  `segment` is the vault's frame that is damaged.  `by` tells who
    found it: of a `tail` or a `root` only some bytes need be damaged.  Of what was set aside `start` and
    `end` count in that file, which `aside` names.
    """

    store: str
    name: str
    generation: int
    start: int
    end: int
    result: str
    what: str
    segment: Segment | None = None
    by: str = ""
    aside: Aside | None = None

    @property
    def where(self) -> str:
        """Store, file, generation and bytes, as a person reads it."""
        if not self.end:
            return f"{self.store}: {self.name}"
        generation = f" (generation {self.generation})" if self.store == VAULT and self.generation else ""
        return f"{self.store}: {self.name}{generation}, bytes {self.start} to {self.end}"


class Checked(NamedTuple):
    """One comparison: in which store, how many bytes were read for it, and what was wrong."""

    store: str
    size: int
    bad: Bad | None = None


class Part(NamedTuple):
    """The `number`-th (from 1) of `of` parts of all bytes."""

    number: int
    of: int

    def holds(self, session: str, segment: Segment) -> bool:
        """Whether a segment belongs to it, for ever."""
        return self.has(f"{session}/{segment.file}/{segment.generation}/{segment.offset}")

    def has(self, name: str) -> bool:
        """Whether what has this name belongs to it, for ever."""
        return zlib.crc32(name.encode(errors="surrogatepass")) % self.of == self.number - 1


class Newest(NamedTuple):
    """The last `size` bytes of each file."""

    size: int

    def holds(self, ends: Mapping[str, tuple[int, int]], segment: Segment) -> bool:
        """Whether a segment has some of them; `ends` are each file's newest generation and its length."""
        generation, length = ends.get(segment.file, (-1, 0))
        return segment.generation == generation and segment.end > length - self.size


def structure(
    vault: SessionVault, mirror: Mirror, expected: Sequence[Expected], checkpoints: Iterable[str] = ()
) -> Iterator[Checked]:
    """Whether everything that can be asked for is there; reads the journal and no bytes.

    `checkpoints` are those that the state knows.
    """
    fold = vault.fold()
    damaged = f"{fold.damaged} of its lines are damaged" if fold.damaged else ""
    yield Checked(VAULT, 0, Bad(VAULT, JOURNAL, 0, 0, 0, "mismatch", damaged) if damaged else None)
    known = {snapshot.id for snapshot in fold.snapshots()}
    for name in checkpoints:
        if name not in known:
            yield Checked(VAULT, 0, Bad(VAULT, JOURNAL, 0, 0, 0, "missing", f"it has no checkpoint {name}"))
    seen: set[tuple[str, int, int, int]] = set()
    for asked, end in _asked(fold, expected):
        for start, stop in _gaps(answer(fold, asked)[1], end):
            if (found := (asked[0], asked[1], start, stop)) not in seen:
                seen.add(found)
                yield Checked(VAULT, 0, Bad(VAULT, *found, "missing", "is not there"))
    yield Checked(VAULT, 0)
    for file in expected:
        if file.copied:
            size = mirror.size(file.path)
            short = Bad(MIRROR, file.name, file.generation, size, file.length, "missing", "is not there")
            yield Checked(MIRROR, 0, short if size < file.length else None)


def content(
    vault: SessionVault,
    mirror: Mirror,
    expected: Sequence[Expected],
    chosen: Callable[[Segment], bool] | None = None,
) -> Iterator[Checked]:
    """Whether the bytes, all or those of the chosen segments, are what was stored, in both copies."""
    with vault.frames() as opened:
        yield from _segments(opened, mirror, expected, chosen)
    yield from _tails(mirror, expected)


def everything(vault: SessionVault, mirror: Mirror, expected: Sequence[Expected]) -> Iterator[Checked]:
    """All that `content` and `roots` look at; what is sound is read, unpacked and hashed once.

    What has a checkpoint's root needs no look at each segment, and a plain copy that is the same as what has
    that root has it as well.
    """
    proven: set[Segment] = set()
    known: set[tuple[str, int, int, tuple[str, ...]]] = set()
    with vault.frames() as opened:
        fold = opened[0]
        copies = _copies(fold, expected)
        copied = {(file.name, file.generation) for file in expected if file.copied}
        for stated, extents in _together(fold):
            name, generation, length, _ = stated[-1]
            beside = partial(_beside, mirror, copies, iter(extents))
            if (root := (yield from _stated(vault, opened, stated, beside))) is not None:
                proven |= {extent.segment for extent in extents if _is_whole(extent)}
                if (name, generation) not in copied:
                    continue
                if _cut(answer(fold, (name, generation, ALL, ""))[1], length) == extents:  # as it is now
                    known.add((name, generation, length, tuple(root.peaks)))
        if not proven.issuperset(segment for segment, _ in fold.stored):
            yield from _segments(opened, mirror, expected, lambda segment: segment not in proven)
    yield from _tails(mirror, expected)
    for file in expected:
        if file.copied and (file.name, file.generation, file.length, file.peaks) not in known:
            yield from _root(mirror, file)


def asides(
    vault: SessionVault, mirror: Mirror, expected: Sequence[Expected], names: Collection[str] | None = None
) -> Iterator[Checked]:
    """Whether what was set aside of plain copies is still what the vault has of earlier generations.

    Not everything that was set aside was ever in the vault: what is nearly the same as something there is
    taken to be a damaged copy of it, all else is left alone.  `names` are the files to look at; None for all.
    """
    for file in expected:
        if names is not None and file.name not in names:
            continue
        for path, offset in mirror.asides(file.path):
            size = mirror.size(path)
            lives = [
                Aside(path, file.name, generation, offset)
                for (name, generation), life in vault.fold().generations.items()
                if name == file.name and life.reach(vault.fold().line) >= offset + size
            ]
            verdicts = [_aside(vault, mirror, aside, size) for aside in reversed(lives)]
            near = next((bad for bad in verdicts if bad is not None and bad.end), None)
            yield Checked(MIRROR, size * len(lives), None if None in verdicts else near)


def again(
    vault: SessionVault,
    mirror: Mirror,
    expected: Sequence[Expected],
    found: Sequence[Bad],
    checkpoints: Iterable[str] = (),
) -> Iterator[Checked]:
    """Look once more at what was found to be bad, and at little else."""

    def overlaps(segment: Segment) -> bool:
        return any(
            bad.name == segment.file and bad.start < segment.end and segment.offset < bad.end for bad in found
        )

    names = {bad.name for bad in found}
    files = [file for file in expected if file.name in names]
    yield from structure(vault, mirror, expected, checkpoints)
    yield from content(vault, mirror, files, overlaps)
    if cut := {bad.aside.file for bad in found if bad.aside is not None}:
        yield from asides(vault, mirror, expected, cut)
    if any(bad.by == ROOT for bad in found):
        yield from roots(vault, mirror, files, names)


def roots(
    vault: SessionVault, mirror: Mirror, expected: Sequence[Expected], names: Collection[str] | None = None
) -> Iterator[Checked]:
    """Whether every kept checkpoint and every plain copy has its root, computed anew from all its bytes.

    `names` are the files to look at; None for all.
    """
    with vault.frames() as opened:
        for stated, _ in _together(opened[0]):
            if names is None or stated[-1][0] in names:
                yield from _stated(vault, opened, stated)
    for file in expected:
        if file.copied:
            yield from _root(mirror, file)


def precise(found: Collection[Bad]) -> list[Bad]:
    """Without those that only say again, of more bytes, what others say."""
    exact = [bad for bad in found if not bad.by]
    return [
        bad
        for bad in found
        if not bad.by
        or not any(
            (bad.store, bad.name) == (other.store, other.name)
            and bad.start < other.end
            and other.start < bad.end
            for other in exact
        )
    ]


def _asked(fold: Fold, expected: Sequence[Expected]) -> Iterator[tuple[Statement, int]]:
    """Everything that may be asked for, and how long it must be."""
    for asked in statements(fold, {}):
        if asked[2] != ALL:
            yield asked, asked[2]
    for file in expected:
        yield (file.name, file.generation, ALL, ""), file.stored


def _gaps(extents: Iterable[Extent], end: int) -> Iterator[tuple[int, int]]:
    position = 0
    for extent in extents:
        if position < extent.start < end:
            yield position, extent.start
        position = extent.end
    if position < end:
        yield position, end


def _needed(fold: Fold, expected: Sequence[Expected]) -> list[tuple[Segment, Generation]]:
    """Every segment that somebody may ask for, in the order of the pack, with the life that reads it."""
    found: dict[int, tuple[Segment, Generation]] = {}
    for asked in statements(fold, {file.name: file.generation for file in expected}):
        life, extents = answer(fold, asked)
        if life is not None:
            found |= {id(extent.segment): (extent.segment, life) for extent in extents}
    return sorted(found.values(), key=lambda each: each[0].at)


def _copies(fold: Fold, expected: Sequence[Expected]) -> dict[int, list[tuple[Expected, Extent]]]:
    """Which segments the plain copies can be compared with."""
    found: dict[int, list[tuple[Expected, Extent]]] = defaultdict(list)
    for file in expected:
        if file.copied:
            for extent in answer(fold, (file.name, file.generation, ALL, ""))[1]:
                if extent.start < file.length:
                    upto = extent._replace(end=min(extent.end, file.length))
                    found[id(extent.segment)].append((file, upto))
    return found


def _segments(
    opened: Opened,
    mirror: Mirror,
    expected: Sequence[Expected],
    chosen: Callable[[Segment], bool] | None = None,
) -> Iterator[Checked]:
    fold, frames = opened
    copies = _copies(fold, expected)
    for segment, life in _needed(fold, expected):
        if chosen is None or chosen(segment):
            yield from _segment(frames, mirror, segment, life, copies.get(id(segment), ()))


def _segment(
    frames: Frames,
    mirror: Mirror,
    segment: Segment,
    life: Generation,
    copies: Iterable[tuple[Expected, Extent]],
) -> Iterator[Checked]:
    data = frames.unpack(segment)
    bad = None
    if data is None and (data := _twin(frames, segment, life)) is None:
        what = "is damaged"
        span = segment.file, segment.generation, segment.offset, segment.end
        bad = Bad(VAULT, *span, "mismatch", what, segment)
    yield Checked(VAULT, segment.packed, bad)
    yield from _mirrored(mirror, segment, data, copies)


def _mirrored(
    mirror: Mirror, segment: Segment, data: bytes | None, copies: Iterable[tuple[Expected, Extent]]
) -> Iterator[Checked]:
    """Whether the plain copies are the same as a segment, of which the bytes are None where it is damaged."""
    for file, extent in copies:
        copy = mirror.read(file.path, extent.start, extent.end)
        same = True  # that the copy is short is said of its structure
        if data is not None:
            begin = extent.start - segment.offset
            same = copy == data[begin : begin + len(copy)]
        elif len(copy) == segment.length:
            same = segment.is_of(copy)
        span = file.name, file.generation, extent.start, extent.end
        yield Checked(
            MIRROR, len(copy), None if same else Bad(MIRROR, *span, "mismatch", "is not what was stored")
        )


def _beside(
    mirror: Mirror,
    copies: Mapping[int, Sequence[tuple[Expected, Extent]]],
    extents: Iterator[Extent],
    data: bytes,
) -> Iterator[Checked]:
    """Compare the plain copies with what was read of the next extent, where that is all of a segment."""
    extent = next(extents)
    if _is_whole(extent):
        yield from _mirrored(mirror, extent.segment, data, copies.get(id(extent.segment), ()))


def _is_whole(extent: Extent) -> bool:
    return (extent.start, extent.end) == (extent.segment.offset, extent.segment.end)


def _twin(frames: Frames, segment: Segment, life: Generation) -> bytes | None:
    """A damaged segment's bytes from where they were stored again."""
    there = (other for other, _ in life.covering(segment.offset))
    same = (other for other in there if (other.offset, other.length) == (segment.offset, segment.length))
    twin = frames.twin(segment, same)
    return None if twin is None else twin[1]


def _tails(mirror: Mirror, expected: Iterable[Expected]) -> Iterator[Checked]:
    return (_tail(mirror, file) for file in expected if file.copied and file.length)


def _tail(mirror: Mirror, file: Expected) -> Checked:
    start = max(0, file.length - TAIL_BYTES)
    data = mirror.read(file.path, start, file.length)
    short = len(data) < file.length - start
    sound = short or not file.tail or hashlib.sha256(data).hexdigest() == file.tail
    what = "is not what was captured"
    bad = Bad(MIRROR, file.name, file.generation, start, file.length, "mismatch", what, by=TAIL)
    return Checked(MIRROR, len(data), None if sound else bad)


def _aside(vault: SessionVault, mirror: Mirror, aside: Aside, size: int) -> Bad | None:
    """None where it is the same as that generation; a Bad without bytes where it is something else."""
    differing: list[int] = []
    most = min(DAMAGED_BYTES, size // 8)
    other = Bad(MIRROR, aside.path.name, aside.generation, 0, 0, "mismatch", "", by=ASIDE, aside=aside)
    try:
        position = 0
        for data in vault.read(aside.file, aside.generation, aside.offset + size, aside.offset):
            copy = mirror.read(aside.path, position, position + len(data))
            if copy != data:
                if len(copy) < len(data):
                    return other
                pairs = zip(copy, data, strict=True)
                differ = (position + n for n, (one, two) in enumerate(pairs) if one != two)
                differing += islice(differ, most + 1 - len(differing))  # of what is another, that is enough
                if len(differing) > most:
                    return other
            position += len(data)
    except CopyError:
        return other
    if not differing:
        return None
    what = "is not what was set aside"
    span = differing[0], differing[-1] + 1
    return Bad(MIRROR, aside.path.name, aside.generation, *span, "mismatch", what, by=ASIDE, aside=aside)


def _together(fold: Fold) -> Iterator[tuple[list[Statement], list[Extent]]]:
    """Statements of which one is the beginning of the next, the longest last, and where its bytes lie."""
    groups: dict[int, list[tuple[Statement, list[Extent]]]] = defaultdict(list)
    for asked in statements(fold, {}):
        if asked[2] != ALL:
            life, extents = answer(fold, asked)
            groups[id(life)].append((asked, extents))
    for group in groups.values():
        group.sort(key=lambda each: each[0][2])
        _, whole = group[-1]
        alone = [each for each in group[:-1] if _cut(whole, each[0][2]) != each[1]]
        yield [each[0] for each in group if each not in alone], whole
        for asked, extents in alone:
            yield [asked], extents


def _cut(extents: Iterable[Extent], end: int) -> list[Extent]:
    return [extent._replace(end=min(extent.end, end)) for extent in extents if extent.start < end]


def _stated(
    vault: SessionVault,
    opened: Opened,
    stated: list[Statement],
    beside: Callable[[bytes], Iterable[Checked]] = lambda _: (),
) -> Generator[Checked, None, Root | None]:
    """Read once what several checkpoints say of a file, and compare with each where it ends.

    The longest one's root proves every byte, and is returned; then it counts what `beside` said of the bytes.
    Only where it does not each segment is looked at, and what was stored again counts; None is returned.
    """
    if stated[-1][3]:
        root, verdicts = Root(), list[Checked]()
        for checked in _compared(partial(vault.unproven, opened=opened), stated, root, beside):
            if checked.size and checked.bad is None:
                yield checked
            else:
                verdicts.append(checked)
        if not any(verdict.bad for verdict in verdicts if verdict.store == VAULT):
            yield from verdicts
            return root
    yield from _compared(partial(vault.read, opened=opened), stated, Root())
    return None


def _compared(
    read: Callable[..., Iterator[bytes]],
    stated: Sequence[Statement],
    root: Root,
    beside: Callable[[bytes], Iterable[Checked]] = lambda _: (),
) -> Iterator[Checked]:
    """Read a file from its first byte on into `root`, and compare it with what is stated where each ends."""
    name, generation, length, last = stated[-1]
    waiting = list(stated)
    try:
        for data in read(name, generation, length, root=last):
            begin, view = root.size, memoryview(data)
            for asked in list(waiting):
                if asked[2] >= begin + len(data):
                    break
                root.update(view[root.size - begin : asked[2] - begin])
                yield _against(asked, root)
                waiting.remove(asked)
            root.update(view[root.size - begin :])
            yield Checked(VAULT, len(data))
            yield from beside(data)
    except CopyError:
        what = "is not what the checkpoint had"
        bad = Bad(VAULT, name, generation, root.size, length, "mismatch", what, by=ROOT)
        yield Checked(VAULT, 0, bad)
        return
    for asked in waiting:
        yield _against(asked, root)


def _against(asked: Statement, root: Root) -> Checked:
    name, generation, length, expected = asked
    if not expected or expected == root.hexdigest():
        return Checked(VAULT, 0)
    what = "is not what the checkpoint had"
    return Checked(VAULT, 0, Bad(VAULT, name, generation, 0, length, "mismatch", what, by=ROOT))


def _root(mirror: Mirror, file: Expected) -> Iterator[Checked]:
    root = Root()
    while root.size < file.length:
        data = mirror.read(file.path, root.size, min(root.size + BLOCK_BYTES, file.length))
        if not data:
            break
        root.update(data)
        yield Checked(MIRROR, len(data))
    sound = root.size < file.length or tuple(root.peaks) == file.peaks
    what = "is not what was captured"
    bad = Bad(MIRROR, file.name, file.generation, 0, file.length, "mismatch", what, by=ROOT)
    yield Checked(MIRROR, 0, None if sound else bad)

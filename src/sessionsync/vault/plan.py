"""What becomes of a journal and its pack when they are written anew.  Pure: no byte moves here.

What is kept is what can be asked for: every kept snapshot, the newest generation of every file, every one
of an artifact, and what the caller names besides.  The journal's order stays; what nobody can ask for is
left out, and neighbouring segments become one:

    old   seg 0-9 │ snapshot A │ seg 9-20 │ snapshot B │ fork 1 │ seg … │ forget A
    new   seg 0-20 ───────────────────────│ snapshot B │ fork 1 │ seg …

A plan is carried out only if it `holds`: if in the journal that it makes everything that is kept is
read from the same bytes as in the old one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from sessionsync.vault.journal import (
    Entry,
    Extent,
    Fold,
    Fork,
    Generation,
    Pack,
    Removal,
    Segment,
    Snapshot,
    StoredFile,
    decode,
)
from sessionsync.vault.pack import COLD_LEVEL, FRAME_BYTES, LEVEL

# When writing anew pays: half of the frames go, or a quarter of the pack, or so much gets smaller.  Each
# is a share of the whole, so that over time a byte is written anew only so often.
FEWER_FRAMES = 16
FEWER_LINES = 200
DEAD_SHARE = 4
DEAD_BYTES = 16 * 1024
COLD_BYTES = 64 * 1024

# Of these every content stays, also of those that a session has dropped or rewritten.
KEPT = "artifacts/"

# Whoever is asked for: name, generation, length and root of a file; length -1 for all that there is.
Statement = tuple[str, int, int, str]
ALL = -1


class Piece(NamedTuple):
    """Bytes [start, end) of a file, from `segment`."""

    segment: Segment
    start: int
    end: int


@dataclass(slots=True)
class Block:
    """A segment to be made of `pieces`, each beginning where the one before ends.

    `as_it_is`: the frame of its one piece is taken over, sound or not.
    """

    file: str
    generation: int
    level: int
    pieces: list[Piece]
    as_it_is: bool = False

    @property
    def start(self) -> int:
        """Where in the file it begins."""
        return self.pieces[0].start

    @property
    def end(self) -> int:
        """Where in the file it ends."""
        return self.pieces[-1].end

    def is_copy(self) -> bool:
        """Whether the frame of its one piece will do."""
        piece = self.pieces[0]
        whole = len(self.pieces) == 1 and piece.end - piece.start == piece.segment.length
        return self.as_it_is or (whole and piece.segment.level >= self.level)


class History:
    """A journal read line by line, and which life each line spoke of."""

    def __init__(self, lines: Iterable[bytes], pack_bytes: int, pack: int = 0) -> None:
        self.fold = Fold(pack_bytes, pack=pack)
        self.told: list[tuple[Entry, Generation | None, int]] = []
        """Each line's entry, the life that it began or added to, and how many changes were before it."""
        for line in lines:
            before = len(self.fold.changes)
            entry = decode(line)
            self.fold.take(entry)
            life: Generation | None = None
            match entry:
                case None:
                    continue
                case Fork():
                    life = self.fold.generations[entry.file, entry.generation]
                case Segment() if self.fold.stored and self.fold.stored[-1][0] is entry:
                    life = self.fold.stored[-1][1]
                case _:
                    pass
            self.told.append((entry, life, before))

    def lives(self) -> dict[int, tuple[Generation, str, int]]:
        """Every life with the name of its file and its number, by identity."""
        found: dict[int, tuple[Generation, str, int]] = {}
        for (name, number, _), roots in self.fold.stated.items():
            found |= {id(life): (life, name, number) for life, _ in roots.values()}
        for (name, number), life in self.fold.generations.items():
            found[id(life)] = life, name, number
        for entry, known, _ in self.told:
            if known is not None and isinstance(entry, Fork | Segment):
                found[id(known)] = known, entry.file, entry.generation
        return found


def statements(fold: Fold, besides: Mapping[str, int]) -> list[Statement]:
    """Everything that may be asked for; `besides` are generations by file that somebody goes on from."""
    wanted: dict[Statement, None] = {}
    for state in states(fold):
        for file in state.values():
            wanted[file.name, file.generation, file.length, file.root] = None
    contents = [key for key in fold.generations if key[0].startswith(KEPT)]
    for name, generation in [*fold.newest.items(), *besides.items(), *contents]:
        wanted[name, generation, ALL, ""] = None
    return list(wanted)


def states(fold: Fold) -> list[dict[str, StoredFile]]:
    """The session's files at each kept snapshot, in order."""
    kept = set(fold.kept())
    found: list[dict[str, StoredFile]] = []
    state: dict[str, StoredFile] = {}
    for n, change in enumerate(fold.changes):
        match change:
            case Snapshot():
                state = state | {file.name: file for file in change.files}
            case Removal() if change.file in state:
                gone = msgspec.structs.replace(state[change.file], deleted_at=change.at)
                state = state | {change.file: gone}
            case _:
                pass
        if n in kept:
            found.append(state)
    return found


def answer(fold: Fold, asked: Statement) -> tuple[Generation | None, list[Extent]]:
    """The life that a statement means, and where its bytes lie."""
    name, generation, length, root = asked
    if length == ALL:
        life, line, length = fold.generations.get((name, generation)), fold.line, 2**63
    else:
        life, line, _ = fold.as_stated(name, generation, length, root)
    return life, [] if life is None else life.extents(length, line)


@dataclass(slots=True)
class Plan:
    """The new journal: entries, and blocks where segments will be.

    `dropped` are damaged segments of which the same bytes lie elsewhere; `wanted` is all that may be
    asked for, and `needed_bytes` what of the old pack that takes.
    """

    history: History
    entries: list[Entry | Block] = field(default_factory=list)
    dropped: list[Segment] = field(default_factory=list)
    needed_bytes: int = 0
    cold: bool = False
    wanted: list[Statement] = field(default_factory=list)
    damaged: Mapping[Segment, Segment | None] = field(default_factory=dict)

    @property
    def blocks(self) -> list[Block]:
        """What must be packed, in the order of the new pack."""
        return [entry for entry in self.entries if isinstance(entry, Block)]

    def dead_bytes(self) -> int:
        """How much of the old pack nobody can ask for."""
        return self.history.fold.pack_bytes - self.needed_bytes

    def pays(self) -> bool:
        """Whether it is worth its cost."""
        fold, blocks = self.history.fold, self.blocks
        frames, lines, dead = len(fold.stored), fold.line, self.dead_bytes()
        colder = sum(block.end - block.start for block in blocks if not block.is_copy()) if self.cold else 0
        return (
            (len(blocks) * 2 <= frames and frames - len(blocks) >= FEWER_FRAMES)
            or (len(self.entries) * 2 <= lines and lines - len(self.entries) >= FEWER_LINES)
            or (dead * DEAD_SHARE >= fold.pack_bytes and dead >= DEAD_BYTES)
            or colder >= COLD_BYTES
        )

    def holds(self) -> bool:
        """Whether everything that is kept comes from the same bytes, snapshot by snapshot."""
        old, new, made = self.history.fold, Fold(2**63), dict[int, Block]()
        at = 0
        for entry in self.entries:
            if isinstance(entry, Block):
                size = entry.end - entry.start
                segment = Segment(entry.file, entry.generation, entry.start, size, at, 1)
                made[at] = entry
                at += 1
                new.take(segment)
            else:
                new.take(entry)
        same_story = (
            new.description == old.description
            and [_bare(s) for s in new.snapshots()] == [_bare(s) for s in old.snapshots()]
            and states(new) == states(old)
            and new.files(None) == old.files(None)
            and new.newest.items() >= old.newest.items()
        )
        return same_story and all(
            self._origins(answer(old, asked)[1]) == self._origins(answer(new, asked)[1], made)
            for asked in self.wanted
        )

    def _origins(self, extents: list[Extent], made: Mapping[int, Block] | None = None) -> list[list[object]]:
        """Which bytes of which old segments are read, in order; of a damaged one, those of its twin."""
        found: list[list[object]] = []
        for extent in extents:
            pieces = (
                [Piece(extent.segment, extent.start, extent.end)]
                if made is None
                else made[extent.segment.at].pieces
            )
            for piece in pieces:
                start, end = max(piece.start, extent.start), min(piece.end, extent.end)
                if start >= end:
                    continue
                key = _key(self.damaged.get(piece.segment) or piece.segment)
                if found and found[-1][0] == key and found[-1][2] == start:
                    found[-1][2] = end
                else:
                    found.append([key, start, end])
        return found


def make(
    history: History,
    *,
    pack: int,
    besides: Mapping[str, int],
    cold: bool = False,
    damaged: Mapping[Segment, Segment | None],
) -> Plan:
    """Plan a journal for the pack of this number.

    `cold` sessions are compressed as far as it pays; of others only what lies in generations that are
    no longer the newest.  `damaged` segments are left as they are, with all that may hold the same bytes;
    where one is known that does, which each of them names, it takes the damaged one's place.
    """
    fold = history.fold
    wanted = statements(fold, besides)
    needs = _Needs(fold, damaged)
    for asked in wanted:
        life, extents = answer(fold, asked)
        if life is not None:
            needs.life(life, extents)
    newest = {id(fold.generations[key]) for key in fold.newest.items() if key in fold.generations}
    blocks = _Blocks(needs)
    known = history.lives()
    plan = Plan(
        history,
        cold=cold,
        wanted=wanted,
        damaged=damaged,
        dropped=[segment for number, segment in needs.hurt.items() if number not in needs.pieces],
        needed_bytes=sum(piece.segment.packed for piece in needs.pieces.values()),
    )
    plan.entries.append(Pack(pack))
    if fold.description is not None:
        plan.entries.append(fold.description)
    kept = dict(zip(fold.kept(), states(fold), strict=True))
    said: dict[str, StoredFile] = {}
    again: set[str] = set()
    for entry, life, number in history.told:
        match entry:
            case Fork() if life is not None and id(life) in needs.lives:
                plan.entries.append(_relinked(entry, life, needs.lives, known))
            case Segment() if life is not None and id(entry) in needs.pieces:
                level = LEVEL if id(life) in newest and not cold else COLD_LEVEL
                plan.entries += blocks.place(entry, id(life), level)
            case Snapshot():
                again |= {file.name for file in entry.files}
                if number in kept:
                    state = kept[number]
                    files = [f for name, f in state.items() if name in again or said.get(name) != f]
                    known_as = fold.changes[number]
                    doubtful = isinstance(known_as, Snapshot) and known_as.doubtful
                    plan.entries.append(msgspec.structs.replace(entry, files=files, doubtful=doubtful))
                    said, again = state, set()
            case _:
                pass
    now = fold.files(None) or {}
    plan.entries += [
        Removal(name, file.deleted_at)
        for name, file in now.items()
        if file.deleted_at is not None and said.get(name) not in {None, file}
    ]
    return plan


class _Blocks:
    """Segments put together: what continues a block goes into it, and so comes earlier than it did."""

    def __init__(self, needs: _Needs) -> None:
        self._needs = needs
        self._crowded = _crowded(needs.pieces.values())
        self._open: dict[int, Block] = {}

    def place(self, segment: Segment, life: int, level: int) -> list[Block]:
        """The block that begins with this segment; none where it went into one of its life's."""
        piece = self._needs.pieces[id(segment)]
        block = self._open.pop(life, None)
        if id(segment) in self._needs.fixed:
            piece = Piece(segment, segment.offset, segment.end)
            return [Block(segment.file, segment.generation, level, [piece], as_it_is=True)]
        if id(segment) in self._crowded:
            return [Block(segment.file, segment.generation, level, [piece])]
        if block is not None and self._takes(block, piece):
            self._open[life] = block
            block.pieces.append(piece)
            return []
        self._open[life] = Block(segment.file, segment.generation, level, [piece])
        return [self._open[life]]

    def _takes(self, block: Block, piece: Piece) -> bool:
        """Whether a piece may go into the block: it continues it, and neither was tried harder already."""
        return (
            block.end == piece.start
            and piece.end - block.start <= FRAME_BYTES
            and block.pieces[-1].segment.level <= block.level
            and piece.segment.level <= block.level
        )


class _Needs:
    """Which part of which segment somebody may ask for; `fixed` ones must stay as they are."""

    def __init__(self, fold: Fold, damaged: Mapping[Segment, Segment | None]) -> None:
        self.pieces: dict[int, Piece] = {}
        self.fixed: set[int] = set()
        self.lives: set[int] = set()
        self.hurt: dict[int, Segment] = {}
        self._damaged = damaged
        self._owner = {id(segment): life for segment, life in fold.stored}

    def life(self, life: Generation, extents: Iterable[Extent]) -> None:
        """Everything that is read of a life."""
        self.lives.add(id(life))
        for extent in extents:
            if extent.segment in self._damaged:
                self._instead(life, extent)
            else:
                self._need(extent.segment, extent.start, extent.end)

    def _instead(self, life: Generation, extent: Extent) -> None:
        """What may be read where a frame is damaged: the same bytes elsewhere, or all that may be tried."""
        segment = extent.segment
        self.hurt[id(segment)] = segment
        if (twin := self._damaged[segment]) is not None:
            self._fix(twin)
            return
        self._fix(segment)
        for position in (extent.start, extent.end - 1):
            for other, _ in life.covering(position):
                self._fix(other)

    def _fix(self, segment: Segment) -> None:
        self._need(segment, segment.offset, segment.end)
        self.fixed.add(id(segment))

    def _need(self, segment: Segment, start: int, end: int) -> None:
        was = self.pieces.get(id(segment), Piece(segment, start, end))
        self.pieces[id(segment)] = Piece(segment, min(was.start, start), max(was.end, end))
        self.lives.add(id(self._owner[id(segment)]))


def _key(segment: Segment) -> tuple[str, int, int, int, str]:
    return segment.file, segment.generation, segment.offset, segment.length, segment.root or segment.sha256


def _crowded(needed: Iterable[Piece]) -> set[int]:
    """Segments of one generation that lie over each other: their order must stay as it is."""
    by_life: dict[tuple[str, int], list[Piece]] = defaultdict(list)
    for piece in needed:
        by_life[piece.segment.file, piece.segment.generation].append(piece)
    found: set[int] = set()
    for pieces in by_life.values():
        pieces.sort(key=lambda piece: piece.start)
        last = pieces[0]
        for piece in pieces[1:]:
            if piece.start < last.end:
                found |= {id(piece.segment), id(last.segment)}
            last = max(last, piece, key=lambda each: each.end)
    return found


def _relinked(
    fork: Fork, life: Generation, lives: set[int], known: Mapping[int, tuple[Generation, str, int]]
) -> Fork:
    """The fork from the nearest life that is still there."""
    shared, parent = life.shared, life.parent
    while parent is not None and id(parent) not in lives:
        shared, parent = min(shared, parent.shared), parent.parent
    if parent is None:
        return Fork(fork.file, fork.generation, fork.parent, 0)
    return Fork(fork.file, fork.generation, known[id(parent)][2], shared)


def _bare(snapshot: Snapshot) -> Snapshot:
    return msgspec.structs.replace(snapshot, files=[])

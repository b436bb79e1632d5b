r"""The journal of a session's vault: what it says, line by line, and what follows from it.

A line is `<CRC-32 of the JSON, 8 hex digits> <JSON>\n`; `do` says what kind it is, and each kind is a
class here.  A line that is not what was written is counted and skipped, never believed.

`Fold` reads lines in order and answers what they add up to.  Nothing here touches a file.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import msgspec

from sessionsync.vault.pack import LEVEL
from sessionsync.vault.root import root_of

FORMAT = 2

Natural = Annotated[int, msgspec.Meta(ge=0)]


class _Entry(msgspec.Struct, frozen=True, tag_field="do", omit_defaults=True):
    pass


class Description(_Entry, frozen=True, tag="session", kw_only=True):
    """Whose vault this is."""

    source: str
    session_id: str
    project: str
    project_key: str
    first_seen: float
    meta: dict[str, Any] = {}


class Pack(_Entry, frozen=True, tag="pack"):
    """Which pack the segments lie in: 0 is the first one.  It is the first line, or not there."""

    number: Natural


class Segment(_Entry, frozen=True, tag="segment"):
    """Bytes [offset, offset + length) of a generation: a frame of `packed` bytes at `at` of the pack.

    `root` is theirs, as if they were a file; lines of the format 1 have their `sha256` instead.
    `level` is how hard zstd tried: a merge does not try the same again.
    """

    file: str
    generation: Natural
    offset: Natural
    length: Natural
    at: Natural
    packed: Natural
    level: int = LEVEL
    root: str = ""
    sha256: str = ""

    @property
    def end(self) -> int:
        """The offset just behind it in the file."""
        return self.offset + self.length

    @property
    def packed_end(self) -> int:
        """The offset just behind it in the pack."""
        return self.at + self.packed

    def is_of(self, data: bytes) -> bool:
        """Whether these are its bytes."""
        if self.root:
            return root_of(data) == self.root
        return hashlib.sha256(data).hexdigest() == self.sha256


class Fork(_Entry, frozen=True, tag="fork"):
    """A generation begins: its bytes before `shared` are its parent's."""

    file: str
    generation: Natural
    parent: Natural
    shared: Natural


class Removal(_Entry, frozen=True, tag="remove"):
    """The session dropped a file; its bytes stay."""

    file: str
    at: float


class StoredFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file as it was at a snapshot: the first `length` bytes of `generation`, which have the root `root`.

    `deleted_at` (Unix seconds) says that the session no longer had it.
    """

    name: str
    generation: Natural
    length: Natural
    root: str
    deleted_at: float | None = None


class Snapshot(_Entry, frozen=True, tag="snapshot", kw_only=True):
    """A session at a moment.  `files` are those that differ from the snapshot before.

    `doubtful` is found out when it is read, and kept by a merge: a damaged line before this one may have
    said something about the files that this one does not name, so they may be older than they were.
    """

    id: str
    at: float
    trigger: str
    alias: str = ""
    files: list[StoredFile] = []
    meta: dict[str, Any] = {}
    doubtful: bool = False


class Forget(_Entry, frozen=True, tag="forget"):
    """Snapshots that are no longer kept.  What they said still counts for the later ones."""

    ids: list[str]
    at: float


Entry = Description | Pack | Segment | Fork | Removal | Snapshot | Forget

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


def pack_name(number: int) -> str:
    """The file that the journal's segments lie in."""
    return f"pack-{number}" if number else "pack"


def encode(entry: Entry) -> bytes:
    """The line that says `entry`."""
    try:
        body = _encode(entry)
    except UnicodeEncodeError:  # a file's name need not be UTF-8: its lone surrogates are escaped
        body = json.dumps(msgspec.to_builtins(entry), separators=(",", ":")).encode()
    return b"%08x %b\n" % (zlib.crc32(body), body)


def decode(line: bytes) -> Entry | None:
    """What a line (without its newline) says; None where it is not what was written, or of another format."""
    body = line[9:]
    if line[:9] != b"%08x " % zlib.crc32(body):
        return None
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            entry: Entry = msgspec.convert(json.loads(body), Entry)
        except (ValueError, RecursionError, msgspec.MsgspecError):
            return None
        return entry


def sound_length(tail: bytes) -> int:
    """Given what stands behind the last newline, return how much of it is a line that lacks nothing else.

    0 for a torn line.  A newline that became another byte does not cost the line before it.
    """
    return next((n for n in (len(tail), len(tail) - 1) if n > 0 and decode(tail[:n]) is not None), 0)


class Extent(NamedTuple):
    """Bytes [start, end) of a file come from `segment`."""

    start: int
    end: int
    segment: Segment


@dataclass(eq=False, slots=True)
class Generation:
    """One life of a file: what it shares with a life before, and its own segments in journal order.

    `lines` are the journal's line numbers of `segments`; at line `born` the parent was what is shared.
    """

    parent: Generation | None = None
    shared: int = 0
    born: int = 0
    segments: list[Segment] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def extents(self, end: int, line: int) -> list[Extent]:
        """Where the bytes before `end` lie, as the journal said at `line`; gaps are left out.

        Where two segments cover the same bytes the later line counts: after a crash a file may go on
        differently from where the last committed position was.  Gaps are filled from behind `line`,
        the earliest first: what was lost may have been stored again.
        """
        lives: list[tuple[Generation, int, int]] = []
        life: Generation | None = self
        while life is not None:
            lives.append((life, end, line))
            end, line = min(end, life.shared), min(line, life.born)
            life = life.parent
        timely: list[Extent] = []
        late: list[Extent] = []
        for generation, stop, until in reversed(lives):
            known = bisect.bisect_right(generation.lines, until)
            for number, segment in enumerate(generation.segments):
                if segment.offset < stop and segment.length:
                    extent = Extent(segment.offset, min(segment.end, stop), segment)
                    (timely if number < known else late).append(extent)
        extents = _painted(timely)
        return extents if not late or _reach(extents) >= lives[0][1] else _painted(late[::-1] + timely)

    def adds_nothing_before(self, end: int) -> bool:
        """Whether all bytes before `end` are the parent's."""
        return self.shared >= end and all(segment.offset >= end for segment in self.segments)

    def covering(self, position: int) -> Iterator[tuple[Segment, int]]:
        """Every segment that holds this byte, the likeliest first, and up to where it may be used."""
        life: Generation | None = self
        end = 2**63
        while life is not None and position < end:
            for segment in reversed(life.segments):
                if segment.offset <= position < segment.end:
                    yield segment, min(segment.end, end)
            end = min(end, life.shared)
            life = life.parent

    def reach(self, line: int) -> int:
        """How many bytes from the start are there without a gap."""
        return _reach(self.extents(2**63, line))


def _painted(layers: Iterable[Extent]) -> list[Extent]:
    """What is seen of extents laid one over the other, sorted."""
    seen: list[Extent] = []
    for new in layers:
        behind: list[Extent] = []
        while seen and seen[-1].end > new.start:  # rarely: nearly every segment comes last
            old = seen.pop()
            if old.end > new.end:
                behind.append(old._replace(start=max(old.start, new.end)))
            if old.start < new.start:
                seen.append(old._replace(end=new.start))
                break
        seen.append(new)
        seen.extend(reversed(behind))
    return seen


def _reach(extents: Iterable[Extent]) -> int:
    position = 0
    for extent in extents:
        if extent.start > position:
            break
        position = extent.end
    return position


@dataclass(slots=True)
class Fold:
    """What the lines so far add up to.

    `pack_bytes` is how long the pack is: what a line says of bytes behind that is not there.
    `damaged` counts lines that were not what was written.  `newest` is a file's newest generation.
    `forgotten` are places in `changes`, `stored` the segments in the order of the pack.
    """

    pack_bytes: int
    line: int = 0
    damaged: int = 0
    pack: int = 0
    description: Description | None = None
    generations: dict[tuple[str, int], Generation] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    changes: list[Snapshot | Removal] = field(default_factory=list)
    forgotten: set[int] = field(default_factory=set)
    stated: dict[tuple[str, int, int], dict[str, tuple[Generation, int]]] = field(default_factory=dict)
    stored: list[tuple[Segment, Generation]] = field(default_factory=list)

    def feed(self, lines: Iterable[bytes]) -> None:
        """Read the next whole lines, without their newlines."""
        for text in lines:
            self.take(decode(text))

    def take(self, entry: Entry | None) -> None:
        """Take in what the next line says; None for a damaged one."""
        self.line += 1
        match entry:
            case Segment() as segment:
                self._segment(segment)
            case Fork() as fork:
                self._fork(fork)
            case Snapshot() as snapshot:
                is_as_told = snapshot.doubtful or not self.damaged
                self.changes.append(
                    snapshot if is_as_told else msgspec.structs.replace(snapshot, doubtful=True)
                )
                for file in snapshot.files:
                    self._state(file)
            case Removal() as removal:
                self.changes.append(removal)
            case Description() as description:
                self.description = self.description or description
            case Forget() as forget:
                ids = set(forget.ids)
                self.forgotten.update(
                    n for n, c in enumerate(self.changes) if isinstance(c, Snapshot) and c.id in ids
                )
            case Pack() as pack:
                self.pack = pack.number
            case None:
                self.damaged += 1

    def snapshots(self) -> list[Snapshot]:
        """The snapshots in the order in which they were made; of two with one id the later counts."""
        return [self.changes[n] for n in self.kept()]  # type: ignore[misc]  # only snapshots are kept

    def kept(self) -> list[int]:
        """Where in `changes` the snapshots are that count."""
        found: dict[str, int] = {}
        for n, change in enumerate(self.changes):
            if isinstance(change, Snapshot) and n not in self.forgotten:
                found.pop(change.id, None)
                found[change.id] = n
        return list(found.values())

    def files(self, at_snapshot: str | None) -> dict[str, StoredFile] | None:
        """The session's files at a snapshot, or now; None where there is no such snapshot."""
        last = len(self.changes)
        if at_snapshot is not None:
            named = (
                n
                for n, c in enumerate(self.changes, 1)
                if isinstance(c, Snapshot) and c.id == at_snapshot and n - 1 not in self.forgotten
            )
            last = max(named, default=-1)
            if last < 0:
                return None
        files: dict[str, StoredFile] = {}
        for change in self.changes[:last]:
            match change:
                case Snapshot():
                    files.update((file.name, file) for file in change.files)
                case Removal() if change.file in files:
                    files[change.file] = msgspec.structs.replace(files[change.file], deleted_at=change.at)
                case _:
                    pass
        return files

    def as_stated(
        self, name: str, generation: int, length: int, root: str
    ) -> tuple[Generation | None, int, str]:
        """The generation, line and root that a snapshot meant by this, the newest one without `root`.

        What no snapshot stated is read as it is now.
        """
        roots = self.stated.get((name, generation, length), {})
        root = root or next(reversed(roots), "")
        if root in roots:
            return *roots[root], root
        return self.generations.get((name, generation)), self.line, root

    def _state(self, file: StoredFile) -> None:
        roots = self.stated.setdefault((file.name, file.generation, file.length), {})
        roots.pop(file.root, None)
        roots[file.root] = self._generation(file.name, file.generation), self.line

    def _generation(self, name: str, number: int) -> Generation:
        self.newest[name] = max(number, self.newest.get(name, 0))
        return self.generations.setdefault((name, number), Generation())

    def _segment(self, segment: Segment) -> None:
        if segment.packed_end > self.pack_bytes:
            return
        # The pack only grows: where an older line says that something else lies there, that was lost.
        while self.stored and self.stored[-1][0].packed_end > segment.at:
            lost, generation = self.stored.pop()
            index = generation.segments.index(lost)
            del generation.segments[index], generation.lines[index]
        generation = self._generation(segment.file, segment.generation)
        generation.segments.append(segment)
        generation.lines.append(self.line)
        self.stored.append((segment, generation))

    def _fork(self, fork: Fork) -> None:
        born = self.line
        parent = self.generations.get((fork.file, fork.parent))
        while parent is not None and parent.adds_nothing_before(fork.shared):
            born = min(born, parent.born)  # all that is shared is older still
            parent = parent.parent
        self._generation(fork.file, fork.generation)
        self.generations[fork.file, fork.generation] = Generation(parent, fork.shared, born)

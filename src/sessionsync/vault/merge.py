"""A session's pack and journal written anew, smaller, beside the old ones, and put in their place at once.

    plan ─▶ pack-<n+1> ─▶ journal.part ─▶ both durable ─▶ rename to journal ─▶ away with pack-<n>

The journal names its pack, so one rename changes both: killed anywhere, the old pair or the new one
counts, and the other is dead weight that the next merge or `gc` removes.  Readers keep what they have
open; one that opens the old journal and then misses its pack reads the new one.

A session goes on while this is prepared, so what was written since is taken over at the commit.  Else one
that never rests would be merged by chance, and whoever reads its journal reads all of it.

Every frame is checked before it is written again, and read back.  Damaged frames stay as they are,
unless their very bytes lie elsewhere in the pack; then they are set aside in files of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from sessionsync.errors import CopyMismatch
from sessionsync.vault import journal
from sessionsync.vault.batch import lines, pack_number, pack_number_in
from sessionsync.vault.folder import BLOCK_BYTES, Folder, open_regular, read_at, sync, translated, write_at
from sessionsync.vault.frames import Frames
from sessionsync.vault.journal import Entry, Forget, Fork, Removal, Segment, Snapshot, pack_name
from sessionsync.vault.mend import is_sound, mended
from sessionsync.vault.pack import Dictionaries, Packer, Unpacker
from sessionsync.vault.plan import ALL, Block, History, Plan, make
from sessionsync.vault.root import root_of
from sessionsync.vault.turns import Turns

JOURNAL = "journal"
DRAFT = "journal.part"
# What mending keeps of a journal, by its time.
DAMAGED_JOURNAL = re.compile(r"damaged-journal-\d{8}T\d{6}Z")
# Damaged frames may turn up one after the other; each time the plan is made anew.
_PLANS = 20


@dataclass(slots=True, weakref_slot=True)
class Merge:
    """One session's merge.  `prepare` may run beside the one who writes, `commit` is that one's.

    Of two at once both would write the same files, so while one has its turn another one finds nothing to do.
    `besides` are generations by file that somebody goes on from; `cold` sessions are compressed
    further; `force` writes anew also where it does not pay.  `kept_as` does so also where lines of the
    journal are damaged, and keeps the old pair under names that end so.
    """

    folder: Path
    tree: Folder
    dictionaries: Dictionaries
    turns: Turns[Path, Merge]
    besides: Mapping[str, int]
    cold: bool = False
    force: bool = False
    kept_as: str = ""
    why: str = ""
    """Why there is nothing to commit."""
    frames: tuple[int, int] = (0, 0)
    """How many there were, and are."""
    packed_bytes: tuple[int, int] = (0, 0)
    raw_bytes: int = 0
    damaged: dict[Segment, Segment | None] = field(default_factory=dict)
    """Segments, each with another that holds its bytes, where there is one."""
    _read: _Read | None = None
    _old: int = 0
    _gone: set[tuple[str, int]] = field(default_factory=set)
    """Generations of which not every byte was kept: what is written meanwhile must not go on from them."""

    def prepare(self) -> Generator[int, None, None]:
        """Write the new pair beside the old one; yields the bytes that were just moved, to be paced.

        Afterwards `why` is empty where there is something to commit.

        Raises:
            CopyError: it could not be read or written.
        """
        if not self.turns.take(self.folder, self):
            self.why = "it is being merged already"
            return
        self.why = "there is nothing to merge"
        with ExitStack() as held, translated(self.folder):
            try:
                old = held.enter_context(self.tree.reading(self.folder / JOURNAL))
                self._old = pack_number(self.tree, self.folder, old)
                pack = held.enter_context(self.tree.reading(self.folder / pack_name(self._old)))
                self._read = _Read.of(old)
                # after that: what those lines name is in it
                history = History(lines(old, self._read.size), os.fstat(pack).st_size, self._old)
                yield from self._write(history, Frames(pack, Unpacker(self.dictionaries)))
            except FileNotFoundError:
                return
            finally:
                if self.why:
                    self._end()

    def commit(self) -> bool:
        """Put the new pair in the old one's place; False where that is not the one which was read.

        What was written behind that is taken over first, which costs two flushes and a copy of it.

        Raises:
            CopyError: it could not be done.
        """
        with translated(self.folder):
            is_whole = False
            try:
                is_whole = not self.why and self._catch_up()
                if is_whole:
                    self._put_in_place()
            finally:
                self._end(discard=not is_whole)
            return is_whole

    def _put_in_place(self) -> None:
        with self.tree.directory(self.folder) as folder:
            if self.kept_as:
                for name in (JOURNAL, pack_name(self._old)):
                    kept = f"damaged-{name}-{self.kept_as}"
                    os.link(name, kept, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            sync(folder)  # the new pack has its name before anything names it
            os.rename(DRAFT, JOURNAL, src_dir_fd=folder, dst_dir_fd=folder)
            sync(folder)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(pack_name(self._old), dir_fd=folder)

    def _end(self, *, discard: bool = True) -> None:
        """Let others merge the session; the new pair is gone, where it is to be discarded."""
        is_ours, self._read = self._read is not None, None
        try:
            if is_ours and discard:
                self._discard()
        finally:
            self.turns.end(self.folder, self)

    def _write(self, history: History, frames: Frames) -> Iterator[int]:
        if history.fold.damaged and not self.kept_as:
            self.why = "its journal is damaged"
            return
        for _ in range(_PLANS):
            plan = make(
                history, pack=self._old + 1, besides=self.besides, cold=self.cold, damaged=self.damaged
            )
            if not (self.force or self.kept_as or plan.pays()):
                return
            if not plan.holds():
                self.why = "its journal says one thing in two ways"
                return
            hurt: list[Segment] = []
            with ExitStack() as held:
                pack = held.enter_context(self._new(pack_name(self._old + 1)))
                writer = _Writer(frames, pack, self.dictionaries)
                entries: list[Entry] = []
                for entry in plan.entries:
                    if not isinstance(entry, Block):
                        entries.append(entry)
                        continue
                    segment = writer.write(entry, hurt)
                    if segment is not None:
                        entries.append(segment)
                    yield writer.moved_bytes
                new = set(hurt) - self.damaged.keys()
                if not new:
                    sync(pack)
                    self._finish(plan, writer, entries, frames)
                    return
                self.damaged |= _twins(frames, new, (segment for segment, _ in history.fold.stored))
        self.why = "too much of it is damaged"

    def _finish(self, plan: Plan, writer: _Writer, entries: list[Entry], frames: Frames) -> None:
        for segment in plan.dropped:
            with self._new(f"damaged-{self._old}-{segment.at}") as aside:
                write_at(aside, 0, frames.packed(segment))
                sync(aside)
        with self._new(DRAFT) as draft:
            write_at(draft, 0, b"".join(map(journal.encode, entries)))
            sync(draft)
        self.frames = len(plan.history.fold.stored), len(plan.blocks)
        self.packed_bytes = plan.history.fold.pack_bytes, writer.at
        self.raw_bytes = writer.raw_bytes
        whole = {(name, generation) for name, generation, length, _ in plan.wanted if length == ALL}
        self._gone = plan.history.fold.generations.keys() - whole
        self.why = ""

    @contextlib.contextmanager
    def _new(self, name: str) -> Iterator[int]:
        with self.tree.directory(self.folder) as folder:
            with contextlib.suppress(FileNotFoundError):  # of a merge that was killed
                os.unlink(name, dir_fd=folder)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            descriptor = open_regular(self.folder / name, folder, flags)
        try:
            os.fchmod(descriptor, 0o600)
            yield descriptor
        finally:
            os.close(descriptor)

    def _catch_up(self) -> bool:
        """Take over what was written since it was read; False where the journal does not go on from there."""
        with contextlib.suppress(FileNotFoundError), ExitStack() as held:  # the session lies elsewhere now
            old = held.enter_context(self.tree.reading(self.folder / JOURNAL))
            if self._read is None or not self._read.is_begin_of(old):
                return False
            since = read_at(old, self._read.size, os.fstat(old).st_size)
            if not since:
                return True
            # a journal that is mended is kept beside the new one, as it was when it was read
            if self.kept_as:
                return False
            pack = held.enter_context(self.tree.reading(self.folder / pack_name(self._old)))
            return self._go_on(since, Frames(pack, Unpacker(self.dictionaries)))
        return False

    def _go_on(self, since: bytes, frames: Frames) -> bool:
        """Write what these lines say behind the new pair; False where it does not all hold there.

        Nor does it where no line had ended when it was read: then what is there since begins with none.
        """
        *said, torn = since.split(b"\n")
        entries = [journal.decode(line) for line in said]
        if torn or not all(self._holds(entry) for entry in entries):
            return False
        at = self.packed_bytes[1]
        with self._made(pack_name(self._old + 1)) as pack:
            for number, entry in enumerate(entries):
                if isinstance(entry, Segment):
                    frame = frames.packed(entry)
                    if frames.opened(frame, entry) is None:
                        return False
                    write_at(pack, at, frame)
                    entries[number] = msgspec.structs.replace(entry, at=at)
                    at += len(frame)
            sync(pack)
        with self._made(DRAFT) as draft:
            told = b"".join(journal.encode(entry) for entry in entries if entry is not None)
            write_at(draft, os.fstat(draft).st_size, told)
            sync(draft)
        return True

    def _holds(self, entry: Entry | None) -> bool:
        """Whether what a line behind those that were read says is as true behind the merged ones."""
        match entry:
            case Segment():
                return (entry.file, entry.generation) not in self._gone
            case Fork():
                is_whole = (entry.file, entry.parent) not in self._gone
                self._gone.discard((entry.file, entry.generation))  # it begins anew
                return is_whole
            case Snapshot():
                return not any((file.name, file.generation) in self._gone for file in entry.files)
            case Removal() | Forget():
                return True
            case _:
                return False

    @contextlib.contextmanager
    def _made(self, name: str) -> Iterator[int]:
        """A file of the new pair, to be gone on with."""
        with self.tree.directory(self.folder) as folder:
            descriptor = open_regular(self.folder / name, folder, os.O_RDWR)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _discard(self) -> None:
        for name in (DRAFT, pack_name(self._old + 1)):
            with contextlib.suppress(FileNotFoundError), self.tree.directory(self.folder) as folder:
                os.unlink(name, dir_fd=folder)


class _Writer:
    """Writes blocks one behind the other into the new pack."""

    def __init__(self, frames: Frames, pack: int, dictionaries: Dictionaries) -> None:
        self.at = 0
        self.raw_bytes = 0
        self.moved_bytes = 0
        """Read and written for the last block."""
        self._frames = frames
        self._pack = pack
        self._unpacker = Unpacker(dictionaries)
        self._packers: dict[int, Packer] = {}

    def write(self, block: Block, hurt: list[Segment]) -> Segment | None:
        """Write a block as a segment; None where it would take a damaged one, which `hurt` then names."""
        packed = [self._frames.packed(piece.segment) for piece in block.pieces]
        self.moved_bytes = sum(map(len, packed))
        data = bytearray()
        sound = True
        for piece, frame in zip(block.pieces, packed, strict=True):
            raw = self._frames.opened(frame, piece.segment)
            if raw is None:
                hurt.append(piece.segment)
                sound = False
            else:
                offset = piece.segment.offset
                data += raw[piece.start - offset : piece.end - offset]
        if block.is_copy():
            return self._put(packed[0], block, block.pieces[0].segment)
        if not sound:
            return None
        frame, root = self._packed(bytes(data), block.level), root_of(data)
        made = Segment(block.file, block.generation, block.start, len(data), 0, 0, block.level, root)
        return self._put(frame, block, made)

    def _put(self, frame: bytes, block: Block, like: Segment) -> Segment:
        """Write a frame that holds the same bytes as this segment, wherever they lie."""
        write_at(self._pack, self.at, frame)
        place = {"file": block.file, "generation": block.generation, "offset": block.start}
        segment = msgspec.structs.replace(like, **place, at=self.at, packed=len(frame))
        self.at += len(frame)
        self.raw_bytes += segment.length
        self.moved_bytes += len(frame)
        return segment

    def _packed(self, data: bytes, level: int) -> bytes:
        packer = self._packers.setdefault(level, Packer(level))
        frame = packer.pack(data)
        if self._unpacker.unpack(frame, len(data)) != data:
            raise CopyMismatch(
                "What was packed does not unpack to the same bytes.",
                hint="It is tried again; if it stays, test this machine's memory.",
            )
        return frame


def _twins(
    frames: Frames, damaged: Collection[Segment], stored: Iterable[Segment]
) -> dict[Segment, Segment | None]:
    """Of each damaged segment a sound one that lies where it does in its file, and holds its bytes."""
    there: dict[tuple[str, int, int, int], list[Segment]] = defaultdict(list)
    for other in stored:
        if other not in damaged:
            there[_place(other)].append(other)

    found = {segment: frames.twin(segment, there[_place(segment)]) for segment in damaged}
    return {segment: None if twin is None else twin[0] for segment, twin in found.items()}


def _place(segment: Segment) -> tuple[str, int, int, int]:
    return segment.file, segment.generation, segment.offset, segment.length


class _Read(NamedTuple):
    """So much of a journal as was read: which file, how many bytes, and their hash."""

    inode: int
    size: int
    sha256: bytes

    @classmethod
    def of(cls, descriptor: int) -> Self:
        """All that there is now."""
        status = os.fstat(descriptor)
        return cls(status.st_ino, status.st_size, _sha256(descriptor, status.st_size))

    def is_begin_of(self, descriptor: int) -> bool:
        """Whether the open journal is this one, and has these bytes: what was not flushed is cut again."""
        status = os.fstat(descriptor)
        is_there = status.st_ino == self.inode and status.st_size >= self.size
        return is_there and _sha256(descriptor, self.size) == self.sha256


def _sha256(descriptor: int, size: int) -> bytes:
    running = hashlib.sha256()
    for start in range(0, size, BLOCK_BYTES):
        running.update(read_at(descriptor, start, min(start + BLOCK_BYTES, size)))
    return running.digest()


def leftovers(tree: Folder, folder: Path, before: float) -> dict[Path, int]:
    """What killed merges and mending left in a session's folder, last changed before `before`; sizes by path.

    None where the journal does not clearly say which pack counts.

    Raises:
        OSError: it cannot be read.
    """
    with tree.reading(folder / JOURNAL) as descriptor:
        first = next(lines(descriptor), b"")
        counts = pack_name(number := pack_number(tree, folder, descriptor))
    if journal.decode(first) is None or not (found := tree.files(folder)).get(counts):
        return {}
    return {
        folder / name: status.st_size
        for name, status in found.items()
        if name != counts
        and status.st_mtime < before
        and (name == DRAFT or _is_of_merge(name, number) or _is_of_mending(tree, folder, name))
    }


def _is_of_merge(name: str, number: int) -> bool:
    """Whether a merge made this pack: one that was replaced, or the next; any other is somebody's."""
    made = pack_number_in(name)
    return made is not None and made <= number + 1


def _is_of_mending(tree: Folder, folder: Path, name: str) -> bool:
    """Whether this is a journal as it was before it was mended, and all it said is in the one that counts.

    One that was damaged beyond that is the only one that may still tell what it said.
    """
    return (
        DAMAGED_JOURNAL.fullmatch(name) is not None
        and is_sound(_content(tree, folder / JOURNAL))
        and is_sound(mended(_content(tree, folder / name)))
    )


def _content(tree: Folder, file: Path) -> bytes:
    with tree.reading(file) as descriptor:
        return read_at(descriptor, 0, os.fstat(descriptor).st_size)

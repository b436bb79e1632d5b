"""What is written to the vault between two flushes, and how it becomes durable all at once.

Where there are other hands, long segments are packed while the caller goes on.  A frame goes into its pack
at once, or as soon as somebody must see it; the line that names it is held back.  `commit` makes the packs
durable, and only then writes the lines and makes them durable.  Killed before, none of it was ever there:
bytes in a pack that no line names are dead weight.  A torn last line, and nothing else, is cut off before
the next line is written.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sessionsync.errors import CopyError, CopyMismatch
from sessionsync.events import Emit
from sessionsync.hands import Hands, each
from sessionsync.linewise import Linewise
from sessionsync.vault import journal
from sessionsync.vault.disk import Disk
from sessionsync.vault.folder import MANY, Folder, closing, open_regular, read_at, sync, translated, write_at
from sessionsync.vault.journal import Entry, Segment
from sessionsync.vault.mend import corrected
from sessionsync.vault.pack import Damaged, Dictionaries, Packer, Unpacker
from sessionsync.vault.root import root_of

# How much of a journal is read at a time.
BLOCK_BYTES = 64 * 1024
# So much may wait for being packed: each of it is in memory until then.
PACKING_BYTES = 8 * 1024 * 1024
# Less is packed in less time than it takes to hand it out.
LEAST_SHARED_BYTES = 64 * 1024
# What the line that names the pack fits into.
HEAD_BYTES = 128


class Framed(NamedTuple):
    """A frame, and the root of what is in it."""

    frame: bytes
    root: str


@dataclass(slots=True, eq=False)
class Packing:
    """Segments that are being packed: neighbours of a file's generation, from `offset` on."""

    file: str
    generation: int
    offset: int
    lengths: list[int]
    framed: Iterator[Framed]


@dataclass(slots=True, eq=False)
class Pending:
    """What was written of one session and is not committed yet.

    `lines` can be read, `behind` are those that wait for segments before them, which `failed` to be stored.
    """

    session: str
    lines: list[bytes] = field(default_factory=list)
    behind: list[bytes | Packing] = field(default_factory=list)
    pack: Path | None = None
    failed: CopyError | None = None


class Batch:
    """Everything written since the last commit.  For one thread, but `pending` is anybody's."""

    def __init__(self, tree: Folder, dictionaries: Dictionaries, emit: Emit, hands: Hands) -> None:
        self._tree = tree
        self._disk = Disk(tree.path)
        self._hands = hands
        self._packer, self._unpacker = Packer(), Unpacker(dictionaries)
        self._emit = emit
        self._sessions: dict[Path, Pending] = {}
        self._packing: deque[tuple[Path, int]] = deque()
        self.locked = False
        self.refusal: CopyError | None = None
        """Why the lock cannot be had; without one, writing without it is a mistake in the program."""

    def pending(self, folder: Path) -> Pending | None:
        """What the session in `folder` has not committed yet."""
        return self._sessions.get(folder)

    def add(self, folder: Path, session: str, entry: Entry) -> None:
        """Hold a line of the journal in `folder`."""
        pending = self._of(folder, session)
        (pending.behind or pending.lines).append(journal.encode(entry))

    def pack(
        self,
        folder: Path,
        session: str,
        file: str,
        generation: int,
        offset: int,
        parts: Sequence[bytes],
        root: str = "",
        *,
        proves: bool = True,
    ) -> None:
        """Have the `parts` of a file's generation from `offset` on stored, a segment each.

        Of a single one the caller may know the `root` already.  If this `proves` it, each frame is seen to
        unpack to the same bytes.

        What is worth it other hands do, meanwhile: no more than so much at a time, what was begun first is
        then waited for.

        Raises:
            CopyError: it could not be written or verified, and nothing of it is stored; or what other hands
                did of the session before could not be.
        """
        pending = self._of(folder, session)
        if pending.failed is not None:
            raise pending.failed
        lengths = [len(part) for part in parts]
        hands = map if sum(lengths) < LEAST_SHARED_BYTES else self._hands
        step = partial(self._framed, folder, root=root if len(parts) == 1 else "", proves=proves)
        framed = iter(hands(step, parts))
        packing = Packing(file, generation, offset, lengths, framed)
        if hands is map:
            self.settle(folder)
            self._put(folder, pending, [packing])
            return
        pending.behind.append(packing)
        self._packing.append((folder, sum(lengths)))
        while sum(length for _, length in self._packing) > PACKING_BYTES:
            self._finish(self._packing[0][0])

    def settle(self, folder: Path) -> None:
        """Wait for what is being packed of a session, so that it can be read.

        Raises:
            CopyError: it could not be written or verified: nothing of the session can be committed.
        """
        self._finish(folder)
        pending = self._sessions.get(folder)
        if pending is not None and pending.failed is not None:
            raise pending.failed

    def _finish(self, folder: Path) -> None:
        """Write what is being packed of a session; where that fails, all that comes after it is in vain."""
        self._packing = deque(other for other in self._packing if other[0] != folder)
        pending = self._sessions.get(folder)
        if pending is None or not pending.behind:
            return
        behind, pending.behind = pending.behind, []
        pending.failed = CopyError(
            f"What was packed for {folder} was not written.", hint="It is tried again."
        )
        try:
            self._put(folder, pending, behind)
        except CopyError as problem:
            pending.failed = problem
        else:
            pending.failed = None

    def _put(self, folder: Path, pending: Pending, entries: Sequence[bytes | Packing]) -> None:
        """Write what is packed into the pack, and hold the lines that say so, and those between them."""
        framed = [one for entry in entries if isinstance(entry, Packing) for one in entry.framed]
        pack = pending.pack or self._pack_of(folder)
        at = self._append(pack, b"".join([one.frame for one in framed]))
        pending.pack = pack
        done = iter(framed)
        for entry in entries:
            if isinstance(entry, Packing):
                for segment in _segments(entry, at, done):
                    pending.lines.append(journal.encode(segment))
                    at = segment.packed_end
            else:
                pending.lines.append(entry)

    def _append(self, pack: Path, frames: bytes) -> int:
        """Append to a pack; returns where."""
        self._check_lock()
        with translated(pack), self._tree.writing(pack) as descriptor:
            self._disk.will_change(descriptor)
            at = os.fstat(descriptor).st_size
            try:
                write_at(descriptor, at, frames)  # it reads them back and compares
                self._disk.has_changed(descriptor, at, len(frames))
            except BaseException:
                with contextlib.suppress(OSError):  # what no line names does no harm
                    os.ftruncate(descriptor, at)
                raise
        return at

    def commit(self) -> tuple[int, dict[str, CopyError]]:
        """Make it all durable; returns the number of sessions, and with which it could not be done.

        Of those it is as if nothing had been written.
        """
        failed: dict[str, CopyError] = {}
        try:
            self._try_all(map, self.settle, failed)
            if not self._commit_at_once(failed):
                self._try_all(self._hands, self._commit, failed)
                with translated(self._tree.path):
                    self._tree.flush(self._hands)
            committed = len(self._sessions)
        finally:
            self.drop()
        return committed, failed

    def _try_all(self, hands: Hands, step: Callable[[Path], object], failed: dict[str, CopyError]) -> None:
        """Do a step of the commit with each session; those with which it cannot be done are let go."""
        folders = list(self._sessions)
        for folder, problem in zip(folders, each(hands, step, folders), strict=True):
            if isinstance(problem, CopyError):
                failed[self._sessions.pop(folder).session] = problem
            elif problem is not None:
                raise problem

    def _commit_at_once(self, failed: dict[str, CopyError]) -> bool:
        """Make all packs durable, then write all lines, and make those durable; False where that is not sure.

        Lines that were written are written again then, which says the same.
        """
        if len(self._sessions) < MANY or not self._disk.sync():
            return False
        self._try_all(map, partial(self._commit, is_synced=True), failed)
        if not self._disk.sync():
            return False
        self._tree.flushed()
        return True

    def drop(self) -> None:
        """Forget what is not committed, and the tools that only a burst of work needs: megabytes each."""
        self._sessions = {}
        self._packing.clear()
        self._disk.rest()
        self._packer.rest()
        self._unpacker.rest()

    def _of(self, folder: Path, session: str) -> Pending:
        if not self.locked and self.refusal is None:
            raise RuntimeError("the vault is written without its lock")
        return self._sessions.setdefault(folder, Pending(session))

    def _check_lock(self) -> None:
        if not self.locked and self.refusal is not None:
            raise self.refusal

    def _framed(self, folder: Path, data: bytes, *, root: str, proves: bool) -> Framed:
        """`data` as a frame that unpacks to it again, and its root.  Any thread."""
        frame = self._packer.pack(data)
        with contextlib.suppress(Damaged):
            if not proves or self._unpacker.unpack(frame, len(data)) == data:
                return Framed(frame, root or root_of(data))
        raise CopyMismatch(
            f"What was packed for {folder} does not unpack to the same bytes.",
            hint="It is tried again; if it stays, test this machine's memory.",
        )

    def _pack_of(self, folder: Path) -> Path:
        with translated(folder):
            if not os.path.lexists(f"{folder}/journal"):  # as of every session that is new
                return folder / journal.pack_name(0)
            try:
                with self._tree.reading(folder / "journal") as descriptor:
                    return folder / journal.pack_name(pack_number(self._tree, folder, descriptor))
            except FileNotFoundError:
                return folder / journal.pack_name(0)

    def _commit(self, folder: Path, *, is_synced: bool = False) -> None:
        """Make a session's pack durable, and only then write the lines that speak of it, and make them so.

        What `is_synced` whole is made durable by the caller.
        """
        pending = self._sessions[folder]
        if pending.pack is None and not pending.lines:
            return
        self._check_lock()
        with translated(folder), self._tree.directory(folder, create=pending.pack is None) as parent:
            if pending.pack is not None and not is_synced:
                with closing(open_regular(pending.pack, parent, os.O_RDONLY)) as pack:
                    sync(pack)
            if pending.lines:
                with closing(self._tree.open(folder / "journal", parent)) as descriptor:
                    if is_synced:
                        self._disk.will_change(descriptor)
                    self._write_lines(descriptor, pending, is_synced=is_synced)
            if not is_synced:
                self._tree.sync_names(folder, parent)

    def _write_lines(self, descriptor: int, pending: Pending, *, is_synced: bool) -> None:
        size = os.fstat(descriptor).st_size
        end, closed = _end_of_lines(descriptor, size)
        if end < size:
            os.ftruncate(descriptor, end)
            self._emit("vault_tail_cut", session=pending.session, bytes=size - end)
        try:
            write_at(descriptor, end, b"".join(pending.lines if closed else [b"\n", *pending.lines]))
            if not is_synced:
                sync(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):  # else the next commit cuts what is torn
                os.ftruncate(descriptor, end)
            raise


def _segments(packing: Packing, at: int, framed: Iterator[Framed]) -> Iterator[Segment]:
    """The lines that say where the frames of `packing` lie, which begin at `at` of the pack."""
    offset = packing.offset
    for length, (frame, root) in zip(packing.lengths, framed, strict=False):
        yield Segment(packing.file, packing.generation, offset, length, at, len(frame), root=root)
        offset += length
        at += len(frame)


def pack_number(tree: Folder, folder: Path, descriptor: int) -> int:
    """Which pack the journal, open at `descriptor`, speaks of.  Costs one read of its first line.

    Where that line is damaged beyond mending it is the pack with the highest number that is there.
    """
    head = read_at(descriptor, 0, HEAD_BYTES)
    first, newline, _ = head.partition(b"\n")
    # a newline that became another byte does not cost the line before it
    for line in (first, head[: head.find(b"}") + 1]):
        match journal.decode(line):
            case journal.Pack(number):
                return number
            case None:
                continue
            case _:
                return 0
    if not newline:
        return 0  # the line that names a pack is a short one
    said = journal.decode(corrected(first) or b"")
    if isinstance(said, journal.Pack):
        return said.number
    return max(packs(tree, folder), default=0) if said is None else 0


def packs(tree: Folder, folder: Path) -> list[int]:
    """The numbers of the packs in a session's folder, whether or not its journal speaks of them."""
    names = tree.files(folder)
    return [number for name in names if (number := pack_number_in(name)) is not None]


def pack_number_in(name: str) -> int | None:
    """The number in a pack's name; None where it is no pack's."""
    head, _, tail = name.partition("-")
    number = int(tail) if tail.isascii() and tail.isdecimal() and len(tail) < 10 else 0
    return number if head == "pack" and name == journal.pack_name(number) else None


def lines(descriptor: int, size: int | None = None) -> Iterator[bytes]:
    """The journal's lines without their newlines, of its first `size` bytes; a torn last one is left out."""
    cut, position = Linewise(), 0
    end = sys.maxsize if size is None else size
    while block := read_at(descriptor, position, min(position + BLOCK_BYTES, end)):
        position += len(block)
        yield from cut.feed(block).split(b"\n")[:-1]
    rest = cut.rest()
    if sound := journal.sound_length(rest):
        yield rest[:sound]


def _end_of_lines(descriptor: int, size: int) -> tuple[int, bool]:
    """Where the journal's sound lines end, and whether with a newline.  Costs one read of one byte."""
    if not size or read_at(descriptor, size - 1, size) == b"\n":
        return size, True
    start, pieces = size, [b""]
    while start and b"\n" not in pieces[-1]:
        begin = max(0, start - BLOCK_BYTES)
        pieces.append(read_at(descriptor, begin, start))
        start = begin
    rest = b"".join(reversed(pieces)).rpartition(b"\n")[2]
    sound = journal.sound_length(rest)
    return size - len(rest) + sound, not sound

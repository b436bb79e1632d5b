"""What is written to the vault between two flushes, and how it becomes durable all at once.

A frame goes into its pack at once, the line that names it is held back.  `commit` makes the packs
durable, and only then writes the lines and makes them durable.  Killed before, none of it was ever
there: bytes in a pack that no line names are dead weight.  A torn last line, and nothing else, is cut
off before the next line is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sessionsync.errors import CopyError, CopyMismatch
from sessionsync.events import Emit
from sessionsync.hands import Hands, each
from sessionsync.vault import journal
from sessionsync.vault.folder import Folder, closing, open_regular, read_at, sync, translated, write_at
from sessionsync.vault.journal import Entry
from sessionsync.vault.mend import corrected
from sessionsync.vault.pack import Damaged, Dictionaries, Packer, Unpacker

# How much of a journal is read at a time.
BLOCK_BYTES = 64 * 1024
# What the line that names the pack fits into.
HEAD_BYTES = 128


@dataclass(slots=True, eq=False)
class Pending:
    """What was written of one session and is not committed yet."""

    session: str
    lines: list[bytes] = field(default_factory=list)
    pack: Path | None = None


class Packed(NamedTuple):
    """Where a frame lies in the pack, its length, and the SHA-256 of what is in it."""

    at: int
    packed: int
    sha256: str


class Batch:
    """Everything written since the last commit.  For one thread, but `pending` is anybody's."""

    def __init__(self, tree: Folder, dictionaries: Dictionaries, emit: Emit, hands: Hands) -> None:
        self._tree = tree
        self._hands = hands
        self._dictionaries = dictionaries
        self._emit = emit
        # one a hand that packs: none of them may be used by two at once
        self._tools: deque[tuple[Packer, Unpacker]] = deque()
        self._sessions: dict[Path, Pending] = {}
        self.locked = False

    def pending(self, folder: Path) -> Pending | None:
        """What the session in `folder` has not committed yet."""
        return self._sessions.get(folder)

    def add(self, folder: Path, session: str, entry: Entry) -> None:
        """Hold a line of the journal in `folder`."""
        self._of(folder, session).lines.append(journal.encode(entry))

    def pack(self, folder: Path, session: str, parts: Sequence[bytes]) -> list[Packed]:
        """Append a frame for each of `parts` to the pack in `folder`; returns what became of them.

        Raises:
            CopyError: one could not be written or verified; the pack is as it was.
        """
        pending = self._of(folder, session)
        file = pending.pack or self._pack_of(folder)
        # handing out a single one would only cost time
        hands = map if len(parts) == 1 else self._hands
        framed = list(hands(partial(self._framed, file), parts))
        with translated(file), self._tree.writing(file) as descriptor:
            at = os.fstat(descriptor).st_size
            try:
                frames = b"".join(frame for frame, _ in framed)
                write_at(descriptor, at, frames)  # it reads them back and compares
            except BaseException:
                with contextlib.suppress(OSError):  # what no line names does no harm
                    os.ftruncate(descriptor, at)
                raise
        pending.pack = file
        ends = itertools.accumulate((len(frame) for frame, _ in framed), initial=at)
        return [Packed(at, len(frame), sha256) for at, (frame, sha256) in zip(ends, framed, strict=False)]

    def commit(self) -> int:
        """Make it all durable; returns the number of sessions.

        Raises:
            CopyError: some sessions could not be committed: of them it is as if nothing had been
                written.  The others are committed.
        """
        failed: CopyError | None = None
        try:
            folders = list(self._sessions)
            for folder, problem in zip(folders, each(self._hands, self._commit, folders), strict=True):
                if isinstance(problem, CopyError):
                    failed = failed or problem
                    del self._sessions[folder]
                elif problem is not None:
                    raise problem
            with translated(self._tree.path):
                self._tree.flush(self._hands)
            committed = len(self._sessions)
        finally:
            self.drop()
        if failed is not None:
            raise failed
        return committed

    def drop(self) -> None:
        """Forget what is not committed, and the tools that only a burst of work needs: megabytes each."""
        self._sessions = {}
        while len(self._tools) > 1:
            self._tools.pop()

    def _of(self, folder: Path, session: str) -> Pending:
        if not self.locked:
            raise RuntimeError("the vault is written without its lock")
        return self._sessions.setdefault(folder, Pending(session))

    def _framed(self, file: Path, data: bytes) -> tuple[bytes, str]:
        """`data` as a frame that unpacks to it again, and its SHA-256.  Any thread."""
        try:
            tools = self._tools.pop()
        except IndexError:
            tools = Packer(), Unpacker(self._dictionaries)
        try:
            frame = tools[0].pack(data)
            with contextlib.suppress(Damaged):
                if tools[1].unpack(frame, len(data)) == data:
                    return frame, hashlib.sha256(data).hexdigest()
        finally:
            self._tools.append(tools)
        raise CopyMismatch(
            f"What was packed for {file} does not unpack to the same bytes.",
            hint="It is tried again; if it stays, test this machine's memory.",
        )

    def _pack_of(self, folder: Path) -> Path:
        with translated(folder):
            if not os.path.lexists(folder / "journal"):  # as of every session that is new
                return folder / journal.pack_name(0)
            try:
                with self._tree.reading(folder / "journal") as descriptor:
                    return folder / journal.pack_name(pack_number(self._tree, folder, descriptor))
            except FileNotFoundError:
                return folder / journal.pack_name(0)

    def _commit(self, folder: Path) -> None:
        """Make a session's pack durable, and only then the lines that speak of it."""
        pending = self._sessions[folder]
        if pending.pack is None and not pending.lines:
            return
        with translated(folder), self._tree.directory(folder, create=pending.pack is None) as parent:
            if pending.pack is not None:
                with closing(open_regular(pending.pack, parent, os.O_RDONLY)) as pack:
                    sync(pack)
            if pending.lines:
                with closing(self._tree.open(folder / "journal", parent)) as descriptor:
                    self._write_lines(descriptor, pending)
            self._tree.sync_names(folder, parent)

    def _write_lines(self, descriptor: int, pending: Pending) -> None:
        size = os.fstat(descriptor).st_size
        end, closed = _end_of_lines(descriptor, size)
        if end < size:
            os.ftruncate(descriptor, end)
            self._emit("vault_tail_cut", session=pending.session, bytes=size - end)
        try:
            write_at(descriptor, end, b"".join(pending.lines if closed else [b"\n", *pending.lines]))
            sync(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):  # else the next commit cuts what is torn
                os.ftruncate(descriptor, end)
            raise


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


def lines(descriptor: int) -> Iterator[bytes]:
    """The journal's lines without their newlines; a torn last one is left out."""
    rest, position = b"", 0
    while block := read_at(descriptor, position, position + BLOCK_BYTES):
        position += len(block)
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
    if sound := journal.sound_length(rest):
        yield rest[:sound]


def _end_of_lines(descriptor: int, size: int) -> tuple[int, bool]:
    """Where the journal's sound lines end, and whether with a newline.  Costs one read of one byte."""
    if not size or read_at(descriptor, size - 1, size) == b"\n":
        return size, True
    start, tail = size, b""
    while start and b"\n" not in tail:
        begin = max(0, start - BLOCK_BYTES)
        start, tail = begin, read_at(descriptor, begin, start) + tail
    rest = tail[tail.rfind(b"\n") + 1 :]
    sound = journal.sound_length(rest)
    return size - len(rest) + sound, not sound

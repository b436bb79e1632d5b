"""One file of a session: what is new in it goes into the plain copy, the root and the summary.

A changed prefix starts a generation, in an order that is safe at every point: store what was captured,
and commit that the plain copy is believed no more ─▶ set the old bytes aside ─▶ write the new ones ─▶ commit.

A full disk under one copy does not stop the other.  Where the plain copy has no room it is believed no more,
the vault takes every byte at once, and the next look makes the copy anew.  Where the vault has none the plain
copy is made to the end, and only then the session's positions go back.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Container
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TypeVar

from sessionsync.capture.lines import Lines
from sessionsync.capture.stored import Stored
from sessionsync.capture.work import (
    BLOCK_BYTES,
    LEAST_SHARED_BYTES,
    TAIL_BYTES,
    Edges,
    Read,
    Work,
)
from sessionsync.catalog import REWRITTEN, File
from sessionsync.errors import CopyError, CopyMismatch, DiskFull
from sessionsync.events import Emit
from sessionsync.hands import Hands
from sessionsync.model import Mark, Role, SessionFile, Summary
from sessionsync.sources import Source
from sessionsync.vault import Copy, Mirror, Root, SessionVault

T = TypeVar("T")


class Unread(Exception):
    """A file is there, but cannot be opened; the text says why."""


class Files:
    """Captures files; `settle` commits what there is of a session in the middle of it."""

    def __init__(
        self, stored: Stored, mirror: Mirror, emit: Emit, hands: Hands, settle: Callable[[Work, float], None]
    ) -> None:
        self._stored = stored
        self._mirror = mirror
        self._emit = emit
        self._hands = hands
        self._settle = settle

    def capture(self, source: Source, work: Work, seen: SessionFile, now: float, at_most: int | None) -> bool:
        """Capture what is new of a file, `at_most` so many bytes; returns whether that is all there is.

        Raises:
            Unread: it is there, but cannot be opened.
            CopyError: it cannot be read, or a copy could not be made or verified.
        """
        file = work.files.get(seen.name)
        known = (seen.size, seen.mtime_ns, seen.inode)
        if file is not None and file.deleted_at is None and (file.size, file.mtime_ns, file.inode) == known:
            return True
        try:
            descriptor = _open_regular(seen.where)
        except FileNotFoundError:
            return True
        except OSError as error:
            raise Unread(error.strerror or str(error)) from error
        try:
            status = os.fstat(descriptor)
            copy = self._stored.path(work, seen.name)
            edges = Edges()
            if file is None:
                file = work.files[seen.name] = File(seen.name, seen.role)
                self._meet(work, file, descriptor)
                work.touch(now)
            elif (known_by := self._continues(file, descriptor, status)) is not None:
                edges = known_by
            else:
                self._replaced(source, work, file, copy, descriptor, now)
                edges = Edges.of(partial(self._stored.read, work, file), file.length)
            work.changed.add(file.name)
            size = status.st_size
            if at_most is not None and size > file.length + at_most:
                size = file.length + at_most
            self._append(source, work, file, copy, descriptor, edges, size, now)
            file.role = seen.role
            file.size = file.size if file.is_rewritten else size
            file.mtime_ns, file.inode = status.st_mtime_ns, status.st_ino
            file.deleted_at = None
            return size == status.st_size
        except OSError as error:  # those of the copies are errors of ours by now
            raise CopyError(
                f"{seen.path} cannot be read: {error.strerror}.",
                hint="Its disk may be failing: see the system's log. It is tried again.",
            ) from error
        finally:
            os.close(descriptor)

    def _meet(self, work: Work, file: File, descriptor: int) -> None:
        """First sight of a file: go on from what the vault holds."""
        vault = self._stored.vault_of(work)
        if work.is_first:
            return
        generation, stored = file.generation, file.stored = vault.stored(file.name)
        shared = _common_with_vault(vault, file.name, generation, stored, descriptor) if stored else 0
        if shared < stored:
            vault.fork(file.name, generation + 1, generation, shared)
            file.generation, file.forked_at, file.stored = generation + 1, shared, shared

    def _copy_again(self, work: Work, file: File, copy: Path, descriptor: int, now: float) -> None:
        """Something else cut or removed the plain copy: make it again up to the position."""
        self._where_room(work, file, partial(self._fit, copy, descriptor, file.length, now))
        if not file.is_rewritten:
            self._emit("copy_made_again", session=work.session.name, file=file.name)

    @staticmethod
    def _where_room(work: Work, file: File, change: Callable[[], T]) -> T | None:
        """Change the plain copy; where its disk has no room for that it is believed no more."""
        try:
            return change()
        except DiskFull as error:
            work.full, file.size = error, REWRITTEN
            return None

    def _set_aside(self, work: Work, file: File, copy: Path, offset: int, now: float) -> None:
        """Keep apart what the plain copy has behind `offset`."""
        aside = self._where_room(work, file, lambda: self._mirror.set_aside(copy, offset, now))
        if aside is not None:
            self._emit("copy_set_aside", session=work.session.name, file=file.name, copy=str(aside))

    def regain(self, source: Source, work: Work, there: Container[str]) -> None:
        """Where a plain copy was cut before the vault had its bytes, go back to those it has.

        Or where its end is not what was captured, of a file that is still `there` to be read again.
        """
        waiting = [file for file in work.files.values() if file.stored < file.length]
        cut = [file for file in waiting if self._is_cut(work, file, is_there=file.name in there)]
        for file in cut:
            self._emit("copy_cut", session=work.session.name, file=file.name, offset=file.stored)
            self._go_back(work, file)
        if cut:
            self._read_again(source, work)

    def _go_back(self, work: Work, file: File) -> None:
        """Go back to the bytes of a file that the vault has; what follows is read from the file again."""
        file.length, file.size, file.unstored_since = file.stored, REWRITTEN, None
        file.read_to = min(file.read_to, file.length)
        self._remember(work, file)
        work.changed.add(file.name)
        work.session.fingerprint = 0

    def _is_cut(self, work: Work, file: File, *, is_there: bool) -> bool:
        end = self._stored.end_of_copy(work, file)
        if len(end) < min(TAIL_BYTES, file.length):
            return True
        return is_there and not file.is_rewritten and not self._stored.tails.holds(end, file.tail)

    def fill(self, work: Work, now: float) -> None:
        """Make the plain copies whole that had no room while their files were there: the vault has them."""
        for file in work.files.values():
            if file.is_rewritten and file.deleted_at is not None:
                self._where_room(work, file, partial(self._copy_back, work, file, now))

    def _copy_back(self, work: Work, file: File, now: float) -> None:
        copy, at = self._stored.path(work, file.name), 0
        with self._mirror.open(copy) as plain:
            for block in self._stored.vault_of(work).read(file.name, file.generation, file.length):
                if not block.startswith(plain.read(at, at + len(block))):
                    self._mirror.set_aside(copy, at, now)
                plain.write(at, block)
                at += len(block)
        self._mirror.set_aside(copy, at, now)
        file.size = at
        work.changed.add(file.name)

    def _fit(self, copy: Path, descriptor: int, upto: int, now: float, *, start: int = 0) -> Path | None:
        """Make the plain copy what the file is up to there; returns where the rest of it went.

        Both are known to agree before `start`.
        """
        agreed = self._mirror.common_prefix(copy, descriptor, start=start)
        aside = self._mirror.set_aside(copy, agreed, now)
        for begin in range(agreed, upto, BLOCK_BYTES):
            self._mirror.write(copy, begin, os.pread(descriptor, min(BLOCK_BYTES, upto - begin), begin))
        return aside

    def _continues(self, file: File, descriptor: int, status: os.stat_result) -> Edges | None:
        """The edges of what was read before, if it is still there, by them, inode and size; else None."""
        if file.is_rewritten or status.st_size < file.length or status.st_ino != file.inode:
            return None
        edges = Edges.of(lambda begin, end: os.pread(descriptor, end - begin, begin), file.length)
        return edges if edges.are_of(file, self._stored.tails) else None

    def _replaced(
        self, source: Source, work: Work, file: File, copy: Path, descriptor: int, now: float
    ) -> None:
        """The prefix may have changed: find out where, and begin a generation there."""
        session = work.session
        transcript = source.append_only(file.name)
        if file.is_rewritten:  # a crash left the plain copy somewhere between the old bytes and the new ones
            vault = self._stored.vault_of(work)
            shared = _common_with_vault(vault, file.name, file.generation, file.length, descriptor)
            file.size = shared
            aside = self._where_room(work, file, lambda: self._fit(copy, descriptor, shared, now))
        elif (shared := min(self._mirror.common_prefix(copy, descriptor), file.length)) < file.length:
            self._stored.store(work, file, file.length)
            if transcript and session.dirty_since is not None:
                self._stored.checkpoint(work, "rewrite", now)
            file.size, session.fingerprint = REWRITTEN, 0
            work.changed.add(file.name)
            self._settle(work, now)
            file.size = shared
            aside = self._where_room(
                work, file, lambda: self._fit(copy, descriptor, shared, now, start=shared)
            )
        else:
            file.size = shared
        if shared == file.length:
            return  # another inode, or a change taken back: it goes on where the old one ended
        generation = file.generation + 1
        self._stored.vault_of(work).fork(file.name, generation, file.generation, shared)
        cut = file.length - shared
        file.generation, file.forked_at = generation, shared
        file.length = file.stored = shared
        file.read_to = min(file.read_to, shared)
        file.unstored_since = None
        self._remember(work, file)
        work.changed.add(file.name)
        work.touch(now)
        if transcript:
            self._read_again(source, work)
            self._emit(
                "session_rewritten",
                session=session.name,
                file=file.name,
                offset=shared,
                cut_bytes=cut,
                kept=str(aside) if aside else "",
            )

    # --- what was appended

    def _append(
        self,
        source: Source,
        work: Work,
        file: File,
        copy: Path,
        descriptor: int,
        edges: Edges,
        size: int,
        now: float,
    ) -> None:
        """Copy, hash and read the bytes between the file's position and `size`."""
        begin = file.length
        with self._opened(work, file, copy) as plain:
            there = begin if plain is None else plain.size()
            if there < begin:
                self._copy_again(work, file, copy, descriptor, now)
            # what the hook, or we before a crash, put there is kept apart where it is the session no more
            elif plain is not None and there > begin:
                shared = plain.common_prefix(descriptor, begin)
                if there > shared:
                    self._set_aside(work, file, copy, max(begin, shared), now)
            if size <= begin and file.head:
                return
            self._read_on(source, work, file, plain, descriptor, edges, size, now)
            file.peaks = work.roots[file.name].peaks
            edges.keep(file, self._stored.tails)
        file.changed_at = now
        work.captured_bytes += file.length - begin
        work.session.captured_bytes += file.length - begin

    def _opened(self, work: Work, file: File, copy: Path) -> AbstractContextManager[Copy | None]:
        """The plain copy to be written; None where it is believed no more, or has no room."""
        plain = None if file.is_rewritten else self._where_room(work, file, partial(self._mirror.open, copy))
        return nullcontext() if plain is None else plain

    def _reader(self, work: Work, file: File, plain: Copy | None) -> Read:
        return partial(self._stored.read, work, file) if plain is None or file.is_rewritten else plain.read

    def _read_on(
        self,
        source: Source,
        work: Work,
        file: File,
        plain: Copy | None,
        descriptor: int,
        edges: Edges,
        size: int,
        now: float,
    ) -> None:
        """Each block is written to the plain copy, hashed and read, in this order."""
        begin = file.length
        root = self._stored.root(work, file, edges.tail)
        lines = None
        if source.append_only(file.name):
            lines = Lines(source, work.session.summary, file, skims=work.skims)
        if lines is not None and file.read_to < begin:
            lines.begin(self._reader(work, file, plain)(file.read_to, begin))
        failed: DiskFull | None = None
        while file.length < size:
            block = os.pread(descriptor, min(BLOCK_BYTES, size - file.length), file.length)
            if not block:
                break  # it was cut while we read: the next look sees a shrink
            offset, is_last = file.length, file.length + len(block) >= size
            if not is_last:
                block = block[: block.rfind(b"\n") + 1] or block
            file.length += len(block)
            edges.take(block)
            work.fresh = file.name, offset, block
            work.touch(now)
            if file.unstored_since is None:
                file.unstored_since = now
            marks = self._copy_and_read(work, file, plain, lines, offset, block)
            try:
                if failed is None:
                    self._keep(work, file, root, offset, block, marks, now, is_last=is_last)
            except DiskFull as error:
                failed = error  # the plain copy goes on
        if failed is not None:
            raise failed

    def _keep(
        self,
        work: Work,
        file: File,
        root: Root,
        offset: int,
        block: bytes,
        marks: list[Mark],
        now: float,
        *,
        is_last: bool,
    ) -> None:
        """Hash the block that was just read, and store of it what must not wait."""
        view, known = memoryview(block), file.stored
        if file.is_rewritten:
            self._stored.store(work, file, offset)  # what was captured before there was no room
        reached: list[tuple[Mark, str]] = []
        for mark in marks:
            root.update(view[root.size - offset : mark.offset - offset])
            if file.role is Role.MAIN and mark.offset > known:
                reached.append((mark, root.hexdigest()))
        if reached:  # not to the last mark alone: one frame instead of two
            root.update(view[root.size - offset : file.read_to - offset])
            self._stored.store(work, file, file.read_to)
        for mark, state in reached:
            self._stored.checkpoint(work, mark.trigger, now, main=(mark.offset, state))
        root.update(view[root.size - offset :])
        if not is_last or file.is_rewritten:
            self._stored.store(work, file, file.length)

    def _copy_and_read(
        self, work: Work, file: File, plain: Copy | None, lines: Lines | None, offset: int, block: bytes
    ) -> list[Mark]:
        """Write a block to the plain copy and read its lines, which need not wait for each other."""

        def write(data: bytes) -> None:
            if plain is not None and not file.is_rewritten:
                self._where_room(work, file, lambda: plain.write(offset, data))

        is_short = len(block) < LEAST_SHARED_BYTES or lines is None or work.skims
        hands = map if is_short else self._hands
        writing = iter(hands(write, [block]))
        try:
            return [] if lines is None else lines.feed(block)
        finally:
            next(writing)  # it is there now, or says why not

    def _remember(self, work: Work, file: File) -> None:
        """Take a file's root and edges anew from copies that are known to have it as it is."""
        read, root = partial(self._stored.read, work, file), Root()
        for start in range(0, file.length, BLOCK_BYTES):
            root.update(read(start, min(start + BLOCK_BYTES, file.length)))
        work.roots[file.name], file.peaks = root, root.peaks
        Edges.of(read, file.length).keep(file, self._stored.tails)

    def read_up(self, source: Source, work: Work, there: Container[str]) -> None:
        """Prove what the vault has of a session that was only skimmed, and read all lines that are captured.

        A file that is `there` and of which no copy is what was captured is captured from its beginning again.

        Raises:
            CopyError: its copies cannot be read, or are not what was captured.
        """
        for file in work.files.values():
            if self._stored.prove(work, file):
                continue
            if file.name not in there:
                raise CopyMismatch(
                    f"No copy of {file.name} of {work.session.name} is what was captured, and it is gone.",
                    hint=f"`sessiond ctl repair {work.session.ref.session_id}` mends what can be mended.",
                )
            file.stored = 0
            self._go_back(work, file)
        self._read_again(source, work)
        if work.session.dirty_since is None:  # its newest checkpoint is of all of it
            for file in work.files.values():
                self._stored.read_tail(source, work, file)

    def _read_again(self, source: Source, work: Work) -> None:
        """Read the whole session anew for its summary; the folder it was started in stays."""
        work.session.summary = Summary(cwd=work.session.summary.cwd)
        for file in work.files.values():
            if not source.append_only(file.name) or file.deleted_at is not None:
                continue
            file.read_to = 0
            lines = Lines(source, work.session.summary, file)
            for start in range(0, file.length, BLOCK_BYTES):
                lines.feed(self._stored.read(work, file, start, min(start + BLOCK_BYTES, file.length)))
            work.changed.add(file.name)


def _open_regular(path: str | Path) -> int:
    """Open a file for reading that is a regular one and no link; never blocks."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return descriptor


def _common_with_vault(vault: SessionVault, name: str, generation: int, stored: int, descriptor: int) -> int:
    """How many leading bytes the vault's newest generation and the open file have in common."""
    position = 0
    try:
        for chunk in vault.read(name, generation, stored):
            live = os.pread(descriptor, len(chunk), position)
            if live != chunk:
                return position + next(
                    (n for n, (a, b) in enumerate(zip(live, chunk, strict=False)) if a != b), len(live)
                )
            position += len(chunk)
    except CopyMismatch:
        return position
    return position

"""Layer 1: plain copies that can be read without this program.

`<folder>/<PROJECT>/<SESSION_ID>.jsonl` follows the live transcript byte by byte; everything else of
a session lies in `<folder>/<PROJECT>/<SESSION_ID>/`.  No byte is ever lost here: a write that would
change what is there is refused, and what a shrink or a rewrite of the live file takes away is first
set aside as `<SESSION_ID>.<UTC time>.<offset>.jsonl`, the old bytes from that offset on.

Bytes are written at their own offset, never "at the end": the hook and the daemon may both copy the
same bytes at the same time.  After a power cut a copy may be shorter than it was, or end in zeros;
what was there at the last `flush` is there.

The hook adds to a copy that is there through `copy` alone, and comes here where one has to be made, so only
the standard library is imported.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from sessionsync.errors import CopyError, CopyMismatch
from sessionsync.hands import Hands, each
from sessionsync.vault.copy import Copy, agree, place_of
from sessionsync.vault.disk import Disk
from sessionsync.vault.folder import (
    MANY,
    Folder,
    blocks,
    closing,
    component,
    open_regular,
    read_at,
    sync,
    translated,
    write_at,
)
from sessionsync.vault.replaced import REPLACED, is_put_away

if TYPE_CHECKING:
    from sessionsync.vault.copy import Session

# How often a copy may grow while it is set aside before that is given up.
_GROWTHS = 20
# The paths of so many copies are remembered: each append asks for its own three times.
_PATHS = 128


class Mirror:
    """The plain copies below `folder`.

    Paths are those of `path_of`.  Writing and `flush` belong to one thread; reading is free.
    Everything raises `CopyError` for what cannot be a copy of ours: a link, a special file, a path
    outside; and `DiskFull` where the disk is full or read-only.
    """

    def __init__(self, folder: Path, hands: Hands = map) -> None:
        self._tree = Folder(folder)
        self._hands = hands
        self._unsynced: dict[Path, None] = {}
        self._disk = Disk(folder)

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self._tree.path

    def forget(self, ref: Session, besides: Container[str] = ()) -> None:
        """Remove every copy of a session, what was set aside too, under whatever project but `besides`.

        Raises:
            CopyError: something could not be removed.
        """
        for path in self._places_of(ref, besides):
            with translated(path):
                self._tree.remove(path)

    def weigh(self, ref: Session, besides: Container[str] = ()) -> int:
        """How many bytes the copies of a session take."""
        return sum(map(self._tree.size, self._places_of(ref, besides)))

    def _places_of(self, ref: Session, besides: Container[str]) -> list[Path]:
        """Every file and folder that is a session's alone; a transcript's files begin with its id."""
        with translated(self._tree.path):
            projects = [path for path in self._tree.folders(self._tree.path) if path.name not in besides]
            replaced = self._tree.folders(self._tree.path / REPLACED)
        own, beginning = component(ref.session_id), f"{ref.session_id}."
        found = [project / own for project in projects if os.path.lexists(project / own)]
        found += [folder for folder in replaced if is_put_away(folder.name, ref.session_id)]
        if ref.source == "claude":
            for project in projects:
                with translated(project):
                    found += [
                        project / name for name in self._tree.files(project) if name.startswith(beginning)
                    ]
        return found

    def path_of(self, project: str, ref: Session, name: str) -> Path:
        """Where the copy of a session's file lies; two names never share a path.

        Raises:
            CopyError: no copy can have that name.
        """
        return _path_of(self._tree.path, project, ref, name)

    def size(self, path: Path) -> int:
        """How many bytes the copy has; 0 where there is none."""
        with translated(path):
            try:
                with self._tree.reading(path) as copy:
                    return os.fstat(copy).st_size
            except FileNotFoundError:
                return 0

    def read(self, path: Path, start: int, end: int) -> bytes:
        """The bytes of [start, end): fewer where the copy ends before, none where there is no copy."""
        with translated(path):
            try:
                with self._tree.reading(path) as copy:
                    return read_at(copy, start, end)
            except FileNotFoundError:
                return b""

    def blocks(self, path: Path, end: int, size: int) -> Iterator[bytes]:
        """The bytes before `end` in blocks of `size`, of a copy that is opened once; fewer, as `read`."""
        with translated(path):
            try:
                with self._tree.reading(path) as copy:
                    for begin in range(0, end, size):
                        yield read_at(copy, begin, min(begin + size, end))
            except FileNotFoundError:
                return

    def open(self, path: Path) -> Copy:
        """The copy held open for reading and writing, made where it is missing; `with` closes it."""
        will_change = partial(self._unsynced.setdefault, path)
        return Copy(path, self._opened(path), will_change, self._disk.has_changed)

    def write(self, path: Path, offset: int, data: bytes) -> None:
        """Put `data` at `offset`, read it back and compare.  What is there already must be the same.

        Raises:
            CopyMismatch: other bytes are there (set them aside first), or fewer than `offset`.
        """
        with self.open(path) as copy:
            copy.write(offset, data)

    def common_prefix(self, path: Path, live: int | Path, *, start: int = 0) -> int:
        """Up to which byte the copy and the live file agree, the bytes before `start` taken as read.

        `live` is a descriptor, or a path that must be a regular file.  Memory is bounded.
        """
        if not self.size(path):
            return 0
        with translated(path), self._tree.reading(path) as copy, _live(live) as other:
            return agree(copy, other, start)

    def set_aside(self, path: Path, offset: int, at: float) -> Path | None:
        """Keep the copy's bytes behind `offset` in a file beside it, and only then cut them off.

        `at` (Unix seconds) goes into the new file's name, which is never one that is taken.
        Returns its path, None where nothing was behind `offset`.
        """
        if self.size(path) <= offset:
            return None
        draft = _draft(path)
        with self._writing(path) as copy, self._tree.directory(path.parent) as parent:
            for _ in range(_GROWTHS):
                size = os.fstat(copy).st_size
                _copy_to(draft, parent, copy, offset, size)
                if os.fstat(copy).st_size == size:  # no hook has added to it meanwhile
                    break
            else:
                raise CopyError(f"{path} grows while it is set aside.", hint="It is tried again.")
            aside = _publish(draft, parent, path, offset, at)
            os.ftruncate(copy, offset)
            self._unsynced[path] = None
            return aside

    def mend(self, path: Path, offset: int, data: bytes, at: float) -> Path | None:
        """Put `data` at `offset` in place of damaged bytes, which are first kept in a file beside the copy.

        `at` (Unix seconds) goes into the new file's name, which ends in `.damaged`.  Returns its path, None
        where nothing was there.

        Raises:
            CopyMismatch: the copy ends before `offset`.
        """
        with self._writing(path) as copy, self._tree.directory(path.parent) as parent:
            size = os.fstat(copy).st_size
            if offset > size:
                raise CopyMismatch(
                    f"{path} ends at byte {size}: writing at {offset} would leave a hole.",
                    hint="What is before is mended first.",
                )
            aside = None
            if size > offset:
                draft = _draft(path)
                _copy_to(draft, parent, copy, offset, min(size, offset + len(data)))
                aside = _publish(draft, parent, path.with_name(f"{path.name}.damaged"), offset, at)
            self._unsynced[path] = None
            write_at(copy, offset, data)
        return aside

    def asides(self, path: Path) -> list[tuple[Path, int]]:
        """What was set aside of a copy, the newest first, and from which offset on each was cut.

        Raises:
            CopyError: the folder cannot be listed.
        """
        name = re.escape(path.stem) + r"\.(\d{8}T\d{6}Z)(?:-\d+)?\.(\d+)" + re.escape(path.suffix)
        with translated(path.parent):
            files = self._tree.files(path.parent)
        found = [match for file in files if (match := re.fullmatch(name, file))]
        # of one second, the one that was written last
        found.sort(key=lambda match: (match[1], files[match[0]].st_mtime_ns), reverse=True)
        return [(path.with_name(match[0]), int(match[2])) for match in found]

    def rest(self) -> None:
        """Hold nothing open until something is written again; before a fork that closes what it was left."""
        self._disk.rest()

    def flush(self) -> int:
        """Make everything written since the last flush durable; returns the number of files.

        Raises:
            CopyError: some of it could not be.  What was written since the last flush is then in
                doubt and must be compared with the live files again; the rest was made durable.
        """
        paths = list(self._unsynced)
        self._unsynced.clear()
        is_durable = len(paths) >= MANY and self._disk.sync()
        self.rest()
        if is_durable:
            self._tree.flushed()
            return len(paths)
        failed: CopyError | None = None
        for problem in each(self._hands, self._sync, paths):
            if isinstance(problem, CopyError):
                failed = failed or problem
            elif problem is not None:
                raise problem
        with translated(self._tree.path):
            self._tree.flush(self._hands)
        if failed is not None:
            raise failed
        return len(paths)

    def _sync(self, path: Path) -> None:
        with translated(path), self._tree.reading(path) as copy:
            sync(copy)

    @contextmanager
    def _writing(self, path: Path) -> Iterator[int]:
        with closing(self._opened(path)) as copy, translated(path):
            yield copy

    def _opened(self, path: Path) -> int:
        """The copy as a descriptor, which the caller closes; it has no other name."""
        with translated(path), self._tree.directory(path.parent, create=True) as parent:
            copy = self._tree.open(path, parent)
            self._disk.will_change(copy)
            if os.fstat(copy).st_nlink == 1:
                return copy
            # another name of it, as a backup by hard links makes one, must not change with the copy
            with closing(copy):
                draft = _draft(path)
                _copy_to(draft, parent, copy, 0, os.fstat(copy).st_size)
                os.replace(draft.name, path.name, src_dir_fd=parent, dst_dir_fd=parent)
                self._tree.changed(path.parent)
            return self._tree.open(path, parent)


@lru_cache(_PATHS)
def _path_of(folder: Path, project: str, ref: Session, name: str) -> Path:
    return folder.joinpath(*place_of(project, ref, name))


@contextmanager
def _live(live: int | Path) -> Iterator[int]:
    if isinstance(live, int):
        yield live
        return
    parent = os.open(live.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        descriptor = open_regular(live, parent, os.O_RDONLY)
    finally:
        os.close(parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _draft(path: Path) -> Path:
    """Where a copy is written before it gets its name; one a file, so that kills leave no heap of them."""
    return path.with_name(component(f".{path.name}", ending=".part"))


def _copy_to(draft: Path, parent: int, source: int, start: int, end: int) -> None:
    """Write [start, end) of `source` to a new file, compare, and make it durable."""
    # a draft that is there may be another name of a finished file: never write into it
    with contextlib.suppress(FileNotFoundError):
        os.unlink(draft.name, dir_fd=parent)
    descriptor = open_regular(draft, parent, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        os.fchmod(descriptor, 0o600)
        for begin, stop in blocks(start, end):
            write_at(descriptor, begin - start, read_at(source, begin, stop))
        sync(descriptor)
    except BaseException:
        os.unlink(draft.name, dir_fd=parent)
        raise
    finally:
        os.close(descriptor)


def _publish(draft: Path, parent: int, path: Path, offset: int, at: float) -> Path:
    """Give the draft the first free name of a file set aside, durably."""
    from datetime import UTC, datetime  # noqa: PLC0415 - a hook does without

    time = datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")
    suffix = path.suffix if len(path.suffix) < 32 else ""
    for number in itertools.count(1):
        again = f"-{number}" if number > 1 else ""
        aside = path.with_name(component(path.stem, ending=f".{time}{again}.{offset}{suffix}"))
        try:
            _name(draft, aside, parent)
        except FileExistsError:
            continue
        sync(parent)
        return aside
    raise AssertionError  # count does not end


def _name(draft: Path, path: Path, parent: int) -> None:
    """Rename `draft` to `path`, which must not exist."""
    try:
        os.link(draft.name, path.name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links; nobody but this daemon sets aside
        try:
            os.stat(path.name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(draft.name, path.name, src_dir_fd=parent, dst_dir_fd=parent)
        else:
            raise FileExistsError(path) from None
    else:
        os.unlink(draft.name, dir_fd=parent)

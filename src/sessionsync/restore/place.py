"""Writing a session into its place: all of it or nothing, and nothing that was there is lost.

stage     every file whole in a hidden folder of the same file system, synced, read back, proven by its root
compare   with what lies in the places: what is there must be the beginning of what comes
keep      what is replaced gets a second name in the backup
move      each file into its place in one step, the main file last; any failure takes all back
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from sessionsync.errors import CopyIncomplete, CopyMismatch, RestoreError, SessionLive
from sessionsync.hands import Hands, ahead
from sessionsync.model import Role, SessionFile
from sessionsync.restore.copies import Copy, VaultCopy
from sessionsync.restore.names import grows_by_lines, steps
from sessionsync.restore.target import Put
from sessionsync.vault import Root
from sessionsync.vault.folder import FULL, sync, sync_folder

BLOCK_BYTES = 1024 * 1024
STAGE = ".sessiond-restore-"
# What a restore that was killed left behind is removed by a later one.
STALE_S = 86_400.0
# Nobody has a file open that did not change for so long, and no agent deletes what is younger.
OLD_S = 86_400.0
# So many files are made durable and read back while the next are written, where there are other hands.
AHEAD = 8

Progress = Callable[[int], object]
"""Is told how many bytes more are written."""
Look = Callable[[Put, Path], object]
"""Looks at a file that is written, where it lies before it is in its place."""


@dataclass(slots=True)
class _Staged:
    """A file that is written and, once it is proven, ready to be moved.

    `there` is what stat says of its place, None where that is free.  `root` is that of the copy's bytes,
    behind which a newline `ended` the last line: what is read back and has it proves copy and disk.
    """

    put: Put
    draft: Path
    there: os.stat_result | None
    root: str = ""
    ended: bool = False
    same: bool = False

    def is_on_disk(self) -> bool:
        """Make it durable, read it back, and return whether it is what it should be.  Any thread."""
        root, size = Root(), self.put.file.size
        descriptor = os.open(self.draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            sync(descriptor)
            while block := os.read(descriptor, min(BLOCK_BYTES, size - root.size)):
                root.update(block)
            rest = os.read(descriptor, 2)
        finally:
            os.close(descriptor)
        return root.hexdigest() == self.root and rest == (b"\n" if self.ended else b"")


@dataclass(slots=True)
class Placing:
    """One restore into its places.  Leave it (`with`) and the hidden folders are gone."""

    kept_in: Path
    """Where what is replaced goes; made when something is."""
    now: float
    progress: Progress
    hands: Hands = map
    """Those that make files durable, and read them back."""
    missing: list[str] = field(default_factory=list)
    """Companions that could not be read."""
    kept: list[Path] = field(default_factory=list)
    _staged: list[_Staged] = field(default_factory=list)
    _stages: dict[Path, Path] = field(default_factory=dict)
    _undo: list[Callable[[], object]] = field(default_factory=list)
    _made: list[Path] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):  # not empty: what was made is used
                folder.rmdir()

    # --- stage

    def stage(self, copy: Copy, puts: Sequence[Put], look: Look = lambda _put, _draft: None) -> None:
        """Write every file of a copy, or none.  Each is shown to `look` meanwhile, in this thread.

        Raises:
            CopyIncomplete: the copy is damaged; another may be tried.
            RestoreError: the disk is full, or a place cannot be used.
        """
        self._clear()
        self.missing.clear()
        try:
            with _translated(puts[0].base if puts else self.kept_in):
                _check_room(puts)

                written = self._written(copy, puts, look)
                with contextlib.closing(ahead(self.hands, _proof, written, AHEAD)) as proofs:
                    for staged, proven in proofs:
                        if proven or self._is_written_again(copy, staged, look):
                            self._staged.append(staged)
        except BaseException:
            self._clear()
            raise

    def _written(self, copy: Copy, puts: Sequence[Put], look: Look) -> Iterator[_Staged]:
        """Each file, to be proven by other hands while this thread looks at it and writes the next."""
        for number, put in enumerate(puts):
            staged = _Staged(put, self._stage_in(put.base) / str(number), _look(put))
            if self._is_written(copy, staged):
                yield staged
                look(put, staged.draft)

    def _is_written(self, copy: Copy, staged: _Staged) -> bool:
        """Write a file in the quickest way; False for a companion that cannot be read."""
        file = staged.put.file
        if isinstance(copy, VaultCopy) and file.stored is not None and file.stored.root:
            with contextlib.suppress(CopyMismatch):  # then what is damaged is told, or taken from elsewhere
                self._write(staged, copy.unproven(file), file.stored.root)
                return True
        return self._is_read(copy, staged)

    def _is_written_again(self, copy: Copy, staged: _Staged, look: Look) -> bool:
        """Write a file again that is not proven, with what is checked piece by piece; False as above.

        Raises:
            CopyIncomplete: that is the copy's fault.
            RestoreError: it is the disk's.
        """
        if not self._is_read(copy, staged):
            return False
        look(staged.put, staged.draft)
        if not staged.is_on_disk():
            raise RestoreError(
                f"What was written to {staged.draft.parent} is not what is there.",
                hint="The disk fails: see its log.",
            )
        return True

    def _is_read(self, copy: Copy, staged: _Staged) -> bool:
        """Write what the copy has checked already; False for a companion that cannot be read."""
        file = staged.put.file
        try:
            self._write(staged, copy.read(file))
        except CopyMismatch as error:
            staged.draft.unlink(missing_ok=True)
            if file.role is not Role.COMPANION:
                raise CopyIncomplete(
                    f"The copy in {copy.origin} is damaged: {error}",
                    hint="`sessiond restore ID --list` shows which copies are complete.",
                ) from error
            self.missing.append(file.name)
            return False
        return True

    def _write(self, staged: _Staged, blocks: Iterator[bytes], stated: str = "") -> None:
        """Write a file's blocks, with the newline that it lacks; their root is `stated`, or computed."""
        put, root, last, size = staged.put, Root(), b"", 0
        staged.draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(staged.draft, flags, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            for block in blocks:
                _write_all(descriptor, block)
                if not stated:
                    root.update(block)
                size += len(block)
                last = block[-1:] or last
                self.progress(len(block))
            if size != put.file.size:
                raise CopyMismatch(
                    f"{put.file.name} has {size} of {put.file.size} bytes.",
                    hint="Take another copy (--from), or another checkpoint (--at).",
                )
            staged.root = stated or root.hexdigest()
            staged.ended = put.ends_line and last not in {b"", b"\n"}
            if staged.ended:
                _write_all(descriptor, b"\n")
        finally:
            os.close(descriptor)

    def _stage_in(self, base: Path) -> Path:
        if base not in self._stages:
            self._make(base)
            _sweep(base, self.now)
            self._stages[base] = Path(tempfile.mkdtemp(prefix=STAGE, dir=base))
        return self._stages[base]

    # --- compare

    def compare(self, rivals: Sequence[SessionFile], extras: Sequence[SessionFile]) -> list[str]:
        """What on the disk speaks against it: each file that is not the beginning of what comes.

        A companion is only ever replaced; what is there of it is kept.
        """
        against = []
        with _translated(self.kept_in):
            for staged in self._staged:
                if staged.there is None:
                    continue
                path = staged.put.path
                is_beginning, staged.same = _compare(path, staged.draft)
                is_in_it = is_beginning or (grows_by_lines(path.name) and _holds_lines(staged.draft, path))
                if staged.put.file.role is not Role.COMPANION and not is_in_it:
                    against.append(f"{path} is not the beginning of it")
            coming = {staged.put.path.name: staged.draft for staged in self._staged}
            for rival in rivals:
                draft = coming.get(rival.path.name)
                if grows_by_lines(rival.name) and not (draft and _compare(rival.path, draft)[0]):
                    against.append(f"{rival.path} is not the beginning of it")
        return against + [f"{extra.path} is not in it" for extra in extras]

    @property
    def changes(self) -> bool:
        """Whether anything would be written."""
        return not all(staged.same for staged in self._staged)

    # --- keep and move

    def commit(self, gone: Sequence[SessionFile], root: Path) -> None:
        """Move everything into its place, and what is in `gone` away.  All or nothing.

        What is replaced or moved away gets its path below `root` in the backup.

        Raises:
            SessionLive: something there has changed meanwhile.
            RestoreError: it could not be done; everything is as it was.
        """
        moving = sorted(
            (staged for staged in self._staged if not staged.same),
            key=lambda staged: (staged.put.file.role is Role.MAIN, staged.put.path),
        )
        try:
            with _translated(root):
                for staged in moving:
                    self._move(staged, root)
                for file in gone:
                    self._remove(file, root)
                for folder in {staged.put.path.parent for staged in moving}:
                    sync_folder(folder)
        except BaseException:
            self._take_back()
            raise

    def _take_back(self) -> None:
        """Undo every move; only where that went well the second names in the backup go too."""
        with contextlib.suppress(OSError):
            while self._undo:
                self._undo.pop()()
            while self.kept:
                self.kept.pop().unlink()

    def _move(self, staged: _Staged, root: Path) -> None:
        put, path = staged.put, staged.put.path
        there = _look(put)
        if _identity(there) != _identity(staged.there):
            raise SessionLive(
                f"{path} changed while the session was put back.",
                hint="End what writes there, and try again.",
            )
        self._make(path.parent)
        if there is None:
            _name(staged.draft, path)
            self._undo.append(lambda: path.rename(staged.draft))
            return
        self._keep(path, root)
        old = staged.draft.with_name(f"{staged.draft.name}.old")
        _link_or_copy(path, old)
        self._undo.append(lambda: old.replace(path))
        staged.draft.replace(path)

    def _remove(self, file: SessionFile, root: Path) -> None:
        self._keep(file.path, root)
        file.path.unlink()
        kept = self.kept[-1]
        self._undo.append(lambda: _link_or_copy(kept, file.path))
        for folder in file.path.parents:
            if folder.parent == root or not folder.is_relative_to(root):
                break
            try:
                folder.rmdir()
            except OSError:
                break
            self._undo.append(folder.mkdir)

    def _keep(self, path: Path, root: Path) -> None:
        """Give what lies at `path` a second name in the backup, or a copy where that is another disk."""
        inside = path.relative_to(root if path.is_relative_to(root) else path.anchor)
        kept = self.kept_in / inside
        self._make(kept.parent)
        _link_or_copy(path, kept)
        sync_folder(kept.parent)
        self.kept.append(kept)

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it, 0700, where they are missing."""
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            each.mkdir(0o700)
            each.chmod(0o700)
            self._made.append(each)

    def freshen(self) -> None:
        """Let what was there already, and is old, count as put now: the agent deletes what is old."""
        for staged in self._staged:
            if staged.same and staged.there is not None and self.now - staged.there.st_mtime > OLD_S:
                with contextlib.suppress(OSError):  # it is whole, which is what was asked for
                    os.utime(staged.put.path, (self.now, self.now))

    # --- end

    @property
    def lines_ended(self) -> int:
        """How many files were given the newline at their end that they lacked."""
        return sum(staged.ended for staged in self._staged)

    def _clear(self) -> None:
        for stage in self._stages.values():
            shutil.rmtree(stage, ignore_errors=True)
        self._stages.clear()
        self._staged.clear()


def lay_out(files: Mapping[str, bytes], folder: Path, now: float) -> None:
    """Write files into a folder that is new, or empty: all of them or none.  `now` is Unix seconds.

    Raises:
        RestoreError: something lies there, a name leads out of it, or it cannot be written.
    """
    draft = folder.with_name(f".{folder.name}{STAGE}{os.getpid()}")
    with _translated(folder):
        if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir() or any(folder.iterdir())):
            raise RestoreError(f"{folder} is there already.", hint="Name a folder that is new, or empty.")
        draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(draft.parent, now, f".*{STAGE}*")
        try:
            draft.mkdir(mode=0o700)
            for name, data in files.items():
                path = draft.joinpath(*steps(name))
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _new(path, data)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        sync_folder(folder.parent)


def _new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        _write_all(descriptor, data)
        sync(descriptor)
    finally:
        os.close(descriptor)


def _check_room(puts: Sequence[Put]) -> None:
    """See that there is room for what a copy says that it holds, before the first byte is written.

    Raises:
        RestoreError: there is not.
    """
    needed: dict[Path, int] = {}
    for put in puts:
        there = next(each for each in (put.base, *put.base.parents) if each.exists())
        needed[there] = needed.get(there, 0) + put.file.size
    for there, size in needed.items():
        if size > (free := shutil.disk_usage(there).free):
            raise RestoreError(
                f"The copy holds {size:,} bytes, and {there} has room for {free:,}.",
                hint="Make room, name a folder with more of it by --out DIR, or take another copy: --list.",
            )


def _look(put: Put) -> os.stat_result | None:
    """What lies in a file's place; RestoreError where that, or a folder on the way, is no such thing."""
    path = put.base
    for step in put.parts[:-1]:
        path /= step
        status = _lstat(path)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no folder"
            raise RestoreError(f"{path} is {kind}: nothing is written there.", hint="Move it away.")
    status = _lstat(put.path)
    if status is not None and not stat.S_ISREG(status.st_mode):
        raise RestoreError(f"{put.path} is no regular file: nothing is written there.", hint="Move it away.")
    return status


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _identity(status: os.stat_result | None) -> tuple[int, int, int] | None:
    return status and (status.st_ino, status.st_size, status.st_mtime_ns)


def _compare(there: Path, comes: Path) -> tuple[bool, bool]:
    """Whether what is there is the beginning of what comes, and whether it is all of it."""
    with there.open("rb") as old, comes.open("rb") as new:
        while block := old.read(BLOCK_BYTES):
            if block != new.read(len(block)):
                return False, False
        return True, not new.read(1)


def _holds_lines(comes: Path, there: Path) -> bool:
    """Whether every line that is there comes as well, as one of what was united from two places."""
    with there.open("rb") as old:
        lines = Counter(map(hash, old))
    with comes.open("rb") as new:
        lines.subtract(map(hash, new))
    return all(count <= 0 for count in lines.values())


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _proof(staged: _Staged) -> tuple[_Staged, bool]:
    return staged, staged.is_on_disk()


def _name(draft: Path, path: Path) -> None:
    """Move a draft to a path where nothing is; another writer, or a name that differs in case, is noticed."""
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        draft.rename(path)
    else:
        draft.unlink()


def _link_or_copy(path: Path, other: Path) -> None:
    """Give a file a second name: who still writes to it writes to both; on another disk, a copy."""
    try:
        other.hardlink_to(path)
    except FileExistsError:
        raise
    except OSError:
        with path.open("rb") as old, other.open("xb") as new:
            shutil.copyfileobj(old, new, BLOCK_BYTES)
            new.flush()
            os.fchmod(new.fileno(), 0o600)
            sync(new.fileno())
        if not all(_compare(path, other)):
            raise RestoreError(
                f"{path} could not be kept as {other}.", hint="End what writes there."
            ) from None


def _sweep(base: Path, now: float, pattern: str = f"{STAGE}*") -> None:
    """Remove what a restore that was killed a day ago has left."""
    for left in base.glob(pattern):
        with contextlib.suppress(OSError):
            if now - left.lstat().st_mtime > STALE_S and left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _translated(place: Path) -> Iterator[None]:
    """Turn what the system says into our errors."""
    try:
        yield
    except OSError as problem:
        path = problem.filename or place
        hint = "See that it is yours and can be written to."
        if problem.errno == errno.EROFS:
            hint = "Nothing can be written to that disk: name another folder with --out DIR."
        elif problem.errno in FULL:
            hint = "Free space on that disk, and try again."
        elif isinstance(problem, FileExistsError):
            hint = "Something else was put there meanwhile: try again, or use --out DIR."
        raise RestoreError(
            f"The session was not put back, and nothing is changed: {path}: {problem.strerror}.", hint=hint
        ) from problem

"""A folder of copies on disk: private, never through a link, one place where `OSError` becomes ours.

What lies in the user's sessions is nobody else's business, so folders are 0700 and files 0600
whatever the umask.  Paths below the folder are walked name by name without following links: a link
that somebody placed there cannot make us write, or read, outside.  The folder itself may be reached
through links.  No descriptor is kept, so ten thousand sessions cost none.

A hook comes through here, and waits for what is imported.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from contextlib import contextmanager

from sessionsync.errors import CopyError, CopyMismatch, DiskFull

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sessionsync.hands import Hands

# What file systems take for one name.
NAME_BYTES = 255
# What is held in memory of a file at once.
BLOCK_BYTES = 1024 * 1024

# From so many files on it is less work to make all of the disk durable than each of them.
MANY = 20

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: a FIFO that nobody writes to must not hold us up
_FILE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Folder:
    """The tree of ours below `path`.  Paths in and out are absolute.

    Call what writes from one thread; reading is free.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._above = os.path.join(path, "")  # noqa: PTH118 - with the slash, which a Path has not
        self._changed: dict[Path, None] = {}

    @contextmanager
    def directory(self, path: Path, *, create: bool = False) -> Iterator[int]:
        """The folder `path` as a descriptor, made where it is missing if `create`.

        Raises:
            FileNotFoundError: it is not there.
            OSError: anything else, also for a link (ELOOP or ENOTDIR).
        """
        descriptor = self._made(path) if create else reached(self.path, self.names(path))
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _made(self, path: Path) -> int:
        names = self.names(path)
        descriptor = self._open_root()
        try:
            for depth, name in enumerate(names):
                try:
                    below = _below(descriptor, name)
                except FileNotFoundError:
                    self._make(name, descriptor, self.path.joinpath(*names[:depth]))
                    below = _below(descriptor, name)
                os.close(descriptor)
                descriptor = below
                restrict(descriptor, 0o700)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    @contextmanager
    def reading(self, path: Path) -> Iterator[int]:
        """A regular file, open for reading.

        Raises:
            FileNotFoundError: it is not there.
            OSError: anything else.
            CopyError: it is not a regular file.
        """
        parent = reached(self.path, self.names(path)[:-1])
        try:
            descriptor = open_regular(path, parent, os.O_RDONLY)
        finally:
            os.close(parent)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def writing(self, path: Path) -> Iterator[int]:
        """A regular file, open for reading and writing, made where it is missing.

        Raises:
            OSError: it cannot be opened.
            CopyError: it is not a regular file.
        """
        with self.directory(path.parent, create=True) as parent:
            descriptor = self.open(path, parent)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def open(self, path: Path, parent: int) -> int:
        """A regular file in the open folder `parent`, for reading and writing, made where it is missing.

        The caller closes it.

        Raises:
            OSError: it cannot be opened.
            CopyError: it is not a regular file.
        """
        try:
            descriptor = open_regular(path, parent, os.O_RDWR)
        except FileNotFoundError:
            descriptor = open_regular(path, parent, os.O_RDWR | os.O_CREAT)
            self.changed(path.parent)
        restrict(descriptor, 0o600)
        return descriptor

    def folders(self, path: Path) -> list[Path]:
        """The folders in `path`, sorted, without links; none where it is not there.

        Raises:
            OSError: it cannot be listed.
        """
        try:
            with self.directory(path) as descriptor, os.scandir(descriptor) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []
        return [path / name for name in sorted(names)]

    def files(self, path: Path) -> dict[str, os.stat_result]:
        """The regular files in `path` with what stat says of them, sorted; none where it is not there.

        Raises:
            OSError: it cannot be listed.
        """
        found: dict[str, os.stat_result] = {}
        with contextlib.suppress(FileNotFoundError), self.directory(path) as descriptor:
            for name in sorted(os.listdir(descriptor)):  # noqa: PTH208 - a descriptor is no path
                with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                    found[name] = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        return {name: status for name, status in found.items() if stat.S_ISREG(status.st_mode)}

    def changed(self, directory: Path) -> None:
        """Remember that the names in `directory` are not durable yet."""
        self._changed[directory] = None

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with all below it, durably and without following links.

        Raises:
            OSError: it could not be; not where it is not there.
        """
        with contextlib.suppress(FileNotFoundError), self.directory(path.parent) as parent:
            if stat.S_ISDIR(os.stat(path.name, dir_fd=parent, follow_symlinks=False).st_mode):
                import shutil  # noqa: PLC0415 - the hook removes nothing, and would wait for it

                shutil.rmtree(path.name, dir_fd=parent)
            else:
                os.unlink(path.name, dir_fd=parent)
            sync(parent)

    def size(self, path: Path) -> int:
        """How many bytes a file has, or all files below a folder; 0 where there is none."""
        try:
            status = path.stat(follow_symlinks=False)
        except OSError:
            return 0
        if not stat.S_ISDIR(status.st_mode):
            return status.st_size
        return sum(
            os.lstat(os.path.join(above, name)).st_size  # noqa: PTH118 - quicker than a Path each
            for above, _, names in os.walk(path)
            for name in names
        )

    def flush(self, hands: Hands = map) -> None:
        """Make the names of new files and folders durable, with as many `hands` as there are.

        Raises:
            OSError: they could not be.
        """
        from sessionsync.hands import each  # noqa: PLC0415 - a hook does without

        for error in each(hands, self._sync_names, list(self._changed)):
            if error is not None:
                raise error

    def flushed(self) -> None:
        """Say that all names are durable."""
        self._changed.clear()

    def sync_names(self, path: Path, descriptor: int) -> None:
        """Make the names in one folder, which is open, durable, where there are new ones.

        Raises:
            OSError: they could not be.
        """
        if path in self._changed:
            sync(descriptor)
            self._changed.pop(path, None)

    def _sync_names(self, path: Path) -> None:
        try:
            if path == self.path or path in self.path.parents:
                with closing(os.open(path, _FOLDER_FLAGS)) as descriptor:
                    self.sync_names(path, descriptor)
            else:
                with self.directory(path) as descriptor:
                    self.sync_names(path, descriptor)
        except FileNotFoundError:  # gone with all that was in it
            self._changed.pop(path, None)

    def names(self, path: Path) -> list[str]:
        """The names that lead from the folder to `path`.

        Raises:
            CopyError: `path` is not below the folder.
        """
        text = os.fspath(path)
        names = text.removeprefix(self._above).split("/") if path != self.path else []
        if (names and not text.startswith(self._above)) or ".." in names or "\0" in text:
            raise CopyError(
                f"{str(path)!r} is not below {self.path}.", hint="This is a bug: please report it."
            )
        return names

    def _open_root(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return os.open(self.path, _FOLDER_FLAGS)
        missing = [self.path, *self.path.parents]
        missing = missing[: next(n for n, ancestor in enumerate(missing) if ancestor.exists())]
        for ancestor in reversed(missing):
            self._make(str(ancestor), None, ancestor.parent)
        return os.open(self.path, _FOLDER_FLAGS)

    def _make(self, name: str, parent: int | None, place: Path) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            return
        os.chmod(name, 0o700, dir_fd=parent)  # a umask may have taken the owner's bits as well
        self.changed(place)


def reached(folder: str | Path, names: Sequence[str]) -> int:
    """What `names` lead to from `folder`, each a real folder in the one before; the caller closes it.

    Raises:
        FileNotFoundError: it is not there.
        OSError: anything else, also for a link (ELOOP or ENOTDIR).
    """
    descriptor = os.open(folder, _FOLDER_FLAGS)
    for name in names:
        try:
            below = _below(descriptor, name)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def _below(parent: int, name: str) -> int:
    return os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=parent)


def open_regular(path: str | Path, parent: int, flags: int) -> int:
    """Open the last name of `path` in the folder `parent`; the caller closes it.

    Raises:
        OSError: it cannot be opened; ELOOP for a link.
        CopyError: it is not a regular file.
    """
    try:
        descriptor = os.open(os.path.basename(path), flags | _FILE_FLAGS, 0o600, dir_fd=parent)  # noqa: PTH119
    except OSError as problem:
        if problem.errno in {errno.ENXIO, errno.EISDIR}:  # a socket, a FIFO without a reader; a folder
            raise _special(path) from problem
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _special(path)
    return descriptor


@contextmanager
def closing(descriptor: int) -> Iterator[int]:
    """Close it at the end."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _special(path: str | Path) -> CopyError:
    return CopyError(f"{path} is no regular file.", hint="Move it away: a copy belongs there.")


def restrict(descriptor: int, mode: int) -> None:
    """Let nobody but the user read it, where the file system knows of such things."""
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
        with contextlib.suppress(PermissionError):  # file systems without modes say so
            os.fchmod(descriptor, mode)


class _Translated:
    """`translated`: entered several times an append, so no generator."""

    __slots__ = ("_path",)

    def __init__(self, path: str | Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Nothing to begin."""

    def __exit__(self, _kind: object, problem: BaseException | None, _trace: object) -> None:
        if isinstance(problem, OSError):
            raise _ours(self._path, problem) from problem


def translated(path: str | Path) -> contextlib.AbstractContextManager[None]:
    """Turn what the system says of `path` into our errors."""
    return _Translated(path)


def _ours(path: str | Path, problem: OSError) -> CopyError:
    said = f"The backup cannot use {path}: {problem.strerror or problem}."
    if problem.errno in FULL:
        first = "Make that disk writable" if problem.errno == errno.EROFS else "Free space on that disk"
        return DiskFull(said, hint=f"{first}, or move the folder (backup.mirror_dir, backup.vault_dir).")
    if problem.errno in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR}:
        hint = "Something else lies where a copy belongs: move it away."
    elif problem.errno in {errno.EACCES, errno.EPERM}:
        hint = "The folder and what is in it must belong to this user."
    elif problem.errno == errno.EIO:
        hint = "The disk fails: look at the system's log, and move the backup to another disk."
    else:
        hint = "It is tried again; `sessiond doctor` checks the folder."
    return CopyError(said, hint=hint)


def component(text: str, *, ending: str = "") -> str:
    """`text` and `ending` as one name in a folder: as they are, or cut and told apart by a hash.

    Raises:
        CopyError: no file can have this name.
    """
    if text in {"", ".", ".."} or "/" in text or "\0" in text:
        raise CopyError(f"{text!r} cannot be a file's name.", hint="This is a bug: please report it.")
    room = NAME_BYTES - len(os.fsencode(ending))
    raw = os.fsencode(text)
    if len(raw) <= room:
        return text + ending
    import hashlib  # noqa: PLC0415 - for long names alone

    mark = "~" + hashlib.sha256(raw).hexdigest()[:16]
    return raw[: room - len(mark)].decode("utf-8", "ignore") + mark + ending


def read_at(descriptor: int, start: int, end: int) -> bytes:
    """The bytes of [start, end), fewer where the file ends before."""
    first = os.pread(descriptor, end - start, start) if end > start else b""
    if len(first) == end - start or not first:
        return first
    parts = [first]
    position = start + len(first)
    while position < end and (part := os.pread(descriptor, end - position, position)):
        parts.append(part)
        position += len(part)
    return b"".join(parts)


def blocks(start: int, end: int) -> Iterator[tuple[int, int]]:
    """[start, end) in pieces that fit into memory."""
    for begin in range(start, end, BLOCK_BYTES):
        yield begin, min(begin + BLOCK_BYTES, end)


def write_at(descriptor: int, offset: int, data: bytes) -> None:
    """Write all of `data` at `offset`, then read it back and compare.

    Raises:
        OSError: it could not be written; a part of it may have been.
        CopyMismatch: what is there now is something else.
    """
    view = memoryview(data)
    position = offset
    while view:
        written = os.pwrite(descriptor, view, position)
        view = view[written:]
        position += written
    if not holds(descriptor, offset, data):
        raise CopyMismatch(
            f"What was written at byte {offset} is not what is there.",
            hint="Another program writes there, or the disk fails.",
        )


def holds(descriptor: int, offset: int, data: bytes) -> bool:
    """Whether the file has exactly `data` at `offset`."""
    for begin, end in blocks(0, len(data)):
        there = read_at(descriptor, offset + begin, offset + end)
        if len(there) < end - begin or not data.startswith(there, begin):  # which compares without a copy
            return False
    return True


def sync(descriptor: int) -> None:
    """Make a file or a folder durable."""
    if hasattr(fcntl, "F_FULLFSYNC"):  # on macOS fsync alone stops at the disk's own memory
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, _FOLDER_FLAGS)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)

"""Looking into folders that others write to: what vanishes is skipped, links are not followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sessionsync.events import Emit
from sessionsync.model import Role, SessionFile

LINK = "it is a symbolic link"
# So many paths are told of, each once.
MOST_TOLD = 10_000


class Stat(NamedTuple):
    """What of its stat tells whether a file changed."""

    size: int
    mtime_ns: int
    inode: int


class Folders:
    """Lists folders; tells once of each that cannot be read, and of each link that leads away."""

    def __init__(self, emit: Emit) -> None:
        self._unreadable: dict[str, str] = {}
        self._emit = emit
        self._told: set[str] = set()
        self._links: dict[str, None] = {}

    @property
    def unreadable(self) -> dict[str, str]:
        """Folders that could not be looked into the last time, and why: what was there may still be."""
        return {path: reason for path, reason in list(self._unreadable.items()) if not is_gone(path)}

    @property
    def links(self) -> dict[str, str]:
        """The links that were passed over with `pass_over` and are still there, and why."""
        return {path: LINK for path in list(self._links) if Path(path).is_symlink()}

    def entries(self, folder: Path | str) -> list[os.DirEntry[str]]:
        """What lies in `folder`, in no order; nothing where it is gone or cannot be read."""
        path = str(folder)
        entries: list[os.DirEntry[str]] = []
        try:
            with os.scandir(folder) as found:
                entries = list(found)
            if entries and not os.access(folder, os.X_OK):  # names, but nothing behind them
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except (FileNotFoundError, NotADirectoryError):
            self._unreadable.pop(path, None)
            return []
        except OSError as error:
            reason = self._unreadable[path] = error.strerror or str(error)
            self._tell("source_unreadable", path, reason=reason)
            return []
        self._unreadable.pop(path, None)
        self._told.discard(path)
        return entries

    def files(self, folder: Path | str, prefix: str) -> Iterator[tuple[str, str, Stat]]:
        """Every regular file below `folder`, at any depth: its name behind `prefix`, its path, its stat."""
        waiting = [(str(folder), prefix)]
        while waiting:
            path, name = waiting.pop()
            for entry in self.entries(path):
                below = name + readable(entry.name)
                if is_folder(entry):
                    waiting.append((entry.path, f"{below}/"))
                elif (status := self.regular(entry)) is not None:
                    yield below, entry.path, status

    def regular(self, entry: os.DirEntry[str]) -> Stat | None:
        """The stat of a regular file, None for everything else and for what is gone."""
        return regular(entry.path) if self.is_file(entry) else None

    def is_file(self, entry: os.DirEntry[str]) -> bool:
        """Whether it is a regular file, as the listing says; of a link it is told once."""
        try:
            if entry.is_file(follow_symlinks=False):
                return True
            if entry.is_symlink():
                self.skip(entry.path, LINK)
        except OSError:
            return False
        return False

    def pass_over(self, path: str) -> None:
        """Tell once of a link where a session is looked for, and remember it: behind it nothing is copied."""
        self.skip(path, LINK)
        if len(self._links) < MOST_TOLD:
            self._links[path] = None

    def skip(self, path: str, reason: str) -> None:
        """Tell once that something that looked like a session's is not read, and why."""
        self._tell("file_skipped", path, reason=reason)

    def _tell(self, event: str, path: str, **fields: str) -> None:
        if path not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(path)
            self._emit(event, path=readable(path), **fields)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder, and no link to one."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def is_real_folder(path: Path | str) -> bool:
    """Whether there is a folder, and no link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def is_gone(path: Path | str) -> bool:
    """Whether it is certain that nothing is there, not even behind a folder that nobody may look into."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def is_hidden(path: Path | str) -> bool:
    """Whether a file or folder is there, or may be, that a listing does not show."""
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        return not isinstance(error, FileNotFoundError | NotADirectoryError)
    return not can_read(path) if stat.S_ISDIR(mode) else stat.S_ISREG(mode)


def can_read(path: Path | str) -> bool:
    """Whether a file can be read, or a folder looked into."""
    if not is_real_folder(path):
        return os.access(path, os.R_OK)
    try:
        with os.scandir(path) as entries:
            next(entries, None)
    except OSError:
        return False
    return os.access(path, os.X_OK)


def can_enter(path: Path | str) -> bool:
    """Whether a folder may be looked into, without doing so; also where it is gone."""
    return os.access(path, os.R_OK | os.X_OK) or is_gone(path)


def folders_in(folder: Path | str) -> list[str]:
    """The paths of the folders in a folder; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return [entry.path for entry in entries if is_folder(entry)]
    except OSError:
        return []


def real(path: Path | str) -> Path:
    """The path without links; also where nothing is, or where links lead in a circle."""
    return Path(os.path.realpath(path))


def regular(path: str) -> Stat | None:
    """The stat of a regular file, None for everything else and for what is gone."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    is_file = stat.S_ISREG(status.st_mode)
    return Stat(status.st_size, status.st_mtime_ns, status.st_ino) if is_file else None


def below(path: Path, folder: Path | str) -> tuple[str, ...]:
    """The parts of `path` below `folder`, which may itself be a link; () where it is not below."""
    inside, above = str(path), f"{folder}/"
    if not inside.startswith(above):
        above = f"{real(folder)}/"
    return tuple(inside[len(above) :].split("/")) if inside.startswith(above) else ()


def head(path: Path, limit_bytes: int) -> bytes:
    """The first bytes of a file, b'' where it cannot be read; never waits, never follows a link."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, limit_bytes)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def session_file(name: str, path: Path | str, role: Role, status: Stat) -> SessionFile:
    """A file of a session from what was found of it."""
    return SessionFile(name, path, role, *status)


def readable(name: str) -> str:
    """Return a file's name as text: bytes that are no UTF-8 are written out, so that records can hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name

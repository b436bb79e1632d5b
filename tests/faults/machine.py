"""A machine that dies at any boundary between the engine and the rest of the world, as a process or of its power.

A boundary is a call that leaves something behind: a write, a sync, a new name, a commit, a request.  What a
killed process wrote stays.  What a machine without power wrote stays where it was made durable; of the
rest any part may be there, in any order: that is recorded here and then taken away.
"""

from __future__ import annotations

import functools
import os
import random
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sessionsync.remote.wire import Wire

T = TypeVar("T")


class Crash(BaseException):
    """Nothing of this process happens any more."""


@dataclass
class _Unsynced:
    """A file as it is on the platters, and what was done to it since: (offset, bytes), or (length, None) for a cut."""

    descriptor: int
    durable: bytes
    done: list[tuple[int, bytes | None]] = field(default_factory=list)


@dataclass
class _Name:
    """A name that is new in a folder that was not synced since."""

    folder: int
    identity: tuple[int, int]
    name: str


class Machine:
    """Patched under the engine by `install`; only the thread that made it ever dies.

    `arm` lights a fuse of so many boundaries, of all or of one kind; inside `running` it burns.
    """

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.died_of = ""
        self._left: int | None = None
        self._kind = ""
        self._on = False
        self._dead = False
        self._thread = threading.get_ident()
        self._unsynced: dict[tuple[int, int], _Unsynced] = {}
        self._names: list[_Name] = []

    def arm(self, boundaries: int, kind: str = "") -> None:
        self._left, self._kind = boundaries, kind

    def disarm(self) -> None:
        self._left = None

    @contextmanager
    def running(self) -> Iterator[None]:
        self._on = True
        try:
            yield
        finally:
            self._on = False

    # --- dying

    def at(self, what: str, act: Callable[[], T], half: Callable[[], object] | None = None) -> T:
        """Do `act`, or die before, after, or with half of it done."""
        if not self._on or threading.get_ident() != self._thread:
            return act()
        if self._dead:  # whatever still runs on the way out leaves nothing behind
            raise Crash
        counts = self._left is not None and self._kind in {"", what}
        if self._left is None or not counts or self._left > 0:
            self._left = self._left - 1 if self._left and counts else self._left
            return act()
        moment = self.chance.choice(("before", "after", "amid") if half else ("before", "after"))
        if moment == "after":
            act()
        elif moment == "amid" and half:
            half()
        self._dead = True
        self.died_of = f"{moment} {what}"
        raise Crash

    def recover(self, *, power: bool) -> None:
        """Come back; with `power` lost, without what was not durable."""
        if power:
            self._lose()
        self._dead, self._left = False, None
        for file in self._unsynced.values():
            os.close(file.descriptor)
        for name in self._names:
            os.close(name.folder)
        self._unsynced.clear()
        self._names.clear()

    def _lose(self) -> None:
        for file in self._unsynced.values():
            survivors = file.done
            match self.chance.randrange(3):
                case 0:
                    survivors = survivors[: self.chance.randint(0, len(survivors))]
                case 1:
                    survivors = [each for each in survivors if self.chance.random() < 0.5]
            content = bytearray(file.durable)
            for offset, data in survivors:
                if data is None:
                    del content[offset:]
                    continue
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(data)] = data
            os.ftruncate(file.descriptor, 0)
            os.pwrite(file.descriptor, content, 0)
        for name in reversed(self._names):
            if self.chance.random() < 0.5:
                continue
            with suppress(FileNotFoundError):
                if stat.S_ISDIR(os.stat(name.name, dir_fd=name.folder, follow_symlinks=False).st_mode):
                    shutil.rmtree(name.name, dir_fd=name.folder)
                else:
                    os.unlink(name.name, dir_fd=name.folder)

    # --- recording

    def _touched(self, descriptor: int) -> _Unsynced:
        status = os.fstat(descriptor)
        key = status.st_dev, status.st_ino
        if key not in self._unsynced:
            durable = os.pread(descriptor, status.st_size, 0)
            self._unsynced[key] = _Unsynced(os.dup(descriptor), durable)
        return self._unsynced[key]

    def _synced(self, descriptor: int) -> None:
        status = os.fstat(descriptor)
        key = status.st_dev, status.st_ino
        if (file := self._unsynced.pop(key, None)) is not None:
            os.close(file.descriptor)
        for name in [name for name in self._names if name.identity == key]:
            os.close(name.folder)
            self._names.remove(name)

    def _named(self, name: object, folder: int | None) -> None:
        if folder is None or not self._on or threading.get_ident() != self._thread:
            return
        status = os.fstat(folder)
        self._names.append(_Name(os.dup(folder), (status.st_dev, status.st_ino), os.fsdecode(str(name))))

    # --- under the engine

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put it between the engine and the system for the length of a test."""
        machine = self
        ours = functools.partial(_is_ours, self)
        pwrite, ftruncate, fsync = os.pwrite, os.ftruncate, os.fsync
        opened, mkdir, link, rename = os.open, os.mkdir, os.link, os.rename

        def a_write(descriptor: int, data: Any, offset: int) -> int:
            taken = bytes(data)

            def write(part: bytes = taken) -> int:
                if ours():
                    machine._touched(descriptor).done.append((offset, part))
                return pwrite(descriptor, part, offset)

            torn = taken[: machine.chance.randint(0, len(taken))] if ours() else b""
            return machine.at("write", write, lambda: write(torn))

        def a_cut(descriptor: int, length: int) -> None:
            def cut() -> None:
                if ours():
                    machine._touched(descriptor).done.append((length, None))
                ftruncate(descriptor, length)

            machine.at("cut", cut)

        def a_sync(descriptor: int) -> None:
            def sync() -> None:
                if ours():
                    machine._synced(descriptor)  # what it costs to really do it is no part of the story
                else:
                    fsync(descriptor)

            machine.at("sync", sync)

        def an_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            is_new = bool(flags & os.O_CREAT) and dir_fd is not None and not _is_there(path, dir_fd)
            descriptor = opened(path, flags, mode, dir_fd=dir_fd)
            if is_new:
                machine._named(path, dir_fd)
            return descriptor

        def a_folder(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
            def make() -> None:
                mkdir(path, mode, dir_fd=dir_fd)
                machine._named(path, dir_fd)

            machine.at("folder", make)

        def a_link(source: Any, target: Any, **where: Any) -> None:
            def make() -> None:
                link(source, target, **where)
                machine._named(target, where.get("dst_dir_fd"))

            machine.at("link", make)

        def a_rename(source: Any, target: Any, **where: Any) -> None:
            machine.at("rename", lambda: rename(source, target, **where))

        for name, function in {
            "pwrite": a_write, "ftruncate": a_cut, "fsync": a_sync, "open": an_open,
            "mkdir": a_folder, "link": a_link, "rename": a_rename,
        }.items():  # fmt: skip
            patch.setattr(os, name, function)

        class Connection(sqlite3.Connection):
            def execute(self, statement: str, parameters: Any = (), /) -> sqlite3.Cursor:
                execute = super().execute
                if statement == "COMMIT" or machine._dead:
                    return machine.at("commit", lambda: execute(statement, parameters))
                return execute(statement, parameters)

        patch.setattr(sqlite3, "connect", functools.partial(sqlite3.connect, factory=Connection))
        ask = Wire.ask
        patch.setattr(Wire, "ask", lambda wire, *request: machine.at("request", lambda: ask(wire, *request)))


def _is_ours(machine: Machine) -> bool:
    return machine._on and threading.get_ident() == machine._thread


def _is_there(path: Any, folder: int) -> bool:
    try:
        os.stat(path, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def quick_folder(fallback: Path) -> Path:
    """A folder in memory where the system has one: what is durable is decided here, not by the disk."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and os.access(shared, os.W_OK) else fallback

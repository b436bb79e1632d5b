"""Under which name this machine keeps each project, for hook and daemon alike.

Of the standard library alone: a hook comes here, where its session is new.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import unicodedata
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sessionsync import project_registry as registry
from sessionsync.errors import CopyError, DiskFull

NAME_BYTES = 80  # of a project's name; a folder's may have 255
SCHEMA = 1
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
# What no system takes in a folder's name, or shows as something else.
_UNSAFE = r"[\x00-\x1f\x7f/\\:*?\"<>|\ud800-\udfff\u200e\u200f\u2028-\u202e\u2066-\u2069]+"


class ProjectIdentity(NamedTuple):
    """`key` is the same on every machine with this repository; `root` is a path of this machine.

    `name_hint` is what the project would be called if no other had that name.
    """

    key: str
    root: str
    name_hint: str


def is_folder(path: str) -> bool:
    """Whether a folder is there, as far as one may look."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 - Path.is_dir raises where it may not look
    except OSError:
        return False


def folder_name(hint: str) -> str:
    """Return `hint` as the name of a folder that every system takes; `project` if nothing is left of it."""
    name = unicodedata.normalize("NFC", re.sub(_UNSAFE, "-", hint)).strip(" .-")
    name = name.encode()[:NAME_BYTES].decode(errors="ignore").rstrip(" .")
    return name or "project"


class _Registry(NamedTuple):
    """What `.projects.json` holds: names by key, and what was put down of sessions from elsewhere."""

    names: dict[str, str]
    homes: dict[str, ProjectIdentity]


_EMPTY = _Registry({}, {})


class Names:
    """The names of this machine's projects, in `<mirror_dir>/.projects.json`, for hook and daemon.

    A name once given stays: folders are called after it.  Two projects never have names that differ
    only in case or in how an accent is written.

    A session that was begun on another machine names a folder of that one.  Whoever puts it back here
    says which project it is of (`put_down`), before its first byte is there; who captures it asks
    (`home`).
    """

    def __init__(self, mirror_dir: Path) -> None:
        self._path = mirror_dir / registry.NAME
        self._lock = mirror_dir / ".projects.lock"
        self._known = _EMPTY
        self._promised: dict[str, str] = {}
        self._seen: tuple[int, int, int] | None = None

    def name_for(self, key: str, hint: str) -> str:
        """Return the project's name; a new one gets `hint`, with 6 hex digits if that is taken.

        Raises:
            DiskFull: a new name could not be written down for want of space.
            CopyError: nor for another reason.
        """
        if (name := self.known().get(key)) is not None:
            return name
        self.name_all({key: hint})
        return self._known.names[key]

    def name_all(self, hints: Mapping[str, str]) -> None:
        """Give all of these projects, hints by key, their names, and write them down at once.

        Raises:
            DiskFull: new names could not be written down for want of space.
            CopyError: nor for another reason.
        """
        if not (new := hints.keys() - self.known().keys()):
            return
        with self._changing(f"The name of project {min(new)}") as known:
            used = set(map(_folded, known.names.values()))
            for key, hint in hints.items():
                if key not in known.names:
                    known.names[key] = _free_name(key, hint, used)
                    used.add(_folded(known.names[key]))

    def promised(self, key: str, hint: str) -> str:
        """The name that a project will have, where it cannot be written down yet; `keep` does that later.

        Nobody else here is promised the same meanwhile.
        """
        taken = {**self._promised, **self.known()}
        self._promised[key] = taken.get(key) or _free_name(key, hint, set(map(_folded, taken.values())))
        return self._promised[key]

    def known(self) -> dict[str, str]:
        """Every project's name by its key; needs no lock, as the file is only ever replaced."""
        return self._look().names

    def keep(self, names: Mapping[str, str]) -> None:
        """Put back names, by key, that were given and are not in the file any more: somebody deleted it.

        A name that another project was given meanwhile stays that one's.

        Raises:
            DiskFull: they could not be written down for want of space.
            CopyError: nor for another reason.
        """
        known = self.known()
        if lost := {key: name for key, name in names.items() if key not in known}:
            with self._changing("A project's name") as registry:
                used = {_folded(name) for name in registry.names.values()}
                for key, name in lost.items():
                    if key not in registry.names and _folded(name) not in used:
                        registry.names[key] = name
                        used.add(_folded(name))

    def home(self, session: str, cwd: str) -> ProjectIdentity | None:
        """What was put down of `session`, begun in `cwd`; None where the folder says it by itself.

        What was put down of another session of that folder counts where the folder is not here: a session
        that was forked off one names the same.
        """
        homes = self._look().homes
        if (home := homes.get(session)) is not None:
            return home
        home = homes.get(cwd)
        return None if home is None or is_folder(cwd) else home

    def put_down(self, session: str, cwd: str, home: ProjectIdentity) -> None:
        """Say that a session, begun in `cwd` on another machine, is of the project `home` here.

        `session` is a `Ref` as text where ids are unique, else where the session lies; `cwd` is '' where it
        is not known.  A path that is a folder of this machine as well stays what it is.

        Raises:
            DiskFull: it could not be written down for want of space.
            CopyError: nor for another reason.
        """
        said = dict.fromkeys([session] if not cwd or is_folder(cwd) else [session, cwd], home)
        if said.items() <= self._look().homes.items():
            return
        with self._changing(f"The project of {session}") as known:
            known.homes.update(said)

    def _look(self) -> _Registry:
        try:
            status = self._path.stat(follow_symlinks=False)
        except OSError:
            return _EMPTY
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            self._known, self._seen = _parse(registry.content(self._path)) or _EMPTY, seen
        return self._known

    @contextmanager
    def _changing(self, what: str) -> Iterator[_Registry]:
        """The registry under its lock, to be changed, and written down if it was."""
        try:
            with self._locked():
                was = self._read()
                known = _Registry(dict(was.names), dict(was.homes))
                yield known
                if known != was:
                    self._write(known)
        except OSError as error:
            kind = DiskFull if error.errno in _NO_SPACE else CopyError
            raise kind(
                f"{what} could not be written to {self._path}: {error.strerror}.",
                hint="Make room, or let backup.mirror_dir be a folder that can be written to.",
            ) from error
        self._known = known

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._lock, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # held for one small write; closing it gives it up
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> _Registry:
        """What is on disk; a file that cannot be understood is kept under another name."""
        if not os.path.lexists(self._path):
            return _EMPTY
        known = _parse(registry.content(self._path))
        if known is None:
            number = 1
            while os.path.lexists(aside := self._path.with_name(f".projects.{number}.bad.json")):
                number += 1
            self._path.rename(aside)
            return _EMPTY
        return known

    def _write(self, known: _Registry) -> None:
        homes = {place: home._asdict() for place, home in known.homes.items()}
        value = {"schema": SCHEMA, "names": known.names, **({"homes": homes} if homes else {})}
        text = json.dumps(value, ensure_ascii=False, indent=1)
        draft = self._path.with_name(".projects.json.tmp")
        draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with open(os.open(draft, flags, 0o600), "w", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123 - by descriptor
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _parse(text: str) -> _Registry | None:
    """What a registry's text says, None where it is none."""
    if (said := registry.parse(text)) is None:
        return None
    names, homes = said
    return _Registry(names, {place: home for place, at in homes.items() if (home := _home(at)) is not None})


def _home(said: object) -> ProjectIdentity | None:
    """A project as a registry says it; its root may be gone by now, and is no more than watched."""
    parts = [said.get(field) for field in ProjectIdentity._fields] if isinstance(said, dict) else []
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) < len(ProjectIdentity._fields) or not texts[0] or not texts[1].startswith("/"):
        return None
    return ProjectIdentity(*texts)


def _free_name(key: str, hint: str, used: Container[str]) -> str:
    """The project's name; others have those that are `used`, folded."""
    name = folder_name(hint)
    if _folded(name) not in used:
        return name
    digits = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
    lengths = range(6, len(digits) + 1, 2)
    return next(full for n in lengths if _folded(full := f"{name}-{digits[:n]}") not in used)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())

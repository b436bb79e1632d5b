"""The hook's half of layer 1: what a transcript has is in its plain copy before anything else is done.

The copy is the very file the daemon writes, at the same offsets with the same bytes, so both may write.
Here it is only added to: a copy that is longer than the session, or another, is left to the daemon.
Paths come from an agent's event and are believed only where they lead to a transcript in its folders.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from contextlib import contextmanager
from functools import partial

from sessionsync import project_registry as registry
from sessionsync.errors import CopyError, UsageError
from sessionsync.peek import PEEK_BYTES, UNKNOWN, first_cwd, is_session_id
from sessionsync.vault.copy import Copy, opened, place_of
from sessionsync.vault.folder import closing, sync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType
    from typing import Any

    from sessionsync.events import Emit
    from sessionsync.vault.mirror import Mirror

    Place = tuple[str, ...]

# What asking git for the project's name, and waiting for another process to write one down, may take.
GIT_S = 0.3
NAME_S = 0.5
BLOCK_BYTES = 1024 * 1024
# Where a copy is compared with its session before anything is added to it, as the daemon does.
HEAD_BYTES = 4 * 1024
TAIL_BYTES = 64 * 1024
PATH_BYTES = 4096
# Subagents that are looked at; the daemon sees them all.
SUBAGENTS = 2000


class Session:
    """A session by its transcript's place; what a copy is called after."""

    __slots__ = ("root", "session_id", "transcript")
    source = "claude"

    def __init__(self, session_id: str, transcript: str, root: str) -> None:
        self.session_id = session_id
        self.transcript = transcript
        self.root = root

    @property
    def folder(self) -> str:
        """The agent's folder of the project."""
        return os.path.dirname(self.transcript)  # noqa: PTH120 - hot


class Copied:
    """What became of one file: `size` of it was there, the copy has `length`, `added` of them now."""

    __slots__ = ("added", "length", "path", "size")

    def __init__(self, path: str, size: int, length: int, added: int) -> None:
        self.path = path
        self.size = size
        self.length = length
        self.added = added

    @property
    def complete(self) -> bool:
        """Whether size and hash of source and copy agree; the hash was compared before this was made."""
        return self.length == self.size


class Copies:
    """The plain copies below `folder`, to be added to.

    The usual one is there already, and grows.  What has to be made is made by the daemon's `Mirror`, which
    takes longer to import than all the rest of a hook takes.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._unsynced: dict[Place, None] = {}
        self._mirror: Mirror | None = None

    def path(self, place: Place) -> str:
        """Where a copy lies."""
        return "/".join((self.folder, *place))

    @contextmanager
    def open(self, place: Place) -> Iterator[Copy]:
        """A copy held open for reading and writing, made where it is missing.

        Raises:
            CopyError: it cannot be.
        """
        try:
            descriptor = opened(self.folder, place)
        except (OSError, CopyError):
            descriptor = -1  # it is missing, or no copy: the mirror knows which
        if descriptor < 0:
            from pathlib import Path  # noqa: PLC0415 - heavy

            with self.mirror().open(Path(self.path(place))) as copy:
                yield copy
            return
        with closing(descriptor):
            yield Copy(self.path(place), descriptor, partial(self._unsynced.setdefault, place))

    def mirror(self) -> Mirror:
        """The same copies as the daemon has them."""
        if self._mirror is None:
            from pathlib import Path  # noqa: PLC0415 - heavy

            from sessionsync.vault.mirror import Mirror  # noqa: PLC0415 - as above

            self._mirror = Mirror(Path(self.folder))
        return self._mirror

    def rest(self) -> None:
        """Hold nothing open; before a fork that closes what it was left."""
        if self._mirror is not None:
            self._mirror.rest()

    def flush(self) -> None:
        """Make durable what was added, as far as it can be: the daemon looks at all of it again."""
        for place in self._unsynced:
            with contextlib.suppress(OSError, CopyError), closing(opened(self.folder, place)) as copy:
                sync(copy)
        self._unsynced.clear()
        if self._mirror is not None:
            with contextlib.suppress(CopyError):
                self._mirror.flush()


def locate(path: object, roots: Sequence[str]) -> Session:
    """The session whose transcript this is: `<root>/projects/<folder>/<session>.jsonl`, a regular file.

    Raises:
        UsageError: it is not, or it lies elsewhere.
        FileNotFoundError: it is one, but there is no such file.
    """
    folder, name = _split(path)
    session = name.removesuffix(".jsonl")
    if not name.endswith(".jsonl") or not is_session_id(session):
        raise UsageError(f"{path!r} is not named like a transcript.")
    real = os.path.realpath(folder)
    for root in roots:
        if os.path.dirname(real) == os.path.realpath(f"{root}/projects"):  # noqa: PTH120 - hot
            transcript = f"{real}/{name}"
            status = _status(transcript)
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{path!r} is no regular file.")
            return Session(session, transcript, root)
    raise UsageError(f"{path!r} is not in the agent's folder.")


def _status(path: str) -> os.stat_result:
    """What lies there; UsageError where the system does not take the path, as for too long a name."""
    try:
        return os.lstat(path)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise UsageError(f"{path[:200]!r} cannot be looked at: {problem.strerror}.") from problem


def _split(path: object) -> tuple[str, str]:
    """Folder and name of an absolute path that a disk could have."""
    if isinstance(path, str) and path.startswith("/") and "\0" not in path and ".." not in path.split("/"):
        with contextlib.suppress(UnicodeEncodeError):
            if len(os.fsencode(path)) <= PATH_BYTES:
                return path.rpartition("/")[0] or "/", path.rpartition("/")[2]
    what = "It names no transcript" if path is None else f"{str(path)[:200]!r} is no path of a transcript"
    raise UsageError(f"{what}.")


def copy_session(copies: Copies, session: Session, agent: object, until: float, say: Emit) -> Copied:
    """Bring the copies of a session's transcripts up to date; what became of the main one.

    `agent` is the path of a subagent's transcript that the event names, if it does.  At `until`
    (monotonic) the rest is left to the daemon.

    Raises:
        CopyError: the main copy could not be made or verified; nothing that it had was cut.
        OSError: the transcript cannot be read.
    """
    project = _project(copies, session)
    main = f"{session.session_id}.jsonl"
    copied = copy_file(copies, place_of(project, session, main), session.transcript, until)
    for name, path in _subagents(session, agent, say):
        try:
            copy_file(copies, place_of(project, session, name), path, until)
        except (CopyError, OSError) as problem:
            say("session_copy_failed", file=name, reason=str(problem))
        if time.monotonic() > until:
            break
    return copied


def _project(copies: Copies, session: Session) -> str:
    """The project's name: the one whose folder has a copy already, else as the daemon finds it."""
    kept = _kept(copies, session)
    return next(iter(kept)) if len(kept) == 1 else _named(copies, session)


def _named(copies: Copies, session: Session) -> str:
    from pathlib import Path  # noqa: PLC0415 - heavy, and a session that is known does without

    from sessionsync.project_names import Names  # noqa: PLC0415 - as above

    names, cwd = Names(Path(copies.folder)), _cwd(session)
    with _at_most(NAME_S):
        if not cwd:
            return names.name_for(f"{UNKNOWN}:{session.root}", UNKNOWN)
        known_as = f"{session.source}:{session.session_id}"
        if (project := names.home(known_as, cwd)) is None:
            from sessionsync.projects import identify  # noqa: PLC0415 - as above

            project = identify(cwd, timeout_s=GIT_S)
        return names.name_for(project.key, project.name_hint)


def _kept(copies: Copies, session: Session) -> dict[str, str]:
    """The copies that are there, by the name of their project."""
    main, known = f"{session.session_id}.jsonl", registry.names(copies.folder)
    names = [name for key, name in known.items() if not key.startswith(f"{UNKNOWN}:")]
    paths = {name: copies.path(place_of(name, session, main)) for name in names}
    return {name: path for name, path in paths.items() if os.path.lexists(path)}


def older_copy(copies: Copies, session: Session) -> str | None:
    """The copy that is there from before, should none be made now."""
    return next((path for path in _kept(copies, session).values() if os.path.isfile(path)), None)  # noqa: PTH113


def _cwd(session: Session) -> str:
    """The first folder named in the transcript, else in a subagent's."""
    own = f"{session.folder}/{session.session_id}"
    for path in (session.transcript, *sorted(path for _, path in _below(own, session.session_id))):
        with contextlib.suppress(OSError), _source(path) as (descriptor, size):
            data = os.pread(descriptor, PEEK_BYTES, 0)
            if cwd := first_cwd(data, whole=len(data) == size):
                return cwd
    return ""


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Break off what waits for another process."""
    import signal  # noqa: PLC0415 - as above

    def over(_signal: int, _frame: FrameType | None) -> None:
        raise CopyError(f"The project's name was not found within {seconds} s.")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _subagents(session: Session, agent: object, say: Emit) -> Iterator[tuple[str, str]]:
    """Name and path of each subagent's transcript, the one that the event names first."""
    own = f"{session.folder}/{session.session_id}"
    found = dict(_below(own, session.session_id))
    if agent:
        try:
            yield _of_agent(session, agent, found)
        except (UsageError, OSError) as problem:
            say("hook_refused", reason=str(problem))
    yield from found.items()


def _of_agent(session: Session, agent: object, found: dict[str, str]) -> tuple[str, str]:
    """The subagent that the event names: below the session's own folder, or beside it as it used to be."""
    folder, name = _split(agent)
    path = f"{os.path.realpath(folder)}/{name}"
    if path.startswith(f"{session.folder}/{session.session_id}/subagents/"):
        inside = path.removeprefix(f"{session.folder}/")
        found.pop(inside, None)
        return inside, path
    if path == f"{session.folder}/{name}" and name.startswith("agent-") and name.endswith(".jsonl"):
        with _source(path) as (descriptor, _):
            first = os.pread(descriptor, TAIL_BYTES, 0).partition(b"\n")[0]
        if f'"{session.session_id}"'.encode() in first:
            return name, path
    raise UsageError(f"{str(agent)[:200]!r} is no subagent's transcript of this session.")


def _below(own: str, session_id: str) -> Iterator[tuple[str, str]]:
    """What lies in a session's `subagents`, links left out."""
    waiting, left = [f"{own}/subagents"], SUBAGENTS
    if os.path.islink(own) or os.path.islink(waiting[0]):  # noqa: PTH114 - hot
        return
    while waiting and left > 0:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                left -= 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False) and left >= 0:
                    yield session_id + entry.path[len(own) :], entry.path


@contextmanager
def _source(path: str) -> Iterator[tuple[int, int]]:
    """A regular file of the agent's, open, and its size; never waits, never follows a link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CopyError(f"{path} is no regular file.")
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def copy_file(copies: Copies, place: Place, source: str, until: float) -> Copied:
    """Add to a copy what it lacks, then compare hashes; stops at `until` (monotonic), between two blocks.

    Raises:
        CopyError: the copy is longer or another, or is not what was written; nothing of it was cut.
        OSError: the source cannot be read.
    """
    path = copies.path(place)
    with _source(source) as (descriptor, size):
        if not size and not os.path.lexists(path):
            return Copied(path, 0, 0, 0)
        with copies.open(place) as copy:
            begin = copy.size()
            if begin > size:
                raise CopyError(f"{path} is longer than the session, which was cut: the daemon keeps both.")
            tail = max(0, begin - TAIL_BYTES)
            for start, end in ((0, min(HEAD_BYTES, begin)), (tail, begin)):
                if os.pread(descriptor, end - start, start) != copy.read(start, end):
                    raise CopyError(f"{path} is not what the session was: the daemon keeps both.")
            read, end = _sha256(size - begin), begin
            while end < size and (end == begin or time.monotonic() < until):
                block = os.pread(descriptor, min(BLOCK_BYTES, size - end), end)
                if not block:
                    break  # it is being cut
                copy.write(end, block)
                read.update(block)
                end += len(block)
            written = _sha256(end - begin)
            for start in range(begin, end, BLOCK_BYTES):
                written.update(copy.read(start, min(start + BLOCK_BYTES, end)))
    if written.digest() != read.digest():
        raise CopyError(f"{path} does not hold what was written to it.")
    return Copied(path, size, end, end - begin)


def _sha256(size: int) -> Any:
    """A hash of so many bytes: of few by Python itself, as OpenSSL takes longer to load than these take."""
    if size <= BLOCK_BYTES:
        with contextlib.suppress(ImportError):
            return __import__("_sha2" if sys.version_info >= (3, 12) else "_sha256").sha256()
    import hashlib  # noqa: PLC0415 - several times as fast, and heavy

    return hashlib.sha256()

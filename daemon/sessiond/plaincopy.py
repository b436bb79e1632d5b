"""The hook's half of layer 1: what a transcript has is in its plain copy before anything else is done.

The copy is the very file the daemon writes, at the same offsets with the same bytes, so both may write.
Here it is only added to: a copy that is longer than the session, or another, is left to the daemon.
Paths come from an agent's event and are believed only where they lead to a transcript in its folders.
"""

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from sessionsync.errors import CopyError, UsageError
from sessionsync.events import Emit
from sessionsync.peek import PEEK_BYTES, SESSION_ID, UNKNOWN, first_cwd
from sessionsync.project_names import Names
from sessionsync.vault.mirror import Mirror

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


class Session(NamedTuple):
    """A session by its transcript's place; what a copy is called after."""

    session_id: str
    transcript: str
    root: str
    source: str = "claude"

    @property
    def folder(self) -> str:
        """The agent's folder of the project."""
        return os.path.dirname(self.transcript)  # noqa: PTH120 - hot


class Copied(NamedTuple):
    """What became of one file: `size` of it was there, the copy has `length`, `added` of them now."""

    path: Path
    size: int
    length: int
    added: int

    @property
    def complete(self) -> bool:
        """Whether size and hash of source and copy agree; the hash was compared before this was made."""
        return self.length == self.size


def locate(path: object, roots: Sequence[str]) -> Session:
    """The session whose transcript this is: `<root>/projects/<folder>/<session>.jsonl`, a regular file.

    Raises:
        UsageError: it is not, or it lies elsewhere.
        FileNotFoundError: it is one, but there is no such file.
    """
    folder, name = _split(path)
    session = name.removesuffix(".jsonl")
    if not name.endswith(".jsonl") or not SESSION_ID.fullmatch(session):
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
    raise UsageError(f"{str(path)[:200]!r} is no path of a transcript.")


def copy_session(
    mirror: Mirror, names: Names, session: Session, agent: object, until: float, say: Emit
) -> Copied:
    """Bring the copies of a session's transcripts up to date; what became of the main one.

    `agent` is the path of a subagent's transcript that the event names, if it does.  At `until`
    (monotonic) the rest is left to the daemon.

    Raises:
        CopyError: the main copy could not be made or verified; nothing that it had was cut.
        OSError: the transcript cannot be read.
    """
    project = _project(mirror, names, session)
    main = f"{session.session_id}.jsonl"
    copied = copy_file(mirror, mirror.path_of(project, session, main), session.transcript, until)
    for name, path in _subagents(session, agent, say):
        try:
            copy_file(mirror, mirror.path_of(project, session, name), path, until)
        except (CopyError, OSError) as problem:
            say("session_copy_failed", file=name, reason=str(problem))
        if time.monotonic() > until:
            break
    return copied


def _project(mirror: Mirror, names: Names, session: Session) -> str:
    """The project's name: the one whose folder has a copy already, else as the daemon finds it."""
    kept = _kept(mirror, names, session)
    if len(kept) == 1:
        return next(iter(kept))
    cwd = _cwd(session)
    with _at_most(NAME_S):
        if not cwd:
            return names.name_for(f"{UNKNOWN}:{session.root}", UNKNOWN)
        known_as = f"{session.source}:{session.session_id}"
        if (project := names.home(known_as, cwd)) is None:
            from sessionsync.projects import identify  # noqa: PLC0415 - a session that is known does without

            project = identify(cwd, timeout_s=GIT_S)
        return names.name_for(project.key, project.name_hint)


def _kept(mirror: Mirror, names: Names, session: Session) -> dict[str, Path]:
    """The copies that are there, by the name of their project."""
    main = f"{session.session_id}.jsonl"
    known = [name for key, name in names.known().items() if not key.startswith(f"{UNKNOWN}:")]
    places = {name: mirror.path_of(name, session, main) for name in known}
    return {name: place for name, place in places.items() if os.path.lexists(place)}


def older_copy(mirror: Mirror, names: Names, session: Session) -> Path | None:
    """The copy that is there from before, should none be made now."""
    return next((path for path in _kept(mirror, names, session).values() if path.is_file()), None)


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


def copy_file(mirror: Mirror, copy: Path, source: str, until: float) -> Copied:
    """Add to a copy what it lacks, then compare hashes; stops at `until` (monotonic), between two blocks.

    Raises:
        CopyError: the copy is longer or another, or is not what was written; nothing of it was cut.
        OSError: the source cannot be read.
    """
    with _source(source) as (descriptor, size):
        begin = mirror.size(copy)
        if begin > size:
            raise CopyError(f"{copy} is longer than the session, which was cut: the daemon keeps both.")
        tail = max(0, begin - TAIL_BYTES)
        for start, end in ((0, min(HEAD_BYTES, begin)), (tail, begin)):
            if os.pread(descriptor, end - start, start) != mirror.read(copy, start, end):
                raise CopyError(f"{copy} is not what the session was: the daemon keeps both.")
        read, end = hashlib.sha256(), begin
        while end < size and (end == begin or time.monotonic() < until):
            block = os.pread(descriptor, min(BLOCK_BYTES, size - end), end)
            if not block:
                break  # it is being cut
            mirror.write(copy, end, block)
            read.update(block)
            end += len(block)
    written = hashlib.sha256()
    for start in range(begin, end, BLOCK_BYTES):
        written.update(mirror.read(copy, start, min(start + BLOCK_BYTES, end)))
    if written.digest() != read.digest():
        raise CopyError(f"{copy} does not hold what was written to it.")
    return Copied(copy, size, end, end - begin)

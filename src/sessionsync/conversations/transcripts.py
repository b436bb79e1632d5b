"""Transcripts in the layout of the agent's own folder, written by the Agent SDK's store instead of the agent.

    projects/<project_key>/<session_id>.jsonl                    a session
    projects/<project_key>/<session_id>/<subpath>.jsonl          its subagents
    projects/<project_key>/<session_id>/<subpath>.meta.json      what the SDK sends as `agent_metadata`

So the daemon sees them as any other, and `sessiond restore` puts them back where both store and agent find
them.  A file is locked while lines are added to it.  Nothing is ever taken away: of a line that a killed
process left torn the rest stays, and what comes begins on a line of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sessionsync.conversations.naming import component
from sessionsync.errors import ConversationError, CopyError, CopyMismatch, UsageError
from sessionsync.sources.lines import document, lines, objects
from sessionsync.vault.folder import holds, read_at, sync, sync_folder

Entry = dict[str, Any]
Key = Mapping[str, Any]

LINES, METADATA = ".jsonl", ".meta.json"
AGENT_METADATA = "agent_metadata"
_OLD_SUBAGENT = "agent-"  # lay beside the session until 2.0


class Listed(NamedTuple):
    """A session, and when it was last written, in milliseconds."""

    session_id: str
    mtime: int


@dataclass(slots=True)
class _Seen:
    """How far a file was read, and what is in it.

    `loose` counts the lines without a uuid that somebody else wrote, until the store is given them;
    `agents` says that the agent itself writes this file, so that all the store is given is there already.
    """

    inode: int
    position: int = 0
    uuids: set[str] = field(default_factory=set)
    loose: Counter[str] = field(default_factory=Counter)
    agents: bool = False


class Transcripts:
    """The sessions below one of the agent's folders, to add to and to read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seen: dict[Path, _Seen] = {}

    def append(self, key: Key, entries: Sequence[Entry]) -> None:
        """Add the entries that are not there yet; they are on the disk when this returns.

        An entry with a `uuid` is there once, however often it comes.  One without is added each time, but
        where the agent itself writes this very file (its folder is the store's), and has written it.  For
        that a store takes what it finds in a file that it has neither loaded nor written.

        Raises:
            UsageError: the key cannot be the name of a file.
            ConversationError: they could not be written; nothing of them was.
        """
        path = self._path(key)
        told = [entry for entry in entries if entry.get("type") == AGENT_METADATA and key.get("subpath")]
        said = [entry for entry in entries if entry not in told]
        with _translated(path):
            if said:
                with _opened(path, create=True) as descriptor:
                    self._append(path, descriptor, said)
            if told:
                _tell(path.with_suffix(METADATA), told[-1])

    def load(self, key: Key) -> list[Entry] | None:
        """Every entry in its order, what is torn left out; None where nothing was ever added.

        Raises:
            UsageError: the key cannot be the name of a file.
            ConversationError: the file cannot be read.
        """
        path = self._path(key)
        with _translated(path):
            found = list(_told(path.with_suffix(METADATA))) if key.get("subpath") else []
            with suppress(FileNotFoundError), _opened(path) as descriptor:
                seen = _Seen(os.fstat(descriptor).st_ino)
                found += _read(descriptor, seen)
                self._seen.setdefault(path, seen)
        return found or None

    def sessions(self, project_key: str) -> list[Listed]:
        """The sessions of a project that hold anything."""
        folder = self._folder(project_key)
        found = []
        with _translated(folder), suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix(LINES)
                if name in {entry.name, ""} or name.startswith((".", _OLD_SUBAGENT)):
                    continue
                if entry.is_file(follow_symlinks=False) and (status := entry.stat()).st_size:
                    found.append(Listed(name, status.st_mtime_ns // 1_000_000))
        return found

    def subkeys(self, key: Key) -> list[str]:
        """The subpaths of a session, sorted."""
        folder = self._path({**key, "subpath": None}).with_suffix("")
        found = set()
        for ending in (LINES, METADATA):
            for path in folder.rglob(f"*{ending}"):
                found.add(str(path.relative_to(folder)).removesuffix(ending))
        return sorted(found)

    def _append(self, path: Path, descriptor: int, entries: Sequence[Entry]) -> None:
        status = os.fstat(descriptor)
        seen = self._seen.get(path)
        is_new = seen is None or seen.inode != status.st_ino or seen.position > status.st_size
        seen = _Seen(status.st_ino) if seen is None or is_new else seen
        rows = _take(descriptor, seen)
        theirs = {row["uuid"] for row in rows if isinstance(row.get("uuid"), str)}
        seen.agents |= any(entry.get("uuid") in theirs for entry in entries)
        self._seen.pop(path, None)  # what follows may fail, and be tried again
        fresh = [entry for entry in entries if not _is_there(entry, seen, trusted=is_new or seen.agents)]
        seen.agents |= is_new and not fresh
        if fresh:
            begin, end = _add(descriptor, fresh)
            _take(descriptor, seen, begin)  # the agent knows no lock
            seen.position = end
        self._seen[path] = seen

    def _folder(self, project_key: object) -> Path:
        return self.root / "projects" / component(project_key, "project key")

    def _path(self, key: Key) -> Path:
        """Where a key's lines lie."""
        session = component(key.get("session_id"), "session id")
        folder = self._folder(key.get("project_key"))
        if (subpath := key.get("subpath")) is None:
            return folder / f"{session}{LINES}"
        if not isinstance(subpath, str) or not subpath:
            raise UsageError(f"The subpath {subpath!r} is none.", hint="Leave it out for the session itself.")
        *above, name = (component(part, "subpath") for part in subpath.split("/"))
        return folder.joinpath(session, *above, f"{name}{LINES}")


def _is_there(entry: Entry, seen: _Seen, *, trusted: bool) -> bool:
    """Whether an entry is in the file; if not, it counts as such from now on."""
    uuid = entry.get("uuid")
    if isinstance(uuid, str):
        if uuid in seen.uuids:
            return True
        seen.uuids.add(uuid)
    elif trusted and seen.loose[text := _text(entry)] > 0:
        seen.loose[text] -= 1
        return True
    return False


def _take(descriptor: int, seen: _Seen, upto: int | None = None) -> list[Entry]:
    """Read on what somebody else has written since, all of it or `upto` a byte."""
    rows = _read(descriptor, seen, upto)
    seen.loose.update(_text(row) for row in rows if "uuid" not in row)
    return rows


def _read(descriptor: int, seen: _Seen, upto: int | None = None) -> list[Entry]:
    """Read on where `seen` ends; what was added since."""
    size = os.fstat(descriptor).st_size if upto is None else upto
    data = read_at(descriptor, seen.position, size)
    rows = [row for line, _ in lines(data, seen.position) for row in objects(line)]
    seen.uuids.update(uuid for row in rows if isinstance(uuid := row.get("uuid"), str))
    seen.position = size
    return rows


def _add(descriptor: int, entries: Sequence[Entry]) -> tuple[int, int]:
    """Write all of the entries at the end, wherever that is by then, or nothing; where they are.

    Only what is our own is taken back: the agent, which knows no lock, may have written behind it.
    """
    size = os.fstat(descriptor).st_size
    torn = size > 0 and read_at(descriptor, size - 1, size) != b"\n"
    data = "\n".join(["", *map(_text, entries), ""] if torn else [*map(_text, entries), ""]).encode()
    written = 0
    try:
        while written < len(data):
            written += os.write(descriptor, data[written:])
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        if not holds(descriptor, end - len(data), data):
            raise CopyMismatch("what was written is not what is there", hint="It is to be written again.")
        sync(descriptor)
    except (OSError, CopyError):
        with suppress(OSError):
            if os.fstat(descriptor).st_size == size + written:
                os.ftruncate(descriptor, size)
        raise
    return end - len(data), end


def _text(entry: Entry) -> str:
    text = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can only escape
        return json.dumps(entry, separators=(",", ":"))
    return text


def _tell(path: Path, entry: Entry) -> None:
    """Put what describes a subagent beside its lines, where it is not there."""
    said = {name: value for name, value in entry.items() if name != "type"}
    if [{"type": AGENT_METADATA, **said}] == list(_told(path)):
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - by descriptor
        file.write(_text(said))
        file.flush()
        sync(descriptor)
    draft.replace(path)
    sync_folder(path.parent)


def _told(path: Path) -> Iterator[Entry]:
    try:
        said = document(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return
    if isinstance(said, dict):
        yield {"type": AGENT_METADATA, **said}


@contextmanager
def _opened(path: Path, *, create: bool = False) -> Iterator[int]:
    """A file, alone with it if `create`; made where it is missing then."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_RDWR | os.O_APPEND | os.O_CREAT if create else os.O_RDONLY)
    if create:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_new = create and not path.exists()
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if create else fcntl.LOCK_SH)
        yield descriptor
        if is_new:
            sync_folder(path.parent)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, CopyError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise ConversationError(
            f"{path} cannot be used: {what}.",
            hint="Make room on that disk, or let the file and its folder be this user's.",
        ) from error

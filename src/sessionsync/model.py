"""The nouns that every step shares.  Plain values: no I/O, no clock.

Times are Unix seconds (`float`) inside the program and RFC 3339 in UTC in everything a user sees;
sizes are bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

KB = 1024
ACTIVE_S = 1800.0
"""A session that changed within so many seconds is active (spec: 30 minutes)."""


class Tier(StrEnum):
    """How much of a session goes into its GitHub comment; a tier never falls by itself."""

    GITHUB_ONLY = "github_only"
    HYBRID = "hybrid"
    LOCAL_PRIMARY = "local_primary"

    @property
    def rank(self) -> int:
        """0 for the smallest sessions, rising with size."""
        return list(Tier).index(self)


class Role(StrEnum):
    """What a file is to its session.  Only `main` and `part` count towards its size."""

    MAIN = "main"
    PART = "part"
    COMPANION = "companion"


# An append asks for those of its session several times, and each takes longer to be made than to be used.
@lru_cache(maxsize=128)
def as_path(where: str | Path) -> Path:
    """The path that a source or the state holds as text; those that were asked for last are remembered."""
    return Path(where)


# Of each session a rescan makes one of these three: a tuple takes a third of the time of a dataclass.
class Ref(NamedTuple):
    """A session's identity on this machine: `source` and `session_id`, written `source:id`.

    `scope` tells apart sessions that share an id because a person chose it: the folder of its project,
    '' where ids are unique by themselves.  Of a session that is one file the id is its path below `scope`.
    """

    source: str
    session_id: str
    scope: str = ""

    def __str__(self) -> str:
        return f"{self.source}:{self.session_id}"


class SessionFile(NamedTuple):
    """A file of a session as a source sees it on disk now.

    `name` is its path inside the session, with `/`: what the record and `restore --out` show.
    `where` is where it lies, as the source has it; who opens it takes `path`.  The rest is from `stat`.
    """

    name: str
    where: str | Path
    role: Role
    size: int
    mtime_ns: int
    inode: int

    @property
    def path(self) -> Path:
        """Where it lies; made when it is asked for, as that takes longer than to look whether it changed."""
        return as_path(self.where)


class Found(NamedTuple):
    """A session as a source sees it on disk now.

    `root` is what `local_path` is relative to: the agent's folder, or the project's.
    `where` is its `location` as the source has it.
    `stem` is what its name ends with where that is made of the project's: `<source>.<PROJECT>.<stem>`;
    '' where the id itself is the name.
    """

    ref: Ref
    root: Path
    where: str | Path
    files: tuple[SessionFile, ...]
    stem: str = ""

    @property
    def location(self) -> Path:
        """The main file, or the folder of a structured session; it may be gone while others are there."""
        return as_path(self.where)

    @property
    def known_as(self) -> str:
        """What names the session alone on this machine: its id, or, where people choose ids, its place."""
        return str(self.location) if self.ref.scope else str(self.ref)

    @property
    def size(self) -> int:
        """Bytes that count for the tier."""
        return sum(f.size for f in self.files if f.role is not Role.COMPANION)

    @property
    def mtime(self) -> float:
        """Newest modification of any file, Unix seconds; 0.0 without files."""
        return max((f.mtime_ns for f in self.files), default=0) / 1e9


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file where a checkpoint belongs: `offset` is just behind the line that says so."""

    offset: int
    trigger: str


class CheckpointEntry(msgspec.Struct, frozen=True):
    """A checkpoint as the record lists it; `at` is RFC 3339."""

    id: str
    at: str
    trigger: str


class CriticalData(msgspec.Struct, omit_defaults=False):
    """What must survive of a session whatever its size; the same keys in every tier."""

    decisions: list[str] = []
    checkpoints: list[CheckpointEntry] = []
    current_phase: str = ""
    next_steps: list[str] = []


class Context(msgspec.Struct, frozen=True):
    """Where the work of a session happened, for finding it by branch, issue or pull request."""

    repo: str = ""
    branch: str = ""
    commit: str = ""
    issue: int = 0
    pr: int = 0
    run_id: int = 0


class Summary(msgspec.Struct):
    """What has been read out of a session so far; small, kept with the read position.

    `cwd` is the first one in the file, for ever; the others follow the newest line.
    `prompts` counts messages a user typed, `turns` finished answers of the agent, `bad_lines`
    lines that could not be parsed.  `scratch` belongs to the source alone: what it must remember
    between two reads.  While it is `skimmed` all of this is a first look: see `Source.skim`.
    """

    title: str = ""
    cwd: str = ""
    branch: str = ""
    agent_version: str = ""
    started_at: str = ""
    last_at: str = ""
    status: str = ""
    prompts: int = 0
    turns: int = 0
    bad_lines: int = 0
    critical: CriticalData = msgspec.field(default_factory=CriticalData)
    quality: dict[str, float] = {}
    context: Context = Context()
    scratch: dict[str, str | list[str]] = {}
    skimmed: bool = False


class FileEntry(msgspec.Struct, frozen=True):
    """A file in a record.

    `sha256` is of the bytes on disk; it is null where redaction changed them, and `stored_sha256`, of
    the redacted bytes, counts instead.
    """

    path: str
    size: int
    sha256: str | None
    stored_sha256: str | msgspec.UnsetType | None = msgspec.UNSET


def rfc3339(at: float) -> str:
    """Unix seconds as RFC 3339 in UTC, whole seconds.

    >>> rfc3339(0)
    '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def unix_seconds(text: str) -> float:
    """The inverse of `rfc3339`, for any offset and fraction; ValueError where it is no such time."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        msg = f"{text!r} has no time zone"
        raise ValueError(msg)
    return moment.timestamp()


def checkpoint_id(at: float, taken: Iterable[str] = ()) -> str:
    """The id of a checkpoint made at `at`: `YYYYMMDDTHHMMSSZ`, `-2`, `-3` … where that is taken."""
    stem = datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%SZ")
    used = set(taken)
    if stem not in used:
        return stem
    n = 2
    while f"{stem}-{n}" in used:
        n += 1
    return f"{stem}-{n}"

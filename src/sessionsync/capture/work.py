"""A session between two flushes, and the numbers that capturing goes by."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from sessionsync.catalog import Checkpoint, File, Session
from sessionsync.errors import DiskFull
from sessionsync.model import Found, Summary
from sessionsync.vault import Root, SessionVault

# What is compared at each capture to see whether what was read before is still there.
HEAD_BYTES = 4 * 1024
TAIL_BYTES = 64 * 1024
# Of so many files, those captured last, the last 64 KB are remembered: 2 MB.
TAILS = 32
# What is held in memory of a file at once.
BLOCK_BYTES = 4 * 1024 * 1024
# The vault takes a segment at a checkpoint, at this many bytes or at this age.
SEGMENT_BYTES = 256 * 1024
SEGMENT_AGE_S = 60.0
# A block shorter than this is copied and read in less time than it takes to share that out.
LEAST_SHARED_BYTES = 128 * 1024
# How much of one session is captured before the others have their turn: half a second on a slow disk.
TURN_BYTES = 32 * 1024 * 1024
# Captured sessions are flushed when so many wait for it: their rows are in memory until then.
FLUSH_SESSIONS = 100
# A session that never rests gets a checkpoint this often.
LONGEST_WITHOUT_CHECKPOINT_S = 600.0
# A file in checkpoints/ is complete when it has not changed for this long.
SETTLED_S = 1.0


Read = Callable[[int, int], bytes]
"""Gives the bytes [begin, end) of a file."""


@dataclass(slots=True)
class Edges:
    """The first 4 KB and the last 64 KB of what was captured of a file, as they were read.

    Never as the plain copy has them: of a copy that was damaged they would vouch for the damage.
    """

    head: bytes = b""
    tail: bytes = b""

    @classmethod
    def of(cls, read: Read, length: int) -> Self:
        """Those of so many bytes."""
        return cls(read(0, min(HEAD_BYTES, length)), read(max(0, length - TAIL_BYTES), length))

    def take(self, block: bytes) -> None:
        """Go on with the bytes that follow."""
        if len(self.head) < HEAD_BYTES:
            self.head = (self.head + block[:HEAD_BYTES])[:HEAD_BYTES]
        last = block[-TAIL_BYTES:]
        self.tail = last if len(last) == TAIL_BYTES else (self.tail + last)[-TAIL_BYTES:]

    def are_of(self, file: File, hashed: Hashed) -> bool:
        """Whether the file's are these."""
        return sha256(self.head) == file.head and hashed.holds(self.tail, file.tail)

    def keep(self, file: File, hashed: Hashed) -> None:
        """Let the file's be these."""
        file.head, file.tail = sha256(self.head), hashed.sha256(self.tail, instead_of=file.tail)


class Hashed:
    """What was hashed last, so many pieces of it: to compare the same again costs a twentieth of its hash."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pieces: OrderedDict[str, bytes] = OrderedDict()

    def sha256(self, data: bytes, *, instead_of: str = "") -> str:
        """In hex; the piece is remembered, and that of another hash, whose place it takes, no more."""
        self._pieces.pop(instead_of, None)
        found = sha256(data)
        self._pieces[found] = data
        self._pieces.move_to_end(found)
        if len(self._pieces) > self._most:
            self._pieces.popitem(last=False)
        return found

    def holds(self, data: bytes, digest: str) -> bool:
        """Whether this is the hash of these bytes."""
        known = self._pieces.get(digest)
        return self.sha256(data) == digest if known is None else known == data

    def let_go(self) -> None:
        """Remember nothing."""
        self._pieces.clear()


@dataclass(slots=True)
class Work:
    """A session between two flushes: its rows as they will be committed."""

    session: Session
    files: dict[str, File]
    changed: set[str] = field(default_factory=set)
    roots: dict[str, Root] = field(default_factory=dict)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    news: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    captured_bytes: int = 0
    """Since the last commit, as the news are."""
    vault: SessionVault | None = None
    is_first: bool = False
    """Whether its vault was begun just now: there is nothing in it to be asked for."""
    skims: bool = False
    """Whether what is new is only skimmed, see `Source.skim`."""
    told: Summary | None = None
    """What its newest checkpoint is to tell instead: its lines were skimmed then, and are read by now."""
    fresh: tuple[str, int, bytes] | None = None
    """The block that was read last: of which file, from where on; so that nobody reads it again."""
    full: DiskFull | None = None
    """Why a plain copy was left behind at the last look: the vault has what it lacks."""

    def let_go(self) -> None:
        """Hold nothing but the rows and what is to be told: the rest can be had again."""
        self.roots.clear()
        self.vault = self.fresh = None

    def tell(self, event: str, **fields: Any) -> None:
        """Tell this once it is committed: on a full disk it is found out again and again."""
        self.news.append((event, {"session": self.session.name, **fields}))

    def touch(self, now: float) -> None:
        """Take note that it changed."""
        self.session.changed_at = now
        if self.session.dirty_since is None:
            self.session.dirty_since = now

    def appoint(self, at: float) -> None:
        """Have it looked at then, or before, although no file changes."""
        look_at = self.session.look_at
        self.session.look_at = at if look_at is None else min(look_at, at)


def fingerprint(found: Found | None) -> int:
    """One number for what `stat` says of all files of a session; differs when any of them changed."""
    said = [(f.name, f.size, f.mtime_ns, f.inode) for f in found.files] if found is not None else []
    text = repr(sorted(said)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()

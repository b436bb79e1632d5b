"""What is watched: one module a format, all with the same face.

A source knows where its sessions lie, which file belongs to which, and what can be read out of
them.  It never writes, never follows a symbolic link below its roots, and never raises for content:
files belong to other programs, which may be writing them at this moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # a format's parts are imported by those who want them
    from sessionsync.model import Found, Mark, Ref, Role, SessionFile, Summary
    from sessionsync.sources.passages import Passage
    from sessionsync.sources.usage import Usage

Read = Callable[[str], bytes | None]
"""Gives the captured bytes of a file of the session by its name; None where it is gone or too large."""


class Source(Protocol):
    """A format of sessions on this disk."""

    name: str
    prunes: bool
    """Whether the agent cleans up after itself: then a file's deletion is nobody's decision."""

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Folders that could not be looked into the last time, and why; what was there may still be."""

    @property
    def passed_over(self) -> Mapping[str, str]:
        """What is not read where a session is looked for, as it is a symbolic link; and why."""

    def roots(self) -> list[Path]:
        """The existing folders to watch with all below them, their own symbolic links resolved."""

    def awaited(self) -> list[Path]:
        """The folders that would be roots if they were there."""

    def find(self) -> Iterator[Found]:
        """Every session on disk now, from folder listings and `stat` alone."""

    def locate(self, path: Path) -> Ref | None:
        """The session a changed path below a root belongs to, None where it is nobody's."""

    def look(self, ref: Ref) -> Found | None:
        """One session as `find` would give it now; None where nothing of it is there."""

    def peek_cwd(self, found: Found, limit_bytes: int) -> str:
        """The folder the session was started in, searched in the first bytes of its files; '' if unknown."""

    def append_only(self, name: str) -> bool:
        """Whether a file grows by lines, and is given to `follow` as it does."""

    def follow(self, summary: Summary, name: str, data: bytes, offset: int) -> list[Mark]:
        """Read further lines of the file `name`, of which `data` begins at `offset`, into `summary`.

        Only the last line of a file may lack its newline.  How the lines are spread over calls makes
        no difference to the summary or the marks.
        """

    def skim(self, summary: Summary, name: str, data: bytes, offset: int) -> list[Mark]:
        """As `follow`, but of long lines only what must not wait: the marks, and a first look at the rest.

        Says so in the summary where it has left something out; whoever skims follows later, from the
        beginning and with an empty summary, and has the marks already.
        """

    def passages(self, name: str, data: bytes, offset: int) -> Iterator[Passage]:
        """What can be searched of whole lines of a transcript at `offset`, or of a whole small file."""

    def usage(self, role: Role, data: bytes, memory: str, restored: Sequence[int]) -> Usage:
        """What whole lines of a file that grows tell of cost and time.

        `memory` is what the lines before them left, '' at the beginning of the file; `restored` is when the
        session was put back on this machine (Unix milliseconds).
        """

    def conclude(self, summary: Summary, found: Found, read: Read) -> None:
        """Bring `summary` up to date from the session's small files that are rewritten as a whole."""

    def checkpoint_files(self, found: Found) -> list[SessionFile]:
        """The files of the session that are checkpoints by themselves once they are complete."""

    def is_complete(self, name: str, data: bytes) -> bool:
        """Whether a whole file looks finished: JSON must parse, of others nothing is known."""

    def stamp(self, summary: Summary) -> str:
        """What of it makes a checkpoint when it has changed; '' where nothing does."""

"""An issue's context file, made whole again from the issue: what its record holds, and what was said since.

What was said is quoted: it is not the file's, no heading or list in it is read as the file's own, and a
reader sees whose words they are.  Each comment is taken once, by the mark that its heading carries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sessionsync.model import Role, unix_seconds
from sessionsync.remote import comments
from sessionsync.remote.github import Comment
from sessionsync.restore.copies import Copy, CopyFile
from sessionsync.vault import StoredFile

TEXT_CHARS = 20_000
"""Of one comment; a longer one is cut, and says where it can be read."""
COMMENTS = 200
"""The newest, of one rebuilding."""
_MARK = re.compile(rb"^<!-- sessiond comment=(\d{1,18}) -->", re.MULTILINE)
# What does not show, or turns a text around.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")

Counts = Callable[[str, str], bool]
"""Whether an author, with this association, is believed; see `Trusted`."""


class Discussed(NamedTuple):
    """The file, how many comments were added to it, and how many by strangers were left out."""

    data: bytes
    added: int
    strangers: int


def with_discussion(data: bytes, said: Iterable[Comment], *, since: float, counts: Counts) -> Discussed:
    """Append what people said on an issue after `since` (Unix seconds, GitHub's clock) to its context file.

    Of a file that was made so before, the comments count that came after the last one in it.  Records are
    no comments, bots are no people, and of somebody whom the repository does not know nothing is put
    before an agent.  The file's own bytes stay as they are.
    """
    known = {int(number) for number in _MARK.findall(data)}
    last = max(known, default=0)
    people: list[Comment] = []
    strangers = 0
    for comment in said:
        is_new = comment.id > last if known else _at(comment) >= since
        if not is_new or not _is_said(comment):
            continue
        if counts(comment.author, comment.author_association):
            people.append(comment)
        else:
            strangers += 1
    people.sort(key=lambda comment: comment.id)
    return Discussed(_appended(data, people[-COMMENTS:]), len(people[-COMMENTS:]), strangers)


@dataclass(frozen=True, slots=True, eq=False)
class DiscussedCopy:
    """A copy of a context file with what people have said behind it; else what the copy is."""

    origin: str
    checkpoint: str | None
    alias: str
    at: float
    exact: bool
    doubtful: bool
    united: bool
    author: str
    revision: int
    file: CopyFile
    data: bytes
    main: StoredFile | None = None

    def files(self) -> Sequence[CopyFile]:
        """The one file."""
        return [self.file]

    def read(self, file: CopyFile) -> Iterator[bytes]:
        """Its bytes, and what was said."""
        del file
        yield self.data


def discussed(copy: Copy, said: Iterable[Comment], *, counts: Counts) -> tuple[Copy, Discussed]:
    """A copy of a context file with what people have said since it was made.

    Raises:
        CopyMismatch: its bytes are damaged.
    """
    (file,) = [file for file in copy.files() if file.role is Role.MAIN]
    made = with_discussion(b"".join(copy.read(file)), said, since=copy.at, counts=counts)
    if not made.added:
        return copy, made
    one = DiscussedCopy(
        origin=copy.origin,
        checkpoint=copy.checkpoint,
        alias=copy.alias,
        at=copy.at,
        exact=copy.exact,
        doubtful=copy.doubtful,
        united=copy.united,
        author=copy.author,
        revision=copy.revision,
        file=CopyFile(file.name, len(made.data), file.role),
        data=made.data,
    )
    return one, made


def _is_said(comment: Comment) -> bool:
    """Whether a person wrote it: no record, no program, and something is in it."""
    return (
        not comment.author.endswith("[bot]")
        and bool(comment.text.strip())
        and comments.parse(comment.text) is None
    )


def _appended(data: bytes, people: Sequence[Comment]) -> bytes:
    if not people:
        return data
    end = b"\r\n" if b"\r\n" in data[:4096] else b"\n"
    gap = b"" if not data or data.endswith(b"\n\n") else end if data.endswith(b"\n") else end + end
    text = "\n".join(_section(comment) for comment in people)
    return data + gap + text.encode("utf-8", "replace").replace(b"\n", end)


def _section(comment: Comment) -> str:
    heading = f"## {comment.created_at[:10]} {comment.created_at[11:16]} UTC, comment of {comment.author}"
    text = _HIDDEN.sub("", comment.text.replace("\r\n", "\n").replace("\r", "\n"))
    lines = text[:TEXT_CHARS].strip("\n").split("\n")
    if len(text) > TEXT_CHARS:
        lines += ["", f"… cut here: {comment.html_url}"]
    quoted = "\n".join(f"> {line}".rstrip() for line in lines)
    return f"{heading}\n<!-- sessiond comment={comment.id} -->\n\n{quoted}\n"


def _at(comment: Comment) -> float:
    try:
        return unix_seconds(comment.created_at)
    except (ValueError, OverflowError):
        return 0.0

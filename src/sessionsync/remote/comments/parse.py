"""From comments back to a record and its files; whoever wrote them, nothing here raises before `assemble`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from sessionsync.errors import RecordError
from sessionsync.model import Tier
from sessionsync.remote.comments import payload
from sessionsync.remote.comments.marker import Marker, parse_end, parse_marker, split_lines, text_hash
from sessionsync.remote.comments.record import Record, decode, files_hash, readable
from sessionsync.remote.comments.render import PARTS

_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})(?P<info>.*)")
_HINT = "another copy may be whole: `sessiond restore ID --list`; the next checkpoint writes the record anew"
_NAMED = 3  # problems in one message


@dataclass(frozen=True, slots=True)
class Part:
    """One comment that says it is a part of a record.

    `intact` tells that the record's own text is as it was written; text around it does not count.  `record`
    is what the JSON block of part 1 says, also of an edited comment; `payload` is base64.  `problem` says why
    the part is of no use, and is empty where it may be.
    """

    session_id: str
    part: int
    parts: int
    revision: int
    sha256: str
    intact: bool
    record: Record | None
    payload: str
    problem: str


class _Block(NamedTuple):
    """A fenced block: its info string, its first line, the lines inside, and the line behind it."""

    info: str
    start: int
    lines: list[str]
    end: int


class _Found(NamedTuple):
    """A part inside a comment: its own lines between marker and end line, and the lines around."""

    marker: Marker
    own: list[str]
    before: list[str]
    after: list[str]
    intact: bool


def parse(body: str) -> Part | None:
    """Return the part that a comment holds, None where it holds none.  Never raises."""
    found = _find(body)
    if found is None:
        return None
    marker = found.marker
    blocks = list(_blocks(found.own))
    record, problem = None, ""
    if not 1 <= marker.part <= marker.parts <= PARTS:
        problem = f"it says that it is part {marker.part} of {marker.parts}"
    elif marker.part == 1:
        record, problem = _record(marker, [block for block in blocks if block.info == "json"])
    if not found.intact:
        problem = problem or "it was edited"
    return Part(
        session_id=marker.session_id,
        part=marker.part,
        parts=marker.parts,
        revision=marker.revision,
        sha256=marker.sha256,
        intact=found.intact,
        record=record,
        payload="".join("".join(block.lines) for block in blocks if block.info == "sessiond"),
        problem=problem,
    )


def outside(body: str) -> str:
    """Return what a person wrote before or behind the record in a comment, to be kept at the next edit."""
    found = _find(body)
    if found is None:
        return ""
    texts = ("\n".join(lines).strip("\n").rstrip() for lines in (found.before, found.after))
    return "\n\n".join(text for text in texts if text)


def assemble(parts: Iterable[Part]) -> tuple[Record, dict[str, bytes] | None]:
    """Return the newest whole record among the parts of one session, and its files where its tier has them.

    Parts of other revisions, surplus ones and copies are passed over.

    Raises:
        RecordError: no revision is whole, or its bytes are not what the record says.
    """
    revisions: dict[int, list[Part]] = {}
    for part in parts:
        revisions.setdefault(part.revision, []).append(part)
    if not revisions:
        raise RecordError("there is no record", hint="it was not yet sent, or its comments were deleted")
    names = {part.session_id for of_one in revisions.values() for part in of_one}
    if len(names) > 1:
        raise RecordError(f"the parts are of {len(names)} sessions", hint="take those of one")
    problems: list[str] = []
    for revision in sorted(revisions, reverse=True):
        try:
            return _whole(revisions[revision])
        except RecordError as error:
            problems.append(f"revision {revision}: {error}")
    what = "; ".join(problems[:_NAMED])
    raise RecordError(f"the record of session {readable(names.pop())} is not whole: {what}", hint=_HINT)


def _find(body: str) -> _Found | None:
    lines = split_lines(body)
    fenced = {at for block in _blocks(lines) for at in range(block.start, block.end)}
    marked = ((at, parse_marker(line)) for at, line in enumerate(lines) if line.startswith("<!-- sessiond "))
    at, marker = next(((at, marker) for at, marker in marked if marker and at not in fenced), (0, None))
    if marker is None:
        return None
    rest = lines[at + 1 :]
    intact = text_hash("\n".join(rest)) == marker.sha256
    end = next((i for i, line in enumerate(rest) if parse_end(line)), None)
    if end is not None:
        intact = intact or text_hash("\n".join(rest[:end])) == parse_end(rest[end])
        return _Found(marker, rest[:end], lines[:at], rest[end + 1 :], intact)
    end = len(rest) if intact else _end_of_blocks(rest)
    return _Found(marker, rest[:end], lines[:at], rest[end:], intact)


def _end_of_blocks(lines: list[str]) -> int:
    """Where a record ends whose end line is missing: behind its last block."""
    end = max(
        (block.end for block in _blocks(lines) if block.info in {"json", "sessiond"}), default=len(lines)
    )
    behind = next((at for at in range(end, len(lines)) if lines[at].strip()), None)
    return behind + 1 if behind is not None and lines[behind].strip() == "</details>" else end


def _blocks(lines: Sequence[str]) -> Iterator[_Block]:
    """Return the fenced blocks as CommonMark has them."""
    at = 0
    while at < len(lines):
        start, opening = at, _FENCE.fullmatch(lines[at])
        at += 1
        if not opening or (opening["fence"][0] == "`" and "`" in opening["info"]):
            continue
        while at < len(lines) and not _closes(lines[at], opening["fence"]):
            at += 1
        yield _Block(opening["info"].strip(), start, list(lines[start + 1 : at]), at := at + 1)


def _closes(line: str, fence: str) -> bool:
    run = line.lstrip(" ")
    indent = len(line) - len(run)
    run = run.rstrip(" \t")
    return indent <= 3 and len(run) >= len(fence) and not run.strip(fence[0])


def _record(marker: Marker, blocks: list[_Block]) -> tuple[Record | None, str]:
    """Return the record of part 1, and what is wrong with it."""
    if len(blocks) != 1:
        return None, f"it has {len(blocks)} blocks of JSON instead of one"
    try:
        record = decode("\n".join(blocks[0].lines))
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        return None, f"its record cannot be read: {error}"
    if record.session_id != readable(marker.session_id):
        return record, "its record is of another session"
    if record.revision not in (0, marker.revision) or record.parts not in (0, marker.parts):
        return record, "its record is of another revision"
    return record, ""


def _whole(parts: list[Part]) -> tuple[Record, dict[str, bytes] | None]:
    """Return what the parts of one revision say together."""
    first = _one(parts, 1, None)
    chosen = [first, *(_one(parts, number, first.parts) for number in range(2, first.parts + 1))]
    if first.record is None:
        raise RecordError("part 1 has no record")
    if first.record.tier is not Tier.GITHUB_ONLY:
        return first.record, None
    files = payload.unpack(payload.from_text("".join(part.payload for part in chosen)))
    _check(first.record, files)
    return first.record, files


def _one(parts: list[Part], number: int, of: int | None) -> Part:
    """Return the part of this number; of copies the first."""
    there = [part for part in parts if part.part == number and of in (None, part.parts)]
    good = [part for part in there if not part.problem]
    if len({(part.sha256, part.parts) for part in good}) > 1:
        raise RecordError(f"{len(good)} comments say that they are part {number}, and differ")
    if good:
        return good[0]
    total = f" of {of}" if of else ""
    raise RecordError(
        f"part {number}{total}: {there[0].problem}" if there else f"part {number}{total} is missing"
    )


def _check(record: Record, files: dict[str, bytes]) -> None:
    """Compare the files with the record's list."""
    by_path = {readable(name): data for name, data in files.items()}
    listed = {entry.path: entry for entry in record.files}
    if len(by_path) != record.files_total or len(listed) != len(record.files):
        raise RecordError(f"it holds {len(by_path)} files and lists {record.files_total}")
    if len(listed) == record.files_total and files_hash(record.files) != record.sha256:
        raise RecordError("its list of files is not the one that was hashed")
    for path, entry in listed.items():
        if hashlib.sha256(by_path.get(path, b"")).hexdigest() != (entry.sha256 or entry.stored_sha256):
            raise RecordError(f"its file {path[:80]!r} is missing or changed")

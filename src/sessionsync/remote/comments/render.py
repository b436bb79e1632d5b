"""From a draft to the comments that show it.

    marker line
    summary                                    in part 1; the others say what they are
    <details> ```json      the record          in part 1
    <details> ```sessiond  the files' bytes    for `github_only`, over all parts
    end line
    what a person wrote around it

No line ends in a blank and nothing stands between marker and summary, so that every reading of "trailing
blanks cut" gives the same hash.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from types import MappingProxyType

from msgspec.structs import replace

from sessionsync.errors import RecordError
from sessionsync.privacy.gate import ClearedText
from sessionsync.remote.comments import payload, record
from sessionsync.remote.comments.draft import Draft
from sessionsync.remote.comments.inert import fenced, plain
from sessionsync.remote.comments.marker import Marker, encode_id, end_line, split_lines, text_hash
from sessionsync.remote.comments.record import Record
from sessionsync.remote.comments.summary import DETAILS, summary

PARTS = 2500
"""GitHub's cap on comments of one issue: more parts can neither be written nor be meant."""
LEAST_BYTES = 4096
"""Room that a record gets even beside a long text of a person: the smallest `tiers.comment_bytes`."""
MOST_BYTES = 65_536
"""GitHub refuses more characters than this, and never this many bytes, under every reading of its limit."""

_CHARS = (record.TEXT_CHARS, 250, 120, 60, 24)
_ENTRY_BYTES = 96  # the shortest entry of a file
_WORTH_LINES = 8
_BETWEEN = "\n\n"


def render(
    draft: Draft, *, revision: int, comment_bytes: int, kept: Mapping[int, str] = MappingProxyType({})
) -> list[ClearedText]:
    """Return the bodies of the draft's comments, part 1 first, each below `comment_bytes` bytes of UTF-8.

    `kept` is what `outside` found around the parts that are replaced, by part: it goes behind the part, or
    behind part 1 where that part is no more, and counts.  Only where no record fits beside it is the comment
    longer than `comment_bytes`, but never than `MOST_BYTES`: then it is cut.

    RecordError where even the barest record does not fit, or there were more than `PARTS` parts.
    """
    texts = dict(kept)
    while True:
        try:
            layout = _Layout(draft, revision, comment_bytes, 0, texts)
        except RecordError:
            layout = _Layout(draft, revision, comment_bytes, LEAST_BYTES, texts)
        homeless = sorted(part for part in texts if part > layout.parts)
        if not homeless:
            return layout.bodies()
        texts[1] = _BETWEEN.join(filter(None, (texts.pop(part, "") for part in (1, *homeless))))


class _Layout:
    """How a draft is divided over its parts, measured with the widest numbers there can be."""

    def __init__(
        self, draft: Draft, revision: int, comment_bytes: int, least_bytes: int, texts: Mapping[int, str]
    ) -> None:
        self._draft = draft
        self._least_bytes = least_bytes
        self._marker = Marker(draft.session_id, PARTS, PARTS, revision, "0" * 64)
        self._frame_bytes = _size(_body(self._marker, "", ""))
        self._comment_bytes = comment_bytes
        self._texts = {part: _tidy(text) for part, text in texts.items()}
        self._fit(self._room(1))
        self._chunks = self._divide(payload.to_lines(draft.packed)) if draft.packed is not None else [""]
        self.parts = len(self._chunks)
        if self.parts > PARTS:
            raise self._too_large(f"would take {self.parts:,} comments, more than an issue holds")

    def bodies(self) -> list[ClearedText]:
        """The comments' texts, their numbers now known."""
        bodies: list[ClearedText] = []
        for part, chunk in enumerate(self._chunks, start=1):
            own = self._first(self._record, self.parts) if part == 1 else self._continued(part, self.parts)
            own += _data(chunk) if chunk else ""
            marker = self._marker._replace(part=part, parts=self.parts)
            bodies.append(ClearedText(_body(marker, own, self._texts.get(part, ""))))
        return bodies

    def _room(self, part: int) -> int:
        """Bytes for what is the part's own, with what a person wrote beside it."""
        text = self._texts.get(part, "")
        beside = _size(_BETWEEN + text) if text else 0
        return max(self._comment_bytes - beside, self._least_bytes) - 1 - self._frame_bytes

    def _fit(self, room: int) -> None:
        """Decide how much part 1 tells; what does not fit goes in the order files, oldest entries, texts."""
        details = (d for d in DETAILS if _size(summary(self._draft, d, PARTS)) <= room // 3)
        self._detail = next(details, DETAILS[-1])
        whole = self._draft.record
        for chars in _CHARS:
            short = whole.shortened(chars)
            if self._fits(replace(short, files=[], critical_data=short.critical_data.newest(0)), room):
                break
        else:
            raise self._too_large(f"has names too long for a comment of {self._comment_bytes:,} bytes")
        entries = short.critical_data
        bare = replace(short, files=[])
        newest = [replace(bare, critical_data=entries.newest(count)) for count in range(entries.longest + 1)]
        self._record = newest[_most(entries.longest, lambda count: self._fits(newest[count], room))]
        if self._record is newest[-1]:
            most = min(len(short.files), room // _ENTRY_BYTES)
            self._record = short.with_files(
                _most(most, lambda count: self._fits(short.with_files(count), room))
            )

    def _fits(self, shown: Record, room: int) -> bool:
        return _size(self._first(shown, PARTS)) <= room

    def _first(self, shown: Record, parts: int) -> str:
        numbered = replace(shown, parts=parts, revision=self._marker.revision)
        block = _details("Record", fenced("json", record.encode(numbered)))
        return f"{summary(self._draft, self._detail, parts)}{_BETWEEN}{block}"

    def _continued(self, part: int, parts: int) -> str:
        title = plain(self._draft.record.title, 60) or "an untitled session"
        return f"<sub>Session data of {title}, part {part} of {parts}. The record is in part 1.</sub>"

    def _divide(self, lines: list[str]) -> list[str]:
        """Deal the lines out to the parts; part 1 takes only what is worth a block of its own."""
        room = self._lines(1, self._first(self._record, PARTS))
        taken = room if room >= min(len(lines), _WORTH_LINES) else 0
        chunks = ["\n".join(lines[:taken])]
        while taken < len(lines):
            room = self._lines(part := len(chunks) + 1, self._continued(part, PARTS))
            if room < 1:
                raise self._too_large(f"has an id too long for a comment of {self._comment_bytes:,} bytes")
            chunks.append("\n".join(lines[taken : taken + room]))
            taken += room
        return chunks

    def _lines(self, part: int, own: str) -> int:
        return max(0, self._room(part) - _size(own) - _size(_data(""))) // (payload.LINE_CHARS + 1)

    def _too_large(self, what: str) -> RecordError:
        return RecordError(
            f"session {encode_id(self._draft.session_id)} {what}",
            hint="set tiers.comment_bytes higher, or tiers.github_only_bytes lower",
        )


def _body(marker: Marker, own: str, text: str) -> str:
    rest = f"{own}\n{end_line(text_hash(own))}" + (_BETWEEN + text if text else "")
    return f"{marker._replace(sha256=text_hash(rest))}\n{rest}"


def _details(name: str, block: str) -> str:
    return f"<details>\n<summary>{name}</summary>\n\n{block}\n\n</details>"


def _data(chunk: str) -> str:
    return _BETWEEN + _details("Session data", fenced("sessiond", chunk))


def _tidy(text: str) -> str:
    """A person's text with LF line ends, without blank ends, cut where GitHub would refuse the comment."""
    data = "\n".join(split_lines(text)).strip("\n").rstrip().encode("utf-8", "replace")
    most = MOST_BYTES - LEAST_BYTES - len(_BETWEEN)
    return data.decode() if len(data) <= most else data[: most - 3].decode("utf-8", "ignore") + "…"


def _size(text: str) -> int:
    return len(text.encode())


def _most(count: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `count` that fits, where 0 does."""
    return count if fits(count) else bisect_left(range(1, count), True, key=lambda n: not fits(n))

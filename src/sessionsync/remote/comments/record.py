"""The record of a session: the one JSON block of its comment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from sessionsync.model import Context, CriticalData, FileEntry, Tier
from sessionsync.remote.comments.inert import cut, in_json

SCHEMA = 1
TEXT_CHARS = 500
"""Longer strings end in `…`."""
ENTRIES = 50
ENTRIES_LOCAL_PRIMARY = 10
FILES = 20
"""How many files are listed of a session whose bytes are not in the comment."""

Count = Annotated[int, msgspec.Meta(ge=0)]


class RecordCritical(CriticalData):
    """Critical data as a record holds it: the newest entries, and how many older ones are left out.

    `dropped` is always there in `local_primary`, elsewhere only where something was left out.
    """

    dropped: Count | msgspec.UnsetType = msgspec.UNSET

    @property
    def longest(self) -> int:
        """Entries of the longest list."""
        return max(len(self.decisions), len(self.checkpoints), len(self.next_steps))

    def newest(self, entries: int) -> RecordCritical:
        """Return at most the last `entries` of each list; the others count as dropped."""
        lists = (self.decisions, self.checkpoints, self.next_steps)
        gone = sum(max(0, len(entry) - entries) for entry in lists)
        keep = slice(-entries, None) if entries else slice(0)
        return RecordCritical(
            decisions=self.decisions[keep],
            checkpoints=self.checkpoints[keep],
            current_phase=self.current_phase,
            next_steps=self.next_steps[keep],
            dropped=(self.dropped or 0) + gone if gone else self.dropped,
        )


class Record(msgspec.Struct, frozen=True):
    """The JSON block, its keys in this order.  Keys of newer schemas are read over.

    `size` and `sha256` cover the files that count for the tier.  `updated_at` is RFC 3339; `local_path` is
    relative to the project, or to the agent's folder.  `revision` and `parts` are 0 until it is rendered.
    """

    session_id: str
    tier: Tier
    size: Count
    critical_data: RecordCritical
    local_path: str
    schema: Count = SCHEMA
    revision: Count = 0
    source: str = ""
    title: str = ""
    host: str = ""
    machine: str = ""
    updated_at: str = ""
    sha256: str = ""
    parts: Count = 0
    redactions: Count = 0
    context: Context = Context()
    files: list[FileEntry] = []
    files_total: Count = 0

    def shortened(self, chars: int) -> Record:
        """Return the record with every text cut; ids, hashes and the files' paths stay whole."""
        critical, context = self.critical_data, self.context
        return msgspec.structs.replace(
            self,
            title=cut(self.title, chars),
            host=cut(self.host, chars),
            source=cut(self.source, chars),
            local_path=cut(self.local_path, chars),
            context=msgspec.structs.replace(
                context, repo=cut(context.repo, chars), branch=cut(context.branch, chars)
            ),
            critical_data=msgspec.structs.replace(
                critical,
                decisions=[cut(text, chars) for text in critical.decisions],
                checkpoints=[
                    msgspec.structs.replace(c, trigger=cut(c.trigger, chars)) for c in critical.checkpoints
                ],
                current_phase=cut(critical.current_phase, chars),
                next_steps=[cut(text, chars) for text in critical.next_steps],
            ),
        )

    def with_files(self, count: int) -> Record:
        """Return the record with the `count` largest of its files."""
        kept = sorted(self.files, key=lambda file: (-file.size, file.path))[:count]
        return msgspec.structs.replace(self, files=by_path(kept))


def by_path(files: Iterable[FileEntry]) -> list[FileEntry]:
    """Return the files in the order that is hashed and shown: by the characters of their paths."""
    return sorted(files, key=lambda file: file.path)


def files_hash(files: Iterable[FileEntry]) -> str:
    """SHA-256 of the canonical JSON of a complete file list: a record's `sha256`.

    A list of objects with the keys `path`, `sha256` and `size`, and `stored_sha256` where redaction changed
    the file (`sha256` is null there), sorted by path; keys sorted, no blanks, UTF-8.
    """
    listed = msgspec.to_builtins(by_path(files))
    text = json.dumps(listed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def encode(record: Record) -> str:
    """JSON for a fenced block: a line for each key and each entry of a list, and nothing that acts."""
    return in_json(_layout(msgspec.to_builtins(record), 0))


def decode(text: str) -> Record:
    """Read a record; msgspec.DecodeError or RecursionError where it is none."""
    return msgspec.json.decode(text, type=Record)


def _layout(value: Any, depth: int) -> str:
    if isinstance(value, list) and value:
        return _block("[", [_compact(item) for item in value], "]", depth)
    if isinstance(value, dict) and any(isinstance(item, list) for item in value.values()):
        lines = [f"{_compact(key)}: {_layout(item, depth + 1)}" for key, item in value.items()]
        return _block("{", lines, "}", depth)
    return _compact(value)


def _block(begin: str, lines: list[str], end: str, depth: int) -> str:
    margin = "\n" + " " * depth
    return begin + ",".join(f"{margin} {line}" for line in lines) + margin + end


def _compact(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def readable(name: str) -> str:
    """A path or an id as JSON can hold it; bytes that are no UTF-8 are written out."""
    return name.encode("utf-8", "backslashreplace").decode()

"""What is to be said of a session, through the privacy gate and ready to be rendered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

import msgspec
from msgspec.structs import replace

from sessionsync.errors import RedactionFailed
from sessionsync.model import CheckpointEntry, Context, FileEntry, Summary, Tier
from sessionsync.privacy.gate import Gate
from sessionsync.remote.comments import payload
from sessionsync.remote.comments.record import (
    ENTRIES,
    ENTRIES_LOCAL_PRIMARY,
    FILES,
    TEXT_CHARS,
    Record,
    RecordCritical,
    by_path,
    files_hash,
    readable,
)


class Digest(Protocol):
    """A file's entry in a record, and how many secrets were replaced in the file."""

    @property
    def entry(self) -> FileEntry:
        """Path, size and hash."""

    @property
    def redactions(self) -> int:
        """Secrets replaced."""


class Draft(msgspec.Struct, frozen=True):
    """A record without its revision, and what only marker and summary say.

    `session_id` is the id as it is; the record's own is readable in any case.  `packed` holds the files'
    bytes where the comment restores them.  `promoted_from` is the tier that the session grew out of;
    `archived` says that its bytes go to the archive as well.
    """

    session_id: str
    record: Record
    project: str
    status: str
    quality: dict[str, float]
    promoted_from: Tier | None
    archived: bool
    packed: bytes | None


def clear(
    gate: Gate,
    *,
    session_id: str,
    source: str,
    tier: Tier,
    size: int,
    summary: Summary,
    checkpoints: Sequence[CheckpointEntry],
    project: str,
    local_path: str,
    host: str,
    machine: str,
    updated_at: str,
    context: Context,
    files: Sequence[Digest] | None = None,
    contents: Sequence[tuple[str, bytes]] | None = None,
    promoted_from: Tier | None = None,
    archived: bool = False,
) -> Draft:
    """Let a session through the gate: the one place where its texts and files pass.

    Given `contents`, the files' bytes, they are redacted, listed and, for `github_only`, packed; else
    `files` lists them all, redacted already.  Lists of `summary.critical` have their newest entry last; its
    checkpoints are those given.  Texts are cut only behind the gate: half a secret is not recognised.
    Ids, hashes and paths are needed to resume and never changed.

    Raises:
        RedactionFailed: the gate could not judge a text, or an id or a path holds a secret.
        RecordError: the files are too large to be packed.
    """
    if contents is None and (files is None or tier is Tier.GITHUB_ONLY):
        raise ValueError(
            f"a record in tier {tier} needs {'contents' if tier is Tier.GITHUB_ONLY else 'files'}"
        )
    cleared, entries, in_files = _files(gate, files or (), contents)
    for name in (session_id, local_path, *(entry.path for entry in entries)):
        if gate.names_secret(name):
            raise RedactionFailed(
                f"the name of a file of session {session_id} holds a secret, or its id does",
                hint="rename it, or put it into privacy.allow, then `sessiond ctl retry`",
            )
    texts = _Texts(gate)
    critical = summary.critical
    record = Record(
        session_id=readable(session_id),
        tier=tier,
        size=size,
        critical_data=RecordCritical(
            decisions=[texts.clear(text) for text in critical.decisions],
            checkpoints=[replace(c, trigger=texts.clear(c.trigger)) for c in checkpoints],
            current_phase=texts.clear(critical.current_phase),
            next_steps=[texts.clear(text) for text in critical.next_steps],
            dropped=0 if tier is Tier.LOCAL_PRIMARY else msgspec.UNSET,
        ).newest(ENTRIES_LOCAL_PRIMARY if tier is Tier.LOCAL_PRIMARY else ENTRIES),
        local_path=readable(local_path),
        source=source,
        title=texts.clear(summary.title),
        host=texts.clear(host),
        machine=machine,
        updated_at=updated_at,
        sha256=files_hash(entries),
        context=replace(context, repo=texts.clear(context.repo), branch=texts.clear(context.branch)),
        files=by_path(entries),
        files_total=len(entries),
    ).shortened(TEXT_CHARS)
    return Draft(
        session_id=session_id,
        record=replace(
            record if tier is Tier.GITHUB_ONLY else record.with_files(FILES),
            # A text is taken from the files: what was found in it has been counted there.
            redactions=in_files or texts.redactions,
        ),
        project=texts.clear(project),
        status=texts.clear(summary.status),
        quality={texts.clear(name): value for name, value in summary.quality.items()},
        promoted_from=promoted_from,
        archived=archived,
        packed=payload.pack(cleared) if tier is Tier.GITHUB_ONLY else None,
    )


def content_hash(draft: Draft) -> str:
    """SHA-256 over all that a reader learns from a draft but its time: the same content is not sent twice."""
    record = replace(draft.record, updated_at="", revision=0)
    said = msgspec.json.encode(replace(draft, session_id="", record=record, packed=None), order="sorted")
    return hashlib.sha256(said).hexdigest()


class _Texts:
    """Clears texts, counting what was replaced."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.redactions = 0

    def clear(self, text: str) -> str:
        cleared, count = self._gate.text(text)
        self.redactions += count
        return cleared


def _files(
    gate: Gate, files: Sequence[Digest], contents: Sequence[tuple[str, bytes]] | None
) -> tuple[list[tuple[str, bytes]], list[FileEntry], int]:
    """Return the cleared files, their entries, and how many secrets were replaced."""
    if contents is None:
        return [], [file.entry for file in files], sum(file.redactions for file in files)
    cleared: list[tuple[str, bytes]] = []
    entries: list[FileEntry] = []
    redactions = 0
    for name, data in contents:
        stored, count = gate.data(name, data)
        redactions += count
        sha256 = hashlib.sha256(stored).hexdigest()
        entry = FileEntry(readable(name), len(data), sha256)
        if stored != data:
            entry = FileEntry(readable(name), len(data), None, sha256)
        cleared.append((name, stored))
        entries.append(entry)
    return cleared, entries, redactions

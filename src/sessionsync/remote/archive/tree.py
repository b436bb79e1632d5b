"""What a commit of the archive holds: one checkpoint of one session.

    manifest.json             whose it is, which checkpoint, and its files: `Manifest`
    list/<page>               the files, `LISTED` a page, where there are more than that
    files/<number>/<page>     where a file's bytes lie: `LINES` lines a page, `offset length segment`
    seg/<hh>/<segment>        bytes of a file as a zstd frame, named by the SHA-256 of what lies in the blob

So an append adds segments and rewrites one page and the manifest.  A file's bytes are those that passed the
privacy gate; `root` is the root over them (see `vault.root`) and `exact` says that the gate took nothing
out.  Everything read from a remote is hostile: what is not exactly this is `CopyMismatch`, and what a newer
version wrote is `ArchiveTooNew`.

Where it is encrypted, each blob is so by itself: a zstd frame within a file of age.  Packed first, as what is
encrypted can be packed no more, neither here nor by git: manifest and pages are packed as well then.  A blob
tells whether it is encrypted, so that a tree may hold both.  A segment's name is the hash of what is stored:
it tells damage from a wrong key, and nothing of the text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import zstandard

from sessionsync.errors import ArchiveTooNew, CopyMismatch
from sessionsync.model import Context
from sessionsync.privacy.seal import Unseal, is_sealed
from sessionsync.vault.pack import Packer, dictionary

SCHEMA = 1
MANIFEST = "manifest.json"
MANIFEST_BYTES = 1024 * 1024
LISTED = 128
LINES = 64
# A segment holds at most so many bytes of a file; its blob stays below 1 MB also where they cannot be packed.
SEGMENT_BYTES = 1_000_000
BLOB_BYTES = 1024 * 1024
PAGE_BYTES = 64 * 1024
FILES = 100_000
# More than a million segments of a file, all of which are in memory while it is read.
PAGES = 20_000

Natural = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_SEGMENT = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(rb"(\d{1,16}) (\d{1,7}) ([0-9a-f]{64})")


class Point(msgspec.Struct, frozen=True, omit_defaults=True):
    """The checkpoint; `at` is RFC 3339."""

    id: str
    at: str
    trigger: str = ""
    alias: str = ""


class ArchivedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of the session: `length` bytes with the root `root`, in `pages` pages under `files/<number>`.

    A rewrite or a shrink makes the next `generation`.  `deleted_at` (RFC 3339) says that the session no
    longer had it; its bytes are still there.
    """

    number: Natural
    name: str
    role: str
    length: Natural
    root: str
    pages: Natural
    generation: Natural = 0
    exact: bool = True
    deleted_at: str = ""


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """One checkpoint of one session.  All texts have passed the gate.

    `project_hash` is the SHA-256 of the project's key, `remote` the key itself where that is the address of
    a repository.  `rules` are the redaction rules that the newest bytes went through, '' where none did.
    `listed` is the number of pages of files, 0 where they stand in `files`.
    """

    schema: int
    session_id: str
    source: str
    machine: str
    checkpoint: Point
    host: str = ""
    title: str = ""
    project: str = ""
    project_hash: str = ""
    remote: str = ""
    local_path: str = ""
    size: Natural = 0
    context: Context = Context()
    rules: str = ""
    listed: Natural = 0
    files: list[ArchivedFile] = []


class Line(NamedTuple):
    """Bytes [offset, offset + length) of a file lie in `segment`."""

    offset: int
    length: int
    segment: str

    @property
    def end(self) -> int:
        """The offset just behind them."""
        return self.offset + self.length


# --- paths


def segment_path(segment: str) -> str:
    """Where a segment lies in the tree."""
    return f"seg/{segment[:2]}/{segment}"


def page_path(number: int, page: int) -> str:
    """Where a page of a file lies in the tree."""
    return f"files/{number}/{page}"


def list_path(page: int) -> str:
    """Where a page of the list of files lies in the tree."""
    return f"list/{page}"


# --- writing


def encode(value: object) -> bytes:
    """JSON, also of names that are no UTF-8: their lone surrogates are escaped."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode()


def pages_of(files: Sequence[ArchivedFile]) -> list[list[ArchivedFile]]:
    """The list of files in pages; of files that keep their numbers only the last page changes often."""
    ordered = sorted(files, key=lambda file: file.number)
    return [ordered[at : at + LISTED] for at in range(0, len(ordered), LISTED)]


def encode_page(lines: Iterable[Line]) -> bytes:
    """A page of a file."""
    return b"".join(b"%d %d %b\n" % (line.offset, line.length, line.segment.encode()) for line in lines)


class Segments:
    """Makes segments' blobs.  For one thread."""

    def __init__(self) -> None:
        self._packer = Packer()

    def pack(self, data: bytes) -> bytes:
        """What is stored of at most `SEGMENT_BYTES` bytes."""
        return self._packer.pack(data)

    def rest(self) -> None:
        """Let go of what only a burst of work needs: megabytes."""
        self._packer.rest()


def name_of(blob: bytes) -> str:
    """A segment's name."""
    return hashlib.sha256(blob).hexdigest()


# --- reading

# Opens nothing.
_SHUT = Unseal(None)


def decode(kind: Any, data: bytes, what: str) -> Any:
    """Read JSON of ours; CopyMismatch where it is none."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        return msgspec.convert(json.loads(data), kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as problem:
        raise damaged(what) from problem


def decode_manifest(data: bytes, what: str) -> Manifest:
    """Read a manifest.

    Raises:
        ArchiveTooNew: a newer sessiond wrote it.
        CopyMismatch: it is no manifest of ours.
    """
    if len(data) > MANIFEST_BYTES:
        raise damaged(what)
    schema = decode(dict[str, Any], data, what).get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise ArchiveTooNew(
            f"The archive holds {what} in schema {schema}; this sessiond reads up to {SCHEMA}.",
            hint="Update sessiond on this machine.",
        )
    manifest: Manifest = decode(Manifest, data, what)
    check(manifest.files, what)
    return manifest


def check(files: Sequence[ArchivedFile], what: str) -> None:
    """See that files can be what they say; their names are judged by who writes them to a disk."""
    for file in files:
        if file.pages > PAGES or not _SEGMENT.fullmatch(file.root) or len(file.name) > 8192:
            raise damaged(what)
    if len(files) > FILES or len({file.name for file in files}) != len(files):
        raise damaged(what)


def decode_page(data: bytes, what: str) -> list[Line]:
    """Read a page of a file."""
    lines: list[Line] = []
    for text in data.splitlines():
        match = _LINE.fullmatch(text)
        if match is None or len(lines) >= LINES or not 0 < int(match[2]) <= SEGMENT_BYTES:
            raise damaged(what)
        lines.append(Line(int(match[1]), int(match[2]), match[3].decode()))
    return lines


def unpack(blob: bytes, line: Line, what: str, unseal: Unseal = _SHUT) -> bytes:
    """The bytes in a segment's blob.

    Raises:
        ArchiveSealed: it is encrypted, and not for an identity that is here.
        ArchiveTooNew: it needs a dictionary that this version does not have.
        CopyMismatch: it is not what was stored.
    """
    if name_of(blob) != line.segment:
        raise damaged(what)
    data = _unpacked(unseal(blob, what) if is_sealed(blob) else blob, line.length, what)
    if len(data) != line.length:
        raise damaged(what)
    return data


def opened(blob: bytes, what: str, at_most: int, unseal: Unseal) -> bytes:
    """What a blob that is no segment holds: as it is, or packed and encrypted.

    Raises:
        ArchiveSealed: it is encrypted, and not for an identity that is here.
        ArchiveTooNew: it needs a dictionary that this version does not have.
        CopyMismatch: it is damaged, or would be longer.
    """
    return _unpacked(unseal(blob, what), at_most, what) if is_sealed(blob) else blob


def _unpacked(frame: bytes, at_most: int, what: str) -> bytes:
    try:
        said = zstandard.get_frame_parameters(frame)
        if said.content_size > at_most:  # also where it is not said
            raise damaged(what)
        if said.dict_id not in {0, dictionary().dict_id()}:
            raise ArchiveTooNew(
                f"The archive holds {what} packed with the dictionary {said.dict_id}, which is not here.",
                hint="Update sessiond on this machine.",
            )
        known = dictionary() if said.dict_id else None
        return zstandard.ZstdDecompressor(dict_data=known).decompress(frame)
    except zstandard.ZstdError as problem:
        raise damaged(what) from problem


def damaged(what: str) -> CopyMismatch:
    """The error for what is not as it was stored."""
    return CopyMismatch(
        f"In the archive, {what} is damaged or missing.",
        hint="Take another copy: `sessiond restore ID --list` shows those there are.",
    )

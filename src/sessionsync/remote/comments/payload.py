"""The bytes of a small session inside its comment: base64 of a zstd-compressed tar.

The tar is the same for the same files: sorted names, no owner, mode 0600, no times.  What is read may come
from anyone who can write a comment: it is bounded before it is unpacked and checked before it is believed.
"""

from __future__ import annotations

import base64
import binascii
import io
import tarfile
from collections.abc import Iterable

import zstandard

from sessionsync.errors import RecordError

LINE_CHARS = 76
"""Of base64: 57 bytes a line, so that each line decodes by itself."""
TAR_BYTES = 64 * 1024 * 1024
"""The largest tar that is packed or read; a session that goes into a comment has 45 KB."""
NAME_BYTES = 4096

_HINT = (
    "it was changed, or is not one of sessiond's: restore from another copy (`sessiond restore ID --list`)"
)
# What the two libraries raise for bytes that are not theirs (found by changing good ones at random).
_BROKEN = (
    zstandard.ZstdError,
    tarfile.TarError,
    ValueError,
    OverflowError,
    OSError,
    EOFError,
    RecursionError,
)
_SMALL_BYTES = 1024 * 1024


def pack(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Compress files, `(name, content)`.  RecordError where they are more than `TAR_BYTES`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(data), 0o600, 0
            tar.addfile(entry, io.BytesIO(data))
    tarred = out.getbuffer()
    if len(tarred) > TAR_BYTES:
        raise RecordError(
            f"the session's files are {len(tarred):,} bytes as one archive, more than a comment can carry",
            hint="set tiers.github_only_bytes lower",
        )
    # Level 19 saves a fifth of the text and takes 20 ms for a session of this tier; of more it takes seconds.
    level = 19 if len(tarred) <= _SMALL_BYTES else 3
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(tarred)


def unpack(packed: bytes) -> dict[str, bytes]:
    """Return the files of a packed session by name.

    Raises:
        RecordError: it is no such archive, too large, or names a file that could not lie in a session.
    """
    try:
        tarred = _decompress(packed)
        with tarfile.open(fileobj=io.BytesIO(tarred), mode="r:") as tar:
            return _read(tar)
    except _BROKEN as error:
        raise RecordError(
            f"the session data in the comment cannot be unpacked: {error}", hint=_HINT
        ) from error


def to_lines(packed: bytes) -> list[str]:
    """Return base64 in lines of `LINE_CHARS`."""
    text = base64.b64encode(packed).decode("ascii")
    return [text[at : at + LINE_CHARS] for at in range(0, len(text), LINE_CHARS)]


def from_text(text: str) -> bytes:
    """The inverse of `to_lines`, however the lines were broken.  RecordError where it is no base64."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RecordError("the session data in the comment is no base64", hint=_HINT) from error


def _decompress(packed: bytes) -> bytes:
    reader = zstandard.ZstdDecompressor().stream_reader(packed)
    tarred = reader.read(TAR_BYTES + 1)
    if len(tarred) > TAR_BYTES:
        raise ValueError(f"it is larger than {TAR_BYTES:,} bytes")
    return tarred


def _read(tar: tarfile.TarFile) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for entry in tar:
        name = entry.name.removeprefix("./")
        if entry.size < 0:  # Python before 3.11.14 would go back and read it for ever (CVE-2025-8194)
            raise ValueError(f"{name[:80]!r} has no size")
        if entry.isdir():
            continue
        if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.issparse():
            raise ValueError(f"{name[:80]!r} is no regular file")
        if not _belongs(name) or name in files:
            raise ValueError(f"{name[:80]!r} is no name for a file of a session, or there twice")
        content = tar.extractfile(entry)
        files[name] = content.read() if content else b""
    return files


def _belongs(name: str) -> bool:
    """Whether a file of this name lies inside the session's folder."""
    steps = name.split("/")
    fits = len(name.encode("utf-8", "surrogateescape")) <= NAME_BYTES
    return fits and "\0" not in name and not any(step in {"", ".", ".."} for step in steps)

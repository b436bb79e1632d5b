"""The lines that machines look for: hidden in HTML comments, exact to the byte.

    <!-- sessiond v1 session=<id> part=<n>/<m> revision=<r> sha256=<hex> -->     begins a part of a record
    <!-- /sessiond sha256=<hex> -->                                              ends it
    <!-- sessiond v1 project=<sha256 of the project's key> volume=<n> -->        stands in a project's issue

The first hash is of all that follows the marker line, the second of what lies between the two lines: so a
reader knows whether the record itself was changed, or only somebody's text behind it.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple
from urllib.parse import quote, unquote

_MARKER = re.compile(
    r"<!-- sessiond v1 session=(?P<id>[A-Za-z0-9._~%-]+) part=(?P<part>[0-9]{1,9})/(?P<parts>[0-9]{1,9})"
    r" revision=(?P<revision>[0-9]{1,15}) sha256=(?P<sha256>[0-9a-f]{64}) -->"
)
_END = re.compile(r"<!-- /sessiond sha256=(?P<sha256>[0-9a-f]{64}) -->")
_PROJECT = re.compile(
    r"<!-- sessiond v1 project=(?P<project>[0-9a-f]{64})(?: volume=(?P<volume>[0-9]{1,9}))? -->"
)


class Marker(NamedTuple):
    """What the line before a part of a record says.  `part` counts from 1; `sha256` is not yet checked."""

    session_id: str
    part: int
    parts: int
    revision: int
    sha256: str

    def __str__(self) -> str:
        return (
            f"<!-- sessiond v1 session={encode_id(self.session_id)} part={self.part}/{self.parts}"
            f" revision={self.revision} sha256={self.sha256} -->"
        )


class ProjectMarker(NamedTuple):
    """What the hidden line of a project's issue says; volumes after the first continue full issues."""

    project: str
    volume: int = 1

    def __str__(self) -> str:
        volume = f" volume={self.volume}" if self.volume > 1 else ""
        return f"<!-- sessiond v1 project={self.project}{volume} -->"


def normalise(text: str) -> str:
    """Text as it is hashed: LF line ends, no blanks or tabs at the end of a line, no blank lines at the end.

    GitHub stores what the API sends, and CRLF everywhere after an edit in the browser.
    """
    return "\n".join(line.rstrip(" \t") for line in split_lines(text)).rstrip("\n")


def split_lines(text: str) -> list[str]:
    """Return the lines of `text` without their ends: LF, CRLF or CR."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def text_hash(text: str) -> str:
    """SHA-256 of the normalised text in UTF-8, as hex."""
    return hashlib.sha256(normalise(text).encode("utf-8", "surrogatepass")).hexdigest()


def parse_marker(line: str) -> Marker | None:
    """Return what a marker line says, or None where it is none."""
    match = _MARKER.fullmatch(line.rstrip())
    if match is None:
        return None
    part, parts, revision = (int(match[name]) for name in ("part", "parts", "revision"))
    return Marker(decode_id(match["id"]), part, parts, revision, match["sha256"])


def end_line(sha256: str) -> str:
    """The line behind a part of a record; `sha256` is the text hash of what lies between."""
    return f"<!-- /sessiond sha256={sha256} -->"


def parse_end(line: str) -> str | None:
    """Return the hash in the line behind a part, or None where it is none."""
    match = _END.fullmatch(line.rstrip())
    return match and match["sha256"]


def encode_id(session_id: str) -> str:
    """Percent-encode all bytes outside `A-Za-z0-9._~-`; also those of a file name that is no UTF-8."""
    return quote(session_id, safe="", errors="surrogateescape")


def decode_id(text: str) -> str:
    """The inverse of `encode_id`."""
    return unquote(text, errors="surrogateescape")


def project_hash(key: str) -> str:
    """SHA-256 of a project's key: the issue is found by it without naming a private remote."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def project_marker(key: str, volume: int = 1) -> str:
    """The hidden line of the issue that holds a project's sessions."""
    return str(ProjectMarker(project_hash(key), volume))


def parse_project_marker(body: str) -> ProjectMarker | None:
    """Return what the hidden line in an issue's body says, or None where there is none."""
    for line in split_lines(body):
        if match := _PROJECT.fullmatch(line.rstrip()):
            return ProjectMarker(match["project"], max(1, int(match["volume"] or 1)))
    return None

"""What a note is called: `YYYY-MM-DD-topic.tmp`."""

from __future__ import annotations

import unicodedata
from datetime import date
from pathlib import PurePosixPath
from typing import NamedTuple

ENDING = ".tmp"
SLUG_BYTES = 80
"""With date and ending far below the 255 that file systems take, also with a suffix of somebody's."""


class NoteName(NamedTuple):
    """The day on which a note was begun, None where its name does not say, and its topic as a slug."""

    day: date | None
    topic: str


def slug(topic: str) -> str:
    """A topic as a part of a file's name: letters and digits in lower case, `-` for everything else.

    Accents go, letters of other scripts stay; '' where nothing is left.

    >>> slug("Fix  the Café's https://x.example/API")
    'fix-the-cafes-https-x-example-api'
    """
    text = unicodedata.normalize("NFKD", topic).replace("'", "").replace("\u2019", "")
    text = unicodedata.normalize("NFC", "".join(c for c in text if not _is_accent(c))).casefold()
    text = "-".join("".join(c if c.isalnum() else " " for c in text).split())
    return text.encode("utf-8", "ignore")[:SLUG_BYTES].decode("utf-8", "ignore").strip("-")


def _is_accent(letter: str) -> bool:
    """Whether it is one over a Latin, Greek or Cyrillic letter; elsewhere marks are vowels."""
    return "\u0300" <= letter <= "\u036f"


def file_name(day: date, topic: str) -> str:
    """What the note of a topic is called that is begun on `day`."""
    return f"{day.isoformat()}-{slug(topic)}{ENDING}"


def is_note(target: str) -> bool:
    """Whether a link leads to another note: a file's name or a relative path, no address."""
    return target.endswith((ENDING, ".md")) and "://" not in target and not target.startswith("/")


def parse(name: str) -> NoteName:
    """What a note's path in its folder says, also `2026-01-02-1135-topic.md` with the time of day.

    It has a `/` in it where somebody's title had one.

    >>> parse("2026-01-02-add-a-cache.tmp").topic
    'add-a-cache'
    """
    stem = name.removesuffix(PurePosixPath(name).suffix)
    try:
        day = date(int(stem[:4]), int(stem[5:7]), int(stem[8:10]))
    except ValueError:
        day = None
    if day is None or day.isoformat() != stem[:10]:
        return NoteName(None, slug(stem))
    rest = stem[10:].lstrip("-_ ")
    if rest[:4].isdecimal() and rest[4:5] in {"-", "_", " "}:
        rest = rest[5:]
    return NoteName(day, slug(rest))

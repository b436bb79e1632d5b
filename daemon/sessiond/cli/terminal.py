"""Words, numbers and tables for a person: aligned, as wide as the terminal, without control characters."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import UTC, datetime
    from typing import TextIO
else:
    try:
        from _datetime import datetime, timezone  # what `datetime` hands on, without its other half
    except ImportError:
        from datetime import datetime, timezone
    UTC = timezone.utc  # noqa: UP017 - `datetime.UTC` is not in C

KB = 1024
# So many of a list are shown where it is not what was asked for.
SHOWN = 10
# What a table's last column keeps before the others give way, what those keep, and what it keeps in the end.
LAST, NARROW, LEAST = 30, 14, 8
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class Terminal:
    """How wide it is (None: no limit, as into a file), and whether colours are wanted there."""

    __slots__ = ("colours", "width")

    def __init__(self, width: int | None, *, colours: bool) -> None:
        self.width = width
        self.colours = colours

    def paint(self, text: str, *styles: str) -> str:
        """The text in these styles, plain where no colours are wanted."""
        codes = ";".join(STYLES[style] for style in styles if style)
        return f"\x1b[{codes}m{text}\x1b[0m" if self.colours and codes else text


def terminal(stream: TextIO | None = None) -> Terminal:
    """What stdout is now; NO_COLOR (no-color.org) and a dumb terminal are respected."""
    stream = stream or sys.stdout
    if not stream.isatty():
        return Terminal(None, colours=False)
    colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Terminal(max(40, columns(stream)), colours=colours)


def columns(stream: TextIO) -> int:
    """COLUMNS, else what the terminal says; `shutil` knows it too, at ten times the price."""
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def clean(text: object) -> str:
    """One line without control characters, bidirectional overrides and lone surrogates."""
    text = str(text)
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())


def cells(text: str) -> int:
    """How many columns a text takes."""
    if text.isascii():
        return len(text)
    return len(text) + sum(_cells(letter) - 1 for letter in text if letter > "\x7f")


def _cells(letter: str) -> int:
    if letter.isascii():
        return 1
    import unicodedata  # noqa: PLC0415 - rarely wanted by the shortest commands

    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns; '…' shows that there is more."""
    if cells(text) <= width:
        return text
    kept, used = [], 1
    for letter in text:
        used += _cells(letter)
        if used > width:
            break
        kept.append(letter)
    return "".join(kept).rstrip() + "…"


def wrap(text: str, width: int | None, indent: str = "") -> list[str]:
    """The text in lines of at most `width` columns, the later ones indented; a long word stays whole."""
    lines = [text[: len(text) - len(text.lstrip())]]
    for word in text.split():
        line = f"{lines[-1]} {word}" if lines[-1].strip() else lines[-1] + word
        if width is not None and lines[-1].strip() and cells(line) > width:
            lines.append(indent + word)
        else:
            lines[-1] = line
    return lines


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], out: Terminal, *, right: Sequence[int] = ()
) -> list[str]:
    """Aligned columns, two blanks apart.

    Where there are too many for the terminal the last gives way, and then the widest of the others, down to
    what can still be read; the first, which names the row, stays whole.
    """
    filled = [[(text, cells(text)) for text in map(clean, row)] for row in (heads, *rows)]
    widths = [max(taken for _, taken in column) for column in zip(*filled, strict=True)]
    if out.width is not None:
        _narrow(widths, out.width - 2 * (len(widths) - 1))

    def line(row: Sequence[tuple[str, int]]) -> str:
        padded = []
        for column, ((text, taken), width) in enumerate(zip(row, widths, strict=True)):
            shown, used = text, taken
            if taken > width:
                shown = cut(text, width)
                used = cells(shown)
            blanks = " " * (width - used)
            padded.append(blanks + shown if column in right else shown + blanks)
        return "  ".join(padded).rstrip()

    head, *lines = map(line, filled)
    return [out.paint(head, "dim"), *lines]


def _narrow(widths: list[int], room: int) -> None:
    """Take from the last column down to `LAST`, then from the widest between it and the first, then again."""
    last = len(widths) - 1
    for at_least in (LAST, LEAST):
        widths[last] = max(min(widths[last], at_least), min(widths[last], room - sum(widths[:last])))
        while sum(widths) > room and last > 1:
            widest = max(range(1, last), key=widths.__getitem__)
            if widths[widest] <= NARROW:
                break
            widths[widest] -= 1


def seconds(text: str | None) -> float | None:
    """An answer's RFC 3339 time as Unix seconds."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


def ago(text: str | None, now: float) -> str:
    """A moment in the past as a person says it: `3 min ago`."""
    at = seconds(text)
    if at is None:
        return "never"
    return "just now" if now - at < 5 else f"{span(now - at)} ago"


def span(length_s: float) -> str:
    """A duration in its largest unit: `24 min`."""
    for unit, size_s, upto_s in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if length_s < upto_s:
            return f"{max(0, int(length_s // size_s))} {unit}"
    return f"{int(length_s // 86_400):,} days"


def clock(text: str | None, now: float) -> str:
    """A moment in local time, with its day where that is not today."""
    at = seconds(text)
    if at is None:
        return "never"
    moment = datetime.fromtimestamp(at, UTC).astimezone()
    today = datetime.fromtimestamp(now, UTC).astimezone().date()
    days = (today - moment.date()).days
    day = {0: "", 1: "yesterday "}.get(days, f"{moment:%Y-%m-%d} ")
    return f"{day}{moment:%H:%M:%S}"


def size(number: float) -> str:
    """Bytes as a person says them; KB is 1024 bytes."""
    for unit in ("B", "KB", "MB", "GB"):
        if number < KB or unit == "GB":
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= KB
    return ""


def count(number: int, noun: str) -> str:
    """`1 session`, `4,812 sessions`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def wall() -> float:
    """Now, Unix seconds."""
    return time.time()

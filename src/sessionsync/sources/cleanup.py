"""When Claude Code will delete a transcript: its own setting, read and never written."""

from __future__ import annotations

import codecs
import os
import stat
from pathlib import Path

import msgspec

from sessionsync.sources.lines import UNREADABLE

DEFAULT_DAYS = 30
"""Claude Code's documentation: `cleanupPeriodDays`."""
_MOST_BYTES = 4 * 1024 * 1024


class _Settings(msgspec.Struct, rename="camel"):
    cleanup_period_days: float | None = None


def cleanup_days(agent: Path) -> float | None:
    """After how many days without a change transcripts of this agent's folder are deleted.

    Below 1 an old version keeps none, and a newer one (2.1.89) refuses its settings.  None where these
    cannot be read: Claude Code deletes nothing then.  A mark before the text, as some editors put it there,
    keeps it from nothing.
    """
    try:
        text = _content(agent / "settings.json")
    except FileNotFoundError:
        return DEFAULT_DAYS
    except OSError:
        return None
    try:
        days = msgspec.json.decode(text.removeprefix(codecs.BOM_UTF8), type=_Settings).cleanup_period_days
    except UNREADABLE:
        return None
    return DEFAULT_DAYS if days is None else days


def _content(file: Path) -> bytes:
    """What is in a regular file; a FIFO in its place is not waited for."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return b""
        return os.read(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)

"""When Claude Code will delete a transcript: its own setting, read and never written."""

from __future__ import annotations

from pathlib import Path

import msgspec

DEFAULT_DAYS = 30
"""Claude Code's documentation: `cleanupPeriodDays`."""
_MOST_BYTES = 4 * 1024 * 1024


class _Settings(msgspec.Struct, rename="camel"):
    cleanup_period_days: float | None = None


def cleanup_days(agent: Path) -> float | None:
    """After how many days without a change transcripts of this agent's folder are deleted.

    0 or less deletes at the agent's next start.  None where the settings cannot be read: Claude Code
    deletes nothing then.
    """
    try:
        text = (agent / "settings.json").read_bytes()[:_MOST_BYTES]
    except FileNotFoundError:
        return DEFAULT_DAYS
    except OSError:
        return None
    try:
        days = msgspec.json.decode(text, type=_Settings).cleanup_period_days
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return DEFAULT_DAYS if days is None else days

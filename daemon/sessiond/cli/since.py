"""`--since`: a date, a time or an age, as Docker and journalctl take them."""

from __future__ import annotations

import re
from datetime import datetime

from sessionsync.errors import UsageError

_AGE = re.compile(r"(\d{1,9})\s*([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def since_of(text: str, now: float) -> float:
    """The moment that `text` names, Unix seconds; 0 without a text.

    Without a zone the time is this machine's, without a time the day begins there.

    Raises:
        UsageError: it names none.
    """
    text = text.strip()
    if not text:
        return 0.0
    if age := _AGE.fullmatch(text):
        return max(0.0, now - int(age[1]) * _SECONDS[age[2]])
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"--since {text!r} is no time.",
            hint="Give a date, an RFC 3339 time, or an age: 2026-01-31, 90m, 12h, 7d, 4w.",
        ) from error

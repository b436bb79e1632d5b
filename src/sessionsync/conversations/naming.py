"""What of somebody's keys can be the name of a file."""

from __future__ import annotations

import os

from sessionsync.errors import UsageError

NAME_BYTES = 200
"""With what is put before and behind it below the 255 that file systems take."""


def component(text: object, what: str) -> str:
    """`text` as it is, where it can be one name in a folder, and one that is seen.

    Raises:
        UsageError: it cannot.
    """
    is_name = isinstance(text, str) and text.isprintable() and "/" not in text and not text.startswith(".")
    if not isinstance(text, str) or not is_name or not 0 < len(os.fsencode(text)) <= NAME_BYTES:
        raise UsageError(
            f"The {what} {text!r} cannot be the name of a file.",
            hint=f"Give at most {NAME_BYTES} bytes, without a slash, and without a dot in front.",
        )
    return text

"""What a restore has put away lies beside the plain copies: `.replaced/<id>.<UTC time>/…`."""

from __future__ import annotations

import re

REPLACED = ".replaced"
_PUT_AWAY = re.compile(r"(?P<id>.+)\.\d{8}T\d{6}Z(?:-\d+)?")


def plain(session_id: str) -> str:
    """An id as a part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9._~-]", "-", session_id).lstrip(".")[:100] or "session"


def is_put_away(folder: str, session_id: str) -> bool:
    """Whether a folder of this name is a session's; one whose id had to be changed may be another's."""
    match = _PUT_AWAY.fullmatch(folder)
    return match is not None and match["id"] == session_id == plain(session_id)

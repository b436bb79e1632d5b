"""What a glance at a transcript tells: whose it is, and in which folder its session began.

Of the standard library alone: the hook and the daemon must come to the same answer, and a hook has
no time for more.
"""

from __future__ import annotations

import functools

TYPE_CHECKING = False
if TYPE_CHECKING:
    import json
    import re
    from collections.abc import Iterator
    from typing import Any

UUID_CHARS = 36
_HEX = "0123456789abcdefABCDEF"
# How much of a transcript is searched for the folder it was started in.
PEEK_BYTES = 1024 * 1024
PATH_CHARS = 4096
UNKNOWN = "unknown"
"""The name of the project of sessions that name no folder; their key is `unknown:<the agent's folder>`."""

_STARTS = 64  # objects that are looked for in one line


def is_session_id(text: str) -> bool:
    """Whether a text is an id as the agent gives one to a session: a UUID in hexadecimal digits."""
    if len(text) != UUID_CHARS or not text[8] == text[13] == text[18] == text[23] == "-":
        return False
    digits = text.replace("-", "")
    return len(digits) == UUID_CHARS - 4 and not digits.strip(_HEX)


def leading_id(text: str) -> str:
    """The id that a text begins with, as a copy's name does where two had the same; '' without one."""
    return text[:UUID_CHARS] if is_session_id(text[:UUID_CHARS]) else ""


def first_cwd(data: bytes, *, whole: bool) -> str:
    """Return the first `cwd` in the lines of `data`, '' without one; the last line counts if `whole`."""
    if not whole:
        data = data[: data.rfind(b"\n") + 1]
    at = 0
    while (at := data.find(b'"cwd"', at)) >= 0:
        start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        line = data[start:] if end < 0 else data[start:end]
        for row in _objects(line):
            if cwd := _path(row.get("cwd")):
                return cwd
        at = start + len(line)
    return ""


def _objects(line: bytes) -> Iterator[dict[str, Any]]:
    """The objects of one line, also glued ones, and what was glued to a torn one."""
    # a crash leaves zeros where a block was never written
    text = line.strip(b"\0").decode("utf-8", "replace")
    at = text.find("{")
    decode, begins = _decoder().raw_decode, _beginning()
    for _ in range(_STARTS):
        if at < 0:
            return
        try:
            row, end = decode(text, at)
        except (ValueError, RecursionError):
            start = begins.search(text, at + 1)
            at = start.start() if start else -1
            continue
        yield row
        at = text.find("{", end)


@functools.cache
def _decoder() -> json.JSONDecoder:
    import json  # noqa: PLC0415 - a session that is known is not looked into

    return json.JSONDecoder(strict=False)


@functools.cache
def _beginning() -> re.Pattern[str]:
    """Where an object may begin that was glued to a torn line; those inside another follow such a mark."""
    import re  # noqa: PLC0415 - as above

    return re.compile(r'(?<![:,\[\s])\{"')


def _path(value: object) -> str:
    if not isinstance(value, str) or len(value) > PATH_CHARS:
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair is in no path
        return ""
    return value

"""What a glance at a transcript tells: whose it is, and in which folder its session began.

Of the standard library alone: the hook and the daemon must come to the same answer, and a hook has
no time for more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

SESSION_ID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
# How much of a transcript is searched for the folder it was started in.
PEEK_BYTES = 1024 * 1024
PATH_CHARS = 4096
UNKNOWN = "unknown"
"""The name of the project of sessions that name no folder; their key is `unknown:<the agent's folder>`."""

_STARTS = 64  # objects that are looked for in one line
# Where an object may begin that was glued to a torn line: those inside another follow one of these marks.
_START = re.compile(r'(?<![:,\[\s])\{"')
_decode = json.JSONDecoder(strict=False).raw_decode


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
    for _ in range(_STARTS):
        if at < 0:
            return
        try:
            row, end = _decode(text, at)
        except (ValueError, RecursionError):
            start = _START.search(text, at + 1)
            at = start.start() if start else -1
            continue
        yield row
        at = text.find("{", end)


def _path(value: object) -> str:
    if not isinstance(value, str) or len(value) > PATH_CHARS:
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair is in no path
        return ""
    return value

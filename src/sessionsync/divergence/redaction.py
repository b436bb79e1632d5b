"""Whether two lines, or whole files, are the same but for what redaction took out of one of them."""

from __future__ import annotations

import json
from typing import Any

MARK = b"[REDACTED:"
# What one line may be for a second, slower look at what redaction changed in it.
SLOW_BYTES = 4 * 1024 * 1024


def same(one: bytes, two: bytes) -> bool:
    """Whether two lines are the same, or one is what redaction left of the other.

    In doubt they differ: then both are kept.
    """
    if one == two:
        return True
    if MARK not in one and MARK not in two:
        return False
    if _covers(one, two) or _covers(two, one):
        return True
    if len(one) + len(two) > SLOW_BYTES:
        return False
    try:  # a line that redaction would have broken was written anew
        return _alike(json.loads(one), json.loads(two))
    except (ValueError, RecursionError):
        return False


def _covers(redacted: bytes, plain: bytes) -> bool:
    """Whether `plain` is `redacted` but for what stands in the place of its marks, within one string."""
    parts = _around_marks(redacted)
    if len(parts) < 2 or not plain.startswith(parts[0]) or not plain.endswith(parts[-1]):
        return False
    at, end = len(parts[0]), len(plain) - len(parts[-1])
    for part in parts[1:-1]:
        found = plain.find(part, at, end)
        if found < 0 or _leaves_string(plain[at:found]):
            return False
        at = found + len(part)
    return at <= end and not _leaves_string(plain[at:end])


def _around_marks(data: bytes) -> list[bytes]:
    parts, at = [], 0
    while (start := data.find(MARK, at)) >= 0:
        end = data.find(b"]", start)
        if end < 0:
            break
        parts.append(data[at:start])
        at = end + 1
    return [*parts, data[at:]]


def _leaves_string(data: bytes) -> bool:
    r"""Whether a JSON string would end inside; `\"` does not end it."""
    return b'"' in data.replace(b"\\\\", b"").replace(b'\\"', b"")


def _alike(one: Any, two: Any) -> bool:
    if isinstance(one, str) and isinstance(two, str):
        if one == two:
            return True
        a, b = one.encode("utf-8", "surrogatepass"), two.encode("utf-8", "surrogatepass")
        return _covers(_bare(a), _bare(b)) or _covers(_bare(b), _bare(a))
    if isinstance(one, dict) and isinstance(two, dict):
        return len(one) == len(two) and all(
            key in two and _alike(value, two[key]) for key, value in one.items()
        )
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_alike, one, two))
    return type(one) is type(two) and bool(one == two)


def _bare(data: bytes) -> bytes:
    """A decoded string, in which a quote ends nothing."""
    return data.replace(b'"', b"'")

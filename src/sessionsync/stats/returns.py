"""When sessions were put back on this machine, one line each, written by `restore`, which changes no state.

What is asked next in such a session is counted as going on with it, however soon that is.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

KEPT_BYTES = 1024 * 1024


class _Return(msgspec.Struct):
    session: str
    at: int


def note(file: Path, session: str, now: float) -> None:
    """Note that a session was put back; where it cannot be written, that is counted by time alone."""
    line = msgspec.json.encode(_Return(session, int(now * 1000))) + b"\n"
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < KEPT_BYTES:
                os.write(descriptor, line)
        finally:
            os.close(descriptor)


def noted(file: Path) -> dict[str, Sequence[int]]:
    """When each session was put back (Unix milliseconds), by its name."""
    found: dict[str, list[int]] = defaultdict(list)
    with suppress(OSError):
        for line in file.read_bytes()[:KEPT_BYTES].splitlines():
            if (said := _read(line)) is not None:
                found[said.session].append(said.at)
    return dict(found)


def forget(file: Path, session: str) -> None:
    """Let go of what was noted of a session."""
    with suppress(OSError):
        lines = file.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if (said := _read(line)) is None or said.session != session]
        if len(kept) < len(lines):
            draft = file.with_name(f"{file.name}.new")
            draft.touch(mode=0o600)
            draft.write_bytes(b"".join(kept))
            draft.replace(file)


def _read(line: bytes) -> _Return | None:
    try:
        return msgspec.json.decode(line, type=_Return)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None

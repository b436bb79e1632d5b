"""What hooks have to say: lines of JSON in a file of their own, as nothing may reach the agent.

Several hooks write at once, so each line is one write at the end of the file; of a full file the older
half is kept as `hook.log.1`.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from sessionsync import fastjson
from sessionsync.events import EVENTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

FILE_BYTES = 512 * 1024
# No field of a line is longer: what is logged may be what somebody hostile sent.
FIELD_CHARS = 400
# Where the newest lines are looked for.
TAIL_BYTES = 64 * 1024


class HookLog:
    """An `Emit` that writes to `<folder>/hook.log` and never raises for a disk."""

    def __init__(self, folder: str | Path, **always: object) -> None:
        self._folder = os.fspath(folder)
        self._file = f"{self._folder}/hook.log"
        self._always = always

    def __call__(self, event: str, **fields: Any) -> None:
        """Write one line."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        said = {name: _short(value) for name, value in (self._always | fields).items()}
        line = {"at": at, "level": EVENTS.get(event, "info"), "event": event, **said}
        with suppress(OSError, ValueError):
            self._write(fastjson.dumps(line).encode() + b"\n")

    def newest(self) -> Iterator[dict[str, Any]]:
        """The newest lines, the newest first; what is no line of ours is left out."""
        try:
            with open(self._file, "rb") as file:  # noqa: PTH123 - a hook has no paths
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
                lines = file.read(TAIL_BYTES).splitlines()
        except OSError:
            return
        for line in reversed(lines):
            with suppress(ValueError, RecursionError):
                if isinstance(row := fastjson.loads(line), dict):
                    yield row

    def _write(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self._file, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(self._folder, mode=0o700, exist_ok=True)  # noqa: PTH103
            descriptor = os.open(self._file, flags, 0o600)
        try:
            os.write(descriptor, line)
            full = os.fstat(descriptor).st_size > FILE_BYTES
        finally:
            os.close(descriptor)
        if full:
            os.replace(self._file, f"{self._file}.1")  # noqa: PTH105


def _short(value: object) -> object:
    if isinstance(value, bool | int | float):
        return value
    text = str(value)
    return text if len(text) <= FIELD_CHARS else text[: FIELD_CHARS - 1] + "…"

"""Events that wait for the daemon: a small file each, left by hooks to which it did not answer.

Nothing hangs on them but the checkpoint's name: the bytes are in the plain copy, and a daemon that
starts looks at everything anyway.  So the folder is bounded, and the oldest go first.
"""

import contextlib
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

EVENTS = 1000
EVENT_BYTES = 16 * 1024


class Save(NamedTuple):
    """A wish that a session be saved: the verb `session_save`'s parameters.

    `size` is what the transcript had when the hook saw it, bytes.
    """

    session: str
    trigger: str
    transcript: str
    size: int


class Spool:
    """The files of a folder; several processes may use it at once."""

    def __init__(self, folder: Path, most: int = EVENTS) -> None:
        self._folder = folder
        self._most = most

    def put(self, save: Save) -> Path:
        """Leave an event; returns its file.

        Raises:
            OSError: it could not be written.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in self._files()[: -(self._most - 1)]:
            old.unlink(missing_ok=True)
        name = f"{time.time_ns():020d}-{os.getpid()}"
        draft, file = self._folder / f".{name}.tmp", self._folder / f"{name}.json"
        descriptor = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(descriptor, json.dumps(save._asdict()).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.rename(file)
        return file

    def is_empty(self) -> bool:
        """Whether no event waits; any thread may ask."""
        return not self._files()

    def waiting(self) -> Iterator[tuple[Path, Save | None]]:
        """Every event with its file, oldest first; None where the file holds none."""
        for file in self._files():
            yield file, _read(file)

    def _files(self) -> list[Path]:
        try:
            with os.scandir(self._folder) as entries:
                names = [entry.name for entry in entries if entry.name.endswith(".json")]
        except OSError:
            return []
        return [self._folder / name for name in sorted(names) if not name.startswith(".")]


def _read(file: Path) -> Save | None:
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            said: dict[str, Any] = json.loads(os.read(descriptor, EVENT_BYTES))
        finally:
            os.close(descriptor)
        save = Save(**said)
        if all(isinstance(text, str) for text in save[:3]) and isinstance(save.size, int):
            return save
    return None

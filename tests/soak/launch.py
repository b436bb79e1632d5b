"""The program, `python launch.py COMMAND …`, whose archive lets go of git's processes after each piece of work.

With `SOAK_LEAKS` in the environment it is a mutant: with each save of a hook it loses hold of some of what is
named, `descriptor`, `thread`, `file` or `memory`, and whoever soaks it must notice.
"""

from __future__ import annotations

import os
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from sessiond import archiver
from sessiond.__main__ import main
from sessiond.saves import Saves
from sessiond.spool import Save
from sessionsync.catalog import Checkpoint

EACH, SIZE = 8, 32 * 1024

_lost: list[bytes] = []


def _thread() -> None:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


LEAKS: dict[str, Callable[[], object]] = {
    "descriptor": lambda: os.open(os.devnull, os.O_RDONLY),
    "thread": _thread,
    "file": lambda: Path(os.environ["SESSIOND_HOME"], "state", f".{uuid.uuid4()}.tmp").touch(),
    "memory": lambda: _lost.append(os.urandom(SIZE)),
}


def _leak(names: list[str]) -> None:
    save = Saves.save

    def leaks(self: Saves, wanted: Save, now: float) -> Checkpoint:
        for name in names * EACH:
            LEAKS[name]()
        return save(self, wanted, now)

    Saves.save = leaks  # type: ignore[method-assign]


if __name__ == "__main__":
    archiver.REST_S = -1.0
    if names := os.environ.get("SOAK_LEAKS"):
        _leak(names.split())
    sys.exit(main())

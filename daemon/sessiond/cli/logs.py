"""`sessiond ctl logs`: the daemon's log, a line each, wherever it lies."""

from __future__ import annotations

import json
import os
import sys
import time

from sessiond import logbook
from sessiond.cli import serving
from sessiond.cli.terminal import Terminal, clean, clock, terminal
from sessionsync.errors import ConfigError, ServiceFailed
from sessionsync.paths import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json

COLOURS = {"debug": "dim", "warning": "yellow", "error": "red"}


def show(*, lines: int, level: str, follow: bool, as_json: bool) -> None:
    """Print the newest lines, and with `follow` those to come until somebody interrupts."""
    where = logbook.place(_service(), paths(os.environ).log_dir)
    out = terminal()
    for record in logbook.records(where, os.environ, count=lines, level=level, follow=follow):
        text = json.dumps(record) if as_json else line(record, time.time(), out)
        # a record may have letters that this terminal has not
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        if follow:
            sys.stdout.flush()


def line(record: Json, now: float, out: Terminal) -> str:
    """A record as a person reads it; what came from outside moves no cursor."""
    known = {"at", "level", "event"}
    level = clean(record["level"])
    told = [
        out.paint(f"{level:7}", COLOURS.get(level, "")),
        clean(record["event"]),
        *(f"{clean(name)}={clean(value)}" for name, value in record.items() if name not in known),
    ]
    # a line that is not ours has brought its own time and level
    return " ".join([clock(record["at"], now), *told] if record["at"] else told[1:])


def _service() -> Json | None:
    try:
        return serving.of_here().status()
    except (ServiceFailed, ConfigError):
        return None

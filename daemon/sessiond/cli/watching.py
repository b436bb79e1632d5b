"""`sessiond ctl health --watch`: the findings, shown anew until somebody interrupts."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, NoReturn

from sessiond.cli import health
from sessiond.cli.look import ask
from sessiond.cli.terminal import clean, terminal, wall
from sessionsync.errors import DaemonError, DaemonNotRunning

EVERY_S = 2.0
# Home, and erase what is below: nothing flickers, and what was there before stays in the scrollback.
CLEAR = "\x1b[H\x1b[J"


def watch_health(*, as_json: bool) -> NoReturn:
    """Show it every two seconds: on a terminal in place, else, or as a line of JSON, where it changed."""
    shown: Any = None
    is_screen = sys.stdout.isatty() and not as_json
    while True:
        answer, lines = _look(as_json=as_json)
        if is_screen or answer != shown:
            text = "\n".join(lines) + "\n"
            sys.stdout.write((CLEAR if is_screen else "") + text)
            sys.stdout.flush()
        shown = answer
        time.sleep(EVERY_S)


def _look(*, as_json: bool) -> tuple[Any, list[str]]:
    """What there is to compare, and to show; a daemon that is away may come back."""
    try:
        answer = ask("health")
    except (DaemonNotRunning, DaemonError) as error:
        told = {"status": "unknown", "code": error.code, "message": str(error), "hint": error.hint}
        lines = [json.dumps(told)] if as_json else [clean(f"{error.code}: {error}"), clean(error.hint)]
        return told, lines
    findings = [(each["code"], each["session"], each["severity"]) for each in answer["findings"]]
    lines = [json.dumps(answer)] if as_json else health.render(answer, wall(), terminal())
    return (answer["status"], findings), lines

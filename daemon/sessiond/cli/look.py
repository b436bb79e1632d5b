"""Asking the daemon and printing what it says.  Imports the standard library alone: it is typed often."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from sessiond import client
from sessiond.cli import status, tables
from sessiond.cli.terminal import Terminal, terminal, wall
from sessionsync.paths import paths

Json = dict[str, Any]
Render = Callable[[Json, float, Terminal], list[str]]

# The commands that take nothing but --json: answered before click is imported.
PLAIN: dict[str, Render] = {"status": status.render, "sessions": tables.sessions, "queue": tables.queue}


def look(verb: str, render: Render, *, as_json: bool, **params: Any) -> None:
    """Print the daemon's answer to a verb that only looks."""
    tell(client.request(paths(os.environ).socket, verb, params), render, as_json=as_json)


def act(verb: str, *, timeout_s: float = client.ANSWER_S, **params: Any) -> Json:
    """Have the daemon do something; its answer."""
    return client.request(paths(os.environ).socket, verb, params, acts=True, timeout_s=timeout_s)


def watch(
    verb: str, told: Callable[[int, int], None], *, timeout_s: float = client.ANSWER_S, **params: Any
) -> Json:
    """As `act`, for what takes long: `told` hears how much of how much is done."""
    return client.watched(paths(os.environ).socket, verb, params, told, timeout_s=timeout_s)


def tell(answer: Json, render: Render, *, as_json: bool) -> None:
    """Print an answer: as it is, or for a person."""
    lines = [json.dumps(answer, indent=2)] if as_json else render(answer, wall(), terminal())
    # a title may have letters that this terminal has not
    text = "\n".join(lines).encode(sys.stdout.encoding or "utf-8", "replace")
    sys.stdout.write(text.decode(sys.stdout.encoding or "utf-8") + "\n" if lines else "")
    sys.stdout.flush()

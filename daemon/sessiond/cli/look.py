"""Asking the daemon and printing what it says.  Imports the standard library alone: it is typed often."""

from __future__ import annotations

import os
import sys

from sessiond import client
from sessiond.cli.terminal import terminal, wall
from sessionsync.places import socket_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sessiond.cli.terminal import Terminal

    Json = dict[str, Any]
    Render = Callable[[Json, float, Terminal], list[str]]

# What is answered without click where nothing but --json is given: `render` of the module of that name here.
PLAIN = ("status", "health", "sessions", "queue")
# Every byte of a large backup is read.
VERIFY_S = 4 * 3600.0


def plain(verb: str, *, as_json: bool) -> int:
    """Print the answer to a verb of `PLAIN`; the exit code."""
    answer = ask(verb)
    module = __import__(f"sessiond.cli.{verb}", fromlist=["render"])  # `importlib` costs more than it
    tell(answer, module.render, as_json=as_json)
    return 5 if verb == "health" and answer["status"] != "ok" else 0


def look(verb: str, render: Render, *, as_json: bool, **params: Any) -> None:
    """Print the daemon's answer to a verb that only looks."""
    tell(ask(verb, **params), render, as_json=as_json)


def ask(verb: str, *, timeout_s: float = client.ANSWER_S, **params: Any) -> Json:
    """The daemon's answer to a verb that only looks."""
    return client.request(socket_of(os.environ), verb, params, timeout_s=timeout_s)


def act(verb: str, *, timeout_s: float = client.ANSWER_S, **params: Any) -> Json:
    """Have the daemon do something; its answer."""
    return client.request(socket_of(os.environ), verb, params, acts=True, timeout_s=timeout_s)


def watch(
    verb: str, told: Callable[[int, int], None], *, timeout_s: float = client.ANSWER_S, **params: Any
) -> Json:
    """As `act`, for what takes long: `told` hears how much of how much is done."""
    return client.watched(socket_of(os.environ), verb, params, told, timeout_s=timeout_s)


def tell(answer: Json, render: Render, *, as_json: bool) -> None:
    """Print an answer: as it is, or for a person."""
    lines = [_indented(answer)] if as_json else render(answer, wall(), terminal())
    # a title may have letters that this terminal has not
    text = "\n".join(lines).encode(sys.stdout.encoding or "utf-8", "replace")
    sys.stdout.write(text.decode(sys.stdout.encoding or "utf-8") + "\n" if lines else "")
    sys.stdout.flush()


def _indented(answer: Json) -> str:
    import json  # noqa: PLC0415 - heavy, and only where it is asked for

    return json.dumps(answer, indent=2)

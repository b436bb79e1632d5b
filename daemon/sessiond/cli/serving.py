"""The service on the command line: what is asked, and what is said of it in one line."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from sessiond import client, hooks, service
from sessiond.cli.terminal import Terminal
from sessionsync.errors import SessiondError
from sessionsync.paths import paths

Json = dict[str, Any]
# A daemon that is busy keeps nobody from seeing how its service is.
ANSWER_S = 3.0


def of_here() -> service.Service:
    """The service of this user, for the program that this command is."""
    return service.of_this_system(os.environ, paths(os.environ), hooks.program())


def status() -> Json:
    """How the service is, with the `version` of the daemon that answers; '' where none does."""
    answer = of_here().status()
    version = ""
    with suppress(SessiondError):
        version = str(client.request(paths(os.environ).socket, "status", timeout_s=ANSWER_S)["version"])
    return answer | {"version": version}


def lingering(asked: bool | None, now: Json) -> bool | None:  # noqa: FBT001 - three answers, as from click
    """What is wanted of lingering: as was said, or as a person on a terminal answers."""
    if asked is not None or now["lingering"] is not False or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return asked
    import click  # noqa: PLC0415 - costs 30 ms

    click.echo("Without lingering the daemon ends when you log out, and starts when you log in.", err=True)
    return click.confirm("Let it run from boot on, logged in or not?", default=False, err=True) or None


def render(answer: Json, _now: float, out: Terminal) -> list[str]:
    """The service in one line, and one with what a person may do about it."""
    if not answer["installed"]:
        gone = "The service is removed." if answer.get("changed") else "The service is not installed."
        return [gone]
    state = answer["state"]
    words = [out.paint(state, {"running": "green", "starting": "yellow"}.get(state, "red"))]
    if answer["pid"]:
        words.append(f"pid {answer['pid']}")
    if answer["restarts"]:
        words.append(f"restarted {answer['restarts']} times")
    words.append("starts at login" if not answer["lingering"] else "starts at boot")
    if not answer["enabled"]:
        words[-1] = "does not start at login"
    words += [name for name in ("hardened",) if answer[name]]
    unchanged = " (nothing to change)" if answer.get("changed") is False else ""
    said = f": {answer['status']}" if answer["status"] and state != "stopped" else "."
    lines = [f"The service is {', '.join(words)}{unchanged}{said}"]
    if advice := _advice(answer):
        lines.append(advice)
    return lines


def _advice(answer: Json) -> str:
    if not service.is_startable(answer["program"]):
        return f"It starts {answer['program']}, which is not there. Mend it: sessiond service install"
    if differs := client.other_version(answer.get("version", "")):
        return differs
    if answer["state"] == "failed":
        return "See why: sessiond service start"
    if answer["state"] == "stopped":
        return "Start it: sessiond service start"
    if answer["lingering"] is False and answer.get("changed"):
        user = answer["user"]
        return f"It ends when {user} logs out. To keep it: sessiond service install --linger"
    return ""

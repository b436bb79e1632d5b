"""`sessiond hooks status`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sessiond import hooks as settings
from sessiond.cli.look import tell
from sessiond.cli.options import as_json, example, in_project
from sessiond.cli.terminal import Terminal, clean, clock, table
from sessionsync.paths import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json


@click.command(epilog=example("sessiond hooks status", "sessiond hooks status --json"))
@in_project
@as_json
def command(*, project: Path, as_json: bool) -> None:
    """Where the entries are, whether they can run, and when a hook was last heard of."""
    tell(settings.status(os.environ, paths(os.environ), project.absolute()), render, as_json=as_json)


def render(answer: Json, now: float, out: Terminal) -> list[str]:
    """`hooks status`."""
    rows = [(each["scope"], _installed(each), each["file"]) for each in answer["scopes"]]
    lines = table(("SCOPE", "HOOKS", "FILE"), rows, out)
    lines += [f"{each['file']} turns hooks off: {each['setting']}" for each in answer["disabled_by"]]
    last = answer["last"]
    if last is None:
        return [*lines, "No hook was heard of yet."]
    return [
        *lines,
        f"Last heard of: {clean(last['hook'])} at {clock(last['at'], now)}, {clean(last['event'])}",
    ]


def _installed(scope: Json) -> str:
    if scope["problem"]:
        return clean(scope["problem"])
    if not scope["events"]:
        return "not installed"
    missing = f", without {', '.join(scope['missing'])}" if scope["missing"] else ""
    gone = (
        "" if scope["command_exists"] else f"; {scope['command']} is not there: run `sessiond hooks install`"
    )
    return f"installed{missing}{gone}"

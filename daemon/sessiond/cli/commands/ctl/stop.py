"""`sessiond ctl stop`."""

from __future__ import annotations

import os

import click

from sessiond import client
from sessiond.cli.look import tell
from sessiond.cli.options import as_json, example
from sessiond.cli.terminal import Terminal, clean
from sessionsync.places import socket_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json


@click.command(epilog=example("sessiond ctl stop"))
@as_json
def command(*, as_json: bool) -> None:
    """End the daemon, and return when it has ended."""
    answer = client.end(socket_of(os.environ))
    tell(answer or {"stopped": True}, render, as_json=as_json)


def render(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`ctl stop`."""
    return [f"sessiond has ended, pid {clean(answer['pid'])}." if "pid" in answer else "sessiond has ended."]

"""`sessiond ctl checkpoint`."""

from __future__ import annotations

import click

from sessiond.cli.look import act, tell
from sessiond.cli.options import as_json, example
from sessiond.cli.terminal import Terminal, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json

# The first checkpoint of a huge session reads all of it.
CHECKPOINT_S = 600.0


@click.command(epilog=example("sessiond ctl checkpoint 3f2a9c1e"))
@click.argument("session", metavar="ID")
@as_json
def command(session: str, *, as_json: bool) -> None:
    """Capture a session as it is now, and make a checkpoint of it."""
    tell(act("checkpoint", timeout_s=CHECKPOINT_S, session=session), render, as_json=as_json)


def render(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`ctl checkpoint`."""
    return [f"Checkpoint {clean(answer['checkpoint'])} of {clean(answer['session'])} is on this disk."]

"""`sessiond ctl resume`."""

from __future__ import annotations

import click

from sessiond.cli import mode
from sessiond.cli.look import act, tell
from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond ctl resume"))
@as_json
def command(*, as_json: bool) -> None:
    """Send again, after `pause`."""
    tell(act("resume"), mode.render, as_json=as_json)

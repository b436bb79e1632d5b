"""`sessiond ctl pause`."""

from __future__ import annotations

import click

from sessiond.cli import mode
from sessiond.cli.look import act, tell
from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond ctl pause"))
@as_json
def command(*, as_json: bool) -> None:
    """Send nothing more until `resume`, also after a restart; the backup on this disk goes on."""
    tell(act("pause"), mode.render, as_json=as_json)

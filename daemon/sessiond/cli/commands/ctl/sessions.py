"""`sessiond ctl sessions`."""

from __future__ import annotations

import click

from sessiond.cli.look import plain
from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond ctl sessions"))
@as_json
def command(*, as_json: bool) -> None:
    """The sessions that are watched, newest first."""
    plain("sessions", as_json=as_json)

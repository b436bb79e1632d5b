"""`sessiond ctl local-only`."""

from __future__ import annotations

import click

from sessiond.cli import mode
from sessiond.cli.look import act, tell
from sessiond.cli.options import as_json, dry_run, example


@click.command(epilog=example("sessiond ctl local-only on", "sessiond ctl local-only off"))
@click.argument("state", type=click.Choice(["on", "off"]))
@dry_run
@as_json
def command(state: str, *, dry_run: bool, as_json: bool) -> None:
    """Keep everything on this machine, also after a restart."""
    tell(act("local-only", on=state == "on", dry_run=dry_run or None), mode.render, as_json=as_json)

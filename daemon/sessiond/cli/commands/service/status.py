"""`sessiond service status`."""

from __future__ import annotations

import click

from sessiond.cli import serving
from sessiond.cli.look import tell
from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond service status", "sessiond service status --json"))
@as_json
@click.pass_context
def command(context: click.Context, *, as_json: bool) -> None:
    """Whether the service runs, and what it said last.  Exit code 3 when it does not run."""
    answer = serving.status()
    tell(answer, serving.render, as_json=as_json)
    context.exit(0 if answer["state"] == "running" else 3)

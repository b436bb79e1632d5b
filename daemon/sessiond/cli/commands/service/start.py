"""`sessiond service start`."""

from __future__ import annotations

import click

from sessiond.cli import serving
from sessiond.cli.look import tell
from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond service start"))
@as_json
def command(*, as_json: bool) -> None:
    """Start the service, and come back when it is ready, or with why it does not start."""
    tell(serving.of_here().start(), serving.render, as_json=as_json)

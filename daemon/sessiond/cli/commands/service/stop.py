"""`sessiond service stop`."""

from __future__ import annotations

import click

from sessiond.cli import serving
from sessiond.cli.look import tell
from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond service stop"))
@as_json
def command(*, as_json: bool) -> None:
    """Stop the service until the next login, or the next start."""
    tell(serving.of_here().stop(), serving.render, as_json=as_json)

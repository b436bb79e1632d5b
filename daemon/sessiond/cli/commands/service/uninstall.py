"""`sessiond service uninstall`."""

from __future__ import annotations

import click

from sessiond.cli import serving
from sessiond.cli.look import tell
from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond service uninstall"))
@as_json
def command(*, as_json: bool) -> None:
    """Stop the service, and take away exactly what install made; sessions and backups stay."""
    tell(serving.of_here().uninstall(), serving.render, as_json=as_json)

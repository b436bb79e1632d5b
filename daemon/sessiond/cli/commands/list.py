"""`sessiond list`."""

from __future__ import annotations

import click

from sessiond.cli import listing
from sessiond.cli.options import as_json, example, of_project


@click.command(epilog=example("sessiond list", "sessiond list --project ."))
@of_project
@as_json
def command(*, project: str | None, as_json: bool) -> None:
    """Sessions, newest first: what is next in each, and where it can be restored from."""
    listing.show(project, as_json=as_json)

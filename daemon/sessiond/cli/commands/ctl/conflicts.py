"""`sessiond ctl conflicts`."""

from __future__ import annotations

import click

from sessiond.cli import versions
from sessiond.cli.look import look
from sessiond.cli.options import as_json, example


@click.command(
    epilog=example("sessiond ctl conflicts", "sessiond ctl conflicts --json | jq -r .conflicts[].id")
)
@as_json
def command(*, as_json: bool) -> None:
    """Sessions that were changed in two places, where nobody has chosen a version yet."""
    look("conflicts", versions.conflicts, as_json=as_json)

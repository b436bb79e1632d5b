"""`sessiond ctl status`."""

from __future__ import annotations

import click

from sessiond.cli.look import plain
from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond ctl status", "sessiond ctl status --json | jq .safe_until"))
@as_json
def command(*, as_json: bool) -> None:
    """Whether everything is safe, and where not: since when, why, and what to do."""
    plain("status", as_json=as_json)

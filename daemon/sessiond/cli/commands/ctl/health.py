"""`sessiond ctl health`."""

from __future__ import annotations

import click

from sessiond.cli.look import plain
from sessiond.cli.options import as_json, example


@click.command(
    epilog=example("sessiond ctl health --watch", "sessiond ctl health --json | jq -r .findings[].code")
)
@click.option("-w", "--watch", is_flag=True, help="Stay, and show it anew every two seconds.")
@as_json
@click.pass_context
def command(context: click.Context, *, watch: bool, as_json: bool) -> None:
    """What is wrong, since when, what is done about it, and what to do.  Exit code 5 when something is."""
    if watch:
        from sessiond.cli.watching import watch_health  # noqa: PLC0415 - only for this

        watch_health(as_json=as_json)
    context.exit(plain("health", as_json=as_json))

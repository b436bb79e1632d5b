"""`sessiond run`."""

from __future__ import annotations

import os

import click

from sessiond.cli.options import example


@click.command(epilog=example("sessiond run", "SESSIOND_HOME=/tmp/try sessiond run --debug"))
@click.option("--check", is_flag=True, help="Only say whether it would start here; nothing is changed.")
@click.pass_context
def command(context: click.Context, *, check: bool) -> None:
    """Run the daemon in the foreground, until it is told to stop."""
    from sessiond import app, upgrade  # noqa: PLC0415 - heavy, and only for the daemon

    if check:
        click.echo(upgrade.check(os.environ))
        click.echo(upgrade.would_start(os.environ), err=True)  # stdout is for the daemon that asks
        return
    context.exit(app.run(os.environ, debug=bool(context.obj)))

"""`sessiond continue`."""

from __future__ import annotations

import click

from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond continue", 'eval "$(sessiond continue --latest)"'))
@click.option("--latest", is_flag=True, help="The newest of this project, unasked.")
@click.option("--force", is_flag=True, help="Also over a session that is open, or newer; that is kept.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@as_json
@click.pass_context
def command(context: click.Context, *, latest: bool, force: bool, yes: bool, as_json: bool) -> None:
    """Pick one of this project's sessions, and get the command that resumes it, the only line on stdout.

    It is restored first where its file is gone.  Without a terminal the newest is taken.
    """
    from sessiond.cli import restoring  # noqa: PLC0415 - heavy
    from sessiond.retrieval import Wish  # noqa: PLC0415

    wish = Wish(force=force, yes=yes)
    context.exit(restoring.go_on(latest=latest or yes, wish=wish, as_json=as_json))

"""`sessiond uninstall`."""

from __future__ import annotations

import click

from sessiond.cli.options import as_json, dry_run, example


@click.command(epilog=example("sessiond uninstall --dry-run", "sessiond uninstall --purge --yes"))
@click.option(
    "--purge",
    count=True,
    help="Also settings, state and logs; given twice, also the backups, which nothing else may have.",
)
@dry_run
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@as_json
def command(*, purge: int, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Take away the service and the hooks, after showing what goes and what stays.

    Sessions stay where their agent keeps them, and so do the backups, until they are given up with a second
    --purge.  What was sent to GitHub or to an archive stays there.
    """
    from sessiond.cli import removing  # noqa: PLC0415 - only for this

    removing.uninstall(min(purge, 2), dry_run=dry_run, yes=yes, as_json=as_json)

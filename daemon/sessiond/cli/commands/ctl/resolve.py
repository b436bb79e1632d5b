"""`sessiond ctl resolve`."""

from __future__ import annotations

import click

from sessiond.cli import versions
from sessiond.cli.look import act, tell
from sessiond.cli.options import as_json, dry_run, example


@click.command(
    epilog=example(
        "sessiond ctl resolve 3f2a9c1e --keep remote --dry-run", "sessiond ctl resolve 3f2a9c1e --keep both"
    )
)
@click.argument("session", metavar="ID")
@click.option(
    "--keep",
    type=click.Choice(["local", "remote", "both", "merge"]),
    required=True,
    help="This machine's version, the other one, a record for each, or one of both.",
)
@dry_run
@as_json
def command(session: str, *, keep: str, dry_run: bool, as_json: bool) -> None:
    """Choose between two versions of a session.

    Changes the record on GitHub, never the agent's files; the version that is not chosen stays restorable.
    """
    answer = act("resolve", session=session, keep=keep, dry_run=dry_run or None)
    tell(answer, versions.resolved, as_json=as_json)

"""`sessiond forget`."""

from __future__ import annotations

import click

from sessiond.cli import forgetting
from sessiond.cli.look import act, tell
from sessiond.cli.options import as_json, dry_run, example

# GitHub and the archive are waited for.
FORGET_S = 600.0


@click.command(
    epilog=example("sessiond forget 0f4c --dry-run", "sessiond forget 0f4c", "sessiond forget --undo 0f4c")
)
@click.argument("session", metavar="ID")
@dry_run
@click.option("--undo", is_flag=True, help="Let a session that was forgotten be captured again.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_context
def command(
    context: click.Context, *, session: str, dry_run: bool, undo: bool, yes: bool, as_json: bool
) -> None:
    """Remove a session everywhere: plain copies, backup, index, comments, archive; says first what that is.

    The agent's own file is not touched, and is captured no more.  Other machines that have the session keep
    it, and send it again: it is to be forgotten there as well.  Exit code 1 says that something is left,
    which goes on by itself.  --undo takes the beginning of an id while the agent's file is there, else all
    of it.
    """
    if undo:
        tell(act("forget", session=session, undo=True), forgetting.undone, as_json=as_json)
        return
    found = act("forget", session=session, dry_run=True)
    if dry_run:
        tell(found, forgetting.planned, as_json=as_json)
        return
    forgetting.confirm(found, yes=yes)
    answer = act("forget", timeout_s=FORGET_S, session=found["session"])
    tell(answer, forgetting.done, as_json=as_json)
    context.exit(1 if answer["left"] else 0)

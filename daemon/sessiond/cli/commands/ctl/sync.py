"""`sessiond ctl sync`."""

from __future__ import annotations

import click

from sessiond.cli import sending
from sessiond.cli.look import act, tell
from sessiond.cli.options import as_json, dry_run, example

# What `--wait` waits for without a number, and what an answer may come later than asked for.
WAIT_S = 120.0
GRACE_S = 30.0


@click.command(
    epilog=example("sessiond ctl sync", "sessiond ctl sync --wait=60", "sessiond ctl sync --full --dry-run")
)
@click.argument("session", metavar="[ID]", required=False)
@click.option("--full", is_flag=True, help="Also sessions from before sessiond first ran here.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    is_flag=False,
    flag_value=WAIT_S,
    metavar="[=SECONDS]",
    help=f"Wait until all is through, at most so long ({WAIT_S:.0f}).",
)
@dry_run
@as_json
@click.pass_context
def command(
    context: click.Context,
    session: str | None,
    *,
    full: bool,
    wait_s: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send now what waits, and ask GitHub at once if it was unreachable.

    With --wait: exit code 0 when all is through, 1 when time ran out, 5 when GitHub refused something.
    """
    answer = act(
        "sync",
        timeout_s=(wait_s or 0) + GRACE_S,
        session=session,
        full=full or None,
        wait=wait_s,
        dry_run=dry_run or None,
    )
    tell(answer, sending.to_sync if dry_run else sending.synced, as_json=as_json)
    if wait_s is not None:
        context.exit(5 if answer.get("buried") else 1 if answer.get("left") else 0)

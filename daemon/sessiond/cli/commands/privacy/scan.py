"""`sessiond privacy scan`."""

from __future__ import annotations

import click

from sessiond.cli.look import tell
from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond privacy scan 3f2a9c1e", "sessiond privacy scan --pushed"))
@click.argument("session", metavar="[ID]", required=False)
@click.option("--pushed", is_flag=True, help="What older rules have let through to comments and archive.")
@as_json
@click.pass_context
def command(context: click.Context, *, session: str | None, pushed: bool, as_json: bool) -> None:
    """Show what would be redacted in a session, or in all: where and of which kind, never what.

    Exit 5 where something could not be searched; nothing of that is sent either.
    """
    from sessiond.cli import privacy as looking  # noqa: PLC0415 - only for this

    answer = looking.report(session, pushed=pushed)
    tell(answer, looking.render, as_json=as_json)
    context.exit(5 if answer["failed"] else 0)

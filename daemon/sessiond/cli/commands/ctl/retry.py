"""`sessiond ctl retry`."""

from __future__ import annotations

import click

from sessiond.cli import sending
from sessiond.cli.look import act, tell
from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond ctl retry", "sessiond ctl retry 3f2a9c1e"))
@click.argument("session", metavar="[ID]", required=False)
@as_json
def command(session: str | None, *, as_json: bool) -> None:
    """Try again what GitHub has refused, of one session or of all."""
    tell(act("retry", session=session), sending.retried, as_json=as_json)

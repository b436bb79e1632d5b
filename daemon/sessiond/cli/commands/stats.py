"""`sessiond stats`."""

from __future__ import annotations

import click

from sessiond.cli.look import tell
from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond stats", "sessiond stats --since 7d --json"))
@click.option("--since", default="", metavar="TIME", help="Only what came after: 7d, 12h, or a date.")
@as_json
def command(*, since: str, as_json: bool) -> None:
    """Numbers from the transcripts: sessions, reuse, tokens, response time, errors, storage, goals.

    Every answer counts once, in however many files it is written.  Days are those of UTC.
    """
    from sessiond.cli import counting  # noqa: PLC0415 - heavy

    tell(counting.stats(since), counting.render, as_json=as_json)

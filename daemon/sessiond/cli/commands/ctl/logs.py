"""`sessiond ctl logs`."""

from __future__ import annotations

import click

from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond ctl logs -f", "sessiond ctl logs --level warning --lines 200"))
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now, until interrupted.")
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=50, show_default=True)
@click.option(
    "--level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="debug",
    help="Only lines of this level, and worse ones.",
)
@as_json
def command(*, follow: bool, lines: int, level: str, as_json: bool) -> None:
    """The daemon's log: from the journal under systemd, else from its file.  Needs no running daemon."""
    from sessiond.cli import logs as reading  # noqa: PLC0415 - only for this

    reading.show(lines=lines, level=level, follow=follow, as_json=as_json)

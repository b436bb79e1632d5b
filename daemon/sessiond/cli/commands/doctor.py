"""`sessiond doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond doctor", "sessiond doctor --bundle /tmp/support.tar.gz"))
@click.option(
    "--bundle",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write a support archive, without secrets, session text and titles.",
)
@as_json
@click.pass_context
def command(context: click.Context, *, bundle: Path | None, as_json: bool) -> None:
    """Look at everything that sessiond needs and promises, and say what to do.  Needs no running daemon.

    Exit code 1 when something has failed; warnings are 0.
    """
    from sessiond.cli import examining  # noqa: PLC0415 - heavy

    context.exit(examining.examine(bundle, as_json=as_json))

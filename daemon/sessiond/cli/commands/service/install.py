"""`sessiond service install`."""

from __future__ import annotations

from pathlib import Path

import click

from sessiond.cli import serving
from sessiond.cli.look import tell
from sessiond.cli.options import as_json, example


@click.command(
    epilog=example(
        "sessiond service install --linger", "sessiond service install --token-file ~/.github-token"
    )
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Hand the GitHub token in this file (0600) to the service as a credential; systemd only.",
)
@click.option(
    "--hardening/--no-hardening",
    default=None,
    help="With mounts of its own; else that is tried once, and left out where it does not work.",
)
@click.option(
    "--linger/--no-linger",
    "lingering",
    default=None,
    help="Run from boot on, also while you are not logged in; systemd only.",
)
@as_json
def command(
    *, token_file: Path | None, hardening: bool | None, lingering: bool | None, as_json: bool
) -> None:
    """Start the daemon at login and now, and come back when it is ready.

    Again: what has changed since is brought up to date, else nothing happens.
    """
    from sessiond.service import Wish  # noqa: PLC0415

    here = serving.of_here()
    wish = Wish(token_file, hardening, serving.lingering(lingering, here.status()))
    tell(here.install(wish), serving.render, as_json=as_json)

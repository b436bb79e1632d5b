"""`sessiond privacy …`."""

from __future__ import annotations

import click

from sessiond.cli.group import Verbs
from sessiond.cli.options import example


@click.group(
    cls=Verbs,
    word="privacy",
    epilog=example("sessiond privacy scan", "sessiond privacy scan --pushed --json"),
)
def command() -> None:
    """What is secret in your sessions, as far as the rules know."""

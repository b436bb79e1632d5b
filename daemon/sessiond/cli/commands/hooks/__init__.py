"""`sessiond hooks …`."""

from __future__ import annotations

import click

from sessiond.cli.group import Verbs
from sessiond.cli.options import example


@click.group(cls=Verbs, word="hooks", epilog=example("sessiond hooks install", "sessiond hooks status"))
def command() -> None:
    """Claude Code's settings: have it tell sessiond at once when a turn, a subagent or a session ends."""

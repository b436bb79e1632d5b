"""`sessiond ctl …`."""

from __future__ import annotations

import click

from sessiond.cli.group import Verbs
from sessiond.cli.options import example


@click.group(cls=Verbs, word="ctl", epilog=example("sessiond ctl status", "sessiond ctl sync --wait"))
def command() -> None:
    """Look at the running daemon, and tell it what to do."""

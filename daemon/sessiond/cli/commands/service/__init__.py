"""`sessiond service …`."""

from __future__ import annotations

import click

from sessiond.cli.group import Verbs
from sessiond.cli.options import example


@click.group(cls=Verbs, word="service", epilog=example("sessiond service install", "sessiond service status"))
def command() -> None:
    """The daemon as a service of yours: a systemd user unit, or a launchd agent."""

"""`sessiond note …`."""

from __future__ import annotations

import click

from sessiond.cli.group import Verbs
from sessiond.cli.options import example


@click.group(cls=Verbs, word="note", epilog=example("sessiond note new 'add a cache'", "sessiond note lint"))
def command() -> None:
    """Notes beside the work, in a project's .claude/sessions: begin, check and read them."""

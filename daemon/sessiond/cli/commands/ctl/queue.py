"""`sessiond ctl queue`."""

from __future__ import annotations

import click

from sessiond.cli import queue
from sessiond.cli.look import look
from sessiond.cli.options import as_json, example


@click.command(epilog=example("sessiond ctl queue", "sessiond ctl queue --buried"))
@click.option("--buried", is_flag=True, help="What GitHub has refused for good.")
@as_json
def command(*, buried: bool, as_json: bool) -> None:
    """What waits to be sent to GitHub, and why it has not gone yet."""
    look("queue", queue.buried if buried else queue.render, as_json=as_json, buried=buried or None)

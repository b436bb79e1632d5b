"""`sessiond note show`."""

from __future__ import annotations

from pathlib import Path

import click

from sessiond.cli import noting
from sessiond.cli.options import as_json, example, in_project


@click.command(epilog=example("sessiond note show", "sessiond note show 'add a cache'"))
@click.argument("topic", required=False, default="")
@in_project
@as_json
def command(*, topic: str, project: Path, as_json: bool) -> None:
    """Tell a topic's notes as one story: what worked, what failed, what was decided, and what is open.

    Notes that name each other, or the same issue, as their thread belong to it; so do copies of notes that
    were deleted.  Without a topic it is that of the newest note.
    """
    noting.show(topic, project=project, as_json=as_json)

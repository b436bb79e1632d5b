"""`sessiond note new`."""

from __future__ import annotations

from pathlib import Path

import click

from sessiond.cli import noting
from sessiond.cli.options import as_json, example, in_project


@click.command(
    epilog=example("sessiond note new 'add a cache'", "sessiond note new 'cart is empty' --kind bug")
)
@click.argument("topic")
@click.option(
    "--kind",
    type=click.Choice(["feature", "bug", "refactor"]),
    default="feature",
    show_default=True,
    help="What the template asks for.",
)
@in_project
@as_json
def command(*, topic: str, kind: str, project: Path, as_json: bool) -> None:
    """Begin a note of today about a topic, linked to the session that is active here and to the note before.

    It lies in .claude/sessions/YYYY-MM-DD-topic.tmp; one that is there already stays as it is.
    """
    noting.new(topic, kind=kind, project=project, as_json=as_json)

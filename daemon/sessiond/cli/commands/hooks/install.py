"""`sessiond hooks install`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sessiond import hooks as settings
from sessiond.cli.look import tell
from sessiond.cli.options import as_json, example, in_project, in_scope
from sessiond.cli.terminal import Terminal, clean
from sessionsync.paths import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json


@click.command(epilog=example("sessiond hooks install", "sessiond hooks install --scope project"))
@in_scope
@in_project
@as_json
def command(*, scope: str, project: Path, as_json: bool) -> None:
    """Add four entries to the settings, once; everything else in them stays as it is, to the byte."""
    file = settings.settings_file(scope, os.environ, project.absolute())
    changed = settings.install(settings.read(scope, file), paths(os.environ), settings.program())
    tell({"file": str(file), "changed": changed}, render, as_json=as_json)


def render(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`hooks install`."""
    said = "has our hooks now" if answer["changed"] else "has our hooks already"
    return [f"{clean(answer['file'])} {said}.", "`sessiond hooks status` shows whether they are heard of."]

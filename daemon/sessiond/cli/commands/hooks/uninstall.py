"""`sessiond hooks uninstall`."""

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


@click.command(epilog=example("sessiond hooks uninstall"))
@in_scope
@in_project
@as_json
def command(*, scope: str, project: Path, as_json: bool) -> None:
    """Take the entries out again; the settings are then what they were before."""
    file = settings.settings_file(scope, os.environ, project.absolute())
    changed = settings.uninstall(settings.read(scope, file), paths(os.environ))
    answer = {"file": str(file), "changed": changed, "removed": changed and not file.exists()}
    tell(answer, render, as_json=as_json)


def render(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`hooks uninstall`."""
    if not answer["changed"]:
        return [f"{clean(answer['file'])} had none of our hooks."]
    gone = "held nothing else, and is removed" if answer["removed"] else "has none of our hooks any more"
    return [f"{clean(answer['file'])} {gone}."]

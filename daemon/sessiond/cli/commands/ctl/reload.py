"""`sessiond ctl reload`."""

from __future__ import annotations

import click

from sessiond.cli.look import act, tell
from sessiond.cli.options import as_json, example
from sessiond.cli.terminal import Terminal, clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json


@click.command(epilog=example("sessiond ctl reload"))
@as_json
def command(*, as_json: bool) -> None:
    """Read the settings again."""
    tell(act("reload"), render, as_json=as_json)


def render(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """`ctl reload`."""
    waiting = [clean(setting) for setting in answer.get("restart_needed", ())]
    changed = [clean(setting) for setting in answer["changed"]]
    applied = ", ".join(setting for setting in changed if setting not in waiting) or "nothing"
    lines = [f"The settings are read; changed: {applied}."]
    if waiting:
        how = "sessiond service stop, sessiond service start"
        lines.append(f"Restart to apply: {', '.join(waiting)} ({how}).")
    return lines

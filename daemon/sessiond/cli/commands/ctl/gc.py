"""`sessiond ctl gc`."""

from __future__ import annotations

from functools import partial

import click

from sessiond.cli.look import VERIFY_S, act, tell
from sessiond.cli.options import as_json, dry_run, example
from sessiond.cli.terminal import Terminal, clean, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json


@click.command(epilog=example("sessiond ctl gc --dry-run", "sessiond ctl gc"))
@dry_run
@as_json
def command(*, dry_run: bool, as_json: bool) -> None:
    """Remove from the backup what nothing names any longer, such as leftovers of a crash."""
    answer = act("gc", timeout_s=VERIFY_S, dry_run=dry_run or None)
    tell(answer, partial(render, dry_run=dry_run), as_json=as_json)


def render(answer: Json, _now: float, _out: Terminal, *, dry_run: bool = False) -> list[str]:
    """`ctl gc`."""
    lines = [clean(path) for path in answer["files"]]
    lines += [f"{size(each['bytes'])} in the pack of {clean(each['session'])}" for each in answer["packs"]]
    if not lines:
        return ["There is nothing to remove."]
    return [*lines, f"{size(answer['freed_bytes'])} {'would be' if dry_run else 'were'} removed."]

"""`sessiond uninstall` on the command line: what goes and what stays is shown, and then asked."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from sessiond import removal
from sessiond.cli import serving
from sessiond.cli.look import tell
from sessiond.cli.terminal import Terminal, clean, size, terminal
from sessiond.removal import Part
from sessionsync.errors import NotConfirmed
from sessionsync.paths import paths

Json = dict[str, Any]
ELSEWHERE = "What was sent to GitHub or to an archive stays there."


def uninstall(depth: int, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Show what goes, ask, and take it away.

    Raises:
        NotConfirmed: there is nobody to ask, or the answer was no; nothing is changed.
        SessiondError: something stands in the way.
    """
    found = removal.plan(os.environ, paths(os.environ), depth, serving.of_here)
    asks = not (dry_run or yes)
    if asks and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise NotConfirmed(
            "`sessiond uninstall` asks, and nobody is here to answer.",
            hint="See what would go with --dry-run, and let it go with --yes.",
        )
    answer = {
        "removed": not dry_run,
        "going": [_json(part) for part in found.going],
        "staying": [_json(part) for part in found.staying],
        "program": removal.program(),
    }
    if asks:
        click.echo("\n".join(_shown(answer, terminal(sys.stderr))), err=True)
        _ask(found.going)
    if not dry_run:
        removal.apply(found)
    tell(answer, _end if asks else render, as_json=as_json)


def _ask(going: list[Part]) -> None:
    sure = not going or click.confirm("Go on?", default=False, err=True)
    backups = size(sum(part.size for part in going if part.what == "backup"))
    if sure and any(part.what == "backup" for part in going):
        asked = f"Also the backups, {backups}? Of what the agent has deleted nothing else may be left."
        sure = click.confirm(asked, default=False, err=True)
    if not sure:
        raise NotConfirmed("Nothing was changed.", hint="Run it again when you like.")


def _json(part: Part) -> Json:
    return {"what": part.what, "path": str(part.path), "size": part.size, "note": part.note}


def render(answer: Json, now: float, out: Terminal) -> list[str]:
    """What goes, or has gone, what stays, and what is left to do."""
    return [*_shown(answer, out), *_end(answer, now, out)]


def _shown(answer: Json, out: Terminal) -> list[str]:
    going, staying = answer["going"], answer["staying"]
    lines = ["This goes:", *_rows(going, out)] if going else ["Nothing of sessiond's is here to go."]
    if staying:
        lines += ["This stays:", *_rows(staying, out)]
    return [*lines, ELSEWHERE]


def _rows(parts: list[Json], out: Terminal) -> list[str]:
    """A line for all of one kind that lie in one folder."""
    groups: dict[tuple[str, str], list[Json]] = {}
    for part in parts:
        alone = part["what"] in {"backup", "state", "log", "socket"}
        at = os.path.dirname(part["path"]) if alone else part["path"]  # noqa: PTH120 - a text
        groups.setdefault((part["what"], at), []).append(part)
    rows = []
    for (what, at), group in groups.items():
        total = sum(part["size"] for part in group)
        words = [size(total) if total else "", *{part["note"]: None for part in group}]
        rows.append(f"  {what:<11} {clean(at)}  {out.paint(', '.join(filter(None, words)), 'dim')}".rstrip())
    return rows


def _end(answer: Json, _now: float, _out: Terminal) -> list[str]:
    program = f"The program itself: {answer['program']}"
    if not answer["removed"]:
        return ["Nothing was changed: this was only to look."]
    return [f"Removed. {program}" if answer["going"] else program]

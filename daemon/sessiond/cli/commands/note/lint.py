"""`sessiond note lint`."""

from __future__ import annotations

from pathlib import Path

import click

from sessiond.cli import noting
from sessiond.cli.options import as_json, example, in_project


@click.command(
    epilog=example("sessiond note lint", "sessiond note lint .claude/sessions/2026-01-31-cache.tmp")
)
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@in_project
@as_json
@click.pass_context
def command(context: click.Context, *, file: Path | None, project: Path, as_json: bool) -> None:
    """Check a note, or all of this project: status, dates, reasons, the order of the next steps.

    Of each problem it says where, why, and how to mend it.  Exit code 1 where something is wrong; hints alone
    are none.
    """
    context.exit(noting.lint(file, project=project, as_json=as_json))

"""`sessiond restore`."""

from __future__ import annotations

from pathlib import Path

import click

from sessiond.cli.options import as_json, example


@click.command(
    epilog=example(
        "sessiond restore 3f2a9c1e",
        "sessiond restore 3f2a9c1e --at 2026-01-31T12:00:00Z --out /tmp/before",
        "sessiond restore --for-pr 12 --yes",
    )
)
@click.argument("session", metavar="[ID]", required=False)
@click.option(
    "--from",
    "origin",
    type=click.Choice(["mirror", "vault", "github", "archive"]),
    default=None,
    help="Take this copy, not the newest.",
)
@click.option(
    "--at",
    default="",
    metavar="CHECKPOINT",
    help="An id or alias, or an RFC 3339 time: the newest until then.",
)
@click.option(
    "--cwd",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The project's folder on this machine, where it is not this one.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write it there, byte for byte, and not back.",
)
@click.option("--force", is_flag=True, help="Also over a session that is open, or newer; that is kept.")
@click.option("--list", "listing", is_flag=True, help="Only show which copies there are.")
@click.option("--for-issue", type=click.IntRange(min=1), metavar="N", help="The newest about this issue.")
@click.option("--for-pr", type=click.IntRange(min=1), metavar="N", help="The newest about this pull request.")
@click.option("--latest", is_flag=True, help="The newest of this folder's project.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@as_json
@click.pass_context
def command(
    context: click.Context,
    session: str | None,
    *,
    origin: str | None,
    at: str,
    cwd: Path | None,
    out: Path | None,
    force: bool,
    listing: bool,
    for_issue: int | None,
    for_pr: int | None,
    latest: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Put a session back so that the agent finds it; the last line printed is the command that resumes it.

    Takes the newest copy there is, on this disk or GitHub; needs no daemon.  Exit code 5 says that secrets
    in it are redacted, 4 that there is no such copy, 1 that it is open, newer, or not all there.
    """
    from sessiond.cli import restoring  # noqa: PLC0415 - heavy
    from sessiond.retrieval import Wish  # noqa: PLC0415

    wish = Wish(origin or "", at, cwd, out, force=force, yes=yes)
    code = restoring.restore(
        session,
        wish=wish,
        listing=listing,
        issue=for_issue or 0,
        pull=for_pr or 0,
        latest=latest,
        as_json=as_json,
    )
    context.exit(code)

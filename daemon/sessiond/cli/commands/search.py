"""`sessiond search`."""

from __future__ import annotations

import time

import click

from sessiond.cli import finding
from sessiond.cli.options import as_json, example, of_project
from sessiond.cli.progress import progress
from sessiond.cli.since import since_of
from sessionsync.errors import UsageError

QUERY_HINT = "Give words, \"a phrase\" or a prefix*, as in: sessiond search 'blue green'"


@click.command(epilog=example("sessiond search 'blue green' --since 7d", "sessiond search --rebuild"))
@click.argument("query", nargs=-1)
@click.option("--rebuild", is_flag=True, help="Make the index anew from the copies.")
@of_project
@click.option("--since", default="", metavar="TIME", help="A date, an RFC 3339 time, or an age such as 7d.")
@click.option("--role", type=click.Choice(["user", "assistant", "tool", "title", "note"]), default=None)
@click.option("--limit", type=click.IntRange(1, 1000), default=finding.LIMIT, show_default=True)
@as_json
def command(
    *,
    query: tuple[str, ...],
    rebuild: bool,
    project: str | None,
    since: str,
    role: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Find sessions by words that were said in them: words, "phrases", prefix*, OR, NOT.

    The newest come first, also those of sessions that their agent has deleted.  Needs no daemon.
    """
    if not query and not rebuild:
        raise UsageError("There is nothing to search for.", hint=QUERY_HINT)
    moment = since_of(since, time.time())
    if rebuild:
        from sessiond.cli import searching  # noqa: PLC0415 - heavy

        with progress("Indexing") as told:
            count = searching.rebuild(told)
        click.echo(f"{count} sessions indexed", err=True)
    if not query:
        return
    finding.show(
        " ".join(query),
        as_json=as_json,
        limit=limit,
        project=project or "",
        since=moment,
        role=role or "",
    )

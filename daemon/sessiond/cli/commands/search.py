"""`sessiond search`."""

from __future__ import annotations

import time
from functools import partial

import click

from sessiond.cli import hits
from sessiond.cli.look import ask, tell
from sessiond.cli.options import as_json, example, of_project
from sessiond.cli.progress import progress
from sessiond.cli.since import since_of
from sessionsync.errors import ConfigError, DaemonError, NotAllowed, QueryInvalid, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sessiond.cli.look import Json

# A daemon that is busy or frozen keeps nobody from searching.
ASK_S = 5.0
QUERY_HINT = "Give words, \"a phrase\" or a prefix*, as in: sessiond search 'blue green'"


@click.command(epilog=example("sessiond search 'blue green' --since 7d", "sessiond search --rebuild"))
@click.argument("query", nargs=-1)
@click.option("--rebuild", is_flag=True, help="Make the index anew from the copies.")
@of_project
@click.option("--since", default="", metavar="TIME", help="A date, an RFC 3339 time, or an age such as 7d.")
@click.option("--role", type=click.Choice(["user", "assistant", "tool", "title", "note"]), default=None)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
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
    asked = {
        "project": project or "",
        "since": since_of(since, time.time()),
        "role": role or "",
        "limit": limit,
    }
    if rebuild:
        from sessiond.cli import searching  # noqa: PLC0415 - heavy

        with progress("Indexing") as told:
            count = searching.rebuild(told)
        click.echo(f"{count} sessions indexed", err=True)
    if not query:
        return
    found = _found(" ".join(query), asked)
    if as_json:
        for hit in found["hits"]:
            hit["snippet"] = hits.starred(hit["snippet"])
    tell(found, partial(hits.render, limit=limit), as_json=as_json)


def _found(query: str, asked: dict[str, Any]) -> Json:
    """What the daemon finds, which has everything open; where it cannot, the index on the disk is asked."""
    try:
        return ask("search", query=query, timeout_s=ASK_S, **asked)
    except (DaemonError, NotAllowed, ConfigError) as error:  # the last two: not the daemon, but others listen
        if error.code == QueryInvalid.code:
            raise
        from sessiond.cli import searching  # noqa: PLC0415 - heavy

        with progress("Indexing") as told:
            searching.make_missing(told)
        return searching.search(query, **asked)

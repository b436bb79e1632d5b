"""`sessiond search`: from the daemon, which has everything open, else from the index on the disk."""

from __future__ import annotations

from sessiond import client
from sessiond.cli import hits
from sessiond.cli.look import ask, tell
from sessionsync.errors import ConfigError, DaemonError, NotAllowed, QueryInvalid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sessiond.cli.look import Json

LIMIT = 20


def show(query: str, *, as_json: bool, limit: int = LIMIT, **filters: Any) -> None:
    """Print at most `limit` hits; the filters are those of `sessiond.searching.search`."""
    found = _found(query, {"limit": limit, **filters})
    if as_json:
        for hit in found["hits"]:
            hit["snippet"] = hits.starred(hit["snippet"])
    tell(found, lambda answer, now, out: hits.render(answer, now, out, limit=limit), as_json=as_json)


def _found(query: str, asked: dict[str, Any]) -> Json:
    try:
        return ask("search", query=query, timeout_s=client.ASK_S, **asked)
    except (DaemonError, NotAllowed, ConfigError) as error:  # the last two: not the daemon, but others listen
        if error.code == QueryInvalid.code:
            raise
        from sessiond.cli import searching  # noqa: PLC0415 - heavy
        from sessiond.cli.progress import progress  # noqa: PLC0415 - imports click

        with progress("Indexing") as told:
            searching.make_missing(told)
        return searching.search(query, **asked)

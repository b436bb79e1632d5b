"""One search: asked of the index, and shown from the copies."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sessionsync.catalog import Catalog
from sessionsync.errors import NoSuchSession
from sessionsync.model import rfc3339
from sessionsync.search import Hit, Index, passage_of, snippet
from sessionsync.search.indexer import behind as unindexed
from sessionsync.sources import Source
from sessionsync.vault import Mirror, Vault

Json = dict[str, Any]
# What stands around a match in a snippet until it is shown: STX and ETX, which no text that is shown has.
MARKS = ("\x02", "\x03")
# The same words are in the index again where an agent has rewritten its file: they are shown once.
SPARE = 4


def search(
    index: Index,
    catalog: Catalog,
    mirror: Mirror,
    vault: Vault,
    sources: Iterable[Source],
    query: str,
    *,
    project: str = "",
    since: float = 0.0,
    role: str = "",
    limit: int = 20,
) -> Json:
    """Every hit, the newest first, with the matches in its snippet between `MARKS`.

    Only of sessions of the project that the folder `project` is in, and of what was said since then (Unix
    seconds) by `role`.  `behind` is how many sessions are not wholly in the index yet.

    Raises:
        QueryInvalid: the query holds no word.
        IndexBroken: the index cannot be read.
    """
    sessions = None
    if project:
        from sessionsync import report  # noqa: PLC0415 - heavy, and rarely asked for

        sessions = {each.id for each in catalog.sessions() if report.is_in(each, Path(project))}
    hits = index.search(query, sessions=sessions, role=role, since=since, limit=limit * SPARE)
    by_name = {source.name: source for source in sources}
    shown: dict[tuple[int, str, str], Json] = {}
    for hit in hits:
        found = _shown(hit, query, catalog, mirror, vault, by_name)
        if found is not None:
            shown.setdefault(*found)
        if len(shown) == limit:
            break
    if missing := set(unindexed(index, catalog)):
        missing -= catalog.rotated(time.time())
    return {"hits": list(shown.values()), "behind": len(missing)}


def _shown(
    hit: Hit, query: str, catalog: Catalog, mirror: Mirror, vault: Vault, sources: dict[str, Source]
) -> tuple[tuple[int, str, str], Json] | None:
    """A hit as `search --json` prints it, and what two that read alike share; None where it is gone."""
    try:
        session = catalog.session(hit.session)
    except NoSuchSession:
        return None  # it was forgotten, and is about to leave the index
    source, files = sources.get(session.ref.source), catalog.files(hit.session)
    text = source and passage_of(hit, session, files, source, mirror, vault)
    if not text:
        return None
    before, behind = MARKS
    return (hit.session, hit.role, text), {
        "session": session.key,
        "source": session.ref.source,
        "project": session.project or "",
        "title": session.summary.title,
        "role": hit.role,
        "at": rfc3339(hit.at) if hit.at else None,
        "snippet": snippet(text, query, lambda found: f"{before}{found}{behind}"),
    }

"""`sessiond search`: asks the index on the disk, with or without a daemon."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sessiond import client, process
from sessiond.cli.since import since_of
from sessionsync import report
from sessionsync.catalog import Catalog
from sessionsync.config import Config, Paths, load, paths
from sessionsync.errors import AlreadyRunning, CopyError, DaemonNotRunning, IndexBroken, NoSuchSession
from sessionsync.events import silent
from sessionsync.model import rfc3339
from sessionsync.search import Hit, Index, Indexer, passage_of, snippet
from sessionsync.search.index import remove
from sessionsync.search.indexer import behind as unindexed
from sessionsync.sources import Source
from sessionsync.sources.claude import Claude
from sessionsync.sources.contexts import Contexts
from sessionsync.sources.messages import Messages
from sessionsync.sources.notes import Notes
from sessionsync.sources.structured import Structured
from sessionsync.store import Store
from sessionsync.vault import Mirror, Vault

Json = dict[str, Any]
LOOK_S = 0.2
# The same words are in the index again where an agent has rewritten its file: they are shown once.
SPARE = 4


class Searching:
    """The state, the copies and the index of this home, for reading."""

    def __init__(self, config: Config, where: Paths) -> None:
        self.where = where
        self.store = Store(where.state_db, read_only=True)
        self.catalog = Catalog(self.store)
        self.mirror = Mirror(config.backup.mirror_dir)
        self.vault = Vault(config.backup.vault_dir)
        self.sources: dict[str, Source] = {
            "claude": Claude((), silent),
            "structured": Structured(lambda: (), silent),
            "note": Notes(lambda: (), silent),
            "context": Contexts(lambda: (), silent),
            "messages": Messages(lambda: (), silent),
        }

    def index(self, *, read_only: bool, draft: bool = False) -> Index:
        """The index; IndexBroken where there is none of this state."""
        file = self.where.index_db
        state = self.store.meta("state")
        return Index(draft_of(file) if draft else file, state, read_only=read_only, is_draft=draft)

    def indexer(self, index: Index) -> Indexer:
        """What brings an index up."""
        rotated = self.catalog.rotated(time.time())
        return Indexer(index, self.catalog, self.mirror, self.vault, self.sources.values(), rotated)

    def shown(self, hits: list[Hit], query: str, limit: int, marks: tuple[str, str]) -> list[Json]:
        """Hits as `search --json` prints them: those that can still be read, each text of a session once."""
        before, behind = marks
        shown: dict[tuple[int, str, str], Json] = {}
        for hit in hits:
            try:
                session = self.catalog.session(hit.session)
            except NoSuchSession:
                continue  # it was forgotten, and is about to leave the index
            source = self.sources.get(session.ref.source)
            files = self.catalog.files(hit.session)
            text = source and passage_of(hit, session, files, source, self.mirror, self.vault)
            key = (hit.session, hit.role, text or "")
            if not text or key in shown:
                continue
            shown[key] = {
                "session": session.key,
                "source": session.ref.source,
                "project": session.project or "",
                "title": session.summary.title,
                "role": hit.role,
                "at": rfc3339(hit.at) if hit.at else None,
                "snippet": snippet(text, query, lambda found: f"{before}{found}{behind}"),
            }
            if len(shown) == limit:
                break
        return list(shown.values())


def draft_of(index: Path) -> Path:
    """Where an index is made anew, beside the one that is searched until then."""
    return index.with_name(f"{index.name}.new")


@contextmanager
def opened() -> Iterator[Searching]:
    """This home, if there is anything in it."""
    where = paths(os.environ)
    config = load(os.environ, where.config_file)  # nothing may have been captured because of them
    if not where.state_db.exists():
        raise IndexBroken("Nothing has been captured here yet.", hint="`sessiond run` begins.")
    searching = Searching(config, where)
    try:
        yield searching
    finally:
        searching.store.close()


def search(
    query: str, *, project: str | None, since: str, role: str, limit: int, marks: tuple[str, str]
) -> Json:
    """Every hit, the newest first, with the matches in its snippet between `marks`.

    `behind` is how many sessions are not wholly in the index yet.
    """
    after = since_of(since, time.time())
    with opened() as searching:
        sessions = None
        if project is not None:
            sessions = {s.id for s in searching.catalog.sessions() if report.is_in(s, Path(project))}
        index = searching.index(read_only=True)
        try:
            rotated = searching.catalog.rotated(time.time())
            hits = index.search(query, sessions=sessions, role=role, since=after, limit=limit * SPARE)
            return {
                "hits": searching.shown(hits, query, limit, marks),
                "behind": len(set(unindexed(index, searching.catalog)) - rotated),
            }
        finally:
            index.close()


def make_missing(progress: Callable[[int, int], None]) -> int:
    """Make the index where none was made yet, as where no daemon has run; else as `rebuild`."""
    where = paths(os.environ)
    is_missing = where.state_db.exists() and not where.index_db.exists()
    return rebuild(progress) if is_missing else 0


def rebuild(progress: Callable[[int, int], None]) -> int:
    """Make the index anew, telling (done, all); returns the number of sessions.

    The daemon does it where one runs: there is one writer.  Until it is done the old one is searched.
    """
    where = paths(os.environ)
    try:
        total = left = client.request(where.socket, "reindex", {"begin": True}, acts=True)["left"]
        while left > 0:
            progress(total - left, total)
            time.sleep(LOOK_S)
            left = client.request(where.socket, "reindex", {}, acts=True)["left"]
            total = max(total, left)
        progress(total, total)
        return int(total)
    except DaemonNotRunning:
        pass
    with opened() as searching:
        try:
            with process.hold(where.lock):
                return _rebuild_alone(searching, progress)
        except AlreadyRunning as error:
            raise IndexBroken(
                "Another rebuild is under way, or the daemon is just starting.",
                hint="Try again in a moment.",
            ) from error


def _rebuild_alone(searching: Searching, progress: Callable[[int, int], None]) -> int:
    target = searching.where.index_db
    remove(draft_of(target))  # of a rebuild that was killed
    draft = searching.index(read_only=False, draft=True)
    problems: list[CopyError] = []
    total = 0
    try:
        for done, total, _ in searching.indexer(draft).fill(problems.append):
            progress(done, total)
        draft.take_place_of(target)
    finally:
        draft.close()
    if problems:
        raise problems[0]
    return total

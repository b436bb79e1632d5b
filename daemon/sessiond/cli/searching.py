"""`sessiond search`: asks the index on the disk, with or without a daemon."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sessiond import client, process
from sessionsync import report
from sessionsync.catalog import Catalog
from sessionsync.config import Config, Paths, load, paths
from sessionsync.errors import AlreadyRunning, DaemonNotRunning, IndexBroken, UsageError
from sessionsync.events import silent
from sessionsync.model import rfc3339, unix_seconds
from sessionsync.search import Hit, Index, Indexer, snippet, text_of
from sessionsync.sources import Source
from sessionsync.sources.claude import Claude
from sessionsync.sources.contexts import Contexts
from sessionsync.sources.messages import Messages
from sessionsync.sources.notes import Notes
from sessionsync.sources.structured import Structured
from sessionsync.store import Store
from sessionsync.vault import Mirror, Vault

Json = dict[str, Any]
# Around a match in a snippet, as Markdown has it.
MARK = "**"
LOOK_S = 0.2
_AGO = re.compile(r"(\d+)([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}


class Searching:
    """The state, the copies and the index of this home, for reading."""

    def __init__(self, config: Config, where: Paths) -> None:
        self.where = where
        self.store = Store(where.state_db)
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

    def index(self, *, read_only: bool) -> Index:
        """The index; IndexBroken where there is none of this state."""
        return Index(self.where.index_db, self.store.meta("state"), read_only=read_only)

    def hit(self, hit: Hit, query: str) -> Json:
        """A hit as `search --json` prints it."""
        session = self.catalog.session(hit.session)
        file = self.catalog.files(hit.session).get(hit.name)
        source = self.sources[session.ref.source]
        text = text_of(hit, session, file, source, self.mirror, self.vault)
        return {
            "session": session.key,
            "source": session.ref.source,
            "project": session.project,
            "title": session.summary.title,
            "role": hit.role,
            "at": rfc3339(hit.at) if hit.at else None,
            "snippet": snippet(text, query, lambda found: f"{MARK}{found}{MARK}"),
        }


@contextmanager
def opened() -> Iterator[Searching]:
    """This home, if there is anything in it."""
    where = paths(os.environ)
    if not where.state_db.exists():
        raise IndexBroken("Nothing has been captured here yet.", hint="`sessiond run` begins.")
    searching = Searching(load(os.environ, where.config_file), where)
    try:
        yield searching
    finally:
        searching.store.close()


def search(query: str, *, project: Path | None, since: str, role: str, limit: int) -> Json:
    """Every hit, the newest first, with the matches in its snippet in bold, as Markdown has it."""
    with opened() as searching:
        sessions = None
        if project is not None:
            sessions = {s.id for s in searching.catalog.sessions() if report.is_in(s, project)}
        index = searching.index(read_only=True)
        try:
            hits = index.search(query, sessions=sessions, role=role, since=_since(since), limit=limit)
            return {"hits": [searching.hit(hit, query) for hit in hits]}
        finally:
            index.close()


def rebuild(progress: Callable[[int, int], None]) -> int:
    """Make the index anew, telling (done, all); returns the number of sessions.

    The daemon does it where one runs: there is one writer.
    """
    where = paths(os.environ)
    try:
        total = left = client.request(where.socket, "reindex", {"begin": True}, acts=True)["left"]
        time.sleep(LOOK_S)  # its next turn knows how much there is
        while (left := client.request(where.socket, "reindex", {}, acts=True)["left"]) > 0:
            total = max(total, left)
            progress(total - left, total)
            time.sleep(LOOK_S)
        return int(total)
    except DaemonNotRunning:
        pass
    with opened() as searching:
        try:
            with process.hold(where.lock):
                return _rebuild_alone(searching, progress)
        except AlreadyRunning as error:
            raise IndexBroken("The daemon is just starting.", hint="Try again in a moment.") from error


def _rebuild_alone(searching: Searching, progress: Callable[[int, int], None]) -> int:
    searching.where.index_db.unlink(missing_ok=True)
    index = searching.index(read_only=False)
    try:
        indexer = Indexer(index, searching.catalog, searching.mirror, searching.sources.values())
        waiting = indexer.behind()
        for done, number in enumerate(waiting, 1):
            indexer.index(number)
            progress(done, len(waiting))
        index.optimize()
        return len(waiting)
    finally:
        index.close()


def _since(text: str) -> float:
    """A time, a date, or an age such as 7d."""
    if not text:
        return 0.0
    if age := _AGO.fullmatch(text):
        return time.time() - int(age[1]) * _HOURS[age[2]] * 3600
    try:
        return unix_seconds(text if "T" in text else f"{text}T00:00:00Z")
    except ValueError as error:
        raise UsageError(
            f"--since {text!r} is no time.",
            hint="Give a date, an RFC 3339 time, or an age: 2026-01-31, 12h, 7d, 4w.",
        ) from error

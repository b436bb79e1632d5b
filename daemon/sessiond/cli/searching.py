"""What `sessiond search` does without a daemon, and how an index is made anew with or without one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sessiond import client, process, searching
from sessionsync.catalog import Catalog
from sessionsync.config import Config, Paths, load, paths
from sessionsync.errors import AlreadyRunning, CopyError, DaemonNotRunning, IndexBroken
from sessionsync.events import silent
from sessionsync.search import Index, Indexer
from sessionsync.search.index import remove
from sessionsync.sources import Source
from sessionsync.sources.claude import Claude
from sessionsync.sources.contexts import Contexts
from sessionsync.sources.messages import Messages
from sessionsync.sources.notes import Notes
from sessionsync.sources.places import Places
from sessionsync.sources.structured import Structured
from sessionsync.store import Store
from sessionsync.vault import Mirror, Vault

Json = dict[str, Any]
LOOK_S = 0.2


class Searching:
    """The state, the copies and the index of this home."""

    def __init__(self, config: Config, where: Paths, *, read_only: bool = True) -> None:
        self.where = where
        self.store = Store(where.state_db, read_only=read_only)
        self.catalog = Catalog(self.store)
        self.mirror = Mirror(config.backup.mirror_dir)
        self.vault = Vault(config.backup.vault_dir)
        nowhere = Places(list, silent)
        self.sources: dict[str, Source] = {
            "claude": Claude((), silent),
            "structured": Structured(nowhere, silent),
            "note": Notes(nowhere, silent),
            "context": Contexts(nowhere, silent),
            "messages": Messages(nowhere, silent),
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


def draft_of(index: Path) -> Path:
    """Where an index is made anew, beside the one that is searched until then."""
    return index.with_name(f"{index.name}.new")


@contextmanager
def opened(*, alone: bool = False) -> Iterator[Searching]:
    """This home, if there is anything in it: for reading, beside whoever writes it, or under its lock.

    Then a state of an older version is brought up to date, as by a daemon that starts.
    """
    where = paths(os.environ)
    config = load(os.environ, where.config_file)  # nothing may have been captured because of them
    if not where.state_db.exists():
        raise IndexBroken("Nothing has been captured here yet.", hint="`sessiond run` begins.")
    with process.hold(where.lock) if alone else nullcontext():
        here = Searching(config, where, read_only=not alone)
        try:
            yield here
        finally:
            here.store.close()


def search(query: str, **asked: Any) -> Json:
    """As `sessiond.searching.search`, of this home."""
    with opened() as here:
        index = here.index(read_only=True)
        try:
            return searching.search(
                index, here.catalog, here.mirror, here.vault, here.sources.values(), query, **asked
            )
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
    try:
        with opened(alone=True) as here:
            return _rebuild_alone(here, progress)
    except AlreadyRunning as error:
        raise IndexBroken(
            "Another rebuild is under way, or the daemon is just starting.",
            hint="Try again in a moment.",
        ) from error


def _rebuild_alone(here: Searching, progress: Callable[[int, int], None]) -> int:
    target = here.where.index_db
    process.expect_a_burst()
    remove(draft_of(target))  # of a rebuild that was killed
    problems: list[CopyError] = []
    total = 0
    try:
        with closing(here.index(read_only=False, draft=True)) as draft:
            for done, total, _ in here.indexer(draft).fill(problems.append):
                progress(done, total)
            draft.take_place_of(target)
    finally:
        remove(draft_of(target))  # where it did not take the other's place
    if problems:
        raise problems[0]
    return total

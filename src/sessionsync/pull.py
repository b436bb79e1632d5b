"""What others have changed: heard of with one conditional request a minute, for the whole repository.

Of a session that this machine has, what is newer elsewhere is kept beside its own copies, never in the
agent's folder; of all others only what their records say of them is remembered.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec

from sessionsync.catalog import Catalog, Session
from sessionsync.errors import CopyError, Lagging, Missing, RemoteError
from sessionsync.events import Emit
from sessionsync.push import Push
from sessionsync.queue import Queue, State
from sessionsync.remote.comments import parse_project_marker
from sessionsync.remote.github import Comment, Repository
from sessionsync.remote.issues import LABEL
from sessionsync.remote.placements import Held, Placements
from sessionsync.retry import Rounds

# Below this share of a rate limit only what is pushed may cost requests.
RESERVE = 0.2
# A listing of changes that has become this long is cut at its old end.
WINDOW_COMMENTS = 20
# So many issues are listed when a repository is first heard of, the newest first.
SURVEYED = 50


class _Position(msgspec.Struct):
    """Where listening goes on: since when, and the tag of what was heard last."""

    since: str = ""
    etag: str = ""
    surveyed: bool = False


class Pull:
    """Listens for what others write.  Call it from the thread that pushes, between two items."""

    def __init__(
        self, *, push: Push, catalog: Catalog, queue: Queue, placements: Placements, emit: Emit
    ) -> None:
        self._push = push
        self._catalog = catalog
        self._queue = queue
        self._store = placements.store
        self._emit = emit
        self._rounds = Rounds()
        self.pulled_at: float | None = None
        """When others were last heard, Unix seconds."""

    def next_at(self, now: float) -> float | None:
        """When `work` will next have something to do; None while only the pusher's state can tell."""
        if not self._push.uplink.is_open:
            return None
        return self._rounds.due_at(now)

    def soon(self) -> None:
        """Ask at the next call, whatever the schedule says."""
        self._rounds.soon()

    def work(self, now: float) -> bool:
        """Ask once, where it is time; returns whether it was asked.

        Raises:
            StoreError: the state cannot be written.
        """
        if not self._push.uplink.is_open or not self._rounds.begin(now) or self._is_scarce(now):
            return False
        issues = self._push.issues
        issues.now = now
        try:
            repository = issues.known_repository()
            changed, found = 0, 0
            for batch in self._changes(repository):
                changed += len(batch)
                found += self._take(repository, batch)
        except RemoteError as error:
            self._rounds.failed(now, error.retry_at)
            self._push.failed(error)
            self._emit("pull_failed", code=error.code, reason=str(error), hint=error.hint)
            return True
        except CopyError as error:
            self._emit("pull_failed", code=error.code, reason=str(error), hint=error.hint)
            return True
        self._push.reached()
        self.pulled_at = now
        self._emit("pull_completed", changed=changed, sessions=found)
        return True

    def _is_scarce(self, now: float) -> bool:
        """Whether too little of a rate limit is left for anything but pushing."""
        limits = self._push.github.limits.values()
        return any(
            limit.remaining < limit.limit * RESERVE and limit.reset_at > now
            for limit in limits
            if limit.limit
        )

    # --- listening

    def _changes(self, repository: Repository) -> Iterator[list[Comment]]:
        """The comments that changed since the last time; where it goes on is kept when they are seen to."""
        issues, github = self._push.issues, self._push.github
        key = f"pull {repository.id}"
        position = _Position()
        with contextlib.suppress(msgspec.MsgspecError):
            position = msgspec.json.decode(self._store.meta(key) or "{}", type=_Position)
        if not position.since:
            position.since = issues.looked_since(repository) or issues.window()
        if not position.surveyed:
            yield from self._survey()
            position.surveyed = True
        listing = github.changed_comments(position.since, etag=position.etag or None)
        if listing.items is None:
            return  # at rest nothing is written
        yield listing.items
        position.etag = listing.etag or ""
        if len(listing.items) > WINDOW_COMMENTS:
            position.since, position.etag = issues.window(), ""
        self._store.set_meta(key, msgspec.json.encode(position).decode())

    def _survey(self) -> Iterator[list[Comment]]:
        """What is in the repository's issues of sessions, an issue at a time."""
        issues, github = self._push.issues, self._push.github
        for issue in sorted(github.find_issues(LABEL), key=lambda each: -each.number)[:SURVEYED]:
            if parse_project_marker(issue.text) is None:
                continue
            if not issues.counts(issue.author, issue.author_association):
                continue
            with contextlib.suppress(Missing):
                yield github.comments(issue.number).items or []

    def _take(self, repository: Repository, changed: list[Comment]) -> int:
        """Remember what was heard, and see to the sessions that are here; returns how many there were."""
        issues = self._push.issues
        heard: dict[str, list[Held]] = {}
        for comment in changed:
            number = int(comment.issue_url.rpartition("/")[2] or 0)
            held = issues.hold(repository, number, comment)
            if held is not None and held.part == 1:
                heard.setdefault(held.session_id, []).append(held)
        sessions = {key: session for key in heard if (session := self._catalog.named(key)) is not None}
        for key, session in sessions.items():
            is_foreign = any(self._push.others.is_foreign(repository, session, first) for first in heard[key])
            if is_foreign or self._push.others.is_doubled(repository, session):
                self._see_to(repository, session)
        return len(sessions)

    def _see_to(self, repository: Repository, session: Session) -> None:
        """Have a version from elsewhere weighed: with a push where the session is one to push, else here."""
        if session.commented and session.checkpoint is not None:
            if session.summary.skimmed:
                return  # it is pushed once its lines are read
            item = self._queue.get("comment", session.id)
            if item is not None and item.state is State.BURIED:
                return  # a person looks at that first
            self._queue.enqueue("comment", session.id, session.checkpoint, self._push.issues.now)
            return
        with contextlib.suppress(Lagging):
            self._push.others.look(repository, session)

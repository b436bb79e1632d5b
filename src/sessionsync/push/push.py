"""The lane of the queue that goes to GitHub: what is due is leased, sent, and its end committed."""

from __future__ import annotations

import random
from collections.abc import Callable

from sessionsync.catalog import Catalog
from sessionsync.config import Config
from sessionsync.conflict import NOTICE, Judge, OpenArchive
from sessionsync.digests import Digests
from sessionsync.elsewhere import Elsewhere
from sessionsync.errors import (
    CopyError,
    IssueLocked,
    Limited,
    NoSuchCheckpoint,
    NoSuchSession,
    NotPermitted,
    RecordError,
    RedactionFailed,
    Refused,
    RemoteError,
    RepositoryMissing,
    ServerFailed,
    SessiondError,
    TokenRefused,
    Unreachable,
)
from sessionsync.events import Emit
from sessionsync.forget.comments import erase
from sessionsync.forget.rows import Forgettings
from sessionsync.model import Context
from sessionsync.privacy.gate import Gate
from sessionsync.push.indexes import Indexes
from sessionsync.push.means import Means
from sessionsync.push.notices import Notices
from sessionsync.push.others import Others
from sessionsync.push.parts import Parts
from sessionsync.push.records import Records
from sessionsync.push.versions import OwnVersions
from sessionsync.queue import FORGET, Item, Lane, Queue
from sessionsync.remote.github import GitHub
from sessionsync.remote.issues import Issues, Steps
from sessionsync.remote.placements import Placements
from sessionsync.retry import next_attempt_at
from sessionsync.uplink import EventNames, Pause, Uplink
from sessionsync.vault import Vault

# Below this share of a rate limit nothing is sent any more.
LAST = 0.02
LOCKED_S = 3600.0

NAMES = EventNames("github_limited", "push_paused", "push_resumed", "github_unreachable", "github_reached")


class Push:
    """Sends what the queue holds.  Call it from one thread.

    `uplink` says whether GitHub may be asked, `issues` where the comments are.  `own` makes this machine's
    versions, `others` sees to what was heard of other machines', `judge` decides between them.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        queue: Queue,
        placements: Placements,
        vault: Vault,
        elsewhere: Elsewhere,
        digests: Digests,
        github: GitHub,
        gate: Gate,
        config: Config,
        host: str,
        machine: Callable[[], str],
        context: Context,
        chance: random.Random,
        emit: Emit,
        archive: OpenArchive | None = None,
        tells: bool = True,
    ) -> None:
        """Wire it; without `tells` it only weighs and settles, as there is no GitHub."""
        self.github = github
        self.uplink = Uplink(queue, Lane.GITHUB, chance, emit, NAMES)
        self.issues = Issues(
            github=github, placements=placements, gate=gate, settings=config.github, emit=emit
        )
        self.judge = Judge(
            store=placements.store,
            queue=queue,
            vault=vault,
            elsewhere=elsewhere,
            issues=self.issues,
            gate=gate,
            limits=(config.tiers.github_only_bytes, config.tiers.hybrid_bytes),
            host=host,
            machine=machine,
            emit=emit,
            archive=archive,
            tells=tells,
        )
        self.own = own = OwnVersions(
            catalog=catalog,
            vault=vault,
            placements=placements,
            digests=digests,
            gate=gate,
            config=config,
            host=host,
            machine=machine,
            context=context,
            emit=emit,
        )
        means = Means(catalog, queue, placements, github, self.issues, self.judge, emit)
        self._records = Records(means, own, Parts(means, comment_bytes=config.tiers.comment_bytes))
        self._notices = Notices(means, own)
        self._indexes = Indexes(means)
        self.others = Others(means, own, tells=tells)
        self.issues.heard = self._notices.hear
        self._catalog = catalog
        self._queue = queue
        self._placements = placements
        self._issue = config.github.issue
        self._chance = chance
        self._emit = emit
        self._leased = False

    def work(self, now: float) -> Steps:
        """Send the item that is due longest.

        Raises:
            StoreError: the state cannot be written; nothing more can be promised.
        """
        self.issues.now = now
        self.uplink.begin()
        if self._leased:  # the last one's end could not be committed
            self._queue.recover(now, lane=Lane.GITHUB)
            self._leased = False
        if self.uplink.reach.unreachable:
            return self.uplink.probe(now, self.github.rate_limit)
        if self._held_back():
            return False
        if (item := self._queue.lease(now)) is None:
            return self._look()
        self._leased = True
        subject = self._name(item)
        self._emit(
            "push_started",
            session=subject,
            operation=item.operation,
            attempt=item.attempts,
            seconds=max(0.0, now - item.enqueued_at),
        )
        try:
            yield from self._sender(item)
        except GeneratorExit:
            # stopped between two writes: every answer so far is committed, so no doubt remains
            self._queue.release(item, self.issues.now, "", "")
            self._leased = False
            raise
        except SessiondError as error:
            self._failed(item, subject, error)
        else:
            self.reached()
        self._leased = False
        return True

    def _sender(self, item: Item) -> Steps:
        """What an item asks for: an operation that is none of these sends a session's record."""
        known = {"index": self._indexes.send, NOTICE: self._notices.send, FORGET: self._forget}
        return known.get(item.operation, self._records.send)(item)

    def next_at(self, now: float) -> float | None:
        """When `work` will next have something to send; None while only a person or an event can tell.

        Its daily look at the repository waits for whoever calls it next.
        """
        if (probe_in := self.uplink.reach.wait_s(now)) is not None:
            return now + probe_in
        at = self._queue.next_attempt_at(Lane.GITHUB)
        if self.uplink.pause is not None and at is not None:
            at = None if self.uplink.pause.until is None else max(at, self.uplink.pause.until)
        return at if at is None else max(at, now)

    def clock_set(self, now: float, by_s: float) -> None:
        """The clock was set by so many seconds: nothing waits longer for that."""
        self.github.forget_skew()
        self.uplink.clock_set(now, by_s)

    def probe_now(self, *, insist: bool = False) -> None:
        """Ask GitHub again at the next call of `work`; see `Uplink.probe_now`."""
        self.uplink.probe_now(insist=insist)
        self.issues.look_again()

    def _held_back(self) -> bool:
        if self.uplink.pause is None:
            self._save_the_rest()
        if self.uplink.resume(self.issues.now):
            self.issues.look_again()
        return self.uplink.pause is not None

    def _look(self) -> bool:
        """Nothing is to be sent: once a day, see that what was sent is where it may be."""
        due_at = self.issues.look_due_at
        if due_at is None or self.issues.now < due_at:
            return False
        try:
            self.issues.look()
        except RemoteError as error:
            self.failed(error)
        else:
            self.reached()
        return True

    def _save_the_rest(self) -> None:
        """Wait for the reset where hardly anything is left of the rate limit: somebody else may need it."""
        limit, now = self.github.limits.get("core"), self.issues.now
        if limit is None or limit.remaining >= limit.limit * LAST:
            return
        until = limit.reset_at - (self.github.skew_s or 0.0)
        if until > now:
            text = f"Only {limit.remaining:,} of GitHub's {limit.limit:,} requests are left until its reset."
            hint = "Nothing to do: it goes on at the reset."
            self.uplink.limit(Pause(Limited.code, text, hint, now, until), kind="primary")

    def reached(self) -> None:
        """GitHub has answered."""
        self.uplink.reached(self.issues.now)

    def _failed(self, item: Item, subject: str, error: SessiondError) -> None:
        """Decide what becomes of the item; the class of the error decides, never its text."""
        now, text = self.issues.now, str(error)
        match error:
            case Limited():
                self._queue.release(item, error.retry_at, text, error.code)
            case TokenRefused() | RepositoryMissing() | NotPermitted():
                self._queue.release(item, now, text, error.code)
            case IssueLocked():
                self._queue.release(item, now + LOCKED_S, text, error.code)
                self._emit("push_failed", session=subject, code=error.code, reason=text, hint=error.hint)
            case NoSuchSession() | NoSuchCheckpoint():
                self._queue.done(item, now)
            case Refused() | RecordError() | RedactionFailed():
                self._queue.bury(item, text, error.code)
                self._emit("push_buried", session=subject, code=error.code, reason=text, hint=error.hint)
            case _ if isinstance(error, RemoteError | CopyError):
                asked = error.retry_at if isinstance(error, RemoteError) else None
                at = next_attempt_at(now, item.failures + 1, self._chance, retry_at=asked)
                self._queue.retry(item, at, text, error.code)
                self._emit("push_failed", session=subject, code=error.code, reason=text, hint=error.hint)
            case _:
                raise error
        if isinstance(error, RemoteError):
            self.failed(error)

    def failed(self, error: RemoteError) -> None:
        """What an error of GitHub's means for everything that is asked of it."""
        self.uplink.failed(self.issues.now, error)
        if isinstance(error, TokenRefused | RepositoryMissing | NotPermitted):
            self.issues.look_again(forget=True)
        if not isinstance(error, Unreachable | ServerFailed):
            self.reached()

    def _name(self, item: Item) -> str:
        try:
            return self._catalog.session(item.subject).name if item.operation != "index" else ""
        except NoSuchSession:
            return ""

    def _forget(self, item: Item) -> Steps:
        """Delete what GitHub has of a session that was forgotten."""
        store = self._placements.store
        rows = Forgettings(store)
        if (forgotten := rows.get(item.subject)) is not None:
            yield from erase(
                self.issues, self._placements, self._queue, forgotten, self._emit, issue=self._issue
            )
        with store.transaction():
            self._queue.done(item, self.issues.now)
            rows.sweep()
        return True

"""The lane of the queue that goes to the archive: what is due is leased, committed, pushed, and settled."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sessionsync.archiving.basis import Basis
from sessionsync.archiving.care import Care
from sessionsync.archiving.ends import Ends
from sessionsync.archiving.means import Means, code_of
from sessionsync.catalog import Catalog, Session
from sessionsync.config import Config
from sessionsync.errors import (
    ArchiveTooNew,
    CopyError,
    GitFailed,
    Limited,
    NoSuchCheckpoint,
    NoSuchSession,
    NotPermitted,
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
from sessionsync.forget.rows import Forgettings, Forgotten
from sessionsync.model import Context
from sessionsync.privacy.gate import Gate
from sessionsync.privacy.seal import Seal
from sessionsync.queue import ARCHIVE, UNARCHIVE, Item, Lane, Queue
from sessionsync.remote.archive import refs
from sessionsync.remote.archive.address import Address
from sessionsync.remote.archive.branch import Branches
from sessionsync.remote.archive.cache import Cache, size_of
from sessionsync.remote.archive.erase import erase
from sessionsync.remote.archive.fold import Cold
from sessionsync.remote.archive.git import AGAIN, Git, refusal
from sessionsync.remote.archive.host import REFS, Host, Told
from sessionsync.remote.archive.ledger import Branch, FileState, Ledger
from sessionsync.remote.archive.refs import Place, encode
from sessionsync.remote.github import GitHub
from sessionsync.retry import next_attempt_at
from sessionsync.uplink import EventNames, Uplink
from sessionsync.vault import Vault

# What is committed before it is pushed: a line that breaks costs no more than that.
PUSH_BYTES = 64 * 1024 * 1024
# A name is taken from a machine at most this often.
RENAME_S = 3600.0
CACHE = "archive.git"
COLD = "archive-cold.git"

NAMES = EventNames(
    "archive_limited", "archive_paused", "archive_resumed", "archive_unreachable", "archive_reached"
)


@dataclass(slots=True)
class _Built:
    """A session whose commits are made and not yet confirmed."""

    item: Item
    session: Session
    branch: Branch
    states: list[FileState]
    anew: bool
    revived: bool


class Archiving:
    """Sends the archive's lane of the queue.  Call it from one thread; `abort` from any."""

    def __init__(
        self,
        *,
        address: Address,
        git: Git,
        folder: Path,
        catalog: Catalog,
        queue: Queue,
        vault: Vault,
        gate: Gate,
        config: Config,
        github: Callable[[], GitHub | None],
        host: str,
        machine: Callable[[], str],
        rename: Callable[[], str],
        context: Context,
        chance: random.Random,
        emit: Emit,
        seal: Seal | None = None,
    ) -> None:
        """Wire it.

        `folder` is where the caches lie.  `github` gives a client that tells whether a repository of
        GitHub's is public, and is closed then.  `rename` gives this machine a new name and returns it.
        """
        self.address = address
        self.uplink = Uplink(queue, Lane.ARCHIVE, chance, emit, NAMES, code_of)
        self._means = means = Means(
            address=address,
            git=git,
            host=Host(git),
            cache=Cache(folder / CACHE, git),
            cold=Cold(git, folder / COLD),
            ledger=Ledger(queue.store, address.id),
            catalog=catalog,
            queue=queue,
            seal=seal,
            emit=emit,
            uplink=self.uplink,
        )
        self._ends = Ends(means, config, github)
        self._basis = Basis(means)
        self.care = Care(means, self._ends)
        self._ends.made = self.care.look_again
        self._branches = Branches(
            cache=means.cache,
            ledger=means.ledger,
            catalog=catalog,
            vault=vault,
            gate=gate,
            config=config,
            host=host,
            machine=machine,
            context=context,
            emit=emit,
            seal=seal,
        )
        self._queue = queue
        self._store = queue.store
        self._machine = machine
        self._rename = rename
        self._chance = chance
        self._emit = emit
        self._leased = True  # what another one left is taken back first
        self._most = REFS
        self._refused = ""
        self._renamed_at = float("-inf")

    def catch_up(self, now: float) -> int:
        """Queue every session whose newest checkpoint the archive lacks; returns how many were added.

        But what was only skimmed, which is queued when its lines are read.
        """
        added = 0
        with self._store.transaction():
            for session, checkpoint in self._means.ledger.behind():
                if self._queue.get(ARCHIVE, session) is not None:
                    continue
                if not self._means.catalog.session(session).summary.skimmed:
                    self._queue.enqueue(ARCHIVE, session, checkpoint, now)
                    added += 1
        return added

    def work(self, now: float) -> bool:
        """Push all that is due, or look after what is there; whether there was something to do.

        Raises:
            StoreError: the state cannot be written; nothing more can be promised.
        """
        self._means.now = now
        self.uplink.begin()
        self._basis.ask_again()
        if self._leased:
            self._queue.recover(now, lane=Lane.ARCHIVE)
            self._leased = False
        if self.uplink.reach.unreachable:
            return self.uplink.probe(now, lambda: self._means.host.refs(now))
        if self._held_back():
            return False
        if self._means.spacing_s(now) > 0:
            self._tidy_meanwhile()
            return False
        items = self._queue.lease_many(now, Lane.ARCHIVE, self._most)
        if not items:
            return self._look_after()
        self._leased = True
        waiting = {item.subject: item for item in items}
        try:
            self._ends.get_ready()
            self._erase(waiting)
            self._send(waiting)
        except SessiondError as error:
            self._failed(list(waiting.values()), error)
        else:
            self.uplink.reached(self._means.now)
            self._most = min(REFS, self._most * 2)
        for item in waiting.values():  # not this time
            self._release(item, self._means.now)
        self._leased = False
        return True

    def next_at(self, now: float) -> float | None:
        """When `work` will next have something to do; None while only a person can tell."""
        uplink = self.uplink
        if (probe_in := uplink.reach.wait_s(now)) is not None:
            return now + probe_in
        if uplink.pause is not None:
            return None if uplink.pause.until is None else max(now, uplink.pause.until)
        at = self._queue.next_attempt_at(Lane.ARCHIVE)
        due_at = self.care.due_at if at is None else min(at, self.care.due_at)
        return max(now + self._means.spacing_s(now), due_at)

    def clock_set(self, now: float, by_s: float) -> None:
        """The clock was set by so many seconds: nothing waits longer for that."""
        self.uplink.clock_set(now, by_s)

    def probe_now(self, *, insist: bool = False) -> None:
        """Ask the archive again at the next call of `work`; see `Uplink.probe_now`."""
        self.uplink.probe_now(insist=insist)
        self._ends.check_again()

    @property
    def is_stuck(self) -> bool:
        """Whether waiting is in vain until a person acts."""
        return self.uplink.pause is not None and not self.uplink.paused_by(Limited)

    def abort(self) -> None:
        """End what runs, from another thread: it is done again another time."""
        self._means.git.abort()

    @property
    def beat(self) -> Callable[[], None]:
        """What is called while git runs, at least every second."""
        return self._means.git.beat

    @beat.setter
    def beat(self, beat: Callable[[], None]) -> None:
        self._means.git.beat = beat

    def rest(self) -> None:
        """Let go of what is held open; the next work opens it again."""
        self._means.cache.close()
        self._means.cold.close()

    def size(self) -> int:
        """Bytes that the local copy of the archive takes."""
        return size_of(self._means.cache.folder)

    def _held_back(self) -> bool:
        if self._refused and self._means.git.token() != self._refused:
            self.uplink.pause = None  # there is another one
            self._refused = ""
        if self.uplink.resume(self._means.now):
            self._ends.check_again()
            self.care.look_again()
        return self.uplink.pause is not None

    def _look_after(self) -> bool:
        """Nothing is due: see that all is well there."""
        try:
            return self.care.work()
        except RemoteError as error:
            self._emit("archive_upkeep_failed", code=code_of(error), reason=str(error))
            self._judge(error)
            return False

    def _tidy_meanwhile(self) -> None:
        """Tidy between two pushes: where sessions never rest something is always due after."""
        try:
            self.care.tidy()
        except RemoteError as error:
            self._emit("archive_upkeep_failed", code=code_of(error), reason=str(error))

    # --- sending

    def _send(self, waiting: dict[int, Item]) -> None:
        built = self._build(waiting)
        if not built:
            return
        self._means.cache.publish()
        with self._store.transaction():
            for one in built:
                self._means.ledger.save(one.branch, one.states, anew=one.anew)
        self._means.pushed()
        told = self._means.host.push(
            [f"{one.branch.tip}:{one.branch.ref}" for one in built],
            self._means.cache.folder,
            self._means.now,
            negotiate=any(one.revived for one in built),
        )
        self.care.untidy()
        for one in built:
            waiting.pop(one.item.subject, None)
            self._settle(one, told.get(one.branch.ref))

    def _build(self, waiting: dict[int, Item]) -> list[_Built]:
        """Make the commits of what is due, up to what one push should hold."""
        built: list[_Built] = []
        before = self._means.cache.written
        for item in list(waiting.values()):
            if self._means.cache.written - before > PUSH_BYTES:
                break
            try:
                session = self._means.catalog.session(item.subject)
                self._emit(
                    "archive_started",
                    session=session.name,
                    attempt=item.attempts,
                    seconds=max(0.0, self._means.now - item.enqueued_at),
                )
                base, was = self._basis.of(session), self._means.ledger.branch(session.id)
                branch, states, anew = self._branches.extend(session, base)
            except NoSuchSession:
                self._queue.done(waiting.pop(item.subject), self._means.now)
            except (CopyError, NoSuchCheckpoint, RedactionFailed) as error:
                self._failed([waiting.pop(item.subject)], error)
            else:
                revived = was is not None and (branch.folded or not branch.pushed)
                one = _Built(item, session, branch, states, anew, revived)
                if branch.is_there or not branch.tip:
                    self._settle(one, None if branch.tip else Told("=", ""))
                    waiting.pop(item.subject)
                else:
                    built.append(one)
        return built

    def _settle(self, one: _Built, told: Told | None) -> None:
        """What the archive's answer about one ref means for its item."""
        item, branch, name = one.item, one.branch, one.session.name
        if (told is not None and told.taken) or branch.is_there:
            is_new = branch.pushed_checkpoint != branch.checkpoint
            branch.pushed, branch.pushed_checkpoint = branch.tip, branch.checkpoint
            branch.pushed_at, branch.folded = self._means.now, branch.folded and told is None
            with self._store.transaction():
                if branch.tip:
                    self._means.ledger.save(branch, one.states, anew=one.anew)
                self._queue.done(item, self._means.now)
            if is_new:
                self._emit(
                    "archive_completed",
                    session=name,
                    checkpoint=branch.checkpoint,
                    seconds=round(max(0.0, self._means.now - branch.checkpoint_at), 3),
                )
            return
        if told is None:
            self._failed([item], ServerFailed(f"The archive said nothing of {branch.ref}.", hint=AGAIN))
        elif (error := refusal(told.summary, f"The ref {branch.ref}")) is not None:
            self._failed([item], error)
        else:
            self._give_way(item, branch)

    def _give_way(self, item: Item, branch: Branch) -> None:
        """Another history stands under this machine's name: take a new one."""
        error = ServerFailed(f"Another history stands in the archive under {branch.ref}.", hint=AGAIN)
        ours = refs.parse(branch.ref)
        if ours is not None and ours.machine == self._machine():
            if self._renamed_at <= self._means.now < self._renamed_at + RENAME_S:
                self._failed([item], error)
                return
            self._renamed_at = self._means.now
            self._emit("machine_renamed", machine=self._rename(), reason=str(error))
        self._queue.retry(item, self._means.now, str(error), code_of(error))

    def _failed(self, items: Sequence[Item], error: SessiondError) -> None:
        """Decide what becomes of items; the class of the error decides, never its text."""
        now, text, code = self._means.now, str(error), code_of(error)
        if isinstance(error, GitFailed):
            # what is damaged there would fail again
            self._means.cache.drop()
            self._emit("archive_cache_dropped", reason=text)
        for item in items:
            session = self._name(item)
            match error:
                case Limited():
                    self._queue.release(item, error.retry_at, text, code)
                case TokenRefused() | RepositoryMissing() | NotPermitted():
                    self._queue.release(item, now, text, code)
                case Refused() | RedactionFailed() | ArchiveTooNew():
                    self._queue.bury(item, text, code)
                    self._emit("archive_buried", session=session, code=code, reason=text, hint=error.hint)
                case _ if isinstance(error, RemoteError | CopyError | NoSuchCheckpoint):
                    # of the last: the vault was removed meanwhile, and is filled again
                    at = next_attempt_at(now, item.failures + 1, self._chance)
                    self._queue.retry(item, at, text, code)
                    self._emit("archive_failed", session=session, code=code, reason=text, hint=error.hint)
                case _:
                    raise error
        self._judge(error)

    def _judge(self, error: SessiondError) -> None:
        """What an error means for everything that is archived."""
        token = self._means.git.token()
        self.uplink.failed(self._means.now, error, without_token=not token)
        if isinstance(error, TokenRefused | RepositoryMissing | NotPermitted):
            self._refused = token if isinstance(error, TokenRefused) else ""
        if isinstance(error, Unreachable | ServerFailed):
            self._most = max(1, self._most // 2)

    def _release(self, item: Item, at: float) -> None:
        current = self._queue.get(item.operation, item.subject)
        if current is not None and current.state.value == "in_flight":
            self._queue.release(item, at, "", "")

    def _name(self, item: Item) -> str:
        try:
            return self._means.catalog.session(item.subject).name
        except NoSuchSession:
            return ""

    def _erase(self, waiting: dict[int, Item]) -> None:
        """Remove sessions that were forgotten.

        Those of transcripts under every machine's name; a session whose id a person chose may have a
        namesake in another project, so only where it was seen to be this one.
        """
        means, rows = self._means, Forgettings(self._store)
        for item in [item for item in waiting.values() if item.operation == UNARCHIVE]:
            forgotten = rows.get(item.subject)
            if forgotten is not None:
                session, machines = encode(forgotten.key), {self._machine(), *forgotten.machines}

                def is_meant(
                    place: Place, said: Forgotten = forgotten, session: str = session, of: set[str] = machines
                ) -> bool:
                    ours = place.source == said.source and place.session == session
                    return ours and (said.source == "claude" or place.machine in of or place.ref == said.ref)

                count = erase(means.host, means.cache, means.cold, is_meant, means.now)
                self._emit("archive_erased", refs=count)
            with self._store.transaction():
                self._queue.done(waiting.pop(item.subject), self._means.now)
                rows.sweep()
        self._means.cache.make()

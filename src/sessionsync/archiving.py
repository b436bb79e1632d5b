"""From queued checkpoints to the archive: all that is due becomes commits, and goes in one push.

The commits are made and written down before the push leaves; pushing them again does no harm, as what is
there already is up to date.  An item is done only when the archive has confirmed its ref.  Nothing is ever
forced: where another history stands under this machine's name, as after its state was copied to a second
machine, this one takes a new name.

What is lost is made good: the local repository from the archive or from the vault, the archive's refs from
the local repository.  Idle refs are folded, and packs kept few, when nothing else is to be done.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from sessionsync.catalog import Catalog, Session
from sessionsync.config import Config
from sessionsync.errors import (
    ArchiveTooNew,
    CopyError,
    GitFailed,
    Limited,
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
from sessionsync.forget import Forgettings, Forgotten
from sessionsync.model import Context
from sessionsync.privacy.gate import Gate
from sessionsync.privacy.seal import INSTALL, Seal, is_sealed
from sessionsync.push import RECHECK_S, Pause
from sessionsync.queue import ARCHIVE, UNARCHIVE, Item, Lane, Queue
from sessionsync.remote import access
from sessionsync.remote.archive import refs
from sessionsync.remote.archive.address import Address
from sessionsync.remote.archive.branch import Branches
from sessionsync.remote.archive.cache import FETCHED, Cache, is_untidy, size_of, tidy
from sessionsync.remote.archive.erase import erase
from sessionsync.remote.archive.fold import Cold
from sessionsync.remote.archive.git import AGAIN, Git, refusal
from sessionsync.remote.archive.host import REFS, Host, Told
from sessionsync.remote.archive.ledger import Branch, FileState, Ledger
from sessionsync.remote.archive.refs import Place, encode
from sessionsync.remote.archive.tree import MANIFEST, MANIFEST_BYTES, decode_manifest
from sessionsync.remote.github import GitHub
from sessionsync.retry import Reach, next_attempt_at
from sessionsync.vault import Vault

# Hosts take a few pushes a minute; several sessions' checkpoints go in one.
SPACING_S = 15.0
# What is committed before it is pushed: a line that breaks costs no more than that.
PUSH_BYTES = 64 * 1024 * 1024
# Whether what was pushed is still there, and whether the repository is still private.
LOOK_S = 3600.0
FOLD_S = 86_400.0
# A name is taken from a machine at most this often.
RENAME_S = 3600.0
CACHE = "archive.git"
COLD = "archive-cold.git"


def code_of(error: SessiondError | type[SessiondError]) -> str:
    """The code of an error of the archive's side."""
    return error.code.replace("github_", "archive_", 1)


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
        self.pause: Pause | None = None
        self.reach = Reach()
        self.reached_at: float | None = None
        self._catalog = catalog
        self._queue = queue
        self._store = queue.store
        self._config = config
        self._github = github
        self._machine = machine
        self._rename = rename
        self._chance = chance
        self._emit = emit
        self._seal = seal
        self._git = git
        self._host = Host(git)
        self._cache = Cache(folder / CACHE, git)
        self._cold = Cold(git, folder / COLD)
        self._ledger = Ledger(self._store, address.id)
        self._branches = Branches(
            cache=self._cache,
            ledger=self._ledger,
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
        self._now = 0.0
        self._leased = True  # what another one left is taken back first
        self._most = REFS
        self._refused = ""
        self._unlocked = False
        self._push_at = 0.0
        self._looked_at = float("-inf")
        self._checked_at = float("-inf")
        self._renamed_at = float("-inf")
        self._tidied = True
        self._listed: dict[str, str] | None = None

    # --- the line

    def catch_up(self, now: float) -> int:
        """Queue every session whose newest checkpoint the archive lacks; returns how many were added."""
        added = 0
        with self._store.transaction():
            for session, checkpoint in self._ledger.behind():
                if self._queue.get(ARCHIVE, session) is None:
                    self._queue.enqueue(ARCHIVE, session, checkpoint, now)
                    added += 1
        return added

    def work(self, now: float) -> bool:
        """Push all that is due, or look after what is there; whether there was something to do.

        Raises:
            StoreError: the state cannot be written; nothing more can be promised.
        """
        self._now = now
        self._listed = None
        if self._leased:
            self._queue.recover(now, lane=Lane.ARCHIVE)
            self._leased = False
        if self.reach.unreachable:
            return self._probe()
        if self._held_back():
            return False
        if self._spacing_s() > 0:
            self._tidy_meanwhile()
            return False
        items = self._queue.lease_many(now, Lane.ARCHIVE, self._most)
        if not items:
            return self._look_after()
        self._leased = True
        waiting = {item.subject: item for item in items}
        try:
            self._get_ready()
            self._erase(waiting)
            self._send(waiting)
        except SessiondError as error:
            self._failed(list(waiting.values()), error)
        else:
            self._reached()
            self._most = min(REFS, self._most * 2)
        for item in waiting.values():  # not this time
            self._release(item, self._now)
        self._leased = False
        return True

    def next_at(self, now: float) -> float | None:
        """When `work` will next have something to do; None while only a person can tell."""
        if (probe_in := self.reach.wait_s(now)) is not None:
            return now + probe_in
        due = [self._looked_at + LOOK_S, self._folded_at() + FOLD_S]
        at = self._queue.next_attempt_at(Lane.ARCHIVE)
        if at is not None:
            due.append(at)
        if self.pause is not None:
            return None if self.pause.until is None else max(now, self.pause.until)
        return max(now + self._spacing_s(now), min(due))

    def probe_now(self, *, insist: bool = False) -> None:
        """Ask the archive again at the next call of `work`; see `Push.probe_now`."""
        if self.reach.probe_at is not None:
            self.reach.probe_at = 0.0
        kept = {code_of(Limited)} if insist else {code_of(Limited), code_of(TokenRefused)}
        if self.pause is not None and self.pause.code not in kept:
            self.pause = None
        self._checked_at = float("-inf")

    @property
    def is_stuck(self) -> bool:
        """Whether waiting is in vain until a person acts."""
        return self.pause is not None and self.pause.code != code_of(Limited)

    def fold_later(self, now: float) -> None:
        """Fold nothing before a day is over: somebody else is at it, or has just been."""
        self._store.set_meta(f"folded {self.address.id}", repr(now))

    def abort(self) -> None:
        """End what runs, from another thread: it is done again another time."""
        self._git.abort()

    @property
    def beat(self) -> Callable[[], None]:
        """What is called while git runs, at least every second."""
        return self._git.beat

    @beat.setter
    def beat(self, beat: Callable[[], None]) -> None:
        self._git.beat = beat

    def rest(self) -> None:
        """Let go of what is held open; the next work opens it again."""
        self._cache.close()
        self._cold.close()

    def size(self) -> int:
        """Bytes that the local copy of the archive takes."""
        return size_of(self._cache.folder)

    def _spacing_s(self, now: float | None = None) -> float:
        """How long until the next push may go; a clock set back does not prolong it."""
        now = self._now if now is None else now
        self._push_at = min(self._push_at, now + SPACING_S)
        return max(0.0, self._push_at - now)

    def _held_back(self) -> bool:
        if self.pause is None:
            return False
        if self._refused and self._git.token() != self._refused:
            self.pause = None  # there is another one
            self._refused = ""
            return False
        if self.pause.until is not None and not self.pause.since <= self._now < self.pause.until:
            self.pause = None
            self._checked_at = self._looked_at = float("-inf")
            self._emit("archive_resumed")
            return False
        return True

    def _probe(self) -> bool:
        if (self.reach.wait_s(self._now) or 0.0) > 0:
            return False
        try:
            self._host.refs(self._now)
        except (Unreachable, ServerFailed):
            self.reach.failed(self._now, self._chance)
            return True
        except RemoteError:
            pass
        self._reached()
        return True

    def _reached(self) -> None:
        self.reached_at = self._now
        if self.reach.answered():
            self._queue.make_due(self._now, lane=Lane.ARCHIVE)
            self._emit("archive_reached")

    # --- sending

    def _get_ready(self) -> None:
        """See that there is a repository at both ends, that may hold sessions.

        Raises:
            RemoteError: there is not.
        """
        if self._config.archive.encrypt_to and self._seal is None:
            raise NotPermitted(
                "archive.encrypt_to is set, and the library pyrage is missing: nothing is archived.",
                hint=INSTALL,
            )
        if self._checked_at <= self._now < self._checked_at + LOOK_S:
            self._cache.make()
            if self._host.make():
                self._begin_anew()
            return
        self._git.check()
        self._cache.make()
        if not self._unlocked:
            self._cache.unlock()
            self._unlocked = True
        if self._host.make():
            self._begin_anew()
        self._check_access()

    def _check_access(self) -> None:
        """See that not everyone can read it.

        Raises:
            RepositoryPublic: everyone can, and nobody said that this is meant.
            NotPermitted: it takes nothing.
        """
        allow_public = self._config.github.allow_public
        github = self._github() if self.address.repo == self._config.github.repo else None
        if github is not None:
            with closing(github):
                access.check(github.repository(), allow_public=allow_public, issues=False)
        elif not allow_public:
            what = f"The archive {self.address.url}"
            access.check_visibility(what, public=self._host.is_public(), allow_public=False)
        self._checked_at = self._now

    def _begin_anew(self) -> None:
        self._emit("archive_made", folder=str(self.address.folder))
        self._looked_at = float("-inf")

    def _send(self, waiting: dict[int, Item]) -> None:
        built = self._build(waiting)
        if not built:
            return
        self._cache.publish()
        with self._store.transaction():
            for one in built:
                self._ledger.save(one.branch, one.states, anew=one.anew)
        self._push_at = self._now + SPACING_S
        told = self._host.push(
            [f"{one.branch.tip}:{one.branch.ref}" for one in built],
            self._cache.folder,
            self._now,
            negotiate=any(one.revived for one in built),
        )
        self._tidied = False
        for one in built:
            waiting.pop(one.item.subject, None)
            self._settle(one, told.get(one.branch.ref))

    def _build(self, waiting: dict[int, Item]) -> list[_Built]:
        """Make the commits of what is due, up to what one push should hold."""
        built: list[_Built] = []
        before = self._cache.written
        for item in list(waiting.values()):
            if self._cache.written - before > PUSH_BYTES:
                break
            try:
                session = self._catalog.session(item.subject)
                self._emit(
                    "archive_started",
                    session=session.name,
                    attempt=item.attempts,
                    seconds=max(0.0, self._now - item.enqueued_at),
                )
                base, was = self._sealed(self._base(session)), self._ledger.branch(session.id)
                branch, states, anew = self._branches.extend(session, base)
            except NoSuchSession:
                self._queue.done(waiting.pop(item.subject), self._now)
            except (CopyError, RedactionFailed) as error:
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
            branch.pushed_at, branch.folded = self._now, branch.folded and told is None
            with self._store.transaction():
                if branch.tip:
                    self._ledger.save(branch, one.states, anew=one.anew)
                self._queue.done(item, self._now)
            if is_new:
                self._emit(
                    "archive_completed",
                    session=name,
                    checkpoint=branch.checkpoint,
                    seconds=round(max(0.0, self._now - branch.checkpoint_at), 3),
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
            if self._renamed_at <= self._now < self._renamed_at + RENAME_S:
                self._failed([item], error)
                return
            self._renamed_at = self._now
            self._emit("machine_renamed", machine=self._rename(), reason=str(error))
        self._queue.retry(item, self._now, str(error), code_of(error))

    def _failed(self, items: Sequence[Item], error: SessiondError) -> None:
        """Decide what becomes of items; the class of the error decides, never its text."""
        now, text, code = self._now, str(error), code_of(error)
        if isinstance(error, GitFailed):
            # what is damaged there would fail again
            self._cache.drop()
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
                case _ if isinstance(error, RemoteError | CopyError):
                    at = next_attempt_at(now, item.failures + 1, self._chance)
                    self._queue.retry(item, at, text, code)
                    self._emit("archive_failed", session=session, code=code, reason=text, hint=error.hint)
                case _:
                    raise error
        self._judge(error)

    def _judge(self, error: SessiondError) -> None:
        """What an error means for the line as a whole."""
        now, text, code = self._now, str(error), code_of(error)
        match error:
            case Limited():
                self.pause = Pause(code, text, error.hint, now, error.retry_at)
                self._emit("archive_limited", seconds=round(error.retry_at - now, 1))
            case TokenRefused() | RepositoryMissing() | NotPermitted():
                # a refused token is not shown again: that makes GitHub refuse valid ones too
                self._refused = self._git.token() if isinstance(error, TokenRefused) else ""
                until = None if self._refused else now + RECHECK_S
                self.pause = Pause(code, text, error.hint, now, until)
                self._emit("archive_paused", code=code, reason=text, hint=error.hint)
            case Unreachable() | ServerFailed():
                self._most = max(1, self._most // 2)
                if self.reach.failed(now, self._chance):
                    self._emit("archive_unreachable", reason=text)

    def _release(self, item: Item, at: float) -> None:
        current = self._queue.get(item.operation, item.subject)
        if current is not None and current.state.value == "in_flight":
            self._queue.release(item, at, "", "")

    def _name(self, item: Item) -> str:
        try:
            return self._catalog.session(item.subject).name
        except NoSuchSession:
            return ""

    def _erase(self, waiting: dict[int, Item]) -> None:
        """Remove sessions that were forgotten.

        Those of transcripts under every machine's name; a session whose id a person chose may have a
        namesake in another project, so only where it was seen to be this one.
        """
        rows = Forgettings(self._store)
        for item in [item for item in waiting.values() if item.operation == UNARCHIVE]:
            forgotten = rows.get(item.subject)
            if forgotten is not None:
                session, machines = encode(forgotten.key), {self._machine(), *forgotten.machines}

                def is_meant(
                    place: Place, said: Forgotten = forgotten, session: str = session, of: set[str] = machines
                ) -> bool:
                    ours = place.source == said.source and place.session == session
                    return ours and (said.source == "claude" or place.machine in of or place.ref == said.ref)

                count = erase(self._host, self._cache, self._cold, is_meant, self._now)
                self._emit("archive_erased", refs=count)
            with self._store.transaction():
                self._queue.done(waiting.pop(item.subject), self._now)
                rows.sweep()
        self._cache.make()

    # --- what is lost is made good

    def _base(self, session: Session) -> Branch | None:
        """What a session goes on from, its newest commit in the cache; None where it begins.

        Raises:
            RemoteError: the archive must be asked and does not answer.
        """
        branch = self._ledger.branch(session.id)
        if branch is None or self._cache.has(branch.tip):
            return branch
        place = refs.parse(branch.ref)
        if self._listed is None:
            self._listed = self._host.refs(self._now)
        there = self._listed.get(branch.ref, "")
        source = branch.ref if there else ""
        if not there and place is not None:
            there = source = self._cold.index(self._host, self._listed, self._now).get(place, "")
        if source:
            here = f"{FETCHED}{branch.ref.removeprefix(refs.PREFIX)}"
            self._host.fetch({source: here}, self._cache.folder, self._now)
        if self._cache.has(branch.tip):
            return branch
        if not there:
            self._ledger.forget(session.id)
            return None
        checkpoint, at = self._checkpoint_of(there, branch)
        self._ledger.forget(session.id)  # where its files go on is not known any more
        return Branch(session.id, branch.ref, there, checkpoint, at, there, checkpoint)

    def _sealed(self, base: Branch | None) -> Branch | None:
        """What a session goes on from where all that leaves is encrypted: nothing that would leave in clear.

        It was committed before that was wanted, and was not sent, or was lost there, perhaps on purpose.
        """
        if base is None or self._seal is None or base.is_there:
            return base
        commits = self._cache.history(base.tip)
        leaving = commits[commits.index(base.pushed) + 1 :] if base.pushed in commits else commits
        manifests = (self._cache.read(f"{each}:{MANIFEST}", at_most=MANIFEST_BYTES) for each in leaving)
        if leaving and all(is_sealed(data or b"") for data in manifests):
            return base
        if not base.pushed:
            self._ledger.forget(base.session)
            return None
        points = self._catalog.checkpoints(base.session)
        at = next((point.at for point in points if point.id == base.pushed_checkpoint), base.pushed_at or 0.0)
        base = replace(base, tip=base.pushed, checkpoint=base.pushed_checkpoint, checkpoint_at=at)
        self._ledger.save(base, anew=True)  # where its files went on was after that
        return base

    def _checkpoint_of(self, commit: str, branch: Branch) -> tuple[str, float]:
        """Which checkpoint a commit of ours is of, and when that was made."""
        points = self._catalog.checkpoints(branch.session)
        data = self._cache.read(f"{commit}:{MANIFEST}", at_most=MANIFEST_BYTES) or b""
        if not is_sealed(data):
            said = decode_manifest(data, branch.ref).checkpoint.id
            return said, next((point.at for point in points if point.id == said), branch.checkpoint_at)
        # who writes need not be able to read: the commit says when, in whole seconds
        at = self._cache.committed_at(commit) or 0.0
        return next(((point.id, point.at) for point in points if int(point.at) == at), ("", at))

    def _look_after(self) -> bool:
        """Nothing is due: see that all is there, fold, tidy; one thing a time."""
        try:
            if not self._looked_at <= self._now < self._looked_at + LOOK_S:
                return self._compare()
            if not self._tidied:
                return self._tidy()
            if not self._folded_at() <= self._now < self._folded_at() + FOLD_S:
                return self._fold()
        except RemoteError as error:
            self._emit("archive_upkeep_failed", code=code_of(error), reason=str(error))
            self._judge(error)
        return False

    def _compare(self) -> bool:
        """Queue anew what was pushed and is not there any more."""
        self._looked_at = self._now
        branches = [branch for branch in self._ledger.branches() if branch.pushed]
        if not branches:
            return False
        if not self._checked_at <= self._now < self._checked_at + LOOK_S:
            self._check_access()
        if self._host.make():
            self._emit("archive_made", folder=str(self.address.folder))
        listed = self._host.refs(self._now)
        cold = self._cold.index(self._host, listed, self._now)
        lost = 0
        for branch in branches:
            place = refs.parse(branch.ref)
            folded = cold.get(place) if place is not None else None
            there = listed.get(branch.ref) or folded
            if there == branch.pushed:
                if branch.folded != (branch.ref not in listed):
                    branch.folded = branch.ref not in listed
                    self._ledger.save(branch)
            elif there is None or self._is_behind(branch, there):
                lost += 1
                self._lose(branch)
        if lost:
            self._emit("archive_lost", sessions=lost)
        self._reached()
        return True

    def _is_behind(self, branch: Branch, there: str) -> bool:
        """Whether the archive has an earlier commit of a branch than it has confirmed."""
        return there != branch.tip and there in self._cache.history(branch.tip)

    def _lose(self, branch: Branch) -> None:
        branch.pushed, branch.pushed_checkpoint, branch.folded = "", "", False
        with self._store.transaction():
            self._ledger.save(branch)
            self._queue.enqueue(ARCHIVE, branch.session, branch.checkpoint, self._now)

    # --- folding and tidying

    def _folded_at(self) -> float:
        said = self._store.meta(f"folded {self.address.id}")
        try:
            return float(said)
        except ValueError:
            return float("-inf")

    def _fold(self) -> bool:
        """Once a day, and on while there is more; all that was folded is still there."""
        if not any(branch.pushed for branch in self._ledger.branches()):
            self.fold_later(self._now)  # a folder may not even be there yet: the first push makes it
            return False
        try:
            folded = self._cold.fold(self._host, self._now)
        except RemoteError:
            self.fold_later(self._now)
            raise
        if not folded:
            self.fold_later(self._now)
            return False
        self._push_at = self._now + SPACING_S
        ours = {branch.ref: branch for branch in self._ledger.branches()}
        with self._store.transaction():
            for place in folded:
                if (branch := ours.get(place.ref)) is not None:
                    branch.folded = True
                    self._ledger.save(branch)
        self._emit("archive_folded", refs=len(folded))
        return True

    def _tidy_meanwhile(self) -> None:
        """Tidy between two pushes: where sessions never rest something is always due after."""
        if not self._tidied:
            try:
                self._tidy()
            except RemoteError as error:
                self._emit("archive_upkeep_failed", code=code_of(error), reason=str(error))

    def _tidy(self) -> bool:
        self._tidied = True
        self._cache.tidy()
        self._cold.tidy()
        if self._host.is_ours and self.address.folder is not None and is_untidy(self.address.folder):
            tidy(self._git, self.address.folder)
        return True

"""From queued checkpoints to GitHub: one sticky comment a session, exactly once over a lossy line.

The attempt is committed before the request leaves.  Whatever the answer, or none, the next attempt
looks for the record's marker in the issue's own comments before it writes again; editing a comment
may be repeated, creating one may not.  The last part is written first and part 1 last, so that a
reader sees a whole revision or knows that it does not.

The engine never sleeps: `Push.work` is a generator that yields, before each write, how many seconds
GitHub's pace asks for, and is sent the time when they are over.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from sessionsync.catalog import Catalog, Checkpoint, Session
from sessionsync.config import Config
from sessionsync.conflict import NOTICE, Conflict, Judge, OpenArchive, Ours
from sessionsync.digests import Digests
from sessionsync.elsewhere import Elsewhere, Stored, Version
from sessionsync.errors import (
    CopyError,
    IssueFull,
    IssueLocked,
    Lagging,
    Limited,
    Missing,
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
from sessionsync.forget import Forgettings, erase
from sessionsync.model import CheckpointEntry, Context, Role, Tier, rfc3339
from sessionsync.privacy.gate import ClearedText, Gate
from sessionsync.queue import FORGET, Item, Lane, Queue
from sessionsync.remote import comments
from sessionsync.remote.github import Comment, GitHub, Repository
from sessionsync.remote.issues import Issues, Steps, Whose, critical_hash
from sessionsync.remote.placements import Held, Placement, Placements, Sent
from sessionsync.retry import Reach, next_attempt_at
from sessionsync.vault import SessionVault, StoredFile, Vault

# An issue's index is written once for all changes of this long.
INDEX_DELAY_S = 30.0
# An item waits for the creation budget in the queue, not in front of the others, from this long on.
LONGEST_WAIT_S = 5.0
# Why it waits there, as `ctl queue` says.
CREATION_BUDGET = "creation_budget"
# Below this share of a rate limit nothing is sent any more.
LAST = 0.02
# What a person must mend is looked at again this often.
RECHECK_S = 300.0
LOCKED_S = 3600.0
# A list that lags is waited for in so many attempts: a quarter of an hour and more.
PATIENCE = 8


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing is pushed although there is a repository.  `until` None: until a person acts."""

    code: str
    message: str
    hint: str
    since: float
    until: float | None = None


class Written(NamedTuple):
    """A revision of a record that was written: its parts, and the hashes of its part 1."""

    revision: int
    parts: int
    sha256: str
    critical: str
    filled: float
    """How full part 1 is, as a part of what a comment may hold."""


class Push:
    """Sends what the queue holds.  Call it from one thread."""

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
        self._tells = tells
        self.pause: Pause | None = None
        self.reach = Reach()
        self.reached_at: float | None = None
        self._catalog = catalog
        self._queue = queue
        self._placements = placements
        self._store = placements.store
        self._vault = vault
        self._digests = digests
        self._gate = gate
        self._config = config
        self._host = host
        self._machine = machine
        self._context = context
        self._chance = chance
        self._emit = emit
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
        self.issues.heard = self._hear
        self._leased = False

    # --- the line

    def work(self, now: float) -> Steps:
        """Send the item that is due longest.

        Raises:
            StoreError: the state cannot be written; nothing more can be promised.
        """
        self.issues.now = now
        if self._leased:  # the last one's end could not be committed
            self._queue.recover(now, lane=Lane.GITHUB)
            self._leased = False
        if self.reach.unreachable:
            return self._probe()
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
        known = {"index": self._send_index, NOTICE: self._send_notice, FORGET: self._forget}
        return known.get(item.operation, self._send_record)(item)

    def next_at(self, now: float) -> float | None:
        """When `work` will next have something to send; None while only a person or an event can tell.

        Its daily look at the repository waits for whoever calls it next.
        """
        if (probe_in := self.reach.wait_s(now)) is not None:
            return now + probe_in
        at = self._queue.next_attempt_at(Lane.GITHUB)
        if self.pause is not None and at is not None:
            at = None if self.pause.until is None else max(at, self.pause.until)
        return at if at is None else max(at, now)

    def probe_now(self, *, insist: bool = False) -> None:
        """Ask GitHub again at the next call of `work`, whatever the schedule says.

        Lifts a pause whose cause may be mended.  A limit ends when GitHub says; and a refused token is
        shown again only where a person insists, as GitHub locks out who does that often.
        """
        if self.reach.probe_at is not None:
            self.reach.probe_at = 0.0
        kept = {Limited.code} if insist else {Limited.code, TokenRefused.code}
        if self.pause is not None and self.pause.code not in kept:
            self.pause = None
        self.issues.look_again()

    def _held_back(self) -> bool:
        if self.pause is None:
            self._save_the_rest()
        if self.pause is None:
            return False
        # a clock set back does not prolong it
        if self.pause.until is not None and not self.pause.since <= self.issues.now < self.pause.until:
            self.pause = None
            self.issues.look_again()
            self._emit("push_resumed")
            return False
        return True

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
            self.pause = Pause(Limited.code, text, "Nothing to do: it goes on at the reset.", now, until)
            self._emit("github_limited", kind="primary", seconds=round(until - now, 1))

    def _probe(self) -> bool:
        """One look for the whole daemon while GitHub does not answer; its first answer makes all due."""
        if (self.reach.wait_s(self.issues.now) or 0.0) > 0:
            return False
        try:
            self.github.rate_limit()
        except (Unreachable, ServerFailed):
            self.reach.failed(self.issues.now, self._chance)
            return True
        except RemoteError:
            pass
        # an answer, if perhaps not a good one: the line itself finds out what it means
        self.reached()
        return True

    def reached(self) -> None:
        """GitHub has answered: where it had not, everything is due now."""
        self.reached_at = self.issues.now
        if self.reach.answered():
            self._queue.make_due(self.issues.now, lane=Lane.GITHUB)
            self._emit("github_reached")

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
        now, text = self.issues.now, str(error)
        match error:
            case Limited():
                self.pause = Pause(error.code, text, error.hint, now, error.retry_at)
                self._emit("github_limited", kind=error.kind, seconds=round(error.retry_at - now, 1))
            case TokenRefused() | RepositoryMissing() | NotPermitted():
                # a refused token is not shown again: that makes GitHub refuse valid ones too
                until = None if isinstance(error, TokenRefused) else now + RECHECK_S
                self.pause = Pause(error.code, text, error.hint, now, until)
                self.issues.look_again(forget=True)
                self._emit("push_paused", code=error.code, reason=text, hint=error.hint)
            case _:
                pass
        if isinstance(error, Unreachable | ServerFailed):
            if self.reach.failed(now, self._chance):
                self._emit("github_unreachable", reason=text)
        else:
            self.reached()

    def _name(self, item: Item) -> str:
        try:
            return self._catalog.session(item.subject).name if item.operation != "index" else ""
        except NoSuchSession:
            return ""

    # --- a session's record

    def _send_record(self, item: Item) -> Steps:
        session = self._catalog.session(item.subject)
        checkpoint = self._catalog.checkpoint(session, item.checkpoint)
        repository = self.issues.repository()
        whose = self._whose(session, repository)
        if not self.issues.held(repository, whose) and self._budget_spent(item):
            return True
        placement = yield from self.issues.home(
            repository, whose, in_doubt=item.in_doubt, patient=item.failures < PATIENCE
        )
        ours = self._ours(session, checkpoint)
        held = self.issues.record(repository, whose)
        doubles = self.issues.doubles(repository, whose)
        sent = whose.sent
        # of our own, an interrupted attempt may have left a part more; of another machine it may be coming
        is_left = item.in_doubt and _has_surplus(held)
        if (
            not (doubles or is_left)
            and sent is not None
            and sent.content == ours.content
            and _is_as_sent(held, sent)
        ):
            self._finish(item, repository, placement, session, checkpoint, sent)
            self._emit("push_unchanged", session=session.name, **self._course(item, checkpoint))
            return True
        found = self.judge.look(repository, whose, session, patient=item.failures < PATIENCE)
        theirs = {id_: self.judge.weigh(session, ours, version, sent) for id_, version in found.items()}
        held = self.issues.record(repository, whose)
        first = held.get(1)
        is_enough = bool(theirs) and all(_is_enough(version, ours, sent) for version in theirs.values())
        if is_enough and not (doubles or is_left) and first is not None and first.id in theirs:
            # others have been here, and what they wrote holds all of ours
            self._take(item, repository, placement, session, checkpoint, ours, first)
            return True
        before = self._gate.taken.copy()
        if is_enough and doubles:
            longest = max(theirs.values(), key=lambda version: (version.record.size, version.revision))
            draft = self.judge.draft_of(session, longest)
        else:
            draft = self.judge.draft(session, ours)
        self._tell_redactions(session, before)
        if (
            first is not None
            and not (doubles or is_left)
            and _holds(held, draft)
            and not (sent and first.sha256 == sent.sha256)
        ):
            self._take(item, repository, placement, session, checkpoint, ours, first)
        else:
            placement, written = yield from self._write(repository, placement, session, whose, draft)
            yield from self._write_both(repository, placement, session, whose)
            sent = Sent(
                placement.number or 0, written.revision, ours.content, written.sha256, written.critical
            )
            self._finish(item, repository, placement, session, checkpoint, sent)
            self._emit(
                "push_completed",
                session=session.name,
                checkpoint=checkpoint.id,
                issue=placement.number,
                revision=written.revision,
                parts=written.parts,
                filled=round(written.filled, 3),
                **self._course(item, checkpoint),
            )
        return True

    def _take(
        self,
        item: Item,
        repository: Repository,
        placement: Placement,
        session: Session,
        checkpoint: Checkpoint,
        ours: Ours,
        first: Held,
    ) -> None:
        """The record holds all of ours already, whoever wrote it."""
        taken = Sent(placement.number or 0, first.revision, ours.content, first.sha256, first.critical)
        self._finish(item, repository, placement, session, checkpoint, taken)
        self._emit("push_unchanged", session=session.name, **self._course(item, checkpoint))

    def _course(self, item: Item, checkpoint: Checkpoint) -> dict[str, float]:
        """How a synchronisation went: how long the checkpoint has waited, and how often it failed before.

        What was made long before it was asked for has waited since then.
        """
        waited_s = self.issues.now - max(checkpoint.at, item.enqueued_at)
        return {"seconds": round(max(0.0, waited_s), 3), "failures": item.failures}

    def _tell_redactions(self, session: Session, before: Counter[str]) -> None:
        for kind, count in (self._gate.taken - before).items():
            self._emit("secret_redacted", session=session.name, kind=kind, count=count)

    def _write(
        self,
        repository: Repository,
        placement: Placement,
        session: Session,
        whose: Whose,
        draft: comments.Draft,
    ) -> Generator[float, float, tuple[Placement, Written]]:
        """Write the record's next revision, part 1 last; returns where it is, and what it is now."""
        held = self.issues.record(repository, whose)
        doubles = self.issues.doubles(repository, whose)
        revision = max([0, *(comment.revision for comment in [*held.values(), *doubles])]) + 1
        kept = {part: comment.kept for part, comment in held.items() if comment.kept}
        for double in doubles:  # what a person put around it outlives it
            part = double.part if double.part in held else 1
            if double.kept and double.kept not in kept.get(part, ""):
                kept[part] = f"{kept[part]}\n\n{double.kept}" if part in kept else double.kept
        bodies = comments.render(
            draft, revision=revision, comment_bytes=self._config.tiers.comment_bytes, kept=kept
        )
        for part in range(len(bodies), 0, -1):
            placement = yield from self._write_part(
                repository, placement, session, whose, held.get(part), bodies[part - 1]
            )
        yield from self._delete_surplus(repository, whose, len(bodies))
        first = comments.parse(bodies[0])
        sha256, record = (first.sha256, first.record) if first is not None else ("", None)
        filled = len(bodies[0].encode()) / self._config.tiers.comment_bytes
        return placement, Written(revision, len(bodies), sha256, critical_hash(record), filled)

    def _write_both(
        self, repository: Repository, placement: Placement, session: Session, whose: Whose
    ) -> Steps:
        """Give the other version a record of its own, where a person has chosen that."""
        for version in self.judge.versions.of(session.id):
            if version.verdict != "both":
                continue
            key = f"{session.key}-{version.machine[:6]}"
            draft = self.judge.draft_of(session, version, session_id=key)
            of_other = whose._replace(key=key, sent=None)
            held = self.issues.record(repository, of_other)
            if 1 not in held or not _holds(held, draft):
                placement, _ = yield from self._write(repository, placement, session, of_other, draft)
            self.judge.versions.judge(version, "kept")
        return True

    def _budget_spent(self, item: Item) -> bool:
        """Whether a new comment would wait long: then the item waits in the queue, and edits pass by."""
        wait = self.issues.pace.wait_s(self.issues.now, creates=True)
        if wait <= LONGEST_WAIT_S:
            return False
        self._queue.release(
            item, self.issues.now + wait, "Waits for GitHub's limit on new comments.", CREATION_BUDGET
        )
        return True

    def _finish(
        self,
        item: Item,
        repository: Repository,
        placement: Placement,
        session: Session,
        checkpoint: Checkpoint,
        sent: Sent,
    ) -> None:
        with self._store.transaction():
            self._placements.save_sent(session.id, repository.id, sent)
            self._catalog.mark_pushed(session.id, checkpoint, self.issues.now)
            if self._queue.get(item.operation, item.subject) is not None:
                self._queue.done(item, self.issues.now)
            if (
                placement.ours
                and comments.text_hash(self.issues.index(repository, placement)) != placement.index_sha
            ):
                self._queue.enqueue("index", placement.id, "", self.issues.now, delay_s=INDEX_DELAY_S)

    def _whose(self, session: Session, repository: Repository) -> Whose:
        return Whose(
            name=session.name,
            key=session.key,
            source=session.ref.source,
            project_key=session.project_key or f"path:{session.root}",
            project=session.project or "unknown",
            issue=self._issue_of(session) or self._config.github.issue,
            sent=self._placements.sent(session.id, repository.id),
        )

    def _issue_of(self, session: Session) -> int:
        """The issue that the session or the CI job names, unless it is of another repository than these."""
        said, here, ours = session.summary.context, self._context, self._config.github.repo.lower()
        is_ours = not said.repo or said.repo.lower().split("/")[-2:] == ours.split("/")
        return (said.issue if is_ours else 0) or (here.issue if here.repo.lower() in {"", ours} else 0)

    def _write_part(
        self,
        repository: Repository,
        placement: Placement,
        session: Session,
        whose: Whose,
        held: Held | None,
        body: ClearedText,
    ) -> Generator[float, float, Placement]:
        """Edit the part's comment, or create it; returns the issue where it lies."""
        if held is not None:
            yield from self.issues.turn()
            try:
                self.issues.hold(repository, held.issue, self.github.update_comment(held.id, body))
            except Missing:
                # a person deleted it, and the session is still worth showing: look, then write it anew
                self._placements.drop(repository.id, held.id)
                self._emit("comment_missed", session=session.name, comment=held.id)
                self.issues.list_completely(repository, placement)
                self.issues.look_everywhere(repository)
                first = self.issues.record(repository, whose).get(1)
                if first is not None and first.issue not in {held.issue, placement.number}:
                    raise Lagging(
                        f"The record of {session.name} is in issue {first.issue} by now.",
                        hint="Nothing to do: it is edited there.",
                    ) from None
            except NotPermitted as error:
                if held.author == self.issues.login:
                    raise
                # this one alone is out of reach, so nothing else waits for it
                raise Refused(
                    f"{error} (it is {held.author}'s)",
                    hint="Give the token's account write access, then: sessiond ctl retry",
                    status=error.status,
                ) from error
            else:
                self._emit("comment_edited", session=session.name, comment=held.id, issue=held.issue)
                return placement
        while True:
            yield from self.issues.turn(creates=True)
            number = placement.number or 0
            self._placements.intend(session.id, repository.id, number)
            try:
                comment = self.github.create_comment(number, body)
            except IssueFull:
                self._emit("issue_filled", issue=number)
                placement = yield from self.issues.next_volume(repository, placement, whose)
                continue
            self.issues.learn_login(comment.author)
            self.issues.hold(repository, number, comment)
            self._emit("comment_created", session=session.name, comment=comment.id, issue=number)
            return placement

    def _delete_surplus(self, repository: Repository, whose: Whose, parts: int) -> Steps:
        """Delete parts that the revision no longer has, and doubles."""
        surplus = [each for part, each in self.issues.record(repository, whose).items() if part > parts]
        for comment in [*surplus, *self.issues.doubles(repository, whose)]:
            yield from self.issues.turn()
            with suppress(Missing):
                try:
                    self.github.delete_comment(comment.id)
                except NotPermitted:
                    if comment.author == self.issues.login:
                        raise
            self._placements.drop(repository.id, comment.id)
            self._emit("comment_deleted", session=whose.name, comment=comment.id)
        return True

    def _ours(self, session: Session, checkpoint: Checkpoint) -> Ours:
        """This machine's version: its bytes are in the vault, its record is through the privacy gate."""
        roles = {file.name: file.role for file in self._catalog.files(session.id).values()}
        vault = self._vault.open(session.project or "unknown", session.stored_as)
        stored = [
            file
            for file in vault.files(checkpoint.id).values()
            if file.deleted_at is None and roles.get(file.name, Role.COMPANION) is not Role.COMPANION
        ]
        before = self._gate.taken.copy()
        draft = self._draft(session, checkpoint, vault, stored)
        self._tell_redactions(session, before)
        files = {file.name: Stored(vault, file) for file in stored}
        return Ours(files, draft, comments.content_hash(draft), roles)

    def _draft(
        self, session: Session, checkpoint: Checkpoint, vault: SessionVault, stored: Sequence[StoredFile]
    ) -> comments.Draft:
        """The record as this machine alone would send it."""
        summary = checkpoint.summary or session.summary
        tier = session.tier or Tier.GITHUB_ONLY
        told = {entry.id: entry for entry in summary.critical.checkpoints}
        told |= {
            c.id: CheckpointEntry(c.id, rfc3339(c.at), c.trigger)
            for c in self._catalog.checkpoints(session.id)
            if (c.at, c.id) <= (checkpoint.at, checkpoint.id)
        }
        contents = None
        if tier is Tier.GITHUB_ONLY:
            contents = [
                (file.name, b"".join(vault.read(file.name, file.generation, file.length, root=file.root)))
                for file in stored
            ]
        return comments.clear(
            self._gate,
            session_id=session.key,
            source=session.ref.source,
            tier=tier,
            size=checkpoint.size,
            summary=summary,
            checkpoints=sorted(told.values(), key=lambda entry: (entry.at, entry.id)),
            project=session.project or "",
            local_path=_local_path(session),
            host=self._host,
            machine=self._machine(),
            updated_at=rfc3339(checkpoint.at),
            context=self._context_of(session),
            files=[self._digests.of(session, vault, file) for file in stored] if contents is None else None,
            contents=contents,
        )

    def _context_of(self, session: Session) -> Context:
        said, here = session.summary.context, self._context
        key = session.project_key or ""
        return Context(
            repo=said.repo or here.repo or (key.partition("/")[2] if key.startswith("github.com/") else ""),
            branch=said.branch or session.summary.branch or here.branch,
            commit=said.commit or here.commit,
            issue=said.issue or here.issue,
            pr=said.pr or here.pr,
            run_id=said.run_id or here.run_id,
        )

    def _forget(self, item: Item) -> Steps:
        """Delete what GitHub has of a session that was forgotten."""
        rows = Forgettings(self._store)
        if (forgotten := rows.get(item.subject)) is not None:
            issue = self._config.github.issue
            yield from erase(self.issues, self._placements, self._queue, forgotten, self._emit, issue=issue)
        with self._store.transaction():
            self._queue.done(item, self.issues.now)
            rows.sweep()
        return True

    # --- two versions of a session

    def _send_notice(self, item: Item) -> Steps:
        """Tell of a conflict with one comment, which notifies; what was chosen is edited into it."""
        session = self._catalog.session(item.subject)
        repository = self.issues.repository()
        whose = self._whose(session, repository)
        patient = item.failures < PATIENCE
        placement = yield from self.issues.home(repository, whose, in_doubt=False, patient=patient)
        for conflict in self.judge.conflicts.untold(session.id):
            placement = yield from self._tell(
                repository, placement, session, whose, conflict, patient=patient
            )
        self._queue.done(item, self.issues.now)
        return True

    def _tell(
        self,
        repository: Repository,
        placement: Placement,
        session: Session,
        whose: Whose,
        conflict: Conflict,
        *,
        patient: bool,
    ) -> Generator[float, float, Placement]:
        if not conflict.notice:
            # whoever wrote it, perhaps this machine without hearing of it, one is enough
            listing = self.issues.list_completely(repository, placement, patient=patient)
            conflict = self.judge.recognise(session, conflict, listing)
        if conflict.notice and conflict.told != conflict.state:
            yield from self.issues.turn()
            with suppress(Missing):  # a person deleted it
                body = self.judge.notice(session, conflict)
                self.github.update_comment(conflict.notice, body)
        elif not conflict.notice and conflict.is_open:
            yield from self.issues.turn(creates=True)
            try:
                comment = self.github.create_comment(
                    placement.number or 0, self.judge.notice(session, conflict)
                )
            except IssueFull:
                following = yield from self.issues.next_volume(repository, placement, whose)
                return (
                    yield from self._tell(repository, following, session, whose, conflict, patient=patient)
                )
            conflict = replace(conflict, notice=comment.id)
            self._emit("notice_created", session=session.name, comment=comment.id, issue=placement.number)
        self.judge.conflicts.save(replace(conflict, told=conflict.state))
        return placement

    def is_foreign(self, repository: Repository, session: Session, first: Held) -> bool:
        """Whether a record that was heard of is the session's, and not as this machine has left it."""
        whose = self._whose(session, repository)
        sent = whose.sent
        if whose.source != "claude" and not self.issues.is_home(repository, whose, first.issue):
            return False
        if sent is not None and sent.sha256 == first.sha256 and sent.critical in {"", first.critical}:
            return False
        return not (first.machine == self._machine() and first.intact)

    def is_doubled(self, repository: Repository, session: Session) -> bool:
        """Whether the session has another record that is this machine's to delete."""
        return bool(self.issues.doubles(repository, self._whose(session, repository)))

    def look(self, repository: Repository, session: Session) -> None:
        """Keep and weigh what the record of a session holds that is not pushed itself.

        Raises:
            Lagging: it is just being written.
            CopyError: it could not be kept.
        """
        if session.checkpoint is None:
            return
        whose = self._whose(session, repository)
        ours = self._ours(session, self._catalog.checkpoint(session, session.checkpoint))
        held = self._placements.held(repository.id, session.key)
        for version in self.judge.look(repository, whose, session, patient=True, held=held).values():
            self.judge.note(session, ours, version)

    def weigh(self, session: Session, version: Version, now: float) -> None:
        """Weigh a version that is kept, and was heard of in the archive."""
        self.issues.now = now
        ours = self._ours(session, self._newest(session))
        if self._tells and not session.commented:
            self.judge.note(session, ours, version)  # its record is not written either
        else:
            self.judge.weigh(session, ours, version, None)

    def resolve(self, session: Session, conflict: Conflict, keep: str, now: float) -> None:
        """Settle a conflict as a person wishes; what follows from it is sent like everything else.

        Raises:
            UsageError: that cannot be, and the message says why.
        """
        self.judge.choose(session, conflict, keep, self._ours(session, self._newest(session)), now)

    def _newest(self, session: Session) -> Checkpoint:
        if session.checkpoint is None:
            raise NoSuchCheckpoint(f"Session {session.name} has no checkpoint yet.")
        return self._catalog.checkpoint(session, session.checkpoint)

    def _hear(self, issue: int, comment: Comment) -> None:
        """A comment that is no record: another machine's notice, perhaps, about a session that is here."""
        notice = comments.parse_notice(comment.text)
        session = self._catalog.named(notice.session_id) if notice is not None else None
        if session is None:
            return
        repository = self.issues.known_repository()
        if self.issues.is_home(repository, self._whose(session, repository), issue):
            self.judge.hear(session, comment)

    # --- an issue's index

    def _send_index(self, item: Item) -> Steps:
        repository = self.issues.repository()
        placement = self._placements.placement(item.subject)
        if placement is None or placement.number is None or placement.repository != repository.id:
            self._queue.done(item, self.issues.now)
            return True
        sha = comments.text_hash(self.issues.index(repository, placement))
        if sha != placement.index_sha:
            yield from self.issues.turn()
            issue = self.github.issue(placement.number)
            kept = comments.outside_index(issue.text)
            try:
                self.github.update_issue(
                    placement.number, body=self.issues.index(repository, placement, kept)
                )
                self._emit("index_written", issue=placement.number)
            except NotPermitted:
                if issue.author == self.issues.login:
                    raise
                # without write access only who opened the issue may: their machine lists what is new
        with self._store.transaction():
            placement.index_sha = sha
            self._placements.save(placement)
            self._queue.done(item, self.issues.now)
        return True


def _is_as_sent(held: dict[int, Held], sent: Sent) -> bool:
    """Whether GitHub holds every part of what was sent, and nobody has written since."""
    first = held.get(1)
    return (
        first is not None
        and first.revision == sent.revision
        and sent.sha256 in {"", first.sha256}
        and _is_whole(held)
    )


def _is_enough(version: Version, ours: Ours, sent: Sent | None) -> bool:
    """Whether nothing of ours has to be written over a version.

    A record without bytes cannot hold the union: who has written last has seen the others, and it stays.
    What is small on either machine may be so in both together.
    """
    has_seen_ours = sent is not None and sent.content == ours.content and version.revision > sent.revision
    no_bytes = {ours.draft.record.tier, version.record.tier} != {Tier.GITHUB_ONLY}
    return version.is_enough or (version.verdict == "united" and no_bytes and has_seen_ours)


def _is_whole(held: dict[int, Held]) -> bool:
    """Whether every part of one revision is there, unchanged."""
    parts, revision = (held[1].parts, held[1].revision) if 1 in held else (0, 0)
    return parts > 0 and all(
        part in held and held[part].revision == revision and held[part].intact for part in range(1, parts + 1)
    )


def _has_surplus(held: dict[int, Held]) -> bool:
    """Whether there are parts that the first one does not speak of."""
    return 1 in held and any(part > held[1].parts for part in held)


def _holds(held: dict[int, Held], draft: comments.Draft) -> bool:
    """Whether the record says already what the draft would make it say, but for its title and time."""
    record, first = draft.record, held[1]
    return (
        _is_whole(held)
        and first.machine == record.machine
        and first.files_sha == record.sha256
        and first.tier == record.tier
        and first.title == record.title
        and first.critical == critical_hash(record)
    )


def _local_path(session: Session) -> str:
    try:
        return session.location.relative_to(session.root).as_posix()
    except ValueError:
        return session.location.name

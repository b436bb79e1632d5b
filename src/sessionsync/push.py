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
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass

from sessionsync.catalog import Catalog, Checkpoint, Session
from sessionsync.config import Config
from sessionsync.digests import Digests
from sessionsync.errors import (
    CopyError,
    IssueFull,
    IssueLocked,
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
from sessionsync.model import CheckpointEntry, Context, Role, Tier, rfc3339
from sessionsync.privacy.gate import ClearedText, Gate
from sessionsync.queue import Item, Lane, Queue
from sessionsync.remote import comments
from sessionsync.remote.github import GitHub, Repository
from sessionsync.remote.issues import Issues, Steps, Whose
from sessionsync.remote.placements import Held, Placement, Placements, Sent
from sessionsync.retry import Reach, next_attempt_at
from sessionsync.vault import Vault

# An issue's index is written once for all changes of this long.
INDEX_DELAY_S = 30.0
# An item waits for the creation budget in the queue, not in front of the others, from this long on.
LONGEST_WAIT_S = 5.0
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


class Push:
    """Sends what the queue holds.  Call it from one thread."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        queue: Queue,
        placements: Placements,
        vault: Vault,
        digests: Digests,
        github: GitHub,
        gate: Gate,
        config: Config,
        host: str,
        machine: str,
        context: Context,
        chance: random.Random,
        emit: Emit,
    ) -> None:
        self.github = github
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
        self._issues = Issues(
            github=github, placements=placements, gate=gate, settings=config.github, emit=emit
        )
        self._leased = False

    # --- the line

    def work(self, now: float) -> Steps:
        """Send the item that is due longest.

        Raises:
            StoreError: the state cannot be written; nothing more can be promised.
        """
        self._issues.now = now
        if self._leased:  # the last one's end could not be committed
            self._queue.recover(now, lane=Lane.GITHUB)
            self._leased = False
        if self.reach.unreachable:
            return self._probe()
        if self._held_back() or (item := self._queue.lease(now)) is None:
            return False
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
            if item.operation == "index":
                yield from self._send_index(item)
            else:
                yield from self._send_record(item)
        except GeneratorExit:
            # stopped between two writes: every answer so far is committed, so no doubt remains
            self._queue.release(item, self._issues.now, "", "")
            self._leased = False
            raise
        except SessiondError as error:
            self._failed(item, subject, error)
        else:
            self._reached()
        self._leased = False
        return True

    def next_at(self, now: float) -> float | None:
        """When `work` will next have something to do; None while only a person or an event can tell."""
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
        self._issues.look_again()

    def _held_back(self) -> bool:
        if self.pause is None:
            return False
        # a clock set back does not prolong it
        if self.pause.until is not None and not self.pause.since <= self._issues.now < self.pause.until:
            self.pause = None
            self._issues.look_again()
            self._emit("push_resumed")
            return False
        return True

    def _probe(self) -> bool:
        """One look for the whole daemon while GitHub does not answer; its first answer makes all due."""
        if (self.reach.wait_s(self._issues.now) or 0.0) > 0:
            return False
        try:
            self.github.rate_limit()
        except (Unreachable, ServerFailed):
            self.reach.failed(self._issues.now, self._chance)
            return True
        except RemoteError:
            pass
        # an answer, if perhaps not a good one: the line itself finds out what it means
        self._reached()
        return True

    def _reached(self) -> None:
        self.reached_at = self._issues.now
        if self.reach.answered():
            self._queue.make_due(self._issues.now, lane=Lane.GITHUB)
            self._emit("github_reached")

    def _failed(self, item: Item, subject: str, error: SessiondError) -> None:
        """Decide what becomes of the item; the class of the error decides, never its text."""
        now, text = self._issues.now, str(error)
        match error:
            case Limited():
                self._queue.release(item, error.retry_at, text, error.code)
                self.pause = Pause(error.code, text, error.hint, now, error.retry_at)
                self._emit("github_limited", kind=error.kind, seconds=round(error.retry_at - now, 1))
            case TokenRefused() | RepositoryMissing() | NotPermitted():
                # a refused token is not shown again: that makes GitHub refuse valid ones too
                until = None if isinstance(error, TokenRefused) else now + RECHECK_S
                self._queue.release(item, now, text, error.code)
                self.pause = Pause(error.code, text, error.hint, now, until)
                self._issues.look_again(forget=True)
                self._emit("push_paused", code=error.code, reason=text, hint=error.hint)
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
        if isinstance(error, Unreachable | ServerFailed):
            if self.reach.failed(now, self._chance):
                self._emit("github_unreachable", reason=text)
        elif isinstance(error, RemoteError):
            self._reached()

    def _name(self, item: Item) -> str:
        try:
            return self._catalog.session(item.subject).name if item.operation == "comment" else ""
        except NoSuchSession:
            return ""

    # --- a session's record

    def _send_record(self, item: Item) -> Steps:
        session = self._catalog.session(item.subject)
        checkpoint = self._catalog.checkpoint(session, item.checkpoint)
        repository = self._issues.repository()
        whose = self._whose(session, repository)
        if not self._issues.held(repository, whose) and self._budget_spent(item):
            return True
        placement = yield from self._issues.home(
            repository, whose, in_doubt=item.in_doubt, patient=item.failures < PATIENCE
        )
        held = self._record(repository, whose)
        before = self._gate.taken.copy()
        draft = self._draft(session, checkpoint)
        for kind, count in (self._gate.taken - before).items():
            self._emit("secret_redacted", session=session.name, kind=kind, count=count)
        content = comments.content_hash(draft)
        sent = self._placements.sent(session.id, repository.id)
        if sent is not None and sent.content == content and _whole(held, sent.revision):
            self._finish(
                item, repository, placement, session, checkpoint, Sent(sent.issue, sent.revision, content)
            )
            self._emit("push_unchanged", session=session.name)
            return True
        revision = max([0, *(comment.revision for comment in held.values())]) + 1
        kept = {part: comment.kept for part, comment in held.items() if comment.kept}
        bodies = comments.render(
            draft, revision=revision, comment_bytes=self._config.tiers.comment_bytes, kept=kept
        )
        for part in range(len(bodies), 0, -1):
            placement = yield from self._write_part(
                repository, placement, session, whose, held.get(part), bodies[part - 1]
            )
        yield from self._delete_surplus(repository, whose, len(bodies))
        self._finish(
            item, repository, placement, session, checkpoint, Sent(placement.number or 0, revision, content)
        )
        self._emit(
            "push_completed",
            session=session.name,
            checkpoint=checkpoint.id,
            issue=placement.number,
            revision=revision,
            parts=len(bodies),
            seconds=round(self._issues.now - checkpoint.at, 3),
        )
        return True

    def _budget_spent(self, item: Item) -> bool:
        """Whether a new comment would wait long: then the item waits in the queue, and edits pass by."""
        wait = self._issues.pace.wait_s(self._issues.now, creates=True)
        if wait <= LONGEST_WAIT_S:
            return False
        self._queue.release(
            item, self._issues.now + wait, "Waits for GitHub's limit on new comments.", "creation_budget"
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
            self._catalog.mark_pushed(session.id, checkpoint, self._issues.now)
            if self._queue.get(item.operation, item.subject) is not None:
                self._queue.done(item, self._issues.now)
            if (
                placement.ours
                and comments.text_hash(self._issues.index(repository, placement)) != placement.index_sha
            ):
                self._queue.enqueue("index", placement.id, "", self._issues.now, delay_s=INDEX_DELAY_S)

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
        """The issue that a session names, unless that is of another repository than the comments'."""
        said, ours = session.summary.context, self._config.github.repo.lower()
        is_ours = not said.repo or said.repo.lower().split("/")[-2:] == ours.split("/")
        return (said.issue if is_ours else 0) or self._context.issue

    def _record(self, repository: Repository, whose: Whose) -> dict[int, Held]:
        """The comments that hold the session's record now, by part; of doubles the oldest counts."""
        chosen: dict[int, Held] = {}
        for comment in self._issues.held(repository, whose):
            chosen.setdefault(comment.part, comment)
        return chosen

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
            yield from self._issues.turn()
            try:
                self._issues.hold(repository, held.issue, self.github.update_comment(held.id, body))
            except Missing:
                # a person deleted it, and the session is still worth showing: look, then write it anew
                self._placements.drop(repository.id, held.id)
                self._emit("comment_missed", session=session.name, comment=held.id)
                self._issues.list_completely(repository, placement)
            except NotPermitted as error:
                if held.author == self._issues.login:
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
            yield from self._issues.turn(creates=True)
            number = placement.number or 0
            self._placements.intend(session.id, repository.id, number)
            try:
                comment = self.github.create_comment(number, body)
            except IssueFull:
                self._emit("issue_filled", issue=number)
                placement = yield from self._issues.next_volume(repository, placement, whose)
                continue
            self._issues.hold(repository, number, comment)
            self._issues.learn_login(comment.author)
            self._emit("comment_created", session=session.name, comment=comment.id, issue=number)
            return placement

    def _delete_surplus(self, repository: Repository, whose: Whose, parts: int) -> Steps:
        """Delete parts that the revision no longer has, and our own doubles."""
        chosen = {comment.id for comment in self._record(repository, whose).values()}
        for comment in self._issues.held(repository, whose):
            double = comment.id not in chosen and comment.author == self._issues.login
            if comment.part <= parts and not double:
                continue
            yield from self._issues.turn()
            with suppress(Missing):
                self.github.delete_comment(comment.id)
            self._placements.drop(repository.id, comment.id)
            self._emit("comment_deleted", session=whose.name, comment=comment.id)
        return True

    def _draft(self, session: Session, checkpoint: Checkpoint) -> comments.Draft:
        """The record as it will be sent, through the privacy gate; its bytes come from the vault alone."""
        summary = checkpoint.summary or session.summary
        tier = session.tier or Tier.GITHUB_ONLY
        roles = {file.name: file.role for file in self._catalog.files(session.id).values()}
        vault = self._vault.open(session.project or "unknown", session.stored_as)
        stored = [
            file
            for file in vault.files(checkpoint.id).values()
            if file.deleted_at is None and roles.get(file.name, Role.COMPANION) is not Role.COMPANION
        ]
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
            machine=self._machine,
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

    # --- an issue's index

    def _send_index(self, item: Item) -> Steps:
        repository = self._issues.repository()
        placement = self._placements.placement(item.subject)
        if placement is None or placement.number is None or placement.repository != repository.id:
            self._queue.done(item, self._issues.now)
            return True
        sha = comments.text_hash(self._issues.index(repository, placement))
        if sha != placement.index_sha:
            yield from self._issues.turn()
            issue = self.github.issue(placement.number)
            kept = comments.outside_index(issue.text)
            try:
                self.github.update_issue(
                    placement.number, body=self._issues.index(repository, placement, kept)
                )
                self._emit("index_written", issue=placement.number)
            except NotPermitted:
                if issue.author == self._issues.login:
                    raise
                # without write access only who opened the issue may: their machine lists what is new
        with self._store.transaction():
            placement.index_sha = sha
            self._placements.save(placement)
            self._queue.done(item, self._issues.now)
        return True


def _whole(held: dict[int, Held], revision: int) -> bool:
    """Whether GitHub holds every part of this revision, unchanged."""
    parts = held[1].parts if 1 in held else 0
    return parts > 0 and all(
        part in held and held[part].revision == revision and held[part].intact for part in range(1, parts + 1)
    )


def _local_path(session: Session) -> str:
    try:
        return session.location.relative_to(session.root).as_posix()
    except ValueError:
        return session.location.name

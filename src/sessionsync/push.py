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
    RepositoryPublic,
    ServerFailed,
    SessiondError,
    TokenRefused,
    Unreachable,
)
from sessionsync.events import Emit
from sessionsync.model import CheckpointEntry, Context, Role, Tier, rfc3339
from sessionsync.privacy.gate import ClearedText, Gate
from sessionsync.queue import Item, Queue
from sessionsync.remote import comments
from sessionsync.remote.github import Comment, GitHub, Repository
from sessionsync.remote.pace import Pace
from sessionsync.remote.placements import Held, Placement, Placements, Sent
from sessionsync.retry import Reach, next_attempt_at
from sessionsync.vault import Vault

LABEL = "sessiond"
# A repository's visibility and state are looked at this often, and with each new issue.
REPOSITORY_CHECK_S = 3600.0
# An issue that was asked for without an answer may be missing from a list for so long.
ISSUE_LAG_S = 60.0
# An issue's index is written once for all changes of this long.
INDEX_DELAY_S = 30.0
# An item waits for the creation budget in the queue, not in front of the others, from this long on.
LONGEST_WAIT_S = 5.0
# What a person must mend is looked at again this often.
RECHECK_S = 300.0
LOCKED_S = 3600.0
# A listing of changes that has become this long is cut at its old end.
WINDOW_COMMENTS = 5
# A list that lags is waited for in so many attempts: a quarter of an hour and more.
PATIENCE = 8
# `since` goes back this far behind GitHub's own clock: lists have whole seconds.
SINCE_OVERLAP_S = 60.0

Steps = Generator[float, float, bool]
"""Yields seconds to wait, is sent the time after it, returns whether there was something to do."""


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
        self._pace = Pace(
            creations_per_hour=config.github.creations_per_hour, creations=placements.creations()
        )
        self._now = 0.0
        self._leased = False
        self._repository: Repository | None = None
        self._checked_at = 0.0
        self._login = self._store.meta("login")
        self._asked_login = False

    # --- the line

    def work(self, now: float) -> Steps:
        """Send the item that is due longest.

        Raises:
            StoreError: the state cannot be written; nothing more can be promised.
        """
        self._now = now
        if self._leased:  # the last one's end could not be committed
            self._queue.recover(now)
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
            self._queue.release(item, self._now, "", "")
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
        at = self._queue.next_attempt_at()
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
        self._checked_at = 0.0

    def _held_back(self) -> bool:
        if self.pause is None:
            return False
        # a clock set back does not prolong it
        if self.pause.until is not None and not self.pause.since <= self._now < self.pause.until:
            self.pause = None
            self._checked_at = 0.0
            self._emit("push_resumed")
            return False
        return True

    def _probe(self) -> bool:
        """One look for the whole daemon while GitHub does not answer; its first answer makes all due."""
        if (self.reach.wait_s(self._now) or 0.0) > 0:
            return False
        try:
            self.github.rate_limit()
        except (Unreachable, ServerFailed):
            self.reach.failed(self._now, self._chance)
            return True
        except RemoteError:
            pass
        # an answer, if perhaps not a good one: the line itself finds out what it means
        self._reached()
        return True

    def _reached(self) -> None:
        self.reached_at = self._now
        if self.reach.answered():
            self._queue.make_due(self._now)
            self._emit("github_reached")

    def _failed(self, item: Item, subject: str, error: SessiondError) -> None:
        """Decide what becomes of the item; the class of the error decides, never its text."""
        now, text = self._now, str(error)
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
                self._repository = None
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

    def _turn(self, *, creates: bool = False) -> Steps:
        """Wait for one's turn to write.  A creation is counted before it is asked for."""
        self._now = max(self._now, (yield self._pace.wait_s(self._now, creates=creates)))
        self._pace.wrote(self._now, creates=creates)
        if creates:
            self._placements.created(self._now)
        return True

    # --- a session's record

    def _send_record(self, item: Item) -> Steps:
        session = self._catalog.session(item.subject)
        checkpoint = self._catalog.checkpoint(session, item.checkpoint)
        repository = self._check_repository()
        if not self._placements.held(repository.id, session.key) and self._budget_spent(item):
            return True
        placement = yield from self._home(repository, session, item)
        held = self._record(repository, session)
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
                repository, placement, session, held.get(part), bodies[part - 1]
            )
        yield from self._delete_surplus(repository, session, len(bodies))
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
            seconds=round(self._now - checkpoint.at, 3),
        )
        return True

    def _budget_spent(self, item: Item) -> bool:
        """Whether a new comment would wait long: then the item waits in the queue, and edits pass by."""
        wait = self._pace.wait_s(self._now, creates=True)
        if wait <= LONGEST_WAIT_S:
            return False
        self._queue.release(
            item, self._now + wait, "Waits for GitHub's limit on new comments.", "creation_budget"
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
            self._catalog.mark_pushed(session.id, checkpoint, self._now)
            if self._queue.get(item.operation, item.subject) is not None:
                self._queue.done(item, self._now)
            if (
                placement.ours
                and comments.text_hash(self._index(repository, placement)) != placement.index_sha
            ):
                self._queue.enqueue("index", placement.id, "", self._now, delay_s=INDEX_DELAY_S)

    def _record(self, repository: Repository, session: Session) -> dict[int, Held]:
        """The comments that hold the session's record now, by part; of doubles the oldest counts."""
        chosen: dict[int, Held] = {}
        for comment in self._placements.held(repository.id, session.key):
            chosen.setdefault(comment.part, comment)
        return chosen

    def _write_part(
        self,
        repository: Repository,
        placement: Placement,
        session: Session,
        held: Held | None,
        body: ClearedText,
    ) -> Generator[float, float, Placement]:
        """Edit the part's comment, or create it; returns the issue where it lies."""
        if held is not None:
            yield from self._turn()
            try:
                self._hold(repository, held.issue, self.github.update_comment(held.id, body))
            except Missing:
                # a person deleted it, and the session is still worth showing: look, then write it anew
                self._placements.drop(repository.id, held.id)
                self._emit("comment_missed", session=session.name, comment=held.id)
                self._list_completely(repository, placement)
            except NotPermitted as error:
                if held.author == self._login:
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
            yield from self._turn(creates=True)
            number = placement.number or 0
            self._placements.intend(session.id, repository.id, number)
            try:
                comment = self.github.create_comment(number, body)
            except IssueFull:
                self._emit("issue_filled", issue=number)
                placement = yield from self._next_volume(repository, placement, session)
                continue
            self._hold(repository, number, comment)
            self._learn_login(comment.author)
            self._emit("comment_created", session=session.name, comment=comment.id, issue=number)
            return placement

    def _delete_surplus(self, repository: Repository, session: Session, parts: int) -> Steps:
        """Delete parts that the revision no longer has, and our own doubles."""
        chosen = {comment.id for comment in self._record(repository, session).values()}
        for comment in self._placements.held(repository.id, session.key):
            double = comment.id not in chosen and comment.author == self._login
            if comment.part <= parts and not double:
                continue
            yield from self._turn()
            with suppress(Missing):
                self.github.delete_comment(comment.id)
            self._placements.drop(repository.id, comment.id)
            self._emit("comment_deleted", session=session.name, comment=comment.id)
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

    # --- the repository

    def _check_repository(self, *, anew: bool = False) -> Repository:
        """The repository, looked at hourly and before each new issue.

        Raises:
            RepositoryPublic: it is public, and nobody said that this is meant.
            NotPermitted: it is archived.
            RepositoryMissing: its issues are turned off.
        """
        fresh = self._now - self._checked_at < REPOSITORY_CHECK_S and self._now >= self._checked_at
        if self._repository is not None and fresh and not anew:
            return self._repository
        found = self.github.repository()
        known = self._store.meta(f"repository {self._config.github.repo.lower()}", lambda: str(found.id))
        if known != str(found.id):
            raise NotPermitted(
                f"{found.full_name} is another repository than the one that was used under this name.",
                hint="If this is meant, remove the state file: sessions go to the new one from then on.",
            )
        self._emit("repository_checked", private=found.private, archived=found.archived)
        name = found.full_name
        if not found.private and not self._config.github.allow_public:
            raise RepositoryPublic(
                f"The repository {name} is public: sessions would be readable by everyone.",
                hint="Use a private repository, or set github.allow_public = true if this is meant.",
            )
        if found.archived:
            raise NotPermitted(
                f"The repository {name} is archived and takes no comments.", hint="Unarchive it."
            )
        if not found.has_issues:
            raise RepositoryMissing(
                f"Issues are turned off in the repository {name}.", hint="Turn them on in its settings."
            )
        self._repository, self._checked_at = found, self._now
        if not self._asked_login:  # the token may be somebody else's by now
            self._learn_login(self.github.login() or "")
            self._asked_login = True
        return found

    def _learn_login(self, login: str) -> None:
        if login and login != self._login:
            self._login = login
            self._store.set_meta("login", login)

    def _counts(self, author: str, association: str) -> bool:
        """Whether a record by this author is believed."""
        return (
            author in {self._login, "github-actions[bot]", *self._config.github.authors}
            or association in {"OWNER", "MEMBER", "COLLABORATOR"}
        ) and bool(author)

    # --- issues

    def _home(
        self, repository: Repository, session: Session, item: Item
    ) -> Generator[float, float, Placement]:
        """The issue where the session's record is or will be, its comments known."""
        for _ in range(3):
            volumes = yield from self._volumes(repository, session)
            placement = looked = volumes[-1]
            try:
                for looked in self._unsure(repository, session, item, volumes):
                    self._list_completely(repository, looked, patient=item.failures < PATIENCE)
                if held := self._placements.held(repository.id, session.key):
                    placement = self._known(repository, volumes, held[0].issue) or placement
                looked = placement
                if placement.listed_at != self._now:
                    self._list_changes(repository, placement)
            except Missing:
                # deleted or transferred: another takes its place
                self._emit("issue_missed", issue=looked.number)
                self._placements.forget(looked)
                continue
            return placement
        raise Missing(
            f"The issue for {session.name} keeps vanishing.", hint="Set github.issue to one that stays."
        )

    def _unsure(
        self, repository: Repository, session: Session, item: Item, volumes: list[Placement]
    ) -> list[Placement]:
        """The issues whose comments are not known; in doubt also the one where the last was asked for."""
        unsure = [volume for volume in volumes if volume.listed_at is None]
        if item.in_doubt:
            sent = self._placements.sent(session.id, repository.id)
            asked = self._known(repository, volumes, sent.issue) if sent is not None else None
            asked = asked or volumes[-1]
            unsure += [asked] if asked not in unsure else []
        return unsure

    def _known(self, repository: Repository, volumes: list[Placement], number: int) -> Placement | None:
        """The issue of this number, also where the session does not belong there any more."""
        known = [*volumes, *self._placements.of_issue(repository.id, number)]
        return next((placement for placement in known if placement.number == number), None)

    def _volumes(self, repository: Repository, session: Session) -> Generator[float, float, list[Placement]]:
        """The issues that take the session's comments, the one for new comments last."""
        number = self._context_of(session).issue or self._config.github.issue
        if number and (named := self._named_issue(repository, number)) is not None:
            return [named]
        key = session.project_key or f"path:{session.root}"
        known = self._placements.of_project(repository.id, key)
        if not known or known[-1].number is None:
            volume = known[-1].volume if known else 1
            yield from self._find_or_create(repository, session, key, volume)
            known = self._placements.of_project(repository.id, key)
        return known

    def _named_issue(self, repository: Repository, number: int) -> Placement | None:
        """A person's issue, whose body is theirs; None where it is gone."""
        key = f"issue:{number}"
        if known := self._placements.of_project(repository.id, key):
            return None if known[0].number is None else known[0]
        placement = Placement(0, repository.id, key, 1, number, ours=False)
        try:
            if self.github.issue(number).transferred:
                placement.number = None
        except Missing:
            placement.number = None
        if placement.number is None:
            self._emit("issue_missed", issue=number)
        self._placements.save(placement)
        return placement if placement.number else None

    def _find_or_create(self, repository: Repository, session: Session, key: str, volume: int) -> Steps:
        """Find the project's issue by its marker, before and after making one."""
        if self._find(repository, key, volume):
            return True
        known = [p for p in self._placements.of_project(repository.id, key) if p.volume == volume]
        intended = known[0] if known else Placement(0, repository.id, key, volume)
        if intended.intended_at is not None and 0 <= self._now - intended.intended_at < ISSUE_LAG_S:
            raise Lagging(
                f"The issue for {session.project} was asked for without an answer; it may still appear.",
                hint="Nothing to do: it is looked for again.",
            )
        self._check_repository(anew=True)
        yield from self._turn(creates=True)
        intended.intended_at = self._now
        self._placements.save(intended)
        title, body = comments.new_issue(self._gate, session.project or "unknown", key, volume)
        made = self.github.create_issue(title, body, [LABEL])
        self._learn_login(made.author)
        intended.number, intended.intended_at = made.number, None
        self._placements.save(intended)
        self._emit("issue_created", issue=made.number, project=session.project)
        # another machine may have made one at the same time: the lowest number wins
        self._find(repository, key, volume)
        now_used = next(p for p in self._placements.of_project(repository.id, key) if p.volume == volume)
        if now_used.number != made.number:
            yield from self._turn()
            self.github.update_issue(made.number, state="closed")
        return True

    def _find(self, repository: Repository, key: str, volume: int) -> bool:
        """Look at all issues with our label for the project's markers."""
        known = {p.volume: p for p in self._placements.of_project(repository.id, key)}
        for issue in sorted(self.github.find_issues(LABEL), key=lambda i: -i.number):
            found = comments.parse_project_marker(issue.text)
            if found is None or found.project != comments.project_hash(key):
                continue
            if not self._counts(issue.author, issue.author_association):
                continue
            placement = known.setdefault(found.volume, Placement(0, repository.id, key, found.volume))
            if placement.number != issue.number:
                placement.number, placement.listed_at, placement.intended_at = issue.number, None, None
        with self._store.transaction():
            for placement in known.values():
                if placement.number is not None:
                    self._placements.save(placement)
        return volume in known and known[volume].number is not None

    def _next_volume(
        self, repository: Repository, placement: Placement, session: Session
    ) -> Generator[float, float, Placement]:
        """The issue after a full one."""
        key = session.project_key or f"path:{session.root}" if not placement.ours else placement.project_key
        volume = placement.volume + 1 if placement.ours else 1
        yield from self._find_or_create(repository, session, key, volume)
        following = next(p for p in self._placements.of_project(repository.id, key) if p.volume == volume)
        if following.listed_at is None:
            self._list_completely(repository, following)
        return following

    # --- comments

    def _list_completely(self, repository: Repository, placement: Placement, *, patient: bool = True) -> None:
        """Know every record in the issue; fenced, so that a lagging list is not taken for the truth.

        An issue may count comments that it never lists, hidden as spam: after many attempts what the
        list shows is believed.
        """
        number = placement.number or 0
        try:
            listing = self.github.complete_comments(number)
        except Lagging:
            if patient:
                raise
            listing = self.github.comments(number).items or []
        held = [h for c in listing if (h := self._held(repository, placement.number or 0, c)) is not None]
        placement.total = len(listing)
        placement.listed_at, placement.etag = self._now, ""
        placement.since = self._window()
        with self._store.transaction():
            self._placements.replace(repository.id, placement.number or 0, held)
            self._placements.save(placement)

    def _list_changes(self, repository: Repository, placement: Placement) -> None:
        """The one conditional read before a write: what others or people changed since the last."""
        number = placement.number or 0
        listing = self.github.comments(number, since=placement.since, etag=placement.etag or None)
        if listing.items is None:
            return
        with self._store.transaction():
            for comment in listing.items:
                self._hold(repository, number, comment)
            placement.etag = listing.etag or ""
            if len(listing.items) > WINDOW_COMMENTS:
                # the window has grown: begin a new one, at the price of one unconditional answer
                placement.since, placement.etag = self._window(), ""
            self._placements.save(placement)

    def _window(self) -> str:
        """Where the next listing of changes begins, by GitHub's clock: ours may be wrong."""
        return rfc3339(self._now + (self.github.skew_s or 0.0) - SINCE_OVERLAP_S)

    def _hold(self, repository: Repository, issue: int, comment: Comment) -> None:
        held = self._held(repository, issue, comment)
        if held is None:
            self._placements.drop(repository.id, comment.id)
        else:
            self._placements.hold([held])

    def _held(self, repository: Repository, issue: int, comment: Comment) -> Held | None:
        part = comments.parse(comment.text)
        if part is None or not self._counts(comment.author, comment.author_association):
            return None
        if not part.intact:
            self._emit("comment_changed_by_person", comment=comment.id, issue=issue)
        record = part.record
        return Held(
            repository=repository.id,
            id=comment.id,
            issue=issue,
            session_id=part.session_id,
            part=part.part,
            parts=part.parts,
            revision=part.revision,
            sha256=part.sha256,
            intact=part.intact,
            author=comment.author,
            updated_at=comment.updated_at,
            title=record.title if record is not None else "",
            tier=record.tier if record is not None else "",
            kept=comments.outside(comment.text),
        )

    # --- an issue's index

    def _index(self, repository: Repository, placement: Placement, kept: str = "") -> ClearedText:
        entries = [
            comments.IndexEntry(held.session_id, title=held.title, tier=held.tier, comment=held.id)
            for held in self._placements.in_issue(repository.id, placement.number or 0)
        ]
        return comments.render_issue_body(
            self._gate, placement.project_key, entries, volume=placement.volume, kept=kept
        )

    def _send_index(self, item: Item) -> Steps:
        repository = self._check_repository()
        placement = self._placements.placement(item.subject)
        if placement is None or placement.number is None or placement.repository != repository.id:
            self._queue.done(item, self._now)
            return True
        sha = comments.text_hash(self._index(repository, placement))
        if sha != placement.index_sha:
            yield from self._turn()
            issue = self.github.issue(placement.number)
            kept = comments.outside_index(issue.text)
            try:
                self.github.update_issue(placement.number, body=self._index(repository, placement, kept))
                self._emit("index_written", issue=placement.number)
            except NotPermitted:
                if issue.author == self._login:
                    raise
                # without write access only who opened the issue may: their machine lists what is new
        with self._store.transaction():
            placement.index_sha = sha
            self._placements.save(placement)
            self._queue.done(item, self._now)
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

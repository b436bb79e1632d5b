"""The issues that hold a repository's sessions: found, made, listed, and what is in them remembered.

An issue is found by its marker in a listing of all with our label, before and after one is made; comments
are listed completely once, and from then on by what changed.  Nothing here decides what is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple

import msgspec

from sessionsync.config import Github
from sessionsync.errors import Lagging, Missing, NotPermitted
from sessionsync.events import Emit
from sessionsync.model import rfc3339
from sessionsync.privacy.gate import ClearedText, Gate
from sessionsync.remote import access, comments
from sessionsync.remote.authors import ACTIONS, Trusted
from sessionsync.remote.github import Comment, GitHub, Repository
from sessionsync.remote.pace import Pace
from sessionsync.remote.placements import Held, Placement, Placements, Sent

LABEL = "sessiond"
# A repository's visibility and state are looked at this often, and with each new issue.
REPOSITORY_CHECK_S = 3600.0
# Also where nothing is sent: what is there already can be read by everyone once it is public.
DAILY_S = 86_400.0
LOOK_AGAIN_S = 300.0
# An issue that was asked for without an answer may be missing from a list for so long.
ISSUE_LAG_S = 60.0
# A listing of changes that has become this long is cut at its old end.
WINDOW_COMMENTS = 5
# `since` goes back this far behind GitHub's own clock: lists have whole seconds.
SINCE_OVERLAP_S = 60.0
# A session that was never placed from here is looked for in so many pages of the repository's comments, the
# newest first: 2,000 comments.  Later looks go on from there.
LOOKED_PAGES = 20

Steps = Generator[float, float, bool]
"""Yields seconds to wait, is sent the time after it, returns whether there was something to do."""


class Whose(NamedTuple):
    """Whose comments are meant: a session's.

    `key` is what its record goes under, `project_key` the project's, also where that has none of its own;
    `issue` is the one that the session or the settings name, 0 for the project's.  `sent` is what is known
    to have been sent of it.
    """

    name: str
    key: str
    source: str
    project_key: str
    project: str
    issue: int
    sent: Sent | None = None


class Issues:
    """The issues and comments of one repository.  Call it from one thread, with `now` set."""

    def __init__(
        self,
        *,
        github: GitHub,
        placements: Placements,
        gate: Gate,
        settings: Github,
        emit: Emit,
    ) -> None:
        self.github = github
        self.now = 0.0
        self.heard: Callable[[int, Comment], None] = lambda _issue, _comment: None
        """Is told of every comment that is no record, with its issue."""
        self.pace = Pace(creations_per_hour=settings.creations_per_hour, creations=placements.creations())
        self._placements = placements
        self._store = placements.store
        self._gate = gate
        self._settings = settings
        self._emit = emit
        self._repository: Repository | None = None
        self._checked_at = 0.0
        self._asked_login = False
        self._last_look = f"looked_at {settings.repo.lower()}"
        looked_at = self._store.meta(self._last_look)
        self._looked_at = float(looked_at) if looked_at else None
        self.login = self._store.meta("login")

    def turn(self, *, creates: bool = False) -> Steps:
        """Wait for one's turn to write.  A creation is counted before it is asked for."""
        self.now = max(self.now, (yield self.pace.wait_s(self.now, creates=creates)))
        self.pace.wrote(self.now, creates=creates)
        if creates:
            self._placements.created(self.now)
        return True

    # --- the repository

    def repository(self, *, anew: bool = False) -> Repository:
        """The repository, looked at hourly while something is sent, and before each new issue.

        Raises:
            RepositoryPublic: it is public, and nobody said that this is meant.
            NotPermitted: it is archived.
            RepositoryMissing: its issues are turned off.
        """
        fresh = self.now - self._checked_at < REPOSITORY_CHECK_S and self.now >= self._checked_at
        if self._repository is not None and fresh and not anew:
            return self._repository
        before = self._looked_at
        # first: whoever asks for another look while this one waits for its answer gets it
        self._checked_at = self._looked_at = self.now
        try:
            self._repository = self._see()
        except BaseException:
            self._checked_at, self._looked_at = 0.0, before
            raise
        self._store.set_meta(self._last_look, repr(self.now))
        if not self._asked_login:  # the token may be somebody else's by now
            self.learn_login(self.github.login() or "")
            self._asked_login = True
        return self._repository

    def _see(self) -> Repository:
        found = self.github.repository()
        known = self._store.meta(f"repository {self._settings.repo.lower()}", lambda: str(found.id))
        if known != str(found.id):
            raise NotPermitted(
                f"{found.full_name} is another repository than the one that was used under this name.",
                hint="If this is meant, remove the state file: sessions go to the new one from then on.",
            )
        self._emit("repository_checked", private=found.private, archived=found.archived)
        access.check(found, allow_public=self._settings.allow_public)
        self._mention(access.beyond(self.github.token_scopes))
        return found

    @property
    def look_due_at(self) -> float | None:
        """When the repository is looked at although nothing is to be sent; None before it ever was."""
        if self._looked_at is None:
            return None
        # a clock set back does not prolong it
        return self.now if self._looked_at > self.now else self._looked_at + DAILY_S

    def look(self) -> None:
        """See that sessions may still be there, and that the token may still write.

        Raises:
            RemoteError: what `repository` raises; NotPermitted also where the token may not write.
        """
        self._looked_at = self.now - DAILY_S + LOOK_AGAIN_S  # should this one come to nothing
        self.repository(anew=True)
        self.github.check_issues()

    def _mention(self, scopes: str) -> None:
        """Say once that the token may do more than is needed."""
        if scopes and scopes != self._store.meta("scopes"):
            self._store.set_meta("scopes", scopes)
            self._emit("token_exceeded", scopes=scopes, hint=access.ENOUGH)

    def known_repository(self) -> Repository:
        """The repository as it was last seen: enough for reading."""
        return self._repository or self.repository()

    def look_again(self, *, forget: bool = False) -> None:
        """Look at the repository soon; `forget` what was seen, as it is not to be relied on."""
        self._checked_at = 0.0
        if self._looked_at is not None:
            self._looked_at = 0.0
        if forget:
            self._repository = None

    def learn_login(self, login: str) -> None:
        """Keep the token's account, as an answer tells it."""
        if login and login != self.login:
            self.login = login
            self._store.set_meta("login", login)

    def counts(self, author: str, association: str) -> bool:
        """Whether a record by this author is believed."""
        return Trusted(self.login, self._settings.authors).counts(author, association)

    # --- issues

    def home(
        self, repository: Repository, whose: Whose, *, in_doubt: bool, patient: bool
    ) -> Generator[float, float, Placement]:
        """The issue where the session's record is or will be, its comments known."""
        for _ in range(3):
            if whose.sent is None and not self.held(repository, whose):
                self.look_everywhere(repository)
            volumes = yield from self._places(repository, whose)
            placement = looked = volumes[-1]
            try:
                for looked in self._unsure(repository, whose, volumes, in_doubt=in_doubt):
                    self.list_completely(repository, looked, patient=patient)
                if held := self.held(repository, whose):
                    placement = self._known(repository, volumes, held[0].issue) or placement
                looked = placement
                if placement.listed_at != self.now:
                    self._list_changes(repository, placement)
            except Missing:
                # deleted or transferred: another takes its place
                self._emit("issue_missed", issue=looked.number)
                self._placements.forget(looked)
                continue
            return placement
        raise Missing(
            f"The issue for {whose.name} keeps vanishing.", hint="Set github.issue to one that stays."
        )

    def look_everywhere(self, repository: Repository) -> None:
        """Hear of every record in the repository, in whichever issue it lies; what changed since, later."""
        key = f"everywhere {repository.id}"
        since, until = self._store.meta(key), self.window()
        if since:
            pages: Iterable[list[Comment]] = [self.github.changed_comments(since).items or []]
        else:
            pages = self.github.newest_comments(most_pages=LOOKED_PAGES)
        for page in pages:
            for comment in page:
                self.hold(repository, int(comment.issue_url.rpartition("/")[2] or 0), comment)
        self._store.set_meta(key, until)
        self._store.meta(f"looked {repository.id}", lambda: until)

    def looked_since(self, repository: Repository) -> str:
        """When everything was looked at first: what others have written since may concern what is here."""
        return self._store.meta(f"looked {repository.id}")

    def _places(self, repository: Repository, whose: Whose) -> Generator[float, float, list[Placement]]:
        """The issues that the session's record is in; where it has none, those that it belongs in."""
        while held := self.held(repository, whose):
            number = held[0].issue
            if not self._placements.of_issue(repository.id, number):
                self._find(repository, whose.project_key, 1)
            known = self._placements.of_issue(repository.id, number)
            place = next((place for place in known if place.ours), next(iter(known), None))
            place = place or self._named_issue(repository, number)
            if place is not None:
                volumes = self._placements.of_project(repository.id, place.project_key)
                return [volume for volume in volumes if volume.number is not None]
            self._placements.replace(repository.id, number, [])  # the issue is gone, and they with it
        return (yield from self._volumes(repository, whose))

    def _unsure(
        self, repository: Repository, whose: Whose, volumes: list[Placement], *, in_doubt: bool
    ) -> list[Placement]:
        """The issues whose comments are not known; in doubt also the one where the last was asked for."""
        unsure = [volume for volume in volumes if volume.listed_at is None]
        if in_doubt:
            asked = self._known(repository, volumes, whose.sent.issue) if whose.sent is not None else None
            asked = asked or volumes[-1]
            unsure += [asked] if asked not in unsure else []
        return unsure

    def _known(self, repository: Repository, volumes: list[Placement], number: int) -> Placement | None:
        """The issue of this number, also where the session does not belong there any more."""
        known = [*volumes, *self._placements.of_issue(repository.id, number)]
        return next((placement for placement in known if placement.number == number), None)

    def _volumes(self, repository: Repository, whose: Whose) -> Generator[float, float, list[Placement]]:
        """The issues that take the session's comments, the one for new comments last."""
        if whose.issue and (named := self._named_issue(repository, whose.issue)) is not None:
            return [named]
        key = whose.project_key
        known = self._placements.of_project(repository.id, key)
        if not known or known[-1].number is None:
            volume = known[-1].volume if known else 1
            yield from self._find_or_create(repository, whose, key, volume)
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

    def _find_or_create(self, repository: Repository, whose: Whose, key: str, volume: int) -> Steps:
        """Find the project's issue by its marker, before and after making one."""
        if self._find(repository, key, volume):
            return True
        known = [p for p in self._placements.of_project(repository.id, key) if p.volume == volume]
        intended = known[0] if known else Placement(0, repository.id, key, volume)
        if intended.intended_at is not None and 0 <= self.now - intended.intended_at < ISSUE_LAG_S:
            raise Lagging(
                f"The issue for {whose.project} was asked for without an answer; it may still appear.",
                hint="Nothing to do: it is looked for again.",
            )
        self.repository(anew=True)
        yield from self.turn(creates=True)
        intended.intended_at = self.now
        self._placements.save(intended)
        title, body = comments.new_issue(self._gate, whose.project, key, volume)
        made = self.github.create_issue(title, body, [LABEL])
        self.learn_login(made.author)
        intended.number, intended.intended_at = made.number, None
        self._placements.save(intended)
        self._emit("issue_created", issue=made.number, project=whose.project)
        # another machine may have made one at the same time: the lowest number wins
        self._find(repository, key, volume)
        now_used = next(p for p in self._placements.of_project(repository.id, key) if p.volume == volume)
        if now_used.number != made.number:
            yield from self.turn()
            self.github.update_issue(made.number, state="closed")
        return True

    def _find(self, repository: Repository, key: str, volume: int) -> bool:
        """Look at all issues with our label for the project's markers."""
        known = {p.volume: p for p in self._placements.of_project(repository.id, key)}
        for issue in sorted(self.github.find_issues(LABEL), key=lambda i: -i.number):
            found = comments.parse_project_marker(issue.text)
            if found is None or found.project != comments.project_hash(key):
                continue
            if not self.counts(issue.author, issue.author_association):
                continue
            placement = known.setdefault(found.volume, Placement(0, repository.id, key, found.volume))
            if placement.number != issue.number:
                placement.number, placement.listed_at, placement.intended_at = issue.number, None, None
        with self._store.transaction():
            for placement in known.values():
                if placement.number is not None:
                    self._placements.save(placement)
        return volume in known and known[volume].number is not None

    def next_volume(
        self, repository: Repository, placement: Placement, whose: Whose
    ) -> Generator[float, float, Placement]:
        """The issue after a full one."""
        key = placement.project_key if placement.ours else whose.project_key
        volume = placement.volume + 1 if placement.ours else 1
        yield from self._find_or_create(repository, whose, key, volume)
        following = next(p for p in self._placements.of_project(repository.id, key) if p.volume == volume)
        if following.listed_at is None:
            self.list_completely(repository, following)
        return following

    # --- comments

    def list_completely(
        self, repository: Repository, placement: Placement, *, patient: bool = True
    ) -> list[Comment]:
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
        read = {comment.id: self.read(repository, number, comment) for comment in listing}
        held = [found for found in read.values() if found is not None]
        self._tell_edits(held)
        placement.total = len(listing)
        placement.listed_at, placement.etag = self.now, ""
        placement.since = self.window()
        with self._store.transaction():
            self._placements.replace(repository.id, number, held)
            self._placements.save(placement)
        for comment in listing:
            if read[comment.id] is None:
                self.heard(number, comment)
        return listing

    def _list_changes(self, repository: Repository, placement: Placement) -> None:
        """The one conditional read before a write: what others or people changed since the last."""
        number = placement.number or 0
        listing = self.github.comments(number, since=placement.since, etag=placement.etag or None)
        if listing.items is None:
            return
        with self._store.transaction():
            for comment in listing.items:
                self.hold(repository, number, comment)
            placement.etag = listing.etag or ""
            if len(listing.items) > WINDOW_COMMENTS:
                # the window has grown: begin a new one, at the price of one unconditional answer
                placement.since, placement.etag = self.window(), ""
            self._placements.save(placement)

    def window(self) -> str:
        """Where the next listing of changes begins, by GitHub's clock: ours may be wrong."""
        return rfc3339(self.now + (self.github.skew_s or 0.0) - SINCE_OVERLAP_S)

    def held(self, repository: Repository, whose: Whose) -> list[Held]:
        """Every comment that is a part of the session's record, the record's own issue first, then by age.

        Of several records the oldest is the session's: every machine sees the same one.
        """
        found = self._placements.held(repository.id, whose.key)
        found = [comment for comment in found if self.is_home(repository, whose, comment.issue)]
        home = self._home_of(repository, found[0].issue) if found else ""
        return sorted(found, key=lambda each: (self._home_of(repository, each.issue) != home, each.id))

    def record(self, repository: Repository, whose: Whose) -> dict[int, Held]:
        """The comments that hold the session's record now, by part; of doubles the oldest counts."""
        chosen: dict[int, Held] = {}
        for comment in (held := self.held(repository, whose)):
            if self._home_of(repository, comment.issue) == self._home_of(repository, held[0].issue):
                chosen.setdefault(comment.part, comment)
        return chosen

    def doubles(self, repository: Repository, whose: Whose) -> list[Held]:
        """Other records of the session, and other comments of a part, that are ours to delete.

        Those of this account, and of CI jobs, whose machines are gone.  A person's are that person's.
        """
        chosen = {comment.id for comment in self.record(repository, whose).values()}
        ours = {self.login, ACTIONS}
        held = self.held(repository, whose)
        return [each for each in held if each.id not in chosen and each.author in ours]

    def _home_of(self, repository: Repository, issue: int) -> str:
        """What an issue is of: a project, or itself."""
        places = self._placements.of_issue(repository.id, issue)
        return next((place.project_key for place in places if place.ours), f"issue:{issue}")

    def is_home(self, repository: Repository, whose: Whose, issue: int) -> bool:
        """Whether a record of this session's name in that issue is the session's.

        A transcript's is, wherever it lies.  A session whose id a person chose may have a namesake in
        another project: where nothing says that it lies there, that record is another.
        """
        if whose.source == "claude":
            return True
        places = self._placements.of_issue(repository.id, issue)
        of_another = any(place.ours and place.project_key != whose.project_key for place in places)
        is_named = issue == whose.issue or (whose.sent is not None and whose.sent.issue == issue)
        return (bool(places) or is_named) and not of_another

    def hold(self, repository: Repository, issue: int, comment: Comment) -> Held | None:
        """Remember a comment as it is now; None where it is no part of a record that counts."""
        held = self.read(repository, issue, comment)
        if held is None:
            self._placements.drop(repository.id, comment.id)
            self.heard(issue, comment)
        else:
            self._tell_edits([held])
            self._placements.hold([held])
        return held

    def _tell_edits(self, found: list[Held]) -> None:
        """Tell of records that a person has changed, once a change."""
        for held in found:
            if held.intact:
                continue
            was = self._placements.comment(held.repository, held.id)
            if was is None or was.intact or was.updated_at != held.updated_at:
                self._emit("comment_changed_by_person", comment=held.id, issue=held.issue)

    def read(self, repository: Repository, issue: int, comment: Comment) -> Held | None:
        """What a comment says, where it is a part of a record by an author that counts."""
        part = comments.parse(comment.text)
        if part is None or not self.counts(comment.author, comment.author_association):
            return None
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
            source=record.source if record is not None else "",
            host=record.host if record is not None else "",
            machine=record.machine if record is not None else "",
            said_at=record.updated_at if record is not None else "",
            size=record.size if record is not None else 0,
            files_sha=record.sha256 if record is not None else "",
            critical=critical_hash(record),
        )

    # --- an issue's index

    def index(self, repository: Repository, placement: Placement, kept: str = "") -> ClearedText:
        """The body of a project's issue, as it should be."""
        entries = [
            comments.IndexEntry(held.session_id, title=held.title, tier=held.tier, comment=held.id)
            for held in self._placements.in_issue(repository.id, placement.number or 0)
        ]
        return comments.render_issue_body(
            self._gate, placement.project_key, entries, volume=placement.volume, kept=kept
        )


def critical_hash(record: comments.Record | None) -> str:
    """SHA-256 of a record's critical data: '' where there is no record.  A person's edit changes it."""
    if record is None:
        return ""
    return hashlib.sha256(msgspec.json.encode(record.critical_data)).hexdigest()

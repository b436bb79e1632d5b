"""The comments that a record is made of: written the last part first, and part 1 last."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass

from sessionsync.errors import IssueFull, Lagging, Missing, NotPermitted, Refused
from sessionsync.privacy.gate import ClearedText
from sessionsync.push.means import Means
from sessionsync.remote import comments
from sessionsync.remote.github import Repository
from sessionsync.remote.issues import Steps, Whose, critical_hash
from sessionsync.remote.placements import Held, Placement


@dataclass(frozen=True, slots=True)
class Target:
    """Which record is written: whose, of the session with this row, and in which issue new parts go."""

    repository: Repository
    placement: Placement
    session: int
    whose: Whose


@dataclass(frozen=True, slots=True)
class Written:
    """A revision of a record that was written: where it lies, its parts, and the hashes of its part 1.

    `filled` is how full part 1 is, as a part of what a comment may hold.
    """

    placement: Placement
    revision: int
    parts: int
    sha256: str
    critical: str
    filled: float


class Parts:
    """Writes records; `comment_bytes` is what one comment may hold."""

    def __init__(self, means: Means, *, comment_bytes: int) -> None:
        self._placements = means.placements
        self._github = means.github
        self._issues = means.issues
        self._emit = means.emit
        self._comment_bytes = comment_bytes

    def write(self, target: Target, draft: comments.Draft) -> Generator[float, float, Written]:
        """Write a record's next revision.

        Raises:
            RemoteError: GitHub did not do it; what was written is known, and written again.
        """
        repository, whose = target.repository, target.whose
        held = self._issues.record(repository, whose)
        doubles = self._issues.doubles(repository, whose)
        revision = max([0, *(comment.revision for comment in [*held.values(), *doubles])]) + 1
        kept = {part: comment.kept for part, comment in held.items() if comment.kept}
        for double in doubles:  # what a person put around it outlives it
            part = double.part if double.part in held else 1
            if double.kept and double.kept not in kept.get(part, ""):
                kept[part] = f"{kept[part]}\n\n{double.kept}" if part in kept else double.kept
        bodies = comments.render(draft, revision=revision, comment_bytes=self._comment_bytes, kept=kept)
        placement = target.placement
        for part in range(len(bodies), 0, -1):
            placement = yield from self._write_part(target, placement, held.get(part), bodies[part - 1])
        yield from self._delete_surplus(repository, whose, len(bodies))
        first = comments.parse(bodies[0])
        sha256, record = (first.sha256, first.record) if first is not None else ("", None)
        filled = len(bodies[0].encode()) / self._comment_bytes
        return Written(placement, revision, len(bodies), sha256, critical_hash(record), filled)

    def _write_part(
        self, target: Target, placement: Placement, held: Held | None, body: ClearedText
    ) -> Generator[float, float, Placement]:
        """Edit the part's comment, or create it; returns the issue where it lies."""
        if held is not None and (yield from self._edit(target, placement, held, body)):
            return placement
        return (yield from self._create(target, placement, body))

    def _edit(self, target: Target, placement: Placement, held: Held, body: ClearedText) -> Steps:
        """Edit a comment; False where it is gone and is to be written anew."""
        repository, whose = target.repository, target.whose
        yield from self._issues.turn()
        try:
            self._issues.hold(repository, held.issue, self._github.update_comment(held.id, body))
        except Missing:
            # a person deleted it, and the session is still worth showing: look, then write it anew
            self._placements.drop(repository.id, held.id)
            self._emit("comment_missed", session=whose.name, comment=held.id)
            self._issues.list_completely(repository, placement)
            self._issues.look_everywhere(repository)
            first = self._issues.record(repository, whose).get(1)
            if first is not None and first.issue not in {held.issue, placement.number}:
                raise Lagging(
                    f"The record of {whose.name} is in issue {first.issue} by now.",
                    hint="Nothing to do: it is edited there.",
                ) from None
            return False
        except NotPermitted as error:
            if held.author == self._issues.login:
                raise
            yield from self._issues.turn()
            self._github.check_issues()  # who may write nothing at all has lost the right for a while
            # this one alone is out of reach, so nothing else waits for it
            raise Refused(
                f"{error} (it is {held.author}'s)",
                hint="Give the token's account write access, then: sessiond ctl retry",
                status=error.status,
            ) from error
        self._emit("comment_edited", session=whose.name, comment=held.id, issue=held.issue)
        return True

    def _create(
        self, target: Target, placement: Placement, body: ClearedText
    ) -> Generator[float, float, Placement]:
        """Create a comment, in the next issue where one is full; returns where it lies."""
        repository, whose = target.repository, target.whose
        while True:
            yield from self._issues.turn(creates=True)
            number = placement.number or 0
            self._placements.intend(target.session, repository.id, number)
            try:
                comment = self._github.create_comment(number, body)
            except IssueFull:
                self._emit("issue_filled", issue=number)
                placement = yield from self._issues.next_volume(repository, placement, whose)
                continue
            self._issues.learn_login(comment.author)
            self._issues.hold(repository, number, comment)
            self._emit("comment_created", session=whose.name, comment=comment.id, issue=number)
            return placement

    def _delete_surplus(self, repository: Repository, whose: Whose, parts: int) -> Steps:
        """Delete parts that the revision no longer has, and doubles."""
        surplus = [each for part, each in self._issues.record(repository, whose).items() if part > parts]
        for comment in [*surplus, *self._issues.doubles(repository, whose)]:
            yield from self._issues.turn()
            with suppress(Missing):
                try:
                    self._github.delete_comment(comment.id)
                except NotPermitted:
                    if comment.author == self._issues.login:
                        raise
            self._placements.drop(repository.id, comment.id)
            self._emit("comment_deleted", session=whose.name, comment=comment.id)
        return True

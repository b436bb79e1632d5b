"""Notices: one comment tells of a conflict, which notifies; what was chosen is edited into it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace

from sessionsync.catalog import Session
from sessionsync.conflict import Conflict
from sessionsync.errors import IssueFull, Missing
from sessionsync.push.means import PATIENCE, Means
from sessionsync.push.versions import OwnVersions
from sessionsync.queue import Item
from sessionsync.remote import comments
from sessionsync.remote.github import Comment, Repository
from sessionsync.remote.issues import Steps, Whose
from sessionsync.remote.placements import Placement


class Notices:
    """Writes notices, and hears those of other machines."""

    def __init__(self, means: Means, own: OwnVersions) -> None:
        self._means = means
        self._issues = means.issues
        self._judge = means.judge
        self._own = own

    def send(self, item: Item) -> Steps:
        """Tell of a session's conflicts as far as they were not told.

        Raises:
            RemoteError: GitHub did not do it.
            NoSuchSession: there is nothing to tell any more.
        """
        session = self._means.catalog.session(item.subject)
        repository = self._issues.repository()
        whose = self._own.whose(session, repository)
        patient = item.failures < PATIENCE
        placement = yield from self._issues.home(repository, whose, in_doubt=False, patient=patient)
        for conflict in self._judge.conflicts.untold(session.id):
            placement = yield from self._tell(
                repository, placement, session, whose, conflict, patient=patient
            )
        self._means.queue.done(item, self._issues.now)
        return True

    def hear(self, issue: int, comment: Comment) -> None:
        """A comment that is no record: another machine's notice, perhaps, about a session that is here."""
        notice = comments.parse_notice(comment.text)
        session = self._means.catalog.named(notice.session_id) if notice is not None else None
        if session is None:
            return
        repository = self._issues.known_repository()
        if self._issues.is_home(repository, self._own.whose(session, repository), issue):
            self._judge.hear(session, comment)

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
        """Write a conflict's notice, or what has become of it; returns the issue where it lies."""
        if not conflict.notice:
            # whoever wrote it, perhaps this machine without hearing of it, one is enough
            listing = self._issues.list_completely(repository, placement, patient=patient)
            conflict = self._judge.recognise(session, conflict, listing)
        if conflict.notice and conflict.told != conflict.state:
            yield from self._issues.turn()
            with suppress(Missing):  # a person deleted it
                body = self._judge.notice(session, conflict)
                self._means.github.update_comment(conflict.notice, body)
        elif not conflict.notice and conflict.is_open:
            yield from self._issues.turn(creates=True)
            try:
                comment = self._means.github.create_comment(
                    placement.number or 0, self._judge.notice(session, conflict)
                )
            except IssueFull:
                following = yield from self._issues.next_volume(repository, placement, whose)
                return (
                    yield from self._tell(repository, following, session, whose, conflict, patient=patient)
                )
            conflict = replace(conflict, notice=comment.id)
            issue = placement.number
            self._means.emit("notice_created", session=session.name, comment=comment.id, issue=issue)
        self._judge.conflicts.save(replace(conflict, told=conflict.state))
        return placement

"""What was heard of other machines' versions of a session: whether it is news, kept, weighed and chosen."""

from __future__ import annotations

from sessionsync.catalog import Session
from sessionsync.conflict import Conflict
from sessionsync.elsewhere import Version
from sessionsync.push.means import Means
from sessionsync.push.versions import OwnVersions
from sessionsync.remote.github import Repository
from sessionsync.remote.placements import Held


class Others:
    """Weighs versions beside what is pushed; without `tells` there is no GitHub to tell of it."""

    def __init__(self, means: Means, own: OwnVersions, *, tells: bool) -> None:
        self._means = means
        self._issues = means.issues
        self._judge = means.judge
        self._own = own
        self._tells = tells

    def is_foreign(self, repository: Repository, session: Session, first: Held) -> bool:
        """Whether a record that was heard of is the session's, and not as this machine has left it."""
        whose = self._own.whose(session, repository)
        sent = whose.sent
        if whose.source != "claude" and not self._issues.is_home(repository, whose, first.issue):
            return False
        if sent is not None and sent.sha256 == first.sha256 and sent.critical in {"", first.critical}:
            return False
        return not (first.machine == self._own.machine() and first.intact)

    def is_doubled(self, repository: Repository, session: Session) -> bool:
        """Whether the session has another record that is this machine's to delete."""
        return bool(self._issues.doubles(repository, self._own.whose(session, repository)))

    def look(self, repository: Repository, session: Session) -> None:
        """Keep and weigh what the record of a session holds that is not pushed itself.

        Raises:
            Lagging: it is just being written.
            CopyError: it could not be kept.
        """
        if session.checkpoint is None:
            return
        whose = self._own.whose(session, repository)
        ours = self._own.newest(session)
        held = self._means.placements.held(repository.id, session.key)
        for version in self._judge.look(repository, whose, session, patient=True, held=held).values():
            self._judge.note(session, ours, version)

    def weigh(self, session: Session, version: Version, now: float) -> None:
        """Weigh a version that is kept, and was heard of in the archive."""
        self._issues.now = now
        ours = self._own.newest(session)
        if self._tells and not session.commented:
            self._judge.note(session, ours, version)  # its record is not written either
        else:
            self._judge.weigh(session, ours, version, None)

    def resolve(self, session: Session, conflict: Conflict, keep: str, now: float) -> None:
        """Settle a conflict as a person wishes; what follows from it is sent like everything else.

        Raises:
            UsageError: that cannot be, and the message says why.
        """
        self._judge.choose(session, conflict, keep, self._own.newest(session), now)

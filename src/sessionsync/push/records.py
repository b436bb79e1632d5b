"""A session's record on GitHub: what it must say, whether it says so already, and what then is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sessionsync.catalog import Checkpoint, Session
from sessionsync.conflict import Ours
from sessionsync.elsewhere import Version
from sessionsync.model import Tier
from sessionsync.push.means import PATIENCE, Means
from sessionsync.push.parts import Parts, Target
from sessionsync.push.versions import OwnVersions
from sessionsync.queue import Item
from sessionsync.remote import comments
from sessionsync.remote.issues import Steps, critical_hash
from sessionsync.remote.placements import Held, Placement, Sent

# An issue's index is written once for all changes of this long.
INDEX_DELAY_S = 30.0
# An item waits for the creation budget in the queue, not in front of the others, from this long on.
LONGEST_WAIT_S = 5.0
# Why it waits there, as `ctl queue` says.
CREATION_BUDGET = "creation_budget"


@dataclass(frozen=True, slots=True)
class _Task:
    """An item that is being sent: which checkpoint of which session, and to which record."""

    item: Item
    session: Session
    checkpoint: Checkpoint
    target: Target


class Records:
    """Sends sessions' records."""

    def __init__(self, means: Means, own: OwnVersions, parts: Parts) -> None:
        self._means = means
        self._issues = means.issues
        self._judge = means.judge
        self._own = own
        self._parts = parts

    def send(self, item: Item) -> Steps:
        """Make GitHub show a session as of a checkpoint; what it holds already is not written again.

        Raises:
            RemoteError: GitHub did not do it.
            CopyError: this machine's own bytes, or another's version, could not be read or kept.
            NoSuchSession, NoSuchCheckpoint: there is nothing to send any more.
        """
        session = self._means.catalog.session(item.subject)
        checkpoint = self._means.catalog.checkpoint(session, item.checkpoint)
        repository = self._issues.repository()
        whose = self._own.whose(session, repository)
        if not self._issues.held(repository, whose) and self._budget_spent(item):
            return True
        patient = item.failures < PATIENCE
        placement = yield from self._issues.home(repository, whose, in_doubt=item.in_doubt, patient=patient)
        task = _Task(item, session, checkpoint, Target(repository, placement, session.id, whose))
        ours, sent = self._own.at(session, checkpoint), whose.sent
        held = self._issues.record(repository, whose)
        doubles = self._issues.doubles(repository, whose)
        # of our own, an interrupted attempt may have left a part more; of another machine it may be coming
        is_tidy = not doubles and not (item.in_doubt and _has_surplus(held))
        if is_tidy and sent is not None and sent.content == ours.content and _is_as_sent(held, sent):
            self._leave(task, sent)
            return True
        found = self._judge.look(repository, whose, session, patient=patient)
        theirs = {id_: self._judge.weigh(session, ours, version, sent) for id_, version in found.items()}
        held = self._issues.record(repository, whose)
        first = held.get(1)
        is_enough = bool(theirs) and all(_is_enough(version, ours, sent) for version in theirs.values())
        if is_enough and is_tidy and first is not None and first.id in theirs:
            # others have been here, and what they wrote holds all of ours
            self._leave(task, _taken(first, placement, ours))
            return True
        draft = self._draft(session, ours, theirs if is_enough and doubles else {})
        is_ours = first is not None and sent is not None and first.sha256 == sent.sha256
        if is_tidy and first is not None and not is_ours and _holds(held, draft):
            self._leave(task, _taken(first, placement, ours))
        else:
            yield from self._write(task, ours, draft)
        return True

    def _draft(self, session: Session, ours: Ours, theirs: Mapping[int, Version]) -> comments.Draft:
        """What is to be written: the longest of `theirs` where there are any, else all that was decided."""
        with self._own.telling_redactions(session):
            if theirs:
                longest = max(theirs.values(), key=lambda version: (version.record.size, version.revision))
                return self._judge.draft_of(session, longest)
            return self._judge.draft(session, ours)

    def _leave(self, task: _Task, sent: Sent) -> None:
        """The record holds all of ours already, whoever wrote it."""
        self._finish(task, sent)
        self._means.emit("push_unchanged", session=task.session.name, **self._course(task))

    def _write(self, task: _Task, ours: Ours, draft: comments.Draft) -> Steps:
        written = yield from self._parts.write(task.target, draft)
        task = replace(task, target=replace(task.target, placement=written.placement))
        yield from self._write_both(task)
        number = written.placement.number
        sent = Sent(number or 0, written.revision, ours.content, written.sha256, written.critical)
        self._finish(task, sent)
        self._means.emit(
            "push_completed",
            session=task.session.name,
            checkpoint=task.checkpoint.id,
            issue=number,
            revision=written.revision,
            parts=written.parts,
            filled=round(written.filled, 3),
            **self._course(task),
        )
        return True

    def _write_both(self, task: _Task) -> Steps:
        """Give the other version a record of its own, where a person has chosen that."""
        session, target = task.session, task.target
        for version in self._judge.versions.of(session.id):
            if version.verdict != "both":
                continue
            key = f"{session.key}-{version.machine[:6]}"
            draft = self._judge.draft_of(session, version, session_id=key)
            target = replace(target, whose=target.whose._replace(key=key, sent=None))
            held = self._issues.record(target.repository, target.whose)
            if 1 not in held or not _holds(held, draft):
                written = yield from self._parts.write(target, draft)
                target = replace(target, placement=written.placement)
            self._judge.versions.judge(version, "kept")
        return True

    def _course(self, task: _Task) -> dict[str, float]:
        """How a synchronisation went: how long the checkpoint has waited, and how often it failed before.

        What was made long before it was asked for has waited since then.
        """
        waited_s = self._issues.now - max(task.checkpoint.at, task.item.enqueued_at)
        return {"seconds": round(max(0.0, waited_s), 3), "failures": task.item.failures}

    def _budget_spent(self, item: Item) -> bool:
        """Whether a new comment would wait long: then the item waits in the queue, and edits pass by."""
        wait = self._issues.pace.wait_s(self._issues.now, creates=True)
        if wait <= LONGEST_WAIT_S:
            return False
        text = "Waits for GitHub's limit on new comments."
        self._means.queue.release(item, self._issues.now + wait, text, CREATION_BUDGET)
        return True

    def _finish(self, task: _Task, sent: Sent) -> None:
        """Commit what was sent, and have the issue's index written where that changes it."""
        placements, queue, now = self._means.placements, self._means.queue, self._issues.now
        item, repository, placement = task.item, task.target.repository, task.target.placement
        with placements.store.transaction():
            placements.save_sent(task.session.id, repository.id, sent)
            self._means.catalog.mark_pushed(task.session.id, task.checkpoint, now)
            if queue.get(item.operation, item.subject) is not None:
                queue.done(item, now)
            if (
                placement.ours
                and comments.text_hash(self._issues.index(repository, placement)) != placement.index_sha
            ):
                queue.enqueue("index", placement.id, "", now, delay_s=INDEX_DELAY_S)


def _taken(first: Held, placement: Placement, ours: Ours) -> Sent:
    """What is there, as if this machine had sent it."""
    return Sent(placement.number or 0, first.revision, ours.content, first.sha256, first.critical)


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

"""Removing a forgotten session's comments from GitHub: its record, and what told of conflicts about it."""

from __future__ import annotations

from sessionsync.errors import Missing, NotPermitted
from sessionsync.events import Emit
from sessionsync.forget.rows import Forgotten
from sessionsync.queue import Queue
from sessionsync.remote.github import Repository
from sessionsync.remote.issues import Issues, Steps, Whose
from sessionsync.remote.placements import Placement, Placements, Sent


def erase(
    issues: Issues, placements: Placements, queue: Queue, forgotten: Forgotten, emit: Emit, *, issue: int
) -> Steps:
    """Delete every comment of a session's record, the first part first, and have the index written anew.

    `issue` is the one in the settings.  May be repeated: what is gone is gone.  A comment of somebody else's
    that this token may not delete stays, and that is told.

    Raises:
        RemoteError: GitHub did not do it; what was deleted stays deleted.
    """
    repository = issues.repository()
    whose = Whose(
        name=forgotten.name,
        key=forgotten.key,
        source=forgotten.source,
        project_key=forgotten.project_key,
        project=forgotten.project,
        issue=forgotten.issue or issue,
        sent=Sent(forgotten.sent_to, 0, "") if forgotten.sent_to else None,
    )
    issues.look_everywhere(repository)
    places = _places(placements, repository, whose)
    for placement in places:
        try:
            issues.list_completely(repository, placement)
        except Missing:
            placements.forget(placement)
    held = sorted(issues.held(repository, whose), key=lambda each: (each.part, each.id))
    for comment in held:
        yield from _delete(issues, comment.id, comment.author, emit)
        placements.drop(repository.id, comment.id)
    for notice in forgotten.notices:
        yield from _delete(issues, notice, "", emit)
    for placement in places:  # also where an attempt before this one has deleted it
        if placement.ours:
            queue.enqueue("index", placement.id, "", issues.now)
    return True


def _places(placements: Placements, repository: Repository, whose: Whose) -> list[Placement]:
    """The issues that may hold something of it."""
    known = placements.of_project(repository.id, whose.project_key)
    numbers = {whose.issue, whose.sent.issue if whose.sent is not None else 0}
    numbers |= {held.issue for held in placements.held(repository.id, whose.key)}
    known += [each for number in numbers for each in placements.of_issue(repository.id, number)]
    return list({each.id: each for each in known if each.number is not None}.values())


def _delete(issues: Issues, comment: int, author: str, emit: Emit) -> Steps:
    yield from issues.turn()
    try:
        issues.github.delete_comment(comment)
    except Missing:
        return True
    except NotPermitted as error:
        if author == issues.login:
            raise
        emit("comment_kept", comment=comment, reason=str(error))
        return True
    emit("comment_deleted", comment=comment)
    return True

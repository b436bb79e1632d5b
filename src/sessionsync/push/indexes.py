"""An issue's index: the list of its sessions in the issue's own text."""

from __future__ import annotations

from sessionsync.errors import NotPermitted
from sessionsync.push.means import Means
from sessionsync.queue import Item
from sessionsync.remote import comments
from sessionsync.remote.issues import Steps


class Indexes:
    """Writes the indexes of issues that this machine has opened."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._issues = means.issues

    def send(self, item: Item) -> Steps:
        """Write the index of an issue, where it says something else.

        Raises:
            RemoteError: GitHub did not do it.
        """
        placements = self._means.placements
        repository = self._issues.repository()
        placement = placements.placement(item.subject)
        if placement is None or placement.number is None or placement.repository != repository.id:
            self._means.queue.done(item, self._issues.now)
            return True
        sha = comments.text_hash(self._issues.index(repository, placement))
        if sha != placement.index_sha:
            yield from self._issues.turn()
            issue = self._means.github.issue(placement.number)
            kept = comments.outside_index(issue.text)
            try:
                self._means.github.update_issue(
                    placement.number, body=self._issues.index(repository, placement, kept)
                )
                self._means.emit("index_written", issue=placement.number)
            except NotPermitted:
                if issue.author == self._issues.login:
                    raise
                # without write access only who opened the issue may: their machine lists what is new
        with placements.store.transaction():
            placement.index_sha = sha
            placements.save(placement)
            self._means.queue.done(item, self._issues.now)
        return True

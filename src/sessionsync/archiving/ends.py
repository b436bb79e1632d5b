"""The two repositories, here and there: that they exist, and that sessions may go to the one there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from sessionsync.archiving.means import LOOK_S, Means
from sessionsync.config import Config
from sessionsync.errors import NotPermitted
from sessionsync.privacy.seal import INSTALL
from sessionsync.remote import access
from sessionsync.remote.github import GitHub


class Ends:
    """Makes both ends ready.

    `github` gives a client that tells whether a repository of GitHub's is public, and is closed then.
    """

    def __init__(
        self,
        means: Means,
        config: Config,
        github: Callable[[], GitHub | None],
    ) -> None:
        self.made: Callable[[], None] = lambda: None
        """Is called where the archive was not there and was made: what it had is missed."""
        self._means = means
        self._config = config
        self._github = github
        self._unlocked = False
        self._checked_at = float("-inf")

    def get_ready(self) -> None:
        """See that there is a repository at both ends, that may hold sessions.

        Raises:
            RemoteError: there is not.
        """
        means, is_checked = self._means, self._is_checked
        if self._config.archive.encrypt_to and means.seal is None:
            raise NotPermitted(
                "archive.encrypt_to is set, and the library pyrage is missing: nothing is archived.",
                hint=INSTALL,
            )
        if not is_checked:
            means.git.check()
        means.cache.make()
        if not self._unlocked:
            means.cache.unlock()
            self._unlocked = True
        if self.make():
            self.made()
        if not is_checked:
            self._check()

    def make(self) -> bool:
        """Make the archive where it is a folder of ours that is not there; whether it was made."""
        if not self._means.host.make():
            return False
        self._means.emit("archive_made", folder=str(self._means.address.folder))
        return True

    def check(self) -> None:
        """See that not everyone can read it, where that was not seen lately.

        Raises:
            RepositoryPublic: everyone can, and nobody said that this is meant.
            NotPermitted: it takes nothing.
        """
        if not self._is_checked:
            self._check()

    def check_again(self) -> None:
        """Look at it anew before anything is sent."""
        self._checked_at = float("-inf")

    @property
    def _is_checked(self) -> bool:
        return self._checked_at <= self._means.now < self._checked_at + LOOK_S

    def _check(self) -> None:
        self._checked_at = self._means.now  # first: who calls `check_again` meanwhile has it looked at again
        try:
            self._see()
        except BaseException:
            self.check_again()
            raise

    def _see(self) -> None:
        address, allow_public = self._means.address, self._config.github.allow_public
        github = self._github() if address.repo == self._config.github.repo else None
        if github is not None:
            with closing(github):
                access.check(github.repository(), allow_public=allow_public, issues=False)
        elif not allow_public:
            what = f"The archive {address.url}"
            access.check_visibility(what, public=self._means.host.is_public(), allow_public=False)

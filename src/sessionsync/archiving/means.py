"""What archiving works with."""

from __future__ import annotations

from dataclasses import dataclass

from sessionsync.catalog import Catalog
from sessionsync.errors import SessiondError
from sessionsync.events import Emit
from sessionsync.privacy.seal import Seal
from sessionsync.queue import Queue
from sessionsync.remote.archive.address import Address
from sessionsync.remote.archive.cache import Cache
from sessionsync.remote.archive.fold import Cold
from sessionsync.remote.archive.git import Git
from sessionsync.remote.archive.host import Host
from sessionsync.remote.archive.ledger import Ledger
from sessionsync.uplink import Uplink

# Hosts take a few pushes a minute; several sessions' checkpoints go in one.
SPACING_S = 15.0
# Whether what was pushed is still there, and whether the repository is still private.
LOOK_S = 3600.0


def code_of(error: SessiondError | type[SessiondError]) -> str:
    """The code of an error of the archive's side."""
    return error.code.replace("github_", "archive_", 1)


@dataclass(slots=True)
class Means:
    """Both ends of the archive, and the parts of the engine that are archived from.

    `cache` is the local repository, `host` the other end, `cold` what is folded there.  `seal` encrypts what
    leaves, None where it leaves in clear.  `now` is the time of the work that is being done, `push_at` when
    the next push may go.
    """

    address: Address
    git: Git
    host: Host
    cache: Cache
    cold: Cold
    ledger: Ledger
    catalog: Catalog
    queue: Queue
    seal: Seal | None
    emit: Emit
    uplink: Uplink
    now: float = 0.0
    push_at: float = 0.0

    def pushed(self) -> None:
        """A push has left: the next one has to wait."""
        self.push_at = self.now + SPACING_S

    def spacing_s(self, now: float) -> float:
        """How long until the next push may go; a clock set back does not prolong it."""
        self.push_at = min(self.push_at, now + SPACING_S)
        return max(0.0, self.push_at - now)

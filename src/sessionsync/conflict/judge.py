"""The steps in one place, for who pushes."""

from __future__ import annotations

from collections.abc import Callable

from sessionsync.conflict.drafts import Drafting
from sessionsync.conflict.look import Looking
from sessionsync.conflict.means import Means, OpenArchive
from sessionsync.conflict.rows import Conflicts
from sessionsync.conflict.settle import Settling
from sessionsync.conflict.weigh import Weighing
from sessionsync.elsewhere import Elsewhere, Versions
from sessionsync.events import Emit
from sessionsync.privacy.gate import Gate
from sessionsync.queue import Queue
from sessionsync.remote.issues import Issues
from sessionsync.store import Store
from sessionsync.vault import Vault


class Judge:
    """Looks, weighs, drafts and settles.  Call it from the thread that pushes."""

    def __init__(
        self,
        *,
        store: Store,
        queue: Queue,
        vault: Vault,
        elsewhere: Elsewhere,
        issues: Issues,
        gate: Gate,
        limits: tuple[int, int],
        host: str,
        machine: Callable[[], str],
        emit: Emit,
        archive: OpenArchive | None = None,
        tells: bool = True,
    ) -> None:
        self.conflicts, self.versions, self.elsewhere = Conflicts(store), Versions(store), elsewhere
        means = Means(
            store=store,
            queue=queue,
            vault=vault,
            elsewhere=elsewhere,
            issues=issues,
            gate=gate,
            limits=limits,
            host=host,
            name=machine,
            emit=emit,
            archive=archive,
            conflicts=self.conflicts,
            versions=self.versions,
            tells=tells,
        )
        weighing, settling = Weighing(means), Settling(means)
        drafting = Drafting(means, weighing)
        self.look = Looking(means).look
        self.weigh, self.note = weighing.weigh, weighing.note
        self.draft, self.draft_of = drafting.draft, drafting.draft_of
        self.preview, self.choose = settling.preview, settling.choose
        self.hear, self.recognise, self.notice = settling.hear, settling.recognise, settling.notice

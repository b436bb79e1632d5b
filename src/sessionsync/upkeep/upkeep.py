"""The upkeep of the copies as whole: each part of it, wired once.

Everything here reads beside the one who captures, and yields the bytes that it has moved so that the
caller can pace it.  What changes anything is given to `write`, which runs it in the writer's thread
when all that was captured is committed: there, state, plain copies and vault say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sessionsync.catalog import Catalog
from sessionsync.events import Emit
from sessionsync.model import Ref
from sessionsync.project_names import Names
from sessionsync.queue import Queue
from sessionsync.sources import Source
from sessionsync.upkeep.adoption import Adopting
from sessionsync.upkeep.means import FindBytes, Means, Recall, Write
from sessionsync.upkeep.merge import Merging
from sessionsync.upkeep.others import Others
from sessionsync.upkeep.recall import Recalling
from sessionsync.upkeep.repair import Repairing
from sessionsync.upkeep.retention import Retention
from sessionsync.upkeep.scan import Scanning
from sessionsync.upkeep.verify import Verifying
from sessionsync.upkeep.versions import Versions
from sessionsync.vault import Mirror, Vault


class Upkeep:
    """Looks after the copies of one home; what it is given is said in `Means`, what it does by each part."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        queue: Queue,
        mirror: Mirror,
        vault: Vault,
        sources: Iterable[Source],
        keep_checkpoints: int,
        write: Write,
        store_anew: Callable[[Ref, float], None],
        recall: Recall,
        emit: Emit,
        elsewhere: Mapping[str, FindBytes] | None = None,
        versions: Vault | None = None,
    ) -> None:
        means = Means(
            catalog=catalog,
            queue=queue,
            mirror=mirror,
            vault=vault,
            sources={source.name: source for source in sources},
            keep_checkpoints=keep_checkpoints,
            write=write,
            store_anew=store_anew,
            recall=recall,
            emit=emit,
            elsewhere=dict(elsewhere or {}),
            versions=versions,
            names=Names(mirror.folder),
        )
        verifying = Verifying(means)
        versions_kept = Versions(means, verifying)
        others = Others(means, verifying, versions_kept)
        scanning = Scanning(means, verifying, others)
        retention, merging = Retention(means), Merging(means)
        self.verify = verifying.verify
        self.look = verifying.look
        self.next_scan = scanning.next_at
        self.scanned_at = scanning.ended_at
        self.broken_references = scanning.broken_references
        self.scan = scanning.go_on
        self.verify_others = others.verify
        self.repair_other = others.repair
        self.repair = Repairing(means, verifying).repair
        self.crowded = retention.crowded
        self.forget = retention.forget
        self.forget_versions = versions_kept.forget
        self.next_to_merge = merging.next
        self.merge = merging.merge
        self.gc = merging.gc
        self.adopt = Adopting(means).adopt
        self.recall = Recalling(means).recall

"""The daemon as those see it who are asked, or told, to do something to it."""

from __future__ import annotations

from typing import Protocol

from sessiond.archiver import ArchiveLoop
from sessiond.bookkeeping import Bookkeeping
from sessiond.counting import Counting
from sessiond.engine import Engine
from sessiond.health import HealthLoop
from sessiond.indexing import IndexLoop
from sessiond.loops import CaptureLoop, PushLoop
from sessiond.metrics import Metrics
from sessiond.modes import Modes
from sessiond.saves import Saves
from sessiond.upkeeping import UpkeepLoop
from sessionsync.reliability.findings import Findings
from sessionsync.upkeep import Upkeep


class Running(Protocol):
    """What verbs need of the daemon."""

    started_at: float
    engine: Engine
    modes: Modes
    findings: Findings
    capture: CaptureLoop
    push: PushLoop
    archive: ArchiveLoop
    index: IndexLoop
    copies: Upkeep
    upkeep: UpkeepLoop
    saves: Saves
    counting: Counting
    books: Bookkeeping
    health: HealthLoop
    metrics: Metrics

    def reload(self) -> list[str]:
        """Read the settings again and apply them."""

    def end(self) -> None:
        """End the daemon, from any thread."""

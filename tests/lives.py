"""A machine with all its clocks, and the lives of a daemon that keeps its ledger there."""

from __future__ import annotations

from pathlib import Path

from sessionsync.reliability.ledger import Clocks, Ledger
from sessionsync.store import Store

NOW = 1_800_000_000.0
DAY_S = 86_400.0


class Machine:
    """A machine with its clocks, and the daemon's ledger on it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "state.db"
        self.wall, self.awake_s, self.boot_s, self.boot = NOW, 1000.0, 1500.0, "boot-1"
        self.store = Store(self.file)
        self.ledger = Ledger(self.store)
        self.gap = self.ledger.begin(self.clocks())

    def clocks(self) -> Clocks:
        return Clocks(self.wall, self.awake_s, self.boot_s, self.boot)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.awake_s += seconds
        self.boot_s += seconds

    def sleeps(self, seconds: float) -> None:
        self.wall += seconds
        self.boot_s += seconds

    def reboots(self, after_s: float) -> None:
        self.wall += after_s
        self.awake_s = self.boot_s = 20.0
        self.boot = f"{self.boot}+"

    def runs(self, seconds: float, state: str = "up", every_s: float = 60.0) -> None:
        while seconds > 0:
            self.passes(min(every_s, seconds))
            self.ledger.beat(self.clocks(), state)
            seconds -= every_s

    def starts(self, seen: Clocks | None = None) -> None:
        self.store.close()
        self.store = Store(self.file)
        self.ledger = Ledger(self.store)
        self.gap = self.ledger.begin(self.clocks(), seen)

    def spent(self, window_s: float = 30 * DAY_S) -> dict[str, float]:
        return {state: seconds for state, seconds in self.ledger.sums(window_s).seconds.items() if seconds}

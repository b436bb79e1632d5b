"""What the harness itself knows of one machine: when it was up, what was wrong and from when that could end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

# How often the daemon is asked what is wrong; what the account cannot be more exact than.
LOOK_S = 0.1

# What the harness itself causes, and so knows the end of.
CAUSED = ("github_unreachable", "github_token_refused", "backup_disk_full")


@dataclass
class Account:
    """Times are of a clock that nobody sets, `time.monotonic`."""

    began: float = 0.0
    down: list[tuple[float, float]] = field(default_factory=list)
    causes: list[tuple[tuple[str, ...], float, float]] = field(default_factory=list)
    """What the harness did: how the codes begin that come of it, from when to when."""
    closed: list[tuple[str, float, float, float]] = field(default_factory=list)
    """What came of that and went: code, when first and when no longer seen, seconds in which nobody looked."""
    flips: int = 0

    def uptime_ratio(self, now: float) -> float:
        """The part of the time since the first start in which it was up."""
        whole = now - self.began
        return (whole - self.downtime()) / whole

    def downtime(self) -> float:
        """Seconds down."""
        return sum(to - since for since, to in self.down)

    def mttr(self) -> tuple[int, float, float]:
        """How many were mended, seconds from when a cause had ended until then on average, and how exact that is.

        From when it was told until its cause ended, only the daemon knows when it last tried in vain.
        """
        took = unsure_s = 0.0
        for code, came, gone, unseen_s in self.closed:
            ended = [to for begins, since, to in self.causes if code.startswith(begins) and since <= gone]
            mendable = max([came, *(to for to in ended if to <= gone)])
            took += gone - mendable
            unsure_s += mendable - came + unseen_s
        count = len(self.closed)
        return count, took / max(1, count), unsure_s / max(1, count)


class Watch:
    """A thread that asks a daemon all the time what is wrong, and writes down what comes and goes."""

    def __init__(self, account: Account, ask: Callable[[], dict[str, Any]]) -> None:
        self._account = account
        self._ask = ask
        self._open: dict[str, tuple[float, float]] = {}
        self._told: set[str] = set()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    @property
    def open(self) -> set[str]:
        """The codes of what was told to be wrong when it was last asked."""
        return self._told

    def _run(self) -> None:
        now = time.monotonic()
        while not self._ends.wait(LOOK_S):
            try:
                found = self._ask()["findings"]
            except Exception:  # noqa: BLE001, S112 - it is down, or full, or frozen: nothing is known
                continue
            before, now = now, time.monotonic()
            self._told = {each["code"] for each in found}
            for code in self._told & {*CAUSED} - self._open.keys():
                self._open[code] = now, now - before
            for code in self._open.keys() - self._told:
                came, unseen_s = self._open.pop(code)
                self._account.closed.append((code, came, now, unseen_s + now - before))

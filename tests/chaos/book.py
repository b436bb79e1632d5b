"""What the harness itself knows of one machine: when it was up, what was wrong and from when that could end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

# How often the daemon is asked what is wrong; what the account cannot be more exact than.
LOOK_S = 0.1

Key = tuple[str, str]
# What is not told while its cause is: how the codes begin, by the cause.
AWAY, DISK = ("github_", "sync_"), ("copy_", "purge_")
HIDDEN = {
    **dict.fromkeys(("github_unreachable", "github_token_refused", "github_rate_limited"), AWAY),
    "backup_disk_full": DISK,
}


@dataclass
class Account:
    """Times are of a clock that nobody sets, `time.monotonic`."""

    began: float = 0.0
    down: list[tuple[float, float]] = field(default_factory=list)
    causes: list[tuple[tuple[str, ...], float, float]] = field(default_factory=list)
    """What the harness did: how the codes begin that come of it, from when to when."""
    closed: list[tuple[Key, float, float]] = field(default_factory=list)
    """Findings that came and went: which, when first seen, and when first seen no more."""
    flips: int = 0
    unsure_s: float = 0.0
    """Seconds that nobody looked for, or of which only the daemon can know when it last tried in vain."""

    def uptime_ratio(self, now: float) -> float:
        """The part of the time since the first start in which it was up."""
        whole = now - self.began
        return (whole - self.downtime()) / whole

    def downtime(self) -> float:
        """Seconds down."""
        return sum(to - since for since, to in self.down)

    def mttr(self) -> tuple[float, float] | None:
        """Seconds from when a cause allowed it until what came of it was mended, on average; and how exact."""
        took, unsure_s = 0.0, self.unsure_s
        for (code, _), came, gone in self.closed:
            ended = [to for begins, since, to in self.causes if code.startswith(begins) and since <= gone]
            mendable = max([came, *(to for to in ended if to <= gone)])
            took += gone - mendable
            unsure_s += mendable - came
        count = len(self.closed)
        return (took / count, unsure_s / count) if count else None


class Watch:
    """A thread that asks a daemon all the time what is wrong, and writes down what comes and goes."""

    def __init__(self, account: Account, ask: Callable[[], dict[str, Any]]) -> None:
        self._account = account
        self._ask = ask
        self._open: dict[Key, float] = {}
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
            keys = {(each["code"], each["session"]) for each in found}
            for key in keys - self._open.keys():
                self._open[key] = now
                self._account.unsure_s += now - before
            hidden = tuple(begins for code, _ in keys for begins in HIDDEN.get(code, ()))
            for key in self._open.keys() - keys:
                if not key[0].startswith(hidden):
                    self._account.closed.append((key, self._open.pop(key), now))
                    self._account.unsure_s += now - before

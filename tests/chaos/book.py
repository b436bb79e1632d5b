"""What the harness itself knows of one machine: when it was up, what was wrong and from when that could end.

Nothing is known to the instant: between two looks anything may have happened.  So what it knows of a time is
between when that time lies, and what it says of recovery is between what and what that was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

# How often the daemon is asked what is wrong, and while something is: from when to when it was is seen so well.
LOOK_S, CLOSE_S = 0.1, 0.02

# What the harness itself causes, and so knows the end of.
CAUSED = ("github_unreachable", "github_token_refused", "backup_disk_full")


class Span(NamedTuple):
    """Between when a time lies, or between what a number: `least` and `most`."""

    least: float
    most: float


class Mended(NamedTuple):
    """What was wrong: its code, when it was told first, and when no longer."""

    code: str
    came: Span
    gone: Span


@dataclass
class Account:
    """Times are of a clock that nobody sets, `time.monotonic`."""

    began: float = 0.0
    down: list[tuple[float, float]] = field(default_factory=list)
    vain: list[tuple[str, Span]] = field(default_factory=list)
    """The last tries that were in vain before a cause ended: of which code, and when."""
    mended: list[Mended] = field(default_factory=list)
    flips: int = 0

    def uptime_ratio(self, now: float) -> float:
        """The part of the time since the first start in which it was up."""
        whole = now - self.began
        return (whole - self.downtime()) / whole

    def downtime(self) -> float:
        """Seconds down."""
        return sum(to - since for since, to in self.down)

    def mttr(self) -> Span:
        """Seconds from when a cause was last seen to prevent it until it was mended, on average."""
        took = [self.took(each) for each in self.mended]
        count = max(1, len(took))
        return Span(sum(each.least for each in took) / count, sum(each.most for each in took) / count)

    def took(self, one: Mended) -> Span:
        """Seconds that one took."""
        tried = max(
            (at for code, at in self.vain if code == one.code and at.least <= one.gone.most), default=None
        )
        is_cut = any(since <= one.gone.most and to >= one.came.least for since, to in self.down)
        if tried is None or tried.least < one.came.least or is_cut:
            # nobody knows the last one; and a kill takes along what the daemon had not written of it
            tried = Span(one.came.least, one.gone.most)
        return Span(max(0.0, one.gone.least - tried.most), one.gone.most - tried.least)


class Watch:
    """A thread that asks a daemon all the time what is wrong, and writes down what comes and goes.

    What was wrong at a kill is so still until the daemon has looked at everything again and does not tell it.
    """

    def __init__(self, account: Account, ask: Callable[[], dict[str, Any]]) -> None:
        self._account = account
        self._ask = ask
        self._open: dict[str, tuple[Span, float]] = {}
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
        """The codes of what is wrong, as far as it was told."""
        return self._told

    def _run(self) -> None:
        before = time.monotonic()
        while not self._ends.wait(CLOSE_S if self._open else LOOK_S):
            asked = time.monotonic()
            try:
                answer = self._ask()
            except Exception:  # noqa: BLE001, S112 - it is down, or full, or frozen: nothing is known
                continue
            told, answered = {each["code"] for each in answer["findings"]}, time.monotonic()
            for code in told & {*CAUSED}:
                came, _ = self._open.get(code, (Span(before, answered), 0.0))
                self._open[code] = came, asked
            if answer["checked_at"]:
                for code in self._open.keys() - told:
                    came, seen = self._open.pop(code)
                    self._account.mended.append(Mended(code, came, Span(seen, answered)))
            self._told = told | self._open.keys()
            before = asked

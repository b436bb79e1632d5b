"""What the harness itself knows of one machine: when it was up, what was wrong and from when that could end.

Recovery counts from when its cause was last seen to prevent it, so what is to be known is when the daemon last tried
in vain, and when it did no longer.  Of GitHub both are in the stand-in's own log.  Of a disk the last try in vain is
one that the harness asks for, and then mends the disk; of a token it is the word of a person, which is the harness's.
When a finding is gone is seen by asking again and again.  So of each time is known between when it lies, and of a
recovery between what and what it was, as no process sees the moment in which another one hears an answer: on an idle
machine that is some hundredths of a second, about 1 % of a recovery, and as much more as the daemon is kept waiting.
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
AWAY, REFUSED, DISK, STATE = CAUSED = (
    *("github_unreachable", "github_token_refused"),
    *("backup_disk_full", "state_disk_full"),
)


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
    asked: list[tuple[float, bool]] = field(default_factory=list)
    """What was asked of GitHub: until when, and whether it has answered."""
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
        tried, gone = self._tried(one), one.gone
        is_cut = any(since <= gone.most and to >= one.came.least for since, to in self.down)
        if tried is None or tried.most < one.came.least or is_cut:
            # nobody knows the last one; and a kill takes along what the daemon had not written of it
            tried = Span(one.came.least, gone.most)
        elif one.code == AWAY:
            answered = min(at for at, good in self.asked if good and at > tried.least)
            # so long it took until the daemon had heard the answer and told of it; and no longer before
            lag = max(0.0, gone.most - answered)
            tried, gone = Span(tried.least, tried.least + lag), Span(answered, answered + lag)
        else:  # nor was its refusal heard here at once
            tried = Span(tried.least - (gone.most - gone.least), tried.most)
        return Span(max(0.0, gone.least - tried.most), gone.most - tried.least)

    def _tried(self, one: Mended) -> Span | None:
        """When it was tried last in vain."""
        vain = [at for code, at in self.vain if code == one.code]
        if one.code == AWAY:
            vain = [Span(at, at) for at, good in self.asked if not good]
        return max((at for at in vain if at.least <= one.gone.most), default=None)


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

"""The loop that keeps the books on how the daemon does: what is wrong, since when, and for how long.

It is woken when a finding comes or goes, and turns every 20 seconds at least.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from sessiond.bookkeeping import Bookkeeping
from sessiond.loops import TICK_S, Bell, Failed, Loop
from sessionsync.errors import StoreError
from sessionsync.events import Emit
from sessionsync.reliability.findings import Finding, Findings, order, shown

# The ledger is written this often; in between, the pulse says how long the process was there.
BEAT_S = 60.0
# Events that say that what the state tells is another now.
TURNS = {
    *("github_unreachable", "github_reached", "github_limited", "push_paused", "push_resumed"),
    *("archive_unreachable", "archive_reached", "archive_limited", "archive_paused", "archive_resumed"),
    *("push_buried", "archive_buried", "conflict_opened", "conflict_resolved", "mode_changed"),
    "config_reloaded",
}


class HealthLoop(Loop):
    """Keeps the ledger.  `standing` makes the findings that the state of things amounts to.

    `checked` says that everything was looked at once: before that, what was open at the end of the last
    life may still be.
    """

    def __init__(
        self,
        books: Bookkeeping,
        findings: Findings,
        emit: Emit,
        on_failure: Failed,
        *,
        standing: Callable[[float], Iterable[Finding]],
        checked: Callable[[], bool],
    ) -> None:
        super().__init__("health", Bell(), emit, on_failure)
        self._books = books
        self._findings = findings
        self._standing = standing
        self._checked = checked
        self._beat_at = time.monotonic() + BEAT_S
        self._known: set[tuple[str, str]] = set()
        findings.changed = self.bell.ring

    def on_event(self, event: str) -> None:
        """Look again at once where an event says that something is wrong, or right again."""
        if event in TURNS:
            self.bell.ring()

    def open(self, now: float) -> list[Finding]:
        """Everything that is wrong, causes and consequences: critical first, then the oldest."""
        found = {(each.code, each.session): each for each in self._standing(now)}
        found |= {(each.code, each.session): each for each in self._findings.open()}
        return sorted(found.values(), key=order)

    def shown(self, now: float) -> list[Finding]:
        """What of that is to be told."""
        return shown(self.open(now), now)

    def beat(self, found: Iterable[Finding] | None = None) -> None:
        """Write the books up to now; any thread may want to read them."""
        self._books.beat(self.open(time.time()) if found is None else found)

    def turn(self) -> float:
        """Write down what came and went, and once a minute how long it was up."""
        with suppress(StoreError):  # a full disk is said where it hurts, and the next turn writes it
            self._keep_books(time.time())
        return TICK_S

    def _keep_books(self, now: float) -> None:
        found = self.open(now)
        beats = time.monotonic() >= self._beat_at
        if beats:
            self._beat_at = time.monotonic() + BEAT_S
            self.beat(found)
        open_now = {(each.code, each.session) for each in found}
        if self._checked() and (beats or open_now != self._known):
            self._books.follow(found)
            self._known = open_now

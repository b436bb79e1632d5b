"""One soak: traffic, what is held while there is some, and what is held when all is at rest."""

from __future__ import annotations

import time

from tests.bench import usage
from tests.soak.growth import POOLED, WINDOW_S, Held, grown
from tests.soak.traffic import Traffic

SAMPLE_S = 3.0


class Soak:
    """One run: its traffic, and the daemon's memory so far.

    A pool's next `pooled` threads are no growth; what was needed last is given back in `given_back_s`.
    """

    def __init__(self, traffic: Traffic, *, pooled: int = POOLED, given_back_s: float = 60.0) -> None:
        self._traffic = traffic
        self._pooled, self._given_back_s = pooled, given_back_s
        self._began = self._told = time.monotonic()
        self.samples: list[tuple[float, float]] = []
        """When, in seconds, and how much resident memory, in MiB, since traffic last began."""

    def run(self, seconds: float) -> None:
        """Let there be traffic for so long; a line a minute says what the daemon holds."""
        self.samples.clear()
        ends = time.monotonic() + seconds
        while (now := time.monotonic()) < ends:
            self._traffic.turn()
            if not self.samples or now - self.samples[-1][0] >= SAMPLE_S:
                self.samples.append((now, usage.rss_mib(self._traffic.daemon.pid)))
            if now - self._told >= WINDOW_S:
                self._told = now
                self._tell()

    def rest(self) -> Held:
        """Wait until nothing is left to do; what the daemon then holds."""
        self._traffic.rest()
        return self._traffic.held()

    def wrong(self, before: Held) -> list[str]:
        """What has grown since, and what is not as it must be, in words; asked when nothing is left to do."""
        self._traffic.rest()
        until = time.monotonic() + self._given_back_s
        while more := grown(before, self._traffic.held(), pooled=self._pooled):
            if time.monotonic() > until:
                break
            time.sleep(SAMPLE_S)
        return more + self._traffic.wrong()

    def _tell(self) -> None:
        held, status, counts = self._traffic.held(), self._traffic.daemon.ctl("status"), self._traffic.counts
        print(
            f"{(self._told - self._began) / 60:4.0f} min: {self.samples[-1][1]:.1f} MiB, {held.threads} threads,"
            f" {held.descriptors} descriptors, {held.children} children, {sum(held.files.values())} files,"
            f" {status['queue']['pending']} waiting; "
            + ", ".join(f"{count} {name}" for name, count in counts.items())
            + f", {len(self._traffic.gh.requests())} requests, {self._traffic.failed} of them failed",
            flush=True,
        )

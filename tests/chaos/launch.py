"""The program, as it is started in the storm: `python launch.py COMMAND …`; the one module that imports it.

Under libfaketime 0.9.10 `time.sleep` of Python 3.11 fails with EINVAL whatever the clock says, so here it waits
another way.  With `CHAOS_HIDES` seconds in the environment it is a mutant: so much of the time that it was down
it keeps to itself; with `CHAOS_HASTENS` it has mended everything in so small a part of the time.  Who checks its
account must notice.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import SupportsIndex

from sessiond.__main__ import main
from sessionsync.reliability import ledger
from sessionsync.reliability.score import DOWN


def _sleep(seconds: SupportsIndex | float, /) -> None:
    threading.Event().wait(float(seconds))


def _hide(seconds: float) -> None:
    known = ledger._gap

    def gap(last: ledger.Clocks, now: ledger.Clocks, *, clean: bool) -> dict[str, float]:
        nonlocal seconds
        told = known(last, now, clean=clean)
        hidden = min(seconds, told.get(DOWN, 0.0))
        return told | {DOWN: told.get(DOWN, 0.0) - hidden}

    ledger._gap = gap


def _hasten(part: float) -> None:
    known = ledger.Ledger._closed

    def closed(
        self: ledger.Ledger, life: ledger.Incident, at: float, clocks: ledger.Clocks
    ) -> ledger.Incident:
        since = at - part * (at - life.recoverable_since)
        return known(self, life._replace(recoverable_since=since), at, clocks)

    ledger.Ledger._closed = closed  # type: ignore[method-assign]


if __name__ == "__main__":
    time.sleep = _sleep
    if hidden := float(os.environ.get("CHAOS_HIDES", "0")):
        _hide(hidden)
    if (part := float(os.environ.get("CHAOS_HASTENS", "1"))) < 1:
        _hasten(part)
    sys.exit(main())

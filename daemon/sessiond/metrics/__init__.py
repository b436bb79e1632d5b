"""What `/metrics` shows, from one table.

    labels ──▶ catalogue ──▶ registry (Metrics) ──▶ /metrics, --textfile, alert rules, dashboard
    what happened ──event──▶ counting ──▲  ▲── readings ◀──at each scrape── state, ledger, findings

All label sets exist at 0 from the start, because `increase()` does not see the first event of a series
that was not there before.  Ages and depths are read at each scrape, so that they are right also while a
loop hangs.  No label holds a session, a path, a repository or a message.
"""

from sessiond.metrics.catalogue import Entry, catalogue
from sessiond.metrics.readings import of_daemon, of_engine
from sessiond.metrics.registry import Metrics

__all__ = ["Entry", "Metrics", "catalogue", "of_daemon", "of_engine"]

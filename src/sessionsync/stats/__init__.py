"""Numbers about sessions: what they cost, how fast they were answered, and how often they were gone on with.

    copies ─▶ counter ─▶ numbers.db ─▶ figures

`sources.usage` finds them in lines; `counter` reads lines that were captured since, off the way of what is
being captured; `numbers` keeps each once, whatever is written again, copied or cut; `figures` adds them up.
"""

from sessionsync.stats.counter import Counter, count_live
from sessionsync.stats.figures import Beside, Totals, Waits, figures, totals
from sessionsync.stats.numbers import Numbers

__all__ = ["Beside", "Counter", "Numbers", "Totals", "Waits", "count_live", "figures", "totals"]

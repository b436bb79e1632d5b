"""The upkeep of the copies: old checkpoints go, segments are merged, damage is found and healed.

    verify ─▶ scan (a part of everything a day)      retention ─▶ merge ─▶ gc
       └────▶ repair                                 adoption of what lies plain ─▶ recall

`recall` lets the state know what only the vault knows, `others` is what stays so, `versions` what other
machines have made of the sessions here.
"""

from sessionsync.upkeep.means import FindBytes, Write
from sessionsync.upkeep.merge import COLD_S, GRACE_S, QUIET_S
from sessionsync.upkeep.outcomes import Healing, Paced, Verdict, outcome
from sessionsync.upkeep.scan import Scan
from sessionsync.upkeep.upkeep import Upkeep

__all__ = [
    "COLD_S",
    "GRACE_S",
    "QUIET_S",
    "FindBytes",
    "Healing",
    "Paced",
    "Scan",
    "Upkeep",
    "Verdict",
    "Write",
    "outcome",
]

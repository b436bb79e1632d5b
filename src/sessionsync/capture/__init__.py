"""From files that grow to verified copies, checkpoints and queued items.

One read of the appended bytes feeds the plain copy (layer 1), the root, the summary and, in
segments, the vault (layer 3).  Positions are kept in memory between two flushes: `flush` makes the
copies durable first and then commits positions, checkpoints and queued items in one transaction.
After a crash the old positions count and the same bytes are written again to the same places.

    Capture ──▶ homes          which project, and what it is called there
       ├──────▶ files ──▶ lines   what is new in each file
       ├──────▶ appointments   checkpoints that time asks for
       └──────▶ stored         its copies: read back, stored in the vault, fixed in checkpoints

All of them work on one `Work` a session, until that is committed.
"""

from sessionsync.capture.capture import Capture
from sessionsync.capture.work import FLUSH_SESSIONS, TURN_BYTES, Work

__all__ = ["FLUSH_SESSIONS", "TURN_BYTES", "Capture", "Work"]

"""What a Claude Code transcript says, read line by line as it grows.

    Transcript ──▶ plans      what was decided, what is being done, and what is next
        └───┬────────┴──▶ state      what is remembered between two reads
            └─────▶ rows      what a line holds

Everything that must be remembered between two reads lies in `State`, in the summary's scratch, so
that it makes no difference how the lines were spread over reads or over restarts.  Only the fields
named in `rows` are decoded; tool results, thinking and images are skipped unread.
"""

from sessionsync.sources.transcript.state import is_at_work
from sessionsync.sources.transcript.transcript import Transcript

__all__ = ["Transcript", "is_at_work"]

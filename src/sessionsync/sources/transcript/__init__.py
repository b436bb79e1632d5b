"""What a Claude Code transcript says, read line by line as it grows.

    Transcript ─┬─▶ turns ──▶ state   where the agent's turn stands, and what was reached
                ├─▶ plans ──▶ state   what was decided, what is being done, and what is next
                └─▶ rows              what a line holds

Everything that must be remembered between two reads lies in `State`, in the summary's scratch, so
that it makes no difference how the lines were spread over reads or over restarts.  Only the fields
named in `rows` are decoded, of many lines in one call; tool results, thinking and images are skipped unread.
"""

from sessionsync.sources.transcript.state import is_at_work
from sessionsync.sources.transcript.transcript import Transcript

__all__ = ["Transcript", "is_at_work"]

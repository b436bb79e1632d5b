"""From queued checkpoints to GitHub: one sticky comment a session, exactly once over a lossy line.

    Push ──▶ records      a session's record: what it must say, and whether it says so already
      │         ├──▶ versions   this machine's version, through the privacy gate
      │         └──▶ parts      its comments, the last part first and part 1 last
      ├────▶ notices      a comment that tells of a conflict, and others' such comments
      ├────▶ indexes      an issue's index
      └────▶ others       what was heard of other machines' records

The attempt is committed before the request leaves.  Whatever the answer, or none, the next attempt
looks for the record's marker in the issue's own comments before it writes again; editing a comment
may be repeated, creating one may not.  The last part is written first and part 1 last, so that a
reader sees a whole revision or knows that it does not.

The engine never sleeps: `Push.work` is a generator that yields, before each write, how many seconds
GitHub's pace asks for, and is sent the time when they are over.
"""

from sessionsync.push.push import Push
from sessionsync.push.records import CREATION_BUDGET

__all__ = ["CREATION_BUDGET", "Push"]

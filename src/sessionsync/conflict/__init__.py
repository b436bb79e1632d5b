"""What becomes of a session that was changed elsewhere as well.

    look    what others have written since is kept, before anything is written over it
    weigh   how ours relates to it:
                the same, or theirs goes on from ours     theirs stays the record
                ours goes on from theirs                  ours becomes the record
                a transcript that went two ways           the union becomes the record: merged, no conflict
                anything else                             ours becomes the record, theirs can be restored,
                                                          and one notice tells of it: a conflict
    draft   what is to be written, with all that was decided
    settle  a person chooses otherwise, here or on another machine

A conflict is opened once a fork point, and committed before anything is written.  While one is open, more
versions of the session open no other.
"""

from sessionsync.conflict.judge import Judge
from sessionsync.conflict.means import OpenArchive, Ours
from sessionsync.conflict.rows import MERGED, NOTICE, WAYS, Conflict, Conflicts

__all__ = ["MERGED", "NOTICE", "WAYS", "Conflict", "Conflicts", "Judge", "OpenArchive", "Ours"]

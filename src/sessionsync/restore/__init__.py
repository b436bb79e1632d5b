"""Putting a session back so that it can be resumed.

    known ─▶ copies ─▶ choice ─▶ target ─▶ place ─▶ loadable
    which    where     which     where     all or   will the agent
    session  it lies   of them   it goes   nothing  open it

A transcript that went on in two places is `united`; what other machines had in a record is `kept`.  Where no
copy is whole, `reconstruct` makes the best of the `remains`: whole lines from `pieces`, and what can be
inferred, marked as such.  Needs no daemon, and no state: with that lost the vault, the plain copies and
GitHub's comments say by themselves what they hold.

What is needed where GitHub or the archive is asked, or copies are listed, is imported from its module then:
`records`, `archived`, `discussion`, `examine`.
"""

from sessionsync.restore.choice import Choice
from sessionsync.restore.copies import Copy, MirrorShelf, Shelf, VaultShelf, head_of
from sessionsync.restore.kept import KeptCopy, KeptShelf
from sessionsync.restore.known import Cupboard, Known, of_session, resolve, unknown
from sessionsync.restore.loadable import loadable
from sessionsync.restore.names import beside_agent, in_project, is_own
from sessionsync.restore.restore import Restored, Shelves, put_back
from sessionsync.restore.target import (
    AgentTarget,
    FileTarget,
    OutTarget,
    ProjectTarget,
    Target,
    home_of,
    is_of,
    project_of,
)
from sessionsync.sources.roles import PAPERS

__all__ = [
    "PAPERS",
    "AgentTarget",
    "Choice",
    "Copy",
    "Cupboard",
    "FileTarget",
    "KeptCopy",
    "KeptShelf",
    "Known",
    "MirrorShelf",
    "OutTarget",
    "ProjectTarget",
    "Restored",
    "Shelf",
    "Shelves",
    "Target",
    "VaultShelf",
    "beside_agent",
    "head_of",
    "home_of",
    "in_project",
    "is_of",
    "is_own",
    "loadable",
    "of_session",
    "project_of",
    "put_back",
    "resolve",
    "unknown",
]

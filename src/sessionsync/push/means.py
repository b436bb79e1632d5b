"""What sending works with."""

from __future__ import annotations

from dataclasses import dataclass

from sessionsync.catalog import Catalog
from sessionsync.conflict import Judge
from sessionsync.events import Emit
from sessionsync.queue import Queue
from sessionsync.remote.github import GitHub
from sessionsync.remote.issues import Issues
from sessionsync.remote.placements import Placements

# A list that lags is waited for in so many attempts: a quarter of an hour and more.
PATIENCE = 8


@dataclass(frozen=True, slots=True)
class Means:
    """The parts of the engine that a session's comments are seen to with; `issues` holds the time."""

    catalog: Catalog
    queue: Queue
    placements: Placements
    github: GitHub
    issues: Issues
    judge: Judge
    emit: Emit

"""Checkpoints that time or a completed checkpoint file asks for, and segments that wait to be stored."""

from __future__ import annotations

from pathlib import Path

from sessionsync.capture.stored import Stored
from sessionsync.capture.work import (
    LONGEST_WITHOUT_CHECKPOINT_S,
    SEGMENT_AGE_S,
    SEGMENT_BYTES,
    SETTLED_S,
    Work,
)
from sessionsync.catalog import Catalog
from sessionsync.model import Found
from sessionsync.sources import Source


class Appointments:
    """Keeps them, of a session that was just captured."""

    def __init__(self, catalog: Catalog, stored: Stored) -> None:
        self._catalog = catalog
        self._stored = stored

    def keep(
        self, source: Source, work: Work, found: Found, now: float, *, quiet_s: float, by_time: bool
    ) -> None:
        """Make the checkpoints that time or a completed checkpoint file asks for; store old segments.

        A session that has not changed for `quiet_s` gets one; what time alone asks for is made if `by_time`.

        Raises:
            CopyError: a copy could not be read, or made.
        """
        session = work.session
        session.look_at = None
        self._adopt_files(source, work, found, now)
        if session.dirty_since is not None and session.checkpoint is not None and by_time:
            self._heed_stamp(source, work, now)
        quiet = now - session.changed_at >= quiet_s
        if session.dirty_since is not None and by_time:
            if quiet:
                self._stored.checkpoint(work, "quiet", now)
            elif now - session.dirty_since >= LONGEST_WITHOUT_CHECKPOINT_S:
                self._stored.checkpoint(work, "interval", now, whole_lines=True)
        for file in work.files.values():
            if file.unstored_since is None:
                continue
            upto = file.read_to if source.append_only(file.name) else file.length
            if file.length - file.stored >= SEGMENT_BYTES or now - file.unstored_since >= SEGMENT_AGE_S:
                self._stored.store(work, file, upto)
                if file.stored < file.length:
                    file.unstored_since = now
            if file.unstored_since is not None:
                work.appoint(file.unstored_since + SEGMENT_AGE_S)

    def _adopt_files(self, source: Source, work: Work, found: Found, now: float) -> None:
        candidates = source.checkpoint_files(found)
        if not candidates:
            return
        known = {c.alias for c in work.checkpoints}
        if work.session.id:
            known |= {c.alias for c in self._catalog.checkpoints(work.session.id)}
        for candidate in candidates:
            alias = Path(candidate.name).stem
            file = work.files.get(candidate.name)
            if alias in known or file is None or file.length != candidate.size:
                continue
            if now - file.changed_at < SETTLED_S:
                work.appoint(file.changed_at + SETTLED_S)
            elif source.is_complete(candidate.name, self._stored.captured(work, candidate.name) or b""):
                self._stored.checkpoint(work, "checkpoint", now, alias=alias)
                known.add(alias)

    def _heed_stamp(self, source: Source, work: Work, now: float) -> None:
        """Make a checkpoint where the session says by itself that it has come further, and is settled."""
        session = work.session
        if not (said := source.stamp(session.summary)):
            return
        newest = (
            work.checkpoints[-1]
            if work.checkpoints
            else self._catalog.checkpoint(session, session.checkpoint or "")
        )
        if newest.summary is None or said == source.stamp(newest.summary):
            return
        if now - session.changed_at < SETTLED_S:
            work.appoint(session.changed_at + SETTLED_S)
        else:
            self._stored.checkpoint(work, "status", now)

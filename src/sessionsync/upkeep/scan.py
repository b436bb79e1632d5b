"""The daily scan: the structure of everything, and the bytes of one of seven parts."""

from __future__ import annotations

import msgspec

from sessionsync.upkeep.means import Means
from sessionsync.upkeep.others import Others
from sessionsync.upkeep.outcomes import Paced, Verdict
from sessionsync.upkeep.verify import Verifying
from sessionsync.vault.references import BROKEN
from sessionsync.vault.verify import Part

# A scan a day, each of a seventh of all bytes.
SCAN_S = 86_400.0
SCANS = 7
# So often it is written where a scan is: a commit for each session would cost more than to look at it.
KEPT_S = 1.0


class Scan(msgspec.Struct):
    """Where the daily scan is: `after` which session (its row's number), -1 when it is through.

    `broken` counts the references that it found to lead nowhere, by kind; `left` are those of the last one.
    """

    number: int = 0
    began: float = 0.0
    after: int = -1
    ended: float = 0.0
    checked: int = 0
    size: int = 0
    bad: int = 0
    broken: dict[str, int] = msgspec.field(default_factory=dict)
    left: dict[str, int] = msgspec.field(default_factory=dict)


_encode = msgspec.json.Encoder().encode


class Scanning:
    """Goes through all sessions; where it is survives a restart, but for the last second."""

    def __init__(self, means: Means, verifying: Verifying, others: Others) -> None:
        self._means = means
        self._verifying = verifying
        self._others = others
        self._at: Scan | None = None
        self._kept_at = float("-inf")

    def next_at(self) -> float:
        """When the next look at everything is due (Unix seconds); a begun one is."""
        scan = self._scan()
        return 0.0 if scan.after >= 0 else scan.began + SCAN_S

    def ended_at(self) -> float:
        """When the last scan ended (Unix seconds); 0 where none has."""
        return self._scan().ended

    def broken_references(self) -> dict[str, int]:
        """How many references led nowhere when the last scan ended, by kind."""
        return self._scan().left

    def go_on(self, now: float) -> Paced[Verdict]:
        """Look at the next session of the daily scan, or begin one, or end it.

        A scan looks at the structure of everything and at the bytes of one of seven parts, so that each
        byte is read once a week.
        """
        scan = self._scan()
        if scan.after < 0:
            scan = Scan(number=scan.number + 1, began=now, after=0, ended=scan.ended, left=scan.left)
        part = Part(scan.number % SCANS + 1, SCANS)
        session = self._means.catalog.after(scan.after)
        verdict = Verdict()
        try:
            if session is not None:
                scan.after = session.id
                verdict = yield from self._verifying.verify(session, part)
            else:
                verdict = yield from self._others.verify(part)
                scan.after, scan.ended, scan.left = -1, now, scan.broken
        finally:
            for (kind, result), number in verdict.references.items():
                if result == BROKEN:
                    scan.broken[kind] = scan.broken.get(kind, 0) + number
            scan.size += verdict.size
            scan.checked += verdict.checked
            scan.bad += len(verdict.bad)
            self._keep(scan, now)
        if scan.after < 0:
            self._means.emit(
                "integrity_scanned",
                sessions=scan.checked,
                bytes=scan.size,
                bad=scan.bad,
                seconds=round(now - scan.began, 1),
            )
        return verdict

    def _keep(self, scan: Scan, now: float) -> None:
        """Remember where it is, the end of it at once."""
        self._at = None  # where it cannot be written it is where it was written last
        if scan.after < 0 or abs(now - self._kept_at) >= KEPT_S:
            self._means.catalog.store.set_meta("scan", _encode(scan).decode())
            self._kept_at = now
        self._at = scan

    def _scan(self) -> Scan:
        if self._at is None:
            try:
                self._at = msgspec.json.decode(self._means.catalog.store.meta("scan"), type=Scan)
            except msgspec.DecodeError:
                self._at = Scan()
        return self._at

"""What is wrong now: one finding a cause, raised and cleared by whoever notices.

A finding has a stable `code`, a severity, a message (what, to what) and a hint (what to do next).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad it is: a warning degrades, a critical one wants a person."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.  `session` is '' where it concerns all; `since` is Unix seconds."""

    code: str
    severity: Severity
    message: str
    hint: str
    since: float
    session: str = ""


class Findings:
    """The findings that are open.  Any thread may raise, clear and read."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Finding] = {}
        self._lock = threading.Lock()

    def raised(
        self, code: str, severity: Severity, message: str, hint: str, now: float, session: str = ""
    ) -> bool:
        """Open a finding, or renew its words; returns whether it is new.  `since` stays the first time."""
        with self._lock:
            known = self._open.get((code, session))
            since = known.since if known is not None else now
            self._open[code, session] = Finding(code, severity, message, hint, since, session)
            return known is None

    def cleared(self, code: str, session: str = "") -> Finding | None:
        """Close a finding; returns it, None when it was not open."""
        with self._lock:
            return self._open.pop((code, session), None)

    def open(self) -> list[Finding]:
        """What is open now: critical first, then the oldest."""
        with self._lock:
            found = list(self._open.values())
        return sorted(found, key=lambda f: (f.severity is not Severity.CRITICAL, f.since, f.code))

    @property
    def status(self) -> str:
        """`critical` with a critical finding, `degraded` with a warning, else `ok`."""
        severities = {finding.severity for finding in self.open()}
        if Severity.CRITICAL in severities:
            return "critical"
        return "degraded" if severities else "ok"

"""What is wrong now: one finding a cause, raised and cleared by whoever notices.

A finding has a stable `code`, a severity, a message (what, to what) and a hint (what to do next).  What is
always so of a code stands in `FINDINGS`: which part of the program it is about, which other findings explain
it and hide it, and how long it must last before anybody is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How bad it is: a warning degrades, a critical one wants a person."""

    WARNING = "warning"
    CRITICAL = "critical"


WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL

# The parts of the program that findings and recoveries are counted by.
COMPONENTS = (
    *("sync", "tier", "corruption", "reference", "orphan", "watcher"),
    *("loop", "connection", "index", "github", "archive", "disk", "config", "agent"),
)


class Kind(NamedTuple):
    """What is always so of a finding's code.

    `severity` is the usual one; who raises it may know better.  While one of `depends_on` is open, of the
    same session or of all, this one is its consequence and not shown.  `visible_after_s` keeps quiet what
    passes by itself.  `is_outside` says that the cause lies beyond this program's reach, with GitHub, the
    network or a person: repairing it is not this program's time.
    """

    severity: Severity
    component: str
    summary: str
    remedy: str
    depends_on: tuple[str, ...] = ()
    visible_after_s: float = 0.0
    is_outside: bool = False


PAUSES = (
    *("github_token_refused", "github_not_permitted", "github_repository_public"),
    "github_repository_missing",
)
ARCHIVE_PAUSES = tuple(code.replace("github_", "archive_", 1) for code in PAUSES)
FULL = ("backup_disk_full", "state_disk_full")
_AWAY = ("github_unreachable", "github_rate_limited", *PAUSES)
_ARCHIVE_AWAY = ("archive_unreachable", "archive_rate_limited", *ARCHIVE_PAUSES)


def _pauses(side: str, who: str) -> dict[str, Kind]:
    """What pauses pushing to GitHub, and what the same is of the archive."""
    part = "github" if side == "github" else "archive"
    return {
        f"{side}_token_refused": Kind(
            CRITICAL, part, f"{who} refuses the token.", "Log in again or replace the token.", is_outside=True
        ),
        f"{side}_not_permitted": Kind(
            CRITICAL,
            part,
            f"The token may not write to {who}, or the repository is archived.",
            "Give the token write access to the repository.",
            is_outside=True,
        ),
        f"{side}_repository_public": Kind(
            CRITICAL,
            part,
            f"The repository of {who} is readable by everyone.",
            "Make it private, or set github.allow_public where that is meant.",
            is_outside=True,
        ),
        f"{side}_repository_missing": Kind(
            CRITICAL,
            part,
            f"The repository of {who} is not there for this token.",
            "Check the name in the settings and the token's access.",
            is_outside=True,
        ),
        f"{side}_rate_limited": Kind(
            WARNING,
            part,
            f"{who} takes no more requests for now.",
            "Nothing to do: it goes on at the reset.",
            (f"{side}_unreachable",),
            is_outside=True,
        ),
        f"{side}_unreachable": Kind(
            WARNING,
            "connection",
            f"{who} does not answer; everything is kept, and sent when it does.",
            "Check the network and the address.",
            is_outside=True,
        ),
    }


FINDINGS: dict[str, Kind] = {
    # GitHub and the archive
    **_pauses("github", "GitHub"),
    **_pauses("archive", "The archive"),
    "archive_needs_repository": Kind(
        WARNING,
        "archive",
        "The archive is to lie in the repository, and none is set.",
        "Set github.repo, or another archive.url.",
        is_outside=True,
    ),
    "github_latency_high": Kind(
        WARNING,
        "github",
        "GitHub answers slowly.",
        "Nothing to do: pushing goes on, slower.",
        _AWAY,
        is_outside=True,
    ),
    "github_latency_rising": Kind(
        WARNING,
        "github",
        "GitHub answers more and more slowly.",
        "Nothing to do yet; see whether the network is in order.",
        ("github_latency_high", *_AWAY),
        is_outside=True,
    ),
    "github_slower": Kind(
        WARNING,
        "github",
        "GitHub answers more slowly than is usual here.",
        "Nothing to do yet; see whether the network is in order.",
        ("github_latency_high", *_AWAY),
        60.0,
        is_outside=True,
    ),
    "github_errors_high": Kind(
        WARNING,
        "github",
        "Many requests to GitHub fail.",
        "See githubstatus.com; what failed is tried again by itself.",
        _AWAY,
        is_outside=True,
    ),
    "github_errors_rising": Kind(
        WARNING,
        "github",
        "More and more requests to GitHub fail.",
        "See githubstatus.com; what failed is tried again by itself.",
        ("github_errors_high", *_AWAY),
        is_outside=True,
    ),
    "github_limit_low": Kind(
        WARNING,
        "github",
        "Little is left of GitHub's rate limit.",
        "Nothing to do: polling rests until the reset. See what else uses this token.",
        ("github_rate_limited",),
        is_outside=True,
    ),
    "github_limit_short": Kind(
        WARNING,
        "github",
        "At this pace GitHub's rate limit will not last until its reset.",
        "See what else uses this token.",
        ("github_rate_limited", "github_limit_low"),
        60.0,
        is_outside=True,
    ),
    "token_expiring": Kind(
        WARNING,
        "github",
        "The token expires soon.",
        "Renew it before that.",
        ("github_token_refused",),
        is_outside=True,
    ),
    # synchronisation
    "sync_late": Kind(
        WARNING,
        "sync",
        "The oldest checkpoint has waited long for GitHub.",
        "`sessiond ctl queue` says why; `sessiond ctl sync` tries at once.",
        _AWAY,
    ),
    "sync_failing": Kind(
        WARNING,
        "sync",
        "Three attempts in a row have failed.",
        "`sessiond ctl queue` says why; it is tried again by itself.",
        _AWAY,
    ),
    "sync_conflicts_high": Kind(
        WARNING,
        "sync",
        "Many synchronisations end in a conflict.",
        "See whether one session is open on two machines; `sessiond ctl conflicts` lists them.",
    ),
    "session_conflict": Kind(
        WARNING,
        "sync",
        "A session was changed here and elsewhere.",
        "`sessiond ctl resolve ID --keep local` settles it, or remote, both, merge.",
        is_outside=True,
    ),
    "item_buried": Kind(
        WARNING,
        "sync",
        "A checkpoint was refused for good.",
        "`sessiond ctl queue --buried` lists it, `sessiond ctl retry` tries again.",
        is_outside=True,
    ),
    "near_limit": Kind(
        WARNING,
        "tier",
        "A session or an issue is near a limit of its size.",
        "Nothing to do: the session is promoted, or the next issue is used.",
    ),
    # the copies
    "backup_disk_full": Kind(
        CRITICAL,
        "disk",
        "The disk of the backup is full or read-only; where it holds one copy alone, the other goes on.",
        "Make room; everything is then looked at again by itself.",
        is_outside=True,
    ),
    "state_disk_full": Kind(
        CRITICAL,
        "disk",
        "The disk of the state is full or read-only.",
        "Make room; everything is then looked at again by itself.",
        is_outside=True,
    ),
    "disk_low": Kind(
        WARNING,
        "disk",
        "Little room is left on a disk.",
        "Make room, or move the backup.",
        FULL,
        is_outside=True,
    ),
    "disk_filling": Kind(
        WARNING,
        "disk",
        "A disk will be full within days.",
        "Make room, or move the backup.",
        ("disk_low", *FULL),
        is_outside=True,
    ),
    "copy_failed": Kind(
        CRITICAL, "corruption", "A session cannot be copied.", "See the message for the file.", FULL
    ),
    "copy_mismatch": Kind(
        CRITICAL,
        "corruption",
        "A copy is not what was copied.",
        "`sessiond ctl repair ID` mends it from another copy.",
    ),
    "copy_damaged": Kind(
        CRITICAL,
        "corruption",
        "A copy is damaged, and nothing heals it.",
        "`sessiond ctl verify ID --deep` lists it; `sessiond ctl reconstruct ID` saves what is left.",
    ),
    "copies_removed": Kind(
        CRITICAL,
        "corruption",
        "A folder of the copies was removed or replaced.",
        "Nothing to do: what was in it is made again from the other copies. See what removed it.",
    ),
    "data_lost": Kind(
        CRITICAL,
        "corruption",
        "Bytes that were captured are in no copy any more.",
        "`sessiond ctl reconstruct ID` saves what is left.",
    ),
    "artifact_missing": Kind(
        CRITICAL,
        "corruption",
        "A file of a session cannot be read from its copies.",
        "`sessiond ctl repair ID` looks for it everywhere.",
        ("copy_damaged",),
    ),
    "reference_broken": Kind(
        CRITICAL,
        "reference",
        "A session refers to something that is not there.",
        "`sessiond ctl repair ID` mends it where the target exists.",
        ("copy_damaged",),
    ),
    "drill_failed": Kind(
        CRITICAL,
        "corruption",
        "Restored for a trial, a session is not as it was.",
        "`sessiond ctl verify ID --drill` tries again after the repair.",
        ("copy_damaged",),
    ),
    "restore_unproven": Kind(
        WARNING,
        "corruption",
        "No restore has been proven for days.",
        "`sessiond ctl verify --drill` proves one now.",
        ("drill_failed",),
    ),
    "archive_too_new": Kind(
        CRITICAL, "archive", "A newer sessiond wrote that copy in the archive.", "Install the newer sessiond."
    ),
    "source_unreadable": Kind(
        WARNING,
        "disk",
        "A file or folder of a session cannot be read.",
        "Let this user read it; it is then backed up by itself.",
        is_outside=True,
    ),
    # this machine
    "watches_low": Kind(
        WARNING,
        "watcher",
        "Few inotify watches are left for this user.",
        "Raise fs.inotify.max_user_watches; until then the rescan finds what no watch tells.",
        is_outside=True,
    ),
    "clock_skewed": Kind(
        WARNING,
        "config",
        "This machine's clock is not GitHub's.",
        "Turn time synchronisation on.",
        is_outside=True,
    ),
    "index_large": Kind(
        WARNING,
        "index",
        "The search index is large for what it indexes.",
        "`sessiond search --rebuild` makes it anew.",
        ("index_broken",),
    ),
    "vault_large": Kind(
        WARNING,
        "disk",
        "The vault is large for what it keeps.",
        "`sessiond ctl gc` frees what nothing needs; see backup.keep_checkpoints.",
        is_outside=True,
    ),
    "index_broken": Kind(
        WARNING,
        "index",
        "The search index cannot be used; it is made anew.",
        "Nothing to do: everything else goes on without it.",
    ),
    "http_port_taken": Kind(
        WARNING,
        "config",
        "The metrics port is taken; everything else goes on.",
        "Set http.listen to a free port, or to '', and restart.",
        is_outside=True,
    ),
    "config_invalid": Kind(
        WARNING,
        "config",
        "A setting is wrong; the ones before stay.",
        "Mend it and `sessiond ctl reload`.",
        is_outside=True,
    ),
    "reload_needed": Kind(
        WARNING,
        "config",
        "The settings file was changed, and the daemon has not read it again.",
        "Have it read: sessiond ctl reload.",
        is_outside=True,
    ),
    "restart_needed": Kind(
        WARNING,
        "config",
        "Settings were changed that hold from the next start on.",
        "Restart it: sessiond service stop, sessiond service start.",
        is_outside=True,
    ),
    "program_unusable": Kind(
        WARNING,
        "config",
        "The program was removed or replaced under the daemon, and what is there now does not start.",
        "Install it again; the daemon that runs goes on.",
        is_outside=True,
    ),
    "loop_stuck": Kind(
        CRITICAL,
        "loop",
        "A loop makes no progress.",
        "The service starts the daemon anew; `sessiond ctl logs` says what it did last.",
        visible_after_s=30.0,
    ),
    "recovery_failed": Kind(
        CRITICAL,
        "loop",
        "Automatic recovery has failed repeatedly.",
        "The message names the action; `sessiond ctl events` tells what was tried.",
    ),
    # the agents
    "purge_at_once": Kind(
        WARNING,
        "agent",
        "The agent is set to keep no transcript.",
        "Set cleanupPeriodDays to 30 or more to keep the agent's own.",
        is_outside=True,
    ),
    "purge_near": Kind(
        WARNING,
        "agent",
        "An agent is about to delete a session that is not in the vault.",
        "`sessiond ctl checkpoint ID` keeps it now.",
        FULL,
    ),
    "agent_silent": Kind(
        WARNING,
        "agent",
        "An agent runs, but its transcript does not grow.",
        "See whether it waits for somebody, or hangs.",
        is_outside=True,
    ),
    "quality_dropped": Kind(
        WARNING,
        "agent",
        "A session's quality score has dropped by more than 20 %.",
        "`sessiond ctl show ID` has the scores.",
        is_outside=True,
    ),
}
# What a code is that the table does not have: told at once, about no part in particular.
UNKNOWN = Kind(WARNING, "loop", "", "")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    `session` is '' where it concerns all.  `since` is when it was first noticed, `seen_at` when last
    (0: never again), both Unix seconds.  `doing` is what is done about it now, '' for nothing.
    """

    code: str
    severity: Severity
    message: str
    hint: str
    since: float
    session: str = ""
    seen_at: float = 0.0
    doing: str = ""

    @property
    def kind(self) -> Kind:
        """What is always so of its code."""
        return FINDINGS.get(self.code, UNKNOWN)


class Ended(NamedTuple):
    """A finding that is no more: as it was last seen, and when it ended, by a clock that nobody sets."""

    finding: Finding
    at_s: float


class Findings:
    """The findings that are open.  Any thread may raise, clear and read.

    `beat` is a clock that nobody sets, for who keeps the books and takes what has ended; without one
    nothing of that is kept.
    """

    def __init__(self, beat: Callable[[], float] | None = None) -> None:
        self._open: dict[tuple[str, str], Finding] = {}
        self._beat = beat
        self._ended: list[Ended] = []
        self._lock = threading.Lock()
        self.changed: Callable[[], None] = lambda: None
        """Told when a finding has come or gone, in the thread that raised or cleared it."""

    def raised(
        self,
        code: str,
        severity: Severity,
        message: str,
        hint: str,
        now: float,
        session: str = "",
        *,
        seen_at: float | None = None,
    ) -> bool:
        """Open a finding, or renew its words; returns whether it is new.  `since` stays the first time.

        `seen_at` is when its cause was last seen, where that is not now.
        """
        with self._lock:
            known = self._open.get((code, session))
            since = known.since if known is not None else now
            seen_at = now if seen_at is None else seen_at
            self._open[code, session] = Finding(code, severity, message, hint, since, session, seen_at)
        if known is None:
            self.changed()
        return known is None

    def cleared(self, code: str, session: str = "") -> Finding | None:
        """Close a finding; returns it, None when it was not open."""
        with self._lock:
            gone = self._open.pop((code, session), None)
            if gone is not None and self._beat is not None:
                self._ended.append(Ended(gone, self._beat()))
        if gone is not None:
            self.changed()
        return gone

    def forgotten(self, session: str) -> None:
        """Close everything about a session that is no more."""
        for finding in self.open():
            if session and finding.session == session:
                self.cleared(finding.code, session)

    def clock_set(self, now: float, by_s: float, within_s: float) -> None:
        """The clock was set by so many seconds, `within_s` ago at most: what is open is as old as it was.

        What says that it began since then has begun by the clock of now.
        """
        with self._lock:
            for key, each in self._open.items():
                if not 0.0 <= now - each.since <= within_s:
                    since, seen_at = (min(now, at + by_s) for at in (each.since, each.seen_at))
                    self._open[key] = replace(each, since=since, seen_at=seen_at)

    def take(self) -> tuple[list[Finding], list[Ended]]:
        """What is open now, and what has ended since this was last asked; for the one who keeps the books."""
        with self._lock:
            ended, self._ended = self._ended, []
            return list(self._open.values()), ended

    def open(self) -> list[Finding]:
        """What is open now, causes and consequences: critical first, then the oldest."""
        with self._lock:
            found = list(self._open.values())
        return sorted(found, key=order)

    def shown(self, now: float) -> list[Finding]:
        """What of that is to be told: no consequences of another one, and nothing that may yet pass."""
        return shown(self.open(), now)

    @property
    def status(self) -> str:
        """`critical` with a critical finding, `degraded` with a warning, else `ok`."""
        severities = {finding.severity for finding in self.open()}
        if Severity.CRITICAL in severities:
            return "critical"
        return "degraded" if severities else "ok"


def order(finding: Finding) -> tuple[bool, float, str]:
    """Critical first, then the oldest."""
    return finding.severity is not Severity.CRITICAL, finding.since, finding.code


def shown(found: Iterable[Finding], now: float) -> list[Finding]:
    """Of findings those to be told, in their order: a cause hides its consequences while both are open."""
    found = list(found)
    open_now = {(finding.code, finding.session) for finding in found}
    return [
        finding
        for finding in found
        # one that began in the future began before a clock was set back
        if not 0.0 <= now - finding.since < finding.kind.visible_after_s and not explained(finding, open_now)
    ]


def explained(finding: Finding, open_now: Iterable[tuple[str, str]]) -> bool:
    """Whether one of these (code, session) is the cause of the finding."""
    return not causes(finding).isdisjoint(open_now)


def causes(finding: Finding) -> set[tuple[str, str]]:
    """What the finding is a consequence of where it is open, each as (code, session)."""
    return {(cause, of) for cause in finding.kind.depends_on for of in ("", finding.session)}

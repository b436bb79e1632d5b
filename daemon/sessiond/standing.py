"""What is wrong by the state of things: findings that last as long as the state does, made when asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from sessiond.engine import Engine
from sessiond.loops import PushLoop
from sessiond.modes import Modes
from sessionsync.archiving import Archiving, code_of
from sessionsync.conflict import Conflicts
from sessionsync.errors import Limited, NoSuchSession, StoreFull
from sessionsync.queue import Lane
from sessionsync.reliability.findings import CRITICAL, WARNING, Finding
from sessionsync.sources.cleanup import cleanup_days
from sessionsync.uplink import Pause, Uplink


class Standing(Protocol):
    """What is looked at."""

    started_at: float
    engine: Engine
    modes: Modes
    push: PushLoop


def standing(app: Standing, now: float) -> Iterator[Finding]:
    """Everything that the state says is wrong; each was seen `now`, or when it was last tried."""
    engine = app.engine
    if engine.push is not None:
        yield from _of_github(engine.push.uplink, app.modes, now)
    if engine.archiving is not None:
        yield from _of_archive(engine.archiving, now)
    yield from _of_settings(app, now)
    if (trouble := app.push.trouble) is not None:
        since, last = app.push.trouble_since, app.push.trouble_at
        yield Finding(trouble.code, CRITICAL, str(trouble), trouble.hint, since, seen_at=last)
    yield from _of_sessions(engine, now)


def last_seen(app: Standing, finding: Finding, now: float) -> float:
    """When the cause of a finding that the state has just ceased to show was last seen (Unix seconds)."""
    if finding.code == StoreFull.code:
        return max(app.push.trouble_at, finding.seen_at)
    sides = {"github_unreachable": app.engine.push, "archive_unreachable": app.engine.archiving}
    side = sides.get(finding.code)
    return (side.uplink.reach.failed_at if side is not None else None) or now


def _of_github(uplink: Uplink, modes: Modes, now: float) -> Iterator[Finding]:
    if (pause := uplink.pause) is not None:
        yield _paused(pause, modes.pause_hint(pause), now, is_limit=pause.code == Limited.code)
    if uplink.reach.unreachable:
        message = "GitHub does not answer; everything is kept and sent when it does."
        hint = "Check the network and github.api_url."
        yield _silent(uplink, "github_unreachable", message, hint, now)


def _of_archive(archiving: Archiving, now: float) -> Iterator[Finding]:
    uplink = archiving.uplink
    if (pause := uplink.pause) is not None:
        yield _paused(pause, pause.hint, now, is_limit=pause.code == code_of(Limited))
    if uplink.reach.unreachable:
        where = f"The archive {archiving.address.url}"
        message = f"{where} does not answer; all is kept and sent when it does."
        hint = "Check the network and archive.url."
        yield _silent(uplink, "archive_unreachable", message, hint, now)


def _paused(pause: Pause, hint: str, now: float, *, is_limit: bool) -> Finding:
    severity = WARNING if is_limit else CRITICAL
    return Finding(pause.code, severity, pause.message, hint, pause.since, seen_at=now)


def _silent(uplink: Uplink, code: str, message: str, hint: str, now: float) -> Finding:
    since, last = uplink.reach.since or now, uplink.reach.failed_at or now
    return Finding(code, WARNING, message, hint, since, seen_at=last)


def _of_settings(app: Standing, now: float) -> Iterator[Finding]:
    engine, since = app.engine, app.started_at
    if engine.config.archive.url and not engine.config.has_archive:
        yield Finding(
            "archive_needs_repository",
            WARNING,
            'archive.url = "github" is the repository in github.repo, and none is set there.',
            "Set github.repo, or archive.url to another git repository or a folder.",
            since,
            seen_at=now,
        )
    if (problem := engine.token_problem) is not None:
        yield Finding(problem.code, WARNING, str(problem), problem.hint, since, seen_at=now)
    for root in engine.config.claude_roots(engine.environ):
        if (days := cleanup_days(root)) is not None and days < 1:
            yield Finding(
                "purge_at_once",
                WARNING,
                f"cleanupPeriodDays is {days:g} in {root}/settings.json: the agent then keeps no transcript.",
                "What was there for a second is kept here. Set it to 30 or more to keep the agent's own.",
                since,
                seen_at=now,
            )


def _of_sessions(engine: Engine, now: float) -> Iterator[Finding]:
    for conflict in Conflicts(engine.store).all():
        try:
            name = engine.catalog.session(conflict.session).name
        except NoSuchSession:
            continue  # it was forgotten meanwhile
        yield Finding(
            "session_conflict",
            WARNING,
            f"{name} was changed here and on {conflict.remote.get('host') or 'another machine'}.",
            f"`sessiond ctl resolve {name} --keep WAY` settles it; --dry-run says what a way does.",
            conflict.since,
            session=name,
            seen_at=now,
        )
    for lane, who in ((Lane.GITHUB, "GitHub"), (Lane.ARCHIVE, "The archive")):
        if not (buried := engine.queue.items(buried=True, lane=lane)):
            continue
        refused = f"{len(buried)} checkpoint{'' if len(buried) == 1 else 's'}"
        yield Finding(
            "item_buried",
            WARNING,
            f"{who} refused {refused} for good: {buried[0].last_error}",
            "`sessiond ctl queue --buried` lists them, `sessiond ctl retry` tries again.",
            min(item.enqueued_at for item in buried),
            seen_at=now,
        )

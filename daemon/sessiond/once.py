"""`sessiond sync --once`: capture, push, and end; for runners that have no service."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sessiond import client, process
from sessiond.cli import sending
from sessiond.cli.progress import Progress, progress
from sessiond.cli.sending import TIMEOUT_S
from sessiond.cli.terminal import terminal
from sessiond.engine import Engine
from sessiond.logs import Log
from sessiond.modes import Modes
from sessiond.saves import Saves
from sessiond.spool import Spool
from sessiond.workers import LONG_SESSIONS, Workers, early
from sessionsync.capture import FLUSH_SESSIONS
from sessionsync.config import Config, Paths, load, paths
from sessionsync.errors import AlreadyRunning, CopyError, DaemonNotRunning, SessiondError
from sessionsync.events import Emit, silent
from sessionsync.model import Ref
from sessionsync.privacy.gate import Gate
from sessionsync.queue import Lane
from sessionsync.remote.archive.address import address_of
from sessionsync.sources.claude import Claude

if TYPE_CHECKING:
    from sessiond.metrics import Metrics
    from sessionsync.push import Push

# How long the daemon, when one runs, may take beyond the time it was given.
GRACE_S = 10.0


def sync_once(
    environ: Mapping[str, str],
    *,
    timeout_s: float = TIMEOUT_S,
    textfile: Path | None = None,
    as_json: bool = False,
    debug: bool = False,
) -> int:
    """Capture and push until nothing is left or the time is over; prints the counts.

    On the way only what is wrong is told, and to a person how far it is; with `debug` everything.

    Returns the exit code: 0 all through (or nothing to push to), 1 with what is left, 5 with what was
    refused for good.
    """
    process.harden()
    process.expect_a_burst()
    where = paths(environ)
    config = load(environ, where.config_file)
    is_sent = _leads_anywhere(config)

    def shown(label: str) -> AbstractContextManager[Progress]:
        return nullcontext(_untold) if debug else progress(label)

    try:
        with _alone(environ, config, where, textfile, debug=debug) as (engine, saves, workers):
            with shown("Copying") as told:
                problems = _capture(engine, saves, workers, told)
            if not is_sent:  # then this was it, and what is left to do nobody waits for
                counts = _said(config, _drain(engine, 0.0), as_json=as_json)
            with shown("Reading") as told:
                problems += _read(engine, workers, told)
            if is_sent:
                counts = _said(config, _drain(engine, time.monotonic() + timeout_s), as_json=as_json)
            if engine.token_problem is not None:
                problems.append(engine.token_problem)
    except AlreadyRunning as running:
        handed, problems = _hand_over(where, timeout_s, textfile, running), []
        counts = _said(config, handed, as_json=as_json)
    if problems:
        raise problems[0]
    if counts["buried"]:
        return 5
    return 1 if counts["left"] else 0


def _leads_anywhere(config: Config) -> bool:
    """Whether something is set that could be pushed to."""
    return bool(config.github.repo) or address_of(config) is not None


def _hand_over(
    where: Paths, timeout_s: float, textfile: Path | None, running: AlreadyRunning
) -> dict[str, Any]:
    """Let the daemon that holds the lock do it; `running` where it is another kind of process."""
    wanted = {"wait": timeout_s, "capture": True, "textfile": str(textfile.absolute()) if textfile else ""}
    try:
        return client.request(where.socket, "sync", wanted, acts=True, timeout_s=timeout_s + GRACE_S)
    except DaemonNotRunning:
        raise running from None


@contextmanager
def _alone(
    environ: Mapping[str, str], config: Config, where: Paths, textfile: Path | None, *, debug: bool
) -> Iterator[tuple[Engine, Saves, Workers]]:
    """The engine for this process alone, what hooks have left for it, and others to share its work with.

    Events are logged and counted.
    """
    process.own(where.state_dir)
    with process.hold(where.lock), early(_unknown(environ, config, where)) as begun:
        metrics = _metrics() if textfile is not None else None
        log = Log(
            environ,
            level="debug" if debug else config.log.level,
            shape=config.log.format,
            folder=process.own(where.log_dir),
            count=None if metrics is None else partial(metrics.add, "log_messages"),
            quiet=not debug,
            gate=Gate.of(config.privacy),
        )

        def emit(event: str, **fields: Any) -> None:
            log(event, **fields)
            if metrics is not None:
                metrics.on_event(event, fields)

        engine = Engine(environ, config, where, emit)
        try:
            if engine.vault_trouble is not None:
                raise engine.vault_trouble
            with Workers(engine, emit, begun=begun) as workers:
                yield engine, Saves(engine, Spool(where.spool_dir), emit), workers
            if textfile is not None and metrics is not None:
                _tell(metrics, engine, textfile, emit)
        finally:
            engine.close()
            log.close()


def _unknown(environ: Mapping[str, str], config: Config, where: Paths) -> int:
    """How many transcripts there are where no state knows of any; counted no further than it matters."""
    if where.state_db.exists():
        return 0
    found = Claude(config.claude_roots(environ), silent).find()
    return sum(1 for _ in islice(found, LONG_SESSIONS))


def _metrics() -> Metrics:
    from sessiond.metrics import Metrics, catalogue  # noqa: PLC0415 - only where they are asked for
    from sessionsync.privacy.rules import KINDS  # noqa: PLC0415

    return Metrics(catalogue(kinds=KINDS), time.time)


def _tell(metrics: Metrics, engine: Engine, textfile: Path, emit: Emit) -> None:
    """Write what is counted, and what the engine stands at, into the file."""
    from sessiond.counting import Counting, storage  # noqa: PLC0415 - as above
    from sessiond.metrics import of_engine  # noqa: PLC0415
    from sessiond.metrics.readings import of_storage, of_transcripts  # noqa: PLC0415

    metrics.read(lambda: of_storage(storage(engine.catalog, engine.config, engine.paths)))
    counting = Counting(engine, emit)
    metrics.read(lambda: of_transcripts(counting.all()))
    for source in of_engine(engine):
        metrics.read(source)
    metrics.write(textfile)
    counting.end()


def _untold(done: int, total: int) -> None:
    """Where every event is told, nobody needs to see how far it is."""


def _capture(engine: Engine, saves: Saves, workers: Workers, told: Progress) -> list[SessiondError]:
    """Make a checkpoint of everything that changed; returns why of some none could be made."""
    saves.take_in(time.time())  # first, so that hooks' events name their checkpoints
    capture = engine.capture
    with engine.places.held():
        backlog = deque(capture.survey())
    problems = _share(engine, workers, backlog, told)
    try:
        capture.checkpoint_all("once", time.time())
    except CopyError as error:
        problems.append(error)
    for path, reason in capture.unreadable().items():
        problems.append(CopyError(f"{path} cannot be read: {reason}.", hint="Let this user read it."))
    return problems


def _read(engine: Engine, workers: Workers, told: Progress) -> list[SessiondError]:
    """Read the lines of what was only skimmed, which is due at once; returns why some could not be."""
    due = deque(engine.capture.due(time.time()))
    problems = _share(engine, workers, due, told)
    try:
        engine.capture.flush(time.time())
    except CopyError as error:
        problems.append(error)
    return problems


def _share(engine: Engine, workers: Workers, backlog: deque[Ref], told: Progress) -> list[SessiondError]:
    """Capture all of a backlog, others some of it; returns why some could not be."""
    capture = engine.capture
    problems: list[SessiondError] = []
    total = len(backlog)
    while workers.share(backlog):
        told(total - len(backlog) - workers.busy + 1, total)
        ref = backlog.popleft()
        try:
            capture.capture(ref, time.time())
            if (full := capture.is_behind(ref)) is not None:
                problems.append(full)
            if len(capture.unflushed) >= FLUSH_SESSIONS:
                capture.flush(time.time())
        except CopyError as error:
            problems.append(error)
    return problems


def _drain(engine: Engine, until: float) -> dict[str, Any]:
    """Push until nothing is left, or until that time (monotonic), and see what others have changed.

    What a person has commanded, to pause or to stay local, holds here as well.
    """
    queue = engine.queue
    modes = Modes(engine, silent, lambda: None)
    lane = None if engine.config.github.repo else Lane.ARCHIVE
    due = len(queue.items(lane=lane))
    if _leads_anywhere(engine.config) and modes.may_push():
        # what an earlier run left for later is tried now: there may be no later
        queue.make_due(time.time())
        _send(engine, until)
    buried = len(queue.items(buried=True))
    left = len(queue.items(lane=lane))
    counts: dict[str, Any] = {
        "due": due,
        "pushed": max(0, due - left - buried),
        "left": left,
        "buried": buried,
    }
    if not _leads_anywhere(engine.config):
        return counts | {"kept": engine.catalog.kept()} | _why(engine, modes)
    return counts | (_why(engine, modes) if left else {})


def _send(engine: Engine, until: float) -> None:
    """Fill GitHub and the archive at once, and see what others have changed."""
    with ThreadPoolExecutor(1, "archive") as beside:
        archived = beside.submit(_archive, engine, until)
        _comment(engine, until)
        if engine.pull is not None and time.monotonic() < until:
            engine.pull.work(time.time())
            _comment(engine, until)
        archived.result()
    if engine.gather is not None and not engine.is_passing and time.monotonic() < until:
        engine.gather.work(time.time())
        _comment(engine, until)


def _archive(engine: Engine, until: float) -> None:
    """Fill the archive until nothing is left, or until that time (monotonic)."""
    queue, archiving = engine.queue, engine.archiving
    while archiving is not None and queue.items(lane=Lane.ARCHIVE) and time.monotonic() < until:
        if archiving.work(time.time()):
            continue
        at = archiving.next_at(time.time())
        if archiving.is_stuck or at is None:
            break
        time.sleep(max(0.0, min(at - time.time(), until - time.monotonic())))


def _comment(engine: Engine, until: float) -> None:
    """Write comments until nothing is left, or until that time (monotonic)."""
    queue, push = engine.queue, engine.push
    while push is not None and time.monotonic() < until and push.uplink.pause is None:
        if not (items := queue.items(lane=Lane.GITHUB)):
            break
        if _step(push, until):
            continue
        if all(item.operation == "index" and not item.failures for item in items):
            queue.make_due(time.time(), lane=Lane.GITHUB)  # nothing more is to be listed in it
            continue
        if (at := push.next_at(time.time())) is None:
            break
        time.sleep(max(0.0, min(at - time.time(), until - time.monotonic())))


def _why(engine: Engine, modes: Modes) -> dict[str, str]:
    """Why something is left, and what to do."""
    mode = modes.now()
    pause = engine.push.uplink.pause if engine.push is not None else None
    archiving = engine.archiving
    if not modes.may_push():
        reason, hint = mode.reason, mode.hint
    elif archiving is not None and not (engine.config.github.repo and engine.queue.items(lane=Lane.GITHUB)):
        stopped = archiving.uplink.pause
        reason, hint = (stopped.message, stopped.hint) if stopped is not None else _trouble(engine)
    elif engine.push is None:
        reason, hint = mode.reason, mode.hint
    elif pause is not None:
        reason, hint = pause.message, pause.hint
    else:
        reason, hint = _trouble(engine)
    return {
        "reason": reason or "the time was over",
        "hint": hint or "Run it again, or give it more --timeout.",
    }


def _trouble(engine: Engine) -> tuple[str, str]:
    from sessionsync.report import trouble  # noqa: PLC0415 - nearly always nothing is the matter

    return trouble(engine.queue)


def _step(push: Push, until: float) -> bool:
    """Send one item; False when there was none, or the time is over."""
    steps = push.work(time.time())
    try:
        wait = next(steps)
        while time.monotonic() + wait < until:
            time.sleep(wait)
            wait = steps.send(time.time())
    except StopIteration as end:
        return bool(end.value)
    steps.close()
    return False


def _said(config: Config, counts: dict[str, Any], *, as_json: bool) -> dict[str, Any]:
    """Print the counts; to wait for a repository that nobody has named is not to be behind."""
    if not _leads_anywhere(config):
        counts |= {"due": 0, "left": 0}
    said = json.dumps(counts) if as_json else "\n".join(sending.synced(counts, time.time(), terminal()))
    sys.stdout.write(f"{said}\n")
    sys.stdout.flush()
    return counts

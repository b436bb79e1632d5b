"""The daemon: everything wired once, started in order, stopped in reverse."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from sessiond import client, faces, memory, process
from sessiond.archiver import ArchiveLoop
from sessiond.away import Away, Nothing
from sessiond.bookkeeping import Bookkeeping
from sessiond.control import Control
from sessiond.counting import Counting
from sessiond.engine import Engine
from sessiond.footing import Footing
from sessiond.health import HealthLoop
from sessiond.indexing import IndexLoop
from sessiond.logs import Log
from sessiond.loops import CaptureLoop, Loop, PushLoop
from sessiond.metrics import Metrics, catalogue, of_daemon
from sessiond.modes import Modes
from sessiond.notify import Notify
from sessiond.pulse import Pulse
from sessiond.retrieval import open_archive
from sessiond.saves import Saves
from sessiond.schedule import Job, Schedule
from sessiond.server import Server
from sessiond.spool import Spool
from sessiond.upgrade import Upgrade, become
from sessiond.upkeeping import BYTES_PER_S, UpkeepLoop, upkeep_of
from sessiond.verbs import Verbs
from sessiond.watcher import Watcher
from sessionsync import __version__
from sessionsync.budget import Budget
from sessionsync.config import Config, Paths, differences, load, needs_restart, paths
from sessionsync.errors import AlreadyRunning, ConfigError, CopyError, SessiondError, StoreError
from sessionsync.events import EVENTS
from sessionsync.privacy.gate import Gate
from sessionsync.privacy.rules import KINDS
from sessionsync.reliability.findings import FINDINGS, Findings, Severity
from sessionsync.restore import Shelf
from sessionsync.restore.records import RecordShelf
from sessionsync.sources.folders import can_read, is_real_folder

# The rescan that is the truth, whatever the watcher says.
RESCAN_S = 300.0
# The threads of the watcher are looked at.
SUPERVISE_S = 15.0
# Folders that came or went are taken in, should no event have told of them.
REFRESH_S = 60.0
# What a burst of work needed of memory goes back to the system.
TRIM_S = 60.0
# Less of the CPU than this makes no burst; a minute at rest takes a tenth of it.
BURST_S = 0.05
# What hooks left while nobody answered is looked for.
SPOOL_S = 60.0
# A loop that shows no progress for so long does not turn any more: /healthz fails.
STUCK_S = 120.0
# The service manager is told that all is well, and of what is not; half of WatchdogSec= where it watches.
BEAT_S = 30.0
# What was captured is counted this often.
COUNT_S = 60.0
# While a command that holds the state is waited for, it is looked this often whether to wait on.
HELD_LOOK_S = 0.5
# What the first scan may take to begin before the daemon calls itself ready all the same.
BEGINS_S = 60.0
# What a daemon that takes over may take to be ready; a state of an older version is brought up to date.
BEGINS_ANEW_S = 900.0
# What a push may still take after SIGTERM, of the 10 s in which the process ends.
PUSH_ENDS_S = 3.0
LOOP_ENDS_S = 5.0


class App:
    """A running daemon.  `start` and `stop` belong to the main thread."""

    def __init__(
        self, environ: Mapping[str, str], config: Config, where: Paths, log: Log, notify: Notify
    ) -> None:
        self.environ = environ
        self.config = config
        # as the file said when it was read last, and what that file was when it was looked at last
        self._settings = config
        self._settings_file: tuple[int, int, int] | None = (0, 0, 0)
        self.paths = where
        self.log = log
        self.notify = notify
        self.started_at = time.time()
        self.findings = Findings(time.monotonic)
        self.exit_code = 0
        self.gives_way = False
        """Whether it ends for the program that was installed in its place."""
        self.port: int | None = None
        self.engine: Engine
        self.modes: Modes
        self.capture: CaptureLoop
        self.push: PushLoop
        self.archive: ArchiveLoop
        self.index: IndexLoop
        self.upkeep: UpkeepLoop
        self.books: Bookkeeping
        self.health: HealthLoop
        self.upgrade = Upgrade(environ, self.findings, self.emit, self.give_way)
        self.counting: Counting
        self._ends = ExitStack()
        self._ending = False
        self._reading = threading.Lock()
        self._speaking = threading.Lock()
        self._clean = False
        self._trimmed_s = 0.0
        self.metrics = Metrics(
            catalogue(
                loops=("capture", "push", "archive", "index", "upkeep", "health"),
                jobs=("rescan", "supervise", "refresh", "trim", "spool", "beat", "health", "count"),
                commands=Verbs.NAMES,
                kinds=KINDS,
            ),
            time.time,
        )
        log.count = partial(self.metrics.add, "log_messages")

    # --- what happens is told once, and heard by all

    def emit(self, event: str, **fields: Any) -> None:
        """Log an event, count it, and keep it for `ctl events`."""
        self.log(event, **fields)
        self.metrics.on_event(event, fields)
        if (books := getattr(self, "books", None)) is not None:
            books.on_event(event, fields)
        if (health := getattr(self, "health", None)) is not None:
            health.on_event(event, fields)
        if event == "capture_resumed" and (upkeep := getattr(self, "upkeep", None)) is not None:
            upkeep.go_on()
        engine = getattr(self, "engine", None)
        if engine is None or EVENTS.get(event, "debug") == "debug":
            return
        try:
            engine.store.log(time.time(), event, str(fields.pop("session", "")), fields)
        except SessiondError:
            return  # a full disk must not keep us from saying so in the log

    # --- life

    def start(self) -> None:
        """Bring everything up; whatever was started is stopped again if a later part fails."""
        with ExitStack() as undo:
            self.engine = Engine(self.environ, self.config, self.paths, self.emit)
            undo.callback(self.engine.close)
            backup = self.config.backup
            self.footing = Footing((backup.mirror_dir, backup.vault_dir))
            pulse = Pulse(process.own(self.paths.socket.parent) / "pulse")
            self.books = Bookkeeping(self.engine.store, pulse, self.emit)
            self.modes = Modes(self.engine, self.emit, self._mode_changed)
            watcher = Watcher(self._roots, self.emit)
            self.watcher = watcher
            watcher.start()
            undo.callback(watcher.stop)
            self.push = PushLoop(self.engine, self.modes.may_push, self.emit, self._loop_failed)
            self.archive = ArchiveLoop(self.engine, self.modes.may_push, self.emit, self._loop_failed)
            self.capture = CaptureLoop(
                self.engine,
                watcher,
                self.findings,
                self.emit,
                self._loop_failed,
                on_captured=self._captured,
                on_items=self._queued,
            )
            background = Budget(BYTES_PER_S)
            self.index = IndexLoop(
                self.engine,
                self.findings,
                self.emit,
                self._loop_failed,
                background,
                busy=lambda: not self.capture.rested.is_set(),
                first=lambda: self.upkeep.is_urgent,
            )
            away = [
                Away(name, opened, self.engine.catalog, self.paths.state_dir, self.emit)
                for name, opened in (("github", self._records), ("archive", self._archived))
            ]
            self.copies = upkeep_of(self.engine, self.capture, away, self.emit)
            self.upkeep = UpkeepLoop(
                self.copies,
                self.engine,
                self.findings,
                self.emit,
                self._loop_failed,
                background,
                busy=lambda: not self.capture.rested.is_set(),
                first=lambda: self.index.is_behind,
                away=away,
                may_ask=self.modes.may_ask,
            )
            self.health = HealthLoop(self, self.emit, self._loop_failed)
            for loop in self.loops():
                loop.turned = pulse.show
            self.counting = Counting(self.engine, self.emit, busy=lambda: not self.capture.rested.is_set())
            undo.callback(self.counting.end)
            self.spool = Spool(self.paths.spool_dir)
            self.saves = Saves(self.engine, self.spool, self.emit)
            self.verbs = Verbs(self)
            self._read_metrics()
            listener = undo.enter_context(process.bound(self.paths.socket))
            listener.refused = lambda uid: self.emit("stranger_refused", uid=uid)
            control = Control(
                self.verbs.table(),
                self.emit,
                self._answered(pulse),
                other_version=lambda: self.schedule.soon("supervise"),
            )
            server = Server(control, listener, threads=8, name="control")
            # it is up from when one can call it; who is answered may write in books that are open
            listener.listen(64)
            self._open_books()
            undo.callback(lambda: self.books.end(clean=self._clean))
            server.start()
            undo.callback(server.close)
            self._open_faces(undo)
            self.schedule = Schedule(
                [
                    Job("rescan", RESCAN_S, lambda: self.capture.want_rescan("timer")),
                    Job("supervise", SUPERVISE_S, self.supervise),
                    Job("refresh", REFRESH_S, self.watcher.look),
                    Job("trim", TRIM_S, self.trim),
                    Job("spool", SPOOL_S, self._take_in),
                    Job("health", self.config.health.interval_seconds, self.health.want),
                    Job("count", COUNT_S, self.counting.run),
                    Job("beat", (self.notify.watchdog_s or 2 * BEAT_S) / 2, self.beat, turn=False),
                ],
                lambda name, seconds, success: self.metrics.job(name, seconds, success=success),
            )
            self.schedule.start()
            undo.callback(self.schedule.stop)
            self.capture.soon(
                self.saves.take_in
            )  # before the first scan, so that events name their checkpoints
            for loop in self.loops():
                loop.start()
            undo.callback(self._stop_loops)
            self._ends = undo.pop_all()
        mode = self.modes.now()
        self.emit("daemon_started", version=__version__, pid=os.getpid(), mode=mode.name, port=self.port)
        if mode.name == "local_only":
            self.log("mode_changed", mode=mode.name, reason=mode.reason)

    def tell_ready(self) -> None:
        """Tell the service manager, as soon as the control socket answers and the first scan is under way."""
        client.request(self.paths.socket, "health", timeout_s=BEGINS_S)
        self.capture.scanning.wait(BEGINS_S)
        self.notify.ready(self.saying())

    def stop(self) -> None:
        """Take everything down in reverse; what is captured is committed."""
        with self._speaking:  # nobody says behind it how all is
            self._ending = True
            if not self.gives_way:
                self.notify.stopping()
        self._clean = self.exit_code == 0  # what ends by an error is down until it runs again
        self.emit("daemon_stopped", seconds=round(time.time() - self.started_at, 1))
        self._ends.close()

    def loops(self) -> tuple[Loop, ...]:
        """Every loop."""
        return self.capture, self.push, self.archive, self.index, self.upkeep, self.health

    def _stop_loops(self) -> None:
        for loop in self.loops():
            loop.stop()
        self.push.join(PUSH_ENDS_S)
        if self.push.is_alive() and self.engine.push is not None:
            self.engine.push.github.close()  # ends a request that hangs; it is looked for at the next start
            self.push.join(1.0)
        self.archive.end()  # what git has begun is done again at the next start
        self.archive.join(LOOP_ENDS_S)
        if not self.archive.is_alive():
            self.archive.close()
        self.capture.join(LOOP_ENDS_S)
        if not self.capture.is_alive():
            self.capture.finish()
        self.upkeep.join(LOOP_ENDS_S)
        self.health.join(LOOP_ENDS_S)
        if not self.health.is_alive():
            self.health.keep_books()  # what was found last is told after the next start since when it is so
        self.index.join(LOOP_ENDS_S)
        if not self.index.is_alive():
            self.index.close()

    def _open_books(self) -> None:
        """Account for the time since the last life; the clock may have been set in it."""
        self.books.begin()
        if (by_s := self.books.ledger.set_s) < 0:
            with suppress(StoreError):  # a full disk is said where it hurts
                self.engine.clock_set_back(time.time(), by_s)

    def _open_faces(self, undo: ExitStack) -> None:
        address = self.config.http.address
        if address is None:
            return
        app = faces.Faces(
            self.metrics.application(),
            healthy=self.health_checks,
            ready=self.ready_checks,
            observe=self._observe("http_request_duration_seconds"),
        )
        opened = faces.open_faces(app, address, self.emit)
        if opened is None:
            self.findings.raised(
                "http_port_taken",
                Severity.WARNING,
                f"The metrics port {self.config.http.listen} is taken; everything else goes on.",
                "Set http.listen to a free port, or to '' to do without metrics, and restart.",
                time.time(),
            )
            return
        server, self.port = opened
        undo.callback(server.close)

    def _read_metrics(self) -> None:
        self.metrics.in_time = self.books.in_time
        for source in of_daemon(self):
            self.metrics.read(source)

    def _answered(self, pulse: Pulse) -> Any:
        """What is done with the time an answer took: who is answered knows that the daemon is there."""
        measure = self._observe("ctl_request_duration_seconds")

        def answered(verb: str, seconds: float) -> None:
            pulse.show()
            measure(verb, seconds)

        return answered

    def _observe(self, histogram: str) -> Any:
        return lambda name, seconds: self.metrics.observe(histogram, name, seconds=seconds)

    def _roots(self) -> list[Any]:
        return [root for source in self.engine.sources for root in (*source.roots(), *source.awaited())]

    def _mode_changed(self) -> None:
        for loop in (self.push, self.archive, self.upkeep, self.health):
            loop.bell.ring()

    def _captured(self) -> None:
        """Something was committed: there may be something to index and to count."""
        self.index.bell.ring()
        self.counting.captured()

    def _queued(self) -> None:
        """Items were queued: there is something to send."""
        self.push.bell.ring()
        self.archive.bell.ring()

    # --- supervision

    def supervise(self) -> None:
        """Replace a dead watcher; look again at what could not be read; see whether this program still is.

        With it goes a sign of life, as the loops give none while nothing happens.
        """
        self.books.show()
        regained = [path for path in self.engine.capture.unreadable() if can_read(path)]
        if not self.watcher.alive():
            self.emit("watcher_restarted")
            self.watcher.restart()
        elif any(map(is_real_folder, regained)):
            self.watcher.restart()  # what could not be read was not watched either
        elif regained:
            self.capture.want_rescan("readable")
        elif self.engine.capture.shuts_out(self.watcher.folders):
            self.capture.want_rescan("unreadable")
        self._see_copies()
        self._see_settings()
        with suppress(StoreError):  # a full disk is said where it hurts
            self.engine.store.write_events()  # none waits for long
        self.upgrade.look()

    def _see_settings(self) -> None:
        """See whether the settings file says what was read from it last: commands read it at once."""
        with self._reading:  # else what was seen before is said after what is read meanwhile
            self._look_at_settings()

    def _look_at_settings(self) -> None:
        if (stamp := _stamp(self.paths.config_file)) == self._settings_file:
            return
        self._settings_file = stamp
        try:
            changed = differences(self._settings, load(self.environ, self.paths.config_file))
        except ConfigError as error:
            self.findings.raised(error.code, Severity.WARNING, str(error), error.hint, time.time())
            return
        self.findings.cleared(ConfigError.code)
        if not changed:
            self.findings.cleared("reload_needed")
            return
        message = (
            f"The settings file was changed, and the daemon has not read it again: {', '.join(changed)}."
        )
        hint = FINDINGS["reload_needed"].remedy
        self.findings.raised("reload_needed", Severity.WARNING, message, hint, time.time())

    def _see_copies(self) -> None:
        """See whether the folders of the copies are those that were written into; else have them filled."""
        if self.engine.vault_trouble is None and not self.engine.vault.is_held():
            self.capture.soon(self._keep_vault)
        with suppress(StoreError):
            if lost := self.footing.lost():
                self.emit("copies_removed", folders=list(map(str, lost[:10])), count=len(lost))
                self.upkeep.refill(lost)

    def _keep_vault(self, now: float) -> None:
        try:
            self.engine.keep_vault(now)
        except CopyError:
            raise  # it is tried again, and what cannot be written says so
        except SessiondError as error:  # another process writes there: no two may
            self._loop_failed("capture", error)

    def beat(self) -> None:
        """Tell the service manager that every loop turns, and what a person should know.

        launchd has no watchdog, so there the daemon ends itself where a loop is stuck.
        """
        if self._ending:  # its loops end, each in its time
            self.notify.alive()
            return
        stuck = {name: why for name, why in self.stuck().items() if why}
        if not stuck:
            self.notify.alive()
            with self._speaking:
                if not self._ending:
                    self.notify.status(self.saying())
            return
        name, why = next(iter(stuck.items()))
        self.notify.status(f"The {name} loop is stuck: {why}.")
        if process.under_launchd(self.environ):
            self.log.at("error", "loop_failed", {"loop": name, "reason": why})
            self.end(70)

    def saying(self) -> str:
        """What the daemon does, in a line for people that only changes when something does."""
        findings = self.findings.open()
        worst = next((found for found in findings if found.severity is Severity.CRITICAL), None)
        refused = next((found for found in findings if found.code == ConfigError.code), None)
        mode = self.modes.now()
        if worst is not None:
            return f"{worst.message} {worst.hint}"
        if refused is not None:
            return f"The settings were refused, the old ones stay: {refused.message}"
        if mode.name != "normal":
            doing = "Backing up on this disk; nothing goes to GitHub"
            return f"{doing}: {mode.reason}. {mode.hint}".strip()
        if not self.capture.rested.is_set():
            return "Backing up what has changed."
        return f"Everything is on this disk twice{self._on_github()}"

    def _on_github(self) -> str:
        """How far GitHub has what is on this disk: the end of a sentence."""
        # the list in an issue's text is written after them, and they are safe without it
        if waiting := self.engine.queue.waiting("comment"):
            them = "1 checkpoint is on its" if waiting == 1 else f"{waiting:,} checkpoints are on their"
            return f"; {them} way to GitHub."
        if buried := self.engine.queue.waiting("comment", buried=True):
            them = "1 checkpoint" if buried == 1 else f"{buried:,} checkpoints"
            return f"; GitHub refused {them} for good. See why: sessiond ctl queue --buried."
        return " and on GitHub."

    def _take_in(self) -> None:
        """Have saved what hooks left; nobody is woken for nothing."""
        if not self.spool.is_empty():
            self.capture.soon(self.saves.take_in)

    def trim(self) -> None:
        """Give back what the last burst of work needed of memory; without one nothing is to be had."""
        spent_s = time.process_time()
        if spent_s - self._trimmed_s < BURST_S:
            return
        with suppress(StoreError):
            self.engine.store.shrink()
        self.index.trim()
        memory.trim()
        self._trimmed_s = spent_s

    def _loop_failed(self, name: str, error: BaseException) -> None:
        """A loop has ended by an error: the process ends too, and its service starts it anew."""
        said: dict[str, Any]
        if isinstance(error, SessiondError):
            said = {"code": error.code, "reason": str(error), "hint": error.hint}
        else:
            said = {"error": repr(error), "exc_info": error}
        self.log.at("error", "loop_failed", {"loop": name, **said})
        self.end(getattr(error, "exit_code", 70))

    def health_checks(self) -> dict[str, str]:
        """Whether the process lives and its loops turn; '' where nothing is wrong."""
        checks = self.stuck()
        checks["watcher"] = "" if self.watcher.alive() else "dead, it is being restarted"
        return checks

    def stuck(self) -> dict[str, str]:
        """Of each loop why it does not turn, '' where it does; one that waits turns when it said."""
        said = {}
        for loop in self.loops():
            stuck = loop.failed or not loop.is_alive() or loop.progress_age_s > STUCK_S
            said[loop.name] = f"no progress for {loop.progress_age_s:.0f} s" if stuck else ""
        return said

    def stuck_for(self) -> dict[str, float]:
        """Of each loop for how many seconds it has not turned."""
        return {loop.name: loop.progress_age_s for loop in self.loops()}

    @property
    def is_served(self) -> bool:
        """Whether a service manager starts the daemon anew when it ends."""
        return self.notify.watchdog_s is not None or process.under_launchd(self.environ)

    def may_push(self) -> bool:
        """Whether something is sent to GitHub at all."""
        return self.engine.push is not None and self.modes.may_push()

    def ready_checks(self) -> dict[str, str]:
        """Whether the daemon does its work: state open, watcher alive, the first scan done."""
        checks = self.health_checks()
        checks["first_scan"] = "" if self.capture.scanned.is_set() else "has not finished"
        # anybody may look, and the message has the folder in it
        full = [f.kind.summary for f in self.findings.open() if f.code.endswith("disk_full")]
        checks["disk"] = full[0] if full else ""
        return checks

    @contextmanager
    def _archived(self) -> Iterator[Shelf | None]:
        """What the archive holds; None while it may not be asked."""
        with ExitStack() as ends:
            if not self.config.archive.url:
                yield Nothing()
            elif self.modes.may_push():
                yield open_archive(self.config, self.paths, ends) or Nothing()
            else:
                yield None

    @contextmanager
    def _records(self) -> Iterator[Shelf | None]:
        """The records on GitHub, by a client of their own; None while it cannot be asked."""
        github = self.engine.client() if self.modes.may_ask() else None
        settings = self.config.github
        if github is None:
            yield None if settings.repo else Nothing()
            return
        try:
            yield RecordShelf(github, authors=settings.authors, issue=settings.issue)
        finally:
            github.close()

    # --- settings

    def reload(self) -> list[str]:
        """Read the settings again and apply them; returns what changed.

        Raises:
            ConfigError: they are wrong; the old ones stay.
        """
        self.notify.reloading()
        try:
            return self._reload()
        finally:
            with self._speaking:
                self.notify.ready(self.saying())

    def _reload(self) -> list[str]:
        config = self._read_settings()
        changed = differences(self.config, config)
        waiting = [name for name in changed if needs_restart(name)]
        self._say_waiting(waiting)
        config = config._replace(http=self.config.http, backup=self.config.backup)
        self.config = config
        self.log.configure(config.log.level, config.log.format, Gate.of(config.privacy))
        self.capture.call(lambda _now: self.engine.reload(config))
        self.schedule.pace("health", config.health.interval_seconds)
        self.supervise()
        self.capture.go_on()
        self.capture.want_rescan("command")
        self.push.bell.ring()
        self.archive.bell.ring()
        self.emit("config_reloaded", changed=list(changed), restart_needed=waiting)
        return list(changed)

    def _read_settings(self) -> Config:
        with self._reading:
            self._settings_file = _stamp(self.paths.config_file)
            try:
                config = load(self.environ, self.paths.config_file)
            except ConfigError as error:
                self.emit("config_refused", reason=str(error), hint=error.hint)
                self.findings.raised(error.code, Severity.WARNING, str(error), error.hint, time.time())
                raise
            self.findings.cleared(ConfigError.code)
            self.findings.cleared("reload_needed")
            self._settings = config
            return config

    def _say_waiting(self, settings: list[str]) -> None:
        """Commands read the new file at once, and then look elsewhere than this process writes."""
        if not settings:
            self.findings.cleared("restart_needed")
            return
        message = f"The daemon still goes by the old settings; restart to apply: {', '.join(settings)}."
        hint = FINDINGS["restart_needed"].remedy
        self.findings.raised("restart_needed", Severity.WARNING, message, hint, time.time())

    # --- the main thread

    def wait(self) -> bool:
        """Wait for a signal: SIGTERM and SIGINT end the daemon, SIGHUP reloads its settings.

        Returns whether the program that was installed in its place takes over; not where it was told to end
        before that.

        The signals are blocked in every thread and taken here, one after the other: no handler runs
        in the middle of anything.  SIGUSR1 is `give_way`'s.
        """
        while not self._ending:
            match signal.sigwait(SIGNALS):
                case signal.SIGTERM | signal.SIGINT:
                    return False
                case signal.SIGUSR1 if self.gives_way:
                    return True
                case signal.SIGUSR1:
                    continue
            try:
                self.reload()
            except ConfigError:
                continue  # said already; the old settings stay
        return False

    def end(self, exit_code: int = 0) -> None:
        """End the daemon from any thread."""
        self.exit_code = self.exit_code or exit_code
        self._ending = True
        os.kill(os.getpid(), signal.SIGTERM)

    def give_way(self, said: str) -> None:
        """End for the program that was installed in place of this one, from any thread.

        By a signal of its own: a SIGTERM that comes meanwhile waits for the other program, and ends that.
        """
        self.emit("daemon_replaced", version=__version__, by=said)
        self.notify.replacing("Another version was installed: it takes over.", BEGINS_ANEW_S)
        self.gives_way = True
        os.kill(os.getpid(), signal.SIGUSR1)


# Another daemon runs, another user's state, wrong settings: to start again would change nothing.
FOR_A_PERSON = (75, 77, 78)
INTERNAL = 70
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def run(environ: Mapping[str, str], *, debug: bool = False) -> int:
    """Run the daemon in the foreground until it is told to stop; returns the exit code."""
    process.harden()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    where = paths(environ)
    notify = Notify(environ)
    try:
        code = _run(environ, where, notify, debug=debug)
    except SessiondError as error:
        notify.status(f"{str(error).rstrip('.')}. {error.hint}")
        # launchd starts anew whatever failed, and this would fail again
        if error.exit_code in FOR_A_PERSON and process.under_launchd(environ):
            sys.stderr.write(f"sessiond: {error.code}: {error}\n{error.hint}\n")
            return 0
        raise
    if code is not None:
        return code
    try:
        become(environ)
    except OSError as error:  # its files have changed again: a start by the service manager finds them
        notify.status(f"The version that was installed cannot be run: {error}.")
        return INTERNAL


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """What tells a file from what it was; None where it is not there."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _hold(held: ExitStack, where: Paths, notify: Notify, *, waits: bool) -> bool:
    """Hold the lock on this state; False where the process is to end before it has it.

    A command that holds it, as `sync --once`, ends by itself: who `waits` for that was started by a service
    manager, which would not do so again.

    Raises:
        AlreadyRunning: another daemon has it.
    """
    while True:
        try:
            held.enter_context(process.hold(where.lock, wait_s=HELD_LOOK_S if waits else 0.0))
        except AlreadyRunning as error:
            if not waits or process.answers(where.socket):
                raise
            notify.status(f"Starts when that has ended: {error}")
        else:
            return True
        if signal.sigpending() & {signal.SIGTERM, signal.SIGINT}:
            return False


def _run(environ: Mapping[str, str], where: Paths, notify: Notify, *, debug: bool) -> int | None:
    """Run it; the exit code, None where the program that was installed is to take over."""
    config = load(environ, where.config_file)
    process.own(where.state_dir)
    with ExitStack() as held:
        if not _hold(held, where, notify, waits=notify.is_heard or process.under_launchd(environ)):
            return 0
        log = Log(
            environ,
            level="debug" if debug else config.log.level,
            shape=config.log.format,
            folder=process.own(where.log_dir),
            gate=Gate.of(config.privacy),
        )
        log.adopt()
        try:
            app = App(environ, config, where, log, notify)
            app.start()
            is_replaced = False
            try:
                app.tell_ready()
                is_replaced = app.wait()
            finally:
                app.stop()
            return None if is_replaced else app.exit_code
        finally:
            log.close()

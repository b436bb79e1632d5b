"""What happens by the clock: a few jobs on one scheduler.

A job that came late still runs, once: by default APScheduler drops a run that is a second late,
which on a laptop is every wake-up.  All count from one moment, so that those which fall together take one
wake-up.  It is a moment of the wall clock, and moves along where that is set back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from apscheduler.executors.debug import DebugExecutor
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from sessiond.pulse import read_clocks

# Jobs take turns in one thread, so that those of one moment wake one; what must not wait runs in the clock's.
IN_TURN, AT_ONCE = "default", "clock"


class Job(NamedTuple):
    """`action` runs every `every_s` seconds, first after that time; behind no other where it takes no `turn`.

    What takes no turn must be short: nothing else begins meanwhile.
    """

    name: str
    every_s: float
    action: Callable[[], object]
    turn: bool = True


class Schedule:
    """Runs jobs in threads of its own; `observe(name, seconds, success)` is told of each run."""

    def __init__(self, jobs: list[Job], observe: Callable[[str, float, bool], None]) -> None:
        self._observe = observe
        self._running: set[str] = set()
        self._scheduler = _Scheduler(
            self._set_back,
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
            executors={IN_TURN: ThreadPoolExecutor(1), AT_ONCE: DebugExecutor()},
            timezone="UTC",
        )
        self._began = datetime.now(UTC)
        for job in jobs:
            where = IN_TURN if job.turn else AT_ONCE
            self._scheduler.add_job(self._run, self._every(job.every_s), [job], id=job.name, executor=where)

    def pace(self, name: str, every_s: float) -> None:
        """Run a job at another pace from now on; nothing changes where that is its own."""
        job = self._scheduler.get_job(name)
        if job is not None and job.trigger.interval.total_seconds() != every_s:
            job.reschedule(self._every(every_s))

    def start(self) -> None:
        """Begin to count."""
        self._scheduler.start()

    def soon(self, name: str) -> None:
        """Run a job now as well, where it does not run at this very moment."""
        if name not in self._running and self._scheduler.running:
            self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))

    def stop(self) -> None:
        """Stop; a job that is running is not waited for."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def _set_back(self, by: timedelta) -> None:
        self._began -= by
        for job in self._scheduler.get_jobs():
            job.modify(next_run_time=job.next_run_time - by)

    def _every(self, seconds: float) -> IntervalTrigger:
        return IntervalTrigger(
            seconds=seconds, start_date=self._began + timedelta(seconds=seconds), timezone="UTC"
        )

    def _run(self, job: Job) -> None:
        started = time.monotonic()
        success = False
        self._running.add(job.name)
        try:
            job.action()
            success = True
        finally:
            self._running.discard(job.name)
            self._observe(job.name, time.monotonic() - started, success)


class _Scheduler(BackgroundScheduler):  # type: ignore[misc]
    """Tells by how much the clock was set back, as it would wait so much longer for everything.

    It plans by the wall clock and waits by one that nobody sets, so it looks in time for what is due next.
    """

    def __init__(self, set_back: Callable[[timedelta], None], **options: Any) -> None:
        super().__init__(**options)
        self._told = set_back
        self._clocks = read_clocks()

    def _process_jobs(self) -> float | None:
        wait_s: float | None = super()._process_jobs()
        before, self._clocks = self._clocks, read_clocks()  # behind it: what it has planned by may be neither
        if (by_s := self._clocks.set_since(before)) < 0:
            with self._jobstores_lock:
                self._told(timedelta(seconds=-by_s))  # which wakes it
        return wait_s

"""Jobs by the clock."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from typing import cast

import pytest
from apscheduler.schedulers import base

from sessiond import schedule as counted
from sessiond.schedule import Job, Schedule
from tests.conftest import PATIENCE_S


@contextmanager
def scheduled(**every_s: float) -> Iterator[Schedule]:
    """A schedule that runs, of jobs that do nothing."""
    schedule = Schedule(
        [Job(name, seconds, lambda: None) for name, seconds in every_s.items()], lambda *_: None
    )
    schedule.start()
    try:
        yield schedule
    finally:
        schedule.stop()


def due(schedule: Schedule) -> dict[str, datetime]:
    return {job.id: job.next_run_time for job in schedule._scheduler.get_jobs()}


def test_jobs_that_fall_together_take_one_wake_up() -> None:
    with scheduled(supervise=15, beat=30, trim=60, count=60) as schedule:
        schedule.pace("beat", 45)
        first = due(schedule)
        assert first["trim"] == first["count"]
        after = {name: (at - first["supervise"]).total_seconds() for name, at in first.items()}
        assert after == {"supervise": 0, "beat": 30, "trim": 45, "count": 45}


def test_a_job_that_hangs_keeps_none_that_takes_no_turn() -> None:
    hung, hangs, beats = threading.Event(), threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        hung.wait(PATIENCE_S)

    def beat() -> None:
        if hangs.is_set():
            beats.set()

    jobs = [Job("supervise", 0.01, hang), Job("beat", 0.01, beat, turn=False)]
    schedule = Schedule(jobs, lambda *_: None)
    schedule.start()
    try:
        assert beats.wait(PATIENCE_S)
    finally:
        hung.set()
        schedule.stop()


def test_a_clock_that_is_set_back_keeps_no_job_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nobody else looks at the clocks: whoever is to hear of the beat ends a daemon without."""
    ran, back, real = threading.Event(), timedelta(), time.time

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            return cast("Clock", datetime.now(tz) - back)

    monkeypatch.setattr(base, "datetime", Clock)
    monkeypatch.setattr(counted, "datetime", Clock)
    monkeypatch.setattr(time, "time", lambda: real() - back.total_seconds())
    schedule = Schedule([Job("beat", 0.05, ran.set, turn=False)], lambda *_: None)
    schedule.start()
    try:
        assert ran.wait(PATIENCE_S)
        back = timedelta(hours=1)
        ran.clear()
        assert ran.wait(PATIENCE_S)  # it may have been about to
        ran.clear()
        assert ran.wait(PATIENCE_S)
        schedule.pace("beat", 0.06)
        ran.clear()
        assert ran.wait(PATIENCE_S)
    finally:
        schedule.stop()

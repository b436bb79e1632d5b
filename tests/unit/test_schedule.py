"""Jobs by the clock."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sessiond.schedule import Job, Schedule


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
        hung.wait(20)

    def beat() -> None:
        if hangs.is_set():
            beats.set()

    jobs = [Job("supervise", 0.01, hang), Job("beat", 0.01, beat, turn=False)]
    schedule = Schedule(jobs, lambda *_: None)
    schedule.start()
    try:
        assert beats.wait(10)
    finally:
        hung.set()
        schedule.stop()

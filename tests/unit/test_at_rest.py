"""What the daemon does, and holds, while nothing happens: as good as nothing, however much it has copied."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sessiond import memory
from sessiond.app import BURST_S
from sessiond.indexing import REST_S
from sessiond.loops import LOOK_S, TICK_S, Bell, Loop
from sessiond.watcher import Watcher
from sessionsync.events import silent
from sessionsync.sources.layout import Layout
from tests.living import Living

Wait = Callable[..., None]

SESSIONS = 400
SESSION_BYTES = 512
PROJECTS = 100
PROJECT_BYTES = 5 * 1024


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Living]:
    with Living(tmp_path) as living:
        living.transcript()
        yield living


def test_who_waits_for_nothing_is_not_woken(living: Living) -> None:
    app = living.app
    loops = app.loops()
    living.until(
        lambda: (
            all(loop.waits_until - time.monotonic() > TICK_S for loop in loops)
            and {loop.progress_age_s for loop in loops} == {0}  # they wait as they said
        )
    )
    assert not any(app.stuck().values())


def test_jobs_by_the_clock_take_four_moments_a_minute(living: Living) -> None:
    jobs = living.app.schedule._scheduler.get_jobs()
    every_s = {job.id: int(job.trigger.interval.total_seconds()) for job in jobs}
    five_minutes = {at for pause in every_s.values() for at in range(pause, 301, pause)}
    assert len(five_minutes) <= 20, every_s


@pytest.mark.parametrize("by_s", [-3600.0, 3600.0])
def test_who_is_awake_has_capturing_turn_where_the_clock_was_set(
    living: Living, monkeypatch: pytest.MonkeyPatch, by_s: float
) -> None:
    living.until(lambda: living.app.capture.waits_until - time.monotonic() > TICK_S)
    wall, rescans = time.time, living.told("rescan_completed")
    monkeypatch.setattr(time, "time", lambda: wall() + by_s)
    living.app.health.bell.ring()
    living.until(lambda: living.told("rescan_completed") > rescans)
    assert living.told("clock_jumped") == 1


def test_while_nothing_happens_the_ledger_is_not_written(living: Living) -> None:
    app = living.app
    asked: list[str] = []
    living.until(lambda: all(loop.waits_until - time.monotonic() > TICK_S for loop in app.loops()))
    app.engine.store._connection.set_trace_callback(asked.append)

    def is_nothing_written() -> bool:
        """Unless something has happened since the last beat."""
        asked.clear()
        app.health.keep_books(beat=True)
        return "COMMIT" not in asked

    living.until(is_nothing_written)
    app.engine.store._connection.set_trace_callback(None)


def test_where_there_was_no_burst_of_work_no_memory_is_asked_back(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    trimmed: list[float] = []
    spent = time.process_time()
    monkeypatch.setattr(memory, "trim", lambda: trimmed.append(spent))
    monkeypatch.setattr(time, "process_time", lambda: spent)
    living.app.trim()
    assert trimmed == [spent]
    spent += BURST_S / 2
    living.app.trim()
    assert len(trimmed) == 1
    spent += BURST_S
    living.app.trim()
    assert len(trimmed) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
def test_a_project_that_is_waited_for_takes_little(tmp_path: Path) -> None:
    projects = [tmp_path / f"project-{number}" for number in range(PROJECTS)]
    for project in projects:
        project.mkdir()
    watcher = Watcher(lambda: [project / ".claude" / "sessions" for project in projects], silent)
    watcher.start()  # what is imported for it is no project's
    watcher.stop()
    tracemalloc.start()
    try:
        watcher.start()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        watcher.stop()
    assert held < PROJECTS * PROJECT_BYTES


def test_looking_after_it_asks_the_state_nothing(living: Living) -> None:
    app = living.app
    asked: list[str] = []
    living.until(lambda: app.capture.rested.is_set() and app.index.waits_until > time.monotonic() + TICK_S)
    app.engine.store._connection.set_trace_callback(
        lambda said: asked.append(said) if threading.current_thread() is threading.main_thread() else None
    )

    def is_nothing_asked() -> bool:
        """Unless something has happened since the last look."""
        asked.clear()
        app.supervise()
        app.watcher.look()
        app.counting.run()
        return asked == []

    living.until(is_nothing_asked)
    app.engine.store._connection.set_trace_callback(None)


def test_what_merging_the_index_needed_of_memory_is_given_back(living: Living) -> None:
    index = living.app.index
    asked: list[str] = []
    living.until(lambda: index._index is not None and index._index.is_untidy())
    living.until(lambda: index.waits_until > time.monotonic() + TICK_S)
    assert index._index is not None
    index._index._connection.set_trace_callback(asked.append)
    index._indexed_at -= 2 * REST_S
    index.bell.ring()
    living.until(lambda: "PRAGMA shrink_memory" in asked)
    merged = [place for place, said in enumerate(asked) if "'optimize'" in said]
    assert merged
    assert max(merged) < asked.index("PRAGMA shrink_memory")


def test_of_a_session_at_rest_hardly_more_than_its_id_is_held(tmp_path: Path) -> None:
    folder = tmp_path / "projects" / "-work-app"
    folder.mkdir(parents=True)
    for number in range(SESSIONS):
        (folder / f"00000000-0000-4000-8000-{number:012}.jsonl").touch()
    layout = Layout("claude", [tmp_path], silent)
    tracemalloc.start()
    try:
        assert sum(1 for _ in layout.find()) == SESSIONS
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < SESSIONS * SESSION_BYTES


class Holding(Loop):
    """A loop that turns for as long as it is `held`."""

    def __init__(self) -> None:
        super().__init__("holding", Bell(), silent, lambda _name, _error: None)
        self.held = threading.Event()

    def turn(self) -> float:
        self.held.wait(20)
        return 10 * LOOK_S


def test_a_loop_that_waits_is_told_from_one_that_is_stuck(wait_until: Wait) -> None:
    loop = Holding()
    loop.start()
    loop.progressed_at = loop.waits_until = time.monotonic() - 500
    assert loop.progress_age_s > 400
    loop.held.set()
    wait_until(lambda: loop.waits_until > time.monotonic())
    assert loop.progress_age_s == 0
    assert loop.waits_until - time.monotonic() <= LOOK_S
    loop.stop()
    loop.join(10)
    assert not loop.is_alive()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_the_daemon_is_put_into_one_heap_once_and_what_it_starts_is_not() -> None:
    said = (
        "import os; from sessiond import memory; memory.share_one_heap(); print(os.getpid(),"
        " os.environ.get(memory.GLIBC), open('/proc/self/environ').read().count('tcache_count'))"
    )
    environ = {name: value for name, value in os.environ.items() if name != memory.GLIBC}
    with subprocess.Popen(
        [sys.executable, "-c", said], env=environ, stdout=subprocess.PIPE, text=True
    ) as made:
        out, _ = made.communicate(timeout=30)
        assert out.split() == [str(made.pid), "None", "1"]
    kept = subprocess.run(
        [sys.executable, "-c", said],
        env={**environ, memory.GLIBC: "glibc.malloc.perturb=0"}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert kept.split()[1:] == ["glibc.malloc.perturb=0", "0"]


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_what_is_large_is_taken_from_outside_the_heap_also_after_such_was_freed() -> None:
    said = """
import ctypes
from sessiond import memory

class Info(ctypes.Structure):  # of mallinfo2(3)
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd".split()]
    _fields_ += [(f"_{number}", ctypes.c_size_t) for number in range(5)]

memory.share_one_heap()
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
for mib in (1, 4, 8):
    libc.free(libc.malloc(mib << 20))
before = libc.mallinfo2().hblkhd
libc.malloc(2 * memory.SLACK_BYTES)
print(libc.mallinfo2().hblkhd - before >= 2 * memory.SLACK_BYTES)
"""
    environ = {name: value for name, value in os.environ.items() if name != memory.GLIBC}
    done = subprocess.run(
        [sys.executable, "-c", said], env=environ, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "True\n"


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's settings")
def test_a_daemon_whose_settings_of_the_heap_are_dropped_runs_all_the_same(tmp_path: Path) -> None:
    begun, dropping = tmp_path / "begun", tmp_path / "python"
    dropping.write_text(
        f'#!/bin/sh\necho >> "{begun}"\n[ $(wc -l < "{begun}") -lt 3 ] || exit 9\n'
        f'unset {memory.GLIBC}\nexec "{sys.executable}" "$@"\n'
    )
    dropping.chmod(0o700)
    said = (
        f"import os, sys; sys.executable = {str(dropping)!r}; from sessiond import memory;"
        " memory.share_one_heap(); print(memory.BEGUN_ANEW in os.environ)"
    )
    environ = {name: value for name, value in os.environ.items() if name != memory.GLIBC}
    done = subprocess.run(
        [sys.executable, "-c", said], env=environ, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, begun.read_text()) == (0, "False\n", "\n")

"""What the daemon does, and holds, while nothing happens: as good as nothing, however much it has copied."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest.mock import Mock

import pytest
from watchdog.events import FileModifiedEvent

from sessiond import loops, memory
from sessiond.app import BURST_S
from sessiond.engine import Engine
from sessiond.indexing import REST_S
from sessiond.loops import LOOK_S, TICK_S, Bell, CaptureLoop, Loop
from sessiond.watcher import SETTLE_S, Watcher
from sessionsync.catalog import Catalog
from sessionsync.config import Archive
from sessionsync.errors import CopyError
from sessionsync.events import silent
from sessionsync.queue import ARCHIVE
from sessionsync.reliability.findings import Findings
from sessionsync.sources.layout import Layout
from sessionsync.sources.places import Places
from sessionsync.store import MEMORY, Store
from tests.conftest import PATIENCE_S
from tests.crowd import fill
from tests.living import Living
from tests.rig import START, Rig, append, line

Wait = Callable[..., None]

SESSIONS = 400
SESSION_BYTES = 512
PROJECTS = 100
PROJECT_BYTES = 5 * 1024
# What is read by an index alone, or of one session, of those that were changed lately, or that have yet to rest.
ROWS_OF_FEW = r"COVERING INDEX|rowid=|session_id=|key=|modified_at>|INDEX sessions_(unkept|dirty|look)\b"


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


def loop_of(rig: Rig, **heard: Callable[[], None]) -> CaptureLoop:
    engine = SimpleNamespace(
        capture=rig.capture,
        vault_trouble=None,
        places=Places(rig.projects, silent),
        clock_set_back=rig.catalog.clock_set_back,
    )
    return CaptureLoop(
        cast("Engine", engine), Watcher(list, silent), Findings(), silent, lambda *_: None, **heard
    )


def said(rig: Rig, path: Path | None = None) -> Path:
    path = path or rig.home.transcript()
    append(path, line("user", "hello", rig.home.project, session=path.stem))
    return path


def test_what_is_only_captured_wakes_nobody_who_sends(rig: Rig) -> None:
    captured, queued = Mock(), Mock()
    loop = loop_of(rig, on_captured=captured, on_items=queued)
    path = said(rig)
    loop.turn()
    loop.turn()
    assert rig.capture.unflushed
    loop._flush(time.monotonic(), force=True)
    assert (captured.call_count, queued.call_count) == (1, 0)
    ref = rig.capture.locate(path)
    assert ref is not None
    rig.capture.capture(ref, time.time() + rig.capture.config.sources.quiet_seconds + 1)
    loop._plan_flush()
    loop._flush(time.monotonic(), force=True)
    assert (captured.call_count, queued.call_count) == (2, 1)
    said(rig, path)
    rig.capture.capture(ref, time.time())
    loop._plan_flush()
    loop._flush(time.monotonic(), force=True)
    assert (captured.call_count, queued.call_count) == (3, 1)


def test_what_goes_into_the_archive_alone_wakes_who_sends_as_well(rig: Rig) -> None:
    queued = Mock()
    loop = loop_of(rig, on_items=queued)
    rig.capture.config = rig.config._replace(archive=Archive(url="/mnt/archive.git"))
    path = said(rig)
    os.utime(path, (START - 60, START - 60))  # before the first start: it has no comment
    rig.scan()
    assert rig.queue.items() == []
    rig.wait(300)
    assert [item.operation for item in rig.queue.items()] == [ARCHIVE]
    loop._flush_at = 0.0
    loop.turn()
    assert queued.call_count == 1


def test_what_is_committed_beside_one_that_could_not_be_is_sent_and_found_at_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured, queued = Mock(), Mock()
    loop = loop_of(rig, on_captured=captured, on_items=queued)
    paths = [said(rig) for _ in range(2)]
    refs = [ref for path in paths if (ref := rig.capture.locate(path)) is not None]
    rig.scan()
    quiet = time.time() + rig.capture.config.sources.quiet_seconds + 1
    for ref in refs:
        rig.capture.capture(ref, quiet)
    lost = f"claude:{paths[0].stem}"
    flush_each = rig.vault.flush_each
    monkeypatch.setattr(rig.vault, "flush_each", lambda: {**flush_each(), lost: CopyError("lost", hint="")})
    loop._plan_flush()
    loop._flush(time.monotonic(), force=True)
    assert rig.capture.lost == {refs[0]}
    assert [item.subject for item in rig.queue.items()] == [rig.session(refs[1]).id]
    assert (captured.call_count, queued.call_count) == (1, 1)


def test_what_a_command_or_a_clock_that_was_set_back_has_queued_is_not_waited_for(rig: Rig) -> None:
    captured, queued = Mock(), Mock()
    loop = loop_of(rig, on_captured=captured, on_items=queued)
    loop.soon(lambda _now: None)
    loop.turn()
    assert (captured.call_count, queued.call_count) == (1, 1)
    loop.clock_set(time.time(), -60.0)
    assert (captured.call_count, queued.call_count) == (2, 2)
    loop.clock_set(time.time(), 60.0)
    assert (captured.call_count, queued.call_count) == (2, 2)


def test_what_was_queued_wakes_all_who_send_and_what_was_captured_who_indexes(
    living: Living, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, here, rung = living.app, threading.get_ident(), set[str]()
    for loop in (app.push, app.archive, app.index):

        def ring(name: str = loop.name, ring: Callable[[], None] = loop.bell.ring) -> None:
            if threading.get_ident() == here:  # the daemon lives
                rung.add(name)
            ring()

        monkeypatch.setattr(loop.bell, "ring", ring)
    app.capture._on_items()
    assert rung == {"push", "archive"}
    rung.clear()
    app.capture._on_captured()
    assert rung == {"index"}


def test_what_was_just_written_settles_before_anything_is_looked_at(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = loop_of(rig)
    path = said(rig)
    loop.turn()
    loop.turn()
    assert rig.capture.unflushed
    moment = loop._due_at - loops.DUE_S / 2  # at which it is asked of nobody whether he is due
    monkeypatch.setattr(time, "monotonic", lambda: moment)
    asked: list[str] = []
    rig.store._connection.set_trace_callback(asked.append)
    watcher = loop._watcher
    monkeypatch.setattr(watcher, "heard_until", Mock(wraps=watcher.heard_until))
    said(rig, path)
    watcher._happened(FileModifiedEvent(str(path)))
    assert loop.turn() == pytest.approx(SETTLE_S)
    assert not cast("Mock", watcher.heard_until).called
    moment += 2 * SETTLE_S
    loop.turn()
    assert cast("Mock", watcher.heard_until).called
    assert not asked, "the session waits for the flush, and so does who has a time"
    rig.store._connection.set_trace_callback(None)
    rig.capture.flush(time.time())
    assert rig.session().captured_bytes == path.stat().st_size


def settling(loop: CaptureLoop, path: Path) -> None:
    """Something is being written, and `SETTLE_S` from now there will be something to take."""
    loop._watcher._happened(FileModifiedEvent(str(path)))


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> float:
    """Time that stands still (monotonic)."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    return now


def test_a_command_does_not_wait_until_what_was_written_has_settled(rig: Rig, moment: float) -> None:
    loop = loop_of(rig)
    loop.turn()
    settling(loop, rig.home.transcript())
    asked = loop.soon(lambda _now: "done")
    loop.turn()
    assert asked.done()
    assert asked.result() == "done"


def test_what_waits_does_not_wait_until_what_was_written_has_settled(rig: Rig, moment: float) -> None:
    loop = loop_of(rig)
    paths = [said(rig) for _ in range(3)]
    loop.turn()
    settling(loop, paths[0])
    for _ in paths:  # one that is compared with its copies a turn
        loop.turn()
    assert rig.capture.unflushed == set(map(rig.capture.locate, paths))
    loop._flush_at = moment + SETTLE_S / 2
    assert loop.turn() < SETTLE_S, "until the flush"
    loop._flush_at = moment
    loop.turn()
    assert not rig.capture.unflushed
    asks: list[Callable[[], object]] = [lambda: loop.want_rescan("command"), loop._watcher._overflowed]
    for ask in asks:
        said(rig, paths[1])
        ask()
        loop.turn()
        assert loop.waiting == 1
        loop.turn()
        assert loop.waiting == 0


def test_who_has_a_time_is_asked_for_behind_each_flush(rig: Rig, moment: float) -> None:
    loop = loop_of(rig)
    said(rig)
    loop.turn()
    assert loop.turn() == pytest.approx(loops.FLUSH_S, abs=0.01)
    loop._flush_at = moment
    before = time.time()
    waits = loop.turn()
    due = rig.capture.next_due()
    assert due is not None
    assert waits <= due - before + 0.01 < loops.RESCAN_S


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

    def is_nothing_written() -> bool:
        """Unless something has happened since the last beat."""
        asked.clear()
        app.health.keep_books(beat=True)
        return "COMMIT" not in asked

    with living.heard(asked.append):
        living.until(is_nothing_written)


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


def test_comparing_everything_looks_for_the_projects_folders_once(tmp_path: Path) -> None:
    living, asked = Living(tmp_path), 0
    (living.home.project / ".claude" / "sessions").mkdir(parents=True)
    with living:
        app = living.app
        projects = app.engine.places._projects

        def counted() -> Iterable[Path]:
            nonlocal asked
            asked += 1
            return projects()

        living.until(lambda: app.capture.captured_until)
        app.engine.places._projects = counted
        compared = living.told("rescan_completed")
        app.capture.want_rescan("timer")
        living.until(lambda: living.told("rescan_completed") > compared)
        assert asked == 1


def test_a_folder_that_comes_while_all_is_watched_anew_is_compared_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Projects were looked for already, and no watch has seen it come."""
    living = Living(tmp_path)
    sessions, look = living.home.project / ".claude" / "sessions", Places._look
    with living:
        app = living.app
        living.until(lambda: app.capture.captured_until)
        living.until(app.capture.rested.is_set)

        def then_it_comes(places: Places) -> object:
            seen = look(places)
            sessions.mkdir(parents=True, exist_ok=True)
            (sessions / "topic.md").write_text("# Session\n")
            return seen

        monkeypatch.setattr(Places, "_look", then_it_comes)
        app.watcher._overflowed()
        living.until(lambda: any(ref.source == "note" for ref in app.engine.catalog.fingerprints()))


def test_what_is_asked_each_five_minutes_reads_no_row_of_a_session_at_rest(living: Living) -> None:
    app = living.app
    store = app.engine.store
    asked: set[str] = set()
    living.until(lambda: app.capture.captured_until)
    compared, settled_at = living.told("rescan_completed"), app.health.settled_at
    with living.heard(asked.add):
        app.capture.want_rescan("timer")
        app.health.want()
        living.until(
            lambda: (
                living.told("rescan_completed") > compared and app.health.settled_at not in {0.0, settled_at}
            )
        )
    check_rows_of_few(store, asked)


def test_what_a_run_asks_of_all_sessions_reads_none_that_rests() -> None:
    asked: set[str] = set()
    with closing(Store(MEMORY)) as store:
        catalog = Catalog(store)
        store._connection.set_trace_callback(asked.add)
        assert (catalog.changed(), catalog.kept()) == ([], 0)
        catalog.clamp(0.0)
        store._connection.set_trace_callback(None)
        check_rows_of_few(store, asked)


def check_rows_of_few(store: Store, asked: Iterable[str]) -> None:
    """What is asked reads no row of a session that rests."""
    plans = [
        (statement, plan)
        for statement in asked
        if statement.startswith("SELECT")
        for _, _, _, plan in store.rows(f"EXPLAIN QUERY PLAN {statement}")
        if re.match(r"(SCAN|SEARCH) sessions\b", plan)
    ]
    assert plans
    for statement, plan in plans:
        assert re.search(ROWS_OF_FEW, plan), (statement, plan)


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

    def is_nothing_asked() -> bool:
        """Unless something has happened since the last look."""
        asked.clear()
        app.supervise()
        app.watcher.look()
        app.counting.run()
        return asked == []

    here = threading.current_thread()
    with living.heard(lambda said: asked.append(said) if threading.current_thread() is here else None):
        living.until(is_nothing_asked)


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


def test_what_looking_for_something_to_merge_needed_of_memory_is_given_back(living: Living) -> None:
    app = living.app
    asked: list[str] = []
    living.until(lambda: app.capture.captured_until and not app.index.is_behind)
    with living.heard(asked.append):
        app.upkeep._rests_until = 0.0
        app.upkeep.bell.ring()
        living.until(lambda: "PRAGMA shrink_memory" in asked)
    looked = [place for place, said in enumerate(asked) if "LEFT JOIN merges" in said]
    assert looked
    assert max(looked) < asked.index("PRAGMA shrink_memory")


def test_of_a_session_at_rest_hardly_more_than_its_id_is_held_also_while_it_is_looked_at(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "projects" / "-work-app"
    folder.mkdir(parents=True)
    for number in range(SESSIONS):
        (folder / f"00000000-0000-4000-8000-{number:012}.jsonl").touch()
    layout = Layout("claude", [tmp_path], silent)
    tracemalloc.start()
    try:
        assert sum(1 for _ in layout.find()) == SESSIONS
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < SESSIONS * SESSION_BYTES


@pytest.mark.parametrize("asked", [Catalog.fingerprints, Catalog.stored])
def test_what_is_asked_of_all_sessions_is_not_held_twice(asked: Callable[[Catalog], object]) -> None:
    with closing(Store(MEMORY)) as store:
        fill(store, 1, 10 * SESSIONS, waiting=False)
        tracemalloc.start()
        try:
            found = asked(Catalog(store))
            held, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert found
    assert most < 1.1 * held


def test_while_rows_become_what_is_wanted_of_them_no_other_thread_writes() -> None:
    with closing(Store(MEMORY)) as store:
        fill(store, 1, 3, waiting=False)
        got_in: list[bool] = []

        def come() -> None:
            got_in.append(store._lock.acquire(blocking=False))
            if got_in[-1]:
                store._lock.release()

        def make(rows: Iterable[tuple[object, ...]]) -> int:
            first = next(iter(rows))
            other = threading.Thread(target=come)
            other.start()
            other.join()
            return len([first, *rows])

        assert store.made(make, "SELECT id FROM sessions") == 3
        assert got_in == [False]


def test_what_only_a_cycle_of_objects_holds_is_given_back() -> None:
    class Table:
        """What can be referred to weakly, and holds itself."""

        def __init__(self) -> None:
            self.itself = self

    gc.disable()
    try:
        table = weakref.ref(Table())
        assert table() is not None
        memory.trim()
        assert table() is None
    finally:
        gc.enable()


class Holding(Loop):
    """A loop that turns for as long as it is `held`."""

    def __init__(self) -> None:
        super().__init__("holding", Bell(), silent, lambda _name, _error: None)
        self.held = threading.Event()

    def turn(self) -> float:
        self.held.wait(PATIENCE_S)
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
    loop.join(PATIENCE_S)
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
        out, _ = made.communicate(timeout=PATIENCE_S)
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
        [sys.executable, "-c", said],
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
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
        [sys.executable, "-c", said],
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout, begun.read_text()) == (0, "False\n", "\n")

"""What a scrape costs, counted: it must stay the same however much there is to count."""

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from sessiond.bookkeeping import Bookkeeping
from sessiond.engine import Engine
from sessiond.metrics import Metrics, catalogue, of_engine
from sessiond.metrics.readings import of_books, of_sessions
from sessiond.pulse import Pulse
from sessionsync.config import load, paths
from sessionsync.events import silent
from sessionsync.privacy.rules import KINDS
from sessionsync.store import Store
from tests.crowd import fill

MOST_STATEMENTS, MOST_STEPS = 8, 300


@pytest.fixture
def engine(home: Path) -> Iterator[Engine]:
    where = paths(os.environ)
    made = Engine(os.environ, load(os.environ, where.config_file), where, silent)
    yield made
    made.close()


@pytest.fixture
def metrics(engine: Engine, tmp_path: Path) -> Metrics:
    books = Bookkeeping(engine.store, Pulse(tmp_path / "pulse"), silent)
    books.begin()
    made = Metrics(catalogue(kinds=KINDS), time.time)
    for source in of_engine(engine):
        made.read(source)
    made.read(partial(of_books, books))
    made.text()  # the score is worked out once a minute, not at each scrape
    return made


def asked(metrics: Metrics, store: Store) -> tuple[list[str], int]:
    """The statements of one scrape, and the steps that the database takes for them."""
    heard: list[str] = []
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    store._connection.set_trace_callback(heard.append)
    store._connection.set_progress_handler(step, 1)
    metrics.text()
    store._connection.set_progress_handler(None, 0)
    store._connection.set_trace_callback(None)
    return heard, steps


@pytest.mark.parametrize("waiting", [False, True])
def test_a_scrape_takes_as_much_work_however_much_there_is(
    metrics: Metrics, engine: Engine, waiting: bool
) -> None:
    fill(engine.store, 1, 3, waiting=waiting)
    few, least = asked(metrics, engine.store)
    fill(engine.store, 4, 300, waiting=waiting)
    many, most = asked(metrics, engine.store)
    assert many == few
    assert 0 < most == least < MOST_STEPS
    assert 0 < len(many) <= MOST_STATEMENTS
    for statement in many:
        for _, _, _, plan in engine.store.rows(f"EXPLAIN QUERY PLAN {statement}"):
            grows = re.search(r"\b(sessions|items|checkpoints|tallies|spans|incidents)\b", plan)
            assert not grows or re.search(r"COVERING INDEX|PRIMARY KEY", plan), (statement, plan)


def test_sessions_are_counted_as_they_come_move_and_go(engine: Engine) -> None:
    store = engine.store

    def known() -> object:
        found = "SELECT source, tier, count(*) FROM sessions WHERE tier IS NOT NULL GROUP BY source, tier"
        assert {(source, tier): number for source, tier, number in store.rows(found)} == of_sessions(store)[
            "sessions"
        ]
        return of_sessions(store)["sessions"]

    fill(store, 1, 4, waiting=False)
    assert known() == {("claude", "hybrid"): 4}
    store.execute("UPDATE sessions SET tier = 'github_only' WHERE id < 3")
    store.execute("UPDATE sessions SET tier = NULL, size = 1 WHERE id = 3")
    store.execute("UPDATE sessions SET source = 'note' WHERE id = 1")
    assert known() == {("claude", "hybrid"): 1, ("claude", "github_only"): 1, ("note", "github_only"): 1}
    store.execute("UPDATE sessions SET tier = 'hybrid' WHERE id = 3")
    store.execute("DELETE FROM sessions WHERE id IN (1, 3)")
    with suppress(ZeroDivisionError), store.transaction():
        fill(store, 5, 1, waiting=False)
        raise ZeroDivisionError
    assert known() == {("claude", "hybrid"): 1, ("claude", "github_only"): 1}


def test_what_waits_is_measured_by_what_the_other_side_lacks(engine: Engine) -> None:
    queue, store = engine.queue, engine.store
    fill(store, 1, 2, waiting=False)  # 90,000 bytes each, 70,000 of them on GitHub
    for operation in ("comment", "archive"):
        queue.enqueue(operation, 1, "c", 10.0)
    queue.enqueue("index", 1, "", 10.0)
    census = queue.census()
    assert (census.waiting_bytes, census.unpushed_bytes) == (180_000, 20_000)
    store.execute(
        "INSERT INTO checkpoints (session, id, at, trigger, size) VALUES (1, 'd', 0, 'once', 95000)"
    )
    item = queue.lease(20.0)
    assert item is not None
    assert item.operation == "comment"
    queue.enqueue("comment", 1, "d", 20.0)  # a newer one comes while the other is on its way
    assert queue.census().unpushed_bytes == 25_000
    store.execute("UPDATE sessions SET pushed_bytes = 90000 WHERE id = 1")
    assert not queue.done(item, 30.0)
    assert queue.census().unpushed_bytes == 5_000
    assert queue.census().oldest == {"comment": 30.0, "archive": 10.0, "index": 10.0}


def test_only_what_has_changed_is_written_anew(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics.text()
    written: list[str] = []

    def spy(name: str, collect: Callable[[], Iterable[Metric]]) -> Callable[[], Iterable[Metric]]:
        def spied() -> Iterable[Metric]:
            written.append(name)
            return collect()

        return spied

    for name, kept in metrics._kept.items():
        monkeypatch.setattr(kept, "collect", spy(name, kept.collect))
    before = metrics.text()
    assert written == []
    metrics.on_event("rescan_completed", {"reason": "timer"})
    after = metrics.text()
    assert written == ["watch_rescans"]
    assert b'sessiond_watch_rescans_total{reason="timer"} 1.0' in after[0]
    assert before[1] == after[1]


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_it_is_what_the_library_would_write(metrics: Metrics, engine: Engine, accept: str) -> None:
    whole = choose_encoder(accept)[0]
    for number, event in enumerate(["watch_overflowed", "rescan_completed", "push_completed"]):
        fill(engine.store, 1 + 3 * number, 3)
        metrics.on_event(event, {"reason": "timer", "session": "claude:x", "seconds": 1e-7 + 1e9 * number})
        engine.store.execute("UPDATE items SET enqueued_at = 9e9")  # an age would be another at each look
        said = metrics.text(accept)[0].splitlines()
        meant = whole(metrics).splitlines()
        moving = (b"sessiond_storage_filesystem_avail_bytes", b"sessiond_github_token")
        assert [each for each in said if not each.startswith(moving)] == [
            each for each in meant if not each.startswith(moving)
        ]


def test_each_format_is_remembered_on_its_own(metrics: Metrics) -> None:
    plain = metrics.text()
    openmetrics = metrics.text("application/openmetrics-text; version=1.0.0")
    assert openmetrics[0].endswith(b"# EOF\n")
    assert openmetrics[0].count(b"# EOF") == 1
    assert plain[0] != openmetrics[0]
    metrics.on_event("watch_overflowed", {})
    for accept in ("", "application/openmetrics-text; version=1.0.0"):
        assert b"sessiond_watch_overflows_total 1.0\n" in metrics.text(accept)[0]
    for version in range(50):  # what a client makes up is not kept for ever
        metrics.text(f"application/openmetrics-text; version=1.{version}.0")
    assert len(metrics._texts) <= 4

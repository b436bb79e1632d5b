"""The loop over the index: what is new costs the same whatever there is, and what is old is not forgotten."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from sessiond import indexing
from sessiond.engine import Engine
from sessiond.indexing import ALL_S, IndexLoop
from sessionsync.budget import Budget
from sessionsync.reliability.findings import Findings
from sessionsync.search import Index
from tests.conftest import PATIENCE_S
from tests.rig import Rig, append, line, no_loop_fails

DAY_S = 86_400.0


@pytest.fixture
def loop(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[IndexLoop]:
    monkeypatch.setattr(
        indexing, "TURN_S", PATIENCE_S
    )  # what is new takes one turn, however busy the machine
    rig.home.state.mkdir(parents=True, exist_ok=True)
    engine = SimpleNamespace(
        catalog=rig.catalog,
        mirror=rig.mirror,
        vault=rig.vault,
        sources=rig.sources,
        state_id="state",
        paths=SimpleNamespace(index_db=rig.home.state / "index.db"),
    )

    made = IndexLoop(
        cast("Engine", engine),
        Findings(),
        rig.events,
        no_loop_fails,
        Budget(1e12),
        busy=lambda: False,
        first=lambda: False,
    )
    yield made
    made.close()


def said(rig: Rig, text: str, path: Path | None = None, *, ago_s: float = 0.0) -> Path:
    """A message that is captured, in a session or a new one."""
    path = path or rig.home.transcript()
    append(path, line("user", text, rig.home.project, session=path.stem))
    if ago_s:
        at = time.time() - ago_s
        os.utime(path, (at, at))
    rig.scan()
    return path


def settle(loop: IndexLoop) -> None:
    """Let it turn until it has compared everything, and nothing is left."""
    loop.look()
    while loop.turn() < 1 or loop.is_behind:
        pass


def index_of(loop: IndexLoop) -> Index:
    assert loop._index is not None
    return loop._index


@contextmanager
def steps(*connections: sqlite3.Connection) -> Iterator[Callable[[], int]]:
    """Counts the steps that the databases take."""
    count = 0

    def one() -> int:
        nonlocal count
        count += 1
        return 0

    for connection in connections:
        connection.set_progress_handler(one, 1)
    try:
        yield lambda: count
    finally:
        for connection in connections:
            connection.set_progress_handler(None, 0)


def test_what_is_new_costs_the_same_whatever_there_is(rig: Rig, loop: IndexLoop) -> None:
    costs = []
    path = said(rig, "the first words")
    for others in (3, 60):
        for number in range(others):
            said(rig, f"others {number}", ago_s=DAY_S)
        settle(loop)
        said(rig, f"something new {others}", path)
        with steps(rig.store._connection, index_of(loop)._connection) as taken:
            assert loop.turn() <= ALL_S + 1
            costs.append(taken())
        assert len(index_of(loop).search(f'"new {others}"')) == 1
    assert costs[1] <= costs[0] * 1.1


def test_what_is_new_in_many_sessions_is_one_transaction(rig: Rig, loop: IndexLoop) -> None:
    paths = [said(rig, f"begins {number}") for number in range(5)]
    settle(loop)
    for path in paths:
        said(rig, "goes on", path)
    told: list[str] = []
    connection = index_of(loop)._connection
    connection.set_trace_callback(told.append)
    loop.turn()
    connection.set_trace_callback(None)
    assert told.count("COMMIT") == 1
    assert sum("FROM seen" in statement for statement in told) == 1
    assert len(index_of(loop).search("goes")) == 5


def test_what_was_forgotten_leaves_when_that_is_said_and_else_before_long(rig: Rig, loop: IndexLoop) -> None:
    path = said(rig, "a secret plan")
    stays = said(rig, "a plan that stays")
    settle(loop)
    session = rig.catalog.resolve(path.stem)
    rig.catalog.forget(session)
    assert 0 < loop.turn() <= ALL_S + 1  # it is seen by itself then
    loop.look()
    while loop.turn() < 1:
        pass
    kept = rig.catalog.resolve(stays.stem).id
    assert [hit.session for hit in index_of(loop).search("plan")] == [kept]

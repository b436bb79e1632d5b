"""Events are kept for `ctl events` without a commit of their own."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from sessionsync import store
from sessionsync.errors import StoreFull
from sessionsync.store import Store


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def kept(file: Path) -> list[str]:
    """What another process sees: what is committed."""
    connection = sqlite3.connect(file)
    rows = connection.execute("SELECT event FROM events ORDER BY id").fetchall()
    connection.close()
    return [event for (event,) in rows]


def test_an_event_goes_with_the_next_commit(file: Path) -> None:
    state = Store(file)
    state.log(1.0, "first", "claude:s", {"bytes": 1})
    assert kept(file) == []
    state.set_meta("any", "thing")
    assert kept(file) == ["first"]
    state.close()


def test_a_reader_sees_it_at_once(file: Path) -> None:
    state = Store(file)
    state.log(1.0, "first", "claude:s", {"bytes": 1})
    assert state.events() == [(1, 1.0, "first", "claude:s", {"bytes": 1})]
    state.close()


def test_an_event_outlives_the_transaction_it_was_told_in(file: Path) -> None:
    state = Store(file)
    with suppress(ZeroDivisionError), state.transaction():
        state.log(1.0, "tried", "", {})
        raise ZeroDivisionError
    assert [event for _, _, event, _, _ in state.events()] == ["tried"]
    state.close()


def test_closing_writes_what_waits(file: Path) -> None:
    state = Store(file)
    state.log(1.0, "last", "", {})
    state.close()
    assert kept(file) == ["last"]


def test_many_events_wait_for_nobody_and_only_the_newest_stay(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WAITING_EVENTS", 10)
    monkeypatch.setattr(store, "KEPT_EVENTS", 25)
    state = Store(file)
    for number in range(45):
        state.log(float(number), f"{number}", "", {})
    assert kept(file) == [f"{number}" for number in range(15, 40)]
    state.close()


def test_bytes_that_are_no_text_spoil_nothing(file: Path) -> None:
    state = Store(file)
    state.log(1.0, "file_skipped", "claude:\udcff", {"file": "\udcff", "path": file})
    state.set_meta("any", "thing")
    ((*_, session, fields),) = state.events()
    assert session == "claude:\\udcff"
    assert fields == {"file": "\udcff", "path": str(file)}
    state.close()


def test_a_full_disk_keeps_events_for_later(file: Path) -> None:
    state = Store(file)
    (pages,) = state.row("PRAGMA page_count") or (0,)
    state.rows(f"PRAGMA max_page_count = {pages}")
    state.log(1.0, "long", "", {"text": "x" * 100_000})
    assert state.events() == []
    with pytest.raises(StoreFull):
        state.write_events()
    state.rows(f"PRAGMA max_page_count = {pages + 100}")
    assert [event for _, _, event, _, _ in state.events()] == ["long"]
    state.close()

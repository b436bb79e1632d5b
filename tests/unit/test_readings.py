"""What lies on a disk by chance or by malice neither ends the reading of the indicators nor holds it up."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessiond import readings
from sessionsync.remote.comments import PARTS
from tests.living import Living
from tests.rig import append, line


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """The folder where the agent keeps its files about what runs."""
    folder = tmp_path / "running"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "said",
    [
        '{"pid": 1e999, "sessionId": "s"}',
        '{"pid": 99999999999999999999999, "sessionId": "s"}',
        '{"pid": -1, "sessionId": "s"}',
        '{"pid": 0, "sessionId": "s"}',
        '{"pid": true, "sessionId": "s"}',
        '{"pid": [], "sessionId": "s"}',
        '{"pid": "x", "sessionId": "s"}',
        "[" * 50_000,
        "{}",
        "7",
        "",
    ],
)
def test_what_the_agent_never_writes_is_no_running_agent(running: Path, said: str) -> None:
    file = running / "1.json"
    file.write_text(said)
    assert readings.running(file) is None


def test_what_is_no_file_is_not_waited_for(running: Path) -> None:
    os.mkfifo(running / "1.json")
    (running / "2.json").mkdir()
    assert readings.running(running / "1.json") is None
    assert readings.running(running / "2.json") is None
    (running / "3.json").write_text(json.dumps({"pid": os.getpid(), "sessionId": "s"}))
    assert readings.running(running / "3.json") == "s"


def test_a_file_system_that_tells_no_size_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Living(tmp_path) as living:
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder: (0, 0, 0))
        before = living.app.health.settled_at
        living.app.health.want()
        living.until(lambda: living.app.health.settled_at > before)
        assert living.codes() == set()


def test_a_conflict_of_what_was_just_forgotten_is_passed_over(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        store = living.app.engine.store
        living.transcript()
        store.execute(
            "INSERT INTO conflicts (session, fork, kind, since, machine, local, remote)"
            " SELECT id, 'f', 'files', ?, 'm', '{}', '{}' FROM sessions",
            (time.time(),),
        )
        assert "session_conflict" in living.codes()
        found = living.app.engine.catalog.session
        with pytest.MonkeyPatch.context() as patch:

            def gone(number: int) -> object:
                store.execute("DELETE FROM sessions")
                return found(number)

            patch.setattr(living.app.engine.catalog, "session", gone)
            assert "session_conflict" not in living.codes()


def test_what_kept_the_loop_of_health_kept_the_others_as_well() -> None:
    """Stopped for a while, or at a slow disk: whoever then looks first finds nobody stuck."""

    def stuck(**ages: float) -> dict[str, float]:
        return {each.of: each.value for each in readings.stuck(ages)}

    assert stuck(health=500.0, push=510.0, capture=499.0) == {"health": 0.0, "push": 10.0, "capture": 0.0}
    assert stuck(health=5.0, push=500.0) == {"health": 0.0, "push": 495.0}


def test_a_purge_that_is_overdue_is_at_once(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        living.transcript()
        living.app.engine.store.execute(
            "UPDATE sessions SET modified_at = ?, checkpoint = NULL", (time.time() - 40 * 86_400,)
        )
        found = readings.Instruments(living.app).read({}, time.time())["purge_near"]
        assert [each.value for each in found or ()] == [0.0]


def asked(living: Living) -> Path:
    """A session in which an agent that runs was asked something."""
    path = living.transcript("a question")
    file = living.home.agent / "sessions" / f"{os.getpid()}.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"pid": os.getpid(), "sessionId": path.stem}))
    return path


def test_who_has_not_come_back_for_a_day_is_not_told_of_it_for_ever(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        asked(living)
        for age_s, silent in ((2000.0, 1), (2 * 86_400.0, 0)):
            living.app.engine.store.execute("UPDATE sessions SET modified_at = ?", (time.time() - age_s,))
            found = readings.Instruments(living.app).read({}, time.time())["agent_silent"]
            assert len(found or ()) == silent


def test_an_agent_whose_turn_has_ended_waits_for_its_user_and_is_not_silent(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        path = asked(living)

        def silent() -> int:
            living.ctl("checkpoint", acts=True, session=path.stem)
            now = time.time()
            living.app.engine.store.execute("UPDATE sessions SET modified_at = ?", (now - 2000.0,))
            return len(readings.Instruments(living.app).read({}, now)["agent_silent"] or ())

        assert silent() == 1
        append(path, line("assistant", "an answer", living.home.project, session=path.stem))
        assert silent() == 0


def test_an_issue_is_near_its_limit_until_it_is_full_and_has_a_successor(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        living.app.engine.store.execute(
            "INSERT INTO issues (repository, project_key, volume, number, ours) VALUES (1, 'k', 1, 7, 1)"
        )

        def near(total: int) -> list[str]:
            living.app.engine.store.execute("UPDATE issues SET total = ?", (total,))
            found = readings.Instruments(living.app).read({}, time.time())["near_limit"]
            return [each.of for each in found or ()]

        assert near(PARTS - 1) == ["Issue 7"]
        assert near(PARTS // 2) == near(PARTS) == []


def test_a_long_walk_through_a_slow_disk_is_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walk, folders = os.walk, list[str]()
    with Living(tmp_path) as living:
        living.transcript()
        loop = living.app.health

        def slow(place: Path, **how: Any) -> Iterator[tuple[str, list[str], list[str]]]:
            is_measured = threading.current_thread() is loop  # who watches new folders walks as well
            for found in walk(place, **how):
                if is_measured:
                    loop.progressed_at = loop.waits_until = time.monotonic() - 500
                yield found
                if is_measured and loop.progress_age_s < 100:
                    folders.append(found[0])

        monkeypatch.setattr(os, "walk", slow)
        loop._instruments._measured_at = None
        loop.want()
        living.until(lambda: len(folders) >= 3)
        monkeypatch.undo()


def test_the_sessions_are_gone_through_once_a_minute_where_none_is_in_danger(tmp_path: Path) -> None:
    with Living(tmp_path) as living:
        living.transcript()
        store, instruments, now = living.app.engine.store, readings.Instruments(living.app), time.time()

        def near(later: float) -> int:
            return len(instruments.read({}, now + later)["purge_near"] or ())

        assert near(0) == 0
        store.execute("UPDATE sessions SET modified_at = ?, checkpoint = NULL", (now - 29 * 86_400,))
        assert near(59) == 0
        assert near(60) == near(61) == 1
        store.execute("UPDATE sessions SET modified_at = ?", (now,))
        assert near(62) == 0  # and at once seen to be over
        assert near(-3600) == 0


def test_a_machine_that_was_off_for_long_proves_a_restore_before_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Living(tmp_path) as living:
        living.transcript()
        monkeypatch.setattr(living.app.upkeep.drill, "passed_at", lambda: time.time() - 20 * 86_400)

        def told() -> int:
            return len(readings.Instruments(living.app).read({}, time.time())["restore_unproven"] or ())

        assert told() == 1
        living.app.emit("clock_jumped", seconds=20 * 86_400.0)
        assert told() == 0
        monkeypatch.setattr(living.app.books, "waited", lambda age_s: min(age_s, 3600.0))
        assert told() == 1


def test_a_user_who_may_watch_nothing_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Living(tmp_path) as living:
        monkeypatch.setattr(readings, "watches_limit", lambda: 0.0)
        assert readings.Instruments(living.app).read({}, time.time())["watches_low"]

"""What the daemon counts about itself: the time, what went well and what did not, and what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any

import pytest

from sessiond.bookkeeping import AWAY, SYNC_GOAL_S, Bookkeeping
from sessiond.pulse import Pulse
from sessionsync.reliability.findings import CRITICAL, WARNING, Ended, Finding
from sessionsync.reliability.ledger import Clocks, Ledger
from sessionsync.reliability.score import Figures
from sessionsync.store import Store
from tests.rig import START, Events


class StillPulse(Pulse):
    """A pulse whose clocks the test moves."""

    now = Clocks(START, 1000.0, 1000.0, "boot")

    def clocks(self) -> Clocks:
        return self.now

    def wait(self, seconds: float) -> None:
        now = self.now
        type(self).now = Clocks(now.wall + seconds, now.awake_s + seconds, now.boot_s + seconds, now.boot)

    def set_clock(self, by_s: float) -> None:
        type(self).now = self.now._replace(wall=self.now.wall + by_s)


class Books(Bookkeeping):
    """Books of one home; make others over the same folder to see what a restart sees."""

    def __init__(self, folder: Path) -> None:
        self.events = Events()
        self.pulse = StillPulse(folder / "pulse")
        self.store = Store(folder / "state.db")
        super().__init__(self.store, self.pulse, self.events)
        self.begin()

    def told(self, event: str, **fields: Any) -> None:
        self.on_event(event, fields)

    def of_hour(self) -> Figures:
        self.beat([])
        return self.all_figures()["1h"]


@pytest.fixture(autouse=True)
def _start_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StillPulse, "now", Clocks(START, 1000.0, 1000.0, "boot"))


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    books = Books(tmp_path)
    yield books
    books.store.close()


def test_each_event_is_counted_for_its_source(books: Books) -> None:
    books.told("session_captured", session="claude:a", bytes=1000)
    books.told("integrity_checked", session="claude:a", store="vault", result="ok", count=19)
    books.told("integrity_checked", session="note:b", store="mirror", result="mismatch", count=1)
    books.told("bytes_lost", session="note:b", bytes=1)
    found = books.of_hour()

    assert found.integrity_ratio == 19 / 20
    assert found.data_loss_ratio == 1 / 1000
    assert found.by_source == {"claude": 1.0, "note": 0.0}
    assert found.score == 19 / 20


@pytest.mark.parametrize("event", ["push_completed", "push_unchanged"])
def test_a_checkpoint_that_comes_late_is_a_failed_synchronisation(books: Books, event: str) -> None:
    books.told(event, session="claude:a", seconds=SYNC_GOAL_S, failures=0)
    books.told(event, session="claude:a", seconds=SYNC_GOAL_S + 1, failures=0)
    books.told("push_buried", session="claude:b", code="github_refused")

    assert books.of_hour().sync_success_ratio == 1 / 3


@pytest.mark.parametrize(
    ("event", "fields"), [("github_reached", {}), ("clock_jumped", {"seconds": 30_000.0})]
)
def test_but_not_where_it_could_not_come_before(books: Books, event: str, fields: dict[str, Any]) -> None:
    books.told(event, **fields)
    books.pulse.wait(SYNC_GOAL_S)
    books.told("push_completed", session="claude:a", seconds=40_000.0, failures=0)
    books.pulse.wait(1)
    books.told("push_completed", session="claude:a", seconds=40_000.0, failures=0)

    assert books.of_hour().sync_success_ratio == 1 / 2


@pytest.mark.parametrize("by_s", [3600.0, -3600.0])
def test_an_age_over_which_the_clock_was_set_is_none(books: Books, by_s: float) -> None:
    """Whoever sends may be the first who sees it."""
    books.pulse.wait(10)
    books.pulse.set_clock(by_s)
    books.told("push_completed", session="claude:a", seconds=3610.0, failures=0)
    books.pulse.wait(SYNC_GOAL_S + 1)
    books.told("push_completed", session="claude:a", seconds=4600.0, failures=0)

    assert books.of_hour().sync_success_ratio == 1 / 2


@pytest.mark.parametrize("before", ["an outage that ended", "an outage", "a clock that was set", "nothing"])
def test_nor_is_it_late_after_a_kill(books: Books, tmp_path: Path, before: str) -> None:
    books.beat([])
    if before == "an outage that ended":
        books.told("github_reached")
    elif before == "an outage":
        away = Finding(AWAY, WARNING, "m", "h", books.pulse.now.wall, seen_at=books.pulse.now.wall)
        books.follow([away])
    elif before == "a clock that was set":
        books.pulse.set_clock(3600.0)
    books.pulse.wait(60)
    again = Books(tmp_path)
    again.told("push_completed", session="claude:a", seconds=3660.0, failures=0)

    assert again.of_hour().sync_success_ratio == float(before != "nothing")
    again.store.close()


def test_what_failed_and_then_got_through_is_a_recovery(books: Books) -> None:
    books.told("push_completed", session="claude:a", seconds=1.0, failures=0)
    assert books.of_hour().sums.recovered == 0
    books.told("push_completed", session="claude:a", seconds=10.0, failures=2)
    books.told("recovery_ended", component="corruption", outcome="failure", seconds=1.0)
    books.told("push_buried", session="claude:b", code="github_refused")

    assert books.of_hour().recovery_success_ratio == 1 / 3


def test_the_figures_are_of_now_between_two_beats_and_the_next_one_changes_nothing(books: Books) -> None:
    books.pulse.wait(100)
    books.of_hour()
    books.pulse.wait(50)
    books.told("integrity_checked", session="claude:a", store="vault", result="mismatch", count=1)
    found = books.all_figures()["1h"]

    assert (found.sums.seconds["up"], found.integrity_ratio) == (150, 0)
    assert found == books.of_hour()


def test_what_was_counted_before_a_kill_is_counted_once(books: Books, tmp_path: Path) -> None:
    for lives in range(3):
        books.told("session_captured", session="claude:a", bytes=100)
        if lives == 1:
            books.beat([])
        books.told("bytes_lost", session="claude:a", bytes=1)
        with (tmp_path / "counted-0").open("ab") as torn:
            torn.write(b"\n1\tcaptured_by")
        books.store.close()
        books = Books(tmp_path)
    tallies = books.of_hour().sums.tallies["claude"]

    assert tallies == {"captured_bytes": 300, "lost_bytes": 3}
    books.beat([])
    assert not list(tmp_path.glob("counted-*"))
    books.store.close()


def test_what_another_version_has_counted_besides_is_left_out(books: Books, tmp_path: Path) -> None:
    books.told("bytes_lost", session="claude:a", bytes=1)
    for file in tmp_path.glob("counted-*"):
        with file.open("ab") as more:
            more.write(f"\n{books.ledger.beats}\ttokens_spent\tclaude\t7.0\t".encode())
    books.store.close()
    books = Books(tmp_path)
    assert books.of_hour().sums.tallies["claude"] == {"lost_bytes": 1}
    books.store.close()


@pytest.mark.parametrize("counts_first", [True, False])
def test_what_is_counted_while_a_beat_is_written_is_counted_once(
    books: Books, tmp_path: Path, *, counts_first: bool
) -> None:
    def count() -> None:
        books.told("bytes_lost", session="claude:a", bytes=1)

    def beat() -> None:
        books.all_figures()  # who asks for them has it written
        books.beat([])

    if counts_first:
        counted = 1
        at_each_line(Ledger.count, count, beat)
    else:
        counted = at_each_line(Ledger._write, beat, count)
    books.store.close()  # killed
    books = Books(tmp_path)
    assert books.of_hour().sums.tallies["claude"] == {"lost_bytes": counted}
    books.store.close()


def at_each_line(function: Callable[..., object], call: Callable[[], None], other: Callable[[], None]) -> int:
    """Call `call`, and before each line of `function` in it once `other`, in a thread; how often."""
    threads: dict[int, Thread] = {}

    def each_line(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if frame.f_code is not function.__code__:
            return None
        if event == "line" and frame.f_lineno not in threads:
            thread = threads[frame.f_lineno] = Thread(target=other)
            thread.start()
            thread.join(0.05)  # it may have to wait for what is called here
        return each_line

    sys.settrace(each_line)
    try:
        call()
    finally:
        sys.settrace(None)
    for thread in threads.values():
        thread.join()
    return len(threads)


def test_a_killed_daemon_was_up_until_its_last_sign_of_life(books: Books, tmp_path: Path) -> None:
    books.pulse.wait(100)
    books.beat([])
    books.pulse.wait(25)
    books.pulse.show()
    books.pulse.wait(10)  # killed somewhere in here
    again = Books(tmp_path)

    assert again.ledger.totals().seconds == {"up": 125, "degraded": 0, "down": 10, "suspended": 0, "off": 0}
    assert again.of_hour().score == pytest.approx(125 / 135)
    again.store.close()


@pytest.mark.parametrize(("clean", "state"), [(True, "off"), (False, "down")])
def test_what_is_stopped_is_off_and_what_fails_is_down(
    books: Books, tmp_path: Path, clean: bool, state: str
) -> None:
    books.pulse.wait(10)
    books.end(clean=clean)
    books.pulse.wait(50)
    again = Books(tmp_path)

    assert again.ledger.totals().seconds[state] == 50
    again.store.close()


def test_a_sign_that_was_cut_leaves_the_one_before(tmp_path: Path) -> None:
    pulse = StillPulse(tmp_path / "pulse")
    pulse.show()
    pulse.wait(5)
    pulse.show()
    data = bytearray((tmp_path / "pulse").read_bytes())
    assert Pulse(tmp_path / "pulse").last == Clocks(START + 5, 1005.0, 1005.0, "boot")
    data[0] ^= 1
    (tmp_path / "pulse").write_bytes(data)
    assert Pulse(tmp_path / "pulse").last == Clocks(START, 1000.0, 1000.0, "boot")
    (tmp_path / "pulse").write_bytes(b"nothing of the kind")
    assert Pulse(tmp_path / "pulse").last is None


def test_a_finding_is_told_of_when_it_comes_and_when_it_goes(books: Books, tmp_path: Path) -> None:
    late = Finding("sync_late", WARNING, "Late.", "See.", START)
    worse = Finding("copy_damaged", CRITICAL, "Damaged.", "Mend.", START, "claude:a")
    books.follow([late, worse])
    books.follow([late, worse])
    assert [(name, told["code"]) for name, told in books.events.all] == [
        ("finding_raised", "sync_late"),
        ("finding_escalated", "copy_damaged"),
    ]
    books.pulse.wait(30)
    again = Books(tmp_path)
    again.follow([late])  # still open: nothing new
    ((name, told),) = again.events.all
    assert (name, told) == (
        "finding_cleared",
        {"session": "claude:a", "code": "copy_damaged", "component": "corruption", "seconds": 30.0},
    )
    again.store.close()


def test_what_came_and_went_between_two_looks_is_told_of_in_that_order(books: Books) -> None:
    full = Finding("backup_disk_full", CRITICAL, "Full.", "Make room.", START, seen_at=START)
    books.follow([])
    books.pulse.wait(3)
    books.follow([replace(full, since=START + 3)], [Ended(full, books.pulse.now.awake_s - 1)])
    books.follow([], [Ended(full, books.pulse.now.awake_s)])

    assert [(name, told.get("seconds")) for name, told in books.events.all] == [
        ("finding_escalated", None),
        ("finding_cleared", 2.0),
        ("finding_escalated", None),
        ("finding_cleared", 0.0),
    ]


def test_what_becomes_worse_is_told_of_once_more_and_is_the_same_incident(books: Books) -> None:
    for severity in (WARNING, CRITICAL, CRITICAL):
        books.follow([Finding("sync_late", severity, "Late.", "See.", START)])
    assert [(name, told["was"]) for name, told in books.events.all] == [
        ("finding_raised", ""),
        ("finding_escalated", "warning"),
    ]
    books.follow([])
    assert books.of_hour().sums.incidents == 1


def test_what_waited_through_an_outage_has_waited_since_its_end(books: Books) -> None:
    assert books.waited(5000.0) == 5000.0
    books.pulse.wait(100)
    books.told("github_reached")
    assert books.waited(5000.0) == 0.0
    books.pulse.wait(400)
    assert books.waited(5000.0) == 400.0
    assert books.waited(30.0) == 30.0

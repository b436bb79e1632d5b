"""The clock of the machine is set, forward and back: nothing waits longer for that, and nothing is called late."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessiond import upkeeping
from sessiond.loops import TROUBLE_S, Bell, Loop
from sessionsync import retry
from sessionsync.errors import Limited, StoreFull
from sessionsync.events import silent
from sessionsync.model import unix_seconds
from sessionsync.queue import ARCHIVE, Lane
from sessionsync.reliability.findings import FINDINGS, WARNING, Finding, Findings, Severity, shown
from sessionsync.reliability.ledger import SET_S, Clocks
from sessionsync.remote.answers import RateLimit
from sessionsync.uplink import Pause
from tests.fakes.faults import server_error
from tests.fakes.github import FakeGitHub
from tests.living import Living
from tests.rig import START, Line, Rig, append
from tests.rig import line as line_of

# As the storm sets it; the second is the longest that an item may be planned to wait.
JUMPS = (-90.0, -3600.0, -86_400.0)


class Wall:
    """The wall clock, which the test sets; the others go on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return _real() + self.ahead_s


_real = time.time


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    wall = Wall()
    monkeypatch.setattr(time, "time", wall)
    return wall


# --- seeing it


def test_a_clock_that_is_set_is_told_from_one_that_drifts_and_from_sleep() -> None:
    was = Clocks(START, 1000.0, 1500.0, "boot")
    assert was._replace(wall=START + SET_S - 1).set_since(was) == 0
    assert was._replace(wall=START - 90, boot_s=1510.0, awake_s=1010.0).set_since(was) == -100
    assert was._replace(wall=START + 8 * 3600, boot_s=1500.0 + 8 * 3600).set_since(was) == 0  # it slept
    # of another boot nobody knows how long ago the first was
    assert was._replace(wall=START + 3600, boot_s=20.0, boot="next").set_since(was) == 0
    assert was._replace(wall=START - 3600, boot_s=20.0, boot="next").set_since(was) == -3600


def test_a_loop_is_told_by_how_much_and_again_where_it_could_not_be_written(wall: Wall) -> None:
    told: list[float] = []

    class Told(Loop):
        fails = 1

        def clock_set(self, now: float, by_s: float) -> None:
            del now
            if self.fails:
                self.fails -= 1
                raise StoreFull("full", hint="")
            told.append(round(by_s))

    loop = Told("t", Bell(), silent, lambda *_: None)
    wall.ahead_s = -90
    loop.now()
    assert told == []
    wall.ahead_s = -190
    assert abs(loop.now() - wall()) < SET_S
    loop.now()
    assert told == [-190]


# --- waiting


@pytest.fixture
def line(rig: Rig, gh: FakeGitHub) -> Iterator[Line]:
    line = Line(rig, gh.url)
    yield line
    line.close()


@pytest.mark.parametrize("by_s", JUMPS)
def test_what_waits_in_the_queue_is_due_and_none_of_it_of_the_future(rig: Rig, by_s: float) -> None:
    for operation in ("comment", ARCHIVE):
        rig.queue.enqueue(operation, 1, "c", rig.now, delay_s=TROUBLE_S)
    rig.now += by_s
    rig.queue.clock_set_back(rig.now, lane=Lane.GITHUB)
    assert rig.queue.next_attempt_at(Lane.GITHUB) == rig.now
    assert (rig.queue.next_attempt_at(Lane.ARCHIVE) or 0.0) > rig.now
    rig.queue.clock_set_back(rig.now)
    assert rig.queue.next_attempt_at(Lane.ARCHIVE) == rig.now
    assert {item.enqueued_at for item in rig.queue.items()} == {rig.now}


@pytest.mark.parametrize("is_start", [False, True])
def test_nothing_was_changed_or_left_unstored_in_the_future(rig: Rig, is_start: bool) -> None:
    path = rig.home.transcript()
    for _ in range(2):
        append(path, line_of("user", "hello", rig.home.project))
        rig.scan()
        rig.now += 10.0

    def stamps() -> list[float | None]:
        session = rig.session()
        file = rig.catalog.files(session.id)[path.name]
        return [session.changed_at, session.dirty_since, file.changed_at, file.unstored_since]

    was, now = stamps(), rig.now - 3600.0
    if is_start:
        rig.catalog.clamp(now)
        assert stamps() == [now] * 4
    else:
        rig.catalog.clock_set_back(now, -3600.0)
        assert stamps() == [at and at - 3600.0 for at in was]
        assert None not in was


@pytest.mark.parametrize("by_s", JUMPS)
def test_a_pause_and_a_probe_end_when_they_would_have(line: Line, by_s: float) -> None:
    rig, uplink = line.rig, line.push.uplink
    dice = random.Random(1)
    for _ in range(3):
        uplink.reach.failed(rig.now, dice)
    probe_in = uplink.reach.wait_s(rig.now)
    uplink.limit(Pause(Limited.code, "m", "h", rig.now, rig.now + 300.0), kind="secondary")
    rig.now += 100.0  # so that a short way back leads to no time before the pause
    rig.now += by_s
    line.push.clock_set(rig.now, by_s)

    assert uplink.pause is not None
    assert uplink.pause.until == rig.now + 200.0
    assert uplink.reach.wait_s(rig.now) == max(0.0, (probe_in or 0.0) - 100.0) == 0.0
    assert not uplink.resume(rig.now + 199.0)
    assert uplink.resume(rig.now + 200.0)


def test_a_pause_moves_once_however_often_that_cannot_be_written(
    line: Line, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreFull("full", hint="")

    uplink, now = line.push.uplink, rig.now - 3600.0
    uplink.limit(Pause(Limited.code, "m", "h", rig.now, rig.now + 300.0), kind="secondary")
    with monkeypatch.context() as patch:
        patch.setattr(rig.queue, "clock_set_back", full)
        for _ in range(3):
            with pytest.raises(StoreFull):
                line.push.clock_set(now, -3600.0)
    line.push.clock_set(now, -3600.0)
    assert uplink.pause is not None
    assert uplink.pause.until == now + 300.0


def test_how_far_it_was_off_before_pauses_nothing_now(line: Line, rig: Rig) -> None:
    """A limit that is over was held for a running one, by the time that the clock had been ahead."""
    rig.now = time.time()
    github = line.github
    github._api._windows["core", True] = RateLimit(5000, 0, int(rig.now) - 60)
    github._api.skew_s = -3600.0  # as the last answer said while the clock was ahead
    line.push.clock_set(rig.now, -3600.0)
    line.step()
    assert line.push.uplink.pause is None


@pytest.mark.parametrize("by_s", JUMPS)
def test_what_is_appointed_is_looked_at_and_what_is_quiet_gets_its_checkpoint(rig: Rig, by_s: float) -> None:
    path = rig.home.transcript()
    append(path, line_of("user", "hello", rig.home.project))
    rig.scan()
    quiet_s = rig.config.sources.quiet_seconds
    rig.wait(quiet_s / 2)
    rig.now += by_s
    rig.catalog.clock_set_back(rig.now, by_s)
    assert rig.session().changed_at <= rig.now
    waited = 0.0
    while rig.session().checkpoint is None and waited < 2 * quiet_s:
        rig.wait(10)
        waited += 10
    assert waited <= quiet_s / 2 + 10 if by_s < -quiet_s / 2 else waited <= quiet_s


def test_a_finding_of_a_clock_that_was_ahead_is_not_kept_quiet() -> None:
    code = next(code for code, kind in FINDINGS.items() if kind.visible_after_s)
    found = Finding(code, Severity.WARNING, "m", "h", START + 3600.0, seen_at=START)
    assert shown([found], START) == [found]
    assert shown([found], START + 3600.0) == []


@pytest.mark.parametrize("by_s", [*JUMPS, 3600.0])
def test_a_finding_is_as_old_as_it_was(by_s: float) -> None:
    findings, now = Findings(), START + 7200.0
    findings.raised("old", Severity.WARNING, "m", "h", START, seen_at=START + 3600.0)
    findings.raised("young", Severity.WARNING, "m", "h", now + by_s - 1.0)  # by the clock of now
    findings.clock_set(now + by_s, by_s, within_s=20.0)
    found = {each.code: now + by_s - each.since for each in findings.open()}
    assert found == {"old": 7200.0, "young": 1.0}
    assert {each.seen_at for each in findings.open()} == {START + 3600.0 + by_s, now + by_s - 1.0}


def test_what_is_done_daily_waits_for_no_day_that_a_clock_once_showed() -> None:
    assert not upkeeping._is_due(START + 3600.0, START)
    assert upkeeping._is_due(START, START)
    assert upkeeping._is_due(START + 365 * 86_400.0, START)


# --- the whole


def test_a_daemon_whose_clock_was_ahead_sends_what_failed_meanwhile(
    tmp_path: Path, gh: FakeGitHub, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "backoff_s", lambda *_: 4.0)
    with Living(tmp_path, **gh.settings()) as living:
        living.transcript()
        living.until(gh.all_comments)
        wall.ahead_s = 3600.0
        gh.fault(server_error(500, method="POST|PATCH", times=1))
        path = living.transcript("while it is ahead")
        living.until(lambda: living.told("push_failed"))
        wall.ahead_s = 0.0
        # nobody tells the daemon anything but that something has happened
        living.write(path, "and another word")
        living.ctl("checkpoint", acts=True, session=path.stem)
        living.until(lambda: not living.ctl("status")["sessions"]["unpushed"])
        assert living.ctl("health")["reliability"]["1h"]["counts"]["sync_failure"] == 0


@pytest.mark.parametrize("by_s", [-3600.0, 3600.0])
def test_what_it_calls_copied_is_so_by_the_clock_of_now(tmp_path: Path, wall: Wall, by_s: float) -> None:
    with Living(tmp_path) as living:
        path, blocked = living.transcript(), living.home.transcript()
        living.until(lambda: living.app.capture.captured_until)
        living.copy_of(path).with_name(blocked.name).mkdir()
        living.write(blocked)
        living.until(lambda: "copy_failed" in living.codes())
        stands = living.app.capture.captured_until or 0.0
        wall.ahead_s = by_s
        living.write(path, "meanwhile")
        living.until(lambda: living.told("clock_jumped") and living.is_copied(path))
        until = living.app.capture.captured_until
        assert until == pytest.approx(stands + by_s, abs=SET_S)


def test_what_was_asked_before_the_clock_is_heard_of_is_no_claim_of_the_future(
    tmp_path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Living(tmp_path) as living:
        capture = living.app.capture
        living.transcript()
        living.until(lambda: capture.captured_until and capture.waits_until - time.monotonic() > SET_S)
        wall.ahead_s = 3600.0
        assert capture.captured_until
        monkeypatch.setattr(living.app.watcher, "heard_until", lambda _now: None)  # an event is on its way
        capture.notice()
        living.until(lambda: living.told("clock_jumped"))
        assert (capture.captured_until or 0.0) <= wall()


@pytest.mark.parametrize("by_s", [-3600.0, 3600.0])
def test_what_is_wrong_is_as_old_as_it_was_and_so_is_the_daemon(
    tmp_path: Path, wall: Wall, by_s: float
) -> None:
    began = time.monotonic()
    with Living(tmp_path) as living:
        living.until(lambda: living.ctl("health")["checked_at"])
        living.app.findings.raised("archive_too_new", WARNING, "Too new.", "Update.", wall() - 100.0)
        raised = time.monotonic()

        def misses_s() -> float:
            (found,) = living.ctl("health")["findings"]
            return abs(wall() - unix_seconds(found["since"]) - 100.0 - (time.monotonic() - raised))

        wall.ahead_s = by_s
        living.app.capture.bell.ring()
        living.until(lambda: misses_s() < SET_S)
        living.until(lambda: living.ctl("status")["uptime_seconds"])  # told in tenths
        assert 0.0 < living.ctl("status")["uptime_seconds"] < time.monotonic() - began + SET_S

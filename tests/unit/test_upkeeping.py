"""The loop over the copies: what it puts off comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar, cast

import pytest

from sessiond import upkeeping
from sessiond.engine import Engine
from sessiond.judging import Judging
from sessiond.loops import TICK_S
from sessiond.upkeeping import UpkeepLoop
from sessionsync.budget import Budget
from sessionsync.catalog import Session
from sessionsync.errors import DiskFull
from sessionsync.reliability.findings import CRITICAL, Findings
from sessionsync.upkeep import Healing, outcome
from sessionsync.vault.verify import Bad
from tests.conftest import PATIENCE_S
from tests.keeper import flip, pack_of, upkeep_of
from tests.rig import Rig, append, line, no_loop_fails

T = TypeVar("T")


@pytest.fixture
def loop(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> UpkeepLoop:
    monkeypatch.setattr(upkeeping, "TROUBLE_S", 0.0)
    engine = SimpleNamespace(
        store=rig.store,
        catalog=rig.catalog,
        mirror=rig.mirror,
        vault=rig.vault,
        config=rig.config,
        paths=SimpleNamespace(state_dir=rig.home.state),
    )

    return UpkeepLoop(
        upkeep_of(rig),
        cast("Engine", engine),
        Findings(),
        rig.events,
        no_loop_fails,
        Budget(1e12),
        busy=lambda: False,
    )


def wounded(rig: Rig) -> Session:
    """A session of which the vault has a flipped bit."""
    path = rig.home.transcript()
    append(path, line("user", "text " * 500, rig.home.project, session=path.stem))
    rig.scan()
    rig.wait(300)
    session = rig.session()
    flip(pack_of(rig, session), 100)
    return session


def full_disk(rig: Rig) -> Callable[[], int]:
    """What a commit of the vault does without room."""

    def full() -> int:
        rig.vault._batch.drop()
        raise DiskFull("no room", hint="")

    return full


def test_a_repair_that_a_full_disk_kept_from_being_done_is_done_later(
    rig: Rig, loop: UpkeepLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = wounded(rig)

    loop.heal(session)
    with monkeypatch.context() as patch:
        patch.setattr(rig.vault, "flush", full_disk(rig))
        loop.turn()
    assert rig.events.named("upkeep_postponed")
    assert rig.events.named("damage_healed") == []
    loop.turn()
    assert rig.events.named("damage_healed")


def test_a_disk_that_has_room_again_ends_the_rest_after_trouble(
    rig: Rig, loop: UpkeepLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeeping, "TROUBLE_S", 300.0)
    loop.heal(wounded(rig))
    with monkeypatch.context() as patch:
        patch.setattr(rig.vault, "flush", full_disk(rig))
        loop.turn()
    loop.turn()
    assert rig.events.named("damage_healed") == []
    loop.go_on()
    loop.turn()
    assert rig.events.named("damage_healed")


def test_a_copy_away_from_here_is_asked_again_whatever_the_clock_was_set_to(
    rig: Rig, loop: UpkeepLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = wounded(rig)
    asked: list[float] = []
    away = SimpleNamespace(name="github", missed={session.id}, forget=lambda: asked.append(time.time()))
    monkeypatch.setattr(loop, "_away", [away])
    monkeypatch.setattr(loop, "_may_ask", lambda: True)
    monkeypatch.setattr(upkeeping, "ASK_S", 0.0)
    loop.turn()  # while nothing is missed
    loop.turn()
    assert len(asked) == 1
    loop.turn()  # what it was asked for is repaired
    away.missed.add(session.id)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 86_400.0)
    loop.turn()
    assert len(asked) == 2


def test_two_repairs_of_one_session_heal_it_once(
    rig: Rig, loop: UpkeepLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person asks for the one while the daemon does the other by itself."""
    session = wounded(rig)
    asked: list[Future[Healing]] = []
    with ThreadPoolExecutor(1) as person:

        def pace(size: int) -> None:
            """The loop has begun; whoever asks now is through before it, unless they wait for it."""
            if not asked:
                asked.append(person.submit(lambda: outcome(loop.repair(session))))
                wait(asked, 0.2)

        monkeypatch.setattr(loop, "_pace", pace)
        loop.heal(session)
        loop.turn()
        assert asked[0].result(PATIENCE_S).healed == {}
    assert len(rig.events.named("damage_healed")) == 1


def test_the_daily_work_ends_and_leaves_no_finding(
    rig: Rig, tmp_path: Path, loop: UpkeepLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_rests_until", 0.0)
    path = rig.home.transcript()
    append(path, line("user", "text " * 500, rig.home.project, session=path.stem))
    rig.scan()
    rig.wait(300)
    for _ in range(30):
        loop.turn()
    done = [name for name, _ in rig.events.all]
    assert done.count("integrity_scanned") == 1
    assert done.count("drill_ended") == 1
    assert loop.drill.passed_at() > 0


def test_a_cleaning_that_is_asked_for_waits_for_no_rest(
    rig: Rig, loop: UpkeepLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where space runs short."""
    monkeypatch.setattr(loop, "_rests_until", 0.0)
    for _ in range(30):
        loop.turn()
    assert loop.turn() > TICK_S
    loop.tidy()
    loop.turn()
    assert loop.cleaned_at > 0
    assert loop.turn() > TICK_S


def test_what_is_wrong_with_a_session_ends_with_the_session(rig: Rig, loop: UpkeepLoop) -> None:
    """As where it was forgotten between a look and the repair, or right before a restart."""
    loop._findings.raised("copy_damaged", CRITICAL, "Damaged.", "See.", rig.now, "claude:gone")
    loop._findings.raised("copy_damaged", CRITICAL, "Damaged.", "See.", rig.now, "claude:other")
    loop.heal_named("claude:gone")
    loop.turn()
    assert [each.session for each in loop._findings.open()] == ["claude:other"]
    assert not loop.is_healing("claude:gone")


def test_what_was_lost_and_is_found_again_is_no_longer_lost(rig: Rig, loop: UpkeepLoop) -> None:
    lost = Bad("vault", "a.jsonl", 0, 0, 10, "missing", "is not there")
    other = Bad("vault", "journal", 0, 0, 0, "mismatch", "1 of its lines are damaged")
    loop.judge("claude:a", Healing(left=[lost, other]))
    assert {each.code for each in loop._findings.open()} == {"reference_broken", "copy_damaged", "data_lost"}
    unread = Bad("vault", "journal", 0, 0, 0, "error", "cannot be read")
    loop.judge("claude:a", Healing(left=[unread]))
    assert "data_lost" in {each.code for each in loop._findings.open()}
    loop.judge("claude:a", Healing(left=[other]))
    assert {each.code for each in loop._findings.open()} == {"copy_damaged"}
    assert [each["bytes"] for each in rig.events.named("bytes_lost")] == [10]


def test_the_same_bytes_are_lost_once(rig: Rig) -> None:
    judging = Judging(Findings(), rig.store, rig.events)

    def lost(*ends: int) -> list[int]:
        rig.events.all.clear()
        for end in ends:
            judging.mourn(
                "claude:s", [Bad("vault", "s.jsonl", 0, 0, end, "mismatch", "is damaged")] if end else []
            )
        return [each["bytes"] for each in rig.events.named("bytes_lost")]

    assert lost(10, 10, 10) == [10]
    assert lost(4, 4, 12) == [8]  # some of it was found, and then it and more was lost again
    assert lost(0, 0, 3) == [3]

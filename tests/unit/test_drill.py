"""A drill restores from the local copies into a scratch folder, and tells what would not come back."""

from __future__ import annotations

import json
import random
import shutil
import tracemalloc
from pathlib import Path

import pytest

from sessionsync.restore.drill import DRILL_S, SESSIONS, Drill
from sessionsync.restore.loadable import loadable
from tests.fakes.agent import Agent
from tests.keeper import flip, pack_of, place_of
from tests.rig import Rig, write


@pytest.fixture
def drill(rig: Rig, tmp_path: Path) -> Drill:
    return Drill(
        catalog=rig.catalog,
        mirror=rig.mirror,
        vault=rig.vault,
        scratch=tmp_path / "drill",
        chance=random.Random(7),
        emit=rig.events,
    )


def a_transcript(rig: Rig, turns: int = 3) -> Path:
    """A transcript with a checkpoint a turn, a call and its result in each, and companions."""
    count = len(list(rig.home.agent.glob("projects/*/*.jsonl")))
    agent = Agent(session=f"{count:08x}-58d7-4cf4-9f3f-6a6f5c9c1a11", cwd=str(rig.home.project))
    path = rig.home.transcript(agent.session)
    for turn in range(turns):
        agent.turn(f"question {turn}", answer=f"answer {turn}")
        path.write_bytes(agent.data)
        rig.scan()
        rig.wait(300)
    write(
        path.with_suffix(""), [("tool-results/a.txt", b"result\n" * 99), ("subagents/agent-1.jsonl", b"{}\n")]
    )
    rig.scan()
    rig.wait(300)
    return path


def test_what_is_sound_passes_and_nothing_stays(rig: Rig, drill: Drill, tmp_path: Path) -> None:
    path = a_transcript(rig)
    write(rig.home.structured("s2"), [("context.json", b'{"a": 1}'), ("artifacts/x.bin", bytes(range(256)))])
    rig.scan()
    rig.wait(300)
    before = sorted(file for file in tmp_path.rglob("*"))
    done = drill.run(drill.sample(), rig.now, lambda _size: None)
    assert {each.result for each in done} == {"ok"}
    assert {(each.session, each.origin) for each in done} == {
        (f"claude:{path.stem}", "mirror"),
        (f"claude:{path.stem}", "vault"),
        ("structured:s2", "mirror"),
        ("structured:s2", "vault"),
    }
    assert max(each.files for each in done) == 3
    assert all(each.flaws == [] for each in done)
    assert drill.passed_at() == rig.now
    assert drill.next_at() == rig.now + DRILL_S
    assert list((tmp_path / "drill").iterdir()) == []
    assert [file for file in tmp_path.rglob("*") if file not in before] == [tmp_path / "drill"]
    (ended,) = rig.events.named("drill_ended")
    assert (ended["sessions"], ended["failed"]) == (2, 0)


@pytest.mark.parametrize("seed", range(6))
def test_a_copy_that_does_not_come_back_fails(rig: Rig, drill: Drill, seed: int) -> None:
    a_transcript(rig)
    session = rig.session()
    fold = rig.vault.open(session.project or "", session.stored_as).fold()
    segment = random.Random(seed).choice([s for s, _ in fold.stored if s.file.endswith(".jsonl")])
    flip(pack_of(rig, session), segment.at + segment.packed // 2)
    done = drill.run([session], rig.now, lambda _size: None)
    assert any(each.problems for each in done)
    assert all(each.origin == "vault" for each in done if each.problems)
    assert drill.passed_at() == 0
    assert drill.next_at() == rig.now + DRILL_S
    assert rig.events.named("drill_failed")[0]["session"] == session.name


def test_a_plain_copy_that_is_gone_on_from_is_read_too(rig: Rig, drill: Drill) -> None:
    path = a_transcript(rig)
    session = rig.session()
    copy = rig.mirror.path_of(session.project or "", session.stored_as, path.name)
    copy.write_bytes(copy.read_bytes() + b'{"type": "user", "uuid": "9", "parentUuid": "8"}\n')
    done = drill.run([session], rig.now, lambda _size: None)
    (plain,) = [each for each in done if each.origin == "mirror"]
    assert "a parent is missing at line" in plain.problems[0]


def test_what_the_original_lacks_as_well_is_told_and_no_failure(rig: Rig, drill: Drill) -> None:
    path = a_transcript(rig, turns=2)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines[4:]]))  # the agent itself lost a line
    rig.scan()
    rig.wait(300)
    done = drill.run([rig.session()], rig.now, lambda _size: None)
    assert {each.result for each in done} == {"ok"}
    assert any("a parent is missing" in flaw for each in done for flaw in each.flaws)


def test_what_the_original_does_not_lack_is_a_failure(rig: Rig, drill: Drill) -> None:
    path = a_transcript(rig, turns=2)
    sound = path.read_bytes()
    lines = sound.splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines[4:]]))
    rig.scan()
    rig.wait(300)
    path.write_bytes(sound)  # and no scan has seen it
    done = drill.run([rig.session()], rig.now, lambda _size: None)
    assert any("a parent is missing" in problem for each in done for problem in each.problems)


def test_the_sample_is_the_newest_what_failed_and_others_by_chance(rig: Rig, drill: Drill) -> None:
    paths = [a_transcript(rig, turns=1) for _ in range(12)]
    newest = f"claude:{paths[-1].stem}"
    seen: set[str] = set()
    for _ in range(20):
        names = [session.name for session in drill.sample()]
        assert (len(names), names[0]) == (SESSIONS, newest)
        seen |= set(names)
    assert len(seen) > SESSIONS
    assert drill.sample([f"claude:{path.stem}" for path in paths])[SESSIONS:]
    assert drill.sample(["claude:gone"])[0].name == newest


def test_a_session_without_copies_is_said(rig: Rig, drill: Drill) -> None:
    path = a_transcript(rig, turns=1)
    session = rig.session()
    shutil.rmtree(place_of(rig, session))
    shutil.rmtree(rig.home.mirror / (session.project or ""))
    (done,) = drill.run([session], rig.now, lambda _size: None)
    assert done.result == "failed"
    assert path.stem in done.problems[0]


def test_a_line_without_an_end_is_bad_and_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "3f2a9c1e-58d7-4cf4-9f3f-6a6f5c9c1a11.jsonl"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    tracemalloc.start()
    try:
        problems = loadable(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert any("line 1" in problem for problem in problems), problems
    assert peak < 60_000_000


def test_what_a_killed_drill_left_goes_at_the_start(drill: Drill, tmp_path: Path) -> None:
    left = tmp_path / "drill" / "drill-x" / "agent" / "a.jsonl"
    left.parent.mkdir(parents=True)
    left.write_text(json.dumps({}))
    drill.clean()
    assert not (tmp_path / "drill").exists()
    drill.clean()

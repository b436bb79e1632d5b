"""Whatever machines write, whenever they sync and die: every line is in every copy that they agree on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sessionsync.divergence import whole
from sessionsync.remote import comments
from tests.fakes.github import FakeGitHub
from tests.machines import MAIN, Killed, Machine, hand_over, held, notices, records, texts
from tests.rig import START

pytestmark = pytest.mark.github(frozen_at=START)

STEPS = 14


@pytest.fixture
def machines(tmp_path: Path, gh: FakeGitHub) -> Iterator[Callable[[int], list[Machine]]]:
    made: list[Machine] = []

    def make(count: int) -> list[Machine]:
        made.extend(Machine(tmp_path / f"m{n}", gh, n + 1) for n in range(count))
        for machine in made:
            machine.name_project()
        return made

    yield make
    for machine in made:
        machine.close()


def live_through(
    all_of_them: list[Machine], dice: random.Random, write: Callable[[Machine], None]
) -> list[str]:
    """Append, checkpoint, sync, listen and die in some order; returns what was done, for the report."""
    done = []
    for _ in range(STEPS):
        machine = dice.choice(all_of_them)
        machine.rig.now = max(machine.rig.now, machine.gh.now())
        what = dice.choice(["write", "write", "checkpoint", "push", "listen", "die", "restart"])
        done.append(f"{machine.number} {what}")
        match what:
            case "write":
                write(machine)
            case "checkpoint":
                machine.checkpoint()
            case "push":
                machine.push()
            case "listen":
                machine.listen()
            case "restart":
                machine.restart()
            case _:
                machine.checkpoint()
                machine.die_at(dice.randint(1, 5), after=dice.random() < 0.5)
                with suppress(Killed):
                    machine.push()
                    machine.listen()
                machine.restart()
    return done


def settle(all_of_them: list[Machine]) -> None:
    """Let every machine sync until each has heard of all the others have written."""
    for _ in range(3):
        for machine in all_of_them:
            machine.sync()


@pytest.mark.parametrize("seed", range(12))
def test_every_line_of_a_transcript_is_in_every_converged_copy(
    gh: FakeGitHub, machines: Callable[[int], list[Machine]], seed: int
) -> None:
    dice = random.Random(seed)
    all_of_them = machines(2 + seed % 2)
    first = all_of_them[0]
    first.say("first")
    first.sync()
    for other in all_of_them[1:]:
        hand_over(first, other)
    written = ["first"]

    def say(machine: Machine) -> None:
        written.append(f"line {len(written)} of {machine.number}")
        machine.say(written[-1])

    done = live_through(all_of_them, dice, say)
    settle(all_of_them)
    assert sorted(texts(held(gh))) == sorted(written), done
    assert len(records(gh)) == 1
    for machine in all_of_them:
        session = machine.rig.session()
        judge = machine.line.push.judge
        assert machine.conflicts.all() == []
        # what this machine can put back: its own, and what it keeps of the others
        known = set(texts(machine.transcript.read_bytes()))
        for version in judge.versions.of(session.id):
            kept = judge.elsewhere.files(session.stored_as, version.machine, version.checkpoint)
            known |= set(texts(whole(kept[MAIN])))
        assert known | set(texts(held(gh))) == set(written), done
        # nobody's file was touched by the others
        assert set(texts(machine.transcript.read_bytes())) <= set(written)
    assert notices(gh) == []
    gh.forget_requests()
    settle(all_of_them)
    assert gh.requests(writes=True) == [], done  # and then there is peace


@pytest.mark.parametrize("seed", range(12))
def test_every_version_of_other_files_is_the_record_or_in_a_reported_conflict(
    gh: FakeGitHub, machines: Callable[[int], list[Machine]], seed: int
) -> None:
    dice = random.Random(1000 + seed)
    all_of_them = machines(2 + seed % 2)
    count = 0

    def change(machine: Machine) -> None:
        nonlocal count
        count += 1
        machine.write(context_json=f'{{"title": "T", "decisions": ["{count} of {machine.number}"]}}')

    for machine in all_of_them:
        machine.write(context_json='{"title": "T", "decisions": ["first"]}')
        machine.sync()
    done = live_through(all_of_them, dice, change)
    settle(all_of_them)
    gh.forget_requests()
    settle(all_of_them)
    assert gh.requests(writes=True) == [], done
    files = records(gh)["plan"][1]
    assert files is not None
    told = [notice for c in gh.comments("o/r", 1) if (notice := comments.parse_notice(c.body)) is not None]
    assert len({notice.fork for notice in told}) == len(told) <= 1, done  # once a fork point
    for machine in all_of_them:
        mine = (machine.home.structured("plan") / "context.json").read_bytes()
        is_record = files["context.json"] == mine
        in_conflict = bool(told) and any(other.conflicts.all() for other in all_of_them)
        moved_on = b'"first"' in mine  # what all began with, and somebody went on from
        assert is_record or in_conflict or moved_on, done
        # and it can be restored: here it lies in the vault, on the others in theirs
        assert machine.rig.restored(machine.rig.session())["context.json"] == mine

"""One record a session in one repository, in whichever issue it is asked for and however the machines interleave."""

from __future__ import annotations

import itertools
import random
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from sessionsync.model import Context, Ref
from sessionsync.pull import Pull
from sessionsync.remote import comments
from sessionsync.restore import Known
from sessionsync.restore.records import RecordShelf
from tests.fakes.faults import accept_then_drop
from tests.fakes.github import FakeGitHub
from tests.rig import START, Home, Line, Rig, append, line, write

pytestmark = pytest.mark.github(frozen_at=START)

ID = "5b0f7a52-3f0e-4d55-9a3b-0d1f0a3f2c11"


class Machine:
    """A home that has the session, and pushes it about an issue, or about none."""

    def __init__(self, folder: Path, gh: FakeGitHub, number: int, issue: int, first: bytes) -> None:
        self.gh = gh
        self.home = Home(folder)
        self.rig = Rig(self.home)
        self.path = self.home.transcript(ID)
        append(self.path, first)
        self.line = Line(self.rig, gh.url, host=f"host{number}", machine=f"{number:08x}")
        self.about(issue)
        self.pull = Pull(
            push=self.line.push,
            catalog=self.rig.catalog,
            queue=self.rig.queue,
            placements=self.line.placements,
            emit=self.rig.events,
        )

    def about(self, issue: int) -> None:
        """What the CI job, or the session, names from now on."""
        self.line.push.own.context = Context(issue=issue)

    def save(self, *lines: bytes) -> None:
        append(self.path, *lines)
        self.rig.now = max(self.rig.now, self.gh.now())
        self.rig.wait(5)
        self.rig.wait(200)
        self.tick()

    def push(self) -> None:
        self.rig.now = max(self.rig.now, self.gh.now())
        self.line.drain()
        self.tick()

    def listen(self) -> None:
        self.rig.now = max(self.rig.now, self.gh.now()) + 61
        self.tick()
        self.pull.work(self.rig.now)

    def tick(self) -> None:
        """GitHub's clock goes on as ours does."""
        self.gh.advance(max(0.0, self.rig.now - self.gh.now()))

    def steps(self) -> Generator[None, None, None]:
        """One item, a request that writes at a time."""
        steps = self.line.push.work(self.rig.now)
        with suppress(StopIteration):
            wait = next(steps)
            while True:
                try:
                    yield
                except GeneratorExit:
                    steps.close()
                    raise
                self.rig.now = max(self.rig.now, self.gh.now()) + wait
                self.tick()
                wait = steps.send(self.rig.now)

    def close(self) -> None:
        self.line.close()
        self.rig.close()


class Fleet:
    """Machines on one repository, all with the same clock."""

    def __init__(self, folder: Path, gh: FakeGitHub, *issues: int) -> None:
        self.gh = gh
        self._ends = ExitStack()
        project = folder / "project"
        first = line("user", "hello", project, session=ID)
        self.machines = []
        for number, issue in enumerate(issues):
            machine = Machine(folder / str(number), gh, number + 1, issue, first)
            self._ends.callback(machine.close)
            machine.rig.wait(5)
            machine.rig.wait(200)
            self.machines.append(machine)
        self.lines = {first}

    def said(self, text: str) -> bytes:
        made = line("user", text, "/project", session=ID)
        self.lines.add(made)
        return made

    def settle(self) -> None:
        for machine in self.machines * 3:
            machine.push()
            machine.listen()
            machine.push()

    def close(self) -> None:
        self._ends.close()


def records(gh: FakeGitHub) -> list[tuple[int, comments.Part]]:
    """Every first part of the session's in the repository, with its issue."""
    found = []
    for issue in gh.issues.values():
        for comment in gh.comments("o/r", issue.number):
            part = comments.parse(comment.body)
            if part is not None and part.part == 1 and part.session_id == ID:
                found.append((issue.number, part))
    return found


@pytest.fixture
def fleet(tmp_path: Path, gh: FakeGitHub) -> Iterator[Fleet]:
    gh.add_issue("o/r", title="A bug", login="me")
    gh.add_issue("o/r", title="Another", login="me")
    made = Fleet(tmp_path, gh, 0, 1, 2)
    yield made
    made.close()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_record_is_edited_where_it_is_whatever_issue_is_named(
    fleet: Fleet, gh: FakeGitHub, order: tuple[int, ...]
) -> None:
    for number in order:
        fleet.machines[number].push()
    ((issue, _),) = records(gh)
    assert issue == (order[0] or 3)
    assert len(gh.issues) == (3 if order[0] == 0 else 2)


def test_a_session_that_names_another_issue_later_stays_where_it_is(fleet: Fleet, gh: FakeGitHub) -> None:
    machine = fleet.machines[0]
    machine.push()
    machine.about(2)
    machine.save(fleet.said("more"))
    gh.forget_requests()
    machine.push()
    assert [issue for issue, _ in records(gh)] == [3]
    assert [r.method for r in gh.requests()] == ["GET", "PATCH"]


def test_looking_for_a_new_session_costs_one_listing(fleet: Fleet, gh: FakeGitHub) -> None:
    fleet.machines[1].push()
    assert len(gh.requests("GET", r"/issues/comments\?")) == 1
    fleet.machines[1].save(fleet.said("more"))
    fleet.machines[1].push()
    assert len(gh.requests("GET", r"/issues/comments\?")) == 1


@pytest.mark.parametrize("seed", range(12))
def test_no_interleaving_leaves_two_records(tmp_path: Path, gh: FakeGitHub, seed: int) -> None:
    chance = random.Random(seed)
    for title in ("A bug", "Another"):
        gh.add_issue("o/r", title=title, login="me")
    fleet = Fleet(tmp_path, gh, 0, 1, 2)
    try:
        running: dict[int, Generator[None, None, None]] = {}
        for n in range(60):
            number = chance.randrange(3)
            machine, act = fleet.machines[number], chance.random()
            if act < 0.1:
                gh.fault(accept_then_drop(method="POST", path=r"/comments$", times=1))
            if number not in running:
                if act < 0.2:
                    machine.save(fleet.said(f"line {n}"))
                elif act > 0.9:
                    machine.about(chance.randrange(3))
                    machine.listen()
                running[number] = machine.steps()
            try:
                next(running[number])
            except StopIteration:
                del running[number]
        for steps in running.values():
            steps.close()
        gh.clear_faults()
        fleet.settle()
        ((_, part),) = records(gh)
        assert part.intact
    finally:
        fleet.close()


def test_a_record_in_an_issue_that_the_session_names_is_found_by_its_id(fleet: Fleet, gh: FakeGitHub) -> None:
    machine = fleet.machines[1]
    write(machine.home.structured("plan"), [("context.json", b'{"issue": 2, "title": "T"}')])
    machine.save()
    machine.push()
    gh.forget_requests()
    shelf = RecordShelf(machine.line.github, authors=())
    assert [(filed.session_id, filed.issue) for filed in shelf.named("plan")] == [("plan", 2)]
    assert [filed.issue for filed in shelf.named("structured:plan")] == [2]
    assert [filed.issue for filed in shelf.named(ID[:8])] == [1]
    found = shelf.find(Known(Ref("structured", "plan"), "plan"))
    assert found is not None
    assert found.contents == {"context.json": b'{"issue": 2, "title": "T"}'}
    assert shelf.named("no-such") == []
    assert len(gh.requests("GET", r"/issues/comments\?")) == 1

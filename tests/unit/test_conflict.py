"""Two machines on one repository: what becomes of a session that both change."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sessionsync.conflict import Conflicts
from sessionsync.divergence import whole
from sessionsync.pull import Pull
from sessionsync.remote import comments
from tests.fakes.github import FakeGitHub
from tests.rig import START, Home, Line, Rig, append, line, write

SID = "3f2a9c1e-0000-4000-8000-000000000000"


@pytest.fixture
def gh() -> Iterator[FakeGitHub]:
    with FakeGitHub(frozen_at=START) as made:
        made.add_repo("o/r", private=True)
        made.token("T", login="me")
        yield made


class Machine:
    """A home, its engine, and its line to GitHub."""

    def __init__(self, folder: Path, gh: FakeGitHub, number: int, **github: Any) -> None:
        self.gh = gh
        self.home = Home(folder)
        self.rig = Rig(self.home)
        self.name = f"{number:08x}"
        self.line = Line(self.rig, gh.url, host=f"host{number}", machine=self.name, **github)
        self.pull = Pull(
            push=self.line.push,
            catalog=self.rig.catalog,
            queue=self.rig.queue,
            placements=self.line.placements,
            emit=self.rig.events,
        )
        self.conflicts = Conflicts(self.rig.store)

    def close(self) -> None:
        self.line.close()
        self.rig.close()

    @property
    def transcript(self) -> Path:
        return self.home.transcript(SID)

    def say(self, *texts: str) -> None:
        append(self.transcript, *(line("user", text, self.home.project, session=SID) for text in texts))

    def write(self, **files: str) -> None:
        folder = self.home.structured("plan")
        write(folder, [(name.replace("_", "."), data.encode()) for name, data in files.items()])

    def checkpoint(self) -> None:
        self.rig.wait(5)
        self.rig.wait(200)

    def push(self) -> None:
        """Send what waits; the clocks of the machines and GitHub's go on."""
        self.line.drain()
        self.gh.advance(max(0.0, self.rig.now - self.gh.now()))

    def listen(self) -> None:
        self.rig.now = max(self.rig.now, self.gh.now()) + 61
        self.gh.advance(self.rig.now - self.gh.now())
        self.pull.soon()
        assert self.pull.work(self.rig.now)
        self.push()

    def sync(self) -> None:
        self.rig.now = max(self.rig.now, self.gh.now())
        self.checkpoint()
        self.push()
        self.listen()


@pytest.fixture
def machines(tmp_path: Path, gh: FakeGitHub) -> Iterator[Callable[..., Machine]]:
    made: list[Machine] = []

    def make(**github: Any) -> Machine:
        made.append(Machine(tmp_path / f"m{len(made)}", gh, len(made) + 1, **github))
        return made[-1]

    yield make
    for machine in made:
        machine.close()


def hand_over(one: Machine, two: Machine) -> None:
    """What a restore would do: the files of one lie on the other."""
    two.transcript.write_bytes(one.transcript.read_bytes())


def records(gh: FakeGitHub) -> dict[str, tuple[comments.Record, dict[str, bytes] | None]]:
    parts: dict[str, list[comments.Part]] = {}
    for issue in (1,):
        for comment in gh.comments("o/r", issue):
            if (part := comments.parse(comment.body)) is not None:
                parts.setdefault(part.session_id, []).append(part)
    return {name: comments.assemble(its) for name, its in parts.items()}


def notices(gh: FakeGitHub) -> list[str]:
    return [c.body for c in gh.comments("o/r", 1) if comments.parse_notice(c.body) is not None]


def texts(data: bytes) -> list[str]:
    return re.findall(r'"content": "([^"]*)"', data.decode())


def held(gh: FakeGitHub, name: str = f"{SID}.jsonl", session: str = SID) -> bytes:
    files = records(gh)[session][1]
    assert files is not None
    return files[name]


def test_what_goes_on_from_the_record_takes_its_place(
    gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    one, two = machines(), machines()
    one.say("a")
    one.sync()
    hand_over(one, two)
    two.say("b")
    two.sync()
    assert held(gh) == two.transcript.read_bytes()
    assert len(records(gh)) == 1
    assert notices(gh) == []
    one.listen()  # what is newer there is kept here, and the agent's file stays as it is
    version = one.line.push.judge.versions.get(one.rig.session().id, two.name)
    assert version is not None
    assert version.relation == "theirs_extends"
    kept = one.line.push.judge._elsewhere.files(one.rig.session().stored_as, two.name, version.checkpoint)
    assert whole(kept[f"{SID}.jsonl"]) == held(gh)
    assert texts(one.transcript.read_bytes()) == ["a"]


def test_a_transcript_that_went_two_ways_is_united(gh: FakeGitHub, machines: Callable[..., Machine]) -> None:
    one, two = machines(), machines()
    one.say("a")
    one.sync()
    hand_over(one, two)
    two.say("b")
    one.say("c")
    two.sync()
    one.sync()
    two.sync()
    assert sorted(texts(held(gh))) == ["a", "b", "c"]
    one.say("d")
    one.sync()
    two.say("e")
    two.sync()
    one.sync()
    assert sorted(texts(held(gh))) == ["a", "b", "c", "d", "e"]
    assert notices(gh) == []
    assert one.conflicts.all() == []
    assert two.conflicts.all() == []
    assert len(one.rig.events.named("session_united")) == 1  # once a fork point
    assert texts(one.transcript.read_bytes()) == ["a", "c", "d"]


def plan(gh: FakeGitHub, session: str = "plan") -> dict[str, bytes]:
    files = records(gh)[session][1]
    assert files is not None
    return files


def fork(machines: Callable[..., Machine]) -> tuple[Machine, Machine]:
    """Two machines with the same structured session, each of which has changed it since."""
    one, two = machines(), machines()
    # one repository, so one project
    for machine in (one, two):
        name_project(machine.home.project)
    one.write(context_json='{"title": "T", "decisions": ["d"]}')
    one.sync()
    two.write(context_json='{"title": "T", "decisions": ["d"]}')
    two.sync()
    one.write(context_json='{"title": "T", "decisions": ["d", "one"]}')
    one.sync()
    two.write(context_json='{"title": "T", "decisions": ["d", "two"]}')
    two.sync()
    return one, two


def name_project(folder: Path) -> None:
    if not (folder / ".git").exists():
        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        subprocess.run(
            ["git", "-C", str(folder), "remote", "add", "origin", "https://github.com/o/app.git"], check=True
        )


def test_files_that_were_changed_in_two_places_are_a_conflict_that_is_told_once(
    gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    one, two = fork(machines)
    (conflict,) = two.conflicts.all()
    assert (conflict.kind, conflict.local["host"], conflict.remote["host"]) == ("files", "host2", "host1")
    assert plan(gh)["context.json"] == (two.home.structured("plan") / "context.json").read_bytes()
    (notice,) = notices(gh)
    assert "host1" in notice
    assert "host2" in notice
    assert "sessiond ctl resolve plan --keep remote --dry-run" in notice
    assert len(two.rig.events.named("conflict_opened")) == 1
    one.listen()  # the other machine knows of it too
    assert [c.fork for c in one.conflicts.all()] == [conflict.fork]
    # the other version can be restored, bytes and all
    version = two.line.push.judge.versions.get(two.rig.session().id, one.name)
    assert version is not None
    kept = two.line.push.judge._elsewhere.files(two.rig.session().stored_as, one.name, version.checkpoint)
    assert whole(kept["context.json"]) == (one.home.structured("plan") / "context.json").read_bytes()
    # while it is open, more of it is no other conflict
    one.write(context_json='{"title": "T", "decisions": ["d", "one", "more"]}')
    one.sync()
    two.write(context_json='{"title": "T", "decisions": ["d", "two", "more"]}')
    two.sync()
    one.listen()
    assert len(notices(gh)) == 1
    assert len(two.conflicts.all()) == len(one.conflicts.all()) == 1


def choose(machine: Machine, keep: str) -> None:
    (conflict,) = machine.conflicts.all()
    session = machine.rig.session()
    machine.line.push.resolve(session, conflict, keep, machine.rig.now)
    machine.push()


@pytest.mark.parametrize("by_winner", [True, False])
@pytest.mark.parametrize("keep", ["local", "remote", "both", "merge"])
def test_whatever_is_chosen_both_machines_agree(
    gh: FakeGitHub, machines: Callable[..., Machine], keep: str, by_winner: bool
) -> None:
    one, two = fork(machines)
    one.listen()
    versions = {
        machine.name: (machine.home.structured("plan") / "context.json").read_bytes()
        for machine in (one, two)
    }
    chooser, other = (two, one) if by_winner else (one, two)
    choose(chooser, keep)
    for _ in range(2):
        other.listen()
        chooser.listen()
    mine, yours = versions[chooser.name], versions[other.name]
    expected = {"local": mine, "remote": yours, "both": mine, "merge": mine}[keep]
    assert plan(gh)["context.json"] == expected
    if keep == "both":
        assert plan(gh, f"plan-{other.name[:6]}")["context.json"] == yours
    if keep == "merge":
        assert plan(gh)[f"context.{other.name}.json"] == yours
    assert one.conflicts.all() == []
    assert two.conflicts.all() == []
    (notice,) = notices(gh)
    assert "Settled" in notice
    settled = plan(gh)
    for machine in (one, two, one):
        machine.sync()
    assert plan(gh) == settled
    for machine in (one, two):  # nobody's files were touched
        assert (machine.home.structured("plan") / "context.json").read_bytes() == versions[machine.name]
    # what was settled is settled: only what is changed from there on may be another conflict
    other.write(context_json='{"title": "T", "decisions": ["new"]}')
    other.sync()
    assert len(notices(gh)) == (1 if keep == "remote" else 2)
    assert len(other.conflicts.all()) == (0 if keep == "remote" else 1)

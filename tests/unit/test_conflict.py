"""Two machines on one repository: what becomes of a session that both change."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sessionsync import report
from sessionsync.divergence import whole
from sessionsync.remote import comments
from tests.fakes.faults import Fault
from tests.fakes.github import FakeGitHub
from tests.machines import MAIN, SID, Machine, hand_over, held, notices, records, texts
from tests.rig import START, Home

pytestmark = pytest.mark.github(frozen_at=START)


@pytest.fixture
def machines(tmp_path: Path, gh: FakeGitHub) -> Iterator[Callable[..., Machine]]:
    made: list[Machine] = []

    def make(**github: Any) -> Machine:
        made.append(Machine(tmp_path / f"m{len(made)}", gh, len(made) + 1, **github))
        return made[-1]

    yield make
    for machine in made:
        machine.close()


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
    kept = one.line.push.judge.elsewhere.files(one.rig.session().stored_as, two.name, version.checkpoint)
    assert whole(kept[MAIN]) == held(gh)
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
    assert not newer_elsewhere(one)  # all of it is in every record from here on
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


def test_two_small_transcripts_whose_union_is_large_come_to_rest(
    gh: FakeGitHub, machines: Callable[..., Machine], tmp_path: Path
) -> None:
    one, two = (machines(archive=tmp_path / "archive.git") for _ in range(2))
    one.say(*(f"in common {number} " + "x" * 4000 for number in range(2)))
    hand_over(one, two)
    for machine in (one, two):
        machine.say(*(f"of {machine.number}, {number} " + "y" * 4000 for number in range(6)))
    for machine in (one, two, one, two):
        machine.sync()
    record, _ = records(gh)[SID]
    assert (record.tier, one.transcript.stat().st_size < 46_080) == ("hybrid", True)
    written = len(gh.effects())
    for machine in (one, two, one, two):
        machine.sync()
    assert gh.effects()[written:] == [], "nobody writes the other's record over"


def newer_elsewhere(machine: Machine) -> bool:
    """Whether `list` says that another machine has more of the only session."""
    (found,) = report.sessions(machine.rig.catalog, machine.rig.now)["sessions"]
    return bool(found["newer_elsewhere"])


def plan(gh: FakeGitHub, session: str = "plan") -> dict[str, bytes]:
    files = records(gh)[session][1]
    assert files is not None
    return files


def fork(machines: Callable[..., Machine]) -> tuple[Machine, Machine]:
    """Two machines with the same structured session, each of which has changed it since."""
    one, two = machines(), machines()
    # one repository, so one project
    for machine in (one, two):
        machine.name_project()
    one.write(context_json='{"title": "T", "decisions": ["d"]}')
    one.sync()
    two.write(context_json='{"title": "T", "decisions": ["d"]}')
    two.sync()
    one.write(context_json='{"title": "T", "decisions": ["d", "one"]}')
    one.sync()
    two.write(context_json='{"title": "T", "decisions": ["d", "two"]}')
    two.sync()
    return one, two


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
    kept = two.line.push.judge.elsewhere.files(two.rig.session().stored_as, one.name, version.checkpoint)
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
    machine.line.push.others.resolve(session, conflict, keep, machine.rig.now)
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
    assert newer_elsewhere(chooser)
    choose(chooser, keep)
    assert newer_elsewhere(chooser) == (keep == "remote")
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


def test_files_that_were_put_back_here_and_changed_are_no_conflict(
    gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    one, two = machines(), machines()
    for machine in (one, two):
        machine.name_project()
    one.write(context_json='{"title": "T", "decisions": ["d"]}')
    one.sync()
    two.write(context_json='{"title": "T", "decisions": ["d"]}')
    two.checkpoint()  # as it was put back
    two.write(context_json='{"title": "T", "decisions": ["e"]}')
    two.sync()
    assert plan(gh)["context.json"] == (two.home.structured("plan") / "context.json").read_bytes()
    assert two.conflicts.all(settled=True) == []
    assert notices(gh) == []


# --- a person in the browser


def alone(machines: Callable[..., Machine], gh: FakeGitHub, decisions: str = '["d"]') -> Machine:
    one = machines()
    one.name_project()
    one.write(context_json=f'{{"title": "T", "decisions": {decisions}}}')
    one.sync()
    one.listen()
    gh.forget_requests()
    return one


def the_record(gh: FakeGitHub) -> Any:
    (found,) = (c for c in gh.comments("o/r", 1) if comments.parse(c.body) is not None)
    return found


def decisions(gh: FakeGitHub) -> list[str]:
    return records(gh)["plan"][0].critical_data.decisions


def test_text_beside_the_record_is_no_version(gh: FakeGitHub, machines: Callable[..., Machine]) -> None:
    one = alone(machines, gh)
    body = the_record(gh).body
    gh.edit_comment(the_record(gh).id, f"Look at this, team!\n\n{body}\n\nAnd at that.", login="me")
    one.listen()
    one.write(context_json='{"title": "T", "decisions": ["d", "e"]}')
    one.sync()
    kept = the_record(gh).body
    assert "Look at this, team!" in kept
    assert "And at that." in kept
    assert decisions(gh) == ["d", "e"]
    assert one.conflicts.all(settled=True) == []


def test_line_ends_of_the_browser_are_no_version(gh: FakeGitHub, machines: Callable[..., Machine]) -> None:
    one = alone(machines, gh)
    gh.edit_comment(the_record(gh).id, the_record(gh).body + " ", login="me", web=True)
    one.listen()
    assert "\r\n" in the_record(gh).body
    assert gh.requests(writes=True) == []
    assert one.conflicts.all(settled=True) == []


def edit(gh: FakeGitHub, was: str, becomes: str) -> None:
    body = the_record(gh).body
    assert was in body
    gh.edit_comment(the_record(gh).id, body.replace(was, becomes), login="me")


def test_changed_critical_data_is_a_conflict_told_once(
    gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    one = alone(machines, gh)
    edit(gh, '"d"', '"d","by hand"')
    one.listen()
    (conflict,) = one.conflicts.all()
    assert conflict.kind == "edit"
    assert decisions(gh) == ["d"]  # this machine's version is the record again
    assert len(notices(gh)) == 1
    one.listen()
    one.write(context_json='{"title": "T", "decisions": ["d", "e"]}')
    one.sync()
    assert len(notices(gh)) == 1
    assert len(one.conflicts.all(settled=True)) == 1


@pytest.mark.parametrize(
    ("keep", "now", "later"),
    [
        ("local", ["d", "f"], ["d", "f", "e"]),
        ("remote", ["d", "by hand"], ["d", "by hand", "e"]),
        ("both", ["d", "by hand", "f"], ["d", "by hand", "f", "e"]),
        ("merge", ["d", "by hand"], ["d", "by hand", "e"]),
    ],
)
def test_whatever_is_chosen_of_an_edit_stays(
    gh: FakeGitHub, machines: Callable[..., Machine], keep: str, now: list[str], later: list[str]
) -> None:
    one = alone(machines, gh, '["d", "f"]')
    edit(gh, '"f"', '"by hand"')
    one.listen()
    choose(one, keep)
    assert sorted(decisions(gh)) == sorted(now)
    one.listen()
    one.write(context_json='{"title": "T", "decisions": ["d", "f", "e"]}')
    one.sync()
    assert sorted(decisions(gh)) == sorted(later)
    assert one.conflicts.all() == []
    assert len(notices(gh)) == 1
    assert "Settled" in notices(gh)[0]


def test_a_deleted_block_is_written_anew(gh: FakeGitHub, machines: Callable[..., Machine]) -> None:
    one = alone(machines, gh)
    body = the_record(gh).body
    start = body.index("```json")
    gh.edit_comment(the_record(gh).id, body[:start] + body[body.index("```", start + 7) + 3 :], login="me")
    one.listen()
    one.write(context_json='{"title": "T", "decisions": ["d", "e"]}')
    one.sync()
    assert decisions(gh) == ["d", "e"]
    assert one.conflicts.all(settled=True) == []


# --- strangers


def test_what_strangers_write_is_not_heard(gh: FakeGitHub, machines: Callable[..., Machine]) -> None:
    one = alone(machines, gh)
    forged = the_record(gh).body.replace(one.name, "deadbeef").replace("revision=1", "revision=9")
    gh.add_comment("o/r", 1, forged, login="mallory", association="NONE")
    notice = comments.Notice("0" * 16, "plan", "deadbeef", "open")
    gh.add_comment("o/r", 1, f"{notice}\nboo", login="mallory", association="NONE")
    one.listen()
    one.write(context_json='{"title": "T", "decisions": ["d", "e"]}')
    one.sync()
    assert one.conflicts.all(settled=True) == []
    assert one.line.push.judge.versions.of(one.rig.session().id) == []
    assert plan_of(gh, "me")["context.json"] == (one.home.structured("plan") / "context.json").read_bytes()


def plan_of(gh: FakeGitHub, login: str) -> dict[str, bytes]:
    parts = [
        part
        for c in gh.comments("o/r", 1)
        if c.login == login and (part := comments.parse(c.body)) is not None
    ]
    files = comments.assemble(parts)[1]
    assert files is not None
    return files


# --- listening


def test_at_rest_there_is_one_conditional_request_a_minute(
    gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    one = alone(machines, gh)
    one.listen()
    gh.forget_requests()
    for _ in range(60 * 4):  # an hour of a loop that turns every 15 s
        one.rig.now += 15
        gh.advance(15)
        one.pull.work(one.rig.now)
        assert not one.line.step()
    asked = gh.requests()
    assert {request.status for request in asked} == {304}
    assert len(asked) <= 60
    assert all("/issues/comments?" in request.path for request in asked)


def test_below_a_fifth_of_the_limit_nothing_is_asked(
    gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    one = alone(machines, gh)
    gh.rate_limit("me", limit=5000, remaining=999, reset_in_s=600)
    one.listen()  # its answer says how little is left
    gh.forget_requests()
    for _ in range(5):
        one.rig.now += 61
        gh.advance(61)
        one.pull.work(one.rig.now)
    assert gh.requests() == []
    one.write(context_json='{"title": "T", "decisions": ["d", "e"]}')
    one.checkpoint()
    one.push()  # pushes go on
    assert decisions(gh) == ["d", "e"]
    one.rig.now += 600
    gh.advance(one.rig.now - gh.now())
    one.pull.work(one.rig.now)
    assert len(gh.requests("GET", "issues/comments")) == 1


def test_of_sessions_that_are_not_here_only_the_record_is_known(
    gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    one, two = machines(), machines()
    one.say("a")
    one.sync()
    two.listen()
    (found,) = report.sessions(two.rig.catalog, two.rig.now, everywhere=True)["sessions"]
    assert (found["id"], found["title"], found["state"]) == (SID, "a", "elsewhere")
    assert found["elsewhere"]["host"] == "host1"
    assert found["copies"] == ["github"]
    assert report.sessions(two.rig.catalog, two.rig.now)["sessions"] == []
    assert not (two.home.vault / ".sessiond" / "elsewhere").exists()
    assert gh.requests("GET", r"issues/comments/\d") == []  # and no bytes were asked for


def test_what_is_newer_elsewhere_is_shown(gh: FakeGitHub, machines: Callable[..., Machine]) -> None:
    one, two = machines(), machines()
    one.say("a")
    one.sync()
    hand_over(one, two)
    two.say("b")
    two.sync()
    one.listen()
    (found,) = report.sessions(one.rig.catalog, one.rig.now)["sessions"]
    assert found["newer_elsewhere"] is True
    assert found["elsewhere"]["host"] == "host2"
    (there,) = report.sessions(two.rig.catalog, two.rig.now)["sessions"]
    assert there["newer_elsewhere"] is False
    hand_over(two, one)
    one.say("c")
    one.sync()
    (found,) = report.sessions(one.rig.catalog, one.rig.now)["sessions"]
    assert found["newer_elsewhere"] is False


# --- sessions that are too large for a comment


def test_of_a_large_transcript_the_other_branch_comes_from_the_archive(
    tmp_path: Path, gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    archive = tmp_path / "archive.git"
    one, two = machines(archive=archive), machines(archive=archive)
    one.say("a", "x" * 60_000)
    one.sync()
    hand_over(one, two)
    two.say("b")
    one.say("c")
    two.sync()
    one.sync()
    two.sync()
    assert one.conflicts.all() == two.conflicts.all() == []
    assert notices(gh) == []
    for machine, other in ((one, two), (two, one)):
        session = machine.rig.session()
        version = machine.line.push.judge.versions.get(session.id, other.name)
        if version is None:
            continue
        assert version.whole
        kept = machine.line.push.judge.elsewhere.files(session.stored_as, other.name, version.checkpoint)
        assert whole(kept[MAIN]) == other.transcript.read_bytes()
    for machine in (one, two):  # once a fork point
        assert len(machine.rig.events.named("session_united")) <= 1
    gh.forget_requests()
    for machine in (one, two, one, two):
        machine.sync()
    assert gh.requests(writes=True) == []


def test_of_a_large_transcript_without_an_archive_what_goes_on_is_told_by_its_hash(
    gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    one, two = machines(), machines()
    one.say("a", "x" * 60_000)
    one.sync()
    hand_over(one, two)
    two.say("b")
    two.sync()
    assert two.conflicts.all() == []
    assert notices(gh) == []
    assert records(gh)[SID][0].host == "host2"
    one.say("c")  # and this went another way, with nothing to unite it with
    one.sync()
    (conflict,) = one.conflicts.all()
    assert (conflict.kind, conflict.remote["restorable"]) == ("transcript", False)
    assert len(notices(gh)) == 1
    for machine in (two, one):
        machine.sync()
    gh.forget_requests()
    for machine in (two, one, two, one):
        machine.sync()
    assert gh.requests(writes=True) == []


def test_of_a_session_from_before_the_first_start_what_is_newer_is_kept_and_nothing_sent(
    tmp_path: Path, gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    one = machines()
    one.say("a")
    one.sync()
    old = Home(tmp_path / "m1").transcript(SID)
    old.write_bytes(one.transcript.read_bytes())
    os.utime(old, (START - 9000, START - 9000))
    two = machines()
    two.checkpoint()
    assert not two.rig.session().commented
    one.say("b")
    one.sync()
    gh.forget_requests()
    two.listen()
    assert gh.requests(writes=True) == []
    (found,) = report.sessions(two.rig.catalog, two.rig.now)["sessions"]
    assert found["newer_elsewhere"] is True
    version = two.line.push.judge.versions.get(two.rig.session().id, one.name)
    assert version is not None
    kept = two.line.push.judge.elsewhere.files(two.rig.session().stored_as, one.name, version.checkpoint)
    assert texts(whole(kept[MAIN])) == ["a", "b"]


# --- trouble on the way


@pytest.mark.parametrize("kind", ["drop", "status", "truncate"])
@pytest.mark.parametrize("effect", [True, False])
def test_a_notice_is_written_once_however_its_answer_is_lost(
    gh: FakeGitHub, machines: Callable[..., Machine], kind: Any, effect: bool
) -> None:
    one = alone(machines, gh)
    edit(gh, '"d"', '"d","by hand"')
    gh.fault(Fault(kind=kind, method="POST", path="/issues/1/comments", times=2, effect=effect))
    one.listen()
    one.listen()
    assert len(notices(gh)) == 1
    assert one.rig.queue.items() == []
    assert len(one.conflicts.all()) == 1


def test_a_notice_is_written_once_though_the_list_lags(
    gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    one = alone(machines, gh)
    edit(gh, '"d"', '"d","by hand"')
    gh.behave(lag_reads=3)
    gh.fault(Fault(kind="drop", method="POST", path="/issues/1/comments", times=1, effect=True))
    one.listen()
    gh.behave(lag_reads=0)
    one.listen()
    assert len(notices(gh)) == 1
    assert one.rig.queue.items() == []


def test_a_notice_is_written_once_though_the_machine_dies(
    gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    one = alone(machines, gh)
    edit(gh, '"d"', '"d","by hand"')
    made = one.line.push.github.create_comment
    died = []

    def dies(number: int, body: Any) -> Any:
        made(number, body)
        died.append(number)
        raise KeyboardInterrupt

    one.line.push.github.create_comment = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        one.listen()
    assert died
    one.line.push.github.create_comment = made  # type: ignore[method-assign]
    one.rig.queue.recover(one.rig.now)
    one.push()
    assert len(notices(gh)) == 1


def finish(machine: Machine, steps: Any) -> None:
    """Let an interrupted step of the pusher go on."""
    with suppress(StopIteration):
        while True:
            machine.rig.now += 5
            steps.send(machine.rig.now)


def test_two_machines_that_write_at_once_lose_nothing(
    gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    one, two = machines(), machines()
    one.say("a")
    one.sync()
    hand_over(one, two)
    two.sync()
    one.say("b")
    two.say("c")
    one.checkpoint()
    two.checkpoint()
    steps = one.line.push.work(one.rig.now)  # looks, and is about to write
    next(steps)
    two.push()
    finish(one, steps)
    for _ in range(2):
        one.listen()
        two.listen()
    assert sorted(texts(held(gh))) == ["a", "b", "c"]


def test_two_first_records_of_one_session_become_one(
    gh: FakeGitHub, machines: Callable[..., Machine]
) -> None:
    one, two = machines(), machines()
    for machine in (one, two):
        machine.name_project()
    one.say("a")
    two.transcript.write_bytes(one.transcript.read_bytes())
    two.say("b")
    one.say("c")
    one.checkpoint()
    two.checkpoint()
    steps = one.line.push.work(one.rig.now)
    wait = next(steps)
    for _ in range(2):  # up to the comment itself
        one.rig.now += max(wait, 1)
        wait = steps.send(one.rig.now)
        if gh.requests("POST", "/issues$"):
            break
    two.push()
    finish(one, steps)
    for _ in range(3):
        one.listen()
        two.listen()
    one.say("d")
    one.sync()
    two.listen()
    assert sorted(texts(held(gh))) == ["a", "b", "c", "d"]
    assert len([c for c in gh.comments("o/r", 1) if comments.parse(c.body) is not None]) == 1


@pytest.mark.parametrize("last", [0, 1])
def test_a_record_that_two_machines_began_at_once_is_one_again_without_another_change(
    gh: FakeGitHub, machines: Callable[..., Machine], last: int
) -> None:
    pair = machines(), machines()
    for machine in pair:
        machine.name_project()
        machine.write(context_json='{"title": "T", "decisions": ["d"]}')
    pair[0].sync()
    (first,) = gh.comments("o/r", 1)
    # as when the other had looked a moment before this was written
    gh.add_comment("o/r", 1, first.body, login="me")
    gh.advance(5)
    pair[last].sync()
    pair[last].listen()
    (left,) = gh.comments("o/r", 1)
    assert left.id == first.id
    assert plan(gh)["context.json"] == b'{"title": "T", "decisions": ["d"]}'
    writes = len(gh.requests(writes=True))
    for _ in range(3):
        pair[last].listen()
    assert len(gh.requests(writes=True)) == writes

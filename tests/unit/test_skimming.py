"""A first look at very many sessions: copies and checkpoints at once, and their lines at the next look."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sessiond.verbs import Verbs
from sessionsync.capture import capture
from sessionsync.errors import CopyError
from sessionsync.model import Ref
from sessionsync.vault.pack import Packer
from tests.archive import Shipper, with_archive
from tests.fakes.github import FakeGitHub
from tests.keeper import flip
from tests.machines import Machine, hand_over
from tests.rig import START, Home, Rig, append, boundary, line, write

MANY = 4
TOLD = ("damage_found", "damage_healed")
LONG_AGO = START - 10_000
LONG = "word " * 2000


def label(kind: str, **fields: str) -> bytes:
    return json.dumps({"type": kind, **fields}).encode() + b"\n"


def converse(home: Home, count: int = MANY) -> list[Path]:
    """Long sessions that are compacted twice, get a title at their end, and have a subagent and a task."""
    found = []
    for number in range(count):
        path, cwd = home.transcript(), home.project
        said = [line("user", f"Question {number} {LONG}", cwd), line("assistant", LONG, cwd)]
        more = [line("user", f"And {LONG}", cwd), line("assistant", f"Decision: we take {number}", cwd)]
        of_subagent = boundary(cwd).replace(b"{", b'{"isSidechain": true, ', 1)
        append(path, *said, boundary(cwd), *said, of_subagent, *more, boundary(cwd), *more)
        append(path, label("ai-title", aiTitle=f"Title {number}"))
        agent = path.with_suffix("") / "subagents" / "agent-1.jsonl"
        agent.parent.mkdir(parents=True)
        append(agent, *[line("assistant", LONG, cwd)] * 5)
        task = json.dumps({"id": "1", "subject": "Measure", "status": "pending"}).encode()
        write(home.agent / "tasks" / path.stem, [("1.json", task)])
        os.utime(path, (LONG_AGO, LONG_AGO))
        os.utime(agent, (LONG_AGO, LONG_AGO))
        os.utime(home.agent / "tasks" / path.stem / "1.json", (LONG_AGO, LONG_AGO))
        found.append(path)
    return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def other(tmp_path: Path, home: Home) -> Home:
    """Another backup of the same agent's."""
    found = Home(tmp_path / "other")
    found.agent, found.project = home.agent, home.project
    return found


@pytest.fixture
def skims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MANY_NEW", MANY)


def first_look(rig: Rig) -> None:
    """Capture what a rescan names, and nothing else."""
    for ref in rig.capture.survey():
        rig.capture.capture(ref, rig.now)
    rig.capture.flush(rig.now)


def are_skimmed(rig: Rig) -> set[bool]:
    return {session.summary.skimmed for session in rig.catalog.sessions()}


def copies_of(home: Home, path: Path) -> tuple[Path, Path]:
    """A transcript's plain copy, and the pack of its session."""
    return next(home.mirror.glob(f"*/{path.name}")), next(home.vault.glob(f"*/claude.{path.stem}/pack*"))


def rows(rig: Rig) -> dict[str, Any]:
    """All that the state says."""
    return {
        session.name: [
            asdict(session) | {"id": 0, "summary": session.summary},
            {name: asdict(file) for name, file in rig.catalog.files(session.id).items()},
            rig.catalog.checkpoints(session.id),
            [(item.operation, item.checkpoint) for item in rig.queue.items() if item.subject == session.id],
        ]
        for session in rig.catalog.sessions()
    }


def never_skimmed(home: Home, monkeypatch: pytest.MonkeyPatch) -> Rig:
    with monkeypatch.context() as patch:
        patch.setattr(capture, "MANY_NEW", 10**9)
        rig = Rig(home, now=START, ci=True)
        first_look(rig)
    assert are_skimmed(rig) == {False}
    return rig


@pytest.mark.usefixtures("skims")
def test_skimmed_sessions_have_copies_and_every_checkpoint(home: Home) -> None:
    paths = converse(home)
    rig = Rig(home, ci=True)
    first_look(rig)
    assert are_skimmed(rig) == {True}
    for path in paths:
        data = path.read_bytes()
        session = rig.session(Ref("claude", path.stem))
        assert rig.mirrored(session, path.name) == data
        made = {each.trigger: each.id for each in rig.catalog.checkpoints(session.id)}
        triggers = [each.trigger for each in rig.catalog.checkpoints(session.id)]
        assert triggers == ["compaction", "compaction", "quiet"]
        assert rig.restored(session, made["quiet"])[path.name] == data
        compacted = data.rindex(b'"compact_boundary"')
        assert (
            rig.restored(session, made["compaction"])[path.name] == data[: data.index(b"\n", compacted) + 1]
        )
        # and a first look at the rest
        assert session.summary.title.startswith("Title ")
        assert session.summary.cwd == str(home.project)
        assert (session.summary.branch, session.summary.agent_version) == ("main", "2.1.200")
    assert not rig.queue.items()  # what is sent tells what all lines say
    rig.close()


@pytest.mark.usefixtures("skims")
@pytest.mark.parametrize("between", ["", "restart", "flush", "append", "copy", "hurry"])
def test_at_the_next_look_they_say_what_they_would_have_said(
    home: Home, other: Home, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    paths = converse(home)
    plain = never_skimmed(other, monkeypatch)
    rig = Rig(home, ci=True)
    if between == "flush":  # looked at again before the first look is committed
        for ref in rig.capture.survey():
            rig.capture.capture(ref, rig.now)
            rig.capture.capture(ref, rig.now)
    else:
        first_look(rig)
        assert are_skimmed(rig) == {True}
    match between:
        case "restart":
            rig.close()
            rig = Rig(home, ci=True)
        case "append":
            for path in paths:
                append(
                    path, line("user", f"More {LONG}", home.project), line("assistant", "Yes", home.project)
                )
        case "copy":  # the vault has what the plain copy lacks
            for path in paths:
                next(home.mirror.glob(f"*/{path.name}")).unlink()
        case "hurry":
            for path in paths:
                rig.capture.checkpoint(Ref("claude", path.stem), "manual", rig.now)
    rig.scan()
    plain.scan()
    assert are_skimmed(rig) == {False}
    assert rows(rig) == rows(plain)
    assert {len(row[3]) for row in rows(rig).values()} == {1}
    rig.wait(1000)
    plain.wait(1000)
    assert rows(rig) == rows(plain)
    rig.close()
    plain.close()


@pytest.mark.usefixtures("skims")
def test_what_was_just_written_gets_its_checkpoint_and_then_its_lines_are_read(
    home: Home, other: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in converse(home):
        os.utime(path, (START, START))  # it does not rest yet
    plain = never_skimmed(other, monkeypatch)
    rig = Rig(home, ci=True)
    for each in (rig, plain):
        for ref in each.capture.survey():
            each.capture.capture(ref, each.now)
        each.capture.checkpoint_all("once", each.now)
    assert are_skimmed(rig) == {True}
    assert not rig.queue.items()
    for each in (rig, plain):
        for ref in [session.ref for session in each.catalog.sessions()]:
            each.capture.capture(ref, each.now)
        each.capture.flush(each.now)
    assert are_skimmed(rig) == {False}
    assert rows(rig) == rows(plain)
    assert {each.trigger for s in rig.catalog.sessions() for each in rig.catalog.checkpoints(s.id)} == {
        "compaction",
        "once",
    }
    assert {len(row[3]) for row in rows(rig).values()} == {1}
    rig.close()
    plain.close()


@pytest.mark.usefixtures("skims")
def test_what_cannot_be_read_at_the_next_look_is_read_at_one_after_it(home: Home) -> None:
    path, *_ = converse(home)
    rig = Rig(home, ci=True)
    first_look(rig)
    ref = Ref("claude", path.stem)
    session = rig.session(ref)
    away = (*copies_of(home, path), path)  # and there is nothing else of it
    for file in away:
        file.rename(file.with_name("away"))
    with pytest.raises(CopyError):
        rig.capture.capture(ref, rig.now)
    rig.capture.flush(rig.now)
    assert rig.session(ref).summary == session.summary
    assert not session.summary.critical.decisions
    assert ref in rig.capture.due(rig.now)
    for file in away:
        file.with_name("away").rename(file)
    rig.scan()
    assert are_skimmed(rig) == {False}
    assert rig.session(ref).summary.critical.decisions
    rig.close()


@pytest.mark.usefixtures("skims")
@pytest.mark.parametrize("harm", ["bit", "pack", "frame"])
def test_what_was_not_packed_rightly_is_packed_anew_before_anything_is_sent(
    home: Home, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    path, *_ = converse(home)
    rig = Rig(home, ci=True)
    if harm == "frame":  # one that unpacks to something else, as memory that fails makes it
        pack = Packer.pack
        with monkeypatch.context() as patch:
            patch.setattr(
                Packer, "pack", lambda packer, data: pack(packer, data.replace(b"Decision", b"decision"))
            )
            first_look(rig)
    else:
        first_look(rig)
        file = next(home.vault.glob(f"*/claude.{path.stem}/pack*"))
        data = bytearray(file.read_bytes())
        data[len(data) // 3] ^= 4
        file.write_bytes(data if harm == "bit" else b"")
    rig.scan()
    ref = Ref("claude", path.stem)
    session = rig.session(ref)
    assert rig.restored(session)[path.name] == path.read_bytes()
    assert session.summary.critical.decisions
    assert not session.summary.skimmed
    ours = {
        event: [told for told in rig.events.named(event) if told["session"] == session.name] for event in TOLD
    }
    assert any(path.name in told["where"][0] for told in ours["damage_found"])
    assert ours["damage_healed"]
    rig.close()
    rig = Rig(home)
    assert rig.restored(session)[path.name] == path.read_bytes()
    rig.close()


@pytest.mark.usefixtures("skims")
def test_few_sessions_short_ones_and_very_long_ones_are_read_at_once(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(home)
    converse(home, MANY - 1)
    first_look(rig)
    assert are_skimmed(rig) == {False}
    for _ in range(MANY):
        append(home.transcript(), line("user", "Short", home.project))
    first_look(rig)
    assert are_skimmed(rig) == {False}
    paths = converse(home)
    monkeypatch.setattr(capture, "TURN_BYTES", 2 * paths[0].stat().st_size - 1)  # of them all, nearly
    append(paths[0], paths[0].read_bytes())
    first_look(rig)
    skimmed = {session.ref.session_id for session in rig.catalog.sessions() if session.summary.skimmed}
    assert skimmed == {path.stem for path in paths[1:]}
    rig.close()


@pytest.mark.usefixtures("skims")
@pytest.mark.parametrize("at", [1, -1])
def test_what_no_copy_has_any_more_is_captured_from_its_file_again(home: Home, at: int) -> None:
    path, *_ = converse(home)
    append(path, *[line("user", LONG, home.project)] * 10)  # more than is compared of a copy's end
    os.utime(path, (LONG_AGO, LONG_AGO))
    rig = Rig(home, ci=True)
    first_look(rig)
    copy, pack = copies_of(home, path)
    flip(copy, at * 1000 % copy.stat().st_size)
    flip(pack, pack.stat().st_size // 2)
    lent = rig.capture.lend(Ref("claude", path.stem))
    assert lent is not None
    with pytest.raises(CopyError):  # another process, which captures nothing
        rig.capture.read(lent)
    append(path, line("user", "More", home.project))
    size = 0
    for _ in range(3):
        rig.wait(100)
        assert size in {0, pack.stat().st_size}  # it is not packed again and again
        size = pack.stat().st_size
    session = rig.session(Ref("claude", path.stem))
    assert not session.summary.skimmed
    assert rig.restored(session)[path.name] == rig.mirrored(session, path.name) == path.read_bytes()
    assert rig.queue.get("comment", session.id) is not None
    rig.close()


@pytest.mark.usefixtures("skims")
def test_a_plain_copy_that_was_damaged_meanwhile_gets_into_no_vault(home: Home) -> None:
    path, *_ = converse(home)
    append(path, b'{"type":"user","message":"' + b"x" * 100_000)  # so much is in the plain copy alone
    os.utime(path, (START, START))
    rig = Rig(home, ci=True)
    first_look(rig)
    copy, _ = copies_of(home, path)
    flip(copy, 1000)
    append(path, b'"}\n')
    rig.wait(1)
    rig.wait(1000)
    assert rig.restored(rig.session(Ref("claude", path.stem)))[path.name] == path.read_bytes()
    assert not rig.events.named("damage_found")  # the vault has none
    rig.close()


@pytest.mark.usefixtures("skims")
def test_what_was_not_only_skimmed_is_proven_as_it_is_packed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = Packer.pack
    for _ in range(MANY):
        path = home.transcript()
        append(path, line("user", "Decision", home.project))
        os.utime(path, (LONG_AGO, LONG_AGO))
    rig = Rig(home, ci=True)
    with monkeypatch.context() as patch:
        patch.setattr(
            Packer, "pack", lambda packer, data: pack(packer, data.replace(b"Decision", b"decision"))
        )
        for ref in rig.capture.survey():
            with pytest.raises(CopyError, match="does not unpack"):
                rig.capture.capture(ref, rig.now)
    rig.wait(1)
    assert are_skimmed(rig) == {False}
    for session in rig.catalog.sessions():
        assert b"Decision" in rig.restored(session)[f"{session.ref.session_id}.jsonl"]
    rig.close()


@pytest.mark.usefixtures("skims")
@pytest.mark.parametrize("where", ["gone", "hidden"])
def test_their_lines_are_read_although_their_files_cannot_be(
    home: Home, other: Home, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    paths = converse(home)
    plain = never_skimmed(other, monkeypatch)
    rig = Rig(home, ci=True)
    first_look(rig)
    for path in paths:
        path.unlink()
        shutil.rmtree(path.with_suffix(""))
        shutil.rmtree(home.agent / "tasks" / path.stem)
    with monkeypatch.context() as patch:
        if where == "hidden":
            patch.setattr(capture, "is_hidden", lambda _path: True)
        rig.scan()
        plain.scan()
    assert rows(rig) == rows(plain)
    assert {len(row[3]) for row in rows(rig).values()} == {1}
    assert not rig.capture.due(rig.now)
    rig.close()
    plain.close()


@pytest.mark.usefixtures("skims")
def test_also_where_the_clock_is_set_back_after_the_first_look(home: Home) -> None:
    converse(home)
    rig = Rig(home, ci=True)
    first_look(rig)
    rig.now -= 30
    rig.scan()
    assert are_skimmed(rig) == {False}
    rig.close()


@pytest.mark.usefixtures("skims")
def test_who_waits_for_a_session_has_all_of_it_read(home: Home) -> None:
    path, *_ = converse(home)
    rig = Rig(home, ci=True)
    rig.capture.survey()
    made = rig.capture.checkpoint(Ref("claude", path.stem), "session_end", rig.now)
    assert not rig.session().summary.skimmed
    assert [item.checkpoint for item in rig.queue.items()] == [made.id]
    rig.close()


@pytest.mark.usefixtures("skims")
def test_who_waits_for_all_sessions_has_them_read(home: Home) -> None:
    converse(home)
    rig = Rig(home, ci=True)
    app: Any = SimpleNamespace(
        engine=SimpleNamespace(capture=rig.capture), saves=SimpleNamespace(take_in=lambda _now: 0)
    )
    verbs = Verbs.__new__(Verbs)
    verbs._app = app
    verbs._capture_all(rig.now)
    assert are_skimmed(rig) == {False}
    assert len(rig.queue.items()) == MANY
    rig.close()


def test_nothing_is_sent_of_them_for_what_another_machine_has_sent(
    tmp_path: Path, gh: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Machine(tmp_path / "1", gh, 1), Machine(tmp_path / "2", gh, 2)
    for machine in (one, two):
        machine.name_project()
    one.say("Question", LONG, LONG)
    one.sync()
    hand_over(one, two)
    two.say("And then")
    os.utime(two.transcript, (START, START))
    two.rig.now = max(one.rig.now, gh.now()) + 1000
    monkeypatch.setattr(capture, "MANY_NEW", 1)
    first_look(two.rig)
    assert two.rig.session().summary.skimmed
    two.rig.catalog.save(replace(two.rig.session(), commented=True))
    two.pull.soon()
    assert two.pull.work(two.rig.now)
    assert not two.rig.queue.items()
    two.rig.scan()
    assert [item.operation for item in two.rig.queue.items()] == ["comment"]
    one.close()
    two.close()


@pytest.mark.usefixtures("skims")
def test_the_archive_catches_up_with_them_once_they_are_read(home: Home, tmp_path: Path) -> None:
    converse(home)
    rig = Rig(home, ci=True, settings=with_archive(home.config(), tmp_path / "archive"))
    first_look(rig)
    assert Shipper(rig).archiving.catch_up(rig.now) == 0
    assert not rig.queue.items()
    rig.scan()
    assert [item.operation for item in rig.queue.items()].count("archive") == MANY
    rig.close()


@pytest.mark.usefixtures("skims")
@pytest.mark.parametrize("written", [LONG_AGO, START])
def test_a_last_line_without_its_newline_is_read_when_it_would_have_been(
    home: Home, other: Home, monkeypatch: pytest.MonkeyPatch, written: float
) -> None:
    paths = converse(home)
    for path in paths:
        append(path, label("ai-title", aiTitle="Last").rstrip())
        os.utime(path, (written, written))
    plain = never_skimmed(other, monkeypatch)
    rig = Rig(home, ci=True)
    first_look(rig)
    assert are_skimmed(rig) == {True}
    for each in (rig, plain):
        each.scan()
    assert {session.summary.title == "Last" for session in plain.catalog.sessions()} == {written == LONG_AGO}
    assert [row[:2] for row in rows(rig).values()] == [row[:2] for row in rows(plain).values()]
    for path in paths:
        append(path, b"\n", line("user", "More", home.project))
    for each in (rig, plain):
        each.wait(1)
        each.wait(1000)
    assert rows(rig) == rows(plain)
    rig.close()
    plain.close()


@pytest.mark.usefixtures("skims")
@pytest.mark.parametrize("flush", [True, False])
def test_where_the_state_was_lost_they_say_what_they_would_have_said(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush: bool
) -> None:
    paths = converse(home)
    first = Rig(home, ci=True)
    first_look(first)
    first.scan()
    first.close()
    said = []
    for path in paths:  # the newest checkpoint is the vault's for now
        append(path, line("user", "More", home.project))
        os.utime(path, (START, START))
    for number, many in enumerate((MANY, 10**9)):
        lost = Home(tmp_path / f"lost{number}")
        lost.agent, lost.project = home.agent, home.project
        for name in ("mirror", "vault"):
            shutil.copytree(home.folder / name, lost.folder / name)
        monkeypatch.setattr(capture, "MANY_NEW", many)
        rig = Rig(lost, ci=True)
        for ref in rig.capture.survey():
            rig.capture.capture(ref, rig.now)
            if flush:
                rig.capture.flush(rig.now)
        for session in [*rig.capture.unflushed, *(each.ref for each in rig.catalog.sessions())]:
            rig.capture.capture(session, rig.now)
        rig.capture.flush(rig.now)
        assert are_skimmed(rig) == {False}
        said.append(rows(rig))
        rig.close()
    assert said[0] == said[1]


def test_only_a_rescan_that_finds_many_is_a_first_look(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = converse(home)
    rig = Rig(home, ci=True)
    monkeypatch.setattr(capture, "MANY_NEW", MANY)
    rig.capture.survey()
    assert {ref.session_id for ref in rig.capture.started} == {path.stem for path in paths}
    monkeypatch.setattr(capture, "MANY_NEW", MANY + 1)
    rig.capture.survey()
    assert not rig.capture.started  # it may be long until they are captured
    monkeypatch.setattr(capture, "MANY_NEW", MANY)
    first_look(rig)
    assert are_skimmed(rig) == {True}
    assert not rig.capture.started  # each is used once
    (last,) = converse(home, 1)
    first_look(rig)
    assert not rig.session(Ref("claude", last.stem)).summary.skimmed
    rig.close()

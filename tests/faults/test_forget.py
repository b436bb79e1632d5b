"""A session is forgotten to the end, whoever is killed; nothing else is touched; nothing brings it back."""

from __future__ import annotations

import errno
import json
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sessionsync.catalog import Catalog
from sessionsync.elsewhere import Elsewhere
from sessionsync.errors import CopyError, NoSuchSession
from sessionsync.forget.here import Forget
from sessionsync.forget.rows import Forgettings
from sessionsync.model import Ref
from sessionsync.queue import FORGET, UNARCHIVE
from sessionsync.remote.archive.fold import IDLE_S
from sessionsync.tombstones import Tombstones
from sessionsync.vault import Mirror, Vault
from tests import archive
from tests.archive import Shipper, objects_of, refs_of, with_archive
from tests.fakes.github import FakeGitHub
from tests.machines import SID, Killed, Machine, hand_over
from tests.rig import Home, Line, Rig, append, line, write

OTHER = "5e0d9b7a-1111-4000-8000-000000000000"
WORD = "quokkaburger"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "laptop")


@pytest.fixture
def rig(home: Home) -> Iterator[Rig]:
    made = Rig(home)
    yield made
    made.close()


@pytest.fixture
def gh() -> Iterator[FakeGitHub]:
    with FakeGitHub(frozen_at=1_790_000_000.0) as made:
        made.token("T", login="ann")
        made.add_repo("o/r")
        yield made


def forgetting(rig: Rig) -> Forget:
    return Forget(
        catalog=rig.catalog,
        queue=rig.queue,
        mirror=rig.mirror,
        vault=rig.vault,
        elsewhere=Elsewhere(rig.home.vault),
        emit=rig.events,
    )


def forget(rig: Rig, session: str = SID) -> int:
    found = rig.catalog.named(session)
    assert found is not None
    rig.capture.let_go(found.ref, rig.now)
    return forgetting(rig).begin(found, rig.now)


def forget_in_vain(rig: Rig, owner: type, step: str, error: Exception) -> None:
    """Forget the session where one step cannot be done now."""

    def fails(*_: object) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, step, fails)
        with pytest.raises(CopyError, match=r"No space left|cannot use it"):
            forget(rig)


def say(rig: Rig, text: str, session: str = SID) -> Path:
    path = rig.home.transcript(session)
    append(path, line("user", text, rig.home.project, session=session))
    rig.wait(5)
    rig.wait(200)
    return path


def holding(*folders: Path, text: str = WORD) -> list[str]:
    return [
        path.name
        for folder in folders
        for path in folder.rglob("*")
        if text in path.name or (path.is_file() and text.encode() in path.read_bytes())
    ]


def test_every_copy_goes_and_nothing_of_others(rig: Rig, home: Home) -> None:
    path, other = say(rig, f"about the {WORD}"), say(rig, "something else", OTHER)
    (path.with_suffix("") / "subagents").mkdir(parents=True)
    append(path.with_suffix("") / "subagents" / "agent-1.jsonl", line("user", WORD, home.project))
    path.write_bytes(line("user", f"cut, and {WORD}", home.project, session=SID))  # something is set aside
    rig.wait(300)
    assert len(list(home.mirror.rglob(f"{SID}*"))) > 2
    before = rig.restored(rig.catalog.named(OTHER))  # type: ignore[arg-type]
    forget(rig)
    assert holding(home.mirror, home.vault, home.state) == []
    assert holding(home.mirror, home.vault, home.state, text=SID) == []
    assert path.exists()
    rig.wait(400)
    append(path, line("user", f"more {WORD}", home.project, session=SID))
    append(other, line("user", "more", home.project, session=OTHER))
    rig.wait(5)
    rig.wait(200)
    assert [session.key for session in rig.catalog.sessions()] == [OTHER]
    assert holding(home.mirror, home.vault, home.state) == []
    assert rig.restored(rig.catalog.named(OTHER)) == {f"{OTHER}.jsonl": other.read_bytes()}  # type: ignore[arg-type]
    assert before[f"{OTHER}.jsonl"] == other.read_bytes()[: len(before[f"{OTHER}.jsonl"])]
    with pytest.raises(NoSuchSession, match="was forgotten"):
        rig.capture.checkpoint(Ref("claude", SID), "manual", rig.now)


def test_what_a_restore_has_replaced_goes_as_well(rig: Rig, home: Home) -> None:
    say(rig, f"about the {WORD}")
    replaced = home.mirror / ".replaced"
    for name in (f"{SID}.20260921T100000Z", f"{SID}.20260921T100000Z-2", f"{OTHER}.20260921T100000Z"):
        (replaced / name).mkdir(parents=True)
        (replaced / name / f"{SID}.jsonl").write_text(WORD)
    forget(rig)
    assert [path.name for path in replaced.iterdir()] == [f"{OTHER}.20260921T100000Z"]


def test_a_lost_state_does_not_bring_it_back_and_undoing_does(rig: Rig, home: Home) -> None:
    path = say(rig, f"about the {WORD}")
    ref = rig.session().ref
    forget(rig)
    rig.close()
    for file in home.state.iterdir():
        file.unlink()
    again = Rig(home, now=rig.now + 100)
    try:
        again.wait(300)
        assert again.catalog.sessions() == []
        assert Tombstones(home.mirror).lift(ref.source, ref.session_id)
        assert not Tombstones(home.mirror).lift(ref.source, ref.session_id)
        again.wait(5)
        again.wait(200)
        assert again.restored(again.session()) == {path.name: path.read_bytes()}
    finally:
        again.close()


def test_a_number_is_never_given_twice(rig: Rig) -> None:
    say(rig, "one")
    first = rig.session().id
    forget(rig)
    say(rig, "two", OTHER)
    assert rig.session().id > first


STEPS: list[tuple[str, Callable[[pytest.MonkeyPatch, Any], None]]] = [
    ("the commit", lambda patch, dies: patch.setattr(Catalog, "forget", dies)),
    ("the tombstone", lambda patch, dies: patch.setattr(Tombstones, "add", dies)),
    ("the plain copies", lambda patch, dies: patch.setattr(Mirror, "forget", dies)),
    ("the vault", lambda patch, dies: patch.setattr(Vault, "forget", dies)),
    ("the last commit", lambda patch, dies: patch.setattr(Forgettings, "local_done", dies)),
]


@pytest.mark.parametrize(("step", "arm"), STEPS, ids=[name for name, _ in STEPS])
def test_a_kill_before_each_step_leaves_all_of_it_or_is_finished_at_the_next_start(
    rig: Rig, home: Home, step: str, arm: Callable[[pytest.MonkeyPatch, Any], None]
) -> None:
    say(rig, f"about the {WORD}")

    def dies(*_: object, **__: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        arm(patch, dies)
        with pytest.raises(Killed):
            forget(rig)
    rig.close()
    again = Rig(home, now=rig.now + 10)
    try:
        finished = forgetting(again).finish()
        again.wait(300)
        if step == "the commit":
            assert (finished, again.session().key) == (0, SID)
            assert again.restored(again.session())
        else:
            assert (finished, again.catalog.sessions()) == (1, [])
            assert holding(home.mirror, home.vault, home.state) == []
            assert again.store.rows("SELECT * FROM forgettings") == []
            assert forgetting(again).finish() == 0
    finally:
        again.close()


def test_a_namesake_from_before_the_state_was_lost_keeps_its_copies(rig: Rig, home: Home) -> None:
    project, home.project = home.project, home.project.parent / "other"
    theirs = home.structured("plan")
    write(theirs, [("context.json", b'{"decisions": ["theirs"]}')])
    rig.wait(5)
    rig.wait(200)
    write(theirs, [("context.json", b'{"decisions": ["theirs", "later"]}')])
    rig.wait(200)
    (kept,) = home.vault.glob("*/structured.plan")
    copies = list(home.mirror.glob("*/plan/context.json"))
    rig.close()
    for file in home.state.iterdir():
        file.unlink()
    shutil.rmtree(theirs)
    home.project = project
    write(home.structured("plan"), [("context.json", b'{"decisions": ["mine"]}')])
    again = Rig(home, now=rig.now + 100)
    try:
        again.wait(5)
        again.wait(200)
        assert again.catalog.named("plan") is not None
        assert len(list(home.vault.glob("*/structured.plan"))) == 2
        forget(again, "plan")
        assert list(home.vault.glob("*/structured.plan")) == [kept]
        assert list(home.mirror.glob("*/plan/context.json")) == copies
    finally:
        again.close()


def test_what_is_undone_is_not_removed_at_the_next_start(rig: Rig, home: Home) -> None:
    path = say(rig, f"about the {WORD}")
    ref = rig.session().ref

    forget_in_vain(rig, Vault, "forget", CopyError("The backup cannot use it.", hint="Let it."))
    assert forgetting(rig).undo(ref)
    assert not forgetting(rig).undo(ref)
    rig.wait(5)
    rig.wait(200)
    rig.close()
    again = Rig(home, now=rig.now + 10)
    try:
        assert forgetting(again).finish() == 0
        again.wait(300)
        assert again.restored(again.session()) == {path.name: path.read_bytes()}
        assert again.store.rows("SELECT * FROM forgettings") == []
    finally:
        again.close()


def test_what_comes_back_while_it_could_not_be_written_down_goes_at_the_next_start(
    rig: Rig, home: Home
) -> None:
    path = say(rig, f"about the {WORD}")

    forget_in_vain(rig, Tombstones, "add", OSError(errno.ENOSPC, "No space left on device"))
    append(path, line("user", f"more {WORD}", home.project, session=SID))
    rig.wait(5)
    rig.wait(200)
    rig.close()
    again = Rig(home, now=rig.now + 10)
    try:
        assert forgetting(again).finish() == 1
        again.wait(300)
        assert again.catalog.sessions() == []
        assert holding(home.mirror, home.vault, home.state) == []
    finally:
        again.close()


def test_a_list_that_cannot_be_read_or_written_whole_forgets_nothing_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tombstones = Tombstones(tmp_path)
    tombstones.add("claude", SID)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, limits[1]))  # room for a mark and a bit
    try:
        with pytest.raises(OSError, match="File too large"):
            tombstones.add("claude", OTHER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [Tombstones(tmp_path).holds("claude", session) for session in (SID, OTHER)] == [True, False]
    tombstones.add("claude", OTHER)

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", fails)
        with pytest.raises(OSError, match="Input/output"):
            Tombstones(tmp_path).add("claude", "third")
    assert Tombstones(tmp_path).holds("claude", SID)
    assert tombstones.holds("claude", OTHER)


def test_what_is_undone_keeps_its_comments_and_its_refs(tmp_path: Path, gh: FakeGitHub) -> None:
    machine = Machine(tmp_path / "one", gh, 1)
    try:
        machine.say("hello")
        machine.sync()
        ref = machine.rig.session().ref
        assert f"session={SID} " in on_github(gh)
        forget(machine.rig)
        assert machine.rig.queue.items()
        assert forgetting(machine.rig).undo(ref)
        assert machine.rig.queue.items() == []
        machine.sync()
        assert f"session={SID} " in on_github(gh)
    finally:
        machine.close()


# --- GitHub


def on_github(gh: FakeGitHub) -> str:
    return json.dumps([*(c.body for c in gh.all_comments()), *(i.body for i in gh.issues.values())])


@pytest.mark.parametrize(
    ("request_number", "after"), [(2, True), (3, False), (3, True), (4, False), (4, True), (5, True)]
)
def test_a_kill_at_any_request_leaves_no_comment_in_the_end(
    tmp_path: Path, gh: FakeGitHub, request_number: int, after: bool
) -> None:
    machine = Machine(tmp_path, gh, 1)
    try:
        machine.say(f"about the {WORD} " + "x" * 200)
        machine.sync()
        say(machine.rig, "another", OTHER)
        machine.push()
        assert SID in on_github(gh)
        forget(machine.rig)
        machine.die_at(request_number, after=after)
        try:
            machine.push()
        except Killed:
            machine.restart()
            machine.rig.queue.recover(machine.rig.now)
            machine.push()
        assert SID not in on_github(gh)
        assert OTHER in on_github(gh)
        assert machine.rig.store.rows("SELECT * FROM forgettings") == []
        assert SID not in json.dumps(machine.rig.store.rows("SELECT session_id FROM comments"))
    finally:
        machine.close()


def test_another_machine_that_has_it_keeps_it_and_sends_it_again(tmp_path: Path, gh: FakeGitHub) -> None:
    one, two = Machine(tmp_path / "one", gh, 1), Machine(tmp_path / "two", gh, 2)
    try:
        for machine in (one, two):
            machine.name_project()
        one.say(f"about the {WORD}")
        one.sync()
        hand_over(one, two)
        two.sync()
        two.say(f"more of the {WORD} here")
        two.sync()
        one.listen()
        assert holding(one.home.vault / ".sessiond", text=SID)  # what the other one has is kept as well
        forget(one.rig)
        one.push()
        assert SID not in on_github(gh)
        two.say("it goes on here")
        two.sync()
        assert SID in on_github(gh)
        one.listen()  # and here nothing but its name and title is heard of it
        one.checkpoint()
        assert one.rig.catalog.sessions() == []
        assert holding(one.home.mirror, one.home.vault) == []
        forget(two.rig)
        two.push()
        assert SID not in on_github(gh)
    finally:
        one.close()
        two.close()


def test_a_namesake_in_another_project_keeps_its_record(tmp_path: Path, gh: FakeGitHub) -> None:
    one, two = Machine(tmp_path / "one", gh, 1), Machine(tmp_path / "two", gh, 2)
    try:
        for machine in (one, two):  # two projects, each with a session that is called `plan`
            machine.write(context_json='{"decisions": ["d"]}', notes_md=machine.name)
            machine.sync()
        assert on_github(gh).count("session=plan ") == 2
        forget(one.rig, "plan")
        one.push()
        assert on_github(gh).count("session=plan ") == 1
        assert two.rig.catalog.named("plan") is not None
    finally:
        one.close()
        two.close()


# --- the archive


def test_its_refs_and_what_they_lead_to_leave_the_archive(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    rig = Rig(home, settings=with_archive(home.config(), folder))
    shipper = Shipper(rig)
    try:
        rig.store.set_meta("archive", shipper.address.id)
        say(rig, f"about the {WORD}")
        say(rig, "another", OTHER)
        shipper.drain()
        assert len(refs_of(folder)) == 2
        subject = forget(rig)
        assert rig.queue.get(UNARCHIVE, subject) is not None
        assert rig.queue.get(FORGET, subject) is None
        shipper.drain()
        assert [ref.split("/")[3] for ref in refs_of(folder)] == [OTHER]
        assert not [oid for oid, _, data in objects_of(folder) if SID.encode() in data]
        assert holding(home.state, text=SID) == []
        say(rig, "and on", OTHER)
        shipper.drain()
        with closing(archive.Elsewhere(tmp_path / "fresh", rig.config)) as reader:
            assert len(reader.versions(OTHER, rig.now)) == 2
    finally:
        shipper.close()
        rig.close()


def test_what_was_folded_leaves_the_archive_as_well(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    rig = Rig(home, settings=with_archive(home.config(), folder))
    shipper = Shipper(rig)
    try:
        rig.store.set_meta("archive", shipper.address.id)
        for session in (SID, OTHER):
            say(rig, f"about {session}", session)
        shipper.drain()
        rig.now += 2 * IDLE_S
        with closing(archive.Elsewhere(tmp_path / "runner", rig.config)) as runner:
            assert len(runner.cold.fold(runner.host, rig.now)) == 2
        assert all("cold" in ref for ref in refs_of(folder))
        forget(rig)
        shipper.archiving.care.fold_later(rig.now)
        shipper.drain()
        assert not [oid for oid, _, data in objects_of(folder) if SID.encode() in data]
        with closing(archive.Elsewhere(tmp_path / "fresh", rig.config)) as reader:
            assert len(reader.versions(OTHER, rig.now)) == 1
            assert reader.versions(SID, rig.now) == []
        forget(rig, OTHER)
        shipper.archiving.care.fold_later(rig.now)
        shipper.drain()
        assert refs_of(folder) == {}
    finally:
        shipper.close()
        rig.close()


def test_titles_and_steps_are_not_left_in_free_pages(rig: Rig, home: Home) -> None:
    say(rig, f"about the {WORD}")
    home.state.joinpath("state.db.v3").write_text(f"a state of before, with {WORD}")
    forget(rig)
    with closing(sqlite3.connect(home.state / "state.db")) as state:
        state.execute("PRAGMA integrity_check").fetchone()
    assert holding(home.state) == []


def test_only_a_session_is_forgotten_not_its_line(rig: Rig, gh: FakeGitHub) -> None:
    pusher = Line(rig, gh.url)
    try:
        say(rig, f"about the {WORD}")
        forget(rig)  # before any of it was sent
        pusher.drain()
        assert gh.all_comments() == []
        assert rig.queue.items() == []
    finally:
        pusher.close()

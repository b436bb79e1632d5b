"""One test a past bug: each was found by the stories of `test_engine_crashes`, and takes many of them to be found again."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from sessionsync.capture.commit import Commit
from sessionsync.errors import CopyError
from sessionsync.vault import SessionVault
from tests import arrived
from tests.fakes.faults import accept_then_drop
from tests.fakes.github import FakeGitHub
from tests.rig import START, Home, Line, Rig, append, boundary, line, write

pytestmark = pytest.mark.github(frozen_at=START)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


NAMELESS = b'{"type":"mode","mode":"plan"}\n'


def test_a_transcript_that_names_its_folder_within_a_second_belongs_to_it_at_once(home: Home) -> None:
    rig = Rig(home)
    path = home.transcript()
    append(path, NAMELESS)
    rig.scan(flush=False)
    append(path, line("user", "here", home.project))
    rig.scan(flush=False)
    rig.capture.flush(rig.now)
    session = rig.session()
    assert (session.project, session.project_key) == ("app", str(home.project))
    assert rig.mirrored(session, path.name) == path.read_bytes()
    rig.close()


@pytest.mark.parametrize("lost", [False, True])
def test_checkpoints_from_before_a_transcript_named_its_folder_stay_restorable(
    home: Home, lost: bool
) -> None:
    rig = Rig(home)
    path = home.transcript()
    append(path, NAMELESS)
    rig.wait(5)
    rig.wait(200)
    early = rig.session().checkpoint
    if lost:
        rig.close()
        (home.state / "state.db").unlink()
        rig = Rig(home, now=rig.now)
    append(path, line("user", "here", home.project))
    rig.wait(5)
    rig.wait(200)
    session = rig.session()
    assert session.project == "app"
    assert rig.restored(session, early) == {path.name: NAMELESS}
    assert rig.restored(session) == {path.name: path.read_bytes()}
    assert early in {checkpoint.id for checkpoint in rig.catalog.checkpoints(session.id)}
    assert list(rig.vault.sessions()) == [("app", session.stored_as)]
    rig.close()


def test_another_plain_copy_under_the_projects_own_name_is_not_taken_for_the_sessions(home: Home) -> None:
    rig = Rig(home)
    path = home.transcript()
    append(path, NAMELESS)
    rig.wait(5)
    copy = home.mirror / "app" / path.name
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"x" * 500)  # as long as ours and longer, but other bytes
    append(path, line("user", "here", home.project))
    rig.wait(5)
    rig.wait(200)
    assert copy.read_bytes() == path.read_bytes()
    assert rig.restored(rig.session()) == {path.name: path.read_bytes()}
    rig.close()


def test_a_file_that_was_dropped_while_the_state_was_lost_is_not_in_the_next_checkpoint(home: Home) -> None:
    rig = Rig(home)
    folder = home.structured("plan")
    write(folder, [("context.json", b"{}"), ("artifacts/a.md", b"a")])
    rig.wait(5)
    rig.wait(200)
    first = rig.session().checkpoint
    rig.close()
    (home.state / "state.db").unlink()
    (folder / "artifacts" / "a.md").unlink()
    again = Rig(home, now=rig.now + 5)
    again.scan()
    again.wait(200)
    session = again.session()
    assert again.restored(session) == {"context.json": b"{}"}
    assert again.restored(session, first)["artifacts/a.md"] == b"a"
    vault = again.vault.open(session.project or "", session.stored_as)
    assert vault.files(session.checkpoint)["artifacts/a.md"].deleted_at is not None
    again.close()


def test_a_snapshot_that_the_state_never_heard_of_does_not_leak_into_the_next(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(home)
    folder = home.structured("plan")
    one, two = b'{"phase": "one"}', b'{"phase": "two"}'
    write(folder, [("context.json", one), ("artifacts/a.md", b"a")])
    rig.wait(5)
    rig.wait(200)
    write(folder, [("context.json", two)])
    commits = iter([Commit.save, _refuse])
    with monkeypatch.context() as broken:
        # the first says that the file is being rewritten, the second that it has been
        broken.setattr(Commit, "save", lambda *given, **also: next(commits)(*given, **also))  # noqa: PLW0108 - another each time
        with pytest.raises(CopyError):
            rig.capture.checkpoint(rig.session().ref, "manual", rig.now)
    rig.close()
    write(folder, [("context.json", one), ("artifacts/a.md", b"b")])
    again = Rig(home, now=rig.now + 5)
    again.scan()
    again.wait(200)
    assert again.restored(again.session()) == {"context.json": one, "artifacts/a.md": b"b"}
    again.close()


def test_a_generation_without_bytes_of_its_own_is_gone_on_with_after_a_lost_state(home: Home) -> None:
    rig = Rig(home)
    folder = home.structured("plan")
    one, two = b'{"phase": "one"}', b'{"phase": "two"}'
    write(folder, [("context.json", one)])
    rig.wait(5)
    rig.wait(200)
    first = rig.session().checkpoint
    (folder / "context.json").write_bytes(b"")
    rig.wait(5)  # a generation that shares nothing, and has nothing yet
    rig.close()
    (home.state / "state.db").unlink()
    write(folder, [("context.json", two)])
    again = Rig(home, now=rig.now + 5)
    again.scan()
    again.wait(200)
    session = again.session()
    assert again.restored(session, first) == {"context.json": one}
    assert again.restored(session) == {"context.json": two}
    vault = again.vault.open(session.project or "", session.stored_as)
    assert vault.files(session.checkpoint)["context.json"].generation == 1
    again.close()


def test_a_failed_checkpoint_leaves_nothing_half_believed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(home)
    folder = home.structured("plan")
    write(folder, [("context.json", b"{}")])
    rig.wait(5)
    with monkeypatch.context() as broken:
        broken.setattr(SessionVault, "snapshot", _refuse)
        with pytest.raises(CopyError):
            rig.capture.checkpoint(rig.session().ref, "manual", rig.now)
    made = rig.capture.checkpoint(rig.session().ref, "manual", rig.now)
    assert rig.restored(rig.session(), made.id) == {"context.json": b"{}"}
    rig.close()


def _refuse(*_: object, **__: object) -> None:
    raise CopyError("no")


def test_a_plain_copy_cut_by_somebody_does_not_stop_a_checkpoint(home: Home) -> None:
    rig = Rig(home)
    path = home.transcript()
    append(path, line("user", "one", home.project))
    rig.wait(5)
    rig.wait(200)
    os.truncate(home.mirror / "app" / path.name, 10)
    agent = path.with_suffix("") / "subagents" / "agent-1.jsonl"
    agent.parent.mkdir(parents=True)
    append(agent, line("user", "two", home.project))
    rig.close()  # roots are made from what is on disk
    again = Rig(home, now=rig.now + 5)
    again.scan()
    again.wait(200)
    name = f"{path.stem}/subagents/agent-1.jsonl"
    assert again.restored(again.session()) == {path.name: path.read_bytes(), name: agent.read_bytes()}
    again.close()


def test_a_record_is_kept_up_to_date_when_a_transcript_loses_its_last_message(
    home: Home, gh: FakeGitHub
) -> None:
    rig = Rig(home)
    pusher = Line(rig, gh.url)
    path = home.transcript()
    append(path, boundary(home.project), line("user", "hello", home.project))
    rig.wait(5)
    rig.wait(200)
    pusher.drain()
    path.write_bytes(boundary(home.project))
    rig.wait(5)
    rig.wait(200)
    pusher.drain()
    session = rig.session()
    assert session.summary.prompts == 0
    assert session.pushed_checkpoint == session.checkpoint
    assert arrived.files(gh, path.stem) == {path.name: path.read_bytes()}
    pusher.close()
    rig.close()


def test_a_lost_answer_is_looked_for_where_it_was_asked_also_when_the_session_moved_on(
    home: Home, gh: FakeGitHub
) -> None:
    rig = Rig(home)
    pusher = Line(rig, gh.url)
    number = gh.add_issue("o/r", title="A bug", login="me")
    folder = home.structured("fix")
    write(folder, [("context.json", json.dumps({"issue": number}).encode())])
    rig.wait(5)
    rig.wait(200)
    gh.fault(accept_then_drop(method="POST", path=r"/comments$", times=1))
    while not gh.effects("created comment"):
        pusher.step()
    write(folder, [("context.json", b'{"title": "it names no issue any more"}')])
    rig.wait(5)
    rig.wait(200)
    pusher.drain()
    assert arrived.doubled(gh) == []
    assert len(arrived.records(gh)["fix"]) == 1
    pusher.close()
    rig.close()


def test_a_lost_answer_is_looked_for_in_a_full_issue_too(home: Home, gh: FakeGitHub) -> None:
    rig = Rig(home)
    pusher = Line(rig, gh.url)
    gh.behave(comments_per_issue=2)
    paths = [home.transcript() for _ in range(3)]
    for path in paths:
        append(path, line("user", path.stem, home.project))
    rig.wait(5)
    rig.wait(200)
    gh.fault(accept_then_drop(method="POST", path=r"/comments$", probability=0.6))
    pusher.drain()
    assert arrived.doubled(gh) == []
    assert {stem: len(parts) for stem, parts in arrived.records(gh).items()} == {
        path.stem: 1 for path in paths
    }
    pusher.close()
    rig.close()


@pytest.mark.parametrize("live", ["as it was", "cut", "gone"])
def test_a_plain_copy_cut_before_the_vault_had_its_bytes_stops_nothing(home: Home, live: str) -> None:
    rig = Rig(home)
    path = home.transcript()
    append(path, line("user", "one", home.project), line("user", "two", home.project))
    rig.wait(5)
    os.truncate(home.mirror / "app" / path.name, 10)
    if live == "cut":
        os.truncate(path, 100)
    elif live == "gone":
        path.unlink()
    for _ in range(3):
        with suppress(CopyError):  # said, and then mended
            rig.wait(200)
    session = rig.session()
    assert rig.capture.due(rig.now) == []
    if live != "gone":
        assert rig.mirrored(session, path.name) == path.read_bytes()
        assert rig.restored(session) == {path.name: path.read_bytes()}
    rig.close()

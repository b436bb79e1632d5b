"""A full disk under one copy does not stop the other one."""

from __future__ import annotations

import errno
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest.mock import Mock

import pytest

from sessiond import loops
from sessiond.engine import Engine
from sessiond.loops import CaptureLoop
from sessiond.watcher import Watcher
from sessionsync import report
from sessionsync.capture.work import BLOCK_BYTES
from sessionsync.errors import CopyError, DiskFull, StoreFull
from sessionsync.model import Ref
from sessionsync.reliability.findings import Findings
from sessionsync.search import Index, Indexer
from sessionsync.sources.places import Places
from tests.full import full_below
from tests.keeper import done, upkeep_of
from tests.rig import Home, Rig, append, boundary, line


@pytest.fixture
def home(rig: Rig) -> Home:
    return rig.home


def talk(home: Home, path: Path, text: str = "hello") -> None:
    append(path, line("user", text, home.project, session=path.stem))


def capture_all(rig: Rig) -> None:
    """As `scan`, whatever does not fit."""
    for ref in rig.capture.survey():
        try:
            rig.capture.capture(ref, rig.now)
        except DiskFull:
            continue
    rig.capture.flush(rig.now)


def is_plain(rig: Rig, path: Path) -> bool:
    copy = rig.home.mirror / "app" / path.name
    return copy.is_file() and copy.read_bytes() == path.read_bytes()


def is_restorable(rig: Rig, path: Path) -> bool:
    """Whether the vault alone gives back what is on disk; a checkpoint of it is made first."""
    ref = Ref("claude", path.stem)
    try:
        rig.capture.checkpoint(ref, "manual", rig.now)
    except DiskFull:
        assert rig.capture.is_behind(ref)
    return rig.restored(rig.session(ref))[path.name] == path.read_bytes()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("first", [True, False], ids=["never seen", "known"])
def test_without_room_for_plain_copies_the_vault_takes_every_byte(
    home: Home, rig: Rig, number: int, first: bool
) -> None:
    paths = [home.transcript() for _ in range(3)]
    if not first:
        for path in paths:
            talk(home, path, "before")
        rig.scan()
    with pytest.MonkeyPatch.context() as patch:
        full_below(patch, home.mirror, number)
        for path in paths:
            talk(home, path)
        append(paths[1], boundary(home.project), line("user", "x" * BLOCK_BYTES, home.project))
        for _ in range(2):  # what is tried again in vain costs nothing
            capture_all(rig)
            assert [rig.capture.is_behind(Ref("claude", path.stem)) is None for path in paths] == [False] * 3
            assert all(is_restorable(rig, path) for path in paths)
            for path in paths:
                talk(home, path, "more")
        session = rig.session(Ref("claude", paths[1].stem))
        assert "compaction" in {made.trigger for made in rig.catalog.checkpoints(session.id)}
        with pytest.raises(DiskFull):
            rig.capture.checkpoint(Ref("claude", paths[0].stem), "manual", rig.now)
    assert not any(is_plain(rig, path) for path in paths)
    rig.scan()
    assert all(is_plain(rig, path) for path in paths)
    assert all(rig.capture.is_behind(Ref("claude", path.stem)) is None for path in paths)
    assert all(is_restorable(rig, path) for path in paths)
    for session in rig.catalog.sessions():
        assert not done(upkeep_of(rig).verify(session, deep=True)).bad


def test_a_rewrite_without_room_for_what_it_cuts_is_in_the_vault_and_then_set_aside(
    home: Home, rig: Rig
) -> None:
    path = home.transcript()
    talk(home, path, "before")
    rig.scan()
    before = path.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        full_below(patch, home.mirror)
        path.write_bytes(line("user", "written anew", home.project, session=path.stem))
        capture_all(rig)
        talk(home, path, "and more")
        capture_all(rig)
        assert is_restorable(rig, path)
        assert (home.mirror / "app" / path.name).read_bytes() == before
    rig.scan()
    assert is_plain(rig, path)
    session = rig.session()
    kept = [made.id for made in rig.catalog.checkpoints(session.id) if made.trigger == "rewrite"]
    assert [rig.restored(session, each)[path.name] for each in kept] == [before]
    (aside,) = (home.mirror / "app").glob(f"{path.stem}.*.*.jsonl")
    assert before.endswith(aside.read_bytes())
    assert not done(upkeep_of(rig).verify(session, deep=True)).bad


def test_a_foreign_file_that_cannot_be_set_aside_is_not_taken_for_the_session(home: Home, rig: Rig) -> None:
    path, copy = home.transcript(), home.mirror / "app"
    copy.mkdir(parents=True)
    (copy / path.name).write_bytes(b"somebody else's\n" * 99)
    with pytest.MonkeyPatch.context() as patch:
        full_below(patch, home.mirror)
        talk(home, path)
        capture_all(rig)
        assert is_restorable(rig, path)
    rig.scan()
    assert is_plain(rig, path)
    (aside,) = copy.glob(f"{path.stem}.*.*.jsonl")
    assert aside.read_bytes() == b"somebody else's\n" * 99


@pytest.mark.parametrize("known", [True, False])
def test_what_its_agent_deletes_meanwhile_is_made_again_from_the_vault(
    home: Home, rig: Rig, known: bool
) -> None:
    path, copy = home.transcript(), home.mirror / "app"
    if known:
        talk(home, path, "before")
        rig.scan()
    before = path.read_bytes() if known else b""
    with pytest.MonkeyPatch.context() as patch:
        full_below(patch, home.mirror)
        path.write_bytes(line("user", "written anew", home.project, session=path.stem))
        capture_all(rig)
        content = path.read_bytes()
        path.unlink()
        capture_all(rig)
        assert rig.capture.is_behind(Ref("claude", path.stem))
    rig.capture.capture(Ref("claude", path.stem), rig.now)
    rig.capture.flush(rig.now)
    assert (copy / path.name).read_bytes() == content
    asides = [file.read_bytes() for file in copy.glob(f"{path.stem}.*.*.jsonl")]
    assert len(asides) == known
    assert all(before.endswith(aside) for aside in asides)
    assert not done(upkeep_of(rig).verify(rig.session(), deep=True)).bad


@pytest.mark.parametrize("all_of_it", [True, False])
def test_what_was_deleted_is_made_again_after_a_restart_as_well(
    home: Home, rig: Rig, all_of_it: bool
) -> None:
    path = home.transcript()
    companion = path.with_suffix("") / "tool-results" / "z.txt"
    companion.parent.mkdir(parents=True)
    copy = home.mirror / "app" / path.stem / "tool-results" / "z.txt"
    with pytest.MonkeyPatch.context() as patch:
        talk(home, path)
        rig.scan()
        full_below(patch, home.mirror)
        companion.write_bytes(b"result")
        capture_all(rig)
        companion.unlink()
        if all_of_it:
            path.unlink()
        for _ in range(2):
            capture_all(rig)
        rig.close()
    again = Rig(home)
    again.scan()
    assert copy.read_bytes() == b"result"
    assert not again.capture.survey()
    assert len(rig.events.named("session_deleted")) == all_of_it
    assert not again.events.named("session_deleted")
    again.close()


def test_a_restart_goes_on_where_the_vault_is(home: Home, rig: Rig) -> None:
    path = home.transcript()
    with pytest.MonkeyPatch.context() as patch:
        full_below(patch, home.mirror)
        talk(home, path)
        capture_all(rig)
        rig.close()
        again = Rig(home)
        talk(home, path, "after the restart")
        capture_all(again)
        assert is_restorable(again, path)
    again.scan()
    assert is_plain(again, path)
    assert again.session().project == "app"
    again.close()


def test_projects_of_one_name_that_cannot_be_written_down_are_kept_apart(home: Home, rig: Rig) -> None:
    others = [home.folder / name / "app" for name in ("one", "two")]
    paths = [home.transcript() for _ in others]
    with pytest.MonkeyPatch.context() as patch:
        full_below(patch, home.mirror)
        for folder, path in zip(others, paths, strict=True):
            folder.mkdir(parents=True)
            append(path, line("user", "hello", folder, session=path.stem))
        capture_all(rig)
    names = [rig.session(Ref("claude", path.stem)).project for path in paths]
    rig.scan()
    assert len(set(names)) == 2
    assert names == [rig.session(Ref("claude", path.stem)).project for path in paths]
    third = home.transcript()
    append(third, line("user", "hello", others[1], session=third.stem))
    rig.scan()
    assert rig.session(Ref("claude", third.stem)).project == names[1]


def test_without_room_in_the_vault_every_plain_copy_is_made_to_its_end(home: Home, rig: Rig) -> None:
    paths = [home.transcript() for _ in range(3)]
    companion = paths[1].with_suffix("") / "tool-results" / "z.txt"
    with pytest.MonkeyPatch.context() as patch:
        full_below(patch, home.vault)
        for path in paths:
            talk(home, path)
            append(path, line("user", "x" * BLOCK_BYTES, home.project), boundary(home.project))
            talk(home, path)
        companion.parent.mkdir(parents=True)
        companion.write_bytes(b"result")
        for ref in rig.capture.survey():
            with pytest.raises(DiskFull):
                rig.capture.capture(ref, rig.now)
        assert all(is_plain(rig, path) for path in paths)
        assert (home.mirror / "app" / paths[1].stem / "tool-results" / "z.txt").read_bytes() == b"result"
    rig.scan()
    assert all(is_restorable(rig, path) for path in paths)


def loop_of(rig: Rig) -> CaptureLoop:
    places = Places(rig.projects, rig.events)
    engine = SimpleNamespace(capture=rig.capture, vault_trouble=None, places=places)
    return CaptureLoop(
        cast("Engine", engine),
        Watcher(list, rig.events),
        Findings(),
        rig.events,
        lambda *_: None,
        lambda: None,
    )


def test_while_the_state_has_no_room_either_the_loop_rests(
    home: Home, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = loop_of(rig)
    paths = [home.transcript() for _ in range(3)]
    for path in paths:
        talk(home, path)
    with monkeypatch.context() as patch:
        patch.setattr(loops, "TROUBLE_S", 0.0)
        full_below(patch, home.mirror)
        for _ in range(2 * len(paths)):
            loop.turn()
    assert loop.waiting == len(paths)

    def full(*_: object, **__: object) -> None:
        raise StoreFull("no room", hint="")

    monkeypatch.setattr(rig.capture._commit, "save", full)
    assert loop.turn() > loops.TROUBLE_S / 2
    assert loop.waiting == len(paths)


def test_what_could_not_be_committed_and_is_captured_again_is_counted_once(
    home: Home, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home.transcript()
    talk(home, path)
    rig.scan(flush=False)
    with monkeypatch.context() as patch:
        patch.setattr(rig.capture._commit, "save", Mock(side_effect=StoreFull("no room", hint="")))
        with pytest.raises(StoreFull):
            rig.capture.flush(rig.now)
    rig.scan()
    talk(home, path)
    rig.scan()
    assert sum(each["bytes"] for each in rig.events.named("session_captured")) == path.stat().st_size


def test_a_command_that_the_full_state_refuses_says_that_it_is_full(
    home: Home, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, path = loop_of(rig), home.transcript()
    talk(home, path)
    (ref,) = rig.scan()
    talk(home, path)
    with monkeypatch.context() as patch:
        patch.setattr(rig.capture._commit, "save", Mock(side_effect=StoreFull("no room", hint="")))
        refused = loop.soon(partial(rig.capture.checkpoint, ref, "command"))
        loop.turn()
    with pytest.raises(StoreFull):
        refused.result()
    assert [each.code for each in loop._findings.open()] == [StoreFull.code]

    loop.go_on()
    loop.turn()
    loop.finish()
    assert not loop._findings.open()
    assert is_plain(rig, path)


def test_a_copy_that_failed_is_tried_again_though_nothing_else_asks_for_its_session(
    home: Home, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "TROUBLE_S", 0.0)
    monkeypatch.setattr(loops, "DUE_S", 0.0)
    loop, path = loop_of(rig), home.transcript()
    talk(home, path)
    rig.scan()
    rig.wait(300)
    rig.scan()
    assert rig.capture.next_due() is None
    copy = home.mirror / "app" / path.name
    copy.unlink()
    copy.mkdir()
    talk(home, path)
    for _ in range(2):  # one finds it, the next one tries
        loop.turn()
    assert loop.waiting == 1
    assert loop.turn() <= 0.1

    copy.rmdir()
    loop.turn()
    assert is_plain(rig, path)
    assert loop.waiting == 0


def test_what_goes_back_with_another_session_is_captured_again_at_once(
    home: Home, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, other, rewritten = loop_of(rig), home.transcript(), home.transcript()
    talk(home, rewritten)
    rig.scan()
    loop.turn()
    talk(home, other)
    rewritten.write_bytes(line("user", "written anew", home.project, session=rewritten.stem))

    def fail() -> None:
        raise CopyError("The disk fails.", hint="")

    with monkeypatch.context() as patch:
        patch.setattr(rig.mirror, "flush", fail)
        for path in (other, rewritten):
            loop._capture(Ref("claude", path.stem))
    loop.turn()
    loop._flush(0, force=True)
    assert is_plain(rig, other)
    assert rig.session(Ref("claude", other.stem)).captured_bytes == other.stat().st_size
    assert len(rig.events.named("rescan_completed")) == 1


def test_what_has_no_room_for_its_plain_copy_is_found_and_not_said_to_have_one(home: Home, rig: Rig) -> None:
    path, index = home.transcript(), Index(home.state / "index.db", "s1")
    indexer = Indexer(index, rig.catalog, rig.mirror, rig.vault, rig.sources)
    with pytest.MonkeyPatch.context() as patch:
        full_below(patch, home.mirror)
        talk(home, path, "a quokka")
        capture_all(rig)
        assert is_restorable(rig, path)
        for number in indexer.behind():
            indexer.index(number)
        assert [hit.session for hit in index.search("quokka")] == [rig.session().id]
        (listed,) = report.sessions(rig.catalog, rig.now)["sessions"]
        assert (listed["copies"], rig.catalog.kept()) == (["vault"], 0)
    rig.now += 300
    capture_all(rig)
    (listed,) = report.sessions(rig.catalog, rig.now)["sessions"]
    assert (listed["copies"], is_plain(rig, path)) == (["mirror", "vault"], True)
    assert rig.catalog.kept() == 1
    index.close()

"""What only the copies know is known again: of an older backup, or where the state was lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessionsync import report
from sessionsync.catalog import Session
from sessionsync.model import Ref
from sessionsync.search import Index, Indexer, passage_of
from sessionsync.tombstones import Tombstones
from tests.keeper import done, flip, upkeep_of
from tests.rig import Home, Rig, append, line, write

OLD = "00000000-58d7-4cf4-9f3f-6a6f5c9c1a11"


def adopted(rig: Rig) -> int:
    """How many sessions the daily cleaning has taken in and known again."""
    upkeep = upkeep_of(rig)
    done(upkeep.adopt({rig.home.mirror: 1, rig.home.vault: 6}))
    recalled = done(upkeep.recall())
    assert done(upkeep.recall()) == 0
    assert done(upkeep.adopt({rig.home.mirror: 1, rig.home.vault: 6})) == 0
    return recalled


def found(rig: Rig, query: str) -> list[str]:
    """The passages that a new index gives for a query."""
    index = Index(rig.home.state / "index.db", "s1")
    index.begin_anew()
    indexer = Indexer(index, rig.catalog, rig.mirror, rig.vault, rig.sources)
    for number in indexer.behind():
        indexer.index(number)
    sources = {source.name: source for source in rig.sources}
    texts = []
    for hit in index.search(query):
        session = rig.catalog.session(hit.session)
        source = sources[session.ref.source]
        texts.append(passage_of(hit, session, rig.catalog.files(session.id), source, rig.mirror, rig.vault))
    index.close()
    return texts


def known(rig: Rig, name: str) -> Session:
    session = rig.catalog.named(name)
    assert session is not None
    return session


@pytest.fixture
def lost(rig: Rig, home: Home) -> Iterator[list[Rig]]:
    """Where the rig goes that begins again with no state."""
    begun: list[Rig] = []
    yield begun
    for each in begun:
        each.close()


def begin_again(rig: Rig, lost: list[Rig]) -> Rig:
    rig.close()
    for file in rig.home.state.iterdir():
        file.unlink()
    lost.append(Rig(rig.home, now=rig.now))
    lost[-1].scan()
    return lost[-1]


def test_a_session_of_an_older_backup_has_a_title_a_project_and_its_words(rig: Rig) -> None:
    text = b"".join(
        line(who, f"{what} of the quokka", rig.home.project, session=OLD)
        for who, what in (("user", "the question"), ("assistant", "the answer"))
    )
    write(rig.home.vault / "2023-app", [(f"old/{OLD}.jsonl", text.rstrip(b"\n"))])
    assert adopted(rig) == 1
    (each,) = report.sessions(rig.catalog, rig.now, rig.home.project)["sessions"]
    assert (each["id"], each["title"], each["project"]) == (OLD, "the question of the quokka", "app")
    assert (each["state"], each["turns"], each["copies"]) == ("deleted", 1, ["mirror", "vault"])
    assert sorted(found(rig, "quokka")) == ["the answer of the quokka", "the question of the quokka"]
    assert (rig.home.mirror / "app" / f"{OLD}.jsonl").read_bytes() == text.rstrip(b"\n")
    assert (rig.home.vault / "2023-app" / "old" / f"{OLD}.jsonl").read_bytes() == text.rstrip(b"\n")
    assert not list((rig.home.vault / "2023-app").glob("claude.*")), "it lies with its project"
    upkeep = upkeep_of(rig)
    assert done(upkeep.verify(known(rig, OLD), deep=True)).bad == []
    assert rig.scan() == []


def test_it_goes_on_where_it_ended_once_its_agent_has_it_again(rig: Rig) -> None:
    text = line("user", "hello", rig.home.project, session=OLD)
    write(rig.home.vault / "app", [(f"{OLD}.jsonl", text)])
    assert adopted(rig) == 1
    path = rig.home.transcript(OLD)
    path.write_bytes(text + line("user", "again", rig.home.project, session=OLD))
    rig.scan()
    rig.wait(300)
    session = rig.session(Ref("claude", OLD))
    (file,) = rig.catalog.files(session.id).values()
    assert (file.generation, file.length, file.deleted_at) == (0, path.stat().st_size, None)
    assert rig.restored(session) == {path.name: path.read_bytes()}
    assert len(rig.catalog.checkpoints(session.id)) == 2


def test_a_lost_state_comes_back_from_the_copies_also_of_what_was_deleted(rig: Rig, lost: list[Rig]) -> None:
    path = rig.home.transcript()
    for turn in range(3):
        append(path, line("user", f"wombat {turn}", rig.home.project, session=path.stem))
        rig.scan()
        rig.wait(300)
    write(path.with_suffix(""), [("subagents/agent-1.jsonl", line("user", "numbat", rig.home.project))])
    whole = path.read_bytes()
    newest = line("user", "bilby", rig.home.project, session=path.stem)
    path.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1] + newest)
    folder = rig.home.structured("kept")
    write(
        folder, [("context.json", b'{"session_id": "kept", "title": "A potoroo", "decisions": ["bettong"]}')]
    )
    (rig.home.project / ".claude/sessions/plan.md").write_text("# Plan\n\nThe dunnart decides.\n")
    rig.scan()
    rig.wait(300)
    before = {each["id"]: each for each in report.sessions(rig.catalog, rig.now)["sessions"]}
    points = {name: rig.catalog.checkpoints(known(rig, name).id) for name in before}
    restored = {
        (name, point.id): rig.restored(known(rig, name), point.id)
        for name in points
        for point in points[name]
    }
    assert len(before) == 3
    path.unlink()
    shutil.rmtree(path.with_suffix(""))
    shutil.rmtree(rig.home.project / ".claude")
    shutil.rmtree(rig.home.mirror)
    again = begin_again(rig, lost)
    assert again.catalog.sessions() == []
    assert adopted(again) == 3
    after = {each["id"]: each for each in report.sessions(again.catalog, again.now)["sessions"]}
    assert after.keys() == before.keys()
    for name, each in after.items():
        for key in ("source", "project", "title", "size", "turns", "last_checkpoint_at", "path"):
            assert each[key] == before[name][key], (name, key)
        assert each["state"] == "deleted"
        assert {"mirror", "vault"} <= set(each["copies"])
        assert done(upkeep_of(again).verify(known(again, name), deep=True)).bad == []
    assert restored == {
        (name, point.id): again.restored(known(again, name), point.id)
        for name in points
        for point in again.catalog.checkpoints(known(again, name).id)
    }
    for word in ("wombat", "numbat", "bilby", "bettong", "dunnart"):
        assert found(again, word), word
    assert again.mirrored(known(again, path.stem), path.name).endswith(newest)


def test_what_only_the_plain_copy_has_is_taken_over_with_a_lost_state(rig: Rig, lost: list[Rig]) -> None:
    path = rig.home.transcript()
    append(path, line("user", "captured", rig.home.project, session=path.stem))
    rig.scan()
    rig.wait(300)
    append(rig.home.mirror / "app" / path.name, more := line("user", "by a hook alone", rig.home.project))
    whole = path.read_bytes() + more
    path.unlink()
    again = begin_again(rig, lost)
    assert adopted(again) == 1
    session = known(again, path.stem)
    assert again.restored(session) == {path.name: whole}
    assert (len(again.catalog.checkpoints(session.id)), found(again, "hook")) == (2, ["by a hook alone"])


def test_another_version_stays_beside_the_session(rig: Rig, lost: list[Rig]) -> None:
    path = rig.home.transcript()
    append(path, line("user", "as it was", rig.home.project, session=path.stem))
    rig.scan()
    rig.wait(300)
    whole = path.read_bytes()
    path.unlink()
    other = whole.replace(b"was", b"is!") * 3
    write(rig.home.vault / "app" / "2023", [(path.name, other)])
    again = begin_again(rig, lost)
    assert adopted(again) == 1
    assert again.restored(known(again, path.stem)) == {path.name: whole}
    assert (again.home.vault / "app" / "2023" / path.name).read_bytes() == other


def test_what_another_home_captures_is_left_to_it(rig: Rig, lost: list[Rig], tmp_path: Path) -> None:
    path = rig.home.transcript()
    append(path, line("user", "of the other home", rig.home.project, session=path.stem))
    rig.scan()
    rig.wait(300)
    rig.home.agent = tmp_path / "another"
    again = begin_again(rig, lost)
    assert again.catalog.sessions() == []
    assert adopted(again) == 0
    path.unlink()  # now nobody does
    assert adopted(again) == 1


def test_what_was_forgotten_is_not_known_again(rig: Rig, lost: list[Rig]) -> None:
    write(rig.home.vault / "app", [(f"{OLD}.jsonl", line("user", "secret", rig.home.project, session=OLD))])
    assert adopted(rig) == 1
    Tombstones(rig.home.mirror).add("claude", OLD)
    again = begin_again(rig, lost)
    assert adopted(again) == 0
    assert again.catalog.sessions() == []


def test_one_that_is_damaged_does_not_keep_the_others_from_being_known(rig: Rig, lost: list[Rig]) -> None:
    paths = [rig.home.transcript() for _ in range(2)]
    for path in paths:
        append(path, line("user", "x" * 5000, rig.home.project, session=path.stem))
    rig.scan()
    rig.wait(300)
    for path in paths:
        path.unlink()
    shutil.rmtree(rig.home.mirror)
    flip(rig.home.vault / "app" / f"claude.{paths[0].stem}" / "pack", 60)
    again = begin_again(rig, lost)
    assert adopted(again) == 1
    assert [each.key for each in again.catalog.sessions()] == [paths[1].stem]


def test_what_is_captured_while_it_is_adopted_is_what_the_vault_has_newest(rig: Rig) -> None:
    live = rig.home.transcript(OLD)
    old = b"".join(line("user", f"the question {n}", rig.home.project, session=OLD) for n in range(9))
    write(rig.home.mirror / "app", [(f"{OLD}.jsonl", old)])
    adopting = upkeep_of(rig).adopt({rig.home.mirror: 1})
    while rig.vault.project_of(Ref("claude", OLD)) is None:
        next(adopting)
        rig.vault.flush()
    append(live, line("user", "something else", rig.home.project, session=OLD))
    rig.scan()
    rig.wait(200)
    done(adopting)
    assert rig.restored(known(rig, OLD)) == {live.name: live.read_bytes()}
    stored = rig.vault.open(known(rig, OLD).project or "", Ref("claude", OLD))
    newest = stored.snapshots()[-1]
    assert newest.id == known(rig, OLD).checkpoint

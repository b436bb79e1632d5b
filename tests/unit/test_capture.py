"""From files that grow to verified copies and checkpoints, with a time that the test moves."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sessionsync.capture.capture import MANY_NEW
from sessionsync.catalog import REWRITTEN
from sessionsync.errors import CopyError, NoSuchSession
from sessionsync.model import Ref, Tier
from sessionsync.vault import Root
from tests.rig import START, Events, Home, Rig, append, boundary, line, write


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def claude(path: Path) -> Ref:
    return Ref("claude", path.stem)


def touch(path: Path, at: float) -> None:
    os.utime(path, (at, at))


def test_appended_bytes_are_in_the_plain_copy_and_after_a_quiet_time_in_a_checkpoint(
    home: Home, rig: Rig
) -> None:
    path = home.transcript()
    append(path, line("user", "hello", home.project), line("assistant", "hi", home.project))
    touch(path, START + 1)
    rig.now = START + 1
    rig.scan()
    session = rig.session()
    assert rig.mirrored(session, path.name) == path.read_bytes()
    assert session.checkpoint is None
    rig.wait(120)
    session = rig.session()
    assert session.checkpoint is not None
    assert rig.restored(session) == {path.name: path.read_bytes()}
    assert session.tier is Tier.GITHUB_ONLY
    (item,) = rig.queue.items()
    assert item.checkpoint == session.checkpoint


def test_every_later_append_makes_one_more_checkpoint_and_old_ones_stay_readable(
    home: Home, rig: Rig
) -> None:
    path = home.transcript()
    versions: dict[str, bytes] = {}
    for n in range(5):
        append(path, line("user", f"message {n} " * 50, home.project))
        touch(path, rig.now)
        rig.scan()
        rig.wait(121)
        checkpoint = rig.session().checkpoint
        assert checkpoint is not None
        versions[checkpoint] = path.read_bytes()
    assert rig.catalog.checkpoint_ids(rig.session().id) == [*versions]
    assert len(versions) == 5
    for checkpoint, data in versions.items():
        assert rig.restored(rig.session(), checkpoint) == {path.name: data}
    assert len(rig.queue.items()) == 1


def test_nothing_is_read_or_written_while_nothing_changes(home: Home, rig: Rig) -> None:
    append(home.transcript(), line("user", "x", home.project))
    rig.scan()
    rig.wait(200)
    rig.events.all.clear()
    assert rig.scan() == []
    assert rig.events.all == []


def test_what_was_last_changed_before_the_first_start_is_kept_but_not_commented(home: Home) -> None:
    path = home.transcript()
    append(path, line("user", "old", home.project))
    touch(path, START - 86_400)
    rig = Rig(home)
    rig.scan()
    session = rig.session()
    assert session.checkpoint is not None
    assert rig.restored(session) == {path.name: path.read_bytes()}
    assert rig.queue.items() == []
    assert rig.capture.include_history(rig.now) == 1
    assert [item.subject for item in rig.queue.items()] == [session.id]
    rig.close()


def test_what_cannot_be_copied_yet_is_told_once_it_is(home: Home, rig: Rig) -> None:
    path = home.transcript()
    append(path, line("user", "hello", home.project))
    home.mirror.mkdir()
    (home.mirror / "app").touch()  # no folder can be made there
    for _ in range(3):
        with pytest.raises(CopyError):
            rig.scan()
    assert not rig.events.named("session_found")
    assert not rig.events.named("project_found")
    (home.mirror / "app").unlink()
    rig.scan()
    rig.scan()
    (found,) = rig.events.named("session_found")
    assert found == {"session": f"claude:{path.stem}", "project": "app"}
    assert len(rig.events.named("project_found")) == 1


def test_in_ci_everything_counts_as_new(home: Home) -> None:
    path = home.transcript()
    append(path, line("user", "old", home.project))
    touch(path, START - 86_400)
    rig = Rig(home, ci=True)
    rig.scan()
    assert len(rig.queue.items()) == 1
    rig.close()


def test_a_transcript_without_a_users_message_gets_no_comment(home: Home, rig: Rig) -> None:
    path = home.transcript()
    append(path, line("assistant", "alone", home.project))
    rig.scan()
    rig.wait(200)
    assert rig.session().checkpoint is not None
    assert rig.queue.items() == []


def test_a_compaction_is_a_checkpoint_that_ends_right_behind_its_line(home: Home, rig: Rig) -> None:
    path = home.transcript()
    before = line("user", "a", home.project) + boundary(home.project)
    append(path, before, line("user", "b", home.project))
    touch(path, START + 5)
    rig.now = START + 5
    rig.scan()
    (checkpoint,) = rig.catalog.checkpoints(rig.session().id)
    assert checkpoint.trigger == "compaction"
    assert rig.restored(rig.session(), checkpoint.id) == {path.name: before}
    rig.wait(200)
    assert [c.trigger for c in rig.catalog.checkpoints(rig.session().id)] == ["compaction", "quiet"]
    assert rig.restored(rig.session()) == {path.name: path.read_bytes()}


def test_the_projects_of_very_many_new_sessions_get_their_names_at_once(
    home: Home, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(MANY_NEW):
        append(home.transcript(), line("user", "hello", home.project / str(n)))
    flushed: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", flushed.append)
        rig.capture.survey()
    assert len(flushed) == 2  # the one list of names, and its own
    written = (rig.mirror.folder / ".projects.json").stat()
    rig.scan()
    assert (rig.mirror.folder / ".projects.json").stat() == written
    assert len({session.project for session in rig.catalog.sessions()}) == MANY_NEW


def test_what_follows_a_compaction_is_packed_with_what_is_before_it(home: Home, rig: Rig) -> None:
    path = home.transcript()
    said = line("user", "hello", home.project)
    append(path, said, boundary(home.project), said, boundary(home.project), said)
    touch(path, START - 1000)
    rig.scan()
    session = rig.session()
    triggers = [checkpoint.trigger for checkpoint in rig.catalog.checkpoints(session.id)]
    assert triggers == ["compaction", "compaction", "quiet"]
    stored = rig.vault.open(session.project or "", session.stored_as).fold().stored
    assert [(segment.offset, segment.end) for segment, _ in stored] == [(0, path.stat().st_size)]
    assert rig.restored(session) == {path.name: path.read_bytes()}


def test_a_session_that_never_rests_gets_a_checkpoint_of_whole_lines_after_ten_minutes(
    home: Home, rig: Rig
) -> None:
    path = home.transcript()
    for n in range(13):
        append(path, line("user", f"{n}", home.project))
        touch(path, rig.now)
        rig.wait(60)
    whole = path.stat().st_size
    append(path, b'{"type":"user","torn')
    touch(path, rig.now)
    for _ in range(10):
        append(path, b"x")
        rig.wait(60)
    checkpoints = rig.catalog.checkpoints(rig.session().id)
    assert {c.trigger for c in checkpoints} == {"interval"}
    assert checkpoints[-1].size == whole
    rig.wait(200)
    assert rig.restored(rig.session()) == {path.name: path.read_bytes()}


@pytest.mark.parametrize("kept", [0, 1, 100, 5000])
def test_a_shrink_keeps_the_bytes_that_it_cuts(home: Home, rig: Rig, kept: int) -> None:
    path = home.transcript()
    append(path, *(line("user", f"{n} " * 200, home.project) for n in range(40)))
    was = path.read_bytes()
    rig.scan()
    with path.open("rb+") as file:
        file.truncate(kept)
    rig.wait(5)
    append(path, line("user", "after", home.project))
    rig.wait(5)
    session = rig.session()
    assert rig.mirrored(session, path.name) == path.read_bytes()
    aside = sorted(
        rig.mirror.path_of(session.project or "", session.stored_as, path.name).parent.glob("*.*.jsonl")
    )
    assert was[kept:] in {copy.read_bytes() for copy in aside}
    rewrite = next(c for c in rig.catalog.checkpoints(session.id) if c.trigger == "rewrite")
    assert rig.restored(session, rewrite.id) == {path.name: was}
    rig.wait(200)
    assert rig.restored(rig.session()) == {path.name: path.read_bytes()}
    assert rig.restored(rig.session(), rewrite.id) == {path.name: was}


def test_a_rewrite_under_the_same_name_is_a_new_generation_from_the_first_differing_byte(
    home: Home, rig: Rig
) -> None:
    path = home.transcript()
    first = line("user", "same", home.project)
    append(path, first, line("user", "one way", home.project))
    was = path.read_bytes()
    rig.scan()
    other = path.with_suffix(".new")
    other.write_bytes(first + b"".join(line("user", f"another way {n}", home.project) for n in range(3)))
    other.replace(path)
    rig.wait(5)
    session = rig.session()
    assert session.summary.prompts == 4
    (rewritten,) = rig.events.named("session_rewritten")
    assert rewritten["offset"] >= len(first)
    rig.wait(200)
    assert rig.restored(rig.session()) == {path.name: path.read_bytes()}
    before = rig.catalog.checkpoints(session.id)[0]
    assert rig.restored(rig.session(), before.id) == {path.name: was}


def test_what_is_captured_beside_a_rewrite_is_counted_once(home: Home, rig: Rig) -> None:
    path = home.transcript()
    agent = path.with_suffix("") / "subagents" / "agent-1.jsonl"
    agent.parent.mkdir(parents=True)
    append(path, line("user", "Ask one", home.project))
    append(agent, line("user", "one way", home.project))
    rig.scan()
    rig.events.all.clear()
    new = line("user", "And more", home.project)
    append(path, new)
    other = agent.with_suffix(".new")
    other.write_bytes(line("user", "another way", home.project))
    size = other.stat().st_size
    other.replace(agent)
    captured = rig.capture.capture(rig.session().ref, rig.now + 5)
    rig.capture.flush(rig.now + 5)
    assert len(new) < captured <= len(new) + size
    assert sum(each["bytes"] for each in rig.events.named("session_captured")) == captured


def test_the_same_content_under_another_inode_goes_on(home: Home, rig: Rig) -> None:
    path = home.transcript()
    append(path, line("user", "same", home.project))
    rig.scan()
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes() + line("user", "more", home.project))
    other.replace(path)
    rig.wait(5)
    assert rig.events.named("session_rewritten") == []
    assert rig.session().summary.prompts == 2
    assert rig.catalog.files(rig.session().id)[path.name].generation == 0


def test_a_deletion_is_no_truth(home: Home, rig: Rig) -> None:
    path = home.transcript()
    append(path, line("user", "keep me", home.project))
    data = path.read_bytes()
    rig.scan()
    path.unlink()
    rig.wait(5)
    session = rig.session()
    assert rig.restored(session) == {path.name: data}
    assert rig.mirrored(session, path.name) == data
    assert rig.events.named("session_deleted")
    assert rig.scan() == []
    path.write_bytes(data + line("user", "back", home.project))
    rig.wait(5)
    rig.wait(200)
    assert rig.restored(rig.session()) == {path.name: path.read_bytes()}


def test_what_is_no_longer_watched_gets_the_checkpoint_that_it_lacks(home: Home, rig: Rig) -> None:
    path = home.transcript()
    append(path, line("user", "from another folder", home.project))
    rig.scan()
    rig.close()
    elsewhere = Home(home.folder / "elsewhere")
    elsewhere.mirror, elsewhere.vault, elsewhere.state = home.mirror, home.vault, home.state
    again = Rig(elsewhere, now=rig.now + 10)
    assert again.session().checkpoint is None
    assert again.capture.checkpoint_all("once", again.now) == 1
    session = again.session()
    assert session.dirty_since is None
    assert again.restored(session) == {path.name: path.read_bytes()}
    assert [item.checkpoint for item in again.queue.items()] == [session.checkpoint]
    assert not again.events.named("session_deleted")
    assert again.capture.checkpoint_all("once", again.now) == 0
    again.close()


def test_a_transcript_that_vanishes_while_its_subagents_stay_is_still_in_later_checkpoints(
    home: Home, rig: Rig
) -> None:
    path = home.transcript()
    append(path, line("user", "main", home.project))
    agent = path.with_suffix("") / "subagents" / "agent-1.jsonl"
    agent.parent.mkdir(parents=True)
    append(agent, line("user", "sub", home.project))
    rig.scan()
    rig.wait(200)
    main = path.read_bytes()
    path.unlink()
    append(agent, line("assistant", "sub again", home.project))
    rig.wait(5)
    rig.wait(200)
    name = f"{path.stem}/subagents/agent-1.jsonl"
    assert rig.restored(rig.session()) == {path.name: main, name: agent.read_bytes()}


def test_positions_survive_a_restart_and_only_new_bytes_are_captured(home: Home, rig: Rig) -> None:
    path = home.transcript()
    append(path, *(line("user", f"{n} " * 500, home.project) for n in range(100)))
    rig.scan()
    rig.close()
    again = Rig(home, now=rig.now + 10)
    added = line("user", "new", home.project)
    append(path, added)
    again.scan()
    (captured,) = again.events.named("session_captured")
    assert captured["bytes"] == len(added)
    again.wait(200)
    assert again.restored(again.session()) == {path.name: path.read_bytes()}
    again.close()


def test_a_crash_before_the_flush_captures_the_same_bytes_again(home: Home, rig: Rig) -> None:
    path = home.transcript()
    append(path, line("user", "one", home.project))
    rig.scan()
    append(path, line("user", "two", home.project))
    rig.scan(flush=False)
    rig.close()
    again = Rig(home, now=rig.now + 10)
    again.scan()
    again.wait(200)
    assert again.session().summary.prompts == 2
    assert again.restored(again.session()) == {path.name: path.read_bytes()}
    again.close()


@pytest.mark.parametrize("lost", ["state", "mirror", "vault"])
def test_what_is_lost_is_made_again_from_what_is_left(home: Home, rig: Rig, lost: str) -> None:
    path = home.transcript()
    append(path, line("user", "one", home.project), line("user", "two", home.project))
    rig.scan()
    rig.wait(200)
    checkpoint = rig.session().checkpoint
    rig.close()
    if lost == "state":
        (home.state / "state.db").unlink()
    else:
        folder = home.mirror if lost == "mirror" else home.vault
        for file in sorted(folder.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
    append(path, line("user", "three", home.project))
    again = Rig(home, now=rig.now + 10)
    again.scan()
    again.wait(200)
    session = again.session()
    assert again.mirrored(session, path.name) == path.read_bytes()
    assert again.restored(session) == {path.name: path.read_bytes()}
    if lost == "state":
        assert checkpoint in {c.id for c in again.catalog.checkpoints(session.id)}
        assert again.restored(session, checkpoint)[path.name] in path.read_bytes()
    again.close()


def test_a_manual_checkpoint_captures_first_and_is_not_repeated_without_a_change(
    home: Home, rig: Rig
) -> None:
    path = home.transcript()
    append(path, line("user", "one", home.project))
    made = rig.capture.checkpoint(claude(path), "manual", rig.now)
    assert rig.restored(rig.session(), made.id) == {path.name: path.read_bytes()}
    assert rig.capture.checkpoint(claude(path), "manual", rig.now + 5).id == made.id
    append(path, line("user", "two", home.project))
    other = rig.capture.checkpoint(claude(path), "manual", rig.now)
    assert other.id == f"{made.id}-2"
    with pytest.raises(NoSuchSession):
        rig.capture.checkpoint(Ref("claude", "0" * 8 + "-0000-0000-0000-" + "0" * 12), "manual", rig.now)


def test_size_counts_subagents_and_no_companions_and_a_tier_never_falls(home: Home, rig: Rig) -> None:
    path = home.transcript()
    append(path, line("user", "x" * 30_000, home.project))
    write(
        path.with_suffix(""),
        [
            ("subagents/agent-1.jsonl", line("user", "y" * 20_000, home.project)),
            ("tool-results/a.txt", b"z" * 300_000),
        ],
    )
    rig.scan()
    rig.wait(200)
    session = rig.session()
    assert (
        session.size
        == path.stat().st_size + (path.with_suffix("") / "subagents/agent-1.jsonl").stat().st_size
    )
    assert session.tier is Tier.HYBRID
    assert f"{path.stem}/tool-results/a.txt" in rig.restored(session)
    with path.open("rb+") as file:
        file.truncate(0)
    rig.wait(300)
    append(path, line("user", "small", home.project))
    rig.wait(300)
    assert rig.session().tier is Tier.HYBRID
    append(path, line("user", "x" * 210_000, home.project))
    rig.wait(5)
    rig.wait(200)
    assert rig.session().tier is Tier.LOCAL_PRIMARY
    assert rig.events.named("tier_promoted")


def test_a_structured_sessions_checkpoint_files_are_checkpoints_once_they_are_complete(
    home: Home, rig: Rig
) -> None:
    folder = home.structured("design")
    write(folder, [("context.json", b'{"decisions": ["use SQLite"], "current_phase": "build"}')])
    rig.scan()
    write(
        folder,
        [("checkpoints/first.json", b'{"half'), ("checkpoints/.hidden", b"x"), ("checkpoints/a.tmp", b"x")],
    )
    rig.wait(0.5)
    rig.wait(2)
    assert rig.catalog.checkpoints(rig.session().id) == []
    write(folder, [("checkpoints/first.json", b'{"at": "2026-09-21T10:00:00Z"}')])
    rig.wait(0.2)
    assert rig.catalog.checkpoints(rig.session().id) == []
    rig.wait(1.1)
    (checkpoint,) = rig.catalog.checkpoints(rig.session().id)
    assert (checkpoint.alias, checkpoint.trigger) == ("first", "checkpoint")
    assert rig.catalog.checkpoint(rig.session(), "first").id == checkpoint.id
    assert rig.session().summary.critical.decisions == ["use SQLite"]
    assert rig.queue.items()


def test_a_file_deleted_from_a_structured_session_stays_in_its_manifest_with_the_time(
    home: Home, rig: Rig
) -> None:
    folder = home.structured("design")
    write(folder, [("context.json", b"{}"), ("artifacts/plan.md", b"# plan")])
    rig.scan()
    rig.wait(200)
    first = rig.session().checkpoint
    (folder / "artifacts/plan.md").unlink()
    rig.wait(10)
    write(folder, [("context.json", b'{"current_phase": "b"}')])
    rig.wait(10)
    rig.wait(200)
    session = rig.session()
    vault = rig.vault.open(session.project or "", session.stored_as)
    assert vault.files(session.checkpoint)["artifacts/plan.md"].deleted_at is not None
    assert rig.restored(session)["context.json"] == b'{"current_phase": "b"}'
    assert rig.restored(session, first)["artifacts/plan.md"] == b"# plan"
    assert rig.restored(session, first)["context.json"] == b"{}"


def test_two_projects_may_have_structured_sessions_of_one_name(home: Home, rig: Rig) -> None:
    other = home.folder / "elsewhere" / "app"
    transcript = home.transcript()
    other.mkdir(parents=True)
    append(transcript, line("user", "x", other))
    rig.scan()
    for project, text in ((home.project, b'{"title": "a"}'), (other, b'{"title": "b"}')):
        write(home.structured("main", project), [("context.json", text)])
    rig.wait(5)
    rig.wait(200)
    sessions = [s for s in rig.catalog.sessions() if s.ref.source == "structured"]
    assert len({s.key for s in sessions}) == 2
    assert {rig.restored(s)["context.json"] for s in sessions} == {b'{"title": "a"}', b'{"title": "b"}'}
    assert {s.project for s in sessions} == {"app", f"app-{_digits(home.project)}"}


def _digits(folder: Path) -> str:
    return hashlib.sha256(os.path.realpath(folder).encode()).hexdigest()[:6]


def test_the_project_is_the_git_remote_of_the_first_folder_named_in_the_lines(home: Home, rig: Rig) -> None:
    for command in (["init", "-q"], ["remote", "add", "origin", "git@github.com:Owner/Tool.git"]):
        subprocess.run(["git", "-C", str(home.project), *command], check=True)
    below = home.project / "src"
    below.mkdir()
    path = home.agent / "projects" / "-a-misleading-name" / f"{'1' * 8}-1111-1111-1111-{'1' * 12}.jsonl"
    path.parent.mkdir()
    append(
        path, b'{"type":"summary","summary":"s"}\n', line("user", "a", below), line("user", "b", "/elsewhere")
    )
    rig.scan()
    session = rig.session()
    assert session.project_key == "github.com/owner/tool"
    assert session.project == "app"


def test_a_file_that_names_no_folder_yet_finds_its_project_when_it_does(home: Home, rig: Rig) -> None:
    path = home.transcript()
    append(path, b'{"type":"mode","mode":"plan"}\n')
    rig.scan()
    assert rig.session().project_key is None
    append(path, line("user", "now", home.project))
    rig.wait(5)
    session = rig.session()
    assert session.project == "app"
    assert rig.mirrored(session, path.name) == path.read_bytes()
    rig.wait(200)
    assert rig.restored(rig.session()) == {path.name: path.read_bytes()}


def test_a_foreign_file_at_the_copys_place_is_kept_beside_it(home: Home, rig: Rig) -> None:
    path = home.transcript()
    append(path, line("user", "mine", home.project))
    place = home.mirror / "app" / path.name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"somebody else's")
    rig.scan()
    assert place.read_bytes() == path.read_bytes()
    assert b"somebody else's" in {p.read_bytes() for p in place.parent.glob(f"{path.stem}.*.jsonl")}


def test_a_prefix_at_the_copys_place_is_adopted(home: Home, rig: Rig) -> None:
    path = home.transcript()
    append(path, line("user", "mine", home.project), line("user", "more", home.project))
    place = home.mirror / "app" / path.name
    place.parent.mkdir(parents=True)
    place.write_bytes(path.read_bytes()[:50])
    rig.scan()
    assert place.read_bytes() == path.read_bytes()
    assert list(place.parent.glob(f"{path.stem}.*.jsonl")) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100_000, b"not json\n", b"\xff\xfe\n", b"[1]\n{}\n", b"}{\n", b'{"a":1}{"b":2}\n'],
)
def test_whatever_a_file_holds_its_bytes_are_kept(home: Home, rig: Rig, content: bytes) -> None:
    path = home.transcript()
    path.write_bytes(content)
    rig.scan()
    rig.wait(200)
    session = rig.session()
    assert rig.restored(session) == {path.name: content}
    assert rig.mirrored(session, path.name) == content


def test_the_files_root_does_not_depend_on_how_its_bytes_came(home: Home, rig: Rig) -> None:
    path = home.transcript()
    data = b"".join(line("user", f"{n} " * 300, home.project) for n in range(300))
    for start in range(0, len(data), 77_777):
        append(path, data[start : start + 77_777])
        rig.wait(1)
    rig.wait(200)
    root = Root()
    root.update(data)
    session = rig.session()
    vault = rig.vault.open(session.project or "", session.stored_as)
    assert vault.files(session.checkpoint)[path.name].root == root.hexdigest()


def test_growing_real_sessions_are_byte_identical_at_every_step(home: Home, rig: Rig, shared: Path) -> None:
    chains = sorted((shared / "data" / "transcripts").glob("*/chain-*"))
    assert chains
    kept: list[tuple[Ref, str, bytes]] = []
    for chain in chains:
        path = home.transcript()
        for step in sorted(chain.glob("*.jsonl")):
            path.write_bytes(step.read_bytes())
            rig.wait(5)
            made = rig.capture.checkpoint(claude(path), "manual", rig.now)
            kept.append((claude(path), made.id, step.read_bytes()))
    for ref, checkpoint, data in kept:
        session = rig.session(ref)
        assert rig.restored(session, checkpoint) == {f"{ref.session_id}.jsonl": data}


def test_summary_of_a_session_in_steps_equals_that_of_the_whole(home: Home, rig: Rig) -> None:
    lines = [line("user", f"question {n}", home.project) for n in range(30)]
    stepwise, whole = home.transcript(), home.transcript()
    for data in lines:
        append(stepwise, data[: len(data) // 2])
        rig.wait(1)
        append(stepwise, data[len(data) // 2 :])
        rig.wait(1)
    append(whole, *lines)
    rig.wait(1)
    one, other = (rig.session(claude(path)).summary for path in (stepwise, whole))
    assert json.dumps(str(one)) == json.dumps(str(other))


def test_events_are_silent_about_sessions_that_did_not_change(home: Home, rig: Rig) -> None:
    assert isinstance(rig.events, Events)
    rig.scan()
    assert rig.events.named("session_captured") == []


def test_each_new_session_costs_so_many_calls_and_statements(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first backup is of thousands: what one costs, whatever its size, is counted as the difference."""
    few, more = (first_backup(tmp_path / str(count), count, monkeypatch) for count in (30, 50))
    each = {what: (more[what] - few[what]) / 20 for what in more}
    assert each["fsync"] == 0, "all of a batch is flushed at once"
    assert each["open"] <= 20
    assert each["statement"] <= 8


def first_backup(folder: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What it takes to capture so many sessions with one checkpoint each, all in one flush."""
    home, counts = Home(folder), Counter[str]()
    rig = Rig(home)
    for _ in range(count):
        path = home.transcript()
        append(path, line("user", "hello", home.project), line("assistant", "hi", home.project))
        touch(path, START - 1000)
    with monkeypatch.context() as patch:
        for name in ("open", "fsync"):
            patch.setattr(os, name, counted(counts, name, getattr(os, name)))
        rig.store._connection.set_trace_callback(lambda _: counts.update(["statement"]))
        for ref in rig.capture.survey():
            rig.capture.capture(ref, rig.now)
        assert rig.capture.flush(rig.now) == count
    assert len(rig.catalog.sessions()) == count
    assert all(session.checkpoint is not None for session in rig.catalog.sessions())
    rig.close()
    return counts


def counted(counts: Counter[str], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def one(*arguments: Any, **named: Any) -> Any:
        counts[name] += 1
        return call(*arguments, **named)

    return one


def test_both_copies_have_what_has_a_checkpoint_and_plain_copies_that_are_believed(rig: Rig) -> None:
    paths = [rig.home.transcript() for _ in range(3)]
    for path in paths:
        append(path, line("user", "hello", rig.home.project, session=path.stem))
    rig.scan()
    assert rig.catalog.kept() == 0
    rig.wait(300)
    append(rig.home.transcript(), line("user", "hello", rig.home.project))
    rig.scan()
    assert rig.catalog.kept() == 3
    session = rig.catalog.resolve(paths[0].stem)
    (file,) = rig.catalog.files(session.id).values()
    file.size = REWRITTEN
    rig.catalog.save_file(session.id, file)
    assert rig.catalog.kept() == 2


def test_what_has_changed_is_named_the_newest_first(rig: Rig) -> None:
    paths = [rig.home.transcript() for _ in range(3)]
    for path, age_s in zip(paths, (20, 10, 30), strict=True):
        append(path, line("user", "hello", rig.home.project, session=path.stem))
        os.utime(path, (rig.now - age_s, rig.now - age_s))
    rig.scan()
    assert [ref.session_id for ref in rig.catalog.changed()] == [paths[n].stem for n in (1, 0, 2)]

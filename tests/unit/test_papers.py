"""Notes, context files and message stores all the way: watched, copied, checkpointed, shown, put back."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from sessionsync.model import Tier
from sessionsync.remote import comments
from tests.conftest import samples
from tests.fakes.github import FakeGitHub
from tests.machine import Machine, Make
from tests.rig import Home, Rig

FORMATS = ("ecc-session-tmp", "markdown-session-note")
NOTE = "# Add a cache\n\n**Status:** {status}\n**Updated:** {updated}\n\n## Next Steps\n- measure\n"


def put(root: Path, name: str, data: bytes | str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def ours(home: Home, name: str, data: bytes | str = "# T\n") -> Path:
    return put(home.project, f".claude/sessions/{name}", data)


def points(rig: Rig) -> list[str]:
    return [point.trigger for point in rig.catalog.checkpoints(rig.session().id)]


def names(rig: Rig) -> set[str]:
    return {session.name for session in rig.catalog.sessions()}


# --- names and copies


def test_each_is_called_after_its_project_and_copied_plainly(rig: Rig) -> None:
    ours(rig.home, "2026-01-02-topic.md", "# Topic\n")
    ours(rig.home, "12.md", "# Twelve\n")
    ours(rig.home, "abc.json", '{"messages": []}')
    put(rig.home.agent, "session-data/2026-01-02-x-session.tmp", f"# S\n**Worktree:** {rig.home.project}\n")
    put(rig.home.agent, "session-data/2026-01-03-y-session.tmp", "# nobody's\n")
    rig.scan()
    assert names(rig) == {
        "note:note.app.2026-01-02-topic",
        "context:context.app.12",
        "messages:messages.app.abc",
        "note:note.app.2026-01-02-x-session",
        "note:note.unknown.2026-01-03-y-session",
    }
    assert (
        rig.home.mirror / "app" / "note.app.2026-01-02-topic" / "2026-01-02-topic.md"
    ).read_text() == "# Topic\n"
    topic = rig.catalog.resolve("note.app.2026-01-02-topic")
    assert (topic.project, topic.summary.title) == ("app", "Topic")
    assert rig.catalog.resolve("note:note.app.2026-01-02-t") == topic
    assert rig.catalog.resolve(".claude/sessions/2026-01-02-topic.md") == topic


def test_two_notes_of_one_name_are_two_sessions_also_after_the_state_is_lost(
    rig: Rig, tmp_path: Path
) -> None:
    for ending in ("tmp", "md"):
        ours(rig.home, f"2026-01-02-topic.{ending}", f"# {ending}\n")
    rig.scan()
    rig.wait(200)
    before = {session.location.name: session.key for session in rig.catalog.sessions()}
    assert len(set(before.values())) == 2
    assert "note.app.2026-01-02-topic" in before.values()
    rig.close()
    shutil.rmtree(rig.home.state)
    rig.home.state.mkdir()
    # whichever is met first, each takes up its own copies again
    newer = next(name for name, key in before.items() if key != "note.app.2026-01-02-topic")
    ours(rig.home, newer, f"# {newer.rpartition('.')[2]}\nmore\n")
    again = Rig(rig.home, now=rig.now + 100)
    again.scan()
    assert {session.location.name: session.key for session in again.catalog.sessions()} == before
    again.close()


def test_a_title_with_slashes_is_kept_under_one_name(rig: Rig) -> None:
    name = "2025-07-11-1135-voices from https:/huggingface.co/hexgrad/VOICES.md.md"
    ours(rig.home, name, "# V\n")
    rig.scan()
    assert names(rig) == {"note:note.app.2025-07-11-1135-voices from https:-huggingface.co-hexgrad-VOICES.md"}
    ref = rig.capture.locate(rig.home.project / ".claude" / "sessions" / name)
    assert ref == rig.session().ref
    ours(rig.home, ".current-session", name)
    ours(rig.home, "compaction-log.txt", "x")
    rig.wait(1)
    assert len(rig.catalog.sessions()) == 1


def test_a_note_says_its_project_later(rig: Rig) -> None:
    path = put(rig.home.agent, "session-data/2026-01-03-y-session.tmp", "# S\n")
    rig.scan()
    rig.wait(200)
    assert rig.session().project == "unknown"
    path.write_text(f"# S\n**Worktree:** {rig.home.project}\n")
    rig.wait(5)
    rig.wait(200)
    session = rig.session()
    assert (session.project, session.key) == ("app", "note.unknown.2026-01-03-y-session")
    assert rig.restored(session) == {path.name: path.read_bytes()}


# --- nothing is lost


def test_rewritten_shortened_and_deleted_nothing_is_lost(rig: Rig) -> None:
    path = ours(rig.home, "2026-01-02-x-session.tmp")
    versions = [b"# One\n" + b"one\n" * 50, b"# Two\n", b"", b"# Three, longer again\n" * 9]
    kept: list[tuple[str, bytes]] = []
    for version in versions:
        path.write_bytes(version)
        rig.wait(1)
        rig.wait(200)
        kept.append((rig.session().checkpoint or "", version))
    path.unlink()  # the sweep
    rig.wait(200)
    session = rig.session()
    for point, version in kept:
        assert rig.restored(session, point) == {path.name: version}
    assert rig.restored(session) == {path.name: versions[-1]}
    assert rig.events.named("session_deleted")
    everything = b"".join(p.read_bytes() for p in sorted((rig.home.mirror / "app" / session.key).iterdir()))
    for version in versions:
        assert version[2:] in everything  # "# " they have in common


def test_two_writers_of_one_file_are_both_kept(rig: Rig) -> None:
    path = ours(rig.home, "2026-01-02-x.md")
    seen = []
    for turn in range(6):
        version = f"# Writer {turn % 2}\n{turn}\n".encode()
        path.write_bytes(version)
        rig.wait(1)
        rig.capture.checkpoint(rig.session().ref, "manual", rig.now)
        seen.append((rig.session().checkpoint, version))
    for point, version in seen:
        assert rig.restored(rig.session(), point) == {path.name: version}


def test_over_midnight_there_are_two(rig: Rig) -> None:
    for day in ("02", "03"):
        put(
            rig.home.agent,
            f"session-data/2026-01-{day}-ab12cd34-session.tmp",
            f"# S\n**Worktree:** {rig.home.project}\n{day}",
        )
        rig.wait(5)
        rig.wait(200)
    assert names(rig) == {f"note:note.app.2026-01-{day}-ab12cd34-session" for day in ("02", "03")}
    for session in rig.catalog.sessions():
        assert session.checkpoint
        assert rig.restored(session) == {session.location.name: session.location.read_bytes()}


def test_an_hourly_sweep_that_shortens_and_deletes_takes_nothing_with_it(rig: Rig) -> None:
    folder = rig.home.project / ".claude" / "sessions"
    kept: list[tuple[str, str, bytes]] = []  # session, checkpoint, and what was written then
    for hour in range(8):
        written = ours(rig.home, f"2026-01-02-{hour}.tmp", f"# Hour {hour}\n" + f"- line {hour}\n" * 20)
        rig.wait(10)
        rig.wait(200)
        for path in sorted(
            folder.iterdir()
        ):  # the agent's sweep: the old ones go, of the others the end stays
            if path.name < f"2026-01-02-{hour - 2}.tmp":
                path.unlink()
            elif path != written:
                path.write_text(f"# Swept at {hour}\n" + path.read_text()[-40:])
        rig.wait(10)
        rig.wait(3400)
        left = [session for session in rig.catalog.sessions() if session.location.exists()]
        kept += [(each.name, each.checkpoint or "", each.location.read_bytes()) for each in left]
    assert len(list(folder.iterdir())) == 3
    assert len(kept) > 20
    for name, point, data in kept:
        session = rig.catalog.resolve(name)
        assert rig.restored(session, point) == {session.location.name: data}
    for hour in range(8):  # and what each note was before it was swept for the first time
        session = rig.catalog.resolve(f"note:note.app.2026-01-02-{hour}")
        copies = (rig.home.mirror / "app" / session.key).iterdir()
        everything = b"".join(path.read_bytes() for path in sorted(copies))
        assert everything.count(f"- line {hour}\n".encode()) >= 20


@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2" * 999,
        b"\xff\xfe\0",
        b"# T\r\nwords\r\n",
        b"\xef\xbb\xbf# T\n",
        b"no end",
        b"x" * 12_000_000,
        b"",
    ],
    ids=["binary", "UTF-16", "CRLF", "BOM", "no newline", "12 MB", "empty"],
)
def test_whatever_is_in_it_its_bytes_are_kept(rig: Rig, data: bytes) -> None:
    ours(rig.home, "2026-01-02-x.md", data)
    ours(rig.home, "12.md", data)
    rig.scan()
    rig.wait(200)
    for session in rig.catalog.sessions():
        assert rig.restored(session) == {session.location.name: data}
        assert rig.mirrored(session, session.location.name) == data
        assert session.size == len(data)
        assert session.summary.title


def test_a_message_store_that_was_half_written_is_read_when_it_is_whole(rig: Rig) -> None:
    whole = json.dumps({"messages": [{"role": "user", "content": "hello"}], "title": "Chat"}).encode()
    path = ours(rig.home, "abc.json", whole[:20])
    rig.scan()
    assert rig.session().summary.bad_lines == 1
    path.write_bytes(whole)
    rig.wait(1)
    summary = rig.session().summary
    assert (summary.title, summary.prompts, summary.bad_lines) == ("Chat", 1, 0)
    path.write_bytes(whole[:15])
    rig.wait(1)
    assert rig.session().summary.title == "Chat"


# --- checkpoints


def write(rig: Rig, name: str, status: str, updated: str, more: str = "") -> None:
    ours(rig.home, name, NOTE.format(status=status, updated=updated) + more)


@pytest.mark.parametrize("name", ["2026-01-02-x.md", "12.md"])
def test_a_checkpoint_when_status_or_time_of_update_changes_and_has_settled(rig: Rig, name: str) -> None:
    write(rig, name, "in_progress", "10:00")
    rig.scan()
    rig.wait(60)
    assert points(rig) == []  # nothing changed yet: it is quiet that counts
    rig.wait(61)
    assert points(rig) == ["quiet"]
    rig.now += 10
    write(rig, name, "in_progress", "10:00", "- more\n")
    rig.wait(0)
    rig.wait(5)
    assert points(rig) == ["quiet"]  # neither of them
    write(rig, name, "completed", "10:00", "- more\n")
    rig.wait(0)
    assert points(rig) == ["quiet"]
    due = rig.capture.next_due()
    assert due is not None
    assert due - rig.now <= 1
    rig.wait(1)
    assert points(rig) == ["quiet", "status"]
    assert rig.session().summary.status == "completed"
    rig.now += 10
    write(rig, name, "completed", "10:30", "- more\n")
    rig.wait(0)
    rig.wait(1)
    assert points(rig) == ["quiet", "status", "status"]
    assert rig.session().dirty_since is None
    rig.wait(500)
    assert len(points(rig)) == 3


def test_a_change_of_status_is_heeded_after_a_restart(rig: Rig) -> None:
    write(rig, "2026-01-02-x.md", "in_progress", "10:00")
    rig.scan()
    rig.wait(200)
    write(rig, "2026-01-02-x.md", "blocked", "10:00")
    rig.wait(0)
    rig.close()
    again = Rig(rig.home, now=rig.now + 2)
    again.scan()
    assert points(again) == ["quiet", "status"]
    again.close()


def test_a_torn_status_is_no_status(rig: Rig) -> None:
    write(rig, "2026-01-02-x.md", "in_progress", "10:00")
    rig.scan()
    rig.wait(200)
    ours(rig.home, "2026-01-02-x.md", "# Add a")  # written in place, half of it
    rig.wait(0)
    rig.wait(5)
    assert points(rig) == ["quiet"]
    write(rig, "2026-01-02-x.md", "in_progress", "10:00")
    rig.wait(0.5)
    rig.wait(2)
    assert points(rig) == ["quiet"]


def test_a_note_that_never_rests_has_one_every_ten_minutes(rig: Rig) -> None:
    for minute in range(22):
        write(rig, "2026-01-02-x.md", "in_progress", "10:00", f"- {minute}\n")
        rig.wait(60)
    assert points(rig) == ["interval", "interval"]


# --- on GitHub


def bodies(gh: FakeGitHub, number: int) -> list[str]:
    return [comment.body for comment in gh.comments("o/r", number)]


def test_a_context_file_lands_in_its_issue(make: Make, gh: FakeGitHub) -> None:
    for n in range(3):
        gh.add_issue("o/r", title=f"Issue {n + 1}", login="ann")
    machine = make(gh=gh)
    ours(machine.home, "2.md", "# The cache\n\n**Status:** in_progress\n\n## Decisions\n- SQLite\n")
    ours(machine.home, "2026-01-02-topic.md", "# Topic\n\n**Issue:** #3\n")
    ours(machine.home, "2026-01-03-other.md", "# Other\n")
    machine.settle()
    machine.rig.capture.include_history(machine.rig.now)
    machine.push()
    (two,), (three,) = bodies(gh, 2), bodies(gh, 3)
    assert bodies(gh, 1) == []
    part = comments.parse(two)
    assert part is not None
    assert part.record is not None
    assert (part.session_id, part.record.source, part.record.context.issue) == ("context.app.2", "context", 2)
    assert part.record.critical_data.decisions == ["SQLite"]
    assert "\nsessiond restore --for-issue 2\n" in two
    assert part.record.local_path == ".claude/sessions/2.md"
    assert "note.app.2026-01-02-topic" in three
    (index,) = bodies(gh, 4)  # the project's own issue
    assert "note.app.2026-01-03-other" in index


def test_an_issue_of_another_repository_is_not_ours(make: Make, gh: FakeGitHub) -> None:
    gh.add_issue("o/r", title="Ours", login="ann")
    machine = make(gh=gh)
    ours(machine.home, "2026-01-02-x.md", "# X\n\n**Thread:** https://github.com/else/where/issues/1\n")
    ours(machine.home, "2026-01-02-y.md", "# Y\n\n**Thread:** https://github.com/O/R/issues/1\n")
    machine.settle()
    machine.rig.capture.include_history(machine.rig.now)
    machine.push()
    (one,) = bodies(gh, 1)
    assert "note.app.2026-01-02-y" in one


def test_an_issue_that_is_not_there_is_done_without(make: Make, gh: FakeGitHub) -> None:
    machine = make(gh=gh)
    ours(machine.home, "20260102.md", "# A day\n")
    machine.settle()
    machine.rig.capture.include_history(machine.rig.now)
    machine.push()
    (body,) = bodies(gh, 1)
    assert "context.app.20260102" in body


def test_the_tier_is_by_the_files_bytes(rig: Rig) -> None:
    for size, tier in ((46_079, Tier.GITHUB_ONLY), (46_080, Tier.HYBRID), (204_801, Tier.LOCAL_PRIMARY)):
        ours(rig.home, "2026-01-02-x.md", b"x" * size)
        rig.wait(5)
        assert (rig.session().size, rig.session().tier) == (size, tier)


def test_a_note_goes_through_a_comment_to_another_machine(make: Make, gh: FakeGitHub) -> None:
    one = make("one", gh=gh)
    data = b"\xef\xbb\xbf# Topic\r\n\r\nbytes \xff and all\r\n"
    stored = {
        ".claude/sessions/2026-01-02-topic.md": data,
        ".claude/sessions/2025-07-11-1135-voices https:/x.co/V.md.md": b"# V\n",
        ".claude/sessions/abc.json": b'{"messages": [{"role": "user", "content": "hi"}]}',
        ".claude/sessions/5.md": b"# Five\n",
        ".claude/sessions/empty.md": b"",
    }
    for name, content in stored.items():
        put(one.home.project, name, content)
    put(one.home.agent, "session-data/2026-01-02-x-session.tmp", f"# S\n**Worktree:** {one.home.project}\n")
    one.settle()
    one.rig.capture.include_history(one.rig.now)
    one.push()
    two = make("two", gh=gh, project="elsewhere/app")
    for session in one.rig.catalog.sessions():
        done = two("restore", session.key, "--json")
        assert (done.code, done.json["from"], done.json["exact"]) == (0, "github", True), done.err
    for name, content in stored.items():
        assert (two.home.project / name).read_bytes() == content
        assert (two.home.project / name).stat().st_mode & 0o777 == 0o600
    note = "session-data/2026-01-02-x-session.tmp"
    assert (two.home.agent / note).read_bytes() == (one.home.agent / note).read_bytes()
    # there it is the same session
    shutil.rmtree(one.home.project)
    (two.home.agent / note).unlink()  # it names a folder of the other machine
    two.age()
    two.rig.wait(300)
    assert names(two.rig) == names(one.rig) - {"note:note.app.2026-01-02-x-session"}


# --- put back


def test_every_real_note_comes_back_to_the_byte(machine: Machine, shared: Path) -> None:
    files = {file.name: file.read_bytes() for file in samples(shared, *FORMATS)}
    for name, data in files.items():
        ours(machine.home, name, data)
    machine.settle()
    shutil.rmtree(machine.home.project / ".claude")
    machine.rig.scan()
    sessions = machine.rig.catalog.sessions()
    assert len(sessions) == len(files)
    for number, session in enumerate(sessions):
        for origin in ("mirror", "vault"):
            out = machine.home.folder / f"out-{number}-{origin}"
            assert machine("restore", session.name, "--from", origin, "--out", str(out)).code == 0
            assert {path.name: path.read_bytes() for path in out.iterdir()} == {
                session.location.name: files[session.location.name]
            }
        done = machine("restore", session.name)
        assert done.code == 0, done.err
        assert session.location.read_bytes() == files[session.location.name]


@pytest.mark.parametrize("lost", ["state", "state and mirror", "state and vault"])
def test_it_comes_back_without_the_state(machine: Machine, lost: str) -> None:
    path = ours(machine.home, "2026-01-02-topic.md", "# Topic\n")
    twelve = ours(machine.home, "12.md", "# Twelve\n")
    machine.settle()
    path.unlink()
    twelve.unlink()
    for name in lost.split(" and "):
        shutil.rmtree(machine.home.folder / name)
    if lost == "state and vault":  # the plain copy alone knows nothing of a place
        out = machine.home.folder / "out"
        assert machine("restore", "note.app.2026-01-02-topic", "--out", str(out)).code == 0
        assert (out / path.name).read_text() == "# Topic\n"
        return
    assert machine("restore", "note.app.2026-01-02-topic").code == 0
    assert machine("restore", "context:context.app.12").code == 0
    assert (path.read_text(), twelve.read_text()) == ("# Topic\n", "# Twelve\n")


def test_what_is_newer_there_is_not_written_over(machine: Machine) -> None:
    path = ours(machine.home, "2026-01-02-topic.md", "# Topic\nold\n")
    machine.settle()
    point = machine.rig.session().checkpoint or ""
    path.write_text("# Topic\nrewritten\n")
    machine.settle()
    done = machine("restore", "note.app.2026-01-02-topic", "--at", point)
    assert (done.code, path.read_text()) == (1, "# Topic\nrewritten\n")
    assert machine("restore", "note.app.2026-01-02-topic", "--at", point, "--force").code == 0
    assert path.read_text() == "# Topic\nold\n"
    kept = [each.read_text() for each in (machine.home.mirror / ".replaced").rglob("*.md")]
    assert kept == ["# Topic\nrewritten\n"]
    path.write_text("# just now\n")
    assert machine("restore", "note.app.2026-01-02-topic").code == 1  # somebody has it open


def test_a_note_that_was_emptied_comes_back_as_it_was_before(machine: Machine) -> None:
    path = ours(machine.home, "2026-01-02-topic.md", "# Topic\nlong\n")
    machine.settle()
    path.write_text("# Topic\n")
    machine.settle()
    path.write_text("")
    machine.settle()
    out = machine.home.folder / "out"
    assert machine("restore", "note.app.2026-01-02-topic", "--out", str(out)).code == 0
    assert (out / path.name).read_text() == "# Topic\n"  # shorter is a person's wish, empty is an accident
    newest = machine.rig.session().checkpoint or ""
    assert (
        machine("restore", "note.app.2026-01-02-topic", "--at", newest, "--out", str(out), "--force").code
        == 0
    )
    assert (out / path.name).read_text() == ""


def test_an_ambiguous_name_is_not_guessed(machine: Machine) -> None:
    ours(machine.home, "2026-01-02-topic.md", "# T\n")
    ours(machine.home, "2026-01-03-topic.md", "# T\n")
    machine.settle()
    done = machine("restore", "note.app.2026-01-0")
    assert done.code == 2
    assert "note:note.app.2026-01-02-topic" in done.err
    assert "note:note.app.2026-01-03-topic" in done.err


def test_a_word_in_it_is_found(machine: Machine) -> None:
    ours(machine.home, "2026-01-02-topic.md", "# T\n\nthe blue kubernetes\n")
    ours(machine.home, "12.md", "# T\n\na green kubernetes\n")
    ours(
        machine.home, "abc.json", json.dumps({"messages": [{"role": "user", "content": "my own kubernetes"}]})
    )
    machine.settle()
    assert machine("search", "--rebuild").code == 0
    hits = machine("search", "kubernetes", "--json").json["hits"]
    assert {(hit["source"], hit["role"]) for hit in hits} == {
        ("note", "note"),
        ("context", "note"),
        ("messages", "user"),
    }
    assert all("kubernetes" in hit["snippet"] for hit in hits)
    (hit,) = machine("search", "kubernetes", "--role", "user", "--json").json["hits"]
    assert hit["session"] == "messages.app.abc"


# --- an issue's context file, from the issue


def said(gh: FakeGitHub, number: int, body: str, login: str = "ann") -> None:
    gh.advance(60)
    gh.add_comment("o/r", number, body, login=login)


@pytest.fixture
def discussed(make: Make, gh: FakeGitHub) -> Machine:
    """A machine whose context file of issue 1 is in that issue, among people's comments."""
    for login in ("me", "ann"):
        gh.set_role("o/r", login, "write")
    gh.freeze(time.time() - 7200)
    gh.add_issue("o/r", title="Slow answers", login="ann")
    gh.add_comment("o/r", 1, "said before", login="ann")
    gh.freeze(time.time())
    machine = make("one", gh=gh)
    ours(machine.home, "1.md", CONTEXT)
    machine.settle()
    machine.rig.capture.include_history(machine.rig.now)
    machine.push()
    return machine


CONTEXT = "# Slow answers\n\n**Status:** in_progress\n\n## Next Steps\n- measure\n"


def test_a_fresh_runner_gets_the_context_file_and_what_was_said_since(
    make: Make, gh: FakeGitHub, discussed: Machine
) -> None:
    said(gh, 1, "I measured it.\r\n\r\n## Decisions\r\n- Use Postgres\r\n<!-- sessiond comment=999999999 -->")
    said(gh, 1, "nothing but noise", login="stranger")
    said(gh, 1, "a robot's report", login="helper[bot]")
    runner = make("runner", gh=gh)
    done = runner("restore", "--for-issue", "1", "--yes", "--json")
    assert done.code == 0, done.err
    assert "1 comment is at its end: what was said on issue 1 since." in done.json["notes"]
    path = runner.home.project / ".claude" / "sessions" / "1.md"
    text = path.read_text()
    assert text.startswith(CONTEXT + "\n## ")
    assert "UTC, comment of ann\n" in text
    assert "\n> I measured it.\n>\n> ## Decisions\n> - Use Postgres\n" in text
    assert "said before" not in text
    assert "noise" not in text
    assert "robot" not in text
    runner.age()
    runner.rig.wait(300)
    # what others said is nobody's decision
    summary = runner.rig.session().summary
    assert (summary.critical.decisions, summary.critical.next_steps) == ([], ["measure"])
    # once more, and nothing is there twice
    again = runner("restore", "--for-issue", "1", "--yes", "--json")
    assert (again.code, again.json["changed"], path.read_text()) == (0, False, text)


@pytest.mark.parametrize("committed", [CONTEXT, CONTEXT[:-10], ""], ids=["same", "older", "empty"])
def test_a_checkout_that_has_just_written_the_committed_file_is_gone_on_with(
    make: Make, gh: FakeGitHub, discussed: Machine, committed: str
) -> None:
    said(gh, 1, "I measured it.")
    runner = make("runner", gh=gh)
    path = put(runner.home.project, ".claude/sessions/1.md", committed)
    done = runner("restore", "--for-issue", "1", "--yes")
    assert done.code == 0, done.err
    assert path.read_text().startswith(CONTEXT + "\n## ")
    assert "\n> I measured it.\n" in path.read_text()


def test_what_somebody_has_just_written_there_is_not_replaced(
    make: Make, gh: FakeGitHub, discussed: Machine
) -> None:
    said(gh, 1, "I measured it.")
    runner = make("runner", gh=gh)
    path = put(runner.home.project, ".claude/sessions/1.md", CONTEXT + "- mine\n")
    assert runner("restore", "--for-issue", "1", "--yes").code == 1
    assert path.read_text() == CONTEXT + "- mine\n"


@pytest.mark.parametrize("remote", ["https://git.example/team/app.git", ""])
def test_a_fresh_runner_gets_the_context_file_of_a_project_that_lies_elsewhere(
    make: Make, gh: FakeGitHub, remote: str
) -> None:
    gh.add_issue("o/r", title="Slow answers", login="me")
    laptop = make("one", gh=gh, remote=remote)
    ours(laptop.home, "1.md", CONTEXT)
    laptop.settle()
    laptop.rig.capture.include_history(laptop.rig.now)
    laptop.push()
    runner = make("runner", gh=gh, remote=remote)
    done = runner("restore", "--for-issue", "1", "--yes", "--json")
    assert done.code == 0, done.err
    assert (runner.home.project / ".claude" / "sessions" / "1.md").read_text() == CONTEXT
    # in another project's folder nothing is put, and it is said what to do
    other = make("two", gh=gh, remote=remote, project="work/site")
    done = other("restore", "--for-issue", "1", "--yes")
    assert done.code == 1
    assert "--cwd ." in done.err
    assert not (other.home.project / ".claude").exists()


def test_what_was_said_goes_on_where_the_last_runner_left_it(
    make: Make, gh: FakeGitHub, discussed: Machine
) -> None:
    said(gh, 1, "the first")
    one = make("two", gh=gh)
    assert one("restore", "--for-issue", "1", "--yes").code == 0
    path = one.home.project / ".claude" / "sessions" / "1.md"
    path.write_text(path.read_text() + "\n## Decisions\n- Take it\n")
    one.settle()
    one.rig.capture.include_history(one.rig.now)
    said(gh, 1, "the second, before the runner had sent its own")
    one.push()
    said(gh, 1, "the third")
    three = make("three", gh=gh)
    assert three("restore", "--for-issue", "1", "--yes").code == 0
    text = (three.home.project / ".claude" / "sessions" / "1.md").read_text()
    assert [text.count(word) for word in ("the first", "the second", "the third", "- Take it")] == [1] * 4
    assert text.index("- Take it") < text.index("the second") < text.index("the third")


def test_the_plain_restore_gives_the_bytes_alone(make: Make, gh: FakeGitHub, discussed: Machine) -> None:
    said(gh, 1, "more")
    runner = make("runner", gh=gh)
    assert runner("restore", "context.app.1", "--yes").code == 0
    assert (runner.home.project / ".claude" / "sessions" / "1.md").read_text() == CONTEXT


def test_the_session_about_the_issue_comes_with_the_context_file(
    make: Make, gh: FakeGitHub, discussed: Machine
) -> None:
    discussed.rig.now += 5000
    folder = discussed.home.structured("plan")
    put(folder, "context.json", '{"title": "Plan", "issue": 1}')
    discussed.settle()
    discussed.rig.capture.include_history(discussed.rig.now)
    discussed.push()
    said(gh, 1, "and this")
    runner = make("runner", gh=gh)
    done = runner("restore", "--for-issue", "1", "--yes", "--json")
    assert (done.code, done.json["source"]) == (0, "structured"), done.err
    assert any("context file is in" in note for note in done.json["notes"])
    sessions = runner.home.project / ".claude" / "sessions"
    assert (sessions / "plan" / "context.json").exists()
    assert "> and this" in (sessions / "1.md").read_text()

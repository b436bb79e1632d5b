"""`sessiond note`: begun from a template, checked, and told as one story, without a daemon."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sessionsync.errors import NoSuchNote, UsageError
from sessionsync.notes import naming
from sessionsync.notes.thread import Paper, thread, topics
from sessionsync.sources.note_reading import read
from tests.conftest import samples
from tests.machine import Machine

FOLDER = ".claude/sessions"


def today() -> str:
    """The day of now: a run of all tests may last beyond midnight."""
    return time.strftime("%Y-%m-%d")


def paper(name: str, text: str = "", **more: Any) -> Paper:
    return Paper(name, f"{FOLDER}/{name}", text.encode(), **more)


def put(machine: Machine, name: str, text: str) -> Path:
    path = machine.home.project / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# --- names


@pytest.mark.parametrize(
    ("topic", "slug"),
    [
        ("Add a cache", "add-a-cache"),
        ("  fix  /api/v2/login  ", "fix-api-v2-login"),
        ("https://x.example/V?a=b#c", "https-x-example-v-a-b-c"),
        ("Don't \"quote\" 'me'", "dont-quote-me"),
        ("Crème brûlée, Øre & Straße", "creme-brulee-øre-strasse"),
        ("漢字 カタカナ", "漢字-カタカナ"),
        ("../../etc/passwd", "etc-passwd"),
        (".hidden.tmp", "hidden-tmp"),
        ("a\nb\0c\x1b[31m", "a-b-c-31m"),
        ("🚀 ship it 🚀", "ship-it"),
        ("x" * 300, "x" * 80),
        ("字" * 100, "字" * 26),
        ("\ud800", ""),
        ("???", ""),
        ("", ""),
    ],
)
def test_a_topic_in_the_name_of_a_file(topic: str, slug: str) -> None:
    assert naming.slug(topic) == slug
    assert naming.slug(slug) == slug
    if slug:
        name = naming.file_name(date(2026, 1, 2), topic)
        assert naming.parse(name) == (date(2026, 1, 2), slug)
        assert len(name.encode()) < 120


@pytest.mark.parametrize(
    ("name", "day", "topic"),
    [
        ("2026-01-02-add-a-cache.tmp", date(2026, 1, 2), "add-a-cache"),
        ("2025-07-11-1135-voices https:.md", date(2025, 7, 11), "voices-https"),
        ("2026-01-02.md", date(2026, 1, 2), ""),
        ("2025-07-11-1135-voices https:/x.example/V.md", date(2025, 7, 11), "voices-https-x-example-v"),
        ("20260102-x.md", None, "20260102-x"),
        ("2026-13-02-x.md", None, "2026-13-02-x"),
        ("cache.md", None, "cache"),
    ],
)
def test_what_the_name_of_a_note_says(name: str, day: date | None, topic: str) -> None:
    assert naming.parse(name) == (day, topic)


# --- new


@pytest.mark.parametrize("kind", ["feature", "bug", "refactor"])
def test_a_new_note_is_clean_and_says_all_it_can(machine: Machine, kind: str) -> None:
    done = machine("note", "new", "Add a cache", "--kind", kind, "--json")
    assert done.code == 0
    path = machine.home.project / FOLDER / f"{today()}-add-a-cache.tmp"
    assert done.json == {"file": str(path), "kind": kind, "session": "", "previous": ""}
    note = read(path.read_bytes())
    assert (note.title, note.status) == ("Add a cache", "in_progress")
    assert note.time("created") == note.time("updated") != ""
    assert {*note.sections} == {
        *("metadata", "context", "known", "worked", "failed", "untried", "next"),
        *("decisions", "issues", "blockers", "continuity", "metrics"),
    }
    checked = machine("note", "lint", "--json")
    assert (checked.code, checked.json) == (0, {"problems": [], "files": 1})
    assert machine("note", "lint", str(path)).out == "1 note looked at: nothing is wrong.\n"


def test_the_kinds_ask_for_different_things(machine: Machine) -> None:
    for kind in ("feature", "bug", "refactor"):
        machine("note", "new", f"a {kind}", "--kind", kind)
    texts = {
        path.read_text().partition("## Context")[2] for path in (machine.home.project / FOLDER).iterdir()
    }
    assert len(texts) == 3
    assert machine("note", "new", "x", "--kind", "epic").code == 2


def test_it_is_linked_to_the_newest_active_session_of_the_project(machine: Machine) -> None:
    def active(session: str, cwd: str, age_s: float) -> None:
        agent = machine.agent(session=session, cwd=cwd)
        agent.prompt("hello")
        path = machine.home.transcript(session)
        path.write_bytes(agent.data)
        os.utime(path, (time.time() - age_s,) * 2)

    ids = [f"{number:08x}-58d7-4cf4-9f3f-6a6f5c9c1a11" for number in range(4)]
    here = str(machine.home.project)
    active(ids[0], here, 100)
    active(ids[1], f"{here}/src", 50)  # gone, and no other project's for all git knows
    active(ids[2], str(machine.home.folder), 10)  # newer, and of another project
    active(ids[3], here, 3600)
    done = machine("note", "new", "cache", "--json")
    assert done.json["session"] == f"claude:{ids[0]}"
    text = Path(done.json["file"]).read_text()
    assert f"- **Session:** claude:{ids[0]}\n" in text
    assert f"`claude --resume {ids[0]}`" in text
    assert machine("note", "lint").code == 0


def test_it_is_linked_to_the_topics_note_before(machine: Machine) -> None:
    for name in ("2026-01-01-add-a-cache.md", "2026-01-03-add-a-cache.tmp", "2026-01-05-other.tmp"):
        put(machine, name, "# T\n")
    done = machine("note", "new", "Add a Cache!", "--json")
    assert done.json["previous"] == "2026-01-03-add-a-cache.tmp"
    assert read(Path(done.json["file"]).read_bytes()).thread == "2026-01-03-add-a-cache.tmp"
    assert machine("note", "lint", done.json["file"]).code == 0


def test_nothing_is_written_over(machine: Machine) -> None:
    path = put(machine, f"{today()}-add-a-cache.tmp", "mine\n")
    done = machine("note", "new", "add a cache")
    assert (done.code, path.read_text()) == (1, "mine\n")
    said, hint = done.err.splitlines()
    assert said == f"sessiond: note_exists: There is a note of today about that: {path}"
    assert hint
    path.unlink()
    path.symlink_to(machine.home.folder / "elsewhere")
    assert machine("note", "new", "add a cache").code == 1
    assert not (machine.home.folder / "elsewhere").exists()


def test_what_cannot_be_a_note_is_said(machine: Machine) -> None:
    assert machine("note", "new", "???").code == 2
    assert machine("note", "new", "").code == 2
    assert machine("note", "new").code == 2
    (machine.home.project / ".claude").write_text("a file")
    done = machine("note", "new", "cache")
    assert (done.code, done.err.splitlines()[0].split(": ")[1]) == (1, "note_failed")
    (machine.home.project / ".claude").unlink()
    (machine.home.project / ".claude").symlink_to(machine.home.folder)
    done = machine("note", "new", "cache")
    assert (done.code, "link out of the project" in done.err) == (1, True)
    (machine.home.project / ".claude").unlink()
    (machine.home.project / ".claude").mkdir()
    (machine.home.project / ".claude" / "sessions").write_text("a file")
    done = machine("note", "new", "cache")
    assert (done.code, done.err.splitlines()[0].split(": ")[1]) == (1, "note_failed")
    (machine.home.project / ".claude" / "sessions").unlink()
    (machine.home.project / ".claude" / "sessions").symlink_to("sessions")
    done = machine("note", "new", "cache")
    assert (done.code, done.err.splitlines()[0].split(": ")[1]) == (1, "note_failed")


def test_it_lies_in_the_work_trees_root_whereever_one_stands(machine: Machine) -> None:
    below = machine.home.project / "src" / "deep"
    below.mkdir(parents=True)
    machine.here = below
    machine("note", "new", "cache")
    assert [path.name for path in (machine.home.project / FOLDER).iterdir()] == [f"{today()}-cache.tmp"]
    machine.here = machine.home.folder
    assert machine("note", "new", "other", "--project", str(below)).code == 0
    assert len(list((machine.home.project / FOLDER).iterdir())) == 2


def test_the_daemon_takes_it_as_a_session(machine: Machine) -> None:
    machine("note", "new", "Add a cache")
    machine.settle()
    session = machine.rig.session()
    assert session.name == f"note:note.app.{today()}-add-a-cache"
    assert (session.summary.title, session.summary.status) == ("Add a cache", "in_progress")
    assert len(session.summary.critical.next_steps) == 3


# --- lint


def test_lint_says_where_why_and_how(machine: Machine) -> None:
    path = put(
        machine,
        "2026-01-02-cache.md",
        "# Cache\n\n**Created:** 2026-01-02\n**Updated:** 2026-01-02\n**Status:** done\n\n"
        "## Failed Approaches\n- A pool in db/pool.py\n",
    )
    done = machine("note", "lint", str(path))
    assert done.code == 1
    assert done.out.splitlines()[:2] == [
        f"{path}:5: status-unknown: done is no status.",
        "  → Write completed.",
    ]
    assert done.out.splitlines()[-1] == "1 note looked at: 2 problems, 1 hint."
    found = machine("note", "lint", str(path), "--json").json["problems"]
    assert [(each["line"], each["rule"]) for each in found] == [
        (5, "status-unknown"),
        (8, "approach-time"),
        (8, "failed-why"),
    ]
    assert {*found[0]} >= {"file", "line", "rule", "message", "hint"}
    assert found[0]["file"] == str(path)


def test_lint_of_all_notes_of_a_project(machine: Machine) -> None:
    assert machine("note", "lint").code == 0
    assert "There are no notes" in machine("note", "lint").out
    put(machine, "2026-01-02-a.md", "# A\n")
    put(machine, "2026-01-02-b https:/x.example/b.md", "# B\n")
    put(machine, "12.md", "an issue's, no note\n")
    put(machine, "abc.json", '{"messages": []}')
    done = machine("note", "lint", "--json")
    assert (done.code, done.json["files"]) == (1, 2)
    assert {each["file"] for each in done.json["problems"]} == {
        f"{FOLDER}/2026-01-02-a.md",
        f"{FOLDER}/2026-01-02-b https:/x.example/b.md",
    }
    assert machine("note", "show", "b", "--json").json["topic"] == "b-https-x-example-b"


def test_hints_alone_are_no_failure(machine: Machine) -> None:
    machine("note", "new", "cache")
    path = machine.home.project / FOLDER / f"{today()}-cache.tmp"
    path.write_text(path.read_text().replace("## Failed", "- An index on the name\n\n## Failed"))
    done = machine("note", "lint")
    assert (done.code, done.out.splitlines()[-1]) == (0, "1 note looked at: nothing is wrong, 2 hints.")


def test_a_file_that_is_not_there(machine: Machine) -> None:
    assert machine("note", "lint", "nothing.md").code == 2
    assert machine("note", "lint", str(machine.home.project)).code == 2


# --- show


FIRST = """# Add a cache

**Created:** 2026-01-02
**Status:** completed

## What We've Tried (Successful)
- An index on the name
## What We've Tried (Failed)
- A bigger pool: the lock is held
## Next Steps
- [ ] forgotten
"""
SECOND = """# Add a cache, part two

**Created:** 2026-01-04
**Status:** in_progress
**Thread:** [before](2026-01-02-add-a-cache.tmp)
**Session:** claude:0b0e7d52-58d7-4cf4-9f3f-6a6f5c9c1a11

## Failed Approaches
- Keeping it in memory: two processes
## Technical Decisions
- SQLite
## Next Steps
- [x] measure
- [ ] keep answers
## Not Yet Attempted
- A daemon
"""


def test_a_topics_notes_as_one_story(machine: Machine) -> None:
    put(machine, "2026-01-02-add-a-cache.tmp", FIRST)
    put(machine, "2026-01-04-cache-again.md", SECOND)
    put(machine, "2026-01-01-other.md", "# Other\n")
    told = machine("note", "show", "add a cache", "--json").json
    assert [note["file"] for note in told["notes"]] == [
        f"{FOLDER}/2026-01-02-add-a-cache.tmp",
        f"{FOLDER}/2026-01-04-cache-again.md",
    ]
    assert (told["topic"], told["status"]) == ("cache-again", "in_progress")
    assert told["worked"] == ["An index on the name"]
    assert told["failed"] == ["A bigger pool: the lock is held", "Keeping it in memory: two processes"]
    assert told["decisions"] == ["SQLite"]
    assert told["open"] == ["keep answers", "A daemon"]
    assert told["other_topics"] == ["other"]
    assert told["notes"][1]["session"] == "claude:0b0e7d52-58d7-4cf4-9f3f-6a6f5c9c1a11"
    assert machine("note", "show", "--json").json == told  # the newest note's
    assert machine("note", "show", f"{FOLDER}/2026-01-02-add-a-cache.tmp", "--json").json == told
    text = machine("note", "show", "cache-again").out.splitlines()
    assert text[0] == "cache-again: 2 notes, in_progress"
    assert [line.strip() for line in text if "failed" in line] == [
        "failed    A bigger pool: the lock is held",
        "failed    Keeping it in memory: two processes",
    ]
    assert text[-5:] == ["Open", "  1. keep answers", "  2. A daemon", "", "Other topics: other"]


def test_a_note_that_was_swept_away_is_told_from_its_copy(machine: Machine) -> None:
    put(machine, "2026-01-02-add-a-cache.tmp", FIRST)
    put(machine, "2026-01-04-add-a-cache.md", SECOND)
    machine.settle()
    swept = machine.home.project / FOLDER / "2026-01-02-add-a-cache.tmp"
    swept.write_text(FIRST[:60])  # a hook shortens it, and then it goes
    machine.settle()
    swept.write_text(FIRST)
    machine.settle()
    swept.unlink()
    notes = machine("note", "show", "add-a-cache", "--json").json["notes"]
    assert [(note["title"], note["deleted"]) for note in notes] == [
        ("Add a cache", True),
        ("Add a cache, part two", False),
    ]
    assert "(deleted; this is the copy)" in machine("note", "show").out


def test_a_note_in_the_agents_own_folder_is_of_the_project_that_it_names(machine: Machine) -> None:
    folder = machine.home.agent / "session-data"
    folder.mkdir()
    for name, worktree in (("a", machine.home.project), ("b", machine.home.folder / "other")):
        text = f"# Session: 2026-01-02\n**Date:** 2026-01-02\n**Worktree:** {worktree}\n"
        (folder / f"2026-01-02-{name}2345678-session.tmp").write_text(text)
    assert machine("note", "show", "--json").json["topic"] == "a2345678-session"
    assert machine("note", "show", "b2345678-session").code == 4


def test_no_note_and_several(machine: Machine) -> None:
    done = machine("note", "show")
    assert (done.code, done.err.split(": ")[1]) == (4, "no_such_note")
    put(machine, "2026-01-02-red.md", "# R\n")
    put(machine, "2026-01-02-read.md", "# R\n")
    assert machine("note", "show", "blue").err.splitlines()[1] in {
        "There are: red, read",
        "There are: read, red",
    }
    done = machine("note", "show", "re")
    assert (done.code, "read, red" in done.err) == (2, True)
    assert machine("note", "show", "rea").code == 0


def test_a_thread_goes_by_file_topic_issue_and_address() -> None:
    notes = [
        paper("2026-01-01-a.md", "# A\n"),
        paper("2026-01-02-b.md", "# B\n**Thread:** 2026-01-01-a.md\n**Issue:** #12\n"),
        paper("2026-01-03-b.tmp", "# B\n"),
        paper("2026-01-04-c.md", "# C\n**Thread:** #12\n**Issue:** 12\n"),
        paper("2026-01-05-d.md", "# D\n**Thread:** https://forum.example/t/1\n"),
        paper("2026-01-06-e.md", "# E\n**Thread:** <https://forum.example/t/1>\n"),
        paper("2026-01-07-f.md", "# F\n**Thread:** none\n"),
    ]
    ways: Callable[[str], list[str]] = lambda topic: [note.paper.name[8:12] for note in thread(notes, topic)]  # noqa: E731
    assert ways("e") == ["05-d", "06-e"]
    assert ways("f") == ["07-f"]
    assert ways("b") == ways("c") == ["01-a", "02-b", "03-b", "04-c"]
    assert topics(notes) == ["f", "e", "d", "c", "b", "a"]


def test_a_thread_that_names_itself_ends() -> None:
    notes = [
        paper("2026-01-01-a.md", "# A\n**Thread:** 2026-01-02-b.md\n"),
        paper("2026-01-02-b.md", "# B\n**Thread:** 2026-01-01-a.md\n"),
    ]
    assert len(thread(notes)) == 2


def test_there_is_a_word_for_none() -> None:
    with pytest.raises(NoSuchNote):
        thread([])
    with pytest.raises(NoSuchNote):
        thread([paper("x.md")], "!!!")
    with pytest.raises(UsageError):
        thread([paper("2026-01-01-aa.md"), paper("2026-01-01-ab.md")], "a")


def test_every_real_note_is_told(shared: Path) -> None:
    files = samples(shared, "ecc-session-tmp", "markdown-session-note")
    notes = [Paper(file.name, str(file), file.read_bytes()) for file in files]
    told = [note.paper.name for name in (notes[0].name, notes[-1].name) for note in thread(notes, name)]
    assert {notes[0].name, notes[-1].name} <= {*told}

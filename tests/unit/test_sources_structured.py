"""Structured sessions: folders that people and scripts keep, half-made, broken or deleted half-way."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sessionsync.events import silent
from sessionsync.model import CheckpointEntry, Context, Found, Ref, Role, Summary
from sessionsync.sources import Source
from sessionsync.sources.places import Places
from sessionsync.sources.structured import Structured

Told = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    return folder


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def source(project: Path, told: Told) -> Structured:
    def emit(event: str, **fields: Any) -> None:
        told.append((event, fields))

    return Structured(Places(lambda: [project], emit), emit)


def put(folder: Path, name: str, content: Any = b"x") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def session(project: Path, name: str = "demo") -> Path:
    return project / ".claude" / "sessions" / name


def only(source: Structured) -> Found:
    (found,) = source.find()
    assert source.look(found.ref) == found
    return found


def conclude(source: Structured, summary: Summary | None = None) -> Summary:
    """Read the one session there is, as it is on disk."""
    found = only(source)
    paths = {file.name: file.path for file in found.files}
    summary = Summary() if summary is None else summary
    source.conclude(summary, found, lambda name: paths[name].read_bytes() if name in paths else None)
    return summary


def concluded(source: Structured, project: Path, **context: Any) -> Summary:
    put(session(project), "context.json", context)
    return conclude(source)


# --- where the files lie


def test_it_is_a_source(source: Structured) -> None:
    face: Source = source
    assert face.name == "structured"
    assert source.append_only("artifacts/log.jsonl")
    assert not source.append_only("context.json")
    assert source.follow(Summary(), "artifacts/log.jsonl", b"{}\n", 0) == []


def test_a_whole_session(project: Path, source: Structured) -> None:
    folder = session(project)
    put(folder, "context.json", b"{}")
    put(folder, "metrics.json", b"{}")
    put(folder, "checkpoints/one.json", b"{}")
    put(folder, "artifacts/deep/er/report.txt")
    put(folder, "notes.txt")
    put(folder, ".hidden")
    found = only(source)
    assert found.ref == Ref("structured", "demo", str(project))
    assert (found.root, found.location) == (project, folder)
    assert [file.name for file in found.files] == [
        "context.json",
        ".hidden",
        "artifacts/deep/er/report.txt",
        "checkpoints/one.json",
        "metrics.json",
        "notes.txt",
    ]
    assert [file.role for file in found.files] == [Role.MAIN] + [Role.PART] * 5
    assert found.size == 9
    assert source.roots() == [project / ".claude" / "sessions"]
    assert source.peek_cwd(found, 10) == str(project)
    for file in found.files:
        assert source.locate(file.path) == found.ref
    assert source.locate(folder) == found.ref


@pytest.mark.parametrize("name", ["context.json", "metrics.json", "checkpoints/x", "artifacts/x"])
def test_each_of_its_parts_makes_a_folder_a_session(project: Path, source: Structured, name: str) -> None:
    put(session(project), name, b"{}")
    assert [file.name for file in only(source).files] == [name]


def test_other_folders_and_files_are_none(project: Path, source: Structured) -> None:
    put(session(project, "notes"), "todo.md")
    put(session(project, "odd"), "checkpoints", b"a file")
    put(session(project, ".hidden"), "context.json", b"{}")
    (session(project, "empty") / "checkpoints").mkdir(parents=True)
    put(session(project).parent, "2026-01-01-note.md")
    put(session(project).parent, "api.json", b'{"messages": []}')
    put(session(project).parent, ".current-session")
    assert list(source.find()) == []
    for name in ("2026-01-01-note.md", "api.json", ".current-session", ".hidden/context.json", ""):
        assert source.locate(session(project).parent / name) is None
    assert source.locate(project / "src" / "main.py") is None


def test_two_projects_may_have_a_session_of_one_name(tmp_path: Path) -> None:
    projects = [tmp_path / "a", tmp_path / "b", tmp_path / "a", tmp_path / "gone"]
    for folder in projects[:2]:
        put(session(folder), "context.json", b"{}")
    source = Structured(Places(lambda: projects, silent), silent)
    found = list(source.find())
    assert [one.ref.scope for one in found] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert [source.look(one.ref) for one in found] == found
    assert source.locate(session(tmp_path / "b") / "context.json") == found[1].ref
    assert source.look(Ref("structured", "demo", str(tmp_path / "c"))) is None
    assert source.look(Ref("structured", "demo")) is None


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../demo", "demo/artifacts", "a\0b", "/etc", "\n", ".claude"]
)
def test_an_id_that_is_a_path_is_nobodys(project: Path, source: Structured, name: str) -> None:
    put(session(project), "context.json", b"{}")
    put(session(project), "artifacts/context.json", b"{}")
    put(project / ".claude", "context.json", b"{}")
    assert source.look(Ref("structured", name, str(project))) is None
    assert source.look(Ref("claude", "demo", str(project))) is None


def test_links_are_not_followed(project: Path, source: Structured, told: Told, tmp_path: Path) -> None:
    put(tmp_path / "secret", "context.json", b"{}")
    put(session(project), "context.json", b"{}")
    session(project, "linked").symlink_to(tmp_path / "secret")
    (session(project) / "artifacts").symlink_to(tmp_path / "secret")
    os.mkfifo(session(project) / "pipe")
    assert [file.name for file in only(source).files] == ["context.json"]
    assert source.look(Ref("structured", "linked", str(project))) is None
    assert ("file_skipped", "artifacts") in [(event, Path(fields["path"]).name) for event, fields in told]


def test_a_link_out_of_the_project_lends_it_no_sessions(
    project: Path, source: Structured, told: Told, tmp_path: Path
) -> None:
    put(tmp_path / "other" / "sessions" / "private", "context.json", b"{}")
    (project / ".claude").symlink_to(tmp_path / "other")
    for _ in range(2):
        assert list(source.find()) == []
    assert source.roots() == []
    assert [event for event, _ in told] == ["file_skipped"]


def test_a_link_that_takes_the_folders_place_later_is_no_way_out_either(
    project: Path, source: Structured, tmp_path: Path
) -> None:
    put(session(project), "context.json", b"{}")
    put(tmp_path / "other" / "sessions" / "demo", "context.json", b"{}")
    ref = only(source).ref
    (project / ".claude").rename(project / "was")
    (project / ".claude").symlink_to(tmp_path / "other")
    assert source.look(ref) is None
    assert list(source.find()) == []


def test_a_project_that_comes_later(tmp_path: Path) -> None:
    projects: list[Path] = []
    source = Structured(Places(lambda: projects, silent), silent)
    assert source.roots() == []
    path = put(session(tmp_path / "new"), "context.json", b"{}")
    assert source.locate(path) is None
    projects.append(tmp_path / "new")
    assert source.locate(path) == Ref("structured", "demo", str(tmp_path / "new"))
    assert only(source).location == path.parent


def test_projects_are_looked_for_once_for_all_who_ask_within_and_anew_after_that(tmp_path: Path) -> None:
    projects = [tmp_path / "old", tmp_path / "new"]
    places = Places(lambda: projects, silent)
    new, folder = projects[1], projects[1] / ".claude" / "sessions"
    with places.held():
        folder.mkdir(parents=True)
        assert folder in places.awaited()
        assert new not in places.survey()
        with ThreadPoolExecutor(1) as another:  # as of a person who asks for what has just come
            assert another.submit(places.survey).result() == {new: folder}
    assert folder not in places.awaited()
    assert places.survey() == {new: folder}


def test_links_in_a_circle_lead_nowhere(tmp_path: Path, project: Path) -> None:
    (project / ".claude").symlink_to(project / ".claude")
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    source = Structured(Places(lambda: [project, tmp_path / "one"], silent), silent)
    assert source.roots() == []
    assert list(source.find()) == []


def test_links_inside_the_project_and_to_it_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "real" / "state" / "sessions" / "demo", "context.json", b"{}")
    (tmp_path / "real" / ".claude").symlink_to("state")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    source = Structured(Places(lambda: [tmp_path / "link", tmp_path / "real"], silent), silent)
    found = only(source)
    assert found.location.relative_to(found.root) == Path(".claude/sessions/demo")
    assert source.roots() == [tmp_path / "real" / "state" / "sessions"]
    assert source.locate(tmp_path / "real" / "state" / "sessions" / "demo" / "context.json") == found.ref


def test_odd_names(project: Path, source: Structured, told: Told) -> None:
    put(session(project, "mit Leerzeichen: é 日本"), "artifacts/a\nb", b"")
    put(session(project, "line\nbreak"), "context.json", b"{}")
    Path(os.fsdecode(os.fsencode(session(project)) + b"\xff/checkpoints")).mkdir(parents=True)
    assert only(source).ref.session_id == "mit Leerzeichen: é 日本"
    assert [event for event, _ in told] == ["file_skipped"] * 2


def test_a_session_that_is_deleted_half_way(project: Path, source: Structured) -> None:
    put(session(project), "context.json", {"title": "It"})
    put(session(project), "artifacts/a")
    summary = conclude(source)
    (session(project) / "context.json").unlink()
    found = only(source)
    source.conclude(summary, found, lambda name: None)
    assert summary.title == "It"
    shutil.rmtree(session(project))
    assert source.look(found.ref) is None
    assert source.locate(session(project) / "context.json") == found.ref  # its deletion is its business
    assert list(source.find()) == []


# --- checkpoints as files


def test_the_files_that_are_checkpoints(project: Path, source: Structured) -> None:
    for n, name in enumerate(["b.json", "a.md", ".hidden.json", "c.tmp", "c.json.tmp", "deep/d.json"]):
        path = put(session(project), f"checkpoints/{name}", b"{}")
        os.utime(path, (1000 + n, 1000 + n))
    put(session(project), "artifacts/checkpoints/x.json", b"{}")
    assert [file.name for file in source.checkpoint_files(only(source))] == [
        "checkpoints/b.json",
        "checkpoints/a.md",
    ]


@pytest.mark.parametrize(
    ("name", "data", "complete"),
    [
        ("a.json", b"{}", True),
        ("a.json", b'{"a": ', False),
        ("a.json", b"", False),
        ("a.md", b"", True),
        ("a.json", b"NaN", True),
    ],
)
def test_a_complete_file(source: Structured, name: str, data: bytes, complete: bool) -> None:
    assert source.is_complete(name, data) is complete


def test_checkpoints_are_listed_by_time(project: Path, source: Structured) -> None:
    folder = session(project)
    put(
        folder,
        "checkpoints/two.json",
        {"id": "other", "timestamp": "2026-01-02T00:00:00+01:00", "trigger": "manual"},
    )
    put(folder, "checkpoints/one.json", {"at": 1767225600, "type": "auto"})
    put(folder, "checkpoints/three.json", {"created_at": 1767400000000})
    path = put(folder, "checkpoints/four.md")
    os.utime(path, (1767500000, 1767500000))
    put(folder, "checkpoints/bad.json", b'{"at": ')
    put(
        folder,
        "context.json",
        {
            "checkpoints": [
                {"id": "zero", "at": "2025-01-01"},
                {"id": "one", "at": "2020-01-01"},
                "x",
                {"id": "y"},
            ]
        },
    )
    summary = conclude(source)
    assert summary.critical.checkpoints == [
        CheckpointEntry("zero", "2025-01-01T00:00:00Z", "checkpoint"),
        CheckpointEntry("one", "2026-01-01T00:00:00Z", "auto"),
        CheckpointEntry("two", "2026-01-01T23:00:00Z", "manual"),
        CheckpointEntry("three", "2026-01-03T00:26:40Z", "checkpoint"),
        CheckpointEntry("four", "2026-01-04T04:13:20Z", "checkpoint"),
    ]
    assert summary.bad_lines == 1


def test_the_newest_fifty_checkpoints_stay_also_when_files_go(project: Path, source: Structured) -> None:
    for n in range(70):
        path = put(session(project), f"checkpoints/{n:03}.json", {"at": 1767225600 + n})
        os.utime(path, (1000 + n, 1000 + n))
    summary = conclude(source)
    assert [entry.id for entry in summary.critical.checkpoints] == [f"{n:03}" for n in range(20, 70)]
    for n in range(60):
        (session(project) / "checkpoints" / f"{n:03}.json").unlink()
    assert len(conclude(source, summary).critical.checkpoints) == 50


def test_the_newest_checkpoint_says_the_phase_if_nothing_else_does(project: Path, source: Structured) -> None:
    put(session(project), "checkpoints/one.json", {"summary": "Half of it works"})
    assert concluded(source, project, title="It").critical.current_phase == "Half of it works"


# --- what context.json says


def test_everything_a_context_may_say(project: Path, source: Structured) -> None:
    summary = concluded(
        source,
        project,
        title="Add a cache",
        status="in_progress",
        current_phase="testing",
        next_steps=["write tests", {"text": "measure"}],
        decisions=["Use SQLite", {"decision": "No expiry", "rationale": "it is small"}],
        issue=12,
        pr="https://github.com/o/n/pull/34",
        branch="topic",
        commit="abc123",
        repo="o/n",
        run_id=99,
        created_at="2026-01-02T03:04:05Z",
        updated_at="2026-01-03T03:04:05.5+00:00",
        unknown={"deep": [1]},
    )
    assert (summary.title, summary.status, summary.branch) == ("Add a cache", "in_progress", "topic")
    assert summary.critical.current_phase == "testing"
    assert summary.critical.next_steps == ["write tests", "measure"]
    assert summary.critical.decisions == ["Use SQLite", "No expiry — it is small"]
    assert summary.context == Context("o/n", "topic", "abc123", 12, 34, 99)
    assert (summary.started_at, summary.last_at) == ("2026-01-02T03:04:05Z", "2026-01-03T03:04:05Z")
    assert summary.cwd == str(project)
    assert summary.bad_lines == 0


@pytest.mark.parametrize(
    "context",
    [
        {"Current-Phase": "p", "nextSteps": ["n"], "Decisions": ["d"], "name": "t"},
        {"phase": {"name": "p"}, "todo": "n", "key_decisions": [{"title": "d"}], "goal": "t"},
        {"session": {"phase": "p", "todo": ["n"], "decisions": ["d"]}, "metadata": {"task": "t"}},
        {
            "phase": "p",
            "next_steps": [],
            "todos": [{"content": "n", "status": "pending"}],
            "decisions": ["", None, "d"],
            "title": " ",
            "task": "t",
        },
    ],
)
def test_the_same_said_in_other_words(project: Path, source: Structured, context: dict[str, Any]) -> None:
    summary = concluded(source, project, **context)
    critical = summary.critical
    assert (summary.title, critical.current_phase, critical.next_steps, critical.decisions) == (
        "t",
        "p",
        ["n"],
        ["d"],
    )


def test_steps_with_states(project: Path, source: Structured) -> None:
    steps = [
        {"content": "a", "status": "completed"},
        {"task": "b", "status": "in_progress"},
        {"task": "c", "done": True},
        {"task": "d", "done": False},
        "e",
    ]
    critical = concluded(source, project, todo=steps).critical
    assert (critical.current_phase, critical.next_steps) == ("b", ["d", "e"])


def test_decisions_by_name(project: Path, source: Structured) -> None:
    decisions = {"storage": "SQLite", "cache": {"decision": "none", "why": "small"}, "x": 5}
    assert concluded(source, project, decisions=decisions).critical.decisions == [
        "storage: SQLite",
        "cache: none — small",
        "x: 5",
    ]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7),
        ("7", 7),
        ("#7", 7),
        ("https://github.com/o/n/issues/7/", 7),
        ({"number": 7}, 7),
        (True, 0),
        (-7, 0),
        ("seven", 0),
        ("v1.7x", 0),
        (10**20, 0),
        (None, 0),
        ([7], 0),
    ],
)
def test_an_issue_however_it_is_written(project: Path, source: Structured, value: Any, number: int) -> None:
    assert concluded(source, project, issue=value).context.issue == number


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2026-01-02", "2026-01-02T00:00:00Z"),
        ("2026-01-02T03:04:05", "2026-01-02T03:04:05Z"),
        (1767225600.5, "2026-01-01T00:00:00Z"),
        (1767225600000, "2026-01-01T00:00:00Z"),
    ],
)
def test_a_time_however_it_is_written(project: Path, source: Structured, value: Any, time: str) -> None:
    assert concluded(source, project, updated_at=value, started=value).started_at == time
    assert conclude(source).last_at == time


@pytest.mark.parametrize("value", ["soon", 0, -5, True, [], 10**30, float("inf"), "9999-99-99", ""])
def test_a_time_that_is_none_gives_way_to_the_files(project: Path, source: Structured, value: Any) -> None:
    path = put(session(project), "context.json", {"updated_at": value})
    os.utime(path, (1767225600, 1767225600))
    assert conclude(source).last_at == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "context",
    [
        5,
        [],
        "text",
        None,
        True,
        {
            "decisions": 5,
            "next_steps": {"a": None},
            "phase": [],
            "status": {},
            "title": 1.5,
            "checkpoints": 7,
        },
    ],
)
def test_contexts_of_other_shapes(project: Path, source: Structured, context: Any) -> None:
    put(session(project), "context.json", context)
    summary = conclude(source)
    assert summary.bad_lines == 0
    assert summary.critical.decisions == []


@pytest.mark.parametrize("bad", [b"", b'{"title": "new', b"\0" * 50, b"\xff\xfe", b"[" * 9999])
def test_a_file_that_does_not_parse_changes_nothing(project: Path, source: Structured, bad: bytes) -> None:
    folder = session(project)
    put(folder, "metrics.json", {"score": 0.5})
    put(folder, "checkpoints/one.json", {"at": 1767225600})
    good = concluded(source, project, title="Good", decisions=["d"], next_steps=["n"])
    for name in ("context.json", "metrics.json", "checkpoints/one.json"):
        put(folder, name, bad)
    for _ in range(3):
        summary = conclude(source, msgspec.json.decode(msgspec.json.encode(good), type=Summary))
        assert summary.bad_lines == 3
        assert (summary.title, summary.critical, summary.quality) == ("Good", good.critical, {"score": 0.5})
    put(folder, "context.json", {"title": "Better"})
    summary = conclude(source, summary)
    assert (summary.title, summary.bad_lines) == ("Better", 2)


def test_a_file_that_was_not_captured_changes_nothing(project: Path, source: Structured) -> None:
    summary = concluded(source, project, title="Good")
    source.conclude(summary, only(source), lambda name: None)
    assert summary.title == "Good"


# --- quality


def test_the_numbers_of_metrics(project: Path, source: Structured) -> None:
    put(
        session(project),
        "metrics.json",
        b'{"score": 0.9, "tests": {"passed": 10, "rate": {"x": 1e3}}, "ok": true, "name": "x", "nan": NaN, "inf": 1e999, "list": [1], "none": null, "big": '
        + b"9" * 400
        + b"}",
    )
    assert conclude(source).quality == {"score": 0.9, "tests.passed": 10.0, "tests.rate.x": 1000.0}


def test_metrics_are_bounded(project: Path, source: Structured) -> None:
    deep: Any = 1
    for _ in range(50):
        deep = {"k": deep}
    put(session(project), "metrics.json", {"deep": deep, **{f"{n}" + "x" * 500: n for n in range(500)}})
    quality = conclude(source).quality
    assert len(quality) == 50
    assert all(len(key) <= 60 for key in quality)


def test_everything_is_bounded(project: Path, source: Structured) -> None:
    long = "word " * 2000
    summary = concluded(
        source,
        project,
        title=long,
        status=long,
        phase=long,
        branch=long,
        commit=long,
        decisions=[f"{n} {long}" for n in range(500)],
        next_steps=[f"{n} {long}" for n in range(500)],
        checkpoints=[{"id": f"{n} {long}", "at": n + 1, "trigger": long} for n in range(500)],
    )
    critical = summary.critical
    assert len(critical.decisions) == len(critical.next_steps) == len(critical.checkpoints) == 50
    assert critical.decisions[-1].startswith("499 ")
    assert len(msgspec.json.encode(summary)) < 70_000
    assert summary.scratch == {}

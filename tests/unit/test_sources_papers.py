"""Notes, context files and message stores: found by their places, and called after their projects."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sessionsync.events import silent
from sessionsync.model import Found, Ref, Role, Summary
from sessionsync.sources import Source
from sessionsync.sources.contexts import Contexts
from sessionsync.sources.messages import Messages
from sessionsync.sources.notes import Notes
from sessionsync.sources.papers import issue_of
from sessionsync.sources.passages import Passage
from sessionsync.sources.places import Places
from sessionsync.sources.structured import Structured

Told = list[tuple[str, dict[str, Any]]]
NESTED = "2025-07-11-1135-Add voices using the link https:/huggingface.co/hexgrad/VOICES.md.md"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    (folder / ".claude" / "sessions").mkdir(parents=True)
    return folder


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    folder = tmp_path / "agent"
    for name in ("session-data", "sessions"):
        (folder / name).mkdir(parents=True)
    return folder


@pytest.fixture
def told() -> Told:
    return []


@pytest.fixture
def sources(project: Path, agent: Path, told: Told) -> dict[str, Source]:
    def emit(event: str, **fields: Any) -> None:
        told.append((event, fields))

    places = Places(lambda: [project], emit)
    made: list[Source] = [
        Notes(places, emit, [agent]),
        Contexts(places, emit),
        Messages(places, emit),
    ]
    return {source.name: source for source in made}


def put(root: Path, name: str, data: bytes | str | Any = b"x") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = data if isinstance(data, bytes | str) else json.dumps(data)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def found(sources: dict[str, Source]) -> dict[str, set[str]]:
    return {name: {each.ref.session_id for each in source.find()} for name, source in sources.items()}


def conclude(source: Source, one: Found, summary: Summary | None = None) -> Summary:
    made = Summary() if summary is None else summary
    paths = {file.name: file.path for file in one.files}
    source.conclude(made, one, lambda name: paths[name].read_bytes())
    return made


# --- what is whose


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("2026-01-02-topic.tmp", "note"),
        ("2026-01-02-topic.md", "note"),
        ("README.md", "note"),
        ("2025-07-11-1135-clean-up around app.py.md", "note"),
        ("été — 日本.md", "note"),
        ("2026-01-02.md", "note"),
        ("issue-.md", "note"),
        ("myissue-12.md", "note"),
        ("issue-12.tmp", "note"),
        ("0.md", "note"),
        ("12.md", "context"),
        ("007.md", "context"),
        ("issue-12.md", "context"),
        ("2025-07-11-issue-12.md", "context"),
        ("Issue-12.md", "context"),
        ("abc.json", "messages"),
        ("a b.json", "messages"),
        (".current-session", None),
        ("compaction-log.txt", None),
        (".hidden.md", None),
        (".#topic.md", None),
        ("topic.md~", None),
        ("topic.md.tmp", None),
        ("abc.json.tmp", None),
        ("topic.md.swp", None),
        ("x.jsonl", None),
    ],
)
def test_a_name_says_whose_it_is(
    sources: dict[str, Source], project: Path, name: str, source: str | None
) -> None:
    path = put(project, f".claude/sessions/{name}", {"messages": []} if name.endswith(".json") else "text")
    there = {each: ids for each, ids in found(sources).items() if ids}
    located = {each: source_.locate(path) for each, source_ in sources.items()}
    if source is None:
        assert there == {}
        assert not any(located.values())
        return
    assert there == {source: {f".claude/sessions/{name}"}}
    ref = Ref(source, f".claude/sessions/{name}", str(project))
    assert {each: ref_ for each, ref_ in located.items() if ref_} == {source: ref}
    one = sources[source].look(ref)
    assert one is not None
    assert one == next(iter(sources[source].find()))
    assert (one.root, one.location, one.stem) == (project, path, Path(name).stem)
    assert [(file.name, file.role, file.path) for file in one.files] == [(name, Role.MAIN, path)]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("12.md", 12),
        ("a-issue-3.md", 3),
        ("issue-3-done.md", 0),
        ("1234567890.md", 0),
        ("².md", 0),
        ("12.tmp", 0),
    ],
)
def test_the_issue_of_a_context_file(name: str, number: int) -> None:
    assert issue_of(name) == number


def test_notes_in_the_agents_own_folders(sources: dict[str, Source], agent: Path, project: Path) -> None:
    put(agent, "session-data/2026-01-02-ab12cd34-session.tmp", f"# S\n**Worktree:** {project}\n")
    put(agent, "sessions/2026-01-01-x-session.tmp", "# S\n")
    put(agent, "sessions/4711.json", {"pid": 4711, "messages": []})  # a running session's
    put(agent, "session-data/topic.md", "no .tmp")
    put(agent, "session-data/deep/2026-01-02-x.tmp")
    one, two = sorted(sources["note"].find(), key=lambda each: each.ref.session_id)
    assert one.ref == Ref("note", "session-data/2026-01-02-ab12cd34-session.tmp", str(agent))
    assert (one.root, sources["note"].peek_cwd(one, 4096)) == (agent, str(project))
    assert sources["note"].peek_cwd(two, 4096) == ""
    assert sources["note"].locate(one.location) == one.ref
    assert found(sources)["messages"] == set()
    assert sources["note"].roots() == [agent / "session-data", agent / "sessions"]
    (agent / "sessions" / "2026-01-01-x-session.tmp").unlink()
    (agent / "sessions" / "4711.json").unlink()
    (agent / "sessions").rmdir()
    assert sources["note"].awaited() == [agent / "sessions"]


def test_a_home_folder_that_is_a_project_has_each_note_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    put(home, ".claude/sessions/2026-01-02-x.tmp")
    put(home, ".claude/sessions/topic.md")
    source = Notes(Places(lambda: [home], silent), silent, [home / ".claude"])
    refs = {each.ref for each in source.find()}
    assert refs == {
        Ref("note", "sessions/2026-01-02-x.tmp", str(home / ".claude")),
        Ref("note", ".claude/sessions/topic.md", str(home)),
    }
    for ref in refs:
        one = source.look(ref)
        assert one is not None
        assert source.locate(one.location) == ref


def test_a_title_with_slashes_in_it_is_a_note_in_folders(sources: dict[str, Source], project: Path) -> None:
    path = put(project, f".claude/sessions/{NESTED}", "# T\n")
    (one,) = sources["note"].find()
    assert one.ref.session_id == f".claude/sessions/{NESTED}"
    assert one.stem == NESTED.removesuffix(".md").replace("/", "-")
    assert (one.location, one.files[0].name) == (path, "VOICES.md.md")
    assert sources["note"].locate(path) == one.ref
    assert sources["note"].look(one.ref) == one


def test_a_structured_session_is_no_note_whatever_it_holds(sources: dict[str, Source], project: Path) -> None:
    for session in ("demo", "2026-01-02-demo"):
        put(project, f".claude/sessions/{session}/context.json", {})
        path = put(project, f".claude/sessions/{session}/artifacts/report.md")
        put(project, f".claude/sessions/{session}/12.md")
        put(project, f".claude/sessions/{session}/a.json", {"messages": []})
        assert [source.locate(path) for source in sources.values()] == [None] * 3
    put(project, ".claude/sessions/sub/notes.md")  # no title that began with a date
    assert not any(found(sources).values())
    structured = Structured(Places(lambda: [project], silent), silent)
    assert {each.ref.session_id for each in structured.find()} == {"demo", "2026-01-02-demo"}


def test_links_are_not_followed(
    sources: dict[str, Source], project: Path, told: Told, tmp_path: Path
) -> None:
    secret = put(tmp_path, "secret.md", "key")
    folder = project / ".claude" / "sessions"
    (folder / "link.md").symlink_to(secret)
    put(tmp_path, "elsewhere/2026-01-02-x/y.md")
    (folder / "2026-01-02-linked").symlink_to(tmp_path / "elsewhere" / "2026-01-02-x")
    assert not any(found(sources).values())
    assert ("file_skipped", {"path": str(folder / "link.md"), "reason": "it is a symbolic link"}) in told
    for id_ in (".claude/sessions/link.md", ".claude/sessions/2026-01-02-linked/y.md"):
        assert sources["note"].look(Ref("note", id_, str(project))) is None


@pytest.mark.parametrize(
    "id_",
    ["", "x.md", ".claude/sessions", ".claude/sessions/", ".claude/sessions/../sessions/x.md", ".claude/x.md",
     "/etc/x.md", ".claude/sessions/sub/x.md", "session-data/../sessions/x.tmp", ".claude/sessions/12.md", "a\0b/x.md"],
)  # fmt: skip
def test_an_id_that_is_none_is_nobodys(sources: dict[str, Source], project: Path, id_: str) -> None:
    for name in ("x.md", "12.md", "sub/x.md"):
        put(project, f".claude/sessions/{name}")
    assert sources["note"].look(Ref("note", id_, str(project))) is None
    assert sources["note"].look(Ref("context", ".claude/sessions/x.md", str(project))) is None


def test_names_that_no_record_can_hold_are_told_and_left_out(
    sources: dict[str, Source], project: Path, told: Told
) -> None:
    folder = project / ".claude" / "sessions"
    (folder / "a\nb.md").write_text("x")
    (Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.md"))).write_text("x")
    assert not any(found(sources).values())
    assert sum(event == "file_skipped" for event, _ in told) == 2


def test_only_so_many_files_are_looked_at(
    sources: dict[str, Source], project: Path, monkeypatch: pytest.MonkeyPatch, told: Told
) -> None:
    monkeypatch.setattr("sessionsync.sources.papers.FILES", 10)
    for number in range(20):
        put(project, f".claude/sessions/n{number}.md")
    assert len(found(sources)["note"]) == 10
    assert any(event == "file_skipped" for event, _ in told)


# --- context files


def test_a_context_file_is_of_its_issue_whatever_it_says(sources: dict[str, Source], project: Path) -> None:
    put(
        project,
        ".claude/sessions/12.md",
        "# T\n\n**Issue:** https://github.com/x/y/issues/99\n**Status:** blocked\n",
    )
    (one,) = sources["context"].find()
    made = conclude(sources["context"], one)
    assert (made.context.issue, made.context.repo, made.status) == (12, "", "blocked")
    assert made.cwd == str(project)


# --- message stores

CHAT = {
    "session_id": "abc",
    "title": "A chat",
    "status": "in_progress",
    "issue": 7,
    "decisions": ["Use it"],
    "next_steps": ["go on"],
    "messages": [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "please find the blue kubernetes", "timestamp": "2026-01-02T10:00:00Z"},
        {"role": "assistant", "content": [{"type": "text", "text": "here it is"}, {"type": "tool_use", "name": "grep", "input": {"pattern": "needle"}}], "timestamp": "2026-01-02T10:01:00Z"},
        {"role": "tool", "content": "found"},
        {"role": "wizard", "content": "abracadabra"},
        "a bare text",
        17,
        None,
        {"role": "user"},
    ],
}  # fmt: skip


def test_what_a_message_store_says(sources: dict[str, Source], project: Path) -> None:
    put(project, ".claude/sessions/abc.json", CHAT)
    (one,) = sources["messages"].find()
    made = conclude(sources["messages"], one)
    assert (made.title, made.status, made.context.issue) == ("A chat", "in_progress", 7)
    assert (made.prompts, made.turns, made.bad_lines) == (2, 1, 0)
    assert (made.started_at, made.last_at) == ("2026-01-02T10:00:00Z", "2026-01-02T10:01:00Z")
    assert (made.critical.decisions, made.critical.next_steps) == (["Use it"], ["go on"])


def test_without_a_title_it_is_its_first_prompt_or_its_name(
    sources: dict[str, Source], project: Path
) -> None:
    put(
        project,
        ".claude/sessions/abc.json",
        {"messages": [{"type": "human", "content": {"parts": ["Tell me\nmore"]}}]},
    )
    (one,) = sources["messages"].find()
    assert conclude(sources["messages"], one).title == "Tell me more"
    put(project, ".claude/sessions/abc.json", {"messages": []})
    (one,) = sources["messages"].find()
    assert conclude(sources["messages"], one).title == "abc"


def test_every_message_is_found_where_it_lies(sources: dict[str, Source]) -> None:
    source = sources["messages"]
    for data in (json.dumps(CHAT).encode(), json.dumps(CHAT, indent=2).encode()):
        passages = list(source.passages("abc.json", data, 0))
        assert [(p.role, p.text) for p in passages] == [
            ("note", "be kind"),
            ("user", "please find the blue kubernetes"),
            ("assistant", "here it is"),
            ("tool", "grep\nneedle"),
            ("tool", "found"),
            ("note", "abracadabra"),
            ("note", "a bare text"),
        ]
        for passage in passages:  # what the index keeps of it gives it back
            part = data[passage.offset : passage.offset + passage.length]
            assert passage in list(source.passages("abc.json", part, passage.offset))


@pytest.mark.parametrize(
    "data",
    [
        b'{"messages": [{"role": "user", "content": "half wri',
        b'{"id": 1, "messages": [',
        b'\xef\xbb\xbf{"messages": [{"role": "user", "content": "b\xf6se"}]}',
        b'{"messages": [{"role": "user", "content": "caf\xe9"}]',
    ],
)
def test_a_store_that_is_being_written_is_one(sources: dict[str, Source], project: Path, data: bytes) -> None:
    put(project, ".claude/sessions/abc.json", data)
    (one,) = sources["messages"].find()
    made = conclude(sources["messages"], one)
    assert made.title
    list(sources["messages"].passages("abc.json", data, 0))


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"messages": 1}', b'{"messages": {}}', b'{"a": {"messages": []}}', b"\0\1\2", b'{"a": "\\"messages\\": ["',
     b'[{"messages": []}]', b"[" * 100_000, b'{"a":' * 100_000],
)  # fmt: skip
def test_other_json_is_no_store(sources: dict[str, Source], project: Path, data: bytes) -> None:
    put(project, ".claude/sessions/abc.json", data)
    assert found(sources)["messages"] == set()


def test_a_store_stays_one_while_it_is_rewritten_in_place(sources: dict[str, Source], project: Path) -> None:
    path = put(project, ".claude/sessions/abc.json", CHAT)
    source = sources["messages"]
    (one,) = source.find()
    summary = conclude(source, one)
    for torn in (b"", b'{"mess'):
        path.write_bytes(torn)
        os.utime(path, ns=(1, len(torn)))
        (one,) = source.find()
        torn_summary = conclude(source, one, summary)
        assert (torn_summary.title, torn_summary.prompts) == ("A chat", 2)
        assert torn_summary.bad_lines == 1
    path.unlink()
    assert list(source.find()) == []


def test_a_large_store_is_one_by_its_beginning(sources: dict[str, Source], project: Path) -> None:
    put(project, ".claude/sessions/abc.json", {"messages": [{"role": "user", "content": "x" * 5_000_000}]})
    (one,) = sources["messages"].find()
    summary = Summary()
    sources["messages"].conclude(summary, one, lambda _: None)  # too large to be read at once
    assert summary.title == "abc"


def test_what_changed_says_the_stamp(sources: dict[str, Source], project: Path) -> None:
    put(project, ".claude/sessions/a.md", "# T\n**Status:** blocked\n**Updated:** 1\n")
    put(project, ".claude/sessions/b.json", {"messages": [], "status": "done", "updated_at": "2026-01-02"})
    (note,), (store,) = sources["note"].find(), sources["messages"].find()
    stamps: dict[str, Callable[[], str]] = {
        "note": lambda: sources["note"].stamp(conclude(sources["note"], note)),
        "messages": lambda: sources["messages"].stamp(conclude(sources["messages"], store)),
    }
    before = {name: stamp() for name, stamp in stamps.items()}
    assert before == {"note": "blocked\n1", "messages": "done\n2026-01-02"}
    put(project, ".claude/sessions/a.md", "# Another title\n**Status:** blocked\n**Updated:** 1\n")
    assert stamps["note"]() == before["note"]
    assert sources["note"].stamp(Summary()) == ""


def test_passages_of_a_note_are_its_text(sources: dict[str, Source]) -> None:
    assert list(sources["note"].passages("a.md", b"# T\nwords\n", 0)) == [
        Passage("note", "", 0, 10, "# T\nwords\n")
    ]
    assert list(sources["context"].passages("1.md", b"\0\1", 0)) == []

"""Claude Code's transcripts: where they lie, what belongs to them, and what is read out of them."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sessionsync.model import Found, Ref, Role, Summary
from sessionsync.sources import Source
from sessionsync.sources.claude import Claude
from tests.fakes.agent import SESSION, Agent

OTHER = "7c1f0a44-91b7-4a64-8a0c-0d6f5b7a2b22"
MAIN = f"{SESSION}.jsonl"


@pytest.fixture
def root(home: Path) -> Path:
    folder = home / ".claude"
    (folder / "projects" / "-home-me-app").mkdir(parents=True)
    return folder


@pytest.fixture
def told() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def claude(root: Path, told: list[tuple[str, dict[str, Any]]]) -> Claude:
    return Claude([root], lambda event, **fields: told.append((event, fields)))


def put(path: Path, data: bytes = b"{}\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def looked_at(claude: Claude, root: Path) -> Found:
    """The session as it is when it alone is looked at, which is what a fresh start would find."""
    found = claude.look(Ref("claude", SESSION))
    assert found is not None
    assert [found] == list(Claude([root], lambda event, **fields: None).find())
    return found


def only(claude: Claude) -> Found:
    """The one session there is, which must look the same when it is looked at alone."""
    (found,) = claude.find()
    assert claude.look(found.ref) == found
    return found


def names(found: Found, *roles: Role) -> list[str]:
    return [file.name for file in found.files if file.role in (roles or tuple(Role))]


def read(data: bytes, name: str = MAIN) -> Summary:
    summary = Summary()
    Claude([], lambda event, **fields: None).follow(summary, name, data, 0)
    return summary


def written(*steps: Callable[[Agent], object], modern: bool = True) -> Summary:
    agent = Agent(modern=modern)
    for step in steps:
        step(agent)
    return read(agent.data)


# --- where the files lie


def test_it_is_a_source(claude: Claude) -> None:
    source: Source = claude
    assert source.name == "claude"


def test_nothing_is_there(home: Path) -> None:
    claude = Claude([home / "nowhere"], lambda event, **fields: None)
    assert claude.roots() == []
    assert list(claude.find()) == []
    assert claude.look(Ref("claude", SESSION)) is None


def test_a_session_with_everything_around_it(root: Path, claude: Claude) -> None:
    folder = root / "projects" / "-home-me-app"
    put(folder / MAIN, b"{}\n" * 10)
    put(folder / SESSION / "subagents" / "agent-1.jsonl")
    put(folder / SESSION / "subagents" / "agent-1.meta.json")
    put(folder / SESSION / "subagents" / "workflows" / "run-1" / "journal.jsonl")
    put(folder / SESSION / "tool-results" / "b7.txt")
    put(folder / "agent-77.jsonl", b'{"a":1,"sessionId":"%s"}\n' % SESSION.encode())
    put(folder / "agent-78.jsonl", b'{"sessionId":"%s"}\n' % OTHER.encode())
    put(folder / "memory" / "MEMORY.md")
    put(folder / "sessions-index.json")
    put(root / "todos" / f"{SESSION}-agent-{SESSION}.json", b"[]")
    put(root / "tasks" / SESSION / "1.json")
    put(root / "file-history" / SESSION / "ab@v1")
    put(root / "file-history" / OTHER / "ab@v1")
    found = claude.look(Ref("claude", SESSION))
    assert found in list(claude.find())
    assert found is not None
    assert found.location == folder / MAIN
    assert found.root == root
    assert names(found, Role.MAIN) == [MAIN]
    assert names(found, Role.PART) == [
        f"{SESSION}/subagents/agent-1.jsonl",
        f"{SESSION}/subagents/agent-1.meta.json",
        f"{SESSION}/subagents/workflows/run-1/journal.jsonl",
        "agent-77.jsonl",
    ]
    assert names(found, Role.COMPANION) == [
        f"{SESSION}/tool-results/b7.txt",
        f"file-history/{SESSION}/ab@v1",
        f"tasks/{SESSION}/1.json",
        f"todos/{SESSION}-agent-{SESSION}.json",
    ]
    assert found.files[0].role is Role.MAIN
    assert found.size == 30 + 3 * 3 + len(b'{"a":1,"sessionId":"%s"}\n' % SESSION.encode())
    for file in found.files:
        assert file.path.stat().st_size == file.size
        assert claude.locate(file.path) == found.ref


def test_subagents_survive_their_session(root: Path, claude: Claude) -> None:
    put(root / "projects" / "p" / SESSION / "subagents" / "agent-1.jsonl")
    found = only(claude)
    assert found.location == root / "projects" / "p" / MAIN
    assert not found.location.exists()
    assert names(found) == [f"{SESSION}/subagents/agent-1.jsonl"]


def test_a_subagent_of_the_old_layout_survives_alone(root: Path, claude: Claude) -> None:
    agent = put(root / "projects" / "p" / "agent-5.jsonl", b'{"sessionId":"%s"}\n' % SESSION.encode())
    assert claude.locate(agent) == Ref("claude", SESSION)
    found = claude.look(Ref("claude", SESSION))
    assert found is not None
    assert found == only(claude)


def test_what_lies_beside_in_another_root_than_the_session_is_found_as_it_is_looked_at(
    home: Path, root: Path
) -> None:
    """Else each rescan would find it changed."""
    other = home / "other"
    put(other / "projects" / "-home-me-app" / MAIN)
    put(root / "todos" / f"{SESSION}-agent-{SESSION}.json", b"[]")
    put(root / "tasks" / SESSION / "1.json")
    for roots in ([root, other], [other, root]):
        found = only(Claude(roots, lambda event, **fields: None))
        assert names(found) == [
            MAIN,
            f"tasks/{SESSION}/1.json",
            f"todos/{SESSION}-agent-{SESSION}.json",
        ]


def test_todos_that_are_a_link_are_told_and_left_alone(
    root: Path, claude: Claude, told: list[tuple[str, dict[str, Any]]]
) -> None:
    put(root / "projects" / "-home-me-app" / MAIN)
    todo = root / "todos" / f"{SESSION}-agent-{SESSION}.json"
    todo.parent.mkdir()
    todo.symlink_to("/etc/hostname")
    assert names(only(claude)) == [MAIN]
    assert [(event, fields["path"]) for event, fields in told] == [("file_skipped", str(todo))]


def test_an_empty_folder_or_old_todos_are_no_session(root: Path, claude: Claude) -> None:
    (root / "projects" / "p" / SESSION / "subagents").mkdir(parents=True)
    put(root / "todos" / f"{SESSION}-agent-{SESSION}.json")
    assert list(claude.find()) == []
    assert claude.look(Ref("claude", SESSION)) is None


def test_a_session_that_was_continued_in_another_folder(root: Path, claude: Claude) -> None:
    old = put(root / "projects" / "old" / MAIN, b"{}\n")
    new = put(root / "projects" / "new" / MAIN, b"{}\n{}\n")
    put(root / "projects" / "old" / SESSION / "subagents" / "agent-1.jsonl")
    os.utime(old, (1000, 1000))
    found = only(claude)
    assert found.location == new
    assert names(found, Role.MAIN) == [MAIN]
    assert names(found, Role.COMPANION) == [f"projects/old/{MAIN}"]
    assert names(found, Role.PART) == [f"projects/old/{SESSION}/subagents/agent-1.jsonl"]
    os.utime(new, (500, 500))
    found = only(claude)
    assert found.location == old
    assert names(found, Role.COMPANION) == [f"projects/new/{MAIN}"]


def test_a_copy_below_a_second_root_is_not_lost(home: Path) -> None:
    roots = [home / "a", home / "b", home / "link"]
    (home / "link").symlink_to(home / "a")
    for n, folder in enumerate(roots[:2]):
        path = put(folder / "projects" / "p" / MAIN, b"{}\n" * (n + 1))
        os.utime(path, (1000 + n, 1000 + n))
        put(folder / "projects" / "q" / MAIN)
        os.utime(folder / "projects" / "q" / MAIN, (10, 10))
    found = only(Claude(roots, lambda event, **fields: None))
    assert found.root == home / "b"
    assert names(found) == [MAIN, f"projects/p/{MAIN}", f"projects/q/{MAIN}", f"projects/q/{MAIN}~"]


def test_a_session_that_moves_is_found_where_it_is(root: Path, claude: Claude) -> None:
    old = put(root / "projects" / "old" / MAIN)
    assert only(claude).location == old
    new = root / "projects" / "new" / MAIN
    new.parent.mkdir()
    old.rename(new)
    assert claude.locate(new) == Ref("claude", SESSION)
    assert looked_at(claude, root).location == new
    new.unlink()
    assert claude.look(Ref("claude", SESSION)) is None
    assert list(claude.find()) == []


def test_a_session_is_looked_at_before_anything_was_listed(root: Path) -> None:
    put(root / "projects" / "p" / MAIN)
    put(root / "projects" / "p" / "agent-1.jsonl", b'{"sessionId":"%s"}\n' % SESSION.encode())
    put(root / "todos" / f"{SESSION}.json")
    claude = Claude([root], lambda event, **fields: None)
    found = claude.look(Ref("claude", SESSION))
    assert found is not None
    assert names(found) == [MAIN, "agent-1.jsonl", f"todos/{SESSION}.json"]


def test_what_comes_later_is_seen_after_its_hint(root: Path, claude: Claude) -> None:
    put(root / "projects" / "p" / MAIN)
    assert names(only(claude)) == [MAIN]
    todo = put(root / "todos" / f"{SESSION}-agent-x.json")
    agent = put(root / "projects" / "q" / "agent-1.jsonl", b'{"sessionId":"%s"}\n' % SESSION.encode())
    for path in (todo, agent):
        assert claude.locate(path) == Ref("claude", SESSION)
    assert len(looked_at(claude, root).files) == 3


def test_a_subagents_first_line_may_come_late_and_be_long(root: Path, claude: Claude) -> None:
    put(root / "projects" / "p" / MAIN)
    agent = put(root / "projects" / "p" / "agent-1.jsonl", b"")
    assert claude.locate(agent) is None
    agent.write_bytes(b'{"parentUuid":null,"sess')
    assert claude.locate(agent) is None
    words = json.dumps({"say": f'"sessionId":"{OTHER}"'}).encode()
    agent.write_bytes(b'{"message":%s,"sessionId":"%s","x":"%s"}\n' % (words, SESSION.encode(), b"y" * 10**6))
    assert claude.locate(agent) == Ref("claude", SESSION)
    assert len(looked_at(claude, root).files) == 2
    agent.unlink()
    assert claude.locate(agent) == Ref("claude", SESSION)  # where it was
    assert len(only(claude).files) == 1


@pytest.mark.parametrize(
    "session",
    [
        "../../../etc",
        "..",
        "",
        "x",
        f"{SESSION}/..",
        f"{SESSION}\n",
        f"{SESSION}\0",
        SESSION[:-1],
        f"x{SESSION}",
        "*" * 36,
    ],
)
def test_an_id_that_is_a_path_is_nobodys(root: Path, claude: Claude, session: str) -> None:
    put(root / "projects" / "p" / MAIN)
    assert claude.look(Ref("claude", session)) is None
    assert claude.look(Ref("structured", SESSION)) is None


@pytest.mark.parametrize(
    "path",
    [
        "projects",
        "projects/p",
        "projects/p/notes.jsonl",
        "projects/p/agent-9.jsonl",
        f"projects/p/{MAIN}.tmp",
        "projects/p/memory/MEMORY.md",
        f"projects/p/sub/{MAIN}",
        "settings.json",
        "todos/x.json",
        "tasks/x/1.json",
        f"tasks/{SESSION}-2/1.json",
        "debug/latest",
    ],
)
def test_other_paths_are_nobodys(root: Path, claude: Claude, path: str) -> None:
    assert claude.locate(root / path) is None
    assert claude.locate(Path("/") / path) is None


def test_links_pipes_and_odd_names_are_not_sessions(
    root: Path, claude: Claude, told: list[tuple[str, dict[str, Any]]], tmp_path: Path
) -> None:
    folder = root / "projects" / "p"
    main = put(folder / MAIN)
    outside = put(tmp_path / "outside" / f"{OTHER}.jsonl")
    (folder / f"{OTHER}.jsonl").symlink_to(outside)
    (root / "projects" / "linked").symlink_to(outside.parent)
    (root / "projects" / "again").symlink_to(folder)
    (folder / SESSION).mkdir()
    (folder / SESSION / "secrets").symlink_to("/etc")
    (folder / SESSION / "passwd").symlink_to("/etc/passwd")
    os.mkfifo(folder / SESSION / "pipe")
    os.mkfifo(folder / "agent-1.jsonl")
    (folder / "agent-2.jsonl").symlink_to(main)
    (folder / "99999999-0000-0000-0000-000000000000.jsonl").mkdir()
    for _ in range(3):
        assert names(only(claude)) == [MAIN]
    linked = str(root / "projects" / "linked")
    assert set(claude.passed_over) == {str(folder / f"{OTHER}.jsonl"), linked}
    (folder / f"{OTHER}.jsonl").unlink()
    assert list(claude.passed_over) == [linked], "what is gone is not said"
    skipped = sorted(Path(fields["path"]).name for event, fields in told if event == "file_skipped")
    assert skipped == sorted([f"{OTHER}.jsonl", "linked", "secrets", "passwd", "agent-2.jsonl"])


def test_links_in_a_circle_lead_nowhere(home: Path) -> None:
    (home / ".claude").symlink_to(home / ".claude")
    (home / "other").mkdir()
    (home / "other" / "projects").symlink_to(home / "other" / "projects")
    claude = Claude([home / ".claude", home / "other"], lambda event, **fields: None)
    assert claude.roots() == []
    assert list(claude.find()) == []
    assert claude.look(Ref("claude", SESSION)) is None


def test_a_linked_root_and_linked_folders_in_it_are_followed(home: Path, tmp_path: Path) -> None:
    real = tmp_path / "disk"
    put(real / "transcripts" / "p" / MAIN)
    (real / "claude").mkdir()
    (real / "claude" / "projects").symlink_to(real / "transcripts")
    (home / ".claude").symlink_to(real / "claude")
    claude = Claude([home / ".claude", real / "claude"], lambda event, **fields: None)
    assert claude.roots() == [real / "transcripts"]
    found = only(claude)
    assert found.location.relative_to(found.root) == Path("projects") / "p" / MAIN
    assert claude.locate(real / "transcripts" / "p" / MAIN) == found.ref
    assert claude.locate(found.location) == found.ref


def test_a_name_that_is_no_utf8_still_has_a_name(root: Path, claude: Claude) -> None:
    folder = root / "projects" / "p" / SESSION / "tool-results"
    folder.mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.txt")).write_bytes(b"x")
    assert names(only(claude)) == [f"{SESSION}/tool-results/bad\\xff.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_told_once(
    root: Path, claude: Claude, told: list[tuple[str, dict[str, Any]]]
) -> None:
    put(root / "projects" / "p" / MAIN)
    closed = root / "projects" / "closed"
    closed.mkdir(mode=0)
    for _ in range(3):
        assert names(only(claude)) == [MAIN]
    closed.chmod(0o700)
    assert [event for event, _ in told] == ["source_unreadable"]


def test_files_that_vanish_while_they_are_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root / "projects" / "p" / MAIN)
    gone = put(root / "projects" / "p" / f"{OTHER}.jsonl")
    put(root / "projects" / "q" / SESSION / "subagents" / "agent-1.jsonl")
    claude = Claude([root], lambda event, **fields: None)
    scandir = os.scandir

    def scandir_then_lose(path: Path | str) -> Any:
        entries = scandir(path)
        if str(path).endswith("projects/p"):
            gone.unlink()
        if str(path).endswith("subagents"):
            entries.close()
            raise FileNotFoundError
        return entries

    monkeypatch.setattr(os, "scandir", scandir_then_lose)
    (found,) = claude.find()
    assert names(found) == [MAIN]


def test_two_thousand_sessions_are_listed_in_no_time(root: Path, claude: Claude) -> None:
    for number in range(2000):
        put(root / "projects" / f"p{number % 100}" / f"{number:08x}-0000-4000-8000-000000000000.jsonl")
    list(claude.find())
    used = time.process_time()
    assert len(list(claude.find())) == 2000
    assert time.process_time() - used < 0.3  # 0.03 s on an idle machine


def test_the_folder_it_was_started_in(root: Path, claude: Claude) -> None:
    agent = Agent(cwd="/home/me/wörk app")
    agent.label("mode", mode="normal")
    agent.prompt("go")
    put(root / "projects" / "-whatever" / MAIN, agent.data)
    found = only(claude)
    assert claude.peek_cwd(found, 10**6) == "/home/me/wörk app"
    assert claude.peek_cwd(found, 200) == ""  # the line is not whole
    put(root / "projects" / "-whatever" / MAIN, b'{"type":"mode"}\n')
    assert claude.peek_cwd(only(claude), 10**6) == ""
    put(root / "projects" / "-whatever" / SESSION / "subagents" / "agent-1.jsonl", agent.data)
    assert claude.peek_cwd(only(claude), 10**6) == "/home/me/wörk app"
    put(root / "projects" / "-whatever" / MAIN, b'{"cwd":"/last/line"}')
    assert claude.peek_cwd(only(claude), 10**6) == "/last/line"


def test_what_grows_by_lines_and_what_is_whole(claude: Claude) -> None:
    assert claude.append_only(MAIN)
    assert not claude.append_only(f"todos/{SESSION}.json")
    assert claude.is_complete("x.txt", b"\0")
    assert claude.is_complete("x.json", b"{}")
    assert not claude.is_complete("x.json", b"{")


# --- what is read out of the lines: people and times


def test_a_small_session() -> None:
    summary = written(lambda a: a.turn("Please add a licence file"), lambda a: a.turn("yes"))
    assert summary.title == "Please add a licence file"
    assert (summary.prompts, summary.turns, summary.bad_lines) == (2, 2, 0)
    assert (summary.cwd, summary.branch, summary.agent_version) == ("/home/me/app", "main", "2.1.217")
    assert summary.context.branch == "main"
    assert (summary.started_at, summary.last_at) == ("2026-03-01T09:00:03Z", "2026-03-01T09:00:36Z")
    assert [(entry.id, entry.at, entry.trigger) for entry in summary.critical.checkpoints] == [
        ("20260301T090015Z", "2026-03-01T09:00:15Z", "turn"),
        ("20260301T090033Z", "2026-03-01T09:00:33Z", "turn"),
    ]
    assert summary.critical.current_phase == "Please add a licence file"  # "yes" says nothing


def test_the_first_cwd_stays_and_the_newest_branch_counts() -> None:
    summary = written(
        lambda a: a.prompt("one", cwd="/first", gitBranch="main", version="1"),
        lambda a: a.prompt("two", cwd="/second", gitBranch="topic", version="2"),
        lambda a: a.prompt("three", cwd=None, gitBranch=None),
        lambda a: a.prompt("a subagent", gitBranch="other", isSidechain=True, version="3"),
        lambda a: a.label("mode", mode="normal"),
    )
    assert (summary.cwd, summary.branch, summary.agent_version) == ("/first", "topic", "3")
    assert written(lambda a: a.prompt("one"), lambda a: a.prompt("two", gitBranch="")).branch == ""


@pytest.mark.parametrize(
    "text",
    [
        "<command-name>/exit</command-name>\n            <command-message>exit</command-message>\n <command-args></command-args>",
        "<local-command-stdout>Bye!</local-command-stdout>",
        "<local-command-stderr>no\nsuch</local-command-stderr>",
        "<local-command-caveat>Caveat: do not respond</local-command-caveat>",
        "Caveat: The messages below were generated by the user while running local commands.",
        "<bash-input>ls</bash-input>",
        "<bash-stdout>a</bash-stdout><bash-stderr></bash-stderr>",
        "<system-reminder>\nToday is a day.\n</system-reminder>",
        "<task-notification>\n<task-id>a</task-id>\n</task-notification>",
        '<teammate-message teammate_id="x">hello</teammate-message>',
        "[Request interrupted by user]",
        "[Request interrupted by user for tool use]",
        "",
        [{"type": "text", "text": "<system-reminder>a</system-reminder>"}],
        [{"type": "text", "text": ""}],
        [],
        None,
        7,
        {"text": "x"},
    ],
)
def test_what_programs_write_is_no_prompt_and_no_title(text: Any) -> None:
    summary = written(lambda a: a.prompt(text))
    assert (summary.prompts, summary.title, summary.critical.current_phase) == (0, "", "")


@pytest.mark.parametrize(
    "fields",
    [
        {"isMeta": True},
        {"isSidechain": True},
        {"isCompactSummary": True},
        {"toolUseResult": "x"},
        {"promptSource": "system"},
        {"origin": {"kind": "task-notification"}},
    ],
)
def test_lines_that_no_person_wrote(fields: dict[str, Any]) -> None:
    summary = written(lambda a: a.prompt("Do something wonderful", **fields))
    assert (summary.prompts, summary.title) == (0, "")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("<ide_opened_file>The user opened x</ide_opened_file>\nFix the build", "Fix the build"),
        ("Fix the build<system-reminder>be nice</system-reminder>", "Fix the build"),
        ([{"type": "image"}, {"type": "text", "text": "What is this?"}], "What is this?"),
        ([{"type": "text", "text": "one"}, "two"], "one"),
        ("<div>centre this</div>", "<div>centre this</div>"),
        ("\n\n  First line\nsecond", "First line"),
        ("a\x1b[31mb\x07\u202ec\u2066", "a [31mb c"),
        ("x" * 300, "x" * 119 + "…"),
        ("<command-message>review</command-message>\n<command-name>/review</command-name>", "/review"),
        (
            "<command-message>plan is running…</command-message>\n<command-name>plan</command-name>\n<command-args>the cache</command-args>",
            "/plan the cache",
        ),
        ("Implement the following plan:\n\n# Cache the index\n\n## Context", "Cache the index"),
        ([{"type": "image", "source": {}}], ""),
    ],
)
def test_a_prompt_and_the_title_it_gives(text: Any, title: str) -> None:
    summary = written(lambda a: a.prompt(text))
    assert (summary.prompts, summary.title) == (1, title)


def test_a_plain_prompt_is_a_better_title_than_a_command() -> None:
    summary = written(
        lambda a: a.prompt("<command-message>init</command-message>\n<command-name>/init</command-name>"),
        lambda a: a.prompt("Now add tests"),
    )
    assert summary.title == "Now add tests"


def test_titles_by_rank_and_the_last_of_a_kind() -> None:
    agent = Agent()
    titles = []

    def add(kind: str = "", **fields: Any) -> None:
        if kind:
            agent.label(kind, **fields)
        titles.append(read(agent.data).title)

    add("summary", summary="Another session's", leafUuid=agent.identifier())
    add("last-prompt", lastPrompt="latest words", leafUuid="x")
    agent.turn("The first prompt")
    add()
    add("summary", summary="Of another leaf", leafUuid=agent.identifier())
    add("summary", summary="Its own summary", leafUuid=agent.rows[-2]["uuid"])
    add("ai-title", aiTitle="By the agent")
    add("custom-title", customTitle="By the user")
    add("custom-title", customTitle="By the user, again")
    add("ai-title", aiTitle="By the agent, later")
    add("custom-title", customTitle="")
    assert titles == [
        "",
        "latest words",
        "The first prompt",
        "The first prompt",
        "Its own summary",
        "By the agent",
        "By the user",
        "By the user, again",
        "By the user, again",
        "By the agent, later",
    ]


def test_a_summary_counts_only_for_a_leaf_of_this_session() -> None:
    agent = Agent()
    agent.turn("The first prompt")
    agent.label("summary", summary="Its own summary", leafUuid=agent.rows[-1]["uuid"])
    assert read(agent.data).title == "Its own summary"


def test_a_message_typed_while_the_agent_works_counts() -> None:
    summary = written(
        lambda a: a.prompt("Start the work"),
        lambda a: a.use("Bash", {}),
        lambda a: a.attach(
            "queued_command", prompt="And mind the tests", commandMode="prompt", origin={"kind": "human"}
        ),
        lambda a: a.attach("queued_command", prompt=[{"type": "text", "text": "and the docs, please"}]),
        lambda a: a.attach(
            "queued_command",
            prompt="<task-notification>x</task-notification>",
            commandMode="task-notification",
        ),
        lambda a: a.attach("queued_command", prompt="machine", origin={"kind": "task-notification"}),
        lambda a: a.attach("queued_command"),
        lambda a: a.say("Done."),
    )
    assert (summary.prompts, summary.turns) == (3, 1)
    assert summary.critical.current_phase == "and the docs, please"


def test_a_pull_request_link() -> None:
    summary = written(
        lambda a: a.prompt("x"),
        lambda a: a.label(
            "pr-link", prNumber=754, prUrl="https://github.com/o/n/pull/754", prRepository="o/n"
        ),
        lambda a: a.label("pr-link", prNumber=-1),
        lambda a: a.label("pr-link", prNumber="abc"),
    )
    assert (summary.context.repo, summary.context.pr, summary.context.branch) == ("o/n", 754, "main")


def test_times_that_are_none_or_of_another_form() -> None:
    def started(*times: object) -> tuple[str, str]:
        summary = written(*(lambda a, t=t: a.prompt("x", timestamp=t) for t in times))
        return summary.started_at, summary.last_at

    assert started("2026-01-02T03:04:05.678Z", "2026-01-02T05:04:05+01:00") == (
        "2026-01-02T03:04:05Z",
        "2026-01-02T04:04:05Z",
    )
    assert started("nonsense", None, 17, "", "9999-99-99T99:99:99.999Z") == ("", "")
    assert started("2026-W01-1T03:04:05.678Z") == ("2025-12-29T03:04:05Z",) * 2
    assert started("2026-01-03T00:00:00.000Z", "2026-01-02T00:00:00.000Z") == (
        "2026-01-02T00:00:00Z",
        "2026-01-03T00:00:00Z",
    )


# --- turns


@pytest.mark.parametrize("modern", [True, False])
def test_turns_in_newer_and_older_versions(modern: bool) -> None:
    agent = Agent(modern=modern)
    agent.prompt("one, please, at once")
    assert read(agent.data).turns == 0
    agent.use("Bash", {}, text="I look first.")
    assert read(agent.data).turns == 0
    agent.say("Done.")
    assert read(agent.data).turns == 1
    agent.chain("system", subtype="stop_hook_summary", hookCount=1)
    agent.chain("system", subtype="turn_duration", durationMs=5)
    assert read(agent.data).turns == 1
    agent.prompt("two")
    agent.say("Done.")
    summary = read(agent.data)
    assert summary.turns == 2
    assert len(summary.critical.checkpoints) == 2


def test_a_text_that_a_tool_call_follows_was_no_end() -> None:
    agent = Agent(modern=False)
    agent.prompt("go")
    agent.assistant({"type": "text", "text": "I look."})
    assert read(agent.data).turns == 1
    agent.assistant({"type": "tool_use", "id": "t", "name": "Bash", "input": {}})
    summary = read(agent.data)
    assert (summary.turns, summary.critical.checkpoints) == (0, [])


def test_an_interrupted_answer_is_no_turn() -> None:
    summary = written(
        lambda a: a.prompt("go"),
        lambda a: a.assistant({"type": "text", "text": "I be"}),
        lambda a: a.prompt("[Request interrupted by user]"),
        modern=False,
    )
    assert (summary.prompts, summary.turns) == (1, 0)


def test_what_a_machine_says_next_confirms_the_end() -> None:
    summary = written(
        lambda a: a.prompt("go"),
        lambda a: a.say("I wait for the others."),
        lambda a: a.prompt("<task-notification>\nx</task-notification>\nFull transcript: /x"),
        lambda a: a.say("They are done."),
        modern=False,
    )
    assert (summary.prompts, summary.turns) == (1, 2)


def test_a_turn_without_text_ends_where_the_hook_says_so() -> None:
    summary = written(
        lambda a: a.chain("system", subtype="stop_hook_summary"),
        lambda a: a.prompt("go"),
        lambda a: a.chain("system", subtype="stop_hook_summary"),
        lambda a: a.prompt("go"),
        lambda a: a.assistant({"type": "thinking", "thinking": "…"}),
        lambda a: a.chain("system", subtype="stop_hook_summary"),
        modern=False,
    )
    assert summary.turns == 1


def test_answers_of_the_program_itself_are_no_turns() -> None:
    summary = written(
        lambda a: a.prompt("go"),
        lambda a: a.say("API Error: 529", isApiErrorMessage=True),
        lambda a: a.chain(
            "assistant",
            message={
                "model": "<synthetic>",
                "content": [{"type": "text", "text": "No response requested."}],
                "stop_reason": "stop_sequence",
            },
        ),
    )
    assert summary.turns == 0


def test_work_of_subagents_in_the_main_file_is_not_the_sessions() -> None:
    summary = written(
        lambda a: a.prompt("go and find out"),
        lambda a: a.prompt("You are a subagent", isSidechain=True),
        lambda a: a.say("**Decision:** nothing", isSidechain=True),
        lambda a: a.call(
            "TodoWrite", {"todos": [{"content": "theirs", "status": "in_progress"}]}, isSidechain=True
        ),
    )
    assert (summary.prompts, summary.turns, summary.critical.decisions) == (1, 0, [])
    assert summary.critical.current_phase == "go and find out"


def test_compactions_are_marks_behind_their_line() -> None:
    agent = Agent()
    agent.turn("go")
    agent.compact()
    end = len(agent.data)
    agent.turn("go on")
    agent.chain("system", subtype="microcompact_boundary")
    summary = Summary()
    marks = Claude([], lambda event, **fields: None).follow(summary, MAIN, agent.data, 1000)
    assert [(mark.offset, mark.trigger) for mark in marks] == [(1000 + end, "compaction")]
    assert [entry.trigger for entry in summary.critical.checkpoints] == ["turn", "compaction", "turn"]


def test_two_compactions_on_one_line_and_one_in_escaped_letters_are_marks_as_well(claude: Claude) -> None:
    agent = Agent()
    agent.compact()
    agent.compact()
    agent.lines[0] = agent.lines[0].rstrip(b"\n")
    agent.compact()
    agent.lines[2] = agent.lines[2].replace(b"compact_boundary", rb"compact\u005fboundary")
    marks = claude.follow(Summary(), MAIN, agent.data, 7)
    line = len(agent.data) - len(agent.lines[2])
    assert [mark.offset for mark in marks] == [7 + line, 7 + line, 7 + len(agent.data)]


@pytest.mark.parametrize("at_once", [True, False])
def test_an_end_that_is_taken_back_costs_a_full_list_no_entry(claude: Claude, at_once: bool) -> None:
    agent = Agent(modern=False)
    for number in range(60):
        agent.turn(f"Question number {number}")
    agent.prompt("One more, please")
    agent.assistant({"type": "text", "text": "I look."})
    middle = len(agent.data)
    agent.use("Bash", {"command": "make"})
    summary = Summary()
    for begin, end in [(0, len(agent.data))] if at_once else [(0, middle), (middle, len(agent.data))]:
        claude.follow(summary, MAIN, agent.data[begin:end], begin)
    assert (summary.turns, len(summary.critical.checkpoints)) == (60, 50)


def test_two_checkpoints_in_one_second_have_two_ids() -> None:
    at = "2026-03-01T09:00:00.100Z"
    summary = written(
        lambda a: a.prompt("go", timestamp=at),
        lambda a: a.assistant({"type": "text", "text": "x"}, stop="end_turn", timestamp=at),
        lambda a: a.chain("system", subtype="compact_boundary", timestamp=at),
    )
    assert [entry.id for entry in summary.critical.checkpoints] == ["20260301T090000Z", "20260301T090000Z-2"]


# --- lines that come again


def test_lines_written_again_are_counted_once() -> None:
    agent = Agent()
    for n in range(4):
        agent.turn(f"This is prompt number {n}")
    agent.use("TodoWrite", {"todos": [{"content": "old", "status": "in_progress"}]})
    agent.compact("Summary:\n8. Current Work:\n   Testing.\n")
    todos = {"todos": [{"content": "new", "status": "in_progress"}]}
    agent.prompt("Go on with the next thing")
    agent.use("TodoWrite", todos)
    once = read(agent.data)
    replay = agent.lines[:-3]
    agent.lines += replay
    again = read(agent.data)
    assert (again.prompts, again.turns) == (once.prompts, once.turns)
    assert again.critical == once.critical
    agent.say("Done now.")
    after = read(agent.data)
    assert (after.prompts, after.turns) == (once.prompts, once.turns + 1)
    agent.turn("And another one, please")
    assert read(agent.data).prompts == once.prompts + 1


def test_an_old_compaction_written_again_says_nothing_new() -> None:
    agent = Agent()
    agent.turn("Do it, please")
    agent.compact("8. Current Work:\n   Old work.\n")
    agent.compact("8. Current Work:\n   New work.\n")
    agent.lines += agent.lines[-4:-2]
    assert read(agent.data).critical.current_phase == "New work."


@pytest.mark.parametrize("modern", [True, False])
def test_the_last_turn_written_again(modern: bool) -> None:
    agent = Agent(modern=modern)
    agent.turn("Do it, please", tools=2)
    once = read(agent.data)
    lines = list(agent.lines)
    for again in (lines, lines[1:], lines[3:], lines[-1:]):
        agent.lines = lines + again + again
        assert (read(agent.data).prompts, read(agent.data).turns) == (once.prompts, once.turns)


# --- damaged files


def test_a_glued_line_loses_nothing() -> None:
    agent = Agent()
    agent.turn("first of two")
    whole = read(agent.data)
    agent.lines[1] = agent.lines[1].rstrip(b"\n")
    assert read(agent.data) == whole
    agent.lines[-1] = agent.lines[-1].rstrip(b"\n")
    assert read(agent.data) == whole


def test_bad_lines_are_counted_and_the_others_read() -> None:
    agent = Agent()
    agent.turn("Do it, please")
    whole = read(agent.data)
    agent.lines[1:1] = [b"nonsense\n", b"\0\0\0\n", b"[1]\n", b'{"type":"us\n', b"\n", b"  \n", b"\xff\xfe\n"]
    summary = read(agent.data)
    assert summary.bad_lines == 5
    summary.bad_lines = 0
    assert summary == whole


def test_unknown_types_and_shapes_pass() -> None:
    agent = Agent()
    agent.turn("Do it, please")
    whole = read(agent.data)
    for row in (
        {"type": "hologram", "cwd": 5, "message": "x", "attachment": []},
        {"type": "user"},
        {"type": "user", "message": 5},
        {"type": "assistant"},
        {"type": "assistant", "message": {"content": 7}},
        {"type": "assistant", "message": {"content": [1]}},
        {"type": "attachment"},
        {"type": "attachment", "attachment": "x"},
        {"type": "system"},
        {"type": None},
        {"type": ["user"]},
        {},
    ):
        agent.write(row)
    assert read(agent.data) == whole


def test_a_line_of_twelve_megabytes() -> None:
    image = {"type": "image", "source": {"type": "base64", "data": "A" * 12_000_000}}
    summary = written(
        lambda a: a.prompt([image, {"type": "text", "text": "What is in this picture?"}]),
        lambda a: a.say("A cat."),
    )
    assert (summary.title, summary.prompts, summary.turns) == ("What is in this picture?", 1, 1)


def test_a_file_of_several_sessions_and_versions_is_one() -> None:
    summary = written(
        lambda a: a.turn("From the first one"),
        lambda a: a.prompt(
            "Forked here", sessionId=OTHER, forkedFrom={"sessionId": SESSION}, version="2.2.0"
        ),
        lambda a: a.say("Yes.", sessionId=OTHER, version="2.2.0"),
    )
    assert (summary.prompts, summary.turns, summary.agent_version) == (2, 2, "2.2.0")


def test_only_main_files_and_subagents_are_read(claude: Claude) -> None:
    agent = Agent()
    agent.turn("Do it, please")
    for name in (f"projects/x/{MAIN}", f"{SESSION}/tool-results/a.jsonl", f"file-history/{SESSION}/a.jsonl"):
        assert read(agent.data, name) == Summary()
    for name in (
        f"{SESSION}/subagents/agent-1.jsonl",
        "agent-1.jsonl",
        f"{SESSION}/subagents/workflows/r/journal.jsonl",
    ):
        summary = read(agent.data + b"bad\n", name)
        assert (summary.prompts, summary.turns, summary.title, summary.bad_lines) == (0, 0, "", 1)
        assert (summary.cwd, summary.last_at) == ("/home/me/app", "2026-03-01T09:00:18Z")


def test_a_subagents_folder_does_not_hide_the_sessions(claude: Claude) -> None:
    summary = Summary()
    main, part = Agent(cwd="/main"), Agent(cwd="/part")
    main.prompt("x")
    part.prompt("y")
    claude.follow(summary, MAIN, main.data, 0)
    claude.follow(summary, "agent-1.jsonl", part.data, 0)
    assert summary.cwd == "/main"


# --- what is being done, and what is next


def todos(*states: str) -> dict[str, Any]:
    return {
        "todos": [
            {"content": f"step {n}", "status": state, "activeForm": "…"} for n, state in enumerate(states)
        ]
    }


def test_a_todo_list_says_phase_and_next_steps() -> None:
    agent = Agent()
    agent.prompt("Do all of these things")
    agent.use("TodoWrite", todos("completed", "in_progress", "pending", "pending"))
    critical = read(agent.data).critical
    assert (critical.current_phase, critical.next_steps) == ("step 1", ["step 2", "step 3"])
    agent.use("TodoWrite", todos("completed", "completed", "completed"))
    critical = read(agent.data).critical
    assert (critical.current_phase, critical.next_steps) == ("Do all of these things", [])


def test_a_prompt_brings_the_state_of_the_list() -> None:
    summary = written(
        lambda a: a.prompt(
            "Go on, please, go on", todos=todos("completed", "in_progress", "pending")["todos"]
        )
    )
    assert (summary.critical.current_phase, summary.critical.next_steps) == ("step 1", ["step 2"])


@pytest.mark.parametrize(
    "arguments",
    [{}, {"todos": "x"}, {"todos": [1, None, {"status": "pending"}, {"content": 5}]}, {"todos": {"a": 1}}],
)
def test_todo_lists_of_other_shapes(arguments: dict[str, Any]) -> None:
    summary = written(lambda a: a.prompt("Do all of it now"), lambda a: a.use("TodoWrite", arguments))
    assert summary.critical.next_steps == []


def test_tasks_by_number() -> None:
    agent = Agent()
    agent.prompt("Do all of it now")
    for number, subject in (("1", "Read"), ("2", "Write"), ("3", "Test")):
        agent.use(
            "TaskCreate",
            {"subject": subject, "description": "…"},
            {"task": {"id": number, "subject": subject}},
        )
    assert read(agent.data).critical.next_steps == ["Read", "Write", "Test"]
    agent.use("TaskUpdate", {"taskId": "1", "status": "completed"})
    agent.use("TaskUpdate", {"taskId": "2", "status": "in_progress"})
    agent.use("TaskUpdate", {"taskId": "3", "subject": "Test well"})
    agent.use("TaskUpdate", {"taskId": "9", "status": "in_progress"})
    critical = read(agent.data).critical
    assert (critical.current_phase, critical.next_steps) == ("Write", ["Test well"])
    agent.use("TaskUpdate", {"taskId": "2", "status": "deleted"})
    agent.result(
        agent.call("TaskCreate", {"subject": "Only said"}), "Task #4 created successfully: Only said", "text"
    )
    agent.result(agent.call("TaskCreate", {"subject": "Refused"}), "no", "Error", error=True)
    assert read(agent.data).critical.next_steps == ["Test well", "Only said"]
    agent.attach("task_reminder", content=[], itemCount=0)
    assert read(agent.data).critical.next_steps == ["Test well", "Only said"]
    agent.attach(
        "task_reminder", content=[{"id": "7", "subject": "All that is left", "status": "pending"}, 5]
    )
    assert read(agent.data).critical.next_steps == ["All that is left"]


def test_the_agents_own_files_say_it_newer(root: Path, claude: Claude) -> None:
    agent = Agent()
    agent.prompt("Do all of it now")
    agent.use("TaskCreate", {"subject": "Old"}, {"task": {"id": "1"}})
    put(root / "projects" / "p" / MAIN, agent.data)
    states = ("completed", "in_progress", *["pending"] * 10)
    for number, state in enumerate(states, 1):
        task = {"id": str(number), "subject": f"task {number}", "status": state}
        put(root / "tasks" / SESSION / f"{number}.json", json.dumps(task).encode())
    put(root / "tasks" / SESSION / ".lock", b"")
    put(root / "tasks" / SESSION / "13.json", b'{"id": "13", "su')
    found, summary = only(claude), read(agent.data)
    files = {file.name: file.path for file in found.files}
    claude.conclude(summary, found, lambda name: files[name].read_bytes())
    assert summary.critical.current_phase == "task 2"
    assert summary.critical.next_steps == [f"task {n}" for n in range(3, 13)]
    claude.conclude(summary, found, lambda name: None)
    assert summary.critical.current_phase == "task 2"
    for n in range(1, 14):
        (root / "tasks" / SESSION / f"{n}.json").unlink()
    claude.conclude(summary, only(claude), lambda name: files[name].read_bytes())
    assert summary.critical.current_phase == "task 2"


def test_a_todo_file_counts_where_the_lines_have_no_list(root: Path, claude: Claude) -> None:
    put(root / "projects" / "p" / SESSION / "subagents" / "agent-1.jsonl")
    put(
        root / "todos" / f"{SESSION}-agent-{SESSION}.json", json.dumps(todos("in_progress")["todos"]).encode()
    )
    summary, found = Summary(), only(claude)
    claude.conclude(
        summary, found, lambda name: b"{" if name.startswith("x") else found.files[-1].path.read_bytes()
    )
    assert summary.critical.current_phase == "step 0"


COMPACTED = """This session is being continued from a previous conversation that ran out of context.

Analysis:
1. **Current Work:** not this one.
7. Pending Tasks:
   - nor this

Summary:
1. Primary Request and Intent:
   The user wants a cache.

6. All user messages:
   - "please"

7. Pending Tasks:
   - Write the **tests**
     for the cache
   - [x] Read the code
   - None explicitly pending

8. Current Work:
   I was changing `cache.py`, where a key was read twice:

   ```python
   # 8. Current Work:
   - not a task
   ```

9. Optional Next Step:
   Run the tests and look at the result.

10. Key Decisions:
   - Keys are hashed with SHA-256
   - Nothing expires

If you need specific details from before compaction, read the full transcript.
"""


@pytest.mark.parametrize("bold", [False, True])
def test_a_compaction_says_phase_next_steps_and_decisions(bold: bool) -> None:
    text = COMPACTED
    if bold:
        for title in ("Pending Tasks", "Current Work", "Optional Next Step", "Key Decisions"):
            text = text.replace(f" {title}:\n", f" **{title}:**\n")
    agent = Agent()
    agent.turn("Add a cache, please")
    agent.compact(text)
    summary = read(agent.data)
    assert (summary.prompts, summary.title) == (1, "Add a cache, please")
    assert summary.critical.current_phase == "I was changing `cache.py`, where a key was read twice:"
    assert summary.critical.next_steps == [
        "Write the tests for the cache",
        "Run the tests and look at the result.",
    ]
    assert summary.critical.decisions == ["Keys are hashed with SHA-256", "Nothing expires"]
    agent.say("I go on and finish.")
    assert read(agent.data).critical.next_steps != []
    agent.prompt("Now something else entirely")
    critical = read(agent.data).critical
    assert (critical.current_phase, critical.next_steps) == ("Now something else entirely", [])


def test_an_approved_plan_is_a_decision_with_steps() -> None:
    plan = "# Plan: Cache the index\n\n## Context\nx\n\n## 1. Add a table\n\n```\n## 9. no\n```\n### 2. Fill it\n## 3. Read it\n"
    agent = Agent()
    agent.prompt("Plan a cache for the index")
    call = agent.call("ExitPlanMode", {"plan": plan})
    assert read(agent.data).critical.current_phase == "Plan: Cache the index"
    assert read(agent.data).critical.decisions == []
    agent.result(call, "User has approved your plan.", {"plan": plan, "isAgent": False})
    critical = read(agent.data).critical
    assert critical.decisions == ["Plan approved: Cache the index"]
    assert critical.next_steps == ["Add a table", "Fill it", "Read it"]


def test_a_refused_plan_is_none() -> None:
    agent = Agent()
    agent.prompt("Plan a cache for the index")
    agent.result(
        agent.call("ExitPlanMode", {"plan": "# No"}),
        "The user doesn't want to proceed",
        "Error: no",
        error=True,
    )
    assert read(agent.data).critical.decisions == []


def test_a_plan_handed_to_a_new_session() -> None:
    plan = "# Cache the index\n\n## Steps\n1. Add a table\n2. Fill it\n"
    summary = written(lambda a: a.prompt(f"Implement the following plan:\n\n{plan}", planContent=plan))
    assert summary.title == "Cache the index"
    assert summary.critical.decisions == ["Plan approved: Cache the index"]
    assert summary.critical.current_phase == "Plan: Cache the index"
    assert summary.critical.next_steps == ["Add a table", "Fill it"]


def test_calls_that_were_never_answered_are_in_nobodys_way() -> None:
    agent = Agent()
    for _ in range(40):
        agent.prompt("Add a cache, please")
        agent.call("AskUserQuestion", {})
    agent.use("AskUserQuestion", {}, {"answers": {"Where?": "Here"}})
    assert read(agent.data).critical.decisions == ["Where? → Here"]


def test_answers_to_the_agents_questions_are_decisions() -> None:
    agent = Agent()
    agent.prompt("Add a cache, please")
    call = agent.call("AskUserQuestion", {"questions": []})
    answers = {
        "Where?": "In memory (Recommended)",
        "Which\nkeys?": ["a", "b"],
        "Long?": "x" * 900,
        "Empty?": "",
    }
    agent.result(call, "…", {"questions": [], "answers": answers})
    agent.result(
        agent.call("AskUserQuestion", {}), 'User has answered: "Why?"="Because", "When?"="Now".', "text"
    )
    agent.result(agent.call("AskUserQuestion", {}), "rejected", "Error", error=True)
    agent.result("toolu_unknown", "…", {"answers": {"Nobody asked?": "no"}})
    assert read(agent.data).critical.decisions == [
        "Where? → In memory",
        "Which keys? → a, b",
        f"Long? → {'x' * 239}…",
        "Why? → Because",
        "When? → Now",
    ]


@pytest.mark.parametrize(
    ("text", "decisions"),
    [
        ("**Decision:** use SQLite", ["use SQLite"]),
        ("DECISION: use SQLite", ["use SQLite"]),
        ("## KEY DECISIONS\n\n- one table", ["one table"]),
        ("I looked.\n\nDecision: use **SQLite** for it.\n\nDone.", ["use SQLite for it."]),
        ("- **Decision 2**: keep it", ["keep it"]),
        ("Decided: one table", ["one table"]),
        ("## Decision: one table", ["one table"]),
        ("> Key decision: none expires", ["none expires"]),
        ("## Decisions\n\n- one\n  more of it\n  - detail\n- two\n\nText.\n", ["one more of it", "two"]),
        ("**Decisions made:**\n1. one\n2. two\n\n## Files\n- no", ["one", "two"]),
        ("Key decisions:\n* one", ["one"]),
        ("Key decisions:\xa0\n* one", ["one"]),
        ("I decided: no such thing as a heading", []),
        ("The decision is up to you.", []),
        ("**Decision needed:** which one?", []),
        ("Decision: should we use A or B?", []),
        ("## Open decisions\n- which one", []),
        ("## Pending decisions\n- which one", []),
        ("## Decisions needed\n- which one", []),
        ("## Decisions (open)\n- which one", []),
        ("### Decision 6 cannot be done as written\n- why", []),
        ("## Decisions that change the plan\n- maybe", []),
        ("**Decisions — do not ask again**\n- one", ["one"]),
        ("**Decisions made where nothing was said (mine):**\n- one", ["one"]),
        ("Decision tree:\n- a", []),
        ("```\nDecision: in code\n```", []),
        ("A list of decisions:\n- no", []),
        ("Design decisions:\n- what it does", []),
        ("Decided. Sizing the artifacts now.", []),
    ],
)
def test_only_what_is_marked_as_a_decision_is_one(text: str, decisions: list[str]) -> None:
    summary = written(lambda a: a.prompt("Add a cache, please"), lambda a: a.say(text))
    assert summary.critical.decisions == decisions


def test_a_decision_is_listed_once_and_the_newest_fifty_stay() -> None:
    agent = Agent()
    agent.prompt("Decide a lot of things")
    for n in range(60):
        agent.say(f"Decision: number {n}")
        agent.say("Decision: the same")
    decisions = read(agent.data).critical.decisions
    assert len(decisions) == 50
    assert decisions[-1] == "number 59"
    assert sum(decision == "the same" for decision in decisions) == 1


def test_everything_is_bounded() -> None:
    agent = Agent()
    long = "word " * 500
    for n in range(300):
        agent.turn(f"{n} {long}", answer=f"Decision: {n} {long}")
        agent.call("AskUserQuestion", {"questions": [{"question": long}]})
        agent.use("TaskCreate", {"subject": f"{n} {long}"}, {"task": {"id": f"{n}{long}"}})
        agent.label("custom-title", customTitle=long)
        agent.label("last-prompt", lastPrompt=long)
        agent.compact(f"7. Pending Tasks:\n{f'   - {long}' * 50}\n8. Current Work:\n{long}")
    agent.use("TodoWrite", {"todos": [{"content": f"{n} {long}", "status": "pending"} for n in range(200)]})
    for _ in range(3):
        agent.prompt("x", uuid=long, cwd=long, gitBranch=long, version=long)
        agent.assistant({"type": "tool_use", "id": long, "name": "AskUserQuestion", "input": {}}, uuid=long)
    summary = read(agent.data)
    critical = summary.critical
    assert len(critical.decisions) == len(critical.checkpoints) == len(critical.next_steps) == 50
    for text in (summary.title, critical.current_phase, *critical.decisions, *critical.next_steps):
        assert len(text) <= 500
    assert len(msgspec.json.encode(summary)) < 200_000
    assert len(msgspec.json.encode(summary.scratch)) < 90_000


@pytest.mark.parametrize(
    "text",
    [
        "# " + "#" * 10**6 + "x",
        "<system-reminder>" * 10**5,
        "</system-reminder>" + "<system-reminder>" * 10**5,
        "<a-b></a-b>" * 10**5,
        "<command-message>" + "<command-name>" * 10**5,
        "<command-message><command-name>x</command-name>" + "<command-args>" * 10**5,
        "Decisions:\n- x\n" + "  y\n" * 10**5,
        "Decision: " + " " * 10**6,
        "**" * 10**6,
        "- " * 10**6,
        "1. **" + "a" * 10**6,
        "```\n" * 10**5,
        "\n" * 10**6,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    agent = Agent()
    agent.prompt(text)
    agent.say(f"Decision\n{text}")
    agent.compact(f"8. Current Work:\n{text}\n7. Pending Tasks:\n{text}")
    agent.prompt(f"Implement the following plan:\n{text}", planContent=text)
    used = time.process_time()
    read(agent.data)
    assert time.process_time() - used < 5


def test_a_scratch_of_another_version_is_started_anew() -> None:
    agent = Agent()
    agent.turn("Do it, please")
    for scratch in ("{}", "nonsense", '{"turn": 5}', ["x"]):
        summary = Summary(scratch={"transcript": scratch})
        Claude([], lambda event, **fields: None).follow(summary, MAIN, agent.data, 0)
        assert summary.prompts == 1

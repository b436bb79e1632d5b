"""A transcript says the same however it is cut into reads; real ones say what a plain count says."""

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessionsync.model import Mark, Summary
from sessionsync.sources import claude as source
from sessionsync.sources import lines
from sessionsync.sources.claude import Claude
from tests.conftest import samples
from tests.fakes.agent import SESSION, Agent

MAIN = f"{SESSION}.jsonl"
claude = Claude([], lambda event, **fields: None)
Reads = Callable[[Summary, str, bytes, int], list[Mark]]


def at_once(data: bytes, name: str = MAIN) -> tuple[Summary, list[Mark]]:
    summary = Summary()
    return summary, claude.follow(summary, name, data, 0)


def in_pieces(
    data: bytes, cuts: list[int], name: str = MAIN, *, restart: bool = True, reads: Reads = claude.follow
) -> tuple[Summary, list[Mark]]:
    """Read it in pieces that end where lines end, as a daemon that is restarted between any two of them."""
    ends = [n + 1 for n, byte in enumerate(data) if byte == 0x0A]
    places = sorted({0, len(data), *(ends[cut % len(ends)] for cut in cuts if ends)})
    summary, marks = Summary(), []
    for begin, end in itertools.pairwise(places):
        marks += reads(summary, name, data[begin:end], begin)
        if restart:
            summary = msgspec.json.decode(msgspec.json.encode(summary), type=Summary)
    return summary, marks


# --- sessions of our own making

words = st.sampled_from(
    [
        "yes",
        "Please add a cache to the index",
        "Decision: use **SQLite**",
        "## Decisions\n- one\n- two",
        "# Plan\n## 1. Do\n## 2. Test\n",
        "8. Current Work:\n   Testing.\n7. Pending Tasks:\n   - more\n",
        "<command-name>/exit</command-name>",
        "<command-message>x</command-message><command-name>/x</command-name>",
        "[Request interrupted by user]",
        "\x1b[31m ünïcödé \u202e\U0001f600",
        '{"type":"system","subtype":"compact_boundary"}\n{"type":"user","message":{"content":"no prompt"}}\r\n',
        "",
    ]
)
states = st.sampled_from(["pending", "in_progress", "completed", "deleted", "?"])
todo_lists = st.lists(st.fixed_dictionaries({"content": words, "status": states}), max_size=4)
junk = st.sampled_from(
    [
        b"nonsense\n",
        b"\0\0\n",
        b"\n",
        b"[1]\n",
        b'{"type":"us',
        b'{"type":"user","message":5}\n',
        b"{}\n",
        b"\xff\n",
        b"  \r\n",
        b'{"type":"user","message":\n{"content":"Please spread it over lines"}}\n',
        b'{"type":"system","subtype":"compact\\u005fboundary","uuid":"x","compactMetadata":{"n":1}}\n',
    ]
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("prompt"), words),
        st.tuples(st.just("say"), words),
        st.tuples(st.just("text"), words),
        st.tuples(st.just("work"), words),
        st.tuples(st.just("todos"), todo_lists),
        st.tuples(st.just("create"), words),
        st.tuples(st.just("update"), states),
        st.tuples(st.just("ask"), words),
        st.tuples(st.just("plan"), words),
        st.tuples(st.just("compact"), words),
        st.tuples(st.just("title"), words),
        st.tuples(st.just("queued"), words),
        st.tuples(st.just("hook"), words),
        st.tuples(st.just("junk"), junk),
        st.tuples(st.just("again"), st.integers(1, 8)),
        st.tuples(st.just("glue"), words),
        st.tuples(st.just("late"), st.integers(-(10**7), 10**7)),
    ),
    max_size=40,
)


def session(plan: list[tuple[str, Any]], *, modern: bool) -> bytes:
    agent = Agent(modern=modern)
    for step, value in plan:
        match step:
            case "prompt":
                agent.prompt(value)
            case "say":
                agent.say(value)
            case "text":
                agent.assistant({"type": "text", "text": value})
            case "work":
                agent.use("Bash", {"command": value}, {"stdout": value}, text=value[:-1])
            case "todos":
                agent.use("TodoWrite", {"todos": value})
            case "create":
                agent.use("TaskCreate", {"subject": value}, {"task": {"id": "1"}})
            case "update":
                agent.use("TaskUpdate", {"taskId": "1", "status": value})
            case "ask":
                agent.use("AskUserQuestion", {}, {"answers": {value: "this"}})
            case "plan":
                agent.use("ExitPlanMode", {"plan": value}, {"plan": value})
            case "compact":
                agent.compact(value)
            case "title":
                agent.label("custom-title", customTitle=value)
            case "queued":
                agent.attach("queued_command", prompt=value)
            case "hook":
                agent.chain("system", subtype="turn_duration")
            case "junk":
                agent.lines.append(value)
            case "again":
                agent.lines += agent.lines[-value:]
            case "glue" if agent.lines:
                agent.lines[-1] = agent.lines[-1].rstrip(b"\n")
            case "late":
                agent.chain(
                    "progress", timestamp=agent.now.replace(year=agent.now.year - value % 3).isoformat()
                )
    return agent.data


@given(
    plan=steps, cuts=st.lists(st.integers(0, 1000), max_size=30), modern=st.booleans(), restart=st.booleans()
)
def test_any_cut_at_line_ends_gives_the_same_summary_and_marks(
    plan: list[tuple[str, Any]], cuts: list[int], modern: bool, restart: bool
) -> None:
    data = session(plan, modern=modern)
    whole = at_once(data)
    assert in_pieces(data, cuts, restart=restart) == whole
    assert in_pieces(data, list(range(data.count(b"\n"))), restart=restart) == whole


@given(plan=steps, modern=st.booleans(), chance=st.randoms(use_true_random=False))
def test_how_json_is_written_makes_no_difference(
    plan: list[tuple[str, Any]], modern: bool, chance: Random
) -> None:
    data = session(plan, modern=modern)
    other = b"".join(respelled(line, chance) for line in data.splitlines(keepends=True))
    assert reached(other) == reached(data)


def reached(data: bytes) -> tuple[Summary, list[int]]:
    """The summary, and behind how many lines the marks are."""
    summary, marks = at_once(data)
    assert all(data[mark.offset - 1] == 0x0A or mark.offset == len(data) for mark in marks)
    return summary, [data.count(b"\n", 0, mark.offset) for mark in marks]


def respelled(line: bytes, chance: Random) -> bytes:
    """What a line says as another program would write it; a line that is no JSON stays."""
    try:
        row = json.loads(line)
    except ValueError:
        return line
    if isinstance(row, dict):
        row = dict(chance.sample(list(row.items()), len(row)))
    return b" " + json.dumps(row, separators=(" , ", " : ")).encode() + b"\t\r\n"


@given(plan=steps, modern=st.booleans(), piece_bytes=st.integers(1, 5000))
def test_how_much_is_decoded_at_once_makes_no_difference(
    plan: list[tuple[str, Any]], modern: bool, piece_bytes: int
) -> None:
    data = session(plan, modern=modern)
    whole = at_once(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "PIECE_BYTES", piece_bytes)
        assert at_once(data) == whole


@given(plan=steps, cuts=st.lists(st.integers(0, 1000), max_size=10))
def test_a_subagents_lines_do_not_depend_on_cuts_either(plan: list[tuple[str, Any]], cuts: list[int]) -> None:
    data = session(plan, modern=True)
    name = f"{SESSION}/subagents/agent-1.jsonl"
    assert in_pieces(data, cuts, name) == at_once(data, name)


@given(
    plan=steps,
    cuts=st.lists(st.integers(0, 1000), max_size=10),
    modern=st.booleans(),
    glance=st.integers(0, 3000),
)
def test_who_skims_finds_the_same_marks_and_places(
    plan: list[tuple[str, Any]], cuts: list[int], modern: bool, glance: int
) -> None:
    data = session(plan, modern=modern).replace(b"\\u005f", b"_")  # as no agent spells it
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "SKIM_BYTES", glance)
        summary, marks = in_pieces(data, cuts, reads=claude.skim)
    followed, expected = in_pieces(data, cuts)
    assert marks == expected
    assert summary.skimmed or summary == followed
    said = (summary.cwd, summary.branch, summary.agent_version)
    assert said == (followed.cwd, followed.branch, followed.agent_version)


@given(data=st.binary(max_size=400) | st.lists(junk).map(b"".join), offset=st.integers(0, 2**50))
def test_no_bytes_raise(data: bytes, offset: int) -> None:
    for name in (MAIN, f"{SESSION}/subagents/agent-1.jsonl"):
        summary = Summary()
        claude.follow(summary, name, data, offset)
        claude.skim(summary, name, data, offset)
        claude.skim(Summary(skimmed=True), name, data, 0)
        assert msgspec.json.decode(msgspec.json.encode(summary), type=Summary) == summary


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    "type", "subtype", "uuid", "timestamp", "cwd", "gitBranch", "version", "isSidechain", "isMeta", "isCompactSummary",
    "origin", "message", "toolUseResult", "attachment", "todos", "planContent", "customTitle", "summary", "leafUuid",
    "lastPrompt", "prNumber", "prRepository", "promptSource", "isApiErrorMessage", "aiTitle",
]  # fmt: skip
KINDS = [
    "user",
    "assistant",
    "system",
    "attachment",
    "summary",
    "custom-title",
    "ai-title",
    "last-prompt",
    "pr-link",
]
BLOCKS = ["text", "tool_use", "tool_result", "image", "thinking"]
TOOLS = ["TodoWrite", "TaskCreate", "TaskUpdate", "AskUserQuestion", "ExitPlanMode", "Bash"]
blocks = st.dictionaries(
    st.sampled_from(["type", "text", "name", "id", "input", "tool_use_id", "is_error", "content"]),
    json_values,
).flatmap(
    lambda block: st.fixed_dictionaries(
        {
            "type": st.sampled_from(BLOCKS),
            "name": st.sampled_from(TOOLS),
            "id": st.just("t"),
            "tool_use_id": st.just("t"),
        }
    ).map(lambda known: known | {key: value for key, value in block.items() if key not in {"type", "name"}})
)
rows = st.tuples(
    st.dictionaries(st.sampled_from(KEYS), json_values, max_size=6),
    st.sampled_from(KINDS),
    st.none() | json_values | st.fixed_dictionaries({"content": st.lists(blocks, max_size=3) | json_values}),
).map(lambda parts: {**parts[0], "type": parts[1]} | ({"message": parts[2]} if parts[2] is not None else {}))


@given(rows=st.lists(rows, max_size=12))
def test_no_shape_of_a_line_raises_or_is_bad(rows: list[dict[str, Any]]) -> None:
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    summary, _ = at_once(data)
    assert summary.bad_lines == 0
    assert in_pieces(data, list(range(len(rows))))[0] == summary


# --- real sessions


def test_real_transcripts_say_what_a_plain_count_says(transcripts: list[Path]) -> None:
    for path in transcripts:
        data = path.read_bytes()
        summary, marks = at_once(data)
        count = plain_count(data)
        seen = (summary.prompts, summary.turns, len(marks), summary.bad_lines)
        assert seen == (count["prompts"], count["turns"], count["compactions"], count["bad"]), path
        assert (summary.started_at, summary.last_at) == (count.first[:19] + "Z", count.last[:19] + "Z"), path
        assert summary.cwd == count.cwd, path
        assert summary.title, path
        assert len(summary.critical.checkpoints) == min(50, count["turns"] + count["compactions"]), path
        for mark in marks:
            before = data[: mark.offset]
            assert before.endswith(b"\n"), path
            assert b'"compact_boundary"' in before.splitlines()[-1], path
        assert len(msgspec.json.encode(summary)) < 50_000, path


def test_real_transcripts_may_be_cut_anywhere(transcripts: list[Path]) -> None:
    for path in transcripts:
        data = path.read_bytes()
        whole = at_once(data)
        assert in_pieces(data, list(range(0, 10**6, max(1, data.count(b"\n") // 40)))[:60]) == whole, path
        if len(data) < 10**6:
            assert in_pieces(data, list(range(data.count(b"\n"))), restart=False) == whole, path


def test_real_chains_grow_into_the_same_summary(transcripts: list[Path]) -> None:
    chains: dict[Path, list[Path]] = {}
    for path in transcripts:
        if path.parent.name.startswith("chain-"):
            chains.setdefault(path.parent, []).append(path)
    assert chains
    for paths in chains.values():
        summary, marks, read = Summary(), list[Mark](), 0
        for path in sorted(paths):
            data = path.read_bytes()
            if summary.prompts and data[read - 1 : read] != b"\n":
                summary, marks, read = Summary(), [], 0  # its last line was glued to the next: read anew
            marks += claude.follow(summary, MAIN, data[read:], read)
            assert (summary, marks) == at_once(data), path
            read = len(data)


def test_every_other_real_file_is_read_without_a_word(shared: Path) -> None:
    formats = (
        "claude-code-subagent-transcript",
        "codex-rollout",
        "copilot-cli-events",
        "jsonl-other",
        "markdown-session-note",
    )
    for path in samples(shared, *formats):
        data = path.read_bytes()
        for name in (MAIN, "agent-1.jsonl"):
            summary, _ = at_once(data, name)
            assert len(msgspec.json.encode(summary)) < 50_000, path


class Count(Counter[str]):
    """What a plain reading of a file counts."""

    first = ""
    last = ""
    cwd = ""


def plain_count(data: bytes) -> Count:
    """Count prompts, turns, compactions and bad lines with nothing but `json` and the whole file in hand."""
    count, rows = Count(), []
    for line in data.split(b"\n"):
        text, at = line.decode("utf-8", "replace"), 0
        try:
            while at < len(text.rstrip()):
                row, at = json.JSONDecoder().raw_decode(text, at)
                rows.append(row)
        except ValueError:
            count["bad"] += 1
    times = sorted(row["timestamp"] for row in rows if isinstance(row.get("timestamp"), str))
    count.first, count.last = times[0], times[-1]
    count.cwd = next(row["cwd"] for row in rows if row.get("cwd"))
    main = list(
        {row.get("uuid", n): row for n, row in enumerate(rows) if not row.get("isSidechain")}.values()
    )
    kinds = [kind for row in main if (kind := kind_of(row))]
    count["prompts"] = kinds.count("prompt")
    count["compactions"] = kinds.count("compaction")
    for n, kind in enumerate(kinds):
        following = next((k for k in kinds[n + 1 :] if k != "compaction"), "end of file")
        if kind == "answer" and following not in {"work", "answer", "final", "interruption"}:
            count["turns"] += 1
        elif kind == "final":
            count["turns"] += following != "final"
        elif kind == "stopped":
            count["turns"] += kinds[n - 1] == "work"  # it ended without a text
    return count


def kind_of(row: dict[str, Any]) -> str:  # noqa: PLR0911 - a table
    """What a line is to the turns, seen from the whole of it."""
    message = row.get("message")
    if row.get("type") == "system":
        subtypes = {
            "compact_boundary": "compaction",
            "stop_hook_summary": "stopped",
            "turn_duration": "stopped",
        }
        return subtypes.get(row["subtype"], "")
    if row.get("type") == "attachment" and row["attachment"]["type"] == "queued_command":
        human = (row["attachment"].get("origin") or {"kind": "human"})["kind"] == "human"
        return "prompt" if human and row["attachment"].get("commandMode") == "prompt" else ""
    if not isinstance(message, dict):
        return ""
    content = message["content"]
    found = [block["type"] for block in content] if isinstance(content, list) else ["text"]
    if row["type"] == "assistant":
        if message.get("model") == "<synthetic>" or row.get("isApiErrorMessage"):
            return ""
        if message.get("stop_reason") in {"end_turn", "stop_sequence"}:
            return "final"
        return "answer" if found == ["text"] and message.get("stop_reason") != "tool_use" else "work"
    if row.get("isMeta") or row.get("isCompactSummary") or "tool_result" in found or "toolUseResult" in row:
        return "other"
    if (row.get("origin") or {"kind": "human"})["kind"] != "human":
        return "other"
    text = content if isinstance(content, str) else "\n".join(block.get("text", "") for block in content)
    if text.startswith("[Request interrupted"):
        return "interruption"
    wrapped = (
        "<command-name>",
        "<local-command-",
        "<task-notification>",
        "Operation stopped by hook",
        "Caveat: ",
    )
    return "other" if text.startswith(wrapped) else "prompt"

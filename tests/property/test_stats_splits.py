"""However a transcript's bytes come, in whichever order its files are read, and how often: the same numbers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sessionsync.sources.usage import of_transcript
from sessionsync.stats import Beside, Numbers, figures

KINDS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
START = 1_790_000_000

counts = st.fixed_dictionaries(dict.fromkeys(KINDS, st.integers(0, 1000)))
steps = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 4000)),
    st.tuples(st.just("answer"), st.integers(0, 100), st.integers(0, 6), counts),
    st.tuples(st.just("stop"), st.integers(0, 10)),
    st.tuples(st.just("result"), st.integers(0, 100), st.booleans()),
    st.tuples(st.just("fail"), st.integers(0, 10)),
    st.tuples(st.just("junk")),
)


def written(story: list[tuple[Any, ...]]) -> bytes:
    """The lines of a transcript in which these things happen."""
    lines, at = [], START
    for number, (what, *said) in enumerate(story):
        at += said[0] if said else 0
        row: dict[str, Any] = {
            "uuid": f"u{number}",
            "timestamp": datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", ".000Z"),
        }
        match what:
            case "ask":
                row |= {"type": "user", "message": {"content": "go on"}}
            case "stop":
                row |= {"type": "user", "message": {"content": "[Request interrupted by user]"}}
            case "answer":
                row |= {
                    "type": "assistant",
                    "requestId": "r",
                    "message": {"id": f"m{said[1]}", "usage": said[2]},
                }
            case "result":
                content = [{"type": "tool_result", "tool_use_id": f"t{number}", "is_error": said[1]}]
                row |= {"type": "user", "toolUseResult": {}, "message": {"content": content}}
            case "fail":
                row |= {"type": "system", "subtype": "api_error"}
            case _:
                row = {"type": "summary", "summary": "x", "leafUuid": "y"}
        lines.append(json.dumps(row, separators=(",", ":")).encode() + b"\n")
    return b"".join(lines)


def counted(*pieces: tuple[str, list[bytes]]) -> dict[str, Any]:
    """The figures of files that were read in these pieces."""
    numbers = Numbers(None)
    for name, blocks in pieces:
        memory = ""
        for block in blocks:
            usage = of_transcript(block, memory, is_main=True)
            memory = usage.memory
            with numbers.transaction():
                numbers.add(numbers.session(name, "claude", "p"), name, 0, 0, usage)
    return figures(numbers, Beside({}), now=START)


@settings(max_examples=120)
@given(st.lists(steps, max_size=30), st.data())
def test_how_lines_are_spread_over_reads_makes_no_difference(
    story: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    lines = written(story).splitlines(keepends=True)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(lines)), max_size=5)))
    blocks = [b"".join(lines[a:b]) for a, b in zip([0, *cuts], [*cuts, len(lines)], strict=True)]
    assert counted(("a", blocks)) == counted(("a", [b"".join(lines)]))


@settings(max_examples=40)
@given(st.lists(steps, max_size=30), st.integers(0, 30))
def test_a_copy_that_was_cut_adds_nothing(story: list[tuple[Any, ...]], kept: int) -> None:
    lines = written(story).splitlines(keepends=True)
    whole, copy = ("a", [b"".join(lines)]), ("b", [b"".join(lines[:kept])])
    once, twice = counted(whole), counted(whole, copy)
    for part in ("tokens", "response_seconds", "errors"):
        assert twice[part] == once[part] == counted(copy, whole)[part]
    assert twice["sessions"]["starts"] == once["sessions"]["starts"]

"""The made-up sessions that benchmarks, the demo and the dictionary are made from."""

import hashlib
import json
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from tests.bench.corpus import session_bytes, session_lines, structured_files, write_session


def lines(seed: int, count: int, **which: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in islice(session_lines(seed, **which), count)]


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    data = session_bytes(1, 100_000)
    assert data == session_bytes(1, 100_000) != session_bytes(2, 100_000)
    assert session_bytes(1, 200_000).startswith(data)
    assert data.endswith(b"}\n")
    assert 80_000 < len(data) <= 100_000
    assert write_session(tmp_path / "s.jsonl", 1, 100_000) == len(data)
    assert (tmp_path / "s.jsonl").read_bytes() == data


def test_what_the_dictionary_was_trained_on_stays_what_it_is() -> None:
    """Else the dictionary could not be made again: give a changed one the next id."""
    digest = hashlib.sha256(session_bytes(1_000_000, 100_000)).hexdigest()
    assert digest == "abc0d3ab28f7538dceff83d4a068bef2202e8a394551ffd8cd9baffba022fdd2"


def test_it_looks_like_a_transcript() -> None:
    session = lines(3, 3000, session_id="chosen", cwd="/home/x")
    chain = [line for line in session if "uuid" in line]
    assert len({line["uuid"] for line in chain}) == len(chain)
    assert {line["sessionId"] for line in chain} == {"chosen"}
    assert {line["cwd"] for line in chain} == {"/home/x"}
    known = {line["uuid"] for line in chain} | {None}
    assert all(line["parentUuid"] in known for line in chain)
    assert {line["type"] for line in session} >= {
        "user",
        "assistant",
        "system",
        "summary",
        "file-history-snapshot",
    }
    tools = {
        block["name"]
        for line in chain
        if line["type"] == "assistant"
        for block in line["message"]["content"]
        if block["type"] == "tool_use"
    }
    assert tools >= {"Read", "Edit", "Bash", "TodoWrite"}
    assert any(line.get("subtype") == "compact_boundary" for line in chain)
    assert all(one["timestamp"] <= two["timestamp"] for one, two in pairwise(chain))


def test_a_tools_result_is_stored_twice() -> None:
    results = [line for line in lines(4, 300) if "stdout" in line.get("toolUseResult", {})]
    assert results
    for line in results:
        assert line["toolUseResult"]["stdout"] == line["message"]["content"][0]["content"]


def test_a_structured_session() -> None:
    files = structured_files(5, checkpoints=4)
    assert files == structured_files(5, checkpoints=4)
    assert len([name for name in files if name.startswith("checkpoints/")]) == 4
    context = json.loads(files["context.json"])
    assert context["decisions"]
    assert context["next_steps"]
    assert {"context.json", "metrics.json", "artifacts/plan.md"} < files.keys()

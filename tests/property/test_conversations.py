"""Conversations that programs keep: whatever happens to their files in between, what was added is there once."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sessionsync.conversations import MessageStore
from sessionsync.conversations.transcripts import Transcripts
from sessionsync.errors import ConversationDamaged
from tests.fakes.agent import SESSION

KEY = {"project_key": "p", "session_id": SESSION}
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
GARBAGE = st.binary(max_size=200) | st.sampled_from(
    [b"", b"{}", b'{"messages": [', b"\xff\xfe{", b"[1, 2]", b"null"]
)
HAPPENINGS = st.lists(
    st.tuples(st.just("add"), TEXTS)
    | st.tuples(st.just("cut"), st.integers(0, 400))
    | st.tuples(st.just("garbage"), GARBAGE)
    | st.tuples(st.just("delete"), st.none())
    | st.tuples(st.just("another process"), st.none()),
    max_size=12,
)


@settings(max_examples=60)
@given(HAPPENINGS)
def test_no_message_is_lost_whatever_becomes_of_the_file(happenings: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = MessageStore(Path(folder), "s")
        added: list[dict[str, str]] = []
        damaged: list[bytes] = []
        for what, value in happenings:
            if what == "add":
                message = {"role": "user", "content": value}
                before = store.path.read_bytes() if store.path.exists() else b""
                try:
                    store.append(message)
                except ConversationDamaged:
                    assert not added
                    assert store.path.read_bytes() == before
                    continue
                added.append(message)
                if before and not _is_store(before):
                    damaged.append(before)
            elif what == "another process":
                store = MessageStore(Path(folder), "s")
            elif what == "delete":
                store.path.unlink(missing_ok=True)
            elif store.path.parent.exists():
                data = store.path.read_bytes()[:value] if what == "cut" and store.path.exists() else value
                store.path.write_bytes(data if isinstance(data, bytes) else b"")
        if added:
            assert store.messages() == added
        kept = [path.read_bytes() for path in Path(folder).rglob(".*.damaged*")]
        assert sorted(kept) == sorted(damaged)


def _is_store(data: bytes) -> bool:
    try:
        said = json.loads(data)
    except ValueError:
        return False
    return isinstance(said, dict) and isinstance(said.get("messages"), list)


ENTRIES = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["user", "mode", "x"])}, optional={"uuid": st.sampled_from("abcdefgh")}
    ),
    max_size=4,
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["one", "two"]), ENTRIES)
    | st.tuples(
        st.just("torn"), st.sampled_from([b'{"type": "user", "uu', b"\xff", b'{"type": "t"}', b"\0\0\n"])
    )
    | st.tuples(st.sampled_from(["load one", "load two", "restart one"]), st.just(None)),
    max_size=12,
)


@settings(max_examples=80)
@given(STEPS)
def test_each_entry_is_there_once_and_no_byte_is_taken_away(steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stores = {"one": Transcripts(Path(folder)), "two": Transcripts(Path(folder))}
        path = Path(folder) / "projects" / "p" / f"{SESSION}.jsonl"
        uuids: dict[str, Any] = {}
        before = b""
        for what, value in steps:
            if what == "torn":
                if path.exists():  # somebody was killed while he wrote
                    path.write_bytes(path.read_bytes() + value)
            elif what == "restart one":
                stores["one"] = Transcripts(Path(folder))
            elif what.startswith("load"):
                stores[what.removeprefix("load ")].load(KEY)
            else:
                stores[what].append(KEY, value)
                for entry in value:
                    if "uuid" in entry:
                        uuids.setdefault(entry["uuid"], entry)
            now = path.read_bytes() if path.exists() else b""
            assert now.startswith(before)
            before = now
        kept = [entry for entry in stores["two"].load(KEY) or [] if "uuid" in entry]
        assert {entry["uuid"]: entry for entry in kept} == uuids
        assert len(kept) == len(uuids)

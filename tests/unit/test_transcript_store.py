"""The Agent SDK's store: its own suite, and what becomes of a session that is kept in it."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from sessionsync.conversations import TranscriptStore
from sessionsync.conversations import transcripts as store_of
from sessionsync.conversations.transcripts import Transcripts
from sessionsync.errors import ConversationError, UsageError
from tests.conftest import PATIENCE_S
from tests.fakes.agent import SESSION
from tests.machine import Machine

Entry = dict[str, Any]
KEY = {"project_key": "-home-me-app", "session_id": SESSION}
SUB = {**KEY, "subpath": "subagents/agent-1"}


@pytest.fixture
def store(tmp_path: Path) -> Transcripts:
    return Transcripts(tmp_path / "claude")


def main_file(store: Transcripts) -> Path:
    return store.root / "projects/-home-me-app" / f"{SESSION}.jsonl"


def said(*uuids: str) -> list[Entry]:
    return [{"type": "user", "uuid": uuid, "sessionId": SESSION} for uuid in uuids]


def test_it_passes_the_sdks_own_suite(tmp_path: Path) -> None:
    testing = pytest.importorskip("claude_agent_sdk.testing")
    folders = itertools.count()

    async def suite() -> None:
        await testing.run_session_store_conformance(lambda: TranscriptStore(tmp_path / str(next(folders))))

    anyio.run(suite)
    # contracts 1 to 6, 7 and 8, 12 and 13: a store each, and one to probe
    assert next(folders) == 11


def test_what_it_has_and_has_not() -> None:
    has = {name for name in vars(TranscriptStore) if not name.startswith("_")}
    assert has == {"append", "load", "list_sessions", "list_subkeys"}  # nothing deletes


def test_by_default_it_is_the_agents_own_folder(home: Path) -> None:
    anyio.run(TranscriptStore().append, KEY, said("a"))
    assert (home / ".claude/projects/-home-me-app" / f"{SESSION}.jsonl").is_file()


# --- each entry once


def test_a_uuid_is_there_once_however_often_it_comes(store: Transcripts) -> None:
    store.append(KEY, said("a", "b", "a"))
    store.append(KEY, said("b", "c"))
    Transcripts(store.root).append(KEY, said("a", "c", "d"))
    assert store.load(KEY) == said("a", "b", "c", "d")


def test_what_has_no_uuid_is_added_each_time(store: Transcripts) -> None:
    mode = {"type": "mode", "mode": "plan"}
    store.append(KEY, [*said("a"), mode])
    store.append(KEY, [mode, mode])
    again = Transcripts(store.root)
    again.load(KEY)
    again.append(KEY, [mode])
    assert store.load(KEY) == [*said("a"), mode, mode, mode, mode]


def test_where_the_agent_writes_the_file_itself_nothing_is_doubled(store: Transcripts) -> None:
    batches = [
        [{"type": "mode", "mode": "default"}, {"type": "permission-mode"}],
        [*said("a"), {"type": "mode", "mode": "plan"}],
        [{"type": "custom-title", "customTitle": "x"}],
        [*said("b"), {"type": "mode", "mode": "default"}],
    ]
    path = main_file(store)
    path.parent.mkdir(parents=True)
    for batch in batches:  # it writes first, and tells then; maybe it has gone on meanwhile
        with path.open("a") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in batch)
        store.append(KEY, batch)
    assert store.load(KEY) == [entry for batch in batches for entry in batch]
    assert path.read_text().count("\n") == 7
    ahead = [*said("c"), {"type": "mode", "mode": "plan"}, *said("d")]
    with path.open("a") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in ahead)
    store.append(KEY, ahead[:1])
    store.append(KEY, ahead[1:])
    assert path.read_text().count("\n") == 10


def test_after_a_resume_the_store_writes_what_the_agent_says_elsewhere(store: Transcripts) -> None:
    first = [{"type": "mode", "mode": "default"}, *said("a")]
    store.append(KEY, first)
    resumed = Transcripts(store.root)
    assert resumed.load(KEY) == first
    more = [{"type": "mode", "mode": "default"}, *said("b")]
    resumed.append(KEY, more)
    assert resumed.load(KEY) == [*first, *more]


def test_it_waits_for_whoever_adds_at_this_moment(store: Transcripts) -> None:
    store.append(KEY, said("a"))
    with main_file(store).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        adding = threading.Thread(target=store.append, args=(KEY, said("b")))
        adding.start()
        adding.join(0.2)
        assert adding.is_alive()
        assert file.read().count(b"\n") == 1
    adding.join(PATIENCE_S)
    assert store.load(KEY) == said("a", "b")


# --- what lies there


def test_what_the_agent_adds_while_the_store_adds_stays(
    store: Transcripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = main_file(store)
    store.append(KEY, said("a"))
    read = store_of._read

    def meanwhile(*arguments: Any) -> list[Entry]:
        found = read(*arguments)
        with path.open("ab") as agent:  # which knows no lock
            agent.write(b'{"type":"user","uuid":"theirs"}\n{"type":"mode"}\n')
        monkeypatch.undo()
        return found

    monkeypatch.setattr(store_of, "_read", meanwhile)
    store.append(KEY, [*said("b"), {"type": "tag"}])
    assert [row.get("uuid") for row in store.load(KEY) or []] == ["a", "theirs", None, "b", None]
    store.append(KEY, said("theirs"))
    assert path.read_text().count("theirs") == 1
    assert path.read_text().count("mode") == 1


def test_of_what_could_not_be_written_only_that_is_taken_back(
    store: Transcripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = main_file(store)
    store.append(KEY, said("a"))

    def fails(_descriptor: int) -> None:
        with path.open("ab") as agent:
            agent.write(b'{"type":"user","uuid":"theirs"}\n')
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(store_of, "sync", fails)
    with pytest.raises(ConversationError, match="Input/output error"):
        store.append(KEY, said("b"))
    assert "theirs" in path.read_text()


def test_a_torn_line_stays_and_what_comes_begins_anew(store: Transcripts) -> None:
    store.append(KEY, said("a"))
    path = main_file(store)
    with path.open("a") as file:
        file.write('{"type": "user", "uuid": "b", "mess')  # killed while it wrote
    torn = path.read_bytes()
    assert store.load(KEY) == said("a")
    Transcripts(store.root).append(KEY, said("b", "c"))
    assert path.read_bytes().startswith(torn + b"\n")
    assert store.load(KEY) == said("a", "b", "c")
    with path.open("a") as file:
        file.write(json.dumps(said("d")[0]))  # all but its end
    store.append(KEY, said("d", "e"))
    assert store.load(KEY) == said("a", "b", "c", "d", "e")


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "x", "text": 'ä 漢字 🙂 \u2028 \\ " \n'},
        {"type": "x", "text": "half \ud800 a pair"},
        {"type": "x", "n": [1, -1.5, 1e300, 2**80, True, None, {}], "": {"a": []}},
        {"type": "from-the-future", "uuid": 7, "nested": {"uuid": "a"}},
    ],
)
def test_an_entry_comes_back_as_it_was(store: Transcripts, entry: Entry) -> None:
    store.append(KEY, [entry])
    assert store.load(KEY) == [entry]


def test_lines_that_are_none_are_left_out_and_kept(store: Transcripts) -> None:
    path = main_file(store)
    path.parent.mkdir(parents=True)
    lines = b'\0\0\0\n[1]\n"x"\nnonsense\n{"a": 1}{"b": 2}\n\xff\xfe\n{"caf\xe9": 1}\n'
    path.write_bytes(lines)
    assert store.load(KEY) == [{"a": 1}, {"b": 2}, {"caf\ufffd": 1}]
    store.append(KEY, said("a"))
    assert path.read_bytes().startswith(lines)


def test_an_empty_or_missing_one_is_none(store: Transcripts) -> None:
    assert store.load(KEY) is None
    store.append(KEY, [])
    assert store.load(KEY) is None
    assert not store.root.exists()
    assert store.sessions("-home-me-app") == []
    assert store.subkeys(KEY) == []


def test_a_file_that_was_put_back_shorter_is_read_anew(store: Transcripts) -> None:
    store.append(KEY, said("a", "b", "c"))
    path = main_file(store)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in said("a")))
    store.append(KEY, said("b"))
    assert store.load(KEY) == said("a", "b")


def test_what_describes_a_subagent_lies_where_the_agent_looks_for_it(store: Transcripts) -> None:
    about = {"type": "agent_metadata", "agentType": "Explore", "toolUseId": "toolu_1"}
    store.append(SUB, [about, *said("a")])
    store.append(SUB, said("b"))
    folder = main_file(store).with_suffix("") / "subagents"
    assert {path.name for path in folder.iterdir()} == {"agent-1.jsonl", "agent-1.meta.json"}
    assert json.loads((folder / "agent-1.meta.json").read_bytes()) == {
        "agentType": "Explore",
        "toolUseId": "toolu_1",
    }
    assert store.load(SUB) == [about, *said("a", "b")]
    store.append(SUB, [{**about, "agentType": "Plan"}])
    assert store.load(SUB) == [{**about, "agentType": "Plan"}, *said("a", "b")]
    assert store.subkeys(KEY) == ["subagents/agent-1"]
    store.append({**KEY, "subpath": "subagents/workflows/7/journal"}, said("j"))
    assert store.subkeys(KEY) == ["subagents/agent-1", "subagents/workflows/7/journal"]


def test_old_subagents_beside_a_session_are_no_sessions(store: Transcripts) -> None:
    store.append(KEY, said("a"))
    (main_file(store).parent / "agent-1a2b.jsonl").write_text("{}\n")
    (main_file(store).parent / "empty.jsonl").touch()
    assert [listed.session_id for listed in store.sessions("-home-me-app")] == [SESSION]


@pytest.mark.parametrize(
    "key",
    [
        {},
        {"project_key": "a"},
        {"project_key": "", "session_id": "b"},
        {"project_key": "..", "session_id": "b"},
        {"project_key": "a/b", "session_id": "b"},
        {"project_key": "a", "session_id": "../b"},
        {"project_key": "a", "session_id": "b", "subpath": ""},
        {"project_key": "a", "session_id": "b", "subpath": "/etc/x"},
        {"project_key": "a", "session_id": "b", "subpath": "../../x"},
        {"project_key": "a", "session_id": "b", "subpath": "a//b"},
        {"project_key": "a", "session_id": "b", "subpath": "a\0b"},
        {"project_key": "a", "session_id": 7},
    ],
)
def test_a_key_that_leads_elsewhere_is_refused(store: Transcripts, key: Any) -> None:
    with pytest.raises(UsageError):
        store.append(key, said("a"))
    with pytest.raises(UsageError):
        store.load(key)
    assert not store.root.exists()


def test_a_link_is_not_followed(store: Transcripts, tmp_path: Path) -> None:
    path = main_file(store)
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConversationError) as refused:
        store.append(KEY, said("a"))
    assert refused.value.hint
    assert not (tmp_path / "elsewhere").exists()


def test_what_could_not_be_written_is_taken_back_and_can_come_again(
    store: Transcripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(KEY, said("a"))
    before = main_file(store).read_bytes()
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if os.fstat(descriptor).st_size > len(before):
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:10])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ConversationError, match="No space left"):
        store.append(KEY, said("b"))
    assert main_file(store).read_bytes() == before
    monkeypatch.undo()
    store.append(KEY, said("b"))
    assert store.load(KEY) == said("a", "b")


# --- a session that is kept in it


def test_a_session_in_it_is_backed_up_restored_and_resumed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk = pytest.importorskip("claude_agent_sdk")
    from claude_agent_sdk._internal.session_resume import materialize_resume_session

    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(machine.home.agent))
    agent = machine.agent(session=SESSION)
    agent.prompt("Is it safe?")
    agent.say("It is.")
    about = {"type": "agent_metadata", "agentType": "Explore"}
    key = {"project_key": sdk.project_key_for_directory(machine.home.project), "session_id": SESSION}
    sub = {**key, "subpath": "subagents/agent-1"}
    store = TranscriptStore()
    anyio.run(store.append, key, agent.rows)
    anyio.run(store.append, sub, [about, *agent.rows[:1]])
    machine.settle()
    session = machine.rig.session()
    assert (session.name, session.summary.title) == (f"claude:{SESSION}", "Is it safe?")
    shutil.rmtree(machine.home.agent / "projects")  # the runner is gone
    machine.rig.scan()
    done = machine("restore", SESSION)
    assert done.code == 0, done.err
    assert done.last.endswith(f"claude --resume {SESSION}")
    again = TranscriptStore()
    assert anyio.run(again.load, key) == agent.rows
    assert anyio.run(again.load, sub) == [about, *agent.rows[:1]]
    # the SDK finds it on the disk, and in the store, and hands it to the agent
    shown = sdk.get_session_messages(SESSION, directory=str(machine.home.project))
    assert [message.type for message in shown][:2] == ["user", "assistant"]
    options = sdk.ClaudeAgentOptions(session_store=again, resume=SESSION, cwd=machine.home.project)
    made = anyio.run(materialize_resume_session, options)
    assert made is not None
    assert made.resume_session_id == SESSION
    (given,) = made.config_dir.glob("projects/*/*.jsonl")
    assert [json.loads(line) for line in given.read_text().splitlines()] == agent.rows
    assert (given.with_suffix("") / "subagents/agent-1.meta.json").is_file()
    anyio.run(made.cleanup)
    # and it goes on
    before = len(agent.rows)
    agent.prompt("And twice?")
    anyio.run(again.append, key, agent.rows[before - 1 :])
    machine.settle()
    assert machine.rig.session().summary.prompts == 2
    assert anyio.run(TranscriptStore().load, key) == agent.rows


def test_every_real_transcript_goes_through_it(transcripts: list[Path], store: Transcripts) -> None:
    for number, file in enumerate(transcripts[:30]):
        entries = [
            json.loads(line)
            for line in file.read_text().splitlines()
            if line.endswith("}") and "}{" not in line
        ]
        key = {"project_key": "p", "session_id": f"{number}-{file.stem}"}
        store.append(key, entries)
        store.append(key, [entry for entry in entries if "uuid" in entry])
        once = {entry["uuid"]: entry for entry in reversed(entries) if "uuid" in entry}
        kept = store.load(key) or []
        assert [entry for entry in kept if "uuid" not in entry] == [e for e in entries if "uuid" not in e]
        assert {entry["uuid"]: entry for entry in kept if "uuid" in entry} == once
        assert len([entry for entry in kept if "uuid" in entry]) == len(once)

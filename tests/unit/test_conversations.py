"""Message stores for programs: what is added stays, whatever lies there, and nothing is written over."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sessionsync import conversations
from sessionsync.conversations import MessageStore
from sessionsync.errors import ConversationDamaged, ConversationError, MessageInvalid, UsageError
from tests.machine import Machine, repository
from tests.rig import Home, Rig

RECORDED = Path(__file__).parents[1] / "recorded" / "conversation.json"
HELLO = {"role": "user", "content": "hello"}
HI = {"role": "assistant", "content": [{"type": "text", "text": "hi"}]}


@pytest.fixture
def store(tmp_path: Path) -> MessageStore:
    return conversations.open("review-42", tmp_path)


def hidden(store: MessageStore) -> list[str]:
    return sorted(path.name for path in store.path.parent.iterdir() if path != store.path)


def test_the_public_names() -> None:
    assert conversations.__all__ == ["MessageStore", "TranscriptStore", "open"]
    assert {name for name in vars(MessageStore) if not name.startswith("_")} == {"append", "messages"}


def test_what_is_added_is_there_for_everybody(store: MessageStore, tmp_path: Path) -> None:
    assert store.messages() == []
    assert not store.path.exists()
    store.append(HELLO)
    store.append(HI)
    assert store.path == tmp_path / ".claude/sessions/review-42.json"
    assert store.messages() == conversations.open("review-42", tmp_path).messages() == [HELLO, HI]
    assert json.loads(store.path.read_bytes()) == {"messages": [HELLO, HI]}
    assert store.path.stat().st_mode & 0o777 == 0o600
    store.messages().append(HELLO)  # somebody's copy
    assert store.messages() == [HELLO, HI]


def test_it_belongs_to_the_project_around_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository(tmp_path / "app")
    (tmp_path / "app" / "src").mkdir()
    monkeypatch.chdir(tmp_path / "app" / "src")
    assert conversations.open("a").path == tmp_path / "app/.claude/sessions/a.json"
    assert conversations.open("a", "..").path == tmp_path / "app/.claude/sessions/a.json"


def test_the_daemon_sees_a_session_in_it(tmp_path: Path) -> None:
    rig = Rig(Home(tmp_path))
    store = conversations.open("review-42", rig.home.project)
    store.append(HELLO)
    store.append(HI)
    rig.scan()
    assert [session.name for session in rig.catalog.sessions()] == ["messages:messages.app.review-42"]
    assert (rig.session().summary.title, rig.session().summary.turns) == ("hello", 1)
    rig.close()


@pytest.mark.parametrize(
    "session_id", ["", ".", "..", ".a", "a/b", "../a", "a\0", "a\nb", "x" * 201, 7, None]
)
def test_an_id_that_can_be_no_files_name(tmp_path: Path, session_id: Any) -> None:
    with pytest.raises(UsageError) as refused:
        conversations.open(session_id, tmp_path)
    assert refused.value.hint


# --- what a message is


class Answer:
    """As an SDK gives it."""

    def __init__(self) -> None:
        self.id = "msg_1"
        self.role = "assistant"
        self.content = [Block()]


class Block:
    def model_dump(self, **options: Any) -> dict[str, Any]:
        assert options == {"mode": "json", "exclude_unset": True}
        return {"type": "text", "text": "hi"}


@pytest.mark.parametrize(
    ("message", "stored"),
    [
        (HELLO, HELLO),
        (Answer(), HI),
        ({"role": "assistant", "content": [Block()]}, HI),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, None),
        (
            {"role": "narrator", "content": ("a", "b"), "at": 1.5},
            {"role": "narrator", "content": ["a", "b"], "at": 1.5},
        ),
        ({"role": "user", "content": ""}, None),
    ],
)
def test_what_is_a_message(store: MessageStore, message: Any, stored: Any) -> None:
    store.append(message)
    assert store.messages() == [stored or message]


@pytest.mark.parametrize(
    "message",
    [
        None,
        "hello",
        [],
        {},
        {"role": "user"},
        {"content": "hello"},
        {"role": "", "content": "hello"},
        {"role": 7, "content": "hello"},
        {"role": "user", "content": 7},
        {"role": "user", "content": {"text": "hello"}},
        {"role": "user", "content": None},
        {"role": "user", "content": [7]},
        {"role": "user", "content": "half \ud800 a pair"},
        {"role": "user", "content": "hello", "score": float("nan")},
        {"role": "user", "content": [{"data": b"bytes"}]},
        {"role": "user", "content": [{"data": {1, 2}}]},
    ],
)
def test_what_is_none_is_refused_and_nothing_written(store: MessageStore, message: Any) -> None:
    with pytest.raises(MessageInvalid) as refused:
        store.append(message)
    assert refused.value.hint
    assert not store.path.exists()


def test_a_message_that_holds_itself(store: MessageStore) -> None:
    round_: dict[str, Any] = {"role": "user", "content": []}
    round_["content"].append(round_)
    with pytest.raises(MessageInvalid):
        store.append(round_)


def test_roles_that_nobody_knows_are_kept_and_can_be_left_out(store: MessageStore) -> None:
    strange = {"role": "narrator", "content": "meanwhile"}
    store.path.parent.mkdir(parents=True)
    store.path.write_text(json.dumps({"messages": [strange, "words", {"type": "human"}, HELLO]}))
    store.append(HI)
    assert store.messages() == [strange, "words", {"type": "human"}, HELLO, HI]
    assert store.messages("user", "assistant") == [HELLO, HI]


# --- what lies there


def test_other_keys_and_other_writers_count(store: MessageStore) -> None:
    store.append(HELLO)
    store.path.write_bytes(
        b'\xef\xbb\xbf{"title": "Caf\xc3\xa9", "messages": [{"role": "user", "content": "other"}], "z": [1]}'
    )
    store.path.chmod(0o640)
    store.append(HI)
    said = json.loads(store.path.read_bytes())
    assert list(said) == ["title", "messages", "z"]
    assert (said["title"], len(said["messages"]), said["z"]) == ("Café", 2, [1])
    assert store.path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("cut", [0, 1, 20, 40, 60, -3])
def test_a_half_written_file_is_read_as_it_was(store: MessageStore, cut: int) -> None:
    store.append(HELLO)
    store.append(HI)
    torn = store.path.read_bytes()[:cut]
    store.path.write_bytes(torn)
    assert store.messages() == [HELLO, HI]
    assert store.path.read_bytes() == torn  # reading writes nothing
    more = {"role": "user", "content": "more"}
    store.append(more)
    assert store.messages() == [HELLO, HI, more]
    aside = [path for path in store.path.parent.iterdir() if "damaged" in path.name]
    assert [path.read_bytes() for path in aside] == ([torn] if torn else [])


def test_a_file_that_is_gone_is_read_as_it_was(store: MessageStore) -> None:
    store.append(HELLO)
    store.path.unlink()
    assert store.messages() == [HELLO]
    store.append(HI)
    assert store.messages() == [HELLO, HI]


def test_of_a_strangers_torn_file_what_is_whole(store: MessageStore) -> None:
    store.path.parent.mkdir(parents=True)
    store.path.write_text('{"title": "x", "messages": [{"role": "user", "content": "hello"}, {"role": "assis')
    assert store.messages() == [HELLO]
    store.append(HI)
    assert store.messages() == [HELLO, HI]
    # and more than was known before
    store.path.write_text(json.dumps({"messages": [HELLO, HI, HELLO]})[:-1])
    assert store.messages() == [HELLO, HI, HELLO]
    store.append(HI)
    assert len([name for name in hidden(store) if "damaged" in name]) == 2


def test_what_is_no_utf8_is_read_as_far_as_it_is_and_kept(store: MessageStore) -> None:
    store.path.parent.mkdir(parents=True)
    bad = b'{"messages": [{"role": "user", "content": "caf\xe9"}]}'
    store.path.write_bytes(bad)
    assert store.messages() == [{"role": "user", "content": "caf\ufffd"}]
    store.append(HI)
    assert (store.path.parent / ".review-42.json.damaged").read_bytes() == bad


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 100,
        b"\x7fELF\1\2",
        b"hello",
        b"[]",
        b'[{"role": "user", "content": "hello"}]',
        b'{"messages": {}}',
        b'{"messages": 7}',
        b'{"messages": [',
        b'{"other": []}',
        "{}".encode("utf-16"),
        b"[" * 100_000,
    ],
)
def test_what_is_no_store_is_said_and_stays(store: MessageStore, data: bytes) -> None:
    store.path.parent.mkdir(parents=True)
    store.path.write_bytes(data)
    for use in (store.messages, lambda: store.append(HELLO)):
        with pytest.raises(ConversationDamaged) as refused:
            use()
        assert refused.value.hint
    assert store.path.read_bytes() == data
    assert hidden(store) == []


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_is_no_file_is_left_alone(store: MessageStore, tmp_path: Path, kind: str) -> None:
    store.path.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("{}")
    store.path.symlink_to(tmp_path / "elsewhere") if kind == "link" else store.path.mkdir()
    for use in (store.messages, lambda: store.append(HELLO)):
        with pytest.raises(ConversationError):
            use()
    assert (tmp_path / "elsewhere").read_text() == "{}"


def test_where_nothing_can_be_written_what_was_there_stays(store: MessageStore) -> None:
    store.append(HELLO)
    (store.path.parent / ".review-42.json.tmp").mkdir()  # where the draft would be
    with pytest.raises(ConversationError) as refused:
        store.append(HI)
    assert refused.value.hint
    assert store.messages() == [HELLO]


def test_a_crash_between_the_two_files_leaves_either(
    store: MessageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append(HELLO)
    replace, calls = Path.replace, []

    def crash(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        store.append(HI)
    monkeypatch.undo()
    assert store.messages() == [HELLO]
    store.append(HI)
    assert store.messages() == [HELLO, HI]


def test_threads_take_turns(store: MessageStore) -> None:
    def add(writer: int) -> None:
        mine = conversations.open("review-42", store.path.parents[2])
        for number in range(10):
            mine.append({"role": "user", "content": f"{writer}.{number}"})

    threads = [threading.Thread(target=add, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = [message["content"] for message in store.messages()]
    assert sorted(said) == sorted(f"{writer}.{number}" for writer in range(4) for number in range(10))
    for writer in range(4):  # each in its own order
        assert [text for text in said if text.startswith(f"{writer}.")] == [
            f"{writer}.{n}" for n in range(10)
        ]


# --- with an SDK


class Replay(BaseHTTPRequestHandler):
    """Gives the recorded answers in turn, and remembers what it was asked."""

    answers: Iterator[Any]
    asked: list[Any]

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        data = json.dumps(next(self.answers)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture
def api() -> Iterator[tuple[str, list[Any]]]:
    Replay.answers = iter([turn["answer"] for turn in json.loads(RECORDED.read_bytes())])
    Replay.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Replay) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}", Replay.asked
        server.shutdown()
        serving.join()


def test_a_recorded_conversation_with_the_anthropic_sdk(
    api: tuple[str, list[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    anthropic = pytest.importorskip("anthropic")
    url, asked = api
    turns = json.loads(RECORDED.read_bytes())
    machine = Machine(tmp_path / "one", monkeypatch, capsys)
    expected: list[Any] = []
    for turn in turns:  # each in a program of its own, which knows nothing but the store
        store = conversations.open("review-42", machine.home.project)
        client = anthropic.Anthropic(api_key="none", base_url=url, max_retries=0)
        store.append({"role": "user", "content": turn["prompt"]})
        answer = client.messages.create(
            model="claude-recorded", max_tokens=1000, messages=store.messages("user", "assistant")
        )
        store.append(answer)
        client.close()
        expected += [{"role": "user", "content": turn["prompt"]}]
        assert asked[-1]["messages"] == expected
        expected += [{"role": "assistant", "content": turn["answer"]["content"]}]
        assert store.messages() == expected
    machine.settle()
    session = machine.rig.session()
    assert (session.summary.title, session.summary.turns) == (turns[0]["prompt"], 3)
    data = store.path.read_bytes()
    store.path.unlink()
    machine.settle()
    assert machine("restore", session.name).code == 0
    assert store.path.read_bytes() == data
    assert store.messages() == expected
    machine.close()

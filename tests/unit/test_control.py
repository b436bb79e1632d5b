"""The control socket: a real server, asked by the real client and by hand."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sessiond import client, process
from sessiond.control import Answer, Control, Params, Verb, flag, number, text
from sessiond.server import BODY_BYTES, Server
from sessionsync.errors import (
    AmbiguousSession,
    ConfigError,
    DaemonError,
    DaemonNotRunning,
    NoSuchSession,
    Unreachable,
    UsageError,
)
from tests.conftest import PATIENCE_S

Handler = Callable[[Params], Answer | Iterator[Answer]]


class Daemon:
    """A control server with a few verbs, and what it was told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[tuple[str, Params]] = []
        self.emitted: list[tuple[str, dict[str, Any]]] = []
        self.measured: list[str] = []
        self.release = threading.Event()
        handlers: dict[str, tuple[Handler, bool]] = {
            "status": (self.status, False),
            "big": (lambda params: {"text": "x" * int(params["bytes"])}, False),
            "wait": (self.wait, False),
            "count": (self.count, False),
            "pause": (self.pause, True),
            "fail": (self.fail, True),
        }
        table = {name: Verb(name, handler, acts=acts) for name, (handler, acts) in handlers.items()}
        self.control = Control(
            table,
            lambda event, **fields: self.emitted.append((event, fields)),
            lambda verb, seconds: self.measured.append(verb),
        )

    def status(self, params: Params) -> Answer:
        self.told.append(("status", params))
        return {"status": "ok", "path": "/home/\udcff"}

    def pause(self, params: Params) -> Answer:
        self.told.append(("pause", params))
        return {"mode": "paused"}

    def wait(self, params: Params) -> Answer:
        assert self.release.wait(PATIENCE_S)
        return {"waited": True}

    def count(self, params: Params) -> Iterator[Answer]:
        for n in range(int(number(params, "to", 3))):
            yield {"n": n}
        if flag(params, "breaks"):
            raise NoSuchSession("It is gone.", hint="Look elsewhere.")

    def fail(self, params: Params) -> Answer:
        match text(params, "how"):
            case "unknown":
                raise NoSuchSession("No session 'x' is known here.", hint="sessiond list")
            case "ambiguous":
                raise AmbiguousSession("Two have it.")
            case "settings":
                raise ConfigError("A setting is wrong.")
            case "github":
                raise Unreachable("GitHub does not answer.")
            case _:
                raise ZeroDivisionError("division by zero")


@pytest.fixture
def daemon(socket_dir: Path) -> Iterator[Daemon]:
    daemon = Daemon(socket_dir / "ctl.sock")
    with process.bound(daemon.path) as listener:
        server = Server(daemon.control, listener, threads=4, name="control")
        server.start()
        yield daemon
        daemon.release.set()
        server.close()
        assert not server.alive()


def by_hand(path: Path, data: bytes) -> tuple[int, dict[str, str], bytes]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(path))
        connection.sendall(data)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split()[1]), headers, body


def test_looking_gives_the_query_and_acting_the_body(daemon: Daemon) -> None:
    answer = client.request(daemon.path, "status", {"id": "a b/ö&=", "buried": True, "none": None, "n": 3})
    assert answer == {"status": "ok", "path": "/home/\udcff"}
    assert client.request(daemon.path, "pause", {"on": True, "none": None}, acts=True) == {"mode": "paused"}
    assert daemon.told == [
        ("status", {"id": "a b/ö&=", "buried": "1", "n": "3"}),
        ("pause", {"on": True}),
    ]
    assert daemon.emitted == [("command_received", {"command": "pause"})]
    assert daemon.measured == ["status", "pause"]


@pytest.mark.parametrize(
    ("how", "status", "code", "exit_code"),
    [
        ("unknown", 404, "no_such_session", 4),
        ("ambiguous", 400, "ambiguous_session", 2),
        ("settings", 422, "config_invalid", 78),
        ("github", 502, "github_unreachable", 1),
        ("bug", 500, "internal", 70),
    ],
)
def test_an_error_keeps_its_code_and_exit_code(
    daemon: Daemon, how: str, status: int, code: str, exit_code: int
) -> None:
    with pytest.raises(DaemonError) as caught:
        client.request(daemon.path, "fail", {"how": how}, acts=True)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    body = json.dumps({"how": how}).encode()
    head = f"POST /v1/fail HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    found, headers, answer = by_hand(daemon.path, head + body)
    assert (found, headers["content-type"]) == (status, "application/json")
    error = json.loads(answer)["error"]
    assert error.keys() == {"code", "message", "hint", "exit_code"}
    assert ("command_failed" in [event for event, _ in daemon.emitted]) is (how == "bug")
    assert client.request(daemon.path, "status")["status"] == "ok"


@pytest.mark.parametrize(
    ("request_line", "status", "says"),
    [
        ("GET /v1/pause", 405, "takes POST"),
        ("POST /v1/status", 405, "takes GET"),
        ("DELETE /v1/pause", 405, "takes POST"),
        ("GET /v1/nothing", 404, "knows no 'nothing'"),
        ("GET /v2/status", 404, "knows no 'status'"),
        ("GET /v1/status/", 200, "ok"),
        ("GET /", 404, "knows"),
        ("GET /../../etc/passwd", 404, "knows no"),
    ],
)
def test_what_is_not_there(daemon: Daemon, request_line: str, status: int, says: str) -> None:
    found, _, answer = by_hand(daemon.path, f"{request_line} HTTP/1.0\r\n\r\n".encode())
    assert found == status
    assert says in answer.decode()
    assert ("pause", {}) not in daemon.told


@pytest.mark.parametrize("body", [b"{", b"[]", b"3", b"\xff", b'"x"', b"[" * 200_000])
def test_a_body_that_is_no_object_is_refused(daemon: Daemon, body: bytes) -> None:
    head = f"POST /v1/pause HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    status, _, answer = by_hand(daemon.path, head + body)
    assert status == 400
    assert json.loads(answer)["error"]["code"] == "usage"
    assert daemon.told == []


def test_a_body_without_end_is_refused(daemon: Daemon) -> None:
    head = f"POST /v1/pause HTTP/1.0\r\nContent-Length: {BODY_BYTES + 1}\r\n\r\n".encode()
    status, _, _ = by_hand(daemon.path, head)
    assert status == 413
    assert daemon.told == []


def test_a_long_answer_arrives_whole(daemon: Daemon) -> None:
    assert len(client.request(daemon.path, "big", {"bytes": 5_000_000})["text"]) == 5_000_000


def test_a_verb_may_go_on_answering(daemon: Daemon) -> None:
    assert [answer["n"] for answer in client.stream(daemon.path, "count", {"to": 4})] == [0, 1, 2, 3]
    assert list(client.stream(daemon.path, "count", {"to": 0})) == []
    seen = []
    with pytest.raises(DaemonError, match="It is gone") as caught:
        seen += [answer["n"] for answer in client.stream(daemon.path, "count", {"to": 2, "breaks": True})]
    assert caught.value.exit_code == 4
    with pytest.raises(DaemonError):  # an error before the first answer
        list(client.stream(daemon.path, "count", {"to": "many"}))


def test_who_waits_holds_up_nobody(daemon: Daemon) -> None:
    answers: list[Answer] = []
    waiting = [
        threading.Thread(target=lambda: answers.append(client.request(daemon.path, "wait"))) for _ in range(3)
    ]
    for thread in waiting:
        thread.start()
    assert client.request(daemon.path, "status", timeout_s=PATIENCE_S)["status"] == "ok"
    assert answers == []
    daemon.release.set()
    for thread in waiting:
        thread.join(PATIENCE_S)
    assert answers == [{"waited": True}] * 3


def test_an_answer_under_way_is_finished_before_the_socket_closes(socket_dir: Path) -> None:
    daemon = Daemon(socket_dir / "ctl.sock")
    answers: list[Answer] = []
    with process.bound(daemon.path) as listener:
        server = Server(daemon.control, listener, threads=2, name="control")
        server.start()
        asking = threading.Thread(target=lambda: answers.append(client.request(daemon.path, "wait")))
        asking.start()
        while not daemon.control._verbs or not server._server.active_channels:
            time.sleep(0.01)
        closing = threading.Thread(target=server.close)
        closing.start()
        daemon.release.set()
        closing.join(PATIENCE_S)
        asking.join(PATIENCE_S)
    assert answers == [{"waited": True}]
    with pytest.raises(DaemonNotRunning):
        client.request(daemon.path, "status")


def test_closing_a_server_that_never_started(socket_dir: Path) -> None:
    with process.bound(socket_dir / "ctl.sock") as listener:
        Server(Daemon(socket_dir).control, listener, threads=2, name="control").close()


def test_parameters_are_read_strictly() -> None:
    assert text({"id": "x"}, "id") == "x"
    assert text({}, "id", "") == ""
    for wrong in ({}, {"id": ""}, {"id": 3}, {"id": None}):
        with pytest.raises(UsageError, match="id"):
            text(wrong, "id")
    assert number({"wait": "1.5"}, "wait", 0) == 1.5
    assert number({}, "wait", 120) == 120
    for bad in ("many", "", "nan", "inf", None, True, [1]):
        with pytest.raises(UsageError, match="wait"):
            number({"wait": bad}, "wait", 0)
    assert [flag({"full": value}, "full") for value in (True, "1", "true", "", False, "0", "false")] == [
        True, True, True, True, False, False, False,
    ]  # fmt: skip
    assert flag({}, "full") is False
    for odd in ("yes", 2, None, ["1"]):
        with pytest.raises(UsageError, match="full"):
            flag({"full": odd}, "full")

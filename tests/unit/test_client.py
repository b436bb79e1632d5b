"""The client, against those who are not a healthy daemon."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sessiond import client
from sessionsync.errors import ConfigError, DaemonError, DaemonNotRunning, DaemonSilent
from tests.conftest import PATIENCE_S

Serve = Callable[[bytes], Path]


@pytest.fixture
def serve(socket_dir: Path) -> Iterator[Serve]:
    """Return a function that answers the next connection with these bytes."""
    path = socket_dir / "ctl.sock"
    threads: list[threading.Thread] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def answer(data: bytes) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(data)

    def start(data: bytes) -> Path:
        threads.append(threading.Thread(target=answer, args=[data], daemon=True))
        threads[-1].start()
        return path

    yield start
    for thread in threads:
        thread.join(PATIENCE_S)
    listener.close()


def test_nobody_there(socket_dir: Path) -> None:
    stale = socket_dir / "stale.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(stale))
    for path in (stale, socket_dir / "none.sock", socket_dir / "no" / "folder.sock"):
        with pytest.raises(DaemonNotRunning, match="not running") as caught:
            client.request(path, "status")
        assert caught.value.exit_code == 3
        assert caught.value.code == "daemon_not_running"
        assert "sessiond run" in caught.value.hint


def test_somebody_who_does_not_answer(socket_dir: Path) -> None:
    path = socket_dir / "ctl.sock"
    with socket.socket(socket.AF_UNIX) as frozen:
        frozen.bind(str(path))
        frozen.listen(0)
        started = time.monotonic()
        with pytest.raises(DaemonSilent, match="did not answer `status` within 0 s") as caught:
            client.request(path, "status", timeout_s=0.2)
        assert caught.value.exit_code == 1
        assert time.monotonic() - started < PATIENCE_S
        with pytest.raises(DaemonSilent, match="takes no connection"):  # its queue is full
            client.request(path, "status", timeout_s=0.2)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.0 200 OK\r\n",
        b'HTTP/1.0 200 OK\r\n\r\n{"status": "o',
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{}\n",
    ],
)
def test_an_answer_that_is_cut_is_no_answer(serve: Serve, answer: bytes) -> None:
    with pytest.raises(DaemonNotRunning, match="ended while it answered"):
        client.request(serve(answer), "status")


def test_something_else_listens(serve: Serve) -> None:
    with pytest.raises(ConfigError, match="something else"):
        client.request(serve(b"SSH-2.0-OpenSSH\r\n\r\n"), "status")


def test_an_error_without_a_body_is_an_error(serve: Serve) -> None:
    with pytest.raises(DaemonError) as caught:
        client.request(serve(b"HTTP/1.0 413 Too Large\r\n\r\n{}"), "status")
    assert (caught.value.code, caught.value.exit_code) == ("internal", 1)

"""What is said to the service manager, heard by a real datagram socket."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sessiond.notify import STATUS_LETTERS, Notify
from tests.conftest import PATIENCE_S


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(PATIENCE_S)
        yield made


def heard(ear: socket.socket) -> list[str]:
    return ear.recv(4096).decode().split("\n")


def silent(ear: socket.socket) -> bool:
    ear.setblocking(False)
    try:
        return not ear.recv(4096)
    except BlockingIOError:
        return True


def speaker(ear: socket.socket, **environ: str) -> Notify:
    return Notify({"NOTIFY_SOCKET": ear.getsockname(), **environ})


def test_each_word_is_one_datagram_with_a_line_for_people(ear: socket.socket) -> None:
    notify = speaker(ear)
    notify.ready("All is well.")
    assert heard(ear) == ["READY=1", "STATUS=All is well."]
    notify.stopping()
    assert heard(ear)[0] == "STOPPING=1"


def test_reloading_says_when_it_began(ear: socket.socket) -> None:
    import time

    before = time.monotonic_ns() // 1000
    speaker(ear).reloading()
    first, usec, status = heard(ear)
    assert first == "RELOADING=1"
    assert before <= int(usec.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    assert status.startswith("STATUS=")


def test_a_status_is_one_line_of_bounded_length_and_said_once(ear: socket.socket) -> None:
    notify = speaker(ear)
    notify.status("one\nREADY=1\n two")
    assert heard(ear) == ["STATUS=one READY=1 two"]
    notify.status("one\nREADY=1\n two")
    assert silent(ear)
    ear.settimeout(PATIENCE_S)
    notify.status("x" * 9999)
    assert heard(ear) == ["STATUS=" + "x" * STATUS_LETTERS]


def test_an_address_without_a_file() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0sessiond-test-{os.getpid()}")
        ear.settimeout(PATIENCE_S)
        Notify({"NOTIFY_SOCKET": f"@sessiond-test-{os.getpid()}"}).ready("here")
        assert heard(ear)[0] == "READY=1"


def test_the_watchdog_is_fed_only_where_it_watches_this_process(ear: socket.socket) -> None:
    watched = speaker(ear, WATCHDOG_USEC="60000000", WATCHDOG_PID=str(os.getpid()))
    assert watched.watchdog_s == 60
    watched.alive()
    assert heard(ear) == ["WATCHDOG=1"]
    for environ in (
        {},
        {"WATCHDOG_USEC": "6", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "x"},
        {"WATCHDOG_USEC": "0"},
    ):
        other = speaker(ear, **environ)
        assert other.watchdog_s is None
        other.alive()
        assert silent(ear)


@pytest.mark.parametrize("address", ["", "nonsense", "/nobody/listens", "\0", "/" + "x" * 200])
def test_nobody_listens(address: str) -> None:
    notify = Notify({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    notify.ready("here")
    notify.alive()


def test_a_manager_that_does_not_read_stops_nobody(ear: socket.socket) -> None:
    notify = speaker(ear, WATCHDOG_USEC="1000000")
    for _ in range(5000):
        notify.alive()


def test_what_was_not_heard_is_said_again(ear: socket.socket) -> None:
    notify = speaker(ear, WATCHDOG_USEC="1000000")
    for _ in range(5000):
        notify.alive()
    notify.status("busy")
    while not silent(ear):
        pass
    notify.status("busy")
    ear.settimeout(PATIENCE_S)
    assert heard(ear) == ["STATUS=busy"]


def test_a_busy_manager_hears_that_it_is_ready(ear: socket.socket) -> None:
    notify = speaker(ear, WATCHDOG_USEC="1000000")
    for _ in range(5000):
        notify.alive()
    speaking = threading.Thread(target=notify.ready, args=("here",))
    speaking.start()
    while (words := heard(ear)) == ["WATCHDOG=1"]:
        pass
    speaking.join(PATIENCE_S)
    assert words[0] == "READY=1"

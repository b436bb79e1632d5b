"""Another user of this machine, for real: what it can read, whom it can command, what it can put in the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import poll
from tests.process.user import User

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")

STRANGER = 65534
# What it tries, as a program of its own: it walks, reads, connects and commands.
TRIES = r"""
import json, os, socket, sys
folder, name, port, pid = sys.argv[1:]
read = []
for place, _, files in os.walk(folder):
    for file in files:
        try:
            with open(os.path.join(place, file), "rb") as opened:
                read.append(os.path.join(place, file))
        except OSError:
            pass
def ask(family, address, words):
    with socket.socket(family) as line:
        line.settimeout(10)
        try:
            line.connect(address)
            line.sendall(words)
            said = b""
            while block := line.recv(65536):
                said += block
            return said.decode()
        except OSError as error:
            return type(error).__name__
def command(words):
    return ask(socket.AF_UNIX, name, words.encode() + b" HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
def memory():
    try:
        with open(f"/proc/{pid}/environ", "rb") as opened:
            return opened.read().decode()
    except OSError as error:
        return type(error).__name__
def web(words):
    return ask(socket.AF_INET, ("127.0.0.1", int(port)), words.encode() + b" HTTP/1.0\r\nHost: localhost\r\n\r\n")
print(json.dumps({
    "read": read, "memory": memory(), "status": command("GET /v1/status"), "stop": command("POST /v1/stop"),
    "metrics": web("GET /metrics"), "post": web("POST /metrics"), "status_by_web": web("GET /v1/status"),
}))
"""


def stranger(user: User) -> dict[str, Any]:
    """What the other user gets, of all that it tries."""
    python = shutil.which("python3", path=os.defpath)
    if python is None:
        pytest.skip("no python3 that everybody may run")
    done = subprocess.run(
        [python, "-I", "-c", TRIES, str(user.folder), str(user.socket), str(user._port), str(user.pid)],
        user=STRANGER,
        group=STRANGER,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def user(socket_dir: Path) -> Iterator[User]:
    with User(socket_dir, GH_TOKEN="ghp_only_for_its_owner") as made:
        # nothing around it protects it, and its umask least of all
        made.before = (*made.before, "/bin/sh", "-c", 'umask 0; exec "$@"', "sh")
        for folder in (socket_dir, *made.project.parents, *made.folder_of_project.parents, made.project):
            if folder.is_relative_to(socket_dir):
                folder.chmod(0o755)
        yield made


def test_another_user_can_neither_read_nor_command(user: User) -> None:
    user.start()
    path = user.say("A title that is nobody's business")
    path.chmod(0o600)  # as the agent itself has it
    user.save(path)
    user.check_kept(path)
    assert user.type("restore", path.stem, "--out", str(user.folder / "out")).returncode == 0
    assert user.type("search", "business").returncode == 0
    assert user.type("doctor", "--bundle", str(user.folder / "bundle.tar.gz")).stdout

    got = stranger(user)
    assert got["read"] == []
    assert got["memory"] == "PermissionError"
    assert (got["status"], got["stop"]) == ("PermissionError", "PermissionError")
    assert got["post"].startswith("HTTP/1.0 405")
    assert got["status_by_web"].startswith("HTTP/1.0 404")
    assert got["metrics"].startswith("HTTP/1.0 200")
    for word in ("business", path.stem, user.project.name, str(user.folder), "ghp_"):
        assert f'"{word}' not in got["metrics"], word
        assert f"{word} " not in got["metrics"], word

    # even where somebody has opened every door on the way, the daemon looks at who comes in
    for place in (user.socket.parent.parent, user.socket.parent):
        place.chmod(0o755)
    user.socket.chmod(0o666)
    got = stranger(user)
    assert "HTTP/" not in got["status"] + got["stop"]
    poll(lambda: len(user.logged("stranger_refused")) == 2)  # it is turned away, and then told of
    assert {found["uid"] for found in user.logged("stranger_refused")} == {STRANGER}
    assert user.status()["pid"] == user.pid


def test_what_belongs_to_another_user_is_not_used(user: User) -> None:
    state = user.folder / "s" / "state"
    state.mkdir(parents=True)
    os.chown(state, STRANGER, STRANGER)
    code, said, hint = user.fails("run")
    assert code == 77
    assert str(state) in said
    assert "SESSIOND_HOME" in hint
    assert list(state.iterdir()) == []


def test_who_listens_in_the_daemons_place_is_told_nothing(user: User) -> None:
    """The socket's folder was another user's before: the command line speaks to no daemon of somebody else."""
    python = shutil.which("python3", path=os.defpath)
    if python is None:
        pytest.skip("no python3 that everybody may run")
    place = user.folder / "theirs"
    place.mkdir()
    os.chown(place, STRANGER, STRANGER)
    listens = (
        "import socket, sys; line = socket.socket(socket.AF_UNIX); line.bind(sys.argv[1]); line.listen();"
        "print('here', flush=True); there, _ = line.accept(); print(there.recv(100), flush=True)"
    )
    with subprocess.Popen(
        [python, "-I", "-c", listens, str(place / "ctl.sock")],
        user=STRANGER,
        group=STRANGER,
        extra_groups=[],
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "here\n"
        try:
            asks = (
                "import os, sys; from pathlib import Path; from sessiond import client;"
                "os.geteuid = lambda: 4321;"  # root may ask every daemon, so it is none here
                "client.request(Path(sys.argv[1]), 'session_save', {'path': 'secret'}, acts=True)"
            )
            done = subprocess.run(
                [sys.executable, "-c", asks, str(place / "ctl.sock")],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert f"listens the user with the id {STRANGER}" in done.stderr
            assert other.stdout.readline() == "b''\n"
        finally:
            other.kill()

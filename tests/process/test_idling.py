"""The daemon's ears as a real process: frozen, out of watches, and with nothing to do."""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sessiond import client
from tests.conftest import poll

ROOT = Path(__file__).parents[2]

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="inotify and /proc")


class Idling:
    """`python -m tests.process.idling` and the lines it prints."""

    def __init__(self, root: Path, socket: Path, *before: str) -> None:
        command = [*before, sys.executable, "-m", "tests.process.idling", str(root), str(socket)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.seen: list[dict[str, Any]] = []
        self.ready = self.next(lambda line: "ready" in line)

    def read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def next(self, wanted: Callable[[dict[str, Any]], object], timeout_s: float = 60) -> dict[str, Any]:
        """The next line that is wanted."""
        until = time.monotonic() + timeout_s
        while True:
            line = self.lines.get(timeout=max(0.1, until - time.monotonic()))
            self.seen.append(line)
            if wanted(line):
                return line

    def wake_ups(self) -> int:
        """How often any of its threads has slept so far."""
        return sum(
            int(line.split()[1])
            for task in Path(f"/proc/{self.process.pid}/task").iterdir()
            for line in (task / "status").read_text().splitlines()
            if line.startswith("voluntary_ctxt_switches")
        )

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(10)
        self.reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def idle(tmp_path: Path, socket_dir: Path) -> Iterator[Callable[..., Idling]]:
    started: list[Idling] = []

    def start(root: Path, *before: str) -> Idling:
        started.append(Idling(root, socket_dir / "ctl.sock", *before))
        return started[-1]

    yield start
    for each in started:
        each.end()


@linux_only
def test_what_happened_while_it_was_frozen_ends_in_a_rescan(
    tmp_path: Path, idle: Callable[..., Idling]
) -> None:
    root = tmp_path / "projects"
    root.mkdir()
    ears = idle(root)
    ears.process.send_signal(signal.SIGSTOP)
    for number in range(20_000):
        os.close(os.open(root / f"{number}", os.O_CREAT | os.O_WRONLY))
    (root / "late").mkdir()
    ears.process.send_signal(signal.SIGCONT)
    overflow = {"event": "watch_overflowed", "queue": "kernel"}
    ears.next(lambda _: overflow in ears.seen and any(line.get("watches") == 2 for line in ears.seen))
    assert any(line.get("rescan") for line in ears.seen)
    # watching anew asks for one more rescan, which finds by itself what it would else be told of
    for number in range(5):
        (root / "late" / f"after{number}").touch()
        heard = ears.next(lambda line: line.get("rescan") or line.get("names"))
        if heard["names"]:
            break
    assert f"after{number}" in heard["names"]
    assert heard["alive"]


@linux_only
def test_nothing_wakes_while_nothing_happens(
    tmp_path: Path, socket_dir: Path, idle: Callable[..., Idling]
) -> None:
    for number in range(50):
        (tmp_path / "projects" / f"{number}").mkdir(parents=True)
    ears = idle(tmp_path / "projects")
    assert ears.ready["watches"] == 51
    assert client.request(socket_dir / "ctl.sock", "ping") == {"pong": True}
    with urllib.request.urlopen(f"http://127.0.0.1:{ears.ready['port']}/healthz", timeout=40) as answer:
        assert answer.status == 200
    before: list[int] = []

    def rests() -> bool:
        """Whether the answers' threads sleep again."""
        before.append(ears.wake_ups())
        return before[-2:-1] == before[-1:]

    poll(rests, interval_s=0.5)
    time.sleep(4)
    assert ears.wake_ups() - before[-1] <= 1


@linux_only
def test_running_out_of_watches_is_said_once_and_survived(
    tmp_path: Path, idle: Callable[..., Idling]
) -> None:
    root = tmp_path / "projects"
    for number in range(60):
        (root / f"{number:02}").mkdir(parents=True)
    command = 'echo 20 > /proc/sys/user/max_inotify_watches && exec "$@"'
    limited = ("unshare", "--user", "--map-root-user", "sh", "-c", command, "sh")
    if (
        not shutil.which("unshare")
        or subprocess.run([*limited, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no user namespace here to set a limit in")
    ears = idle(root, *limited)
    assert ears.ready["watches"] == 20
    (root / "top").touch()
    assert ears.next(lambda line: "top" in line.get("names", []))["alive"]
    assert [line["event"] for line in ears.seen if "event" in line] == ["watch_refused"]

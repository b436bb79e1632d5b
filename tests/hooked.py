"""An agent with hooks: a transcript, and `sessiond hook` run as the agent runs it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from sessiond.handover import BETWEEN_S, TRIES, TRY_S
from tests.conftest import PATIENCE_S, lines_of
from tests.daemon import Daemon
from tests.rig import append, line

Json = dict[str, Any]
# Longer than a hook asks, and whoever waits for what became of that.
ENDS_S = TRIES * TRY_S + BETWEEN_S + 2 * PATIENCE_S
SID = "3f2a9c1e-58d7-4cf4-9f3f-6a6f5c9c1a11"


class Agent:
    """Claude Code, as far as a hook can see: a transcript, and events on stdin."""

    def __init__(self, daemon: Daemon, project: str = "work/app") -> None:
        self.daemon = daemon
        self.project = daemon.folder / project
        self.project.mkdir(parents=True)
        folder = daemon.agent / "projects" / f"-{project.replace('/', '-')}"
        self.transcript = folder / f"{SID}.jsonl"
        self.transcript.parent.mkdir()
        self.mirror = daemon.mirror
        self.copy = daemon.mirror / self.project.name / f"{SID}.jsonl"
        self.log_file = daemon.log.with_name("hook.log")
        self.spool = daemon.state.with_name("spool")

    def say(self, text: str = "hello", kind: str = "user") -> None:
        append(self.transcript, line(kind, text, self.project, session=SID))

    def event(self, **more: object) -> bytes:
        said = {"session_id": SID, "transcript_path": str(self.transcript), "cwd": "/", **more}
        return json.dumps(said).encode()

    def fire(
        self, *arguments: str, data: bytes | None = None, **more: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the hook, which must end with 0 and print nothing to stderr."""
        done = run(self.daemon, *arguments, data=self.event(**more) if data is None else data)
        assert (done.returncode, done.stderr) == (0, b"")
        return done

    def log(self, *events: str) -> list[Json]:
        """What hooks have logged, or of that these events."""
        return [each for each in lines_of(self.log_file) if not events or each["event"] in events]

    def told(self) -> list[tuple[str, int]]:
        """The outcomes of the calls to the daemon, with their attempts."""
        return [
            (each["event"], each.get("attempt", 0))
            for each in self.log()
            if each["event"].startswith("session_save")
        ]

    def triggers(self) -> list[str]:
        shown = self.daemon.ctl("show", session=SID)
        return [checkpoint["trigger"] for checkpoint in shown["critical_data"]["checkpoints"]]

    def asides(self) -> list[bytes]:
        """What was cut of the copy, and is kept beside it."""
        return [file.read_bytes() for file in sorted(self.copy.parent.glob(f"{SID}.*.*.jsonl"))]


def run(
    daemon: Daemon, *arguments: str, data: bytes = b"", **options: Any
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*daemon.before, sys.executable, "-m", "sessiond", "hook", *arguments],
        env=daemon.environ | options.pop("environ", {}),
        input=data,
        capture_output=True,
        timeout=50,
        check=False,
        **options,
    )


def logged(daemon: Daemon, event: str) -> list[Json]:
    """What the daemon has logged of an event."""
    return [line for line in lines_of(daemon.log) if line["event"] == event]


class answering:  # noqa: N801 - reads as a sentence
    """A socket at the daemon's place: answers each connection with the next of `answers`; b"" hangs up, None waits."""

    def __init__(self, path: Path, answers: list[bytes | None], asked: list[bytes]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._listener.settimeout(ENDS_S)
        self._asked = asked
        self._answers = answers
        self._release = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> threading.Event:
        self._thread.start()
        return self._release

    def __exit__(self, *_: object) -> None:
        self._release.set()
        self._thread.join(ENDS_S)
        self._listener.close()

    def _serve(self) -> None:
        answers = list(self._answers)
        while answers:
            answer = answers.pop(0)
            connection, _ = self._listener.accept()
            with connection:
                connection.settimeout(ENDS_S)
                self._asked.append(connection.recv(65536))
                if answer is None:
                    assert self._release.wait(ENDS_S)
                    answer = answers.pop(0)
                if answer:
                    assert answer is not None
                    head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(answer)}\r\n\r\n"
                    connection.sendall(head.encode() + answer)

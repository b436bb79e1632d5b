"""`sessiond run` as a process of its own, in a home of its own: to be killed, started again and measured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sessiond import client

START_S = 60.0
END_S = 20.0


class Daemon:
    """A daemon whose home, agent and backups are folders below `folder`.

    `settings` are variables `SESSIOND_<SECTION>_<KEY>`; nothing of the caller's environment is passed on
    but PATH.  `before` is what goes before the command, as to give up rights; `program` is the command.
    """

    before: tuple[str, ...] = ()
    program: tuple[str, ...] = (sys.executable, "-m", "sessiond")

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.agent = self.home / ".claude"
        self.mirror = self.home / ".claude-backup-sessions"
        self.vault = self.home / ".claude-backup"
        self.socket = folder / "s" / "run" / "ctl.sock"
        self.log = folder / "s" / "log" / "sessiond.log"
        self.state = folder / "s" / "state" / "state.db"
        (self.agent / "projects").mkdir(parents=True, exist_ok=True)
        self.environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "CLAUDE_CONFIG_DIR": str(self.agent),
            "SESSIOND_HOME": str(folder / "s"),
            "SESSIOND_HTTP_LISTEN": "127.0.0.1:0",
            "GIT_CONFIG_NOSYSTEM": "1",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process's id; an error when it does not run."""
        assert self._process is not None, "the daemon is not running"
        return self._process.pid

    @property
    def port(self) -> int:
        """Where the loopback port is, of a daemon that was started."""
        return self._port

    def start(self, *, scanned: bool = True) -> float:
        """Start it and wait until it serves and, with `scanned`, has looked at everything once.

        Returns the seconds from the start until then.
        """
        began = time.monotonic()
        said = self._log_size()
        self.launch()
        while not self._serves(said, scanned=scanned):
            assert self._process is not None
            if (code := self._process.poll()) is not None:
                self._process = None
                raise AssertionError(f"the daemon ended with {code}:\n{self._tail(said)}")
            if time.monotonic() > began + START_S:
                self.kill()
                raise AssertionError(f"the daemon was not ready after {START_S} s:\n{self._tail(said)}")
            time.sleep(0.005)
        return time.monotonic() - began

    def launch(self) -> None:
        """Start it and wait for nothing."""
        self._process = subprocess.Popen(
            [*self.before, *self.program, "run"],
            env=self.environ,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # a Ctrl-C on the terminal is for who started us, who then ends us
            start_new_session=True,
        )

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._end(signal.SIGTERM)

    def ctl(self, verb: str, *, acts: bool = False, **params: Any) -> dict[str, Any]:
        """What `sessiond ctl VERB --json` would print."""
        return client.request(self.socket, verb, params, acts=acts, timeout_s=120)

    def get(self, path: str) -> str:
        """What the loopback port answers; an `HTTPError` where that is not 200."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=20) as answer:
            return str(answer.read().decode())

    def metrics(self) -> Mapping[str, float]:
        """Every series of `/metrics` by its name with labels."""
        lines = [line.rpartition(" ") for line in self.get("/metrics").splitlines() if line[:1] != "#"]
        return {name: float(value) for name, _, value in lines}

    def _serves(self, said: int, *, scanned: bool) -> bool:
        for line in self._tail(said).splitlines(keepends=True):
            if '"daemon_started"' in line and line.endswith("\n"):  # it may be seen half
                self._port = int(json.loads(line)["port"])
        if not self._port:
            return False
        try:
            return not scanned or bool(self.get("/readyz"))
        except OSError:
            return False

    def _log_size(self) -> int:
        self._port = 0
        return self.log.stat().st_size if self.log.exists() else 0

    def _tail(self, start: int) -> str:
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_S)

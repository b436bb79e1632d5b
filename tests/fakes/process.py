"""The stand-in GitHub as a process of its own, to be killed and started again on the same port and state."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]


class GitHubProcess:
    """`with GitHubProcess(tmp_path / "github.db") as gh: gh.call("add_repo", full_name="o/r")`."""

    def __init__(self, state: Path, *, port: int = 0, seed: int = 0, start_s: float = 20) -> None:
        self.state = state
        self.port = port
        self.seed = seed
        self.start_s = start_s
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process's id; an error when it does not run."""
        assert self._process is not None, "the fake GitHub is not running"
        return self._process.pid

    def start(self) -> None:
        """Start, or start again where it was, and wait until it serves."""
        command = [sys.executable, "-m", "tests.fakes.github"]
        command += ["--port", str(self.port), "--state", str(self.state), "--seed", str(self.seed)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], self.start_s)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self.kill()
            raise TimeoutError(f"the fake GitHub did not start within {self.start_s} s")
        self.url = str(json.loads(line)["url"])
        self.port = int(self.url.rsplit(":", 1)[1])

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._end(signal.SIGTERM)

    def call(self, control: str, /, **arguments: object) -> Any:
        """A method of the world by its name, e.g. `call("requests", writes=True)`; plain data comes back."""
        request = urllib.request.Request(
            f"{self.url}/_fake/{control}", data=json.dumps(arguments).encode(), method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                raise ValueError(refused.read().decode()) from None

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
        finally:
            if process.stdout is not None:
                process.stdout.close()

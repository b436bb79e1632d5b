"""Prism (npm) as a judge: a proxy that holds every exchange against GitHub's own OpenAPI description."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from tests.ports import free_port

START_S = 120.0
"""Measured 2.5 to 3.4 s on an idle machine."""
ERROR = re.compile(r"\berror\b.*Violation: (.*)|(Selected route not found|Route not resolved[^\n]*)")


class Prism:
    """Proxies by upstream and version. Limits: it follows redirects itself and refuses bodies over 10 MB."""

    def __init__(self, node_cache: Path, cut: Path, folder: Path) -> None:
        self._modules = node_cache / "node_modules"
        self._cut = cut
        self._folder = folder
        self._running: dict[tuple[str, str], tuple[subprocess.Popen[bytes], str]] = {}
        self._read: dict[Path, int] = {}

    def __call__(self, upstream_url: str, version: str = "2022-11-28") -> str:
        """The URL of a proxy in front of `upstream_url`, started when needed."""
        key = (upstream_url, version)
        if key not in self._running:
            self._running[key] = self._start(upstream_url, version)
        return self._running[key][1]

    def violations(self) -> list[str]:
        """What was found wrong, in requests and answers, since this was last asked.

        Prism writes its log when it likes; the answer's own header (`broken`) is there at once.
        """
        found = []
        for log in sorted(self._folder.glob("*.log")):
            text = log.read_text(encoding="utf-8", errors="replace")
            start, self._read[log] = self._read.get(log, 0), len(text)
            plain = re.sub(r"\x1b\[[0-9;]*m", "", text[start:])
            found += [line.strip() for line in plain.splitlines() if ERROR.search(line)]
        return found

    def stop(self, upstream_url: str) -> None:
        """End the proxies of one upstream."""
        for key in [key for key in self._running if key[0] == upstream_url]:
            process, _ = self._running.pop(key)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def close(self) -> None:
        """End all of them."""
        for upstream_url, _ in list(self._running):
            self.stop(upstream_url)

    def _description(self, version: str) -> Path:
        file = self._folder / f"github-{version}.json"
        if not file.is_file():
            command = ["node", str(self._cut), str(file), "--version", version, "--strict"]
            environment = {**os.environ, "NODE_PATH": str(self._modules)}
            subprocess.run(command, check=True, env=environment, capture_output=True, timeout=60)
        return file

    def _start(self, upstream_url: str, version: str) -> tuple[subprocess.Popen[bytes], str]:
        port = free_port()
        log = self._folder / f"{port}.log"
        program = self._modules / ".bin" / "prism"
        command = [
            "node",
            str(program),
            "proxy",
            str(self._description(version)),
            upstream_url,
            "-p",
            str(port),
        ]
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        end = time.monotonic() + START_S
        while b"Prism is listening" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                process.wait(10)
                raise TimeoutError(f"Prism did not start: {log.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.05)
        return process, f"http://127.0.0.1:{port}"


def broken(headers: object) -> list[dict[str, object]]:
    """The violations Prism notes in an answer's own headers."""
    text = getattr(headers, "get", lambda _: None)("sl-violations")
    found: list[dict[str, object]] = json.loads(text) if text else []
    return found

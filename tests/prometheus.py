"""Prometheus and Alertmanager as processes of a test, on free ports, with a receiver of what they send."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, poll
from tests.ports import free_port

RULES = ROOT / "daemon" / "sessiond" / "share" / "sessiond.rules.yml"
# What takes five minutes for people takes a second in a test.
FASTER = 300
STEP = "300ms"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Alert = dict[str, Any]


def programs() -> tuple[str, str]:
    """Prometheus and Alertmanager; the test skips where they are missing."""
    found = (
        shutil.which("prometheus"),
        shutil.which("prometheus-alertmanager") or shutil.which("alertmanager"),
    )
    if found[0] is None or found[1] is None:
        pytest.skip("no Prometheus or no Alertmanager (Debian: prometheus, prometheus-alertmanager)")
    return found[0], found[1]


def faster(rules: str) -> str:
    """The rules with shorter times: `for`, windows, and how late a checkpoint may be."""

    def duration(text: re.Match[str]) -> str:
        return f"{int(text[1]) * _SECONDS[text[2]] * 1000 // FASTER}ms"

    def lag(text: re.Match[str]) -> str:
        return f"sessiond_sync_lag_seconds > {int(text[1]) / FASTER:g}"

    rules = re.sub(r"(?<=\[)(\d+)([smhd])(?=\])", duration, rules)
    rules = re.sub(r"(?<=for: )(\d+)([smhd])\b", duration, rules)
    return re.sub(r"sessiond_sync_lag_seconds > (\d+)", lag, rules)


def queries(dashboard: dict[str, Any]) -> Iterator[str]:
    """What a dashboard asks, with a value for each of Grafana's variables."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield str(target["expr"]).replace("$__rate_interval", "5m").replace("$instance", ".+")


class Receiver:
    """Where Alertmanager sends to: every alert it told of, in order."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.alerts += told["alerts"]
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def told(self, name: str, severity: str, status: str) -> list[Alert]:
        """What was told of one alert."""
        wanted = {"alertname": name, "severity": severity}
        return [a for a in self.alerts if a["status"] == status and wanted.items() <= a["labels"].items()]


class Monitoring:
    """A Prometheus that scrapes `target` and an Alertmanager that tells `receiver`."""

    def __init__(self, folder: Path, target: str, receiver: Receiver, rules: str) -> None:
        prometheus, alertmanager = programs()
        self._port, manager = free_port(), free_port()
        folder.mkdir()
        (folder / "sessiond.rules.yml").write_text(rules)
        settings: dict[str, Any] = {
            "global": {"scrape_interval": STEP, "scrape_timeout": STEP, "evaluation_interval": STEP},
            "rule_files": ["sessiond.rules.yml"],
            "scrape_configs": [{"job_name": "sessiond", "static_configs": [{"targets": [target]}]}],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{manager}"]}]}]},
        }
        routes: dict[str, Any] = {
            "route": {
                "receiver": "test",
                "group_by": ["..."],
                "group_wait": "0s",
                "group_interval": "300ms",
                "repeat_interval": "1h",
            },
            "receivers": [
                {
                    "name": "test",
                    "webhook_configs": [{"url": f"http://127.0.0.1:{receiver.port}", "send_resolved": True}],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        (folder / "alertmanager.yml").write_text(yaml.safe_dump(routes))
        self._processes = [
            _started(
                folder / "alertmanager.log",
                alertmanager,
                f"--config.file={folder / 'alertmanager.yml'}",
                f"--storage.path={folder / 'alertmanager'}",
                f"--web.listen-address=127.0.0.1:{manager}",
                "--cluster.listen-address=",
            ),
            _started(
                folder / "prometheus.log",
                prometheus,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                f"--rules.alert.resend-delay={STEP}",
            ),
        ]

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def api(self, path: str, **parameters: str) -> Any:
        """What Prometheus answers; None while it does not."""
        for process in self._processes:
            assert process.poll() is None, f"{process.args!r} has ended"
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self._port}/api/v1/{path}?{query}", timeout=10
            ) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def value(self, query: str) -> float | None:
        """The one number that a query gives."""
        found = self.api("query", query=query)
        return float(found["result"][0]["value"][1]) if found and found["result"] else None

    def firing(self) -> set[tuple[str, str]]:
        """The alerts that fire now, with their severity."""
        found = self.api("query", query='ALERTS{alertstate="firing"}')
        return {(each["metric"]["alertname"], each["metric"]["severity"]) for each in found["result"]}


@contextmanager
def monitored(folder: Path, target: str) -> Iterator[tuple[Monitoring, Receiver]]:
    """Both processes, up and scraping."""
    programs()
    receiver = Receiver()
    try:
        made = Monitoring(folder, target, receiver, faster(RULES.read_text(encoding="utf-8")))
        try:
            poll(lambda: made.value('up{job="sessiond"}') == 1)
            yield made, receiver
        finally:
            made.close()
    finally:
        receiver.close()


def _started(log: Path, *command: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd=log.parent
        )

"""`sessiond observe`: what a Prometheus and a Grafana need to watch this daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sessiond
from sessiond.cli.terminal import Terminal
from sessionsync.config import Config, Http

Json = dict[str, Any]

SHARE = Path(sessiond.__file__).parent / "share"


def found(config: Config) -> Json:
    """Where the metrics are served, and where rules and dashboard lie."""
    return {
        "listen": config.http.listen,
        "rules": str(SHARE / "sessiond.rules.yml"),
        "dashboard": str(SHARE / "sessiond.dashboard.json"),
    }


def render(answer: Json, _now: float, _out: Terminal) -> list[str]:
    """A configuration of Prometheus, as YAML that can be taken as it is."""
    listen, usual = answer["listen"], Http().listen
    lines = []
    if not listen:
        lines = [f"# Metrics are off. To turn them on, set http.listen to {usual} and restart."]
    elif listen.endswith(":0"):
        lines = [f"# http.listen is any free port. To have the same one always, set {usual} and restart."]
    return [
        *lines,
        "scrape_configs:",
        "  - job_name: sessiond",
        f"    static_configs: [{{targets: [{json.dumps(usual if lines else listen)}]}}]",
        f"rule_files: [{json.dumps(answer['rules'])}]",
        f"# Grafana: Dashboards, New, Import: {answer['dashboard']}",
    ]

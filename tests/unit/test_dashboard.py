"""The dashboard is what its script makes, asks for metrics that there are, and in words that Prometheus understands."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sessiond.metrics import catalogue
from sessiond.metrics.dashboard import dashboard, text
from tests.prometheus import queries

SHARE = Path(__file__).parents[2] / "daemon" / "sessiond" / "share"
DASHBOARD = SHARE / "sessiond.dashboard.json"
ENTRIES = {entry.series: entry for entry in catalogue()}


def panels() -> list[dict[str, Any]]:
    return list(dashboard()["panels"])


def test_it_is_what_its_script_makes() -> None:
    remedy = "python -m sessiond.metrics.dashboard > daemon/sessiond/share/sessiond.dashboard.json"
    assert DASHBOARD.read_text(encoding="utf-8") == text(), remedy
    json.loads(text())


def test_every_metric_has_a_panel_and_every_panel_a_metric() -> None:
    asked = set()
    for expression in queries(dashboard()):
        names = re.findall(r"sessiond_\w+", expression)
        names = [name if name in ENTRIES else re.sub(r"_bucket$", "", name) for name in names]
        assert names or "ALERTS" in expression
        asked |= set(names)
    assert asked == ENTRIES.keys()


def test_every_panel_can_be_told_from_the_others_and_says_what_it_shows() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    titles = [panel["title"] for panel in panels() if panel["type"] != "row"]
    assert len(set(titles)) == len(titles)
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["targets"]


def test_labels_in_queries_are_those_of_the_metric() -> None:
    for expression in queries(dashboard()):
        for labels, name in re.findall(r"by \(([\w, ]+)\) \((?:rate\()?(sessiond_\w+)\{", expression):
            entry = ENTRIES.get(name) or ENTRIES[name.removesuffix("_bucket")]
            assert set(labels.split(", ")) <= {*entry.labels, "instance", "le"}
        for name, selected in re.findall(r"(sessiond_\w+)\{([^}]*)\}", expression):
            entry = ENTRIES.get(name) or ENTRIES[name.removesuffix("_bucket")]
            for label, wanted in re.findall(r'(\w+)!?=~?"([^"]*)"', selected):
                assert label == "instance" or wanted in entry.labels[label]


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("no promtool (Debian: prometheus)")
    rules = [{"record": f"panel:{n}:query", "expr": each} for n, each in enumerate(queries(dashboard()))]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout

"""The alert rules: they hold the promised thresholds, speak of metrics that there are, and say what to do."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sessiond.metrics import catalogue
from sessiond.verbs import Verbs
from sessionsync.privacy.rules import KINDS
from sessionsync.reliability.indicators import BY_CODE
from sessionsync.reliability.score import LOSS_TARGET, RECOVERY_TARGET_S, SCORE_TARGET, SUCCESS_TARGET

ROOT = Path(__file__).parents[2]
RULES = ROOT / "daemon" / "sessiond" / "share" / "sessiond.rules.yml"
TESTS = ROOT / "tests" / "rules"
ENTRIES = {
    entry.series: entry
    for entry in catalogue(loops=("capture",), jobs=("rescan",), commands=Verbs.NAMES, kinds=KINDS)
}
# Which alert tells of the same as a finding does.
SAME = {
    "github_latency_high": "SessiondGitHubLatencyHigh",
    "github_errors_high": "SessiondGitHubErrorRateHigh",
    "sync_late": "SessiondSyncLagHigh",
    "sync_conflicts_high": "SessiondConflictRateHigh",
    "watches_low": "SessiondWatchLimitNear",
}
TARGETS = {
    "SessiondReliabilityLow": SCORE_TARGET,
    "SessiondMTTRHigh": RECOVERY_TARGET_S,
    "SessiondRecoveryFailing": SUCCESS_TARGET,
    "SessiondDataLoss": LOSS_TARGET,
}

Rule = dict[str, Any]


def rules() -> Iterator[Rule]:
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        yield from group["rules"]


ALERTS = [rule for rule in rules() if "alert" in rule]


def promtool(*arguments: str) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool (Debian: prometheus)")
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def threshold(alert: str, severity: str) -> float:
    """What the first comparison of an alert compares with."""
    (rule,) = (r for r in ALERTS if r["alert"] == alert and r["labels"]["severity"] == severity)
    found = re.search(r"[<>] ([\d.]+)", rule["expr"])
    assert found is not None
    return float(found[1])


def test_prometheus_takes_them_without_a_complaint() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@pytest.mark.parametrize("windows", ["minutes", "hours"])
def test_they_fire_where_they_should_and_nowhere_else(windows: str) -> None:
    promtool("test", "rules", str(TESTS / f"{windows}.yml"))


def test_each_alert_is_seen_firing_in_those_tests() -> None:
    expected = "".join(file.read_text(encoding="utf-8") for file in TESTS.glob("*.yml"))
    for rule in ALERTS:
        severity = rule["labels"]["severity"]
        fires = f'alertname="{rule["alert"]}", severity="{severity}"' in expected
        assert fires or (rule["alert"], severity) == ("SessiondWatchdog", "none")
    assert "alertname: SessiondWatchdog" in expected


def test_alerts_and_findings_have_the_same_thresholds() -> None:
    for code, alert in SAME.items():
        indicator = BY_CODE[code]
        for severity, value in (("warning", indicator.warning), ("critical", indicator.critical)):
            assert value is None or threshold(alert, severity) == value, (code, severity)
    for alert, target in TARGETS.items():
        (rule,) = (r for r in ALERTS if r["alert"] == alert)
        assert threshold(alert, rule["labels"]["severity"]) == target


def test_a_rate_of_a_few_fires_nothing() -> None:
    """One error in two is not 50 %; the score and the loss are of what there was, be it little."""
    whole = {"SessiondReliabilityLow", "SessiondDataLoss", "SessiondMTTRHigh"}
    for rule in ALERTS:
        is_rate = re.search(r"instance:\S+:(?!\w*remaining)(ratio_rate|p95|mean)", rule["expr"]) is not None
        asks_for_some = re.search(r"increase\S*(\{[^}]*\})?(\[\w+\]\)\))? >= \d+", rule["expr"]) is not None
        assert asks_for_some == (is_rate and rule["alert"] not in whole), rule["alert"]


def test_they_speak_of_what_there_is() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for rule in rules():
        for name in re.findall(r"instance:[\w:]+", rule["expr"]):
            assert name in recorded
        for name, selected in re.findall(r"(?<![\w:])(sessiond_\w+)(\{[^}]*\})?", rule["expr"]):
            entry = ENTRIES.get(name) or ENTRIES[re.sub(r"_(bucket|sum|count)$", "", name)]
            for label, values in re.findall(r'(\w+)(?:=|!=|=~|!~)"([^"]*)"', selected):
                assert set(values.split("|")) <= set(entry.labels[label])


def test_they_tell_a_person_what_to_do() -> None:
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"critical", "warning", "none"}
        assert re.fullmatch(r"Sessiond[A-Z]\w+", rule["alert"])
        said = rule["annotations"]
        assert set(said) == {"summary", "description", "runbook_url"}
        assert said["runbook_url"].endswith("#runbook")
        assert "{{" not in said["summary"]
        assert said["summary"].endswith(".")
        assert said["description"].endswith(".")
        for command in re.findall(r"`sessiond ctl (\w+)", said["description"]):
            assert command in {*Verbs.NAMES, "logs"}


def test_the_runbook_is_where_they_point() -> None:
    assert "\n## Runbook\n" in (ROOT / "README.md").read_text(encoding="utf-8")

"""A real Prometheus scrapes the daemon, and a real Alertmanager tells of what goes wrong, and of its end."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from sessiond.metrics import catalogue
from sessiond.metrics.dashboard import dashboard
from tests.conftest import poll
from tests.daemon import Daemon
from tests.fakes.github import FakeGitHub
from tests.process.user import User
from tests.prometheus import monitored, queries
from tests.rig import append, line

LAG = "SessiondSyncLagHigh"
PUSHED = 'sessiond_sync_operations_total{direction="push",outcome="success"} 1.0\n'


@pytest.fixture
def daemon(tmp_path: Path, gh: FakeGitHub) -> Iterator[Daemon]:
    made = Daemon(tmp_path, **gh.settings())
    yield made
    made.kill()


def test_an_outage_of_github_is_told_and_so_is_its_end(
    daemon: Daemon, gh: FakeGitHub, tmp_path: Path
) -> None:
    daemon.start()
    project = daemon.home / "work" / "app"
    project.mkdir(parents=True)
    session = "0d6a4a53-5b5e-4c4f-9a4b-0c6d1c5d9f11"
    path = daemon.agent / "projects" / "-work-app" / f"{session}.jsonl"
    path.parent.mkdir()
    with monitored(tmp_path / "monitoring", f"127.0.0.1:{daemon.port}") as (prometheus, receiver):
        poll(lambda: prometheus.firing() == {("SessiondWatchdog", "none")})
        with gh.refused():
            append(path, line("user", "hello", project))
            daemon.ctl("checkpoint", acts=True, session=session)
            for severity in ("warning", "critical"):
                poll(partial(receiver.told, LAG, severity, "firing"))
        daemon.ctl("sync", acts=True, wait=20)
        for severity in ("warning", "critical"):
            poll(partial(receiver.told, LAG, severity, "resolved"))
        (told, *_) = receiver.told(LAG, "critical", "resolved")
        assert told["labels"]["instance"] == f"127.0.0.1:{daemon.port}"
        assert "safe on the disk" in told["annotations"]["description"]
        pushed = 'sessiond_sync_operations_total{direction="push",outcome="success"}'
        poll(lambda: prometheus.value(pushed) == 1)
        for group in prometheus.api("rules")["groups"]:
            for rule in group["rules"]:
                assert (rule["health"], rule.get("lastError")) == ("ok", None), rule["name"]
        for query in queries(dashboard()):
            assert prometheus.api("query", query=query) is not None, query
        daemon.kill()
        poll(lambda: receiver.told("SessiondDown", "critical", "firing"))


def test_a_running_daemon_shows_the_whole_catalogue_and_promtool_has_nothing_to_say(daemon: Daemon) -> None:
    daemon.start()
    checked = 'sessiond_health_check_last_run_timestamp_seconds{check="local"}'
    poll(lambda: daemon.metrics()[checked] > 0)  # from then on everything was measured once
    text = daemon.get("/metrics")
    for entry in catalogue():
        assert f"\n# TYPE {entry.series} {entry.kind}\n" in text, entry.name
    assert not [line for line in text.splitlines() if str(daemon.folder) in line or "o/r" in line]
    lint(text)


@pytest.mark.parametrize("listen", ["127.0.0.1:17866", "127.0.0.1:0", '""'])
def test_observe_prints_what_prometheus_takes(tmp_path: Path, listen: str) -> None:
    user = User(tmp_path, SESSIOND_HTTP_LISTEN=listen)
    said = user.type("observe").stdout
    target = "127.0.0.1:17866" if listen.endswith("6") else "127.0.0.1:17865"
    settings = yaml.safe_load(said)
    (scrape,) = settings["scrape_configs"]
    assert (scrape["job_name"], scrape["static_configs"]) == ("sessiond", [{"targets": [target]}])
    assert said.startswith("#") == (not listen.endswith("6"))
    told = json.loads(user.type("observe", "--json").stdout)
    assert settings["rule_files"] == [told["rules"]]
    assert json.loads(Path(told["dashboard"]).read_text())["title"] == "sessiond"
    if promtool := shutil.which("promtool"):
        file = tmp_path / "prometheus.yml"
        file.write_text(said)
        subprocess.run([promtool, "check", "config", str(file)], check=True, capture_output=True)


@pytest.mark.parametrize("running", [False, True])
def test_a_single_run_leaves_its_metrics_for_node_exporter(
    tmp_path: Path, gh: FakeGitHub, running: bool
) -> None:
    folder = tmp_path / "node"
    folder.mkdir()
    file = folder / "sessiond.prom"
    with User(tmp_path, gh) as user:
        if running:
            user.start()
        user.say("hello")
        once = ("sync", "--once", "--textfile", str(file))
        done = user.type(*once, CI="true")
        assert (done.returncode, done.stderr) == (0, "")
        if running:  # a daemon counts what it has sent when nothing waits any more
            poll(lambda: PUSHED in file.read_text() or user.type(*once, CI="true").returncode)
    assert [path.name for path in folder.iterdir()] == ["sessiond.prom"]
    text = file.read_text()
    assert PUSHED in text
    assert 'sessiond_sessions{tier="github_only",tool="claude"} 1.0\n' in text
    assert ("sessiond_ready 1.0\n" in text) == running
    lint(text)


def lint(text: str) -> None:
    """Have promtool look at metrics."""
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("no promtool (Debian: prometheus)")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")

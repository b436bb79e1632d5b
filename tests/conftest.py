"""What every test gets: a home of its own, no token, no network but loopback, chance with a seed."""

import csv
import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes.github import FakeGitHub
from tests.machine import Machine, Make
from tests.rig import Home, Rig

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

# No deadline: two cores are shared with real processes.  No database, and the same examples each time: what
# fails here fails everywhere.  `HYPOTHESIS_PROFILE=random` looks for others.
settings.register_profile(
    "random",
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("same", settings.get_profile("random"), derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "same")

# What the machine, a CI run, a service manager or an agent around the tests may have set
FOREIGN = ("CI", "CLAUDE", "GH_", "GITHUB_", "GIT_", "RUNNER_", "SESSIOND_", "SSH_", "XDG_")
SERVICE = ("CREDENTIALS_", "INVOCATION_", "JOURNAL_", "LISTEN_", "NOTIFY_", "WATCHDOG_")
OURS = "SESSIOND_NODE_CACHE"  # where tests/contract/install.sh puts what it fetched


# What mostly waits, for processes and servers; the rest computes.
WAITING = ("process", "faults", "contract")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread files that wait among those that compute, so that no core has nothing to do.

    Those that ask for most time begin first, and the last files are short ones, so that all workers end together;
    chance orders the rest.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    place: dict[Path, float] = {}
    for waits in (True, False):
        alike = [file for file in files if (file.parent.name in WAITING) == waits]
        alike.sort(key=lambda file: -max(map(_asks_s, files[file])))
        place |= {file: (0.9 if waits else 1.0) * n / len(alike) for n, file in enumerate(alike)}
    items[:] = [item for file in sorted(place, key=place.__getitem__) for item in files[file]]


def _asks_s(item: pytest.Item) -> float:
    """The time that a test asks for, where it is more than every test has."""
    asked = item.get_closest_marker("timeout")
    return max(0.0, asked.args[0] - float(item.config.getini("timeout"))) if asked is not None else 0.0


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays to the end: a look at thousands of tests takes 0.15 s each time."""
    gc.freeze()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty home folder the test, and every process it starts, lives in."""
    for name in os.environ:
        if name.startswith((*FOREIGN, *SERVICE)) and name != OURS:
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(folder / ".claude"))
    monkeypatch.setenv("SESSIOND_HOME", str(tmp_path / "s"))  # short: a socket has 103 bytes for its path
    for kind in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(folder / "xdg" / kind.lower()))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_TERMINAL_PROMPT", "0")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@localhost")
    return folder


@pytest.fixture
def socket_dir() -> Iterator[Path]:
    """Return an empty folder whose path is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="s-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def gh(request: pytest.FixtureRequest) -> Iterator[FakeGitHub]:
    """Return a GitHub with the private repository o/r, and with the token T of the user `me`.

    `pytest.mark.github(frozen_at=…)` gives it a clock that stands still.
    """
    mark = request.node.get_closest_marker("github")
    with FakeGitHub(**(mark.kwargs if mark is not None else {})) as made:
        made.add_repo("o/r", private=True)
        made.token("T", login="me")
        yield made


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Return an engine over files, in a home of its own."""
    made = Rig(Home(tmp_path))
    yield made
    made.close()


@pytest.fixture
def make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Make]:
    """Return `make(name, **options)`, which gives a user's machine of that name."""
    made: list[Machine] = []

    def machine(name: str = "one", **options: Any) -> Machine:
        made.append(Machine(tmp_path / name, monkeypatch, capsys, **options))
        return made[-1]

    yield machine
    for each in made:
        each.close()


@pytest.fixture
def machine(make: Make) -> Machine:
    """Return a user's machine."""
    return make()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder `shared` beside the repository, which a clone need not have."""
    if not (SHARED / "data" / "MANIFEST.tsv").is_file():
        pytest.skip(f"no sample data: {SHARED.name}/data is not beside the repository")
    return SHARED


@pytest.fixture(scope="session")
def transcripts(shared: Path) -> list[Path]:
    """Return every real Claude Code transcript there is, without subagents', in the manifest's order."""
    return [
        file
        for file in samples(shared, "claude-code-transcript")
        if file.suffix == ".jsonl" and file.stat().st_size
    ]


def samples(shared: Path, *formats: str) -> list[Path]:
    """Return the sample files of these formats (column `format` of the manifest), in its order."""
    with (shared / "data" / "MANIFEST.tsv").open(encoding="utf-8", newline="") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t", quoting=csv.QUOTE_NONE))
    files = [shared / "data" / "transcripts" / row["file"] for row in rows if row["format"] in formats]
    missing = [file for file in files if not file.is_file()]
    assert not missing, f"in the manifest, not on disk: {missing}"
    return files


# No limit on how fast anything is: a machine may be busy.  Yet what an event should bring is not waited for
# until the daemon comes across it by the clock, which is a minute or more.
PATIENCE_S = 40.0


def poll(predicate: Callable[[], object], timeout_s: float = PATIENCE_S, interval_s: float = 0.01) -> None:
    """Return when `predicate` holds; fail after `timeout_s` seconds, saying what it last answered."""
    end = time.monotonic() + timeout_s
    while not (answer := predicate()):
        assert time.monotonic() < end, f"still {answer!r} after {timeout_s} s"
        time.sleep(interval_s)


def lines_of(log: Path) -> list[dict[str, Any]]:
    """What a log says so far; a line that is being written is not read."""
    written = log.read_bytes() if log.exists() else b""
    return [json.loads(line) for line in written[: written.rfind(b"\n") + 1].splitlines()]


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """Return `wait_until(predicate, timeout_s)`, which polls a condition with a bound."""
    return poll

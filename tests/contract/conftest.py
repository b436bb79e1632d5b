"""What the contract tests talk to: the stand-in GitHub, or a real service named by the environment.

With SESSIOND_CONTRACT_URL, SESSIOND_CONTRACT_TOKEN and SESSIOND_CONTRACT_REPO (a private scratch repository)
the tests that need nothing but the API run against that service; all others skip.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.conftest import SHARED
from tests.contract.prism import Prism
from tests.fakes.github import FakeGitHub

# Read before the `home` fixture clears what is foreign.
REAL = {name: os.environ.get(f"SESSIOND_CONTRACT_{name}", "") for name in ("URL", "TOKEN", "REPO")}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
NODE_CACHE = Path(os.environ.get("SESSIOND_NODE_CACHE") or CACHE / "sessiond-node")
CUT = SHARED / "tools" / "github-openapi-cut.js"
WRITE_SPACING_S = 1.0
"""Between writes to a real service (GitHub docs)."""


@dataclass(frozen=True)
class Service:
    """Where the contract is tried."""

    url: str
    token: str
    repo: str
    fake: FakeGitHub | None


@pytest.fixture
def service() -> Iterator[Service]:
    """The service under test, with one private repository the token may write to."""
    if REAL["URL"]:
        yield Service(REAL["URL"], REAL["TOKEN"], REAL["REPO"], None)
        return
    with FakeGitHub() as fake:
        fake.add_repo("octo/sessions")
        fake.token("T", login="me")
        yield Service(fake.url, "T", "octo/sessions", fake)


@pytest.fixture
def gh(service: Service) -> FakeGitHub:
    """The stand-in itself; a test that asks for it cannot be tried on a real service."""
    if service.fake is None:
        pytest.skip("needs the stand-in: it arranges what a real service cannot be asked for")
    return service.fake


@pytest.fixture
def api(service: Service) -> Iterator[httpx.Client]:
    """A client at the repository, polite to a real service. Paths are relative to /repos/{owner}/{repo}."""

    def pace(request: httpx.Request) -> None:
        if service.fake is None and request.method != "GET":
            time.sleep(WRITE_SPACING_S)

    headers = {
        "Authorization": f"Bearer {service.token}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
        "User-Agent": "sessiond-contract-tests",
    }
    base = f"{service.url}/repos/{service.repo}"
    with httpx.Client(
        base_url=base, headers=headers, timeout=20, event_hooks={"request": [pace]}, trust_env=False
    ) as client:
        yield client


@pytest.fixture
def issue(api: httpx.Client) -> Iterator[str]:
    """The path of a fresh issue; closed again afterwards."""
    made = api.post("/issues", json={"title": "Contract test", "labels": ["sessiond"]})
    assert made.status_code == 201, made.text
    path = f"/issues/{made.json()['number']}"
    yield path
    if REAL["URL"]:
        api.patch(path, json={"state": "closed"})


@pytest.fixture(scope="session")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prism]:
    """`prism(upstream_url, version="2022-11-28")` starts a judge in front of a server and gives its URL.

    It compares every request and answer with GitHub's own OpenAPI description; `prism.violations()` tells
    what it found since last asked. One process for each version and upstream; all end with the session.
    """
    missing = [
        what
        for what, there in {
            "node": shutil.which("node"),
            "tests/contract/install.sh has not been run": (NODE_CACHE / "installed.json").is_file(),
            "the folder `shared` beside the repository": CUT.is_file(),
        }.items()
        if not there
    ]
    if missing:
        pytest.skip(f"no OpenAPI judge: missing {'; '.join(missing)}")
    judge = Prism(NODE_CACHE, CUT, tmp_path_factory.mktemp("prism"))
    yield judge
    judge.close()

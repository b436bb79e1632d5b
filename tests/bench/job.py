"""A CI job: how long from its start until the agent can go on with its session, on a runner that has nothing.

    python -m tests.bench job

The session comes out of the archive, over git's own HTTP server on this machine; the network is not in it.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import place
from tests.bench.corpus import session_bytes
from tests.bench.figures import Figure, of_rounds, said
from tests.bench.place import MB
from tests.fakes.agent import SESSION
from tests.fakes.git_host import GitHost
from tests.runner import REPO, ROOT, Runner, about_issue

START_S = 30
ROUNDS = 3


def measure(*, quick: bool) -> Iterator[Figure]:
    """The action's steps, for a small, a usual and a large session; then what installing it adds."""
    for size in (1, 10) if quick else (1, 10, 50):
        yield from _resumed(size, 1 if quick else ROUNDS)
    yield from _installed()


def _resumed(size: int, rounds: int) -> Iterator[Figure]:
    with (
        place.github(REPO) as github,
        TemporaryDirectory(prefix="bench-") as folder,
        GitHost(Path(folder) / "repos", api=github.url) as host,
    ):
        host.make(REPO)
        github.call("add_issue", full_name=REPO, title="A task")

        def fresh(name: str) -> Runner:
            return Runner(
                Path(folder) / name,
                api_url=host.base,
                token=place.TOKEN,
                event=about_issue(1),
                name="issues",
                checkout=f"{name}/r",
            )

        one = fresh("first")
        transcript = one.transcript(SESSION)
        transcript.parent.mkdir(parents=True)
        data = session_bytes(1, size * MB, session_id=SESSION, cwd=str(one.checkout))
        transcript.write_bytes(data)
        began = time.monotonic()
        saved = one.use("save", timeout="300")
        if saved.outputs["saved"] != "true":
            yield said(f"{size} MB was not saved: {saved.summary}")
            return
        yield Figure(f"a job's first session of {size} MB saved", time.monotonic() - began, "s")
        took = []
        for number in range(rounds):
            runner = fresh(f"next{number}")
            began = time.monotonic()
            put = runner.use("restore")
            took.append(time.monotonic() - began)
            if (
                put.outputs["session-id"] != SESSION
                or runner.transcript(SESSION).stat().st_size < len(data) / 2
            ):
                yield said(f"{size} MB was not resumed: {put.said}")
                return
        yield of_rounds(f"start of a job to a resumable session, {size} MB", took, "s", most=START_S)


def _installed() -> Iterator[Figure]:
    with TemporaryDirectory(prefix="bench-") as folder:
        python = Path(folder) / "venv" / "bin" / "python"
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
        began = time.monotonic()
        for command in (
            ["python3", "-m", "venv", str(python.parents[1])],
            [*pip, "--require-hashes", "--requirement", str(ROOT / "requirements.lock")],
        ):
            if subprocess.run(command, capture_output=True, check=False).returncode:
                yield said("what it needs could not be installed: the package index cannot be reached")
                return
        yield Figure("  installing it, once a job, adds", time.monotonic() - began, "s")

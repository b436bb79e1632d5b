"""The numbers against ccusage's, the tool that people count their tokens with, on the same real transcripts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sessiond.counting import read_live
from sessionsync.events import silent
from sessionsync.sources.claude import Claude
from sessionsync.stats import Beside, Numbers, count_live, figures
from tests.contract.conftest import NODE_CACHE

CCUSAGE = NODE_CACHE / "node_modules" / ".bin" / "ccusage"
THEIRS = {
    "input": "inputTokens",
    "output": "outputTokens",
    "cache_read": "cacheReadTokens",
    "cache_creation": "cacheCreationTokens",
}


@pytest.fixture
def agent(home: Path, transcripts: list[Path]) -> Path:
    """An agent's folder with every real transcript, each in a project of its own."""
    for number, file in enumerate(transcripts):
        folder = home / ".claude" / "projects" / f"p{number}"
        folder.mkdir(parents=True)
        shutil.copy(file, folder / f"{number:08}-0000-4000-8000-000000000000.jsonl")
    return home / ".claude"


def test_every_day_has_the_tokens_that_ccusage_counts(agent: Path) -> None:
    if not CCUSAGE.is_file():
        pytest.skip("ccusage is not installed: tests/contract/install.sh does it")
    done = subprocess.run(
        [CCUSAGE, "claude", "daily", "--json", "--offline"],
        env={**os.environ, "CLAUDE_CONFIG_DIR": str(agent), "TZ": "UTC"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    if done.returncode or not done.stdout.startswith(b"{"):
        pytest.skip(f"ccusage does not run here: {done.stderr[-200:]!r}")
    theirs = {each["date"]: each for each in json.loads(done.stdout)["daily"]}
    numbers = Numbers(None)
    count_live(numbers, Claude([agent], silent), read_live)
    ours = {each["day"]: each["tokens"] for each in figures(numbers, Beside({}), now=0.0)["by_day"]}
    spent = {day for day, tokens in ours.items() if tokens["total"]}
    assert spent == set(theirs)
    for day in spent:
        for kind, name in THEIRS.items():
            assert ours[day][kind] == pytest.approx(theirs[day][name], rel=0.001), (day, kind)

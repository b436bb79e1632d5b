"""SIGKILL at any moment: nothing is lost, nothing is there twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kills import Kills

SEED = 20
KILLS = 20


@pytest.mark.timeout(300)
def test_twenty_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    with Kills(tmp_path, SEED) as run:
        for _ in range(KILLS):
            run.kill()
        run.check()

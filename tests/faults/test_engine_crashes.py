"""The engine dies hundreds of times, anywhere, on a line that loses answers: nothing is lost, nothing is doubled."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.machine import Machine, quick_folder

pytest.register_assert_rewrite("tests.faults.story")

from tests.faults.story import told  # noqa: E402 - after its asserts were made to say what they saw

STORIES = 20
CRASHES = 12


@pytest.mark.parametrize("seed", range(STORIES))
def test_whatever_dies_nothing_is_lost_and_nothing_doubled(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(random.Random(seed))
    machine.install(monkeypatch)
    with told(quick_folder(tmp_path), seed, machine) as story:
        story.tell(CRASHES)
        story.end()

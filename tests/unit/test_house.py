"""What conftest promises to every other test."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


def test_no_test_sees_the_real_home_or_a_token(home: Path) -> None:
    assert Path.home() == home
    for name in ("HOME", "SESSIOND_HOME", "CLAUDE_CONFIG_DIR", "XDG_STATE_HOME"):
        assert Path(os.environ[name]).is_relative_to(home.parent)
    foreign = ("CI", "GH_TOKEN", "GITHUB_TOKEN", "GITHUB_ACTIONS", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET")
    assert not [name for name in foreign if name in os.environ]


def test_waiting_has_a_bound(wait_until: Callable[..., None]) -> None:
    answers = iter([0, None, "here"])
    wait_until(lambda: next(answers), 5)
    with pytest.raises(AssertionError, match=r"still \[\] after 0 s"):
        wait_until(list, 0)


def test_samples_are_found(transcripts: list[Path]) -> None:
    assert len(transcripts) > 50
    assert all(file.read_bytes()[:1] == b"{" for file in transcripts)

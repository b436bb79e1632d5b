"""What a CI job is about, and what a step of the action says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sessiond import action
from sessiond.ci import ci_context, is_from_fork
from tests.runner import about_issue, about_pull

Json = dict[str, Any]


def environ(folder: Path, event: Json | str, **variables: str) -> dict[str, str]:
    file = folder / "event.json"
    file.write_text(event if isinstance(event, str) else json.dumps(event))
    usual = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": str(file), "GITHUB_REPOSITORY": "o/r"}
    return usual | variables


@pytest.mark.parametrize(
    ("event", "variables", "issue", "pull"),
    [
        (about_issue(12), {"GITHUB_REF_NAME": "main"}, 12, 0),
        ({"issue": {"number": 12, "pull_request": {"url": "x"}}}, {}, 0, 12),
        (about_pull(7), {"GITHUB_HEAD_REF": "topic"}, 0, 7),
        (about_pull(7), {"GITHUB_HEAD_REF": "claude/issue-12-20260301-0900"}, 12, 7),
        (about_pull(7, head="x/r"), {"GITHUB_HEAD_REF": "claude/issue-12"}, 0, 7),
        ({}, {"GITHUB_REF": "refs/pull/7/merge"}, 0, 7),
        ({}, {"GITHUB_REF_NAME": "fix/issue_3"}, 3, 0),
        ({}, {"GITHUB_REF_NAME": "tissue-3"}, 0, 0),
        ({}, {"GITHUB_REF": "refs/pull/x/merge"}, 0, 0),
        ({"issue": {"number": "12"}, "pull_request": [7]}, {}, 0, 0),
        ({"issue": {"number": True}}, {}, 0, 0),
        ("[1]", {}, 0, 0),
        ("{", {}, 0, 0),
        ("[" * 100_000, {}, 0, 0),
    ],
)
def test_the_event_or_the_branch_names_issue_and_pull_request(
    tmp_path: Path, event: Json | str, variables: dict[str, str], issue: int, pull: int
) -> None:
    found = ci_context(environ(tmp_path, event, **variables))
    assert (found.issue, found.pr, found.repo) == (issue, pull, "o/r")


def test_it_holds_commit_run_and_the_branch_of_the_pull_request(tmp_path: Path) -> None:
    variables = {"GITHUB_SHA": "abc", "GITHUB_RUN_ID": "99", "GITHUB_REF_NAME": "7/merge"}
    found = ci_context(environ(tmp_path, about_pull(7), GITHUB_HEAD_REF="topic", **variables))
    assert (found.commit, found.run_id, found.branch) == ("abc", 99, "topic")


def test_outside_of_actions_and_without_an_event_nothing_is_read(tmp_path: Path) -> None:
    assert ci_context(environ(tmp_path, about_issue(12), GITHUB_ACTIONS="")).issue == 0
    assert ci_context({"GITHUB_ACTIONS": "true"}).issue == 0
    assert ci_context({"GITHUB_ACTIONS": "true", "GITHUB_EVENT_PATH": str(tmp_path)}).issue == 0


@pytest.mark.parametrize(("head", "fork"), [("o/r", False), ("x/r", True), (None, True)])
def test_a_fork_is_known_by_its_repository(tmp_path: Path, head: Any, *, fork: bool) -> None:
    assert is_from_fork(environ(tmp_path, about_pull(7, head=head))) == fork
    assert not is_from_fork(environ(tmp_path, about_issue(7)))


def test_nothing_that_is_said_becomes_a_command_or_an_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "output"
    step = action.Step({"GITHUB_OUTPUT": str(output), "RUNNER_TEMP": str(tmp_path)})
    step.annotate("warning", "a\n::set-env name=PATH::/x\r\n50%\x1b[1m\u2028b")
    assert capsys.readouterr().out == "::warning title=sessiond::a ::set-env name=PATH::/x 50%25[1m b\n"
    step.put(session_id="x\nclaude-args=--dangerously", path="y")
    assert output.read_text() == "session-id=x claude-args=--dangerously\npath=y\n"


@pytest.mark.parametrize(
    ("timeout", "seconds"), [("", 120), ("5", 5), ("-1", 1), ("soon", 120), ("1e99", 21_600)]
)
def test_a_timeout_that_makes_no_sense_stops_no_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], timeout: str, seconds: float
) -> None:
    assert action.Step({"INPUT_TIMEOUT": timeout, "RUNNER_TEMP": str(tmp_path)}).timeout_s == seconds
    assert ("::warning" in capsys.readouterr().out) == (timeout == "soon")

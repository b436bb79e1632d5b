"""Two daemons with one repository: a session that both change, seen and settled from the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessionsync.remote import comments
from tests.conftest import poll
from tests.fakes.github import FakeGitHub
from tests.process.user import User


@pytest.fixture
def users(socket_dir: Path, gh: FakeGitHub) -> Iterator[tuple[User, User]]:
    both = User(socket_dir / "a", gh), User(socket_dir / "b", gh)
    for user in both:
        subprocess.run(["git", "init", "-q", str(user.project)], check=True)
        remote = ["remote", "add", "origin", "https://github.com/o/app.git"]
        subprocess.run(["git", "-C", str(user.project), *remote], check=True)
    yield both
    for user in both:
        user.stop()


def decide(user: User, *decisions: str) -> None:
    """Write a structured session's context, and have a checkpoint of it."""
    folder = user.project / ".claude" / "sessions" / "plan"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "context.json").write_text(json.dumps({"title": "Plan", "decisions": [*decisions]}))
    user.ctl("checkpoint", acts=True, session="plan")


def decisions(gh: FakeGitHub) -> list[str]:
    for comment in gh.all_comments():
        part = comments.parse(comment.body)
        if part is not None and part.record is not None:
            return part.record.critical_data.decisions
    return []


def test_a_conflict_is_seen_and_settled_from_the_command_line(
    users: tuple[User, User], gh: FakeGitHub
) -> None:
    one, two = users
    for user in users:
        user.environ["SESSIOND_SOURCES_PROJECTS"] = json.dumps([str(user.project)])
        user.start()
    decide(one, "d")
    poll(lambda: decisions(gh) == ["d"])
    decide(two, "d", "two")
    poll(lambda: decisions(gh) == ["d", "two"])

    def conflicts(user: User) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = user.ctl("conflicts")["conflicts"]
        return found

    poll(lambda: len(conflicts(two)) == 1)
    (conflict,) = conflicts(two)
    assert conflict["id"] == "plan"
    assert conflict["options"] == ["local", "remote", "both", "merge"]
    assert {"host", "machine", "revision", "updated_at"} <= conflict["local"].keys() & conflict[
        "remote"
    ].keys()
    status = two.status()
    assert status["sessions"]["conflicts"] == 1
    assert "session_conflict" in {finding["code"] for finding in status["findings"]}
    listed = two.type("ctl", "conflicts")
    assert listed.returncode == 0
    assert "plan" in listed.stdout
    preview = two.type("ctl", "resolve", "plan", "--keep", "remote", "--dry-run")
    assert preview.returncode == 0, preview.stderr
    assert "The record becomes the version of" in preview.stdout
    assert len(conflicts(two)) == 1
    settled = two.type("ctl", "resolve", "plan", "--keep", "remote")
    assert settled.returncode == 0, settled.stderr
    poll(lambda: decisions(gh) == ["d"])
    assert conflicts(two) == []
    poll(lambda: "Settled" in gh.all_comments()[-1].body)
    one.ctl("sync", acts=True)  # it would hear of it within a minute
    poll(lambda: conflicts(one) == [])
    assert two.status()["sessions"]["conflicts"] == 0
    again = two.type("ctl", "resolve", "plan", "--keep", "both")
    assert again.returncode == 2
    assert "There is no conflict" in again.stderr
    shown = json.loads(one.type("list", "--json").stdout)["sessions"]
    assert [each["id"] for each in shown] == ["plan"]

"""`sessiond privacy scan`, typed beside a stopped daemon: where secrets are, never which."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import poll
from tests.fakes.github import FakeGitHub
from tests.planted import ALNUM
from tests.process.user import User

TOKEN = "ghp_" + ALNUM[:36]
PATTERN = {"SESSIOND_PRIVACY_PATTERNS": json.dumps([r"ACME-\d+"])}


@pytest.fixture
def user(socket_dir: Path) -> Iterator[User]:
    with User(socket_dir, SESSIOND_ARCHIVE_URL=json.dumps(str(socket_dir / "archive.git"))) as made:
        yield made


def scan(user: User, *arguments: str, **environ: str) -> dict[str, Any]:
    done = user.type("privacy", "scan", "--json", *arguments, **environ)
    assert (done.returncode, done.stderr) == (0, "")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def pushed(user: User) -> None:
    """Save and push everything."""
    done = user.type("ctl", "sync", "--wait", "30")
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_says_where_and_of_which_kind_but_never_what(user: User) -> None:
    user.start()
    path = user.say("nothing here")
    user.say(f"use {TOKEN}, and {TOKEN}", path)
    other = user.say("nothing at all")
    user.save(path)
    user.save(other)
    user.stop()

    told = scan(user)
    assert told["sessions"] == 2
    assert told["kinds"] == {"github_token": 2}
    (file,) = told["files"]
    assert file["session"] == f"claude:{path.stem}"
    assert file["lines"] == [{"line": 2, "kind": "github_token", "count": 2}]
    assert TOKEN not in json.dumps(told)
    assert scan(user, other.stem)["files"] == []
    assert scan(user, SESSIOND_PRIVACY_ALLOW=json.dumps([TOKEN]))["files"] == []

    shown = user.type("privacy", "scan", path.stem[:12]).stdout
    assert "1 session looked at: 2 secrets would be replaced" in shown
    assert "github_token" in shown
    assert TOKEN not in shown
    assert user.fails("privacy", "scan", "nobody")[0] == 4


def test_what_has_no_checkpoint_yet_is_looked_at_in_the_plain_copy(socket_dir: Path) -> None:
    with User(socket_dir, SESSIOND_SOURCES_QUIET_SECONDS="600") as user:
        user.start()
        path = user.say(f"use {TOKEN}")

        def found(where: str, secrets: int) -> bool:
            files = [(file["where"], file["kinds"]) for file in scan(user)["files"]]
            return files == [(where, {"github_token": secrets})]

        poll(lambda: found("mirror", 1))
        user.save(path)
        assert found("vault", 1)
        user.say(f"and {TOKEN}", path)
        poll(lambda: found("mirror", 2))


def test_what_older_rules_let_through_is_told_and_never_redacted_anew(user: User) -> None:
    user.start()
    path = user.say(f"ACME-12 and {TOKEN}")
    user.save(path)
    pushed(user)
    user.stop()
    assert scan(user, "--pushed")["files"] == []
    assert scan(user, "--pushed", **PATTERN)["kinds"] == {"custom": 1}  # the token never got there

    user.environ |= PATTERN
    user.start()
    user.say("ACME-13", path)
    user.save(path)
    pushed(user)
    user.stop()
    told = scan(user, "--pushed")
    assert told["kinds"] == {"custom": 1}
    assert told["files"][0]["lines"] == [{"line": 1, "kind": "custom", "count": 1}]
    assert scan(user)["kinds"] == {"custom": 2, "github_token": 1}


def test_what_older_rules_let_through_to_a_comment_is_told_as_well(socket_dir: Path) -> None:
    with FakeGitHub() as gh, User(socket_dir, gh) as user:
        gh.add_repo("o/r", private=True)
        gh.token("T", login="me")
        user.start()
        path = user.say("ACME-12 it is")
        user.save(path)
        pushed(user)
        user.stop()
        assert scan(user, "--pushed")["files"] == []
        told = scan(user, "--pushed", **PATTERN)
        assert {(file["where"], file["path"]) for file in told["files"]} == {
            ("github", "its comment"),
            ("github", path.name),
        }
        assert set(told["kinds"]) == {"custom"}
        assert "ACME" not in json.dumps(told)
        gh.revoke_token("T")
        done = user.type("privacy", "scan", "--pushed", "--json", **PATTERN)
        assert done.returncode == 5
        assert json.loads(done.stdout)["files"] == []
        assert "Bad credentials" in json.loads(done.stdout)["failed"][0]["what"]

"""GitHub that refuses, and nobody to push to, as its user sees it: what is wrong, what to do, and nothing lost."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path

import pytest

from tests import arrived
from tests.conftest import poll
from tests.fakes.github import FakeGitHub
from tests.process.user import User, codes, is_safe, sentence


def test_each_refusal_says_what_to_do_and_ends_with_its_cause(tmp_path: Path, gh: FakeGitHub) -> None:
    user = User(tmp_path, gh)
    # a token that `gh` gives, so that it can change while the daemon runs
    (tmp_path / "bin").mkdir()
    (tmp_path / "token").write_text("T")
    asked = tmp_path / "asked"
    program = tmp_path / "bin" / "gh"
    quoted = [shlex.quote(str(path)) for path in (asked, tmp_path / "token")]
    program.write_text(f"#!/bin/sh\necho $* >> {quoted[0]}\ncat {quoted[1]}\n")
    program.chmod(0o755)
    user.environ["PATH"] = f"{tmp_path / 'bin'}:{user.environ['PATH']}"
    del user.environ["GH_TOKEN"]
    path = user.say("hello")

    def more() -> None:
        user.say("and more", path)
        user.save(path)

    def refused(code: str, *words: str) -> None:
        """One line says what is wrong, one what to do, wherever one looks; nothing is lost."""
        found = user.until_found(code)
        first, advice, *_ = user.screen()
        assert " is on this disk twice, but 1 session is not on GitHub since " in first
        for word in words:
            assert word in f"{first} {advice}", f"{first}\n{advice}"
        assert sentence(first)
        assert sentence(advice)
        assert found["hint"] == advice
        assert code in codes(user.ctl("health"))
        assert user.logged("push_paused")[-1]["code"] == code
        user.check_kept(path)

    def mended() -> None:
        user.ctl("retry", acts=True)
        user.until(is_safe)
        assert arrived.files(gh, path.stem) == {path.name: path.read_bytes()}
        assert len(gh.all_comments()) == 1

    with user:
        user.start()
        more()
        user.until(lambda status: status["last_push_at"] and is_safe(status))
        # the token is refused: once
        gh.revoke_token("T")
        gh.forget_requests()
        more()
        refused("github_token_refused", "401", "Bad credentials", "gh auth login", "sessiond ctl retry")
        done = user.type("ctl", "sync", "--wait=30")
        assert done.returncode == 1
        assert "Bad credentials" in done.stdout
        assert "gh auth login" in done.stdout
        asked.unlink()
        assert user.type("ctl", "retry").returncode == 0
        poll(asked.exists)
        more()
        time.sleep(0.3)  # for a request that must not come
        assert [request.status for request in gh.requests()] == [401]
        (tmp_path / "token").write_text("not one word")
        user.ctl("retry", acts=True)
        status = user.until(lambda status: status["mode"] == "local_only")
        assert "the token from gh has blanks" in status["reason"]
        (tmp_path / "token").write_text(gh.token("T2", login="me"))
        mended()
        # its limit: the one thing for which there is nothing to do
        gh.rate_limit("me", remaining=0, reset_in_s=15)  # until then it is looked at
        more()
        assert user.until_found("github_rate_limited")["severity"] == "warning"
        first, advice, *_ = user.screen()
        assert " is on this disk twice, but 1 session is not on GitHub since " in first
        assert "API rate limit exceeded" in first
        assert advice.startswith("Nothing to do")
        gh.rate_limit("me", remaining=5000)
        user.until(is_safe)
        # it may not write
        gh.permit("T2", {"metadata": "read", "issues": "read"})
        more()
        refused("github_not_permitted", "403", "Issues: read and write")
        gh.permit("T2", {"metadata": "read", "issues": "write"})
        mended()
        # the repository
        gh.archive_repo("o/r")
        more()
        refused("github_not_permitted", "archive")
        gh.archive_repo("o/r", archived=False)
        mended()
        user.ctl("sync", acts=True)
        user.until(lambda status: not status["queue"]["pending"])  # nothing is on its way
        gh.make_public("o/r")
        user.ctl("sync", acts=True)  # which looks at the repository again
        gh.forget_requests()
        more()
        refused("github_repository_public", "public", "github.allow_public = true")
        assert [request for request in gh.requests(writes=True) if request.effect] == []
        (tmp_path / "s" / "config.toml").write_text("[github]\nallow_public = true\n")
        assert user.type("ctl", "reload").stdout == "The settings are read; changed: github.allow_public.\n"
        mended()
        gh.delete_repo("o/r")
        more()
        refused("github_repository_missing", "o/r", "github.repo")


def test_after_an_outage_everything_arrives_once(tmp_path: Path, gh: FakeGitHub) -> None:
    user = User(tmp_path, gh)
    paths = [user.say("before")]
    with user:
        user.start()
        user.say("watched", paths[0])
        user.save(paths[0])
        user.until(lambda status: status["last_push_at"] and is_safe(status))
        gh.refuse()
        user.say("during", paths[0])
        paths.append(user.say("began during it"))
        user.until(lambda status: status["queue"]["pending"] >= 2)

        def unreachable() -> bool:
            user.ctl("sync", acts=True)  # each asks once
            return user.status()["github"]["reachable"] is False

        poll(unreachable, interval_s=0.2)
        first, advice, *_ = user.screen()
        assert " is on this disk twice, but 2 sessions are not on GitHub since " in first
        assert advice.startswith("Nothing to do: it is tried again")
        assert user.until_found("github_unreachable")["severity"] == "warning"
        done = user.type("ctl", "sync", "--wait=1")
        assert done.returncode == 1
        user.check_kept(*paths)
        user.stop()
        user.start(scanned=False)
        gh.accept()
        user.ctl("sync", acts=True)
        user.until(is_safe)
        for path in paths:
            assert arrived.files(gh, path.stem) == {path.name: path.read_bytes()}
        assert len(gh.effects("created comment")) == 2


def test_a_run_without_a_daemon_says_why_something_is_left(tmp_path: Path, gh: FakeGitHub) -> None:
    user = User(tmp_path, gh, CI="true")
    path = user.say("hello")
    for environ, words in (
        ({"GH_TOKEN": "wrong"}, ["1 left", "401", "Bad credentials"]),
        ({"GH_TOKEN": ""}, ["1 left", "no token was found", "GH_TOKEN"]),
    ):
        done = user.type("sync", "--once", "--timeout", "20", **environ)
        assert done.returncode == 1
        assert all(word in done.stdout for word in words), done.stdout
    code, what, _ = user.fails("sync", "--once", GH_TOKEN="two words")
    assert code == 78
    assert "the token from GH_TOKEN has blanks" in what
    secret = user.say("unreadable")
    secret.chmod(0)
    code, what, _ = user.fails("sync", "--once")
    assert (code, f"{secret} cannot be read: Permission denied" in what) == (1, True)
    assert arrived.files(gh, path.stem) == {path.name: path.read_bytes()}  # that one did not wait for it
    secret.chmod(0o600)
    done = user.type("sync", "--once", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"due": 1, "pushed": 1, "left": 0, "buried": 0}
    user.check_kept(path, secret)


def test_a_run_without_a_daemon_does_what_was_commanded(tmp_path: Path, gh: FakeGitHub) -> None:
    user = User(tmp_path, gh, CI="true")
    with user:
        user.start()
        assert user.type("ctl", "local-only", "on").returncode == 0
    path = user.say("a secret plan")
    done = user.type("sync", "--once")
    assert done.returncode == 1
    assert done.stdout.startswith("0 of 1 pushed, 1 left: local-only is on.\n`sessiond ctl local-only off`")
    assert not gh.requests(writes=True)
    user.check_kept(path)
    with user:
        user.start()
        assert user.type("ctl", "pause").returncode == 0
        assert user.type("ctl", "local-only", "off").returncode == 0
    assert "1 left: a pause was asked for." in user.type("sync", "--once").stdout
    assert not gh.effects("created comment")


@pytest.mark.parametrize("runs", [False, True], ids=["alone", "daemon"])
def test_a_run_with_nowhere_to_push_to_says_so(tmp_path: Path, runs: bool) -> None:
    user = User(tmp_path, CI="true")
    with user:
        if runs:
            user.start()
        path = user.say("hello")
        if runs:
            user.save(path)
        done = user.type("sync", "--once")
        assert done.returncode == 0
        assert done.stdout.startswith("Nothing is sent: no repository is set.\nSet github.repo in ")
        assert done.stdout.endswith("\n1 session is on this disk twice.\n")
        counts = json.loads(user.type("sync", "--once", "--json").stdout)
        assert {name: counts[name] for name in ("due", "pushed", "left")} == {
            "due": 0,
            "pushed": 0,
            "left": 0,
        }
    user.check_kept(path)


def test_metrics_that_cannot_be_written_stop_no_backup(tmp_path: Path) -> None:
    user = User(tmp_path)
    path = user.say("hello")
    code, what, todo = user.fails("sync", "--once", "--textfile", str(tmp_path / "nowhere" / "s.prom"))
    assert code == 1
    assert f"the metrics cannot be written to {tmp_path}/nowhere/s.prom: No such file" in what
    assert "--textfile" in todo
    user.check_kept(path)

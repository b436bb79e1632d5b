"""`sessiond search` beside the real daemon, without it, and while the index is made, killed or broken."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sessionsync.migrations import MIGRATIONS, copies_of, copy_of
from tests.bench.corpus import session_bytes
from tests.process.user import User
from tests.rig import append, line

# The next version, whose state has one more table.
NEWER = """
import sys
from sessionsync import migrations
migrations.MIGRATIONS += ("CREATE TABLE later (word TEXT)",)
from sessiond.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def user(socket_dir: Path) -> Iterator[User]:
    with User(socket_dir) as made:
        yield made


def index_of(user: User) -> Path:
    return user.state.with_name("index.db")


def hits(user: User, *query: str) -> list[dict[str, Any]]:
    done = user.type("search", "--json", *query)
    assert done.returncode in {0, 1}, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["hits"] if done.stdout else []
    return found


def found(user: User, *query: str) -> list[str]:
    return [hit["snippet"] for hit in hits(user, *query)]


def test_what_was_said_is_found_at_once_and_stays_when_the_agent_deletes_it(
    user: User, wait_until: Callable[..., None]
) -> None:
    user.start()
    path = user.say("the first quokka")
    wait_until(lambda: found(user, "quokka") == ["the first **quokka**"])
    user.say("the second quokka", path)
    wait_until(lambda: len(found(user, "quokka")) == 2)
    path.unlink()
    user.until(lambda status: user.ctl("show", session=path.stem)["state"] == "deleted")
    assert len(found(user, "quokka")) == 2
    user.stop()
    assert len(found(user, "quokka")) == 2


def test_hits_say_where_by_whom_and_when(user: User, wait_until: Callable[..., None]) -> None:
    user.start()
    path = user.say("**bold** words, \x1b[31mred\x1b[0m and \u202eturned\u202c, then the quokka")
    wait_until(lambda: hits(user, "quokka"))
    (hit,) = hits(user, "quokka")
    assert {key: hit[key] for key in ("session", "source", "project", "role", "at")} == {
        "session": path.stem,
        "source": "claude",
        "project": "app",
        "role": "user",
        "at": "2026-09-21T10:00:00Z",
    }
    assert hit["snippet"] == "**bold** words, [31mred [0m and turned, then the **quokka**"
    shown = user.type("search", "quokka").stdout
    assert "\x1b" not in shown
    assert "the **quokka**" in shown
    asked = ("quokka", "--role", "user", "--since", "2026-01-01", "--project", str(user.project))
    assert len(hits(user, *asked)) == 1
    beside = user.type("search", "--json", *asked).stdout
    user.stop()
    assert user.type("search", "--json", *asked).stdout == beside


def test_filters_keep_what_fits(user: User, wait_until: Callable[..., None]) -> None:
    user.start()
    path = user.say("a quokka of today")
    append(path, line("assistant", "an old quokka", user.project, at="2020-01-01T00:00:00Z"))
    wait_until(lambda: len(hits(user, "quokka")) == 2)
    assert found(user, "quokka", "--role", "assistant") == ["an old **quokka**"]
    for since in ("2026-01-01", "2026-09-21T09:00:00Z", "2026-09-21T12:00:00+02:00", "99999w"):
        assert len(hits(user, "quokka", "--since", since)) == (2 if since == "99999w" else 1), since
    assert hits(user, "quokka", "--since", "2100-01-01") == []
    assert len(hits(user, "quokka", "--limit", "1")) == 1
    assert len(hits(user, "quokka", "--project", str(user.project))) == 2
    assert hits(user, "quokka", "--project", str(user.vault)) == []
    assert user.type("search", "nothinglikeit").returncode == 0
    assert user.fails("search", "quokka", "--since", "soon")[0] == 2
    assert user.fails("search", '"')[0] == 2


def test_without_an_index_it_says_what_to_do(user: User, wait_until: Callable[..., None]) -> None:
    code, said, hint = user.fails("search", "quokka")
    assert (code, "index_broken" in said, "sessiond run" in hint) == (1, True, True)
    user.start()
    user.say("the quokka")
    wait_until(lambda: hits(user, "quokka"))
    user.stop()
    index_of(user).write_bytes(b"no index" * 1000)
    assert "--rebuild" in user.fails("search", "quokka")[2]
    assert user.type("search", "--rebuild").returncode == 0
    assert found(user, "quokka") == ["the **quokka**"]
    index_of(user).write_bytes(b"no index" * 1000)
    user.start()
    wait_until(lambda: hits(user, "quokka"))


def test_what_a_run_without_a_daemon_has_captured_is_found(user: User) -> None:
    user.say("the quokka")
    assert user.type("sync", "--once").returncode == 0
    done = user.type("search", "quokka")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the **quokka**" in done.stdout
    assert index_of(user).exists()


def test_a_state_that_can_only_be_read_is_searched(user: User, wait_until: Callable[..., None]) -> None:
    user.start()
    path = user.say("the quokka")
    wait_until(lambda: hits(user, "quokka"))
    user.stop()
    for file in user.state.parent.iterdir():
        if file.is_file():
            file.chmod(0o400)
    user.state.parent.chmod(0o500)
    try:
        assert found(user, "quokka") == ["the **quokka**"]
        assert path.stem[:8] in user.type("list").stdout
        assert user.type("search", "--rebuild").returncode == 77
        assert found(user, "quokka") == ["the **quokka**"]
    finally:
        user.state.parent.chmod(0o700)


def test_a_rebuild_that_is_killed_changes_nothing(user: User, wait_until: Callable[..., None]) -> None:
    for seed in range(10):
        path = user.folder_of_project / f"{seed:08d}-0000-4000-8000-000000000000.jsonl"
        path.write_bytes(session_bytes(seed, 1_000_000, session_id=path.stem, cwd=str(user.project)))
    user.say("the quokka")
    user.start()
    wait_until(lambda: hits(user, "quokka"))
    user.stop()
    draft = index_of(user).with_name("index.db.new")
    command = [sys.executable, "-m", "sessiond", "search", "--rebuild"]
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
    interrupted = subprocess.Popen(command, env=user.environ, stderr=subprocess.DEVNULL)
    signal.signal(signal.SIGINT, heard)
    wait_until(lambda: draft.exists() or interrupted.poll() is not None)
    interrupted.send_signal(signal.SIGINT)
    assert interrupted.wait() in {0, 130}
    assert not draft.exists()
    assert found(user, "quokka") == ["the **quokka**"]
    rebuilding = subprocess.Popen(command, env=user.environ, stderr=subprocess.DEVNULL)
    wait_until(lambda: draft.exists() or rebuilding.poll() is not None)
    rebuilding.send_signal(signal.SIGSTOP)
    assert found(user, "quokka") == ["the **quokka**"]
    second = user.type("search", "--rebuild")
    if rebuilding.poll() is None:  # it was not faster than we
        assert (second.returncode, "Another rebuild" in second.stderr) == (1, True)
    rebuilding.kill()
    rebuilding.wait()
    assert found(user, "quokka") == ["the **quokka**"]
    assert user.type("search", "--rebuild").returncode == 0
    assert not draft.exists()
    assert found(user, "quokka") == ["the **quokka**"]


def test_a_rebuild_right_after_an_upgrade_brings_the_state_up_to_date(user: User) -> None:
    user.say("the quokka")
    assert user.type("sync", "--once").returncode == 0
    index_of(user).write_bytes(b"no index" * 1000)
    user.program = (sys.executable, "-c", NEWER)
    code, said, hint = user.fails("search", "quokka")
    assert (code, f"has version {len(MIGRATIONS)}" in said, "sync --once" in hint) == (1, True, True)
    assert copies_of(user.state) == []  # who only reads changes nothing
    done = user.type("search", "--rebuild", "quokka")
    assert (done.returncode, "1 sessions indexed" in done.stderr) == (0, True), done.stderr
    assert "the **quokka**" in done.stdout
    assert copies_of(user.state) == [copy_of(user.state, len(MIGRATIONS))]


def test_searches_find_everything_while_the_daemon_rebuilds(
    user: User, wait_until: Callable[..., None]
) -> None:
    for seed in range(10):
        path = user.folder_of_project / f"{seed:08d}-0000-4000-8000-000000000000.jsonl"
        path.write_bytes(session_bytes(seed, 500_000, session_id=path.stem, cwd=str(user.project)))
    path = user.say("the quokka")
    user.start()
    wait_until(lambda: hits(user, "quokka"))
    command = [*user.before, sys.executable, "-m", "sessiond", "search", "--rebuild"]
    both = [subprocess.Popen(command, env=user.environ, stderr=subprocess.DEVNULL) for _ in range(2)]
    seen = []
    while any(each.poll() is None for each in both):
        seen.append(found(user, "quokka"))
        assert len(seen) < 500
    assert [each.returncode for each in both] == [0, 0]
    assert all(each == ["the **quokka**"] for each in seen)
    user.say("another quokka", path)
    wait_until(lambda: len(hits(user, "quokka")) == 2)

"""`sessiond stats` from outside: before anything is captured, without a daemon, and beside one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.user import User

SHAPE = {
    "tokens": {"input", "output", "cache_read", "cache_creation", "saved_ratio"},
    "response_seconds": {"p50", "p95", "p99"},
    "sessions": {"total", "new", "resumed", "reuse_ratio"},
    "storage_bytes": {"live", "mirror", "vault", "archive", "index"},
    "errors": {"api", "ratio"},
}


@pytest.fixture
def user(socket_dir: Path) -> Iterator[User]:
    with User(socket_dir) as made:
        yield made


def stats(user: User, *options: str) -> dict[str, Any]:
    done = user.type("stats", "--json", *options)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def answered(user: User, path: Path, name: str, second: int) -> None:
    """An answer of ten tokens, so many seconds after the question that `say` asked."""
    usage = {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_read_input_tokens": 6,
        "cache_creation_input_tokens": 1,
    }
    row = {
        "type": "assistant",
        "uuid": name,
        "timestamp": f"2026-09-21T10:00:{second:02}.000Z",
        "cwd": str(user.project),
        "requestId": f"req_{name}",
        "message": {"id": f"msg_{name}", "model": "m", "content": [], "usage": usage},
    }
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def test_stats_need_neither_daemon_nor_backup_and_say_the_same_with_both(
    user: User, wait_until: Callable[..., None]
) -> None:
    path = user.say("how long does this take")
    answered(user, path, "a", 4)
    first = stats(user)
    for part, names in SHAPE.items():
        assert names <= first[part].keys()
    assert all(goal.keys() >= {"name", "target", "value", "held"} for goal in first["goals"])
    assert (first["tokens"]["output"], first["response_seconds"]["p95"]) == (2, 4.0)
    assert first["sessions"]["total"] == 1
    assert "hint" in first

    user.start()
    wait_until(lambda: stats(user)["tokens"] == first["tokens"])
    beside = stats(user)
    for part in ("tokens", "response_seconds", "sessions", "errors"):
        assert beside[part] == first[part]
    assert beside["storage_bytes"]["live"] == path.stat().st_size
    answered(user, path, "b", 9)
    wait_until(lambda: stats(user)["tokens"]["output"] == 4)
    user.kill()
    assert stats(user)["tokens"]["output"] == 4

    path.unlink()
    user.start()
    wait_until(lambda: user.ctl("show", session=path.stem)["state"] == "deleted")
    assert stats(user)["tokens"]["output"] == 4
    said = user.type("stats", "--since", "2026-09-21").stdout
    assert "1 new, 0 resumed" in said
    assert "app" in said
    assert stats(user, "--since", "2026-09-22")["sessions"]["total"] == 0
    assert user.fails("stats", "--since", "yesterdayish")[0] == 2


def test_metrics_show_what_was_counted_also_after_a_kill(user: User, wait_until: Callable[..., None]) -> None:
    path = user.say("what does it cost")
    answered(user, path, "a", 4)
    file = user.folder / "sessiond.prom"
    assert user.type("sync", "--once", "--textfile", str(file)).returncode == 0
    assert 'sessiond_session_tokens_total{tool="claude",type="output"} 2.0' in file.read_text()
    user.start()
    wait_until(lambda: stats(user)["tokens"]["output"] == 2)
    user.kill()
    user.start()

    def shown() -> bool:
        series = user.metrics()
        return (
            series['sessiond_session_tokens_total{tool="claude",type="cache_read"}'] == 6
            and series['sessiond_session_lookups_total{result="new"}'] == 1
            and series['sessiond_response_seconds_bucket{le="2.5",tool="claude"}'] == 0
            and series['sessiond_response_seconds_bucket{le="5.0",tool="claude"}'] == 1
            and series['sessiond_response_seconds_count{tool="claude"}'] == 1
        )

    wait_until(shown)

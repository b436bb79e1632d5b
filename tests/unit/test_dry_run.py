"""What a person may have done to a daemon says first what it would do, and does nothing of that."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.github import FakeGitHub
from tests.living import Living


def everything(living: Living, gh: FakeGitHub) -> dict[str, object]:
    """What such a command could change."""
    store, home = living.app.engine.store, living.home
    copies = [path for top in (home.mirror, home.vault) for path in top.rglob("*") if path.is_file()]
    return {
        "queue": store.rows("SELECT operation, subject FROM items WHERE operation != 'index'"),
        "checkpoints": store.rows("SELECT session, id FROM checkpoints ORDER BY 1, 2"),
        "mode": (living.app.modes.now(), store.meta("paused"), store.meta("local_only")),
        "copies": {path: path.read_bytes() for path in copies},
        "comments": {comment.id: comment.body for comment in gh.all_comments()},
    }


@pytest.mark.parametrize(
    ("verb", "params", "told"),
    [
        ("sync", {"full": True}, {"due": 1}),
        ("local-only", {"on": True}, {"mode": "local_only"}),
        ("gc", {}, {"freed_bytes": 4}),
        ("forget", {"session": True}, {"title": "hello"}),
    ],
)
def test_it_is_said_and_not_done(
    tmp_path: Path, gh: FakeGitHub, verb: str, params: dict[str, Any], told: dict[str, object]
) -> None:
    living = Living(tmp_path, **gh.settings())
    old = living.write(text="from before it was installed")
    os.utime(old, (time.time() - 9 * 86_400.0,) * 2)
    with living:
        path = living.transcript()
        assert living.ctl("sync", acts=True, wait=60)["left"] == 0
        left = next(living.home.vault.rglob("journal")).with_name(
            "journal.part"
        )  # by a merge that was killed
        left.write_bytes(b"half")
        os.utime(left, (time.time() - 9 * 86_400.0,) * 2)
        named = {name: path.stem if name == "session" else value for name, value in params.items()}
        before = everything(living, gh)
        said = living.ctl(verb, acts=True, dry_run=True, **named)
        assert {name: said[name] for name in told} == told
        assert everything(living, gh) == before
        living.ctl(verb, acts=True, **named)
        living.until(lambda: everything(living, gh) != before)

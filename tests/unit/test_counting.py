"""The daemon's numbers follow what is forgotten, whoever was killed."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import pytest

from sessiond.counting import Counting
from sessiond.engine import Engine
from sessionsync.config import load, paths
from sessionsync.events import silent
from sessionsync.stats import Numbers, returns
from sessionsync.vault import Vault
from tests.machines import Killed
from tests.rig import append, line

SID = "5e0d9b7a-1111-4000-8000-000000000000"


def engine() -> Engine:
    where = paths(os.environ)
    return Engine(os.environ, load(os.environ, where.config_file), where, silent)


def test_the_name_goes_also_where_the_daemon_was_killed_while_it_forgot(home: Path) -> None:
    where = paths(os.environ)
    folder = home / ".claude" / "projects" / "-work-app"
    folder.mkdir(parents=True)
    append(folder / f"{SID}.jsonl", line("user", "hello", home, session=SID))
    with closing(engine()) as first:
        for ref in first.capture.survey():
            first.capture.capture(ref, time.time())
        first.capture.flush(time.time())
        counting = Counting(first, silent)
        counting.run()
        returns.note(where.returns, f"claude:{SID}", time.time())
        session = first.catalog.resolve(SID)
        first.capture.let_go(session.ref, time.time())

        def dies(*_: object) -> None:
            raise Killed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Vault, "forget", dies)
            with pytest.raises(Killed):
                first.forget.begin(session, time.time())
        counting.end()
    with closing(engine()) as second:
        counting = Counting(second, silent)
        counting.run()
        counting.end()
    with closing(Numbers(where.numbers_db)) as numbers:
        assert list(numbers.seen()) == ["claude:forgotten"]
    assert returns.noted(where.returns) == {}

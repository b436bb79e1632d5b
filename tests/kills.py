"""The real daemon, killed again and again while sessions grow and GitHub fails; then everything is counted."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests import arrived
from tests.daemon import Daemon
from tests.fakes.faults import accept_then_drop, rule, server_error
from tests.fakes.github import FakeGitHub
from tests.rig import line

SESSIONS = 4
MOMENT_S = 4.0
END_S = 150.0


class Kills:
    """One run: `kill` so often, then `check`.  Everything random comes from `seed` but the kernel's timing."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.project = folder / "home" / "work" / "app"
        self.project.mkdir(parents=True)
        self.written: dict[Path, bytes] = {}
        self.gh = FakeGitHub(seed=seed)
        self.gh.add_repo("o/r", private=True)
        self.gh.token("T", login="me")
        # a run makes more requests than a person's daemon does in an hour
        self.gh.behave(content_per_minute=10_000, content_per_hour=10_000)

    def __enter__(self) -> Self:
        self.gh.__enter__()
        self.daemon = Daemon(
            self.folder,
            GH_TOKEN="T",
            SESSIOND_GITHUB_REPO="o/r",
            SESSIOND_GITHUB_API_URL=self.gh.url,
            SESSIOND_SOURCES_QUIET_SECONDS="1",
        )
        self.daemon.start()  # what is written from now on is new to it
        for _ in range(SESSIONS):
            path = (
                self.daemon.agent
                / "projects"
                / "-work-app"
                / f"{uuid.UUID(int=self.chance.getrandbits(128))}.jsonl"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            self.written[path] = b""
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.kill()
        self.gh.__exit__(None, None, None)

    def kill(self) -> None:
        """Let sessions grow, choose a moment, kill the daemon in it, and start it again."""
        self._fail()
        for path in self.chance.sample(sorted(self.written), self.chance.randint(1, SESSIONS)):
            self._grow(path)
        moment = self._moment()
        until = time.monotonic() + MOMENT_S
        while not moment() and time.monotonic() < until:
            time.sleep(0.002)
        self.daemon.kill()
        if self.chance.random() < 0.3:  # the agent goes on while nobody watches
            self._grow(self.chance.choice(sorted(self.written)))
        self.daemon.start()

    def check(self) -> None:
        """Let GitHub recover; then nothing is lost and nothing is there twice."""
        self.gh.clear_faults()
        for path in self.written:
            self._grow(path)
        until = time.monotonic() + END_S
        while time.monotonic() < until and not self._is_through():
            self.daemon.ctl("sync", acts=True)
            time.sleep(0.2)
        records = arrived.records(self.gh)
        assert set(records) == {path.stem for path in self.written}, "a record for each session, and no other"
        for path, data in self.written.items():
            assert arrived.files(self.gh, path.stem) == {path.name: data}, f"{path.stem} on GitHub"
            assert (self.daemon.mirror / "app" / path.name).read_bytes() == data, (
                f"{path.stem} in the plain copy"
            )
        assert len(self.gh.effects("created issue")) == 1, "one issue"
        created = len(self.gh.effects("created comment"))
        gone = len(self.gh.effects("deleted comment"))
        assert created - gone == sum(map(len, records.values())), "no comment that is no record"
        queue = self.daemon.ctl("queue", buried=True)["items"]
        assert queue == [], "nothing buried"

    def _is_through(self) -> bool:
        status = self.daemon.ctl("status")
        if status["queue"]["pending"] or status["sessions"]["unpushed"]:
            return False
        records = arrived.records(self.gh)
        return all(
            path.stem in records and arrived.files(self.gh, path.stem) == {path.name: data}
            for path, data in self.written.items()
        )

    def _grow(self, path: Path) -> None:
        data = b"".join(
            line(role, " ".join(self.chance.choices(_WORDS, k=self.chance.randint(3, 40))), self.project)
            for role in ("user", "assistant")
        )
        with path.open("ab") as file:
            file.write(data)
        self.written[path] += data

    def _fail(self) -> None:
        self.gh.clear_faults()
        chance = self.chance
        faults = [
            accept_then_drop(method="POST", probability=0.4),
            accept_then_drop(method="PATCH", probability=0.2),
            rule("truncate", method="GET", probability=0.15),
            rule("truncate", method="POST", probability=0.2),
            server_error(502, effect=True, method="POST", probability=0.3),
            server_error(500, effect=False, probability=0.2),
        ]
        for fault in chance.sample(faults, chance.randint(0, 3)):
            self.gh.fault(fault)

    def _moment(self) -> Callable[[], bool]:
        """When to kill: at once, when a copy is made, or when one more request or write has arrived."""
        path = self.chance.choice(sorted(self.written))
        copy = self.daemon.mirror / "app" / path.name
        asked, wrote = len(self.gh.requests()), len(self.gh.effects())
        more = self.chance.randint(1, 4)
        return self.chance.choice(
            [
                lambda: True,
                lambda: copy.exists() and copy.stat().st_size >= len(self.written[path]),
                lambda: len(self.gh.requests()) >= asked + more,
                lambda: len(self.gh.effects()) > wrote,
            ]
        )


_WORDS = [
    "the",
    "queue",
    "holds",
    "what",
    "waits",
    "a",
    "copy",
    "counts",
    "when",
    "verified",
    "nothing",
    "is",
    "sent",
    "twice",
]

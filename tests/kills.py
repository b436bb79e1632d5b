"""The real daemon, killed again and again while sessions grow and GitHub fails; then everything is counted."""

from __future__ import annotations

import hashlib
import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Self

from sessionsync.errors import RecordError
from sessionsync.model import Ref, Tier
from sessionsync.remote import comments
from sessionsync.vault import Vault
from tests import arrived
from tests.daemon import Daemon
from tests.fakes.faults import accept_then_drop, rule, server_error
from tests.fakes.github import FakeGitHub
from tests.rig import line

SESSIONS = 4
MOMENT_S = 2.5
END_S = 150.0
WORDS = ("queue", "holds", "waits", "copy", "counts", "verified", "nothing", "sent", "twice")


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
            **self.gh.settings(),
            SESSIOND_GITHUB_CREATIONS_PER_HOUR="500",
            SESSIOND_SOURCES_QUIET_SECONDS="1",
            # so small that sessions of a test have several parts and go through every tier
            SESSIOND_TIERS_COMMENT_BYTES="4096",
            SESSIOND_TIERS_GITHUB_ONLY_BYTES="9000",
            SESSIOND_TIERS_HYBRID_BYTES="30000",
        )
        self.daemon.start()  # what is written from now on is new to it
        folder = self.daemon.agent / "projects" / "-work-app"
        folder.mkdir(parents=True)
        for _ in range(SESSIONS):
            self.written[folder / f"{uuid.UUID(int=self.chance.getrandbits(128))}.jsonl"] = b""
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
        if self.chance.random() < 0.2:  # not even up when it dies again
            self.daemon.launch()
            time.sleep(self.chance.uniform(0.1, 0.8))
            self.daemon.kill()
        self.daemon.start()

    def check(self) -> None:
        """Let GitHub recover; then nothing is lost and nothing is, or ever was, there twice."""
        self.gh.clear_faults()
        for path in self.written:
            self._grow(path)
        until = time.monotonic() + END_S
        while time.monotonic() < until and not self._is_through():
            self.daemon.ctl("sync", acts=True)
            time.sleep(0.2)
        for path, data in self.written.items():
            assert (self.daemon.mirror / "app" / path.name).read_bytes() == data, f"plain copy of {path.stem}"
            assert self._has_arrived(path), f"{path.stem} on GitHub"
        assert set(arrived.records(self.gh)) == {path.stem for path in self.written}, (
            "a record for each session"
        )
        assert arrived.doubled(self.gh) == []
        assert self.daemon.ctl("queue", buried=True)["items"] == [], "nothing buried"
        shown = {path: self.daemon.ctl("show", session=path.stem)["checkpoints"] for path in self.written}
        self.daemon.stop()
        for path, checkpoints in shown.items():
            self._check_checkpoints(path, [checkpoint["id"] for checkpoint in checkpoints])

    def _check_checkpoints(self, path: Path, known: list[str]) -> None:
        """Every checkpoint that is shown can be had from the vault, and is what the session once was."""
        vault = Vault(self.daemon.vault).open("app", Ref("claude", path.stem))
        assert known, f"checkpoints of {path.stem}"
        for checkpoint in known:
            file = vault.files(checkpoint)[path.name]
            data = b"".join(vault.read(file.name, file.generation, file.length, root=file.root))
            assert self.written[path].startswith(data), f"checkpoint {checkpoint} of {path.stem}"
        assert data == self.written[path], f"newest checkpoint of {path.stem}"

    def _is_through(self) -> bool:
        status = self.daemon.ctl("status")
        if status["queue"]["pending"] or status["sessions"]["unpushed"]:
            return False
        return all(self._has_arrived(path) for path in self.written)

    def _has_arrived(self, path: Path) -> bool:
        """Whether the session's record is whole, there once, and of all that was written."""
        data, parts = self.written[path], arrived.records(self.gh).get(path.stem, [])
        if len({part.revision for part in parts}) != 1 or sorted(p.part for p in parts) != [
            *range(1, parts[0].parts + 1)
        ]:
            return False
        try:
            record, files = comments.assemble(parts)
        except RecordError:
            return False
        listed = {entry.path: entry.sha256 for entry in record.files}
        is_newest = listed.get(path.name) == hashlib.sha256(data).hexdigest() and record.size == len(data)
        return is_newest and (record.tier is not Tier.GITHUB_ONLY or files == {path.name: data})

    def _grow(self, path: Path) -> None:
        said = (
            " ".join(f"{self.chance.choice(WORDS)} {self.chance.random()}" for _ in range(n)) for n in (1, 9)
        )
        data = b"".join(line(*turn, self.project) for turn in zip(("user", "assistant"), said, strict=True))
        with path.open("ab") as file:
            file.write(data)
        self.written[path] += data

    def _fail(self) -> None:
        self.gh.clear_faults()
        chance = self.chance
        faults = [
            accept_then_drop(method="POST", probability=0.4),
            accept_then_drop(method="PATCH|DELETE", probability=0.2),
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

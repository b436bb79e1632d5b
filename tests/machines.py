"""Several machines with one repository: each a home with its engine, at a time that the test moves."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sessionsync.config import Config
from sessionsync.conflict import Conflicts
from sessionsync.pull import Pull
from sessionsync.remote import comments
from sessionsync.remote.archive.reader import Reader
from tests.archive import Elsewhere, Shipper, with_archive
from tests.fakes.github import FakeGitHub
from tests.rig import Home, Line, Rig, append, line, write

SID = "3f2a9c1e-0000-4000-8000-000000000000"
MAIN = f"{SID}.jsonl"


class Killed(BaseException):
    """The machine has lost its power."""


class Machine:
    """A home, its engine, and its line to GitHub."""

    def __init__(
        self, folder: Path, gh: FakeGitHub, number: int, *, archive: Path | None = None, **github: Any
    ) -> None:
        self.gh = gh
        self.home = Home(folder)
        self.archive = archive
        self.shipper: Shipper | None = None
        self.number = number
        self.name = f"{number:08x}"
        self._github = github
        self._start(Rig(self.home, settings=self._settings()))

    def _settings(self) -> Config | None:
        return None if self.archive is None else with_archive(self.home.config(), self.archive)

    @contextmanager
    def _reader(self) -> Iterator[Reader]:
        with closing(Elsewhere(self.home.state, self.rig.config)) as opened:
            yield opened.reader

    def _start(self, rig: Rig) -> None:
        self.rig = rig
        if self.archive is not None:
            self.shipper = Shipper(rig, machine=self.name)
        self.line = Line(
            rig,
            self.gh.url,
            host=f"host{self.number}",
            machine=self.name,
            archive=None if self.archive is None else self._reader,
            **self._github,
        )
        self.pull = Pull(
            push=self.line.push,
            catalog=rig.catalog,
            queue=rig.queue,
            placements=self.line.placements,
            emit=rig.events,
        )
        self.conflicts = Conflicts(rig.store)

    def close(self) -> None:
        self.line.close()
        if self.shipper is not None:
            self.shipper.close()
        self.rig.close()

    def restart(self) -> None:
        """End as a power cut does, and come back."""
        self.close()
        self._start(Rig(self.home, now=self.rig.now, settings=self._settings()))

    def die_at(self, request: int, *, after: bool) -> None:
        """Lose power at the n-th request from now, before it leaves or after its effect."""
        ask: Callable[..., Any] = self.line.github._api.ask
        asked = 0

        def perhaps(*args: Any, **named: Any) -> Any:
            nonlocal asked
            asked += 1
            if asked == request and not after:
                raise Killed
            answer = ask(*args, **named)
            if asked == request:
                raise Killed
            return answer

        self.line.github._api.ask = perhaps  # type: ignore[method-assign]

    # --- what its user does

    @property
    def transcript(self) -> Path:
        return self.home.transcript(SID)

    def say(self, *texts: str) -> None:
        append(self.transcript, *(line("user", text, self.home.project, session=SID) for text in texts))

    def write(self, **files: str) -> None:
        folder = self.home.structured("plan")
        write(folder, [(name.replace("_", "."), data.encode()) for name, data in files.items()])

    def name_project(self) -> None:
        """Let the project be the same on every machine."""
        folder = self.home.project
        if not (folder / ".git").exists():
            subprocess.run(["git", "init", "-q", str(folder)], check=True)
            remote = ["remote", "add", "origin", "https://github.com/o/app.git"]
            subprocess.run(["git", "-C", str(folder), *remote], check=True)

    # --- what its daemon does

    def checkpoint(self) -> None:
        self.rig.wait(5)
        self.rig.wait(200)

    def push(self) -> None:
        """Send what waits; GitHub's clock goes on as well."""
        if self.shipper is not None:
            self.shipper.drain()
        self.line.drain()
        self.gh.advance(max(0.0, self.rig.now - self.gh.now()))

    def listen(self) -> None:
        self.rig.now = max(self.rig.now, self.gh.now()) + 61
        self.gh.advance(self.rig.now - self.gh.now())
        self.pull.soon()
        assert self.pull.work(self.rig.now)
        self.push()

    def sync(self) -> None:
        self.rig.now = max(self.rig.now, self.gh.now())
        self.checkpoint()
        self.push()
        self.listen()


def hand_over(one: Machine, two: Machine) -> None:
    """What a restore would do: the transcript of one lies on the other."""
    two.transcript.write_bytes(one.transcript.read_bytes())


def records(gh: FakeGitHub) -> dict[str, tuple[comments.Record, dict[str, bytes] | None]]:
    """Every record in the project's issue, whole."""
    parts: dict[str, list[comments.Part]] = {}
    for comment in gh.comments("o/r", 1):
        if (part := comments.parse(comment.body)) is not None:
            parts.setdefault(part.session_id, []).append(part)
    return {name: comments.assemble(its) for name, its in parts.items()}


def notices(gh: FakeGitHub) -> list[str]:
    return [c.body for c in gh.comments("o/r", 1) if comments.parse_notice(c.body) is not None]


def texts(data: bytes) -> list[str]:
    return re.findall(r'"content": "([^"]*)"', data.decode())


def held(gh: FakeGitHub, name: str = MAIN, session: str = SID) -> bytes:
    files = records(gh)[session][1]
    assert files is not None
    return files[name]

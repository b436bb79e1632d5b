"""A user's machine for `sessiond restore`: real copies made by the engine, and the command line over them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sessiond.__main__ import main
from tests.fakes.agent import Agent
from tests.fakes.github import FakeGitHub
from tests.rig import Home, Line, Rig

Json = dict[str, Any]

REMOTE = "git@github.com:o/app.git"
OLD_S = 3600.0


class Done:
    """What a command left: its exit code and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Json:
        found: Json = json.loads(self.out)
        return found

    @property
    def last(self) -> str:
        return self.out.splitlines()[-1]


class Machine:
    """A home with a project, its engine, and `sessiond` in this process.

    Its clock is real: a restore reads the real one.  `age` makes files look old, as an agent's are that
    has long ended.
    """

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        *,
        gh: FakeGitHub | None = None,
        project: str = "work/app",
        remote: str = REMOTE,
    ) -> None:
        self.home = Home(folder)
        self.home.project = folder / project
        self.home.project.mkdir(parents=True, exist_ok=True)
        repository(self.home.project, remote)
        self.rig = Rig(self.home, now=time.time() - OLD_S)
        self.gh = gh
        self.here = self.home.project
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.environ = {
            "SESSIOND_HOME": str(folder),
            "CLAUDE_CONFIG_DIR": str(self.home.agent),
            "SESSIOND_BACKUP_MIRROR_DIR": str(self.home.mirror),
            "SESSIOND_BACKUP_VAULT_DIR": str(self.home.vault),
        }
        if gh is not None:
            self.environ |= gh.settings()

    def __call__(self, *arguments: str, **environ: str) -> Done:
        """Run `sessiond`, on this machine, in its project's folder."""
        with self._monkeypatch.context() as patch:
            for name, value in (self.environ | environ).items():
                patch.setenv(name, value)
            patch.chdir(self.here)
            patch.setattr(sys, "argv", ["sessiond", *arguments])
            code = main()
        printed = self._capsys.readouterr()
        return Done(code, printed.out, printed.err)

    def agent(self, **fields: Any) -> Agent:
        """An agent that works in the project, on a session of its own."""
        count = len(list(self.home.agent.glob("projects/*/*.jsonl")))
        session = f"{count:08x}-58d7-4cf4-9f3f-6a6f5c9c1a11"
        return Agent(**{"session": session, "cwd": str(self.home.project), **fields})

    def write(self, agent: Agent) -> Path:
        """Write what an agent has said so far where it would, and take a checkpoint of it."""
        return self.put(agent.session, agent.data)

    def put(self, session: str, data: bytes) -> Path:
        path = self.home.transcript(session)
        path.write_bytes(data)
        self.settle()
        return path

    def settle(self) -> None:
        """Let the engine capture what is there; everything has then been quiet for long."""
        self.rig.wait(5)
        self.rig.wait(200)
        self.age()

    def age(self) -> None:
        """Let every file look as if it was last written long ago, in the order in which they were."""
        found = [*self.home.agent.rglob("*"), *self.home.project.rglob("*")]
        files = [path for path in found if path.is_file() and not path.is_symlink()]
        for number, path in enumerate(sorted(files, key=lambda path: path.stat().st_mtime_ns)):
            at = time.time() - OLD_S + number
            os.utime(path, (at, at))
        self.rig.scan()

    def push(self, **github: Any) -> None:
        """Send everything that waits."""
        assert self.gh is not None
        line = Line(self.rig, self.gh.url, **github)
        line.drain()
        line.close()

    def close(self) -> None:
        self.rig.close()


def repository(folder: Path, remote: str = REMOTE) -> None:
    """Make a folder a work tree with this `origin`."""
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    if remote:
        subprocess.run(["git", "-C", str(folder), "remote", "add", "origin", remote], check=True)


Make = Callable[..., Machine]
"""The fixture `make`: a machine of this name, with these options."""

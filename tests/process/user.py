"""A user with a daemon: types commands, reads what they say, and obeys the modes of files as everybody does."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sessionsync.vault import Vault
from tests.conftest import PATIENCE_S, lines_of, poll
from tests.daemon import Daemon
from tests.fakes.github import FakeGitHub
from tests.rig import append, line

Json = dict[str, Any]

# A user id of 0 without a single capability reads only what it may.
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all")


def ordinary() -> tuple[str, ...]:
    """What goes before a command so that it runs without root's rights; skips where that cannot be had."""
    if os.geteuid():
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("root may read and write everything, and there is no setpriv to give that up")
    return UNPRIVILEGED


class User(Daemon):
    """A daemon whose sessions are at rest after a second, and the GitHub that it pushes to, if any."""

    def __init__(self, folder: Path, gh: FakeGitHub | None = None, **settings: str) -> None:
        remote = gh.settings() if gh is not None else {}
        super().__init__(folder, **{"SESSIOND_SOURCES_QUIET_SECONDS": "1", **remote, **settings})
        self.before = ordinary()
        self.project = folder / "work" / "app"
        self.project.mkdir(parents=True)
        self.folder_of_project = self.agent / "projects" / "-work-app"
        self.folder_of_project.mkdir()

    # --- what it does

    def say(self, text: str, path: Path | None = None) -> Path:
        """Say something in a session, or begin one; its transcript."""
        path = path or self.folder_of_project / f"{uuid.uuid4()}.jsonl"
        append(path, line("user", text, self.project))
        return path

    def save(self, path: Path) -> None:
        """Have a checkpoint of a session, without waiting for it to rest."""
        self.ctl("checkpoint", acts=True, session=path.stem)

    def type(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command of sessiond's."""
        return subprocess.run(
            [*self.before, *self.program, *arguments],
            env=self.environ | environ,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    # --- what it sees

    def fails(self, *arguments: str, **environ: str) -> tuple[int, str, str]:
        """Run what must fail: exit code, the line that says what is wrong, the line that says what to do."""
        done = self.type(*arguments, **environ)
        lines = [text for text in done.stderr.splitlines() if not text.startswith("{")]  # the log
        assert len(lines) == 2, done.stderr
        assert lines[0].startswith("sessiond: ")
        return done.returncode, lines[0], lines[1]

    def screen(self) -> list[str]:
        """The lines of `ctl status`."""
        done = self.type("ctl", "status")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    def status(self) -> Json:
        return self.ctl("status")

    def until(self, what: Callable[[Json], object], timeout_s: float = PATIENCE_S) -> Json:
        """The status as soon as `what` is true of it."""
        seen: list[Json] = []

        def look() -> object:
            seen[:] = [self.status()]
            return what(seen[0])

        try:
            poll(look, timeout_s, 0.05)
        except AssertionError:
            pytest.fail(f"not within {timeout_s} s: {json.dumps(seen[0], indent=1)}")
        return seen[0]

    def until_found(self, code: str) -> Json:
        """The finding of this code as soon as it is there."""
        status = self.until(lambda found: code in codes(found))
        return next(finding for finding in status["findings"] if finding["code"] == code)

    def logged(self, event: str) -> list[Json]:
        """What was logged of an event, over all starts."""
        return [found for found in lines_of(self.log) if found["event"] == event]

    # --- what is kept

    def copy_of(self, path: Path, project: str = "app") -> Path:
        """Where the plain copy of a transcript is."""
        return self.mirror / project / path.name

    def is_copied(self, path: Path, project: str = "app") -> bool:
        copy = self.copy_of(path, project)
        return copy.is_file() and copy.read_bytes() == path.read_bytes()

    def in_vault(self, session: str) -> dict[str, bytes]:
        """Every file of a session as the vault gives it back, read as another process may."""
        vault = Vault(self.vault)
        for project, ref in vault.sessions():
            if ref.session_id == session:
                kept = vault.open(project, ref)
                return {
                    name: b"".join(kept.read(name, file.generation, file.length))
                    for name, file in kept.files().items()
                    if file.deleted_at is None
                }
        return {}

    def check_kept(self, *paths: Path, project: str = "app") -> None:
        """Transcripts are in the plain copy and, within a moment, in the vault, byte by byte."""
        for path in paths:
            data = path.read_bytes()
            poll(functools.partial(self.is_copied, path, project))
            poll(lambda path=path, data=data: self.in_vault(path.stem).get(path.name) == data)  # type: ignore[misc]


def codes(status: Json) -> set[str]:
    """The codes of a status's findings."""
    return {finding["code"] for finding in status["findings"]}


def is_safe(status: Json) -> bool:
    """Whether all is well and everything is on GitHub."""
    return status["status"] == "ok" and status["mode"] == "normal" and not status["sessions"]["unpushed"]


def sentence(text: str) -> bool:
    """Whether a person can read it: one line, no name of a class, no traceback."""
    return bool(text) and text.isprintable() and not re.search(r"Traceback|[a-z](Error|Exception)\b", text)

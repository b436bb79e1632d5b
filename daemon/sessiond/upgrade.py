"""The program on the disk under the running one: to another that is put in its place the daemon gives way.

pip, pipx and uv replace files one by one while the old code is in memory; what is imported late would be of
the other version. So once the files rest the new program is asked whether it would start here (`sessiond
run --check`), and only then does the daemon end, with everything committed, and become it: the same process,
so that its service manager, or its terminal, keeps it.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import NoReturn

import sessiond
import sessionsync
from sessiond import build, process
from sessiond.token import run
from sessionsync.config import load
from sessionsync.errors import ServiceFailed
from sessionsync.events import Emit
from sessionsync.migrations import check_room, is_older
from sessionsync.paths import paths
from sessionsync.reliability.findings import Findings, Severity
from sessionsync.store import translated
from sessionsync.vault import Vault

# Files that did not change for so long are all there.
RESTS_S = 3.0
# A program that would not start is asked again after so long: what it lacks may come.
AGAIN_S = 300.0
CHECK_S = 60.0
REFUSED = "program_unusable"

Stamp = tuple[tuple[int, int, int] | None, ...]


class Upgrade:
    """Whether this process is still what is installed.  For one thread at a time.

    `give_way(said)` is told when it is not, and the other program would start; `said` is its own word.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        findings: Findings,
        emit: Emit,
        give_way: Callable[[str], None],
    ) -> None:
        self._environ = environ
        self._findings = findings
        self._emit = emit
        self._give_way = give_way
        self._runs = self._seen = installed()
        self._ask_at = 0.0

    def look(self) -> None:
        """See whether the files are still those of this process; the new program is asked once they rest."""
        stamp, now = installed(), time.monotonic()
        if stamp != self._seen:
            self._seen, self._ask_at = stamp, now + RESTS_S
        elif stamp == self._runs:
            self._findings.cleared(REFUSED)
        elif now >= self._ask_at:
            self._ask_at = now + AGAIN_S
            try:
                said = asked(self._environ)
            except ServiceFailed as error:
                self._refuse(str(error), is_gone=None in stamp)
            else:
                self._give_way(said)

    def _refuse(self, why: str, *, is_gone: bool) -> None:
        what = "This program was removed" if is_gone else "Another version was installed, and does not start"
        message = f"{what} ({why}); the daemon that runs goes on."
        hint = "Install it again, or end what is left: sessiond ctl stop."
        if self._findings.raised("program_unusable", Severity.WARNING, message, hint, time.time()):
            self._emit("upgrade_refused", reason=why)


def installed() -> Stamp:
    """What tells the installed files from any others; None for one that is missing.

    Every build has new ones of these two; in a source tree they change with the version.
    """
    return tuple(_stamp(Path(package.__file__ or "")) for package in (sessionsync, sessiond))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def check(environ: Mapping[str, str]) -> str:
    """Whether the daemon of this very program would start here: nothing is changed.  Returns what it is.

    Raises:
        SessiondError: it would not, for want of a library, or because of settings, state or backup.
    """
    if missing := build.missing():
        raise ServiceFailed(f"Not installed: {', '.join(missing)}.", hint="Install sessiond again.")
    where = paths(environ)
    config = load(environ, where.config_file)
    file = where.state_db
    if file.exists():
        with (
            translated(file),
            closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as state,
        ):
            if is_older(state, file):
                check_room(file)  # what gives way to this program could not be gone back to
    Vault(config.backup.vault_dir).check_format()
    return build.described().splitlines()[0]


def would_start(environ: Mapping[str, str]) -> str:
    """What a start here would come to, in a person's words, where `check` has nothing against it."""
    if (pid := process.holder(paths(environ).lock)) is None:
        return "The daemon would start here: settings, state and backup are well."
    return f"Another sessiond, pid {pid}, runs here; once it has ended, the daemon would start."


def asked(environ: Mapping[str, str]) -> str:
    """Whether the program that is installed now would start here, in its own word.

    Raises:
        ServiceFailed: it would not, and why.
    """
    command = [*_program(), "run", "--check"]
    try:
        done = run(command, environ, timeout_s=CHECK_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceFailed(
            f"{command[0]} cannot be run: {error}", hint="Install sessiond again; this version goes on."
        ) from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise ServiceFailed(lines[0].removeprefix("sessiond: "))
    return done.stdout.strip()


def become(environ: Mapping[str, str]) -> NoReturn:
    """Put the program that is installed now into this process, with the arguments of this one.

    Raises:
        OSError: it cannot be run.
    """
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    command = [*_program(), *sys.argv[1:]]
    os.execve(command[0], command, dict(environ))  # noqa: S606 - our own program


def _program() -> list[str]:
    """How this program was called: by its name, whose links an upgrade may turn, else as a module."""
    script = Path(os.path.abspath(sys.argv[0]))  # noqa: PTH100 - links stay
    if script.name == "sessiond" and os.access(script, os.X_OK):
        return [str(script)]
    return [sys.executable, "-m", "sessiond"]

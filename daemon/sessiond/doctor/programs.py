"""The programs it is made of: its own version, Python, SQLite, git."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import sys

from sessiond import build, service
from sessiond.doctor.here import FAILED, OK, WARNING, Here, Said
from sessionsync import __version__
from sessionsync.remote.archive.address import address_of
from sessionsync.remote.archive.git import OLDEST

OLDEST_PYTHON = (3, 11)


def version(here: Here) -> Said:
    """Whether all of this version is installed, and the daemon is of it as well."""
    built = build.commit()
    ours = f"sessiond {__version__}" + (f", commit {built}" if built else "")
    if missing := build.missing():
        return Said(FAILED, f"{ours}: not installed: {', '.join(missing)}.", "Install sessiond again.")
    if here.daemon is not None and here.daemon["version"] != __version__:
        return Said(
            WARNING,
            f"This command is {ours}, the daemon that runs is {here.daemon['version']}.",
            "After an upgrade it follows by itself; else: sessiond service stop, sessiond service start.",
        )
    return Said(OK, f"{ours}.")


def python(_here: Here) -> Said:
    """Whether Python is new enough."""
    found = platform.python_version()
    if sys.version_info[:2] < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return Said(FAILED, f"Python {found} is too old.", f"Install Python {wanted} or newer.")
    return Said(OK, f"Python {found} in {sys.prefix}.")


def sqlite(_here: Here, version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Said:
    """The state does without WAL, whose bug of before 3.51.3 is the best known (sqlite.org/wal.html).

    The search index and the figures are kept with it, and can be lost.
    """
    name = f"SQLite {'.'.join(map(str, version))}"
    with sqlite3.connect(":memory:") as memory:
        try:
            memory.execute("CREATE VIRTUAL TABLE words USING fts5(word)")
        except sqlite3.OperationalError:
            return Said(
                WARNING, f"{name} has no FTS5: there is no search.", "Use a Python whose SQLite has it."
            )
        finally:
            memory.rollback()
    memory.close()
    if version < (3, 35):
        return Said(FAILED, f"{name} is too old.", "Use a Python with SQLite 3.35 or newer.")
    if version < (3, 51, 3):
        return Said(
            OK,
            f"{name}: its bug in WAL concerns only search index and figures, which can be made anew.",
        )
    return Said(OK, f"{name}.")


def git(here: Here) -> Said:
    """Whether there is a git that is new enough, where one is needed."""
    program = shutil.which("git", path=here.environ.get("PATH"))
    wanted = ".".join(map(str, OLDEST))
    archive = address_of(here.settings) is not None
    why = "the archive needs it" if archive else "projects are then named by their folder alone"
    if program is None:
        return Said(
            FAILED if archive else WARNING, f"There is no git; {why}.", f"Install git {wanted} or newer."
        )
    said = service.ask([program, "version"], here.environ).stdout.strip()
    digits = [part for part in said.replace("git version", "").split(".") if part.strip().isdecimal()]
    found = tuple(map(int, digits[:2]))
    if found < OLDEST:
        status = FAILED if archive else WARNING
        return Said(status, f"{said or program} is too old; {why}.", f"Install git {wanted} or newer.")
    return Said(OK, f"{said}.")

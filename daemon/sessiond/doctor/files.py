"""What lies on the disk, and how much of it the kernel lets be watched."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sessiond.doctor.here import ASK_S, FAILED, OK, WARNING, Here, Said
from sessiond.observer import watches_limit
from sessionsync import migrations
from sessionsync.config import Config
from sessionsync.reliability.indicators import INDICATORS

# A first backup needs room to begin with.
LEAST_BYTES = 100 * 1024 * 1024
# So many watches a single session folder tree may ask for in a busy year; what distributions set since 5.11.
WANTED_WATCHES, WANTED_INSTANCES = 524_288, 512
# The finding of a daemon that goes by other settings than the file has.
RESTART = "restart_needed"


def config(here: Here) -> Said:
    """Whether the settings can be read, are nobody else's to change, and are what the daemon goes by."""
    file = here.paths.config_file
    config = here.config
    changed = sum(getattr(config, section) != getattr(Config(), section) for section in Config._fields)
    waiting = [each for each in (here.daemon or {"findings": []})["findings"] if each["code"] == RESTART]
    if waiting:
        return Said(WARNING, waiting[0]["message"], waiting[0]["hint"], RESTART)
    if not file.exists():
        return Said(OK, f"There is no {file}; the usual settings hold.")
    if file.stat().st_mode & 0o022:
        return Said(WARNING, f"{file} can be changed by others.", f"chmod 600 {file}")
    return Said(OK, f"{file} is well, {changed} of {len(Config._fields)} sections differ from the usual.")


def folders(here: Here) -> Said:
    """Whether a daemon of this user can use its folders, and only that user."""
    where, backup = here.paths, here.settings.backup
    problems: list[Said] = []
    for folder in dict.fromkeys(
        [where.state_dir, where.log_dir, where.socket.parent, backup.mirror_dir, backup.vault_dir]
    ):
        problems += _wrong_with(folder)
    if problems:
        worst = next((each for each in problems if each.status == FAILED), problems[0])
        return worst._replace(message=" ".join(each.message for each in problems))
    return Said(OK, f"State in {where.state_dir}, backups in {backup.mirror_dir} and {backup.vault_dir}.")


def _wrong_with(folder: Path) -> Iterator[Said]:
    """What keeps a daemon of this user from using a folder; one that is missing can be made."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        above = next(each for each in folder.parents if each.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            yield Said(
                FAILED, f"{folder} cannot be made: {above} is not yours.", f"Own {above}, or set another."
            )
        return
    except OSError as error:
        yield Said(FAILED, f"{folder} cannot be looked at: {error.strerror}.", "Make it a folder of yours.")
        return
    if not stat.S_ISDIR(found.st_mode):
        yield Said(FAILED, f"{folder} is no folder.", "Move it away.")
    elif found.st_uid != os.geteuid():
        yield Said(
            FAILED,
            f"{folder} belongs to the user with the id {found.st_uid}.",
            f"Run sessiond as that user, or: chown -R $USER {folder}",
        )
    elif not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Said(FAILED, f"{folder} cannot be written to.", f"chmod u+rwx {folder}")
    elif found.st_mode & 0o077:
        yield Said(WARNING, f"{folder} can be entered by others.", f"chmod 700 {folder}")


def disk(here: Here) -> Said:
    """Whether there is room for the state and both copies."""
    indicator = next(each for each in INDICATORS if each.code == "disk_low")
    told = []
    for folder in (here.paths.state_dir, here.settings.backup.mirror_dir, here.settings.backup.vault_dir):
        there = next((each for each in (folder, *folder.parents) if each.exists()), Path("/"))
        usage = shutil.disk_usage(there)
        share = usage.free / usage.total if usage.total else 0.0
        hint = f"Make room on the disk of {there}, or move the backup (see [backup] in the settings)."
        free = f"{usage.free // 2**20:,} MB ({share:.0%}) are free for {folder}"
        if usage.free < LEAST_BYTES or (indicator.critical is not None and share < indicator.critical):
            return Said(FAILED if usage.free < LEAST_BYTES else WARNING, f"Only {free}.", hint)
        if indicator.warning is not None and share < indicator.warning:
            return Said(WARNING, f"Only {free}.", hint)
        told.append((usage.free, free))
    return Said(OK, f"{min(told)[1]}.")


def state(here: Here) -> Said:
    """Whether the state file is sound, and of this version."""
    file = here.paths.state_db
    if not file.exists():
        return Said(OK, f"There is no {file} yet.")
    try:
        with closing(
            sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=ASK_S)
        ) as connection:
            (problem,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            is_older = migrations.is_older(connection, file)
    except sqlite3.DatabaseError as error:
        is_older, problem = False, str(error)
    if problem != "ok":
        hint = "Restart the daemon: it sets the file aside and rebuilds it."
        return Said(FAILED, f"{file} is damaged: {problem}.", hint)
    if is_older:
        return Said(OK, f"{file} is of an older version; the next start brings it up to date.")
    return Said(OK, f"{file} is sound, {file.stat().st_size // 1024:,} KB.")


def inotify(here: Here, limits: Path = Path("/proc/sys/fs/inotify")) -> Said:
    """Whether the kernel lets this user watch as many folders as there are."""
    if sys.platform != "linux":
        return Said(OK, "This system needs no limit raised.")
    watches = _number(limits / "max_user_watches", watches_limit())
    instances = _number(limits / "max_user_instances", float("inf"))
    needed = sum(_subfolders(root) for root in here.settings.claude_roots(here.environ))
    for name, has, wants, enough in (
        ("max_user_watches", watches, max(WANTED_WATCHES, 2 * needed), has_room(needed, watches)),
        ("max_user_instances", instances, WANTED_INSTANCES, instances >= 16),
    ):
        if not enough:
            key = f"fs.inotify.{name}"
            return Said(
                WARNING,
                f"{key} is {has:,.0f}; {needed:,} folders are to be watched.",
                f"echo {key}={wants} | sudo tee /etc/sysctl.d/60-sessiond.conf && sudo sysctl {key}={wants}",
            )
    return Said(OK, f"{needed:,} folders to watch, {watches:,.0f} allowed.")


def has_room(needed: int, limit: float) -> bool:
    """Whether a fifth of the watches stays for other programs, as the daemon's own finding has it."""
    return needed <= 0.8 * limit


def _number(file: Path, otherwise: float) -> float:
    try:
        return float(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return otherwise


def _subfolders(root: Path) -> int:
    return sum(1 for _ in os.walk(root / "projects"))

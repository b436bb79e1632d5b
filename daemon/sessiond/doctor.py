"""`sessiond doctor`: every precondition and every promise, looked at from outside.

Each check is a function over `Here`; the table at the end names them, in the order they are told.  A check
changes nothing, needs no running daemon, and waits for nobody without a bound.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import sqlite3
import stat
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from sessiond import build, client, hooks, service
from sessiond.observer import watches_limit
from sessiond.token import LOG_IN, Token, find_token, renewal
from sessionsync import __version__, age, migrations
from sessionsync.config import Config, load
from sessionsync.errors import (
    ConfigError,
    DaemonNotRunning,
    RemoteError,
    ServiceFailed,
    SessiondError,
    StoreError,
    TokenRefused,
)
from sessionsync.events import silent
from sessionsync.paths import Paths, paths
from sessionsync.privacy import seal
from sessionsync.reliability.indicators import INDICATORS
from sessionsync.remote import access
from sessionsync.remote.answers import Bounds, Repository
from sessionsync.remote.archive.address import address_of
from sessionsync.remote.archive.git import OLDEST, Git
from sessionsync.remote.archive.host import Host
from sessionsync.remote.github import GitHub
from sessionsync.restore.drill import Last
from sessionsync.sources.cleanup import cleanup_days
from sessionsync.sources.folders import can_enter, folders_in
from sessionsync.store import Store
from sessionsync.upkeep import Scan

Json = dict[str, Any]
Kept = TypeVar("Kept", Scan, Last)

OK, WARNING, FAILED = "ok", "warning", "failed"
OLDEST_PYTHON = (3, 11)
ASK_S = 5.0
DAY_S = 86_400.0
# A first backup needs room to begin with.
LEAST_BYTES = 100 * 1024 * 1024
# So many watches a single session folder tree may ask for in a busy year; what distributions set since 5.11.
WANTED_WATCHES, WANTED_INSTANCES = 524_288, 512
# Verified every day, proven by a restore every day; two days late is late.
LATE_S = 2 * DAY_S
SKEW_S = 60.0
# The finding of a daemon that goes by other settings than the file has.
RESTART = "restart_needed"
ENDS_SOON_S = 7 * DAY_S


class Said(NamedTuple):
    """What a check found: `status` is `ok`, `warning` or `failed`."""

    status: str
    message: str
    hint: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the answer.  `code` is the error's where one was raised."""

    name: str
    status: str
    message: str
    hint: str
    code: str = ""


class Here:
    """This machine and this user; what several checks need is looked up once."""

    def __init__(self, environ: Mapping[str, str], now: float) -> None:
        self.environ = environ
        self.now = now

    @cached_property
    def paths(self) -> Paths:
        """Where the program's own files lie; ConfigError."""
        return paths(self.environ)

    @cached_property
    def config(self) -> Config:
        """The settings; ConfigError."""
        return load(self.environ, self.paths.config_file)

    @cached_property
    def settings(self) -> Config:
        """The settings, or the usual ones where those are wrong."""
        try:
            return self.config
        except ConfigError:
            return Config()

    @cached_property
    def token(self) -> Token | None:
        """The token that would be used here; ConfigError."""
        return find_token(self.environ, self.settings.github.api_url)

    @cached_property
    def daemon(self) -> Json | None:
        """What the daemon says of itself; None where none runs."""
        try:
            return client.request(self.paths.socket, "status", timeout_s=ASK_S)
        except DaemonNotRunning:
            return None

    @cached_property
    def service(self) -> Json:
        """How the service is; ServiceFailed, ConfigError."""
        return service.of_this_system(self.environ, self.paths, hooks.program()).status()

    @cached_property
    def github(self) -> GitHub | None:
        """A client that has asked for the repository; None without a repository or a token."""
        repo = self.settings.github.repo
        try:
            token = self.token
        except ConfigError:
            return None
        if token is None or not repo:
            return None
        return GitHub(
            repo=repo,
            api_url=self.settings.github.api_url,
            token=lambda: token.value,
            user_agent=f"sessiond/{__version__}",
            wall=time.time,
            monotonic=time.monotonic,
            emit=silent,
            bounds=Bounds(connect_s=ASK_S, read_s=2 * ASK_S, total_s=3 * ASK_S),
        )

    @cached_property
    def repository(self) -> Repository | RemoteError | None:
        """The repository as GitHub shows it, or why it does not; None where it is not asked."""
        if self.github is None:
            return None
        try:
            return self.github.repository()
        except RemoteError as error:
            return error

    def close(self) -> None:
        """Let go of the connection."""
        if "github" in self.__dict__ and self.github is not None:
            self.github.close()


# --- what runs here


def _version(here: Here) -> Said:
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


def _python(_here: Here) -> Said:
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


def _git(here: Here) -> Said:
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


# --- what lies on the disk


def _config(here: Here) -> Said:
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


def _folders(here: Here) -> Said:
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


def _disk(here: Here) -> Said:
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


def _state(here: Here) -> Said:
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


# --- the agent


def _agent(here: Here) -> Said:
    missing = []
    for root in here.settings.claude_roots(here.environ):
        folder = root / "projects"
        if not folder.is_dir():
            missing.append(folder)
            continue
        for path in (str(folder), *sorted(folders_in(folder))):
            if not can_enter(path):
                hint = "Let this user read it: run sessiond as the user who runs the agent."
                return Said(FAILED, f"{path} cannot be read.", hint)
    if missing:
        return Said(
            WARNING,
            f"There is no {missing[0]} yet: no session of Claude Code.",
            "Set CLAUDE_CONFIG_DIR or sources.claude if it lies elsewhere.",
        )
    return Said(OK, "Claude Code's folders are there and can be read.")


def _purge(here: Here) -> Said:
    told = []
    for root in here.settings.claude_roots(here.environ):
        days = cleanup_days(root)
        if days is None:
            return Said(
                WARNING, f"How long {root} keeps transcripts cannot be read.", "Mend its settings.json."
            )
        if days < 1:
            return Said(
                WARNING,
                f"Claude Code is set to keep no transcript ({root}).",
                "Set cleanupPeriodDays to 30 or more in its settings.json.",
            )
        told.append(f"{days:.0f}")
    return Said(OK, f"Claude Code keeps transcripts for {', '.join(told)} days; here they stay.")


def _hooks(here: Here) -> Said:
    found = hooks.status(here.environ, here.paths, Path.cwd())
    used = [scope for scope in found["scopes"] if scope["events"]]
    broken = [scope for scope in found["scopes"] if scope["problem"]]
    install = "sessiond hooks install"
    if broken:
        return Said(FAILED, f"{broken[0]['problem']}", "Mend that file.")
    if not used:
        return Said(
            WARNING, "No hooks: sessions are seen within a second, not at once.", f"Add them: {install}"
        )
    if off := found["disabled_by"]:
        return Said(
            WARNING,
            f"Hooks are installed, but {off[0]['setting']} in {off[0]['file']} turns them off.",
            "Unset it.",
        )
    if gone := [scope for scope in used if not scope["command_exists"]]:
        return Said(
            FAILED, f"The hooks run {gone[0]['command']}, which is not there.", f"Mend them: {install}"
        )
    if found["last"] is None:
        return Said(
            WARNING,
            "The hooks are installed; none was heard of yet.",
            "Restart the agent, and say something.",
        )
    return Said(
        OK, f"The hooks are installed; the last was {found['last']['hook']} at {found['last']['at']}."
    )


# --- GitHub


def _token(here: Here) -> Said:
    token = here.token
    if token is not None:
        return Said(OK, f"A token was found in {token.source}.")
    if here.settings.github.repo:
        return Said(FAILED, "There is no token for GitHub.", LOG_IN)
    return Said(OK, "There is no token, and without a repository none is needed.")


def _github(here: Here) -> Said:
    found = here.repository
    if found is None:
        repo = here.settings.github.repo
        if not repo and here.settings.has_archive:
            return Said(OK, "No repository is set: everything goes to the archive alone.")
        if not repo:
            return Said(
                WARNING,
                "No repository is set: everything stays on this machine.",
                f"Set github.repo in {here.paths.config_file}.",
            )
        return Said(FAILED, f"{repo} cannot be asked without a token.", LOG_IN)
    if isinstance(found, TokenRefused):
        token = here.token
        return Said(FAILED, str(found), renewal(token) if token is not None else LOG_IN, found.code)
    if isinstance(found, RemoteError):
        return Said(
            FAILED, str(found), found.hint or "Check the name, the address and the network.", found.code
        )
    return Said(OK, f"{here.settings.github.api_url} answers.")


def _repository(here: Here) -> Said:
    found = here.repository
    if not isinstance(found, Repository):
        return Said(OK, "Not asked.")
    try:
        access.check(found, allow_public=here.settings.github.allow_public)
    except RemoteError as error:
        return Said(FAILED, str(error), error.hint, error.code)
    name = found.full_name
    return Said(OK, f"{name} is {'private' if found.private else 'public, as is allowed'} and has issues.")


def _rights(here: Here) -> Said:
    """What the token may do, as far as GitHub tells without a write."""
    found, github = here.repository, here.github
    if not isinstance(found, Repository) or github is None:
        return Said(OK, "Not asked.")
    scopes = github.token_scopes
    wanted = "Give it a fine-grained token with Issues: read and write, Metadata: read."
    if found.permissions is not None and not found.permissions.push:
        return Said(WARNING, f"The token's account may only read {found.full_name}.", wanted)
    if scopes is not None and not scopes & {"repo", *({"public_repo"} if not found.private else ())}:
        told = ", ".join(sorted(scopes)) or "none"
        return Said(FAILED, f"The token's scopes ({told}) do not allow comments.", "Give it the scope repo.")
    try:
        github.find_issues()
    except RemoteError as error:
        return Said(FAILED, str(error), error.hint or wanted, error.code)
    if (ends := github.token_expires_at) is not None and ends - here.now < ENDS_SOON_S:
        days = max(0.0, (ends - here.now) / DAY_S)
        return Said(WARNING, f"The token ends in {days:.0f} days.", "Renew it before that.")
    wide = access.beyond(scopes)
    more = f" Its scopes ({wide}) allow more than is needed. {access.ENOUGH}" if wide else ""
    return Said(OK, f"It may read issues.{more}")


def _clock(here: Here) -> Said:
    _ = here.repository
    skew = here.github.skew_s if here.github is not None else None
    if skew is None:
        return Said(OK, "Not compared: GitHub was not asked.")
    if abs(skew) > SKEW_S:
        return Said(
            WARNING,
            f"This machine's clock is {abs(skew):,.0f} s {'behind' if skew > 0 else 'ahead of'} GitHub's.",
            "Turn time synchronisation on: sudo timedatectl set-ntp true",
        )
    return Said(OK, "This machine's clock and GitHub's agree.")


def _archive(here: Here) -> Said:
    address = address_of(here.settings)
    if address is None:
        if here.settings.archive.url:
            return Said(
                WARNING, "The archive is to lie in the repository, and none is set.", "Set github.repo."
            )
        return Said(OK, "None is set.")
    if address.folder is not None and not address.folder.exists():
        above = address.folder.parent
        if not above.is_dir() or not os.access(above, os.W_OK):
            return Said(FAILED, f"{address.folder} cannot be made.", f"See that {above} is there and yours.")
        return Said(OK, f"{address.folder} is made at the first checkpoint.")
    try:
        token = here.token
    except ConfigError:
        token = None
    git = Git(
        address,
        here.environ,
        here.paths.state_dir / "git",
        token=lambda: token.value if token is not None else "",
    )
    git.check()
    host = Host(git)
    refs = host.refs(here.now)
    if not here.settings.github.allow_public and host.is_public():
        return Said(FAILED, "The archive is readable by everyone.", "Make it private.")
    return Said(OK, f"It answers, with {len(refs)} refs of sessiond's.")


def _encryption(here: Here) -> Said:
    """Whether what is archived from here can be read with the identity that is here: it is tried."""
    settings = here.config.archive
    file, recipients = settings.identity_file, len(settings.encrypt_to)
    if file is None and not recipients:
        return Said(OK, "Not wanted: what is archived is redacted.")
    known = seal.identities(file) if file is not None else []
    try:
        opens = not recipients or seal.opens(settings.encrypt_to, known)
    except age.Unavailable as problem:
        return Said(FAILED, f"It cannot be done: {problem}.", seal.INSTALL)
    if file is None:
        message = "The archive is encrypted, and no identity is here: this machine writes"
        return Said(OK, f"{message}, and neither restores from there, nor mends, nor hears of others.")
    if not opens:
        hint = f"Add its recipient to archive.encrypt_to: {known[0].recipient or 'ssh-keygen -y prints it'}"
        return Said(FAILED, f"The archive is encrypted for others than the identity in {file}.", hint)
    if file.stat().st_mode & 0o077:
        return Said(WARNING, f"{file} can be read by others.", f"chmod 600 {file}")
    others = f", and {recipients - 1} more" if recipients > 1 else ""
    written = f"The archive is encrypted for the identity in {file}{others}; it opens it."
    return Said(OK, written if recipients else f"Nothing is encrypted from here; {file} reads what is.")


# --- the daemon


def _daemon(here: Here) -> Said:
    status = here.daemon
    if status is None:
        return Said(FAILED, "The daemon is not running.", "Start it: sessiond service install (or start)")
    worst = {"ok": OK, "degraded": WARNING}.get(status["status"], FAILED)
    said = f"pid {status['pid']} answers, {status['mode'].replace('_', '-')}, {status['status']}."
    return Said(worst, said, "" if worst == OK else "See what is wrong: sessiond ctl status")


def _service(here: Here) -> Said:
    try:
        found = here.service
    except (ServiceFailed, ConfigError) as error:
        return Said(WARNING, str(error), error.hint, error.code)
    if not found["installed"]:
        message = "It is not installed: nothing starts the daemon at login."
        return Said(WARNING, message, "Install it: sessiond service install")
    gone = f"It starts {found['program']}, which is not there."
    restarted = f"It was restarted {found['restarts']} times."
    troubles = {
        Said(FAILED, gone, "Mend it: sessiond service install"): not service.is_startable(found["program"]),
        Said(FAILED, "It has failed.", "See why: sessiond service start"): found["state"] == "failed",
        Said(WARNING, restarted, "See why: sessiond ctl logs --level warning"): found["restarts"],
        Said(WARNING, "It is stopped.", "Start it: sessiond service start"): found["state"] == "stopped",
        Said(WARNING, "It does not start at login.", "Again: sessiond service install"): not found["enabled"],
    }
    for said, is_so in troubles.items():
        if is_so:
            return said
    return Said(OK, f"It is {found['state']}, never restarted.")


def _lingering(here: Here) -> Said:
    try:
        found = here.service
    except (ServiceFailed, ConfigError):
        return Said(OK, "Not asked.")
    if found["lingering"] is False and found["installed"]:
        return Said(
            OK,
            f"The daemon ends when {found['user']} logs out.",
            "To keep it: sessiond service install --linger",
        )
    return Said(OK, "The daemon runs from boot on." if found["lingering"] else "It does not matter here.")


def _socket(here: Here) -> Said:
    path = here.paths.socket
    try:
        found = path.lstat()
    except FileNotFoundError:
        return Said(OK, f"{path} is free.")
    if not stat.S_ISSOCK(found.st_mode):
        return Said(FAILED, f"{path} is in the way: it is no socket.", "Move it elsewhere.")
    if here.daemon is None:
        return Said(WARNING, f"{path} was left by a daemon that is gone.", "The next start replaces it.")
    if found.st_mode & 0o077:
        return Said(FAILED, f"{path} is open to others.", "Restart the daemon.")
    return Said(OK, f"The daemon listens on {path}.")


def _port(here: Here) -> Said:
    address = here.settings.http.address
    if address is None:
        return Said(OK, "http.listen is off: there are no metrics.")
    name = f"{address[0]}:{address[1]}"
    if here.daemon is not None:
        codes = {finding["code"] for finding in here.daemon["findings"]}
        if "http_port_taken" not in codes:
            return Said(OK, f"The daemon serves metrics on {name}.")
    elif (problem := _unbindable(address)) is None:
        return Said(OK, f"{name} is free.")
    elif problem.errno != errno.EADDRINUSE:
        return Said(
            WARNING, f"{name} cannot be listened on: {problem.strerror}.", "Set http.listen to another."
        )
    return Said(
        WARNING,
        f"{name} is taken by another program.",
        "Set http.listen to a free port, or to '', and restart.",
    )


def _unbindable(address: tuple[str, int]) -> OSError | None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(address)
        except OSError as error:
            return error
    return None


def _watcher(here: Here) -> Said:
    address = here.settings.http.address
    if here.daemon is None:
        return Said(OK, "Not asked: the daemon is not running.")
    codes = {finding["code"]: finding for finding in here.daemon["findings"]}
    for code in ("loop_stuck", "watches_low"):
        if code in codes:
            return Said(WARNING, codes[code]["message"], codes[code]["hint"], code)
    if address is None or not address[1] or "http_port_taken" in codes:
        return Said(OK, "Nothing is said against it.")
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    try:
        with urllib.request.urlopen(f"http://{host}:{address[1]}/readyz?verbose", timeout=ASK_S) as answer:
            said = answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")
    except OSError as error:
        return Said(WARNING, f"The daemon does not answer on its port: {error}.", "Restart the daemon.")
    wrong = [line[4:] for line in said.splitlines() if line.startswith("[-] ")]
    if wrong:
        return Said(
            WARNING, f"The daemon is not ready: {'; '.join(wrong)}.", "Wait a moment; see: sessiond ctl logs"
        )
    return Said(OK, "It is alive; what changes is seen at once.")


def _verified(here: Here) -> Said:
    if not here.paths.state_db.exists():
        return Said(OK, "There is no backup yet.")
    try:
        store = Store(here.paths.state_db, read_only=True)
    except StoreError as error:
        return Said(WARNING, str(error), error.hint or "Restart the daemon.", error.code)
    try:
        scan, drill = _kept(store, "scan", Scan()), _kept(store, "drill", Last())
        since = float(store.meta("first_seen") or here.now)
    finally:
        store.close()
    if scan.bad:
        return Said(
            FAILED,
            f"{scan.bad} of {scan.checked} copies were damaged at the last look.",
            "See: sessiond ctl verify",
        )
    verify = "Verify now: sessiond ctl verify --deep, sessiond ctl verify --drill"
    if not scan.ended:
        late = here.now - since > LATE_S
        return Said(
            WARNING if late else OK,
            "The backups have not been verified as a whole yet.",
            verify if late else "",
        )
    told = f"Verified {_ago(here.now - scan.ended)}, restored for a trial {_ago(here.now - drill.passed)}."
    if here.now - scan.ended > LATE_S:
        return Said(WARNING, told, verify)
    return Said(OK, told)


def _kept(store: Store, name: str, otherwise: Kept) -> Kept:
    try:
        return msgspec.json.decode(store.meta(name), type=type(otherwise))
    except msgspec.DecodeError:
        return otherwise


def _ago(seconds: float) -> str:
    if seconds > 10_000 * DAY_S:
        return "never"
    return f"{seconds / 3600:.0f} hours ago" if seconds < LATE_S else f"{seconds / DAY_S:.0f} days ago"


CHECKS: dict[str, Callable[[Here], Said]] = {
    "version": _version,
    "python": _python,
    "sqlite": sqlite,
    "git": _git,
    "config": _config,
    "folders": _folders,
    "disk": _disk,
    "state": _state,
    "inotify": inotify,
    "agent": _agent,
    "purge": _purge,
    "hooks": _hooks,
    "token": _token,
    "github": _github,
    "repository": _repository,
    "rights": _rights,
    "clock": _clock,
    "archive": _archive,
    "encryption": _encryption,
    "service": _service,
    "lingering": _lingering,
    "daemon": _daemon,
    "socket": _socket,
    "port": _port,
    "watcher": _watcher,
    "verified": _verified,
}


def examine(here: Here, only: str = "") -> list[Check]:
    """Every check, in order; or only one of them."""
    try:
        checks = [_checked(name, run, here) for name, run in CHECKS.items() if only in {"", name}]
    finally:
        here.close()
    return list(_said_once(checks))


def _said_once(checks: Iterable[Check]) -> Iterator[Check]:
    """Wrong settings keep several from looking: the first says what is wrong, the others who does."""
    first: dict[str, str] = {}
    for check in checks:
        where = first.setdefault(check.message, check.name) if check.code == ConfigError.code else check.name
        if where != check.name:
            yield replace(check, message="Not looked at: the settings are wrong.", hint=f"See {where} above.")
        else:
            yield check


def _checked(name: str, run: Callable[[Here], Said], here: Here) -> Check:
    try:
        found = run(here)
    except SessiondError as error:
        found = Said(FAILED, str(error), error.hint, error.code)
    except Exception as error:  # noqa: BLE001 - one that cannot look must not hide what the others see
        found = Said(FAILED, f"This could not be looked at: {error!r}.", "Please report it.", "internal")
    return Check(name, *found)

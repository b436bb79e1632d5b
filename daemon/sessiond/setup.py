"""Setting up, without the questions: what there is, what a wish changes, whether GitHub would take it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sessiond import client, hooks, settings
from sessiond.service import Service
from sessiond.service import Wish as ServiceWish
from sessiond.token import Token, find_token
from sessionsync import __version__, age, projects
from sessionsync.archiving import code_of
from sessionsync.config import Config, load
from sessionsync.errors import (
    ConfigError,
    DaemonError,
    Limited,
    Missing,
    NotAllowed,
    RemoteError,
    ServerFailed,
    ServiceFailed,
    SessiondError,
    Unreachable,
    UsageError,
)
from sessionsync.paths import Paths, home
from sessionsync.privacy import seal
from sessionsync.remote import access
from sessionsync.remote.archive.address import Address, address_of, web_of
from sessionsync.remote.archive.git import Git
from sessionsync.remote.archive.host import Host
from sessionsync.remote.github import GitHub
from sessionsync.values import RULES, plain, shown

Json = dict[str, Any]

SETTINGS = {
    "repo": "github.repo",
    "issue": "github.issue",
    "allow_public": "github.allow_public",
    "archive": "archive.url",
}
"""What `Wish` calls a setting."""
SAY_SO = "say --allow-public"
PASSING = (Unreachable, ServerFailed, Limited)
"""Errors that say nothing about the repository: it is asked again by the daemon."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants; None: as it is.

    `archive` is `archive.url`, '' for none.  `identity` is the file that opens what is encrypted there, which
    is made where it is missing; it wants encryption as well, unless `encrypt` says otherwise.
    """

    repo: str | None = None
    issue: int | None = None
    archive: str | None = None
    allow_public: bool | None = None
    hooks: bool | None = None
    service: bool | None = None
    encrypt: bool | None = None
    identity: Path | None = None


class Agent(NamedTuple):
    """A folder of Claude Code's, and the transcripts in it; `newest_at` is 0 where there is none."""

    folder: Path
    sessions: int
    size: int
    newest_at: float


class Found(NamedTuple):
    """What there is on this machine.

    `written` is what `config.toml` says, `config` what holds, with the variables over it.  `proposed` is the
    repository on GitHub that this folder belongs to, '' for none.
    """

    where: Paths
    written: Config
    config: Config
    agents: tuple[Agent, ...]
    unwatched: Agent | None
    proposed: str
    token: Token | None
    token_problem: ConfigError | None
    hooks_file: Path
    hooked: bool
    hooks_problem: str
    service: Json | None
    service_problem: str


class Plan(NamedTuple):
    """What would change: settings by name, and what of hooks and service is to be put in or taken out.

    `identity` is an identity file to be made first; its recipient is put to those in `archive.encrypt_to`.
    """

    settings: dict[str, object]
    hooks: bool | None
    service: bool | None
    identity: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.settings) or {self.hooks, self.service, self.identity} != {None}


# --- find


def find(environ: Mapping[str, str], where: Paths, here: Path, service_of: Callable[[], Service]) -> Found:
    """Look at this machine; nothing is changed and nothing leaves it.

    Raises:
        ConfigError: the settings that are there cannot be used.
    """
    config = load(environ, where.config_file)
    token, token_problem = None, None
    try:
        token = find_token(environ, config.github.api_url)
    except ConfigError as problem:
        token_problem = problem
    roots = config.claude_roots(environ)
    usual = home(environ) / ".claude"
    elsewhere = agent(usual) if usual not in roots else None
    hooks_file = hooks.settings_file("user", environ, here)
    hooked, hooks_problem = _hooked(hooks_file)
    service, service_problem = None, ""
    try:
        service = service_of().status()
    except (ServiceFailed, ConfigError) as problem:
        service_problem = str(problem)
    return Found(
        where=where,
        written=load(_without_settings(environ), where.config_file),
        config=config,
        agents=tuple(agent(root) for root in roots),
        unwatched=elsewhere if elsewhere is not None and elsewhere.sessions else None,
        proposed=repository_of(here, config.github.api_url),
        token=token,
        token_problem=token_problem,
        hooks_file=hooks_file,
        hooked=hooked,
        hooks_problem=hooks_problem,
        service=service,
        service_problem=service_problem,
    )


def agent(folder: Path) -> Agent:
    """How many sessions lie in a folder of Claude Code's; what is a link is not followed, and not counted."""
    sessions, size, newest_at = 0, 0, 0.0
    for file in folder.glob("projects/*/*.jsonl"):
        if file.name.startswith("agent-"):  # a subagent's, part of another session
            continue
        if file.is_symlink() or file.parent.is_symlink():
            continue
        try:
            found = file.stat()
        except OSError:
            continue
        sessions, size, newest_at = sessions + 1, size + found.st_size, max(newest_at, found.st_mtime)
    return Agent(folder, sessions, size, newest_at)


def repository_of(folder: Path, api_url: str) -> str:
    """`owner/name` where the folder's `origin` lies on the GitHub with this API, else ''."""
    web = projects.normalise(f"{web_of(api_url)}/o/r", "/").removesuffix("o/r")
    key = projects.identify(str(folder)).key
    name = key.removeprefix(web)
    return name if key.startswith(web) and name.count("/") == 1 else ""


def _hooked(file: Path) -> tuple[bool, str]:
    """Whether every hook of ours is in the settings, and why that cannot be told."""
    try:
        found = {entry.event for entry in hooks.entries(hooks.read("user", file).json)}
    except (ConfigError, NotAllowed) as problem:
        return False, str(problem)
    return found >= set(hooks.EVENTS), ""


def _without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    names = {f"SESSIOND_{setting.upper().replace('.', '_')}" for setting in RULES}
    return {name: value for name, value in environ.items() if name not in names}


# --- propose


def plan(found: Found, wish: Wish) -> Plan:
    """What of a wish is not so already.

    Raises:
        UsageError: a value is not allowed.
        IdentityUnusable: the identity file that is there is none.
    """
    changes = {}
    for name, setting in SETTINGS.items():
        value = getattr(wish, name)
        if value is not None and value != _of(found.written, setting):
            changes[setting] = checked(setting, value)
    identity = _encryption(found, wish, changes)
    in_place = bool(found.service and found.service["installed"])
    return Plan(
        settings=changes,
        identity=identity,
        hooks=None if wish.hooks in (None, found.hooked) else wish.hooks,
        service=None if wish.service in (None, in_place) else wish.service,
    )


def _encryption(found: Found, wish: Wish, changes: dict[str, object]) -> Path | None:
    """Put what encryption takes to the changes; returns the identity file that must be made for it."""
    held = found.written.archive
    if wish.encrypt is False and held.encrypt_to:
        changes["archive.encrypt_to"] = []
    wanted = wish.encrypt if wish.encrypt is not None else wish.identity is not None
    if wish.identity is None and (not wanted or held.encrypt_to):
        return None
    file = wish.identity or held.identity_file or identity_file(found)
    if file != held.identity_file:
        changes["archive.identity_file"] = str(file)
    if not wanted:
        return None
    if not os.path.lexists(file):
        return file
    recipient = seal.recipient_of(file)
    if recipient not in {age.recipient(text).name for text in held.encrypt_to}:
        changes["archive.encrypt_to"] = [*held.encrypt_to, recipient]
    return None


def placed(path: str) -> Path:
    """A file that a person has named, as the settings name it."""
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - without `..`, and no link is followed


def identity_file(found: Found) -> Path:
    """Where an identity is kept unless a person says otherwise."""
    return found.where.config_file.with_name("archive-identity.txt")


def checked(setting: str, value: object) -> object:
    """The value as `config.toml` has it.

    Raises:
        UsageError: it is not allowed.
    """
    try:
        RULES[setting].read(value, Path("/"))
    except ValueError as problem:
        reason = f" ({plain(problem)})" if str(problem) else ""
        raise UsageError(
            f"{setting} = {shown(value)} is not allowed{reason}.", hint=f"It takes {RULES[setting].allowed}."
        ) from problem
    return value


def planned(found: Found, todo: Plan) -> Config:
    """The settings as they would hold; the recipient of an identity that is to be made is not among them."""
    config = found.config
    for setting, value in todo.settings.items():
        section, key = setting.split(".")
        config = config._replace(**{section: getattr(config, section)._replace(**{key: value})})
    return config


def _of(config: Config, setting: str) -> object:
    section, key = setting.split(".")
    return getattr(getattr(config, section), key)


# --- check


def check_repository(config: Config, token: Token) -> str:
    """Ask GitHub whether sessions can be shown there; the repository's name as GitHub has it.

    Raises:
        RemoteError: they cannot, or, where it is one of `PASSING`, nobody knows.
    """
    github = GitHub(
        repo=config.github.repo,
        api_url=config.github.api_url,
        token=lambda: token.value,
        user_agent=f"sessiond/{__version__}",
        wall=time.time,
        monotonic=time.monotonic,
        emit=_told_to_nobody,
    )
    with closing(github):
        found = github.repository()
        name = found.full_name
        access.check(found, allow_public=config.github.allow_public, say_so=SAY_SO)
        github.check_issues()
        if number := config.github.issue:
            try:
                github.issue(number)
            except Missing as problem:
                raise Missing(
                    f"There is no issue {number} in {name}.",
                    hint="Name another, or 0 for one issue a project.",
                ) from problem
        return name


def _told_to_nobody(event: str, **fields: Any) -> None:
    """Events are for who runs for long."""


def check_archive(config: Config, token: Token | None, environ: Mapping[str, str]) -> None:
    """Ask the archive whether it would take a push; nothing is pushed.

    Raises:
        RemoteError: it would not, or, where it is one of `PASSING`, nobody knows.
    """
    address = address_of(config)
    if address is None:
        return
    try:
        _check_archive(address, config, token, environ)
    except RemoteError as problem:
        problem.code = code_of(problem)
        raise


def _check_archive(address: Address, config: Config, token: Token | None, environ: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="sessiond-") as folder:
        scratch = Path(folder)
        git = Git(address, environ, scratch, token=lambda: token.value if token is not None else "")
        git.check()
        host = Host(git)
        if not config.github.allow_public:
            what = f"The archive {address.url}"
            access.check_visibility(what, public=host.is_public(), allow_public=False, say_so=SAY_SO)
        host.check_push(scratch / "check.git", time.time())


def is_passing(problem: RemoteError) -> bool:
    """Whether a check failed for no fault of what was checked."""
    return isinstance(problem, PASSING)


# --- apply


def apply(
    todo: Plan, found: Found, environ: Mapping[str, str], service_of: Callable[[], Service]
) -> list[str]:
    """Do it: settings, hooks, service; what was done, a sentence each.  Done twice it changes nothing.

    Raises:
        SessiondError: a step failed; those before it are done.
    """
    done = []
    if todo.identity is not None:
        recipient = seal.make_identity(todo.identity)
        recipients = [*found.written.archive.encrypt_to, recipient]
        todo = todo._replace(settings=todo.settings | {"archive.encrypt_to": recipients})
        done.append(f"Made the identity {todo.identity} (0600). Its recipient is {recipient}.")
    if todo.settings and settings.write(found.where.config_file, todo.settings, environ):
        done.append(f"Wrote {found.where.config_file}.")
    if todo.hooks is not None:
        kept = hooks.read("user", found.hooks_file)
        if todo.hooks:
            hooks.install(kept, found.where, hooks.program())
        else:
            hooks.uninstall(kept, found.where)
        done.append(f"{'Put hooks into' if todo.hooks else 'Took the hooks out of'} {found.hooks_file}.")
    if todo.service is not None:
        service = service_of()
        if todo.service:
            service.install(ServiceWish())
        else:
            service.uninstall()
        done.append("The service runs, and starts at login." if todo.service else "The service is removed.")
    if todo.settings and _reload(found.where):
        done.append("The daemon that runs has read the settings again.")
    return done


def _reload(where: Paths) -> bool:
    try:
        client.request(where.socket, "reload", acts=True)
    except DaemonError:
        return False
    return True


def status(where: Paths) -> Json | None:
    """What the daemon says of itself; None where none runs."""
    try:
        return client.request(where.socket, "status")
    except SessiondError:
        return None


def overriding(environ: Mapping[str, str], todo: Plan) -> list[str]:
    """The variables that win over settings that are written."""
    names = [f"SESSIOND_{setting.upper().replace('.', '_')}" for setting in todo.settings]
    return [name for name in names if environ.get(name)]


def kept_from_service(found: Found) -> bool:
    """Whether there is a service that lacks the token: one in a variable of this shell does not reach it."""
    service, token = found.service, found.token
    if service is None or token is None or not service["installed"] or service.get("credential"):
        return False
    return token.source in {"GH_TOKEN", "GITHUB_TOKEN"}

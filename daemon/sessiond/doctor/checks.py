"""Every check in the order in which they are told, and what comes of running them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from sessiond.doctor import agent, archive, daemon, files, github, programs
from sessiond.doctor.here import FAILED, Check, Here, Said
from sessionsync.errors import ConfigError, SessiondError

CHECKS: dict[str, Callable[[Here], Said]] = {
    "version": programs.version,
    "python": programs.python,
    "sqlite": programs.sqlite,
    "git": programs.git,
    "config": files.config,
    "folders": files.folders,
    "disk": files.disk,
    "state": files.state,
    "inotify": files.inotify,
    "agent": agent.folders,
    "purge": agent.purge,
    "hooks": agent.hooks,
    "token": github.token,
    "github": github.answers,
    "repository": github.repository,
    "rights": github.rights,
    "clock": github.clock,
    "archive": archive.answers,
    "encryption": archive.encryption,
    "service": daemon.service,
    "lingering": daemon.lingering,
    "daemon": daemon.running,
    "socket": daemon.control_socket,
    "port": daemon.port,
    "watcher": daemon.watcher,
    "verified": daemon.verified,
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

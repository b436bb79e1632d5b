"""What checks look at, and what they say."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from sessiond import client, hooks, service
from sessiond.token import Token, find_token
from sessionsync import __version__
from sessionsync.config import Config, load
from sessionsync.errors import ConfigError, DaemonNotRunning, RemoteError
from sessionsync.events import silent
from sessionsync.paths import Paths, paths
from sessionsync.remote.answers import Bounds, Repository
from sessionsync.remote.github import GitHub

Json = dict[str, Any]

OK, WARNING, FAILED = "ok", "warning", "failed"
ASK_S = 5.0
"""How long any one thing is waited for."""
DAY_S = 86_400.0


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

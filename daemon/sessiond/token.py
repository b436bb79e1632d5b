"""The GitHub token: where it is looked for, and in which order.  Its value is shown nowhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sessiond import memory
from sessionsync.errors import ConfigError

if TYPE_CHECKING:
    from subprocess import CompletedProcess

CREDENTIAL = "github_token"
SERVICE = "sessiond"
"""The name under which the keyring holds it; the user name there is GitHub's host."""
LOG_IN = "Set GH_TOKEN, or run `gh auth login`."
VARIABLES = ("GH_TOKEN", "GITHUB_TOKEN")
ASK_S = 5.0
"""How long `gh` or the keyring may take: a locked keyring asks for a password that nobody types."""
MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Token:
    """A token and where it was found: `credential`, `GH_TOKEN`, `GITHUB_TOKEN`, `gh` or `keyring`."""

    value: str = field(repr=False)
    source: str


def find_token(environ: Mapping[str, str], api_url: str) -> Token | None:
    """The first token there is, after which no other process may read this one's memory; None without one.

    Raises:
        ConfigError: what was found cannot be a token, or the service's credential cannot be read.
    """
    memory.keep()
    for source, text in _places(environ, host_of(api_url)):
        value = text.strip()
        if value:
            return Token(_checked(source, value), source)
    return None


def without_tokens(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a program that this one starts: all of it but the tokens."""
    return {name: value for name, value in environ.items() if name not in VARIABLES}


def run(command: Sequence[str], environ: Mapping[str, str], *, timeout_s: float) -> CompletedProcess[str]:
    """Run a program that gets no token and has nobody to ask; what it says, also where it fails.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it takes longer than `timeout_s` seconds.
    """
    import subprocess  # noqa: PLC0415 - where no token is looked for nobody waits for it

    return subprocess.run(
        command,
        env=without_tokens(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )


def renewal(token: Token) -> str:
    """What to do about a token that GitHub has refused; a daemon keeps the environment it started with."""
    again = "restart sessiond"
    how = {
        "credential": f"Store a new one in the service's credential {CREDENTIAL}",
        "gh": "Log in again with `gh auth login`",
        "keyring": "Store a new one in the keyring",
    }.get(token.source, f"Set {token.source} to a new one")
    if token.source in {"gh", "keyring"}:
        again = "run `sessiond ctl retry`"
    return f"{how}, then {again}. If the token is valid after all: `sessiond ctl resume`."


def host_of(api_url: str) -> str:
    """GitHub's host as `gh` knows it: without `api.` for github.com and for SUB.ghe.com."""
    host = urlsplit(api_url).hostname or ""
    if host == "api.github.com" or (host.startswith("api.") and host.endswith(".ghe.com")):
        return host.removeprefix("api.")
    return host


def _places(environ: Mapping[str, str], host: str) -> Iterator[tuple[str, str]]:
    """What each place holds, in order; a later one is asked only when it comes to that."""
    yield "credential", _credential(environ.get("CREDENTIALS_DIRECTORY", ""))
    for name in VARIABLES:
        yield name, environ.get(name, "")
    from importlib.util import find_spec  # noqa: PLC0415 - as above
    from shutil import which  # noqa: PLC0415

    if gh := which("gh", path=environ.get("PATH")):
        yield "gh", _said_by([gh, "auth", "token", "--hostname", host], environ)
    if find_spec("keyring"):
        yield "keyring", _said_by([sys.executable, "-m", "keyring", "get", SERVICE, host], environ)


def _credential(folder: str) -> str:
    if not folder:
        return ""
    file = Path(folder) / CREDENTIAL
    try:
        with file.open("rb") as stream:
            return stream.read(MOST_BYTES + 1).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError(
            f"the service credential {file} cannot be read: {error.strerror}",
            hint="Check LoadCredential= in the service's drop-in.",
        ) from error


def _said_by(command: list[str], environ: Mapping[str, str]) -> str:
    """What a program prints; nothing when it fails or takes too long."""
    import subprocess  # noqa: PLC0415 - as above

    try:
        done = run(command, environ, timeout_s=ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[: MOST_BYTES + 1] if done.returncode == 0 else ""


def _checked(source: str, value: str) -> str:
    if len(value) > MOST_BYTES:
        fault = f"is longer than {MOST_BYTES} characters"
    elif not re.fullmatch(r"[\x21-\x7e]+", value):
        fault = "has blanks, line ends or other characters that no token has"
    else:
        return value
    raise ConfigError(
        f"the token from {source} {fault}",
        hint="Store it again: a token is one word of letters, digits and _.",
    )

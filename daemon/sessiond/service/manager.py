"""What a service manager of this system can be asked, and what each of them needs for it.

What `install` has made is remembered in `service.json` in the state folder, so that `uninstall` takes away
exactly that.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sessiond.token import run
from sessionsync.errors import ConfigError, NotAllowed, ServiceFailed
from sessionsync.paths import Paths, home

Json = dict[str, Any]

# The first line of everything that is written: files without it are somebody else's.
MARK = "Written by `sessiond service install"
# What decides where settings, state and sessions lie must be the same for the service as for the shell.
KEPT = ("SESSIOND_HOME", "CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
ASK_S = 30.0
READY_S = 60.0
"""How long a start is waited for; rebuilding a lost state goes on behind it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants of `install`; None: as it is, or as is usual."""

    token_file: Path | None = None
    hardening: bool | None = None
    lingering: bool | None = None


class Service(Protocol):
    """What can be done with the service.  All but `status` may raise `ServiceFailed`.

    `status` has `manager`, `installed`, `enabled`, `state` (`running`, `starting`, `stopped`, `failed`),
    `pid`, `status` (what the daemon last said), `restarts`, `exit_code` of the last end, `hardened`,
    `hardening_refused` (why), `credential`, `lingering`, `user`, `file` and `program` (what it starts); the
    others return it with `changed`.
    """

    def install(self, wish: Wish) -> Json:
        """Write what is missing or differs, start it at login and now, and wait until it is ready."""
        ...

    def uninstall(self) -> Json:
        """Stop it, and take away what `install` made."""
        ...

    def start(self) -> Json:
        """Start it and wait until it is ready."""
        ...

    def stop(self) -> Json:
        """Stop it and wait until it has ended."""
        ...

    def status(self) -> Json:
        """How it is."""
        ...


# --- what both need


def template(name: str) -> str:
    """A file of `systemd/` or `launchd/`: in the package where it is installed, else beside the sources."""
    package = Path(__file__).parents[1]
    for folder in (package / "share", package.parents[1]):
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8")
    raise ServiceFailed(f"The template {name} is missing.", hint="Install sessiond again.")


def kept_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of this shell's environment the service is given."""
    kept = {name: environ[name] for name in KEPT if environ.get(name)}
    for name, value in kept.items():
        if not value.startswith(("/", "~")) or any(ord(letter) < 0x20 for letter in value):
            raise ConfigError(
                f"{name} = {value!r} is no absolute path.",
                hint=f"Set {name} to an absolute path, or unset it.",
            )
    return {name: os.path.expanduser(value) for name, value in kept.items()}  # noqa: PTH111 - a text


def checked_token(file: Path) -> Path:
    """The file with a token, absolute; it is read by this user alone.

    Raises:
        ConfigError: it is missing, empty, or no file.
        NotAllowed: others may read it.
    """
    path = Path(os.path.abspath(file))  # noqa: PTH100 - links stay
    try:
        found, text = path.stat(), path.read_bytes()
    except OSError as error:
        hint = "Write the token into a file of your own, mode 0600, and name that."
        raise ConfigError(f"The token file {path} cannot be read: {error.strerror}.", hint=hint) from error
    if not text.strip():
        raise ConfigError(f"The token file {path} is empty.", hint="Write the token into it.")
    if found.st_mode & 0o077:
        raise NotAllowed(f"The token file {path} can be read by others.", hint=f"chmod 600 {path}")
    return path


class Files:
    """The files of a service, and what was made for it, as remembered in `service.json`."""

    def __init__(self, where: Paths) -> None:
        self._memory = where.state_dir / "service.json"
        self._made: Json = {}
        with suppress(OSError, ValueError):
            found = json.loads(self._memory.read_text(encoding="utf-8"))
            self._made = found if isinstance(found, dict) else {}

    def __getitem__(self, name: str) -> Any:
        """What is remembered under a name; None for nothing."""
        return self._made.get(name)

    def remember(self, **made: Any) -> None:
        """Remember this as well; None is forgotten."""
        now = {name: value for name, value in (self._made | made).items() if value is not None}
        if now != self._made:
            self._made = now
            self._memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(self._memory, json.dumps(now, indent=1) + "\n")

    def check_ours(self, files: Iterable[Path]) -> None:
        """See that nothing of somebody else's would be written over.

        Raises:
            NotAllowed: it would.
        """
        for file in files:
            if (file.exists() or file.is_symlink()) and not is_ours(file):
                raise NotAllowed(
                    f"{file} was not written by sessiond; it stays as it is.",
                    hint="Move it away, and install again.",
                )

    def write(self, files: Mapping[Path, str]) -> bool:
        """Write those that differ; whether any did."""
        differing = [file for file, text in files.items() if _read(file) != text]
        for file in differing:
            self._make(file.parent)
            _write(file, files[file])
        return bool(differing)

    def remove(self, files: Iterable[Path]) -> bool:
        """Remove those that are ours; whether any were."""
        ours = [file for file in files if is_ours(file)]
        for file in ours:
            file.unlink()
        return bool(ours)

    def forget(self) -> None:
        """Remove the folders that were made, where nothing else is in them, and the memory of it all."""
        for folder in reversed(self._made.get("folders", [])):
            with suppress(OSError):
                Path(folder).rmdir()
        self._memory.unlink(missing_ok=True)
        self._made = {}

    def _make(self, folder: Path) -> None:
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o755)
            self.remember(folders=[*self._made.get("folders", []), str(each)])


def is_ours(file: Path) -> bool:
    """Whether `install` wrote it."""
    return MARK in (_read(file) or "")


def ask(command: list[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program of the system's and return what it says, also where it fails.

    Raises:
        ServiceFailed: there is none, or it does not come back.
    """
    try:
        return run(command, {**environ, "LC_ALL": "C"}, timeout_s=ASK_S)
    except FileNotFoundError as error:
        raise ServiceFailed(
            f"There is no {command[0]} on this system.",
            hint="Have whatever starts programs here run `sessiond run`.",
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceFailed(f"{' '.join(command)} failed: {error}.", hint="Try again.") from error


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a program complained of, on one line."""
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1].strip().rstrip(".") if lines else f"it ended with {done.returncode}"


def is_startable(program: str) -> bool:
    """Whether what a service starts is there, as far as can be seen."""
    return not program or os.access(program, os.X_OK)


def user_home(environ: Mapping[str, str]) -> Path:
    """The user's home."""
    return home(environ)


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _write(file: Path, text: str) -> None:
    try:
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(name).replace(file)
    except OSError as error:
        raise ServiceFailed(
            f"{file} cannot be written: {error.strerror}.", hint="See that its folder is yours and not full."
        ) from error

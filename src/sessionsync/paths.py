"""Where the program's own files lie, and whose home that is in.

The hook and the shortest `ctl` commands start here, so what is heavy is imported where it is needed.
"""

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sessionsync.errors import ConfigError

SOCKET_BYTES = 103  # sun_path is 104 with its NUL on macOS, 108 on Linux


class Paths(NamedTuple):
    """Where the program's own files lie. None of it need exist."""

    config_file: Path
    state_dir: Path
    socket: Path
    log_dir: Path

    @property
    def state_db(self) -> Path:
        """Queue and state."""
        return self.state_dir / "state.db"

    @property
    def index_db(self) -> Path:
        """The full-text index, rebuildable."""
        return self.state_dir / "index.db"

    @property
    def numbers_db(self) -> Path:
        """What `stats` adds up, rebuildable."""
        return self.state_dir / "numbers.db"

    @property
    def returns(self) -> Path:
        """When sessions were put back, a line each."""
        return self.state_dir / "returns.jsonl"

    @property
    def lock(self) -> Path:
        """Locked as long as a daemon lives on this state."""
        return self.state_dir / "lock"

    @property
    def spool_dir(self) -> Path:
        """Where a hook leaves its event when the daemon does not answer."""
        return self.state_dir / "spool"


def paths(environ: Mapping[str, str], *, run_user: Path = Path("/run/user"), uid: int | None = None) -> Paths:
    """Given the environment, return the paths: below `SESSIOND_HOME`, else in the platform's own places.

    Those come from `platformdirs`, which reads the environment of this very process. The socket then lies
    in `/run/user/<uid>` where that folder is this user's alone: found by the uid, as a hook, cron or ssh may
    have no `XDG_RUNTIME_DIR`. Raises `ConfigError`, also for a socket whose path no system could bind.
    """
    uid = os.getuid() if uid is None else uid
    root = variable(environ, "SESSIOND_HOME")
    found = _below(root) if root else _of_the_platform(run_user / str(uid), uid)
    if len(os.fsencode(found.socket)) > SOCKET_BYTES:
        message = f"the socket's path is longer than {SOCKET_BYTES} bytes: {str(found.socket)!r}"
        raise ConfigError(message, hint="set SESSIOND_HOME to a folder with a shorter path")
    return found


def _below(root: Path) -> Paths:
    return Paths(root / "config.toml", root / "state", root / "run" / "ctl.sock", root / "log")


def _of_the_platform(runtime: Path, uid: int) -> Paths:
    config, state, log = _of_linux() if sys.platform == "linux" else _of_others()
    if state == config:  # macOS keeps both in Application Support
        state /= "state"
    socket_dir = runtime / "sessiond" if _is_private(runtime, uid) else state
    return Paths(config / "config.toml", state, socket_dir / "ctl.sock", log)


def _of_linux() -> tuple[Path, Path, Path]:
    """What platformdirs says as well, which takes a hook half as long again to import."""

    def base(name: str, usual: str) -> Path:
        set_to = os.environ.get(name, "")
        return (Path(set_to) if set_to.startswith("/") else home(os.environ) / usual) / "sessiond"

    state = base("XDG_STATE_HOME", ".local/state")
    return base("XDG_CONFIG_HOME", ".config"), state, state / "log"


def _of_others() -> tuple[Path, Path, Path]:
    from platformdirs import PlatformDirs  # noqa: PLC0415 - heavy, and SESSIOND_HOME does without

    places = PlatformDirs("sessiond", appauthor=False)
    return places.user_config_path, places.user_state_path, places.user_log_path


def _is_private(folder: Path, uid: int) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and stat.S_IMODE(found.st_mode) == 0o700


def claude_root(environ: Mapping[str, str]) -> Path:
    """Return Claude Code's own folder: `$CLAUDE_CONFIG_DIR`, else `~/.claude`."""
    return variable(environ, "CLAUDE_CONFIG_DIR") or home(environ) / ".claude"


def variable(environ: Mapping[str, str], name: str) -> Path | None:
    """Return the folder a variable names, None where it is empty or not set."""
    if not (value := environ.get(name)):
        return None
    try:
        return absolute(value, home(environ))
    except ValueError as problem:
        message = f"{name} = {value!r} is not allowed ({problem}): it takes a folder"
        raise ConfigError(message, hint=f"set {name} to an absolute path, or unset it") from problem


def home(environ: Mapping[str, str]) -> Path:
    """Return the user's home: `HOME`, else what the system knows of this user."""
    if value := environ.get("HOME"):
        if not value.startswith("/"):
            raise ConfigError(f"HOME = {value!r} is relative", hint="set HOME to an absolute path")
        return Path(value)
    import pwd  # noqa: PLC0415 - rarely wanted

    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError as problem:
        raise ConfigError("this user has no home folder", hint="set HOME to an absolute path") from problem


def absolute(path: str, home: Path) -> Path:
    """Given a path as a person writes it, return it absolute, `~` expanded; nothing is looked up on disk.

    Raises `ValueError`, whose text is the reason.
    """
    if any(ord(character) < 0x20 for character in path):
        raise ValueError("it contains a control character")
    if path == "~" or path.startswith("~/"):
        path = f"{home}{path[1:]}"
    if not path.startswith("/"):
        raise ValueError("it is relative")
    return Path(os.path.normpath(path).replace("//", "/", 1))

"""Where the program's own files lie, and whose home that is in, as text.

The shortest commands start here: `pathlib` costs them more than the answer does.  `paths` has it as paths.
"""

from __future__ import annotations

import os
import stat
import sys

from sessionsync.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MIRROR_DIR = "~/.claude-backup-sessions"
# What says otherwise: variables, and words of a file, in which a key may be spelt with backslashes as well.
_VARIABLES = ("SESSIOND_BACKUP_MIRROR_DIR", "SESSIOND_SOURCES_CLAUDE")
_TO_PARSE = (b"mirror_dir", b"claude", b"\\")
SOCKET_BYTES = 103  # sun_path is 104 with its NUL on macOS, 108 on Linux


def places(
    environ: Mapping[str, str], *, run_user: str = "/run/user", uid: int | None = None
) -> tuple[str, str, str, str]:
    """Config file, state folder, socket and logs: below `SESSIOND_HOME`, else in the platform's own places.

    Those are what `platformdirs` says of the environment of this very process.  The socket then lies in
    `/run/user/<uid>` where that folder is this user's alone: found by the uid, as a hook, cron or ssh may
    have no `XDG_RUNTIME_DIR`.  Raises `ConfigError`, also for a socket whose path no system could bind.
    """
    uid = os.getuid() if uid is None else uid
    root = variable(environ, "SESSIOND_HOME")
    found = _below(root) if root else _of_the_platform(f"{run_user}/{uid}", uid)
    if len(os.fsencode(found[2])) > SOCKET_BYTES:
        message = f"the socket's path is longer than {SOCKET_BYTES} bytes: {found[2]!r}"
        raise ConfigError(message, hint="set SESSIOND_HOME to a folder with a shorter path")
    return found


def claude_root(environ: Mapping[str, str]) -> str:
    """Claude Code's own folder: `$CLAUDE_CONFIG_DIR`, else `~/.claude`.  Raises `ConfigError`."""
    return variable(environ, "CLAUDE_CONFIG_DIR") or f"{home(environ)}/.claude"


def mirror_of(environ: Mapping[str, str], config_file: str) -> str | None:
    """Where plain copies lie, as long as no setting has to be parsed for that, nor for what is watched.

    None where the settings have to be read, which takes longer than a hook's copy.  What a file does not
    name it does not set; and a path in a variable is a bare word.  Raises `ConfigError`.
    """
    try:
        with open(config_file, "rb") as file:  # noqa: PTH123 - hot
            said = file.read()
    except (FileNotFoundError, NotADirectoryError):
        said = b""
    except OSError:
        return None
    if any(word in said for word in _TO_PARSE):
        return None
    folder = MIRROR_DIR
    for name, value in environ.items():
        if value and name.startswith("SESSIOND_") and name.upper() in _VARIABLES:
            if name != _VARIABLES[0] or value[:1] not in {"/", "~"}:
                return None
            folder = value.strip()
    try:
        return absolute(folder, home(environ))
    except ValueError:
        return None


def socket_of(environ: Mapping[str, str]) -> str:
    """The daemon's socket.  Raises `ConfigError`, as `places` does."""
    return places(environ)[2]


def _below(root: str) -> tuple[str, str, str, str]:
    root = root.rstrip("/")
    return f"{root}/config.toml", f"{root}/state", f"{root}/run/ctl.sock", f"{root}/log"


def _of_the_platform(runtime: str, uid: int) -> tuple[str, str, str, str]:
    config, state, log = _of_linux() if sys.platform == "linux" else _of_others()
    if state == config:  # macOS keeps both in Application Support
        state += "/state"
    socket_dir = f"{runtime}/sessiond" if _is_private(runtime, uid) else state
    return f"{config}/config.toml", state, f"{socket_dir}/ctl.sock", log


def _of_linux() -> tuple[str, str, str]:
    """What platformdirs says as well, which takes a hook half as long again to import."""

    def base(name: str, usual: str) -> str:
        set_to = os.environ.get(name, "")
        above = os.path.normpath(set_to) if set_to.startswith("/") else f"{home(os.environ)}/{usual}"
        return f"{above}/sessiond"

    state = base("XDG_STATE_HOME", ".local/state")
    return base("XDG_CONFIG_HOME", ".config"), state, f"{state}/log"


def _of_others() -> tuple[str, str, str]:
    from platformdirs import PlatformDirs  # noqa: PLC0415 - heavy, and SESSIOND_HOME does without

    found = PlatformDirs("sessiond", appauthor=False)
    return found.user_config_dir, found.user_state_dir, found.user_log_dir


def _is_private(folder: str, uid: int) -> bool:
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and stat.S_IMODE(found.st_mode) == 0o700


def variable(environ: Mapping[str, str], name: str) -> str | None:
    """Return the folder a variable names, None where it is empty or not set."""
    if not (value := environ.get(name)):
        return None
    try:
        return absolute(value, home(environ))
    except ValueError as problem:
        message = f"{name} = {value!r} is not allowed ({problem}): it takes a folder"
        raise ConfigError(message, hint=f"set {name} to an absolute path, or unset it") from problem


def home(environ: Mapping[str, str]) -> str:
    """Return the user's home: `HOME`, else what the system knows of this user."""
    if value := environ.get("HOME"):
        if not value.startswith("/"):
            raise ConfigError(f"HOME = {value!r} is relative", hint="set HOME to an absolute path")
        return value.rstrip("/")
    import pwd  # noqa: PLC0415 - rarely wanted

    try:
        return pwd.getpwuid(os.getuid()).pw_dir.rstrip("/")
    except KeyError as problem:
        raise ConfigError("this user has no home folder", hint="set HOME to an absolute path") from problem


def absolute(path: str, home: str) -> str:
    """Given a path as a person writes it, return it absolute, `~` expanded; nothing is looked up on disk.

    Raises `ValueError`, whose text is the reason.
    """
    if any(ord(character) < 0x20 for character in path):
        raise ValueError("it contains a control character")
    if path == "~" or path.startswith("~/"):
        path = f"{home}{path[1:]}"
    if not path.startswith("/"):
        raise ValueError("it is relative")
    return os.path.normpath(path).replace("//", "/", 1)

"""This process and its place on the machine: private folders, the lock, the socket, the boot.

The order at start: `harden`, `own` the folders, `hold` the lock, be `bound` to the socket.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sessiond import memory
from sessionsync.errors import AlreadyRunning, ConfigError, NotAllowed, StoreFull

if TYPE_CHECKING:
    from sessiond.listener import Listener

AGENT = "io.sessiond.daemon"
"""What launchd calls the daemon."""
# How long a socket found at start may take to say that somebody is behind it.
PROBE_S = 2.0
# How often a lock that is waited for is tried.
LOOK_S = 0.05


def harden() -> None:
    """Make every new file this user's alone, and keep what is in memory, as the token, there."""
    os.umask(0o077)
    memory.keep()


def expect_a_burst() -> None:
    """Prepare for work that makes many objects and no cycles of them, in this thread while others compress.

    Cycles are looked for once in so many new objects: at Python's own 700 a first backup spends a twelfth of
    its CPU time on that.  And who comes back from compressing waits for the interpreter half a millisecond at
    most, not five, before the next piece can be begun.  (Both measured.)  What is freed is held for it.
    """
    memory.hold()
    gc.freeze()
    gc.set_threshold(20_000)
    sys.setswitchinterval(0.0005)


def own(folder: Path) -> Path:
    """Make the folder, 0700, where it is missing, and take others' rights from it where it is not.

    Raises:
        NotAllowed: it belongs to another user.
        ConfigError: it is no folder, or cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        if found.st_uid != os.geteuid():
            raise NotAllowed(
                f"The folder {folder} belongs to the user with the id {found.st_uid}, not to this one.",
                hint="Run sessiond as that user, or set SESSIOND_HOME to a folder of your own.",
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            folder.chmod(0o700)
    except PermissionError as error:
        raise NotAllowed(
            f"The folder {folder} cannot be made or changed: it is another user's.",
            hint="Run sessiond as that user, or set SESSIOND_HOME to a folder of your own.",
        ) from error
    except OSError as error:
        hint = "Set SESSIOND_HOME to a folder on a disk that can be written to."
        raise ConfigError(f"The folder {folder} cannot be made: {error.strerror}.", hint=hint) from error
    return folder


@contextmanager
def hold(file: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock on this state; it ends with the process, however that ends.  The file names the pid.

    Whoever holds it is given `wait_s` to let go.

    Raises:
        AlreadyRunning: another process holds it.
        NotAllowed: the file belongs to another user.
        StoreFull: its disk takes no new file.
    """
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except PermissionError as error:
        raise NotAllowed(
            f"The lock {file} belongs to another user.", hint="Run sessiond as that user."
        ) from error
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
            raise StoreFull(
                f"The lock {file} cannot be written: {error.strerror}.",
                hint=f"Free space on the disk of {file.parent}, and see that it is writable.",
            ) from error
        hint = "See what lies there, and that its disk can be written to."
        raise ConfigError(f"The lock {file} cannot be opened: {error.strerror}.", hint=hint) from error
    try:
        _lock(descriptor, file, time.monotonic() + wait_s)
        with suppress(OSError):  # a full disk: the lock holds without a name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, file: Path, until: float) -> None:
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise
                time.sleep(LOOK_S)
            else:
                return
    except BlockingIOError as error:
        raise AlreadyRunning(
            f"Another sessiond, pid {_named(descriptor)}, runs on {file.parent}.",
            hint="`sessiond ctl status` asks it; `sessiond ctl stop` ends it.",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be locked: {error.strerror}.",
            hint="Set SESSIOND_HOME to a folder on a local disk.",
        ) from error


def holder(file: Path) -> str | None:
    """The pid of who holds the lock on this state, None where nobody does; nothing is written.

    It is tried for the blink of an eye: there is no other way to ask on every system.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named(descriptor)
    except OSError:
        return None
    else:
        return None
    finally:
        os.close(descriptor)


def _named(descriptor: int) -> str:
    return os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"


@contextmanager
def bound(path: Path) -> Iterator[Listener]:
    """A socket bound at `path`, 0600, in a folder of our own; one that a dead daemon left is replaced.

    Its name goes at the end, unless somebody else's is there by then.

    Raises:
        AlreadyRunning: somebody listens there.
        NotAllowed: the folder belongs to another user.
        ConfigError: something that is no socket is in the way, or nothing can be bound there.
    """
    from sessiond.listener import Listener  # noqa: PLC0415 - most commands listen to nobody

    own(path.parent)
    _clear(path)
    with Listener() as listener:
        try:
            listener.bind(str(path))
            path.chmod(0o600)
            ours = path.lstat().st_ino
        except OSError as error:
            hint = "Set SESSIOND_HOME to a folder with a short path on a local disk."
            raise ConfigError(f"The socket {path} cannot be bound: {error.strerror}.", hint=hint) from error
        try:
            yield listener
        finally:
            with suppress(OSError):
                if path.lstat().st_ino == ours:
                    path.unlink()


def _clear(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(
            f"{path} is in the way: it is no socket.", hint="Move it elsewhere and start again."
        )
    if answers(path):
        raise AlreadyRunning(
            f"Another sessiond listens on {path}.",
            hint="`sessiond ctl status` asks it; `sessiond ctl stop` ends it.",
        )
    path.unlink(missing_ok=True)


def answers(path: Path) -> bool:
    """Whether somebody listens there; a process that is frozen still does."""
    import socket  # noqa: PLC0415 - as above

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(str(path))
        except OSError as error:
            return isinstance(error, TimeoutError) or error.errno == errno.EAGAIN
        return True


def under_launchd(environ: Mapping[str, str]) -> bool:
    """Whether launchd has started this process as our agent; in a terminal the name is the terminal's."""
    return environ.get("XPC_SERVICE_NAME") == AGENT


def boot_id() -> str:
    """What names this run of the machine, '' where the system does not say: a new one means it was off."""
    if sys.platform == "darwin":
        import subprocess  # noqa: PLC0415 - only here

        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        try:
            answer = subprocess.run(command, env={}, capture_output=True, check=True, timeout=5, text=True)
        except (OSError, subprocess.SubprocessError):
            return ""
        return answer.stdout.strip()
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""

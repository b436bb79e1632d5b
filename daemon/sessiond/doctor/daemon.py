"""The daemon and its service, and what it has proved of the copies."""

from __future__ import annotations

import errno
import socket
import stat
import urllib.error
import urllib.request
from typing import TypeVar

import msgspec

from sessiond.doctor.here import ASK_S, DAY_S, FAILED, OK, WARNING, Here, Said
from sessiond.service import is_startable
from sessionsync.errors import ConfigError, ServiceFailed, StoreError
from sessionsync.restore.drill import Last
from sessionsync.store import Store
from sessionsync.upkeep import Scan

Kept = TypeVar("Kept", Scan, Last)

# Verified every day, proven by a restore every day; two days late is late.
LATE_S = 2 * DAY_S


def running(here: Here) -> Said:
    """Whether a daemon runs, and what it says of itself."""
    status = here.daemon
    if status is None:
        return Said(FAILED, "The daemon is not running.", "Start it: sessiond service install (or start)")
    worst = {"ok": OK, "degraded": WARNING}.get(status["status"], FAILED)
    said = f"pid {status['pid']} answers, {status['mode'].replace('_', '-')}, {status['status']}."
    return Said(worst, said, "" if worst == OK else "See what is wrong: sessiond ctl status")


def service(here: Here) -> Said:
    """Whether the service is installed, runs, and starts a program that is there."""
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
        Said(FAILED, gone, "Mend it: sessiond service install"): not is_startable(found["program"]),
        Said(FAILED, "It has failed.", "See why: sessiond service start"): found["state"] == "failed",
        Said(WARNING, restarted, "See why: sessiond ctl logs --level warning"): found["restarts"],
        Said(WARNING, "It is stopped.", "Start it: sessiond service start"): found["state"] == "stopped",
        Said(WARNING, "It does not start at login.", "Again: sessiond service install"): not found["enabled"],
    }
    for said, is_so in troubles.items():
        if is_so:
            return said
    return Said(OK, f"It is {found['state']}, never restarted.")


def lingering(here: Here) -> Said:
    """Whether the daemon outlives the login."""
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


def control_socket(here: Here) -> Said:
    """Whether the control socket is the daemon's, and closed to others."""
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


def port(here: Here) -> Said:
    """Whether the port of the metrics is the daemon's, or free."""
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


def watcher(here: Here) -> Said:
    """Whether the daemon is ready, and sees at once what changes."""
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


def verified(here: Here) -> Said:
    """Whether all copies were verified, and a restore was tried, in the last two days."""
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

"""Word to the service manager: sd_notify(3) in a few lines, and nothing where nobody listens."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

# A line in `systemctl status` that is longer is read by nobody.
STATUS_LETTERS = 300
# A manager whose queue is full is given so long to hear of another state; the rest is said again.
SPEAKS_S = 2.0


class Notify:
    """The service manager's ear: a datagram a message, to `$NOTIFY_SOCKET`.

    Any thread may speak, nothing is ever raised and nothing waits for long: a manager that does not listen
    must not stop the daemon, and a busy one must not miss that it is ready.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._said = ""
        self.watchdog_s = _watchdog_s(environ)
        """After so long without `alive` the manager kills this process; None where it does not watch."""

    @property
    def is_heard(self) -> bool:
        """Whether a service manager listens."""
        return self._address.startswith(("/", "@"))

    def ready(self, status: str) -> None:
        """The daemon does its work; also the end of `reloading` and of `replacing`."""
        self._send("READY=1", self._status(status), *self._watch(self.watchdog_s), wait_s=SPEAKS_S)

    def reloading(self) -> None:
        """Settings are read again; the manager waits for `ready`."""
        self._send("RELOADING=1", _now(), self._status("Reading the settings again."), wait_s=SPEAKS_S)

    def replacing(self, status: str, within_s: float) -> None:
        """Another program takes over this process; it is watched again once `ready`, or after so long."""
        watch = self._watch(self.watchdog_s and within_s)
        self._send("RELOADING=1", _now(), self._status(status), *watch, wait_s=SPEAKS_S)

    def stopping(self) -> None:
        """The daemon ends."""
        self._send("STOPPING=1", self._status("Ending: what is captured is committed."), wait_s=SPEAKS_S)

    def status(self, text: str) -> None:
        """What the daemon does now, for a person; said again only when it changes."""
        if text != self._said and not self._send(self._status(text)):
            self._said = ""

    def alive(self) -> None:
        """Every loop turns."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    @staticmethod
    def _watch(every_s: float | None) -> list[str]:
        return [] if every_s is None else [f"WATCHDOG_USEC={every_s * 1e6:.0f}"]

    def _status(self, text: str) -> str:
        self._said = text
        return f"STATUS={' '.join(text.split())[:STATUS_LETTERS]}"

    def _send(self, *lines: str, wait_s: float = 0.0) -> bool:
        """Say it; whether it was heard, or nobody is there to hear."""
        if not self.is_heard:
            return True
        # `@` stands for the NUL of an address without a file
        address = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        with (
            suppress(OSError, ValueError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear,
        ):
            ear.settimeout(wait_s)
            ear.sendto("\n".join(lines).encode("utf-8", "replace"), address)
            return True
        return False


def _now() -> str:
    return f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """What `WatchdogSec=` asks of this very process, in seconds."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), str(os.getpid())
    if not usec.isdecimal() or environ.get("WATCHDOG_PID", pid) != pid:
        return None
    return int(usec) / 1e6 or None

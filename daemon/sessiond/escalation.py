"""The command of `health.on_critical`: how a person is called who does not look.

It is split as a shell would split it and run without one, with what `ctl health --json` prints on its stdin,
`SESSIOND_FINDING` and `SESSIOND_MESSAGE` for the worst finding in its environment, no token there, and half
a minute to end.  It is called when a critical finding is new, once for all that came together.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sessiond.token import without_tokens
from sessionsync.errors import RedactionFailed
from sessionsync.events import Emit
from sessionsync.privacy.gate import Gate

LIMIT_S = 30.0
# How much of what it says is kept for the log.
SAID_BYTES = 500
# What a variable may hold is limited by the system; stdin has all of it.
MESSAGE_CHARS = 4000


class Escalation:
    """Calls the command, one call at a time, in a thread of its own."""

    def __init__(self, environ: Mapping[str, str], emit: Emit, limit_s: float = LIMIT_S) -> None:
        self._environ = without_tokens(environ)
        self._environ.pop("CREDENTIALS_DIRECTORY", None)  # a token lies there
        self._emit = emit
        self._limit_s = limit_s
        self._running: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the last call has not ended yet."""
        return self._running is not None and self._running.is_alive()

    def call(self, command: str, health: Mapping[str, Any], gate: Gate) -> None:
        """Begin a call: `health` has at least one finding, the worst one first.

        It passes the gate, since a command is there to send it on.
        """
        try:
            health = json.loads(gate.text(json.dumps(health))[0])
        except RedactionFailed as error:
            self._emit("escalation_failed", reason=str(error))
            return
        worst = health["findings"][0]
        environ = self._environ | {
            "SESSIOND_FINDING": worst["code"],
            "SESSIOND_MESSAGE": _passable(worst["message"]),
        }
        self._running = threading.Thread(
            target=self._run, args=(command, json.dumps(health).encode(), environ), daemon=True
        )
        self._running.start()

    def join(self) -> None:
        """Wait for the call that runs, if any."""
        if self._running is not None:
            self._running.join()

    def _run(self, command: str, stdin: bytes, environ: dict[str, str]) -> None:
        try:
            words = [os.path.expanduser(word) for word in shlex.split(command)]  # noqa: PTH111 - words, no paths
            with subprocess.Popen(
                words,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process:
                said = self._wait(process, stdin)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            self._emit("escalation_failed", reason=f"health.on_critical: {error}")
            return
        if process.returncode:
            self._emit("escalation_failed", reason=f"it ended with {process.returncode}", said=said)
        else:
            self._emit("escalated", said=said)

    def _wait(self, process: subprocess.Popen[bytes], stdin: bytes) -> str:
        try:
            out, _ = process.communicate(stdin, timeout=self._limit_s)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        return out[:SAID_BYTES].decode(errors="replace").strip()


def _passable(message: str) -> str:
    """A message as an environment takes it: foreign text in it must not keep a person from being called."""
    return message.replace("\0", " ").encode(errors="replace").decode()[:MESSAGE_CHARS]

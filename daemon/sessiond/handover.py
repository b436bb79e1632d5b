"""Layer 2 of the local redundancy: the hook's call to the daemon, in a process that nobody waits for.

attempt ─▶ saved
   └─▶ timed out, or failed ─▶ retried ─▶ attempt ─▶ saved
                                             └─▶ failed ─▶ fell back: layer 1's copy, an event in the spool
"""

import time
from typing import NamedTuple, Self

from sessiond import client
from sessiond.plaincopy import Copied
from sessiond.spool import Save, Spool
from sessionsync.errors import DaemonSilent, SessiondError
from sessionsync.events import Emit

TRIES = 2
TRY_S = 10.0
BETWEEN_S = 1.0


class Fallback(NamedTuple):
    """The copy of layer 1, which stands in where the daemon does not answer."""

    copy: str | None
    verified: bool

    @classmethod
    def of(cls, copied: Copied | None, older: str | None) -> Self:
        """What was copied, else what was there before and may be behind."""
        return cls(older, verified=False) if copied is None else cls(copied.path, copied.complete)


def hand_over(
    save: Save,
    socket: str,
    spool: Spool,
    fallback: Fallback,
    say: Emit,
) -> bool:
    """Have the daemon save a session now; whether it did.

    Each outcome is told with its attempt: an attempt is saved, timed out or failed, and so is the whole with
    the last one.
    """
    for attempt in range(1, TRIES + 1):
        if attempt > 1:
            time.sleep(BETWEEN_S)
            say("session_save_retried", attempt=attempt)
        if _attempt(save, socket, say, attempt):
            return True
    fall_back(save, spool, fallback, say)
    return False


def fall_back(save: Save, spool: Spool, fallback: Fallback, say: Emit) -> None:
    """Say which copy stands in, and leave the event where the daemon finds it."""
    try:
        left = str(spool.put(save))
    except OSError as problem:
        left = f"not: {problem.strerror}"
    say(
        "session_save_fell_back",
        copy=fallback.copy or "none",
        verified=fallback.verified,
        spooled=left,
    )


def _attempt(save: Save, socket: str, say: Emit, attempt: int) -> bool:
    say("session_save_attempt", attempt=attempt)
    began = time.monotonic()
    try:
        answer = client.request(socket, "session_save", save._asdict(), acts=True, timeout_s=TRY_S)
    except Exception as problem:  # noqa: BLE001 - whatever it was, the copy is named and the event kept
        silent = isinstance(problem, DaemonSilent)
        if silent:
            say("session_save_timed_out", attempt=attempt, seconds=_since(began))
        if not silent or attempt == TRIES:
            code = problem.code if isinstance(problem, SessiondError) else SessiondError.code
            say("session_save_failed", attempt=attempt, code=code, reason=str(problem) or repr(problem))
        return False
    say(
        "session_saved",
        bytes=answer.get("bytes"),
        trigger=save.trigger,
        attempt=attempt,
        checkpoint=answer.get("checkpoint"),
        seconds=_since(began),
    )
    return True


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)

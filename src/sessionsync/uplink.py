"""The way to GitHub or to the archive: whether it may be asked now, and if not, why and until when.

Two things keep it from being asked.  A pause, for a reason that was told: a limit that ends, a right that a
person must give.  And silence: after three failures in a row one probe at a time asks for all that waits.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from sessionsync.errors import (
    Limited,
    NotPermitted,
    RemoteError,
    RepositoryMissing,
    ServerFailed,
    SessiondError,
    TokenRefused,
    Unreachable,
)
from sessionsync.events import Emit
from sessionsync.queue import Lane, Queue
from sessionsync.retry import Reach

# What a person must mend is looked at again this often.
RECHECK_S = 300.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing is sent although there is somewhere to send it.  `until` None: until a person acts."""

    code: str
    message: str
    hint: str
    since: float
    until: float | None = None


class EventNames(NamedTuple):
    """The names of the events in which an uplink tells of itself."""

    limited: str
    paused: str
    resumed: str
    unreachable: str
    reached: str


class Uplink:
    """One lane's way out.  Call it from the thread that sends on it; its fields may be read from any.

    `pause` is why it is not asked, `reach` whether it answers at all, `reached_at` when it last did (Unix
    seconds).  `code` gives an error's code as this end tells it.
    """

    def __init__(
        self,
        queue: Queue,
        lane: Lane,
        chance: random.Random,
        emit: Emit,
        events: EventNames,
        code: Callable[[SessiondError | type[SessiondError]], str] = lambda error: error.code,
    ) -> None:
        self.pause: Pause | None = None
        self.reach = Reach()
        self.reached_at: float | None = None
        # what the last order does not lift, while what it found under way may not have ended; else None
        self._ordered: tuple[type[SessiondError], ...] | None = None
        self._queue = queue
        self._lane = lane
        self._chance = chance
        self._emit = emit
        self._events = events
        self._code = code

    @property
    def is_open(self) -> bool:
        """Whether it may be asked, as far as anybody knows."""
        return self.pause is None and not self.reach.unreachable

    def paused_by(self, kind: type[SessiondError]) -> bool:
        """Whether it is paused for an error of this class."""
        pause = self.pause  # another thread may lift it meanwhile
        return pause is not None and pause.code == self._code(kind)

    def begin(self) -> None:
        """What was under way has ended: an order that came meanwhile lifts also the pause that came of it."""
        kept, self._ordered = self._ordered, None
        if kept is not None and not any(map(self.paused_by, kept)):
            self.pause = None

    def resume(self, now: float) -> bool:
        """Lift a pause whose time is over; whether there was one.  A clock set back does not prolong it."""
        pause = self.pause
        if pause is None or pause.until is None or pause.since <= now < pause.until:
            return False
        self.pause = None
        self._emit(self._events.resumed)
        return True

    def clock_set(self, now: float, by_s: float) -> None:
        """The clock was set by so many seconds: what waits goes on waiting as long as it would have.

        Raises:
            StoreError: it cannot be written; nothing has moved, and it is to be told again.
        """
        if by_s < 0:
            self._queue.clock_set_back(now, lane=self._lane)
        if (pause := self.pause) is not None:
            until = None if pause.until is None else pause.until + by_s
            self.pause = replace(pause, since=pause.since + by_s, until=until)
        self.reach.clock_set(by_s)

    def probe_now(self, *, insist: bool = False) -> None:
        """Ask again at the next occasion, whatever the schedule says.

        Lifts a pause whose cause may be mended.  A limit ends when the other end says; and a refused token is
        shown again only where a person insists, as GitHub locks out who does that often.
        """
        if self.reach.probe_at is not None:
            self.reach.probe_at = 0.0
        self._ordered = kept = (Limited,) if insist else (Limited, TokenRefused)
        if not any(map(self.paused_by, kept)):
            self.pause = None

    def probe(self, now: float, ask: Callable[[], object]) -> bool:
        """Ask once for all that waits, where it is time; whether it was asked."""
        if (self.reach.wait_s(now) or 0.0) > 0:
            return False
        try:
            ask()
        except (Unreachable, ServerFailed):
            self.reach.failed(now, self._chance)
            return True
        except RemoteError:
            pass
        # an answer, if perhaps not a good one: whoever sends finds out what it means
        self.reached(now)
        return True

    def reached(self, now: float) -> None:
        """There was an answer: where there had been none, everything is due now."""
        self.reached_at = now
        if self.reach.answered():
            self._queue.make_due(now, lane=self._lane)
            self._emit(self._events.reached)

    def failed(self, now: float, error: SessiondError, *, without_token: bool = False) -> None:
        """Take in what an error means for everything that is sent this way.

        `without_token` says that there was no token to be refused: then one may come by itself.
        """
        code, text = self._code(error), str(error)
        match error:
            case Limited():
                self.limit(Pause(code, text, error.hint, now, error.retry_at), kind=error.kind)
            case TokenRefused() | RepositoryMissing() | NotPermitted():
                # a refused token is not shown again: that makes GitHub refuse valid ones too
                is_final = isinstance(error, TokenRefused) and not without_token
                self.pause = Pause(code, text, error.hint, now, None if is_final else now + RECHECK_S)
                self._emit(self._events.paused, code=code, reason=text, hint=error.hint)
            case Unreachable() | ServerFailed():
                if self.reach.failed(now, self._chance):
                    self._emit(self._events.unreachable, reason=text)

    def limit(self, pause: Pause, *, kind: str) -> None:
        """Wait for the end of a rate limit; `kind` is `primary` or `secondary`."""
        self.pause = pause
        seconds = round((pause.until or pause.since) - pause.since, 1)
        self._emit(self._events.limited, kind=kind, seconds=seconds)

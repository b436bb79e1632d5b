"""The loop that fills the archive: git is blocking, and must not hold up the comments."""

from __future__ import annotations

import time
from collections.abc import Callable

from sessiond.engine import Engine
from sessiond.loops import TICK_S, TOKEN_S, TROUBLE_S, Bell, Failed, Loop, rest_s
from sessionsync.archiving import Archiving
from sessionsync.errors import StoreFull, TokenRefused
from sessionsync.events import Emit

# After so long without work the processes that are held open are let go of.
REST_S = 120.0


class ArchiveLoop(Loop):
    """Drives `Archiving.work`."""

    def __init__(self, engine: Engine, allowed: Callable[[], bool], emit: Emit, on_failure: Failed) -> None:
        super().__init__("archive", Bell(), emit, on_failure)
        self._engine = engine
        self._allowed = allowed
        self._mine: Archiving | None = None
        self._worked_at = 0.0
        self._token_at = 0.0
        self.trouble: StoreFull | None = None
        """Why nothing can be sent, as nothing can be written down first."""

    def clock_set(self, now: float, by_s: float) -> None:
        """Let nothing wait longer for that."""
        if self._mine is not None:
            self._mine.clock_set(now, by_s)

    def turn(self) -> float:
        """Send everything that is due; then look after what is there."""
        archiving = self._take()
        if archiving is None or not self._allowed():
            return rest_s(self._engine)
        if archiving.uplink.paused_by(TokenRefused):
            self._find_token()
        try:
            while self._may_work(archiving) and archiving.work(self.now()):
                self.progressed_at = self._worked_at = time.monotonic()
        except StoreFull as error:
            self.trouble = error
            return TROUBLE_S
        self.trouble = None
        if time.monotonic() - self._worked_at > REST_S:
            archiving.rest()
        at = archiving.next_at(time.time())
        return TICK_S if at is None else min(TICK_S, max(0.001, at - time.time() + 0.001))

    def end(self) -> None:
        """End what runs now: it is done again at the next start."""
        if self._mine is not None:
            self._mine.abort()

    def close(self) -> None:
        """After the thread has ended: let go of what is held open."""
        if self._mine is not None:
            self._mine.rest()

    def _take(self) -> Archiving | None:
        """The engine's archive step; new settings bring another one."""
        if self._engine.archiving is not self._mine:
            self.close()
            self._mine = self._engine.archiving
            if self._mine is not None:
                self._mine.beat = self.beat
        return self._mine

    def _find_token(self) -> None:
        """Look for another token than the one that was refused."""
        if time.monotonic() >= self._token_at:
            self._token_at = time.monotonic() + TOKEN_S
            self._engine.token = self._engine.look_for_token() or self._engine.token

    def _may_work(self, archiving: Archiving) -> bool:
        return self._engine.archiving is archiving and self._allowed() and not self._stopping

"""How fast work in the background may go on.  Pure: time is an argument, waiting is the caller's."""

from __future__ import annotations

# A shorter wait is put off until it is worth being woken for: a sleep costs more than many small pieces.
LEAST_WAIT_S = 0.5


class Budget:
    """So many bytes a second, over time; nobody saves up for later more than a second's worth."""

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self._paid_until = float("-inf")

    def spend(self, size: int, now: float) -> float:
        """Take note that `size` bytes were moved; returns how many seconds to wait before the next ones.

        That is none or `LEAST_WAIT_S` at least.  `now` is any clock that only goes forward, in seconds.
        """
        self._paid_until = max(self._paid_until, now - 1.0) + size / self.bytes_per_s
        wait = self._paid_until - now
        return wait if wait >= LEAST_WAIT_S else 0.0

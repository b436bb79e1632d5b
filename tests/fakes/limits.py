"""GitHub's rate limits: the primary windows of an hour, and the secondary limits nobody can query."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Literal

import msgspec

from tests.fakes.answers import Answer, Refused, problem
from tests.fakes.faults import secondary_words
from tests.fakes.world import World

Scope = Literal["content", "writes", "all"]
HOUR_S = 3600
WRITE_OFFSET_S = 97
"""How much later the writes' window ends than the reads', as in a recording of 2026."""


class Window(msgspec.Struct, kw_only=True):
    """What one account has left until `reset_at`."""

    limit: int
    used: int = 0
    reset_at: int = 0

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)

    def shape(self) -> dict[str, int]:
        return {
            "limit": self.limit,
            "used": min(self.used, self.limit),
            "remaining": self.remaining,
            "reset": self.reset_at,
        }


class Block(msgspec.Struct, kw_only=True):
    """A secondary limit somebody has run into."""

    until: float
    scope: Scope
    status: int
    retry_after_s: int | None
    wording: str


class Limits:
    """Counts by account (all tokens of a user share), by the world's clock. The caller holds its lock."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.windows: dict[tuple[str, bool], Window] = {}
        self.blocks: dict[str, Block] = {}
        self._created: dict[str, deque[float]] = defaultdict(deque)
        self._points: dict[tuple[str, str], deque[tuple[float, int]]] = defaultdict(deque)

    def window(self, account: str, *, write: bool) -> Window:
        """The window a request falls into; a fresh one when the last is over."""
        write = write and self.world.behaviour.split_windows
        now = self.world.now()
        window = self.windows.get((account, write))
        if window is None or now >= window.reset_at:
            window = Window(
                limit=self._per_hour(account), reset_at=int(now) + HOUR_S + WRITE_OFFSET_S * write
            )
            self.windows[account, write] = window
        return window

    def set(self, account: str, remaining: int, reset_in_s: int, limit: int | None) -> None:
        """Put both windows of an account where a test wants them."""
        for write in (False, True):
            top = limit or self._per_hour(account)
            self.windows[account, write] = Window(
                limit=top, used=top - remaining, reset_at=int(self.world.now()) + reset_in_s
            )

    def check_primary(self, account: str, *, write: bool, request_id: str) -> None:
        """Refuse when the hour's requests are used up; 403 or 429, remaining 0 (GitHub docs)."""
        if self.window(account, write=write).remaining:
            return
        if account.startswith("anonymous"):
            who = "127.0.0.1. (But here's the good news: Authenticated requests get a higher rate limit.)"
        elif account.startswith("actions"):
            who = "installation ID 42."
        else:
            who = f"user ID {self.world.accounts[account].id}."
        raise problem(
            self.world.behaviour.limit_status,
            f"API rate limit exceeded for {who} If you reach out to GitHub Support for help, please include the "
            f"request ID {request_id}.",
            "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api",
        )

    def check_block(self, account: str, scope: Scope) -> None:
        """Refuse while a secondary limit lasts that covers this kind of request."""
        for key in (account, "*"):
            block = self.blocks.get(key)
            if block is not None and self.world.now() >= block.until:
                del self.blocks[key]
            elif block is not None and (block.scope == "all" or scope in {"content", block.scope}):
                raise self._secondary(block)

    def check_points(self, account: str, endpoint: str, *, write: bool) -> None:
        """900 points a minute and endpoint: a read 1, a write 5 (GitHub docs)."""
        now = self.world.now()
        spent = self._points[account, endpoint]
        while spent and spent[0][0] <= now - 60:
            spent.popleft()
        if sum(points for _, points in spent) + (5 if write else 1) > self.world.behaviour.points_per_minute:
            raise self.block(account, "all", self.world.behaviour.block_s)
        spent.append((now, 5 if write else 1))

    def check_content(self, account: str) -> None:
        """80 creations a minute and 500 an hour (GitHub docs); beyond that, a block on creating."""
        self.check_block(account, "content")
        now, made = self.world.now(), self._created[account]
        while made and made[0] <= now - HOUR_S:
            made.popleft()
        behaviour = self.world.behaviour
        recent = sum(at > now - 60 for at in made)
        if len(made) >= behaviour.content_per_hour or recent >= behaviour.content_per_minute:
            raise self.block(account, "content", behaviour.block_s)
        made.append(now)

    def block(
        self,
        account: str,
        scope: Scope,
        for_s: float,
        *,
        retry_after: bool | None = None,
        wording: str | None = None,
        status: int | None = None,
    ) -> Refused:
        """Start a secondary limit; hands back the answer it gives. Account "*" is everybody."""
        behaviour = self.world.behaviour
        told = behaviour.retry_after if retry_after is None else retry_after
        block = Block(
            until=self.world.now() + for_s,
            scope=scope,
            status=status or behaviour.limit_status,
            retry_after_s=int(for_s) if told else None,
            wording=wording or behaviour.wording,
        )
        self.blocks[account] = block
        return self._secondary(block)

    def _secondary(self, block: Block) -> Refused:
        answer = Answer(block.status, secondary_words(block.wording, block.status))
        if block.retry_after_s is not None:
            answer.headers["retry-after"] = str(max(1, round(block.until - self.world.now())))
        return Refused(answer)

    def _per_hour(self, account: str) -> int:
        behaviour = self.world.behaviour
        if account.startswith("anonymous"):
            return behaviour.anonymous_per_hour
        return behaviour.actions_per_hour if account.startswith("actions") else behaviour.core_per_hour

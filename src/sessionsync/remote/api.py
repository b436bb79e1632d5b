"""One exchange with GitHub's API: who asks and how, what the answer means, what its headers tell.

Knows no operation and no URL; `github.py` does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

import msgspec

from sessionsync.errors import Limited, RemoteError, TokenRefused, Unreachable
from sessionsync.events import Emit
from sessionsync.remote.answers import (
    SELF_HEALING,
    Answer,
    Bounds,
    Call,
    NoAnswer,
    RateLimit,
    expiry,
    failure,
    one_line,
    rate_limit,
    unlike_github,
)

if TYPE_CHECKING:
    from sessionsync.remote.wire import Wire

API_VERSION = "2022-11-28"
"""GitHub's default; pinned, because another one names and drops fields."""

T = TypeVar("T")
Decode = Callable[[bytes], T]
Outcome = Literal["success", "client_error", "server_error", "rate_limited", "timeout", "network_error"]

_TOKEN = re.compile(r"[\x21-\x7e]+")
_REDIRECTS = {301, 302, 307, 308}


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """An answer and what was read from it; `value` is None for a redirect and where nothing changed (304).

    `etag` is for asking whether it still holds: its ETag, behind a mark of the token for which it speaks.
    """

    answer: Answer
    url: str
    value: T | None
    etag: str | None

    @property
    def redirects(self) -> bool:
        """Whether the answer only says where to ask."""
        return self.answer.status in _REDIRECTS


class _Strikes(NamedTuple):
    """Secondary limits in a row, each after the one before had been waited for."""

    times: int = 0
    until: float = 0.0


class Api:
    """The API at `base`.  Belongs to one thread at a time; `close` may come from any.

    `token()` is asked before each request.  `wall` and `monotonic` are the clocks.  Each exchange emits
    `github_requested` (operation, outcome, status, seconds).
    """

    def __init__(
        self,
        base: str,
        *,
        token: Callable[[], str],
        user_agent: str,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        emit: Emit,
        bounds: Bounds,
    ) -> None:
        self.base = base.rstrip("/")
        self.skew_s: float | None = None
        self.token_scopes: frozenset[str] | None = None
        """How far GitHub's clock is ahead of this machine's; whole seconds."""
        self.token_expires_at: float | None = None
        """When the token ends, Unix seconds; None where it does not say."""
        self._token = token
        self._user_agent = user_agent
        self._wall = wall
        self._monotonic = monotonic
        self._emit = emit
        self._bounds = bounds
        self._wire: Wire | None = None
        self._closed = False
        self._windows: dict[tuple[str, bool], RateLimit] = {}
        self._strikes = {False: _Strikes(), True: _Strikes()}

    def close(self) -> None:
        """End a running exchange at once (it raises `Unreachable`) and refuse later ones; for any thread."""
        self._closed = True
        if self._wire is not None:
            self._wire.cut()

    @property
    def limits(self) -> dict[str, RateLimit]:
        """What is left of each resource.

        Reads and writes have been seen in windows of their own under one name, so nothing is compared
        between answers: of the windows that still run, the one with least left counts.
        """
        now = self._wall() + (self.skew_s or 0.0)

        def rank(window: RateLimit) -> tuple[bool, float]:
            return window.reset_at <= now, window.remaining / max(window.limit, 1)

        tightest: dict[str, RateLimit] = {}
        for (resource, _), window in list(self._windows.items()):
            known = tightest.get(resource, window)
            tightest[resource] = min(known, window, key=rank)
        return tightest

    def ask(
        self,
        call: Call,
        decode: Decode[T],
        url: str,
        *,
        method: str = "GET",
        content: bytes | None = None,
        etag: str | None = None,
    ) -> Reply[T]:
        """One request and one answer, judged and counted; raises a `RemoteError`.  Redirects are answers."""
        headers = self._headers(call, content, etag)
        secret = headers["authorization"].removeprefix("Bearer ")
        began = self._monotonic()
        outcome: Outcome = "network_error"
        status = 0
        try:
            answer = self._send(method, url, headers, content)
            status = answer.status
            self._learn(call, answer)
            if error := self._judge(call, answer.without(secret)):
                outcome = _outcome(error)
                try:
                    raise error
                finally:  # it knows this frame and those above: named here, it would hold all that they hold
                    del error
            value = _decoded(call, decode, answer)
            outcome = "success"
            tag = answer.headers.get("etag")
            return Reply(answer, url, value, None if tag is None else f"{_mark(secret)} {tag}")
        except NoAnswer as error:
            outcome = "timeout" if error.timed_out else "network_error"
            why = one_line(str(error).replace(secret, "…"))
            raise Unreachable(f"{call}: no answer from GitHub: {why}", hint=error.hint or SELF_HEALING) from (
                None if secret in str(error) else error
            )
        finally:
            if not self._closed:  # to be cut off is nobody's failure
                seconds = self._monotonic() - began
                self._emit(
                    "github_requested",
                    operation=call.operation,
                    outcome=outcome,
                    status=status,
                    seconds=seconds,
                )

    def _headers(self, call: Call, content: bytes | None, etag: str | None) -> dict[str, str]:
        token = self._token()
        if not _TOKEN.fullmatch(token):
            fault = "has characters that no token has" if token else "is missing"
            hint = "`sessiond doctor` says where the token is taken from."
            raise TokenRefused(f"{call}: the token {fault}", hint=hint)
        headers = {
            "accept": "application/vnd.github+json",
            "accept-encoding": "gzip",
            "authorization": f"Bearer {token}",
            "user-agent": self._user_agent,
            "x-github-api-version": API_VERSION,
        }
        if content is not None:
            headers["content-type"] = "application/json; charset=utf-8"
        # an ETag speaks for one token only (GitHub support); an unmarked one may be this token's
        mark, _, tag = (etag or "").rpartition(" ")
        if tag and mark in {"", _mark(token)}:
            headers["if-none-match"] = tag
        return headers

    def _send(self, method: str, url: str, headers: dict[str, str], content: bytes | None) -> Answer:
        if self._wire is None:
            from sessionsync.remote.wire import Wire  # noqa: PLC0415 - 5.5 MB and 120 ms, at the first request

            self._wire = Wire(self.base, self._bounds, self._monotonic)
        if self._closed:  # looked at after the wire is known, so `close` or we cut it
            self._wire.cut()
        return self._wire.ask(method, url, headers, content)

    def _learn(self, call: Call, answer: Answer) -> None:
        """Keep what an answer's headers tell of clock, limits and token."""
        if (server := answer.date()) is not None:
            self.skew_s = server - self._wall()
        if (limit := rate_limit(answer)) is not None:
            self._windows[limit[0], call.writes] = limit[1]
        if (ends := answer.headers.get("github-authentication-token-expiration")) is not None:
            self.token_expires_at = expiry(ends)
        if (scopes := answer.headers.get("x-oauth-scopes")) is not None:
            self.token_scopes = frozenset(scope.strip() for scope in scopes.split(",") if scope.strip())

    def _judge(self, call: Call, answer: Answer) -> RemoteError | None:
        now = self._wall()
        last = self._strikes[call.writes]
        times = last.times + (now >= last.until)
        error = failure(answer, call, now=now, strikes=times)
        if isinstance(error, Limited) and error.kind == "secondary":
            self._strikes[call.writes] = _Strikes(times, error.retry_at)
        elif error is None:
            self._strikes[call.writes] = _Strikes()
        return error


def _mark(token: str) -> str:
    """Tells tokens apart, and is too short to tell anything of them: 32 bits of a hash, as 8 digits."""
    return hashlib.sha256(token.encode()).hexdigest()[:8]


def _decoded(call: Call, decode: Decode[T], answer: Answer) -> T | None:
    if answer.status in _REDIRECTS or answer.status == 304:
        return None
    if answer.status >= 300:
        raise unlike_github(answer, call, "an unknown redirect")
    try:
        return decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unlike_github(answer, call, str(error)) from None


def _outcome(error: RemoteError) -> Outcome:
    if isinstance(error, Limited):
        return "rate_limited"
    return "server_error" if error.status >= 500 else "client_error"

"""What goes wrong between a client and GitHub, as rules that a test can write down.

A `Fault` says which requests it hits and what they get instead of the plain answer. A `Plan` holds the
rules in order and picks, for each request, the first that applies. Chance is a hash of seed, rule and
request, so the same requests meet the same faults however the threads interleave.
"""

from __future__ import annotations

import random
import re
import threading
from typing import Literal

import msgspec

Kind = Literal["refuse", "hang", "drop", "status", "truncate", "slow", "malformed", "html"]

UNICORN = (
    "<!DOCTYPE html>\n<html>\n<head><title>Unicorn! &middot; GitHub</title></head>\n"
    "<body><p><strong>We had issues producing the response to your request.</strong></p></body>\n</html>\n"
)


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule.

    Which requests: `method` (whole match) and `path` (search; path with query) are regular expressions;
    `nth` counts the requests that match both, from 1 (empty: each); `times` ends the rule after that many
    hits; `probability` is drawn per matching request.

    What happens, by `kind`:

    - `refuse`     the connection is cut unanswered and new ones are refused for `delay_s`
    - `hang`       no answer until `release_hangs()` or `delay_s`; then the connection is cut
    - `drop`       the connection is cut unanswered
    - `status`     an answer with `status`, `headers` and `body` (default: GitHub's own words)
    - `truncate`   the real answer, but the connection is cut after `keep_bytes` of its body
    - `slow`       the real answer after `delay_s`
    - `malformed`  the real status, but a body that is not JSON
    - `html`       GitHub's HTML error page with `status`

    `effect`: whether the request is carried out although the client does not learn it. None takes the
    kind's nature: truncate, slow and malformed answer after the effect, the others without it.
    `reset`: a cut is a TCP reset instead of an orderly end.
    """

    kind: Kind
    method: str = ".*"
    path: str = ""
    nth: tuple[int, ...] = ()
    times: int | None = None
    probability: float = 1.0
    effect: bool | None = None
    status: int = 502
    headers: dict[str, str] = {}
    body: str | None = None
    reset: bool = False
    delay_s: float = 30.0
    keep_bytes: int = 20

    @property
    def carries_out(self) -> bool:
        """Whether the request takes effect in spite of the fault."""
        return self.kind in {"truncate", "slow", "malformed"} if self.effect is None else self.effect


def accept_then_drop(method: str = "POST|PATCH|PUT|DELETE", path: str = "", **which: object) -> Fault:
    """Do what was asked and cut the connection without an answer: the classic source of duplicates."""
    return rule("drop", method=method, path=path, effect=True, **which)


def server_error(status: int = 502, *, effect: bool = False, **which: object) -> Fault:
    """A 5xx answer before (default) or after the request took effect."""
    return rule("status", status=status, effect=effect, **which)


def limited(
    status: int = 403, *, retry_after_s: int | None = None, wording: str = "secondary", **which: object
) -> Fault:
    """A secondary limit that this one request runs into; `wording` is `secondary` or `abuse` (older words)."""
    headers = {} if retry_after_s is None else {"retry-after": str(retry_after_s)}
    body = msgspec.json.encode(secondary_words(wording, status)).decode()
    return rule("status", status=status, headers=headers, body=body, **which)


def rule(kind: Kind, **fields: object) -> Fault:
    """A checked `Fault`; sequences and strings are taken as JSON would bring them."""
    return msgspec.convert({"kind": kind, **fields}, Fault)


def secondary_words(wording: str, status: int) -> dict[str, str]:
    """GitHub's body for a secondary limit, in today's words or those of older servers."""
    if wording == "abuse":
        return {
            "message": "You have triggered an abuse detection mechanism and have been temporarily blocked from "
            "content creation. Please retry your request again later.",
            "documentation_url": "https://developer.github.com/v3/#abuse-rate-limits",
        }
    return {
        "documentation_url": "https://docs.github.com/free-pro-team@latest/rest/overview/"
        "rate-limits-for-the-rest-api#about-secondary-rate-limits",
        "message": "You have exceeded a secondary rate limit and have been temporarily blocked from content "
        "creation. Please retry your request again later. If you reach out to GitHub Support for help, please "
        "include the request ID.",
        "status": str(status),
    }


class Plan:
    """The rules in force, in order; the first that applies to a request is its fault. Thread-safe."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._lock = threading.Lock()
        self._rules: list[Fault] = []
        self._matched: list[int] = []
        self._hits: list[int] = []
        self._same: dict[tuple[int, str], int] = {}

    @property
    def rules(self) -> list[Fault]:
        """The rules in force."""
        with self._lock:
            return list(self._rules)

    def add(self, *faults: Fault) -> None:
        """Append rules."""
        with self._lock:
            self._rules += faults
            self._matched += [0] * len(faults)
            self._hits += [0] * len(faults)

    def clear(self) -> None:
        """Forget all rules and counts."""
        with self._lock:
            self._rules, self._matched, self._hits, self._same = [], [], [], {}

    def hits(self) -> list[int]:
        """How often each rule struck, in order."""
        with self._lock:
            return list(self._hits)

    def pick(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if any. Every rule that matches counts it."""
        with self._lock:
            found: int | None = None
            for number, fault in enumerate(self._rules):
                if not (re.fullmatch(fault.method, method) and re.search(fault.path, path)):
                    continue
                self._matched[number] += 1
                if found is None and self._strikes(number, fault, f"{method} {path}"):
                    found = number
            if found is None:
                return None
            self._hits[found] += 1
            return self._rules[found]

    def _strikes(self, number: int, fault: Fault, request: str) -> bool:
        same = self._same[number, request] = self._same.get((number, request), 0) + 1
        if fault.nth and self._matched[number] not in fault.nth:
            return False
        if fault.times is not None and self._hits[number] >= fault.times:
            return False
        if fault.probability >= 1.0:
            return True
        return random.Random(f"{self.seed}/{number}/{request}/{same}").random() < fault.probability

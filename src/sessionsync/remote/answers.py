"""What GitHub answers: the things a client reads, and which error an answer means.

Pure: no connection, no clock.  Headers are judged first and words second, without regard to case: one
status stands for several refusals, and GitHub's words differ between servers and years (GitHub's
documentation, recorded answers, measurements in public threads).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

import msgspec

from sessionsync.errors import (
    IssueFull,
    IssueLocked,
    Limited,
    Missing,
    NotPermitted,
    Refused,
    RemoteError,
    RepositoryMissing,
    ServerFailed,
    TokenRefused,
    Unreachable,
)

SECONDARY_S = 60.0
"""Least wait after a secondary limit that does not say how long it lasts (GitHub docs); doubled each time."""
MOST_WAIT_S = 24 * 3600.0
"""Primary windows are an hour; what says more is a broken clock or header."""
MOST_DOUBLINGS = 6
"""64 minutes, past the hour in which GitHub counts creations."""
WORDS = 200
"""How many characters of GitHub's own words go into a message."""

Scope = Literal["repository", "issue", "comment", "account"]


class NoAnswer(Exception):
    """No whole answer came; `timed_out` tells a slow line from a broken one."""

    def __init__(self, message: str, *, timed_out: bool = False, hint: str = "") -> None:
        super().__init__(message)
        self.timed_out = timed_out
        self.hint = hint


class Bounds(NamedTuple):
    """How long and how large an exchange may be: connecting, one wait for bytes, the whole, the answer."""

    connect_s: float = 5.0
    read_s: float = 15.0
    total_s: float = 30.0
    answer_bytes: int = 32 * 1024 * 1024


BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.  Header names are in lower case, the body is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def number(self, header: str) -> int | None:
        """A header that holds a whole number."""
        text = self.headers.get(header, "").strip()
        return int(text) if text.isdecimal() and len(text) < 16 else None

    def date(self) -> float | None:
        """The server's clock, Unix seconds."""
        return http_date(self.headers.get("date", ""))

    def without(self, secret: str) -> Answer:
        """The same answer with `secret` cut out of its body, wherever it was echoed."""
        return replace(self, body=self.body.replace(secret.encode(), "…".encode()))


@dataclass(frozen=True, slots=True)
class Call:
    """What a request is about: its name in metrics, what it touches in a person's words, what a 404 means."""

    operation: str
    what: str
    scope: Scope
    writes: bool = False

    def __str__(self) -> str:
        return f"{self.operation} ({self.what})"


# --- what is read; only the fields that are needed


class User(msgspec.Struct, frozen=True):
    """An account."""

    login: str


class Label(msgspec.Struct, frozen=True):
    """A label of an issue."""

    name: str = ""


class Permissions(msgspec.Struct, frozen=True):
    """What the token's owner may do in a repository; the token itself may be allowed less."""

    pull: bool = False
    push: bool = False
    admin: bool = False


class Repository(msgspec.Struct, frozen=True):
    """A repository.  `id` stays when it is renamed; `permissions` is missing for some tokens."""

    id: int
    full_name: str
    private: bool
    archived: bool = False
    disabled: bool = False
    has_issues: bool = True
    clone_url: str = ""
    permissions: Permissions | None = None


class Issue(msgspec.Struct, frozen=True):
    """An issue.  `comments` is how many it has; `transferred`: it lives in another repository now."""

    id: int
    number: int
    title: str
    state: str
    comments: int
    repository_url: str
    html_url: str = ""
    locked: bool = False
    created_at: str = ""
    updated_at: str = ""
    user: User | None = None
    labels: list[Label | str] = []
    body: str | None = None
    pull_request: object = None
    author_association: str = "NONE"
    transferred: bool = False

    @property
    def text(self) -> str:
        """The body; GitHub keeps an empty one as null."""
        return self.body or ""

    @property
    def author(self) -> str:
        """The login of who opened it; empty when the account is gone."""
        return self.user.login if self.user else ""

    @property
    def label_names(self) -> list[str]:
        """Its labels' names."""
        return [label if isinstance(label, str) else label.name for label in self.labels]


class Comment(msgspec.Struct, frozen=True):
    """A comment of an issue; times are RFC 3339, whole seconds."""

    id: int
    created_at: str
    updated_at: str
    issue_url: str
    html_url: str = ""
    author_association: str = "NONE"
    user: User | None = None
    body: str | None = None

    @property
    def text(self) -> str:
        """The body."""
        return self.body or ""

    @property
    def author(self) -> str:
        """The login of who wrote it; empty when the account is gone."""
        return self.user.login if self.user else ""


class RateLimit(msgspec.Struct, frozen=True):
    """What one window of a rate limit holds; `reset_at` is Unix seconds by GitHub's clock."""

    limit: int
    remaining: int
    reset_at: int = msgspec.field(name="reset")


class RateLimits(msgspec.Struct, frozen=True):
    """The answer to rate_limit."""

    resources: dict[str, RateLimit]


# --- headers


def http_date(text: str) -> float | None:
    """An HTTP date as Unix seconds, None where it is none."""
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def expiry(text: str) -> float | None:
    """`github-authentication-token-expiration` as Unix seconds: "2026-10-15 05:34:23 UTC", or an offset."""
    try:
        return datetime.fromisoformat(text.strip().replace(" UTC", "+00:00").replace(" ", "T", 1)).timestamp()
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.strptime(text.strip(), "%Y-%m-%d %H:%M:%S %z").timestamp()
    except (ValueError, OverflowError):
        return None


def next_page(link: str) -> str | None:
    """The URL that a Link header calls next."""
    for url, parameters in re.findall(r"<([^<>]*)>([^<>]*)", link):
        if re.search(r"""(?:^|[;\s])rel=["']?next["']?(?:[;,\s]|$)""", parameters, re.IGNORECASE):
            return str(url)
    return None


def rate_limit(answer: Answer) -> tuple[str, RateLimit] | None:
    """The resource an answer was counted against, and what is left of it."""
    limit, remaining, reset = (
        answer.number(f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset")
    )
    if limit is None or remaining is None or reset is None:
        return None
    return answer.headers.get("x-ratelimit-resource", "core"), RateLimit(limit, remaining, reset)


def wanted_wait_s(answer: Answer, now: float) -> float | None:
    """Seconds that `retry-after` asks for, as a number or an HTTP date; None without one."""
    seconds = answer.number("retry-after")
    if seconds is not None:
        return float(seconds)
    at = http_date(answer.headers.get("retry-after", ""))
    if at is None:
        return None
    # the date is by the server's clock, and so is Date
    return at - (now if (server := answer.date()) is None else server)


# --- words


@dataclass(frozen=True, slots=True)
class Problem:
    """GitHub's own words for a refusal, on one line; `ours` tells them from a proxy's page."""

    words: str
    docs: str
    ours: bool


def problem(body: bytes) -> Problem:
    """Read the body of a refusal; it never raises."""
    try:
        read = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        read = None
    if not isinstance(read, dict) or not isinstance(read.get("message"), str):
        return Problem(
            one_line(body[:4096].decode(errors="replace")) if b"<" not in body else "", "", ours=False
        )
    errors = read.get("errors")
    details = [_detail(error) for error in errors[:4]] if isinstance(errors, list) else [_detail(errors)]
    words = ": ".join([read["message"], *(["; ".join(filter(None, details))] if any(details) else [])])
    return Problem(one_line(words), str(read.get("documentation_url") or ""), ours=True)


def _detail(error: object) -> str:
    if isinstance(error, dict):
        return str(error.get("message") or " ".join(str(error[k]) for k in ("field", "code") if error.get(k)))
    return str(error) if isinstance(error, str) else ""


def one_line(text: str, most: int = WORDS) -> str:
    """A foreign text for a message or a log: one line, printable, at most `most` characters."""
    plain = "".join(c for c in " ".join(text[: 20 * most].split()) if c.isprintable())
    return plain if len(plain) <= most else plain[: most - 1] + "…"


_SECONDARY = re.compile(
    "secondary rate limit|abuse detection|submitted too quickly|login attempts exceeded", re.IGNORECASE
)
_SECONDARY_DOCS = re.compile("(?:secondary-rate-limits|#abuse-rate-limits)$", re.IGNORECASE)
_PRIMARY = re.compile("rate limit exceeded", re.IGNORECASE)
_NO_AGENT = re.compile(rb"user-agent|administrative rules", re.IGNORECASE)

SELF_HEALING = "Nothing to do: it is tried again by itself, and nothing is lost meanwhile."
ONCE_MENDED = "`sessiond ctl retry` sends it again once the reason is gone."
FOREIGN = "This is not GitHub's API: look for a proxy or a login page on the way, and check github.api_url."
OUTDATED = "This GitHub no longer speaks the API version of this sessiond: update it."


class _Rule(NamedTuple):
    """A refusal: its statuses, what its words hold (a regular expression), what it means and what to do."""

    statuses: tuple[int, ...]
    words: str
    error: type[RemoteError]
    hint: str


_RULES = [
    _Rule(
        (401,), "", TokenRefused, "Give sessiond a valid token; `sessiond doctor` says where it comes from."
    ),
    _Rule((400, 404, 410), r"not a supported version|api[- ]version", NotPermitted, OUTDATED),
    _Rule(
        (403,),
        "commenting is disabled on issues with more",
        IssueFull,
        "Nothing to do: the next issue is used.",
    ),
    _Rule(
        (403,),
        "(?:issue|conversation) is locked",
        IssueLocked,
        "Unlock the issue, or give the token's account write access.",
    ),
    _Rule(
        (403,),
        "archived so is read-only|repository (?:was|is|has been) archived",
        NotPermitted,
        "Unarchive the repository, or choose another github.repo.",
    ),
    _Rule((403,), "", NotPermitted, "Give the token the rights Issues: read and write, Metadata: read."),
    _Rule(
        (404, 410),
        "issues (?:are|is|has been|have been) disabled",
        RepositoryMissing,
        "Turn on Issues in the repository's settings.",
    ),
    _Rule((407,), "", Unreachable, "A proxy wants a login: put it into HTTPS_PROXY."),
    _Rule((408,), "", Unreachable, SELF_HEALING),
    _Rule((409,), "repository is empty", Refused, "Give the repository a first commit."),
    _Rule(
        (409,),
        "secret",
        Refused,
        "Push protection found a secret: add it to privacy.patterns. " + ONCE_MENDED,
    ),
    _Rule(
        (422,), "too (?:long|large)", Refused, "Lower tiers.comment_bytes; GitHub takes 65,536 characters."
    ),
    _Rule((451,), "", NotPermitted, "GitHub has blocked this repository; choose another github.repo."),
]
_GONE = {
    "repository": (
        RepositoryMissing,
        "Check github.repo, and that the token may see it: a private repository is a 404 to others.",
    ),
    "issue": (Missing, "Nothing to do: it is looked up anew."),
    "comment": (Missing, "Nothing to do: it is looked up anew."),
    "account": (Unreachable, FOREIGN),
}


# --- which error an answer means


def failure(answer: Answer, call: Call, *, now: float, strikes: int = 1) -> RemoteError | None:
    """The error that an answer stands for, None for anything below 400.

    `now` is this machine's clock.  `strikes` counts (from 1) how often in a row a secondary limit would
    have struck after the one before was waited for: without `retry-after` each doubles the wait.
    """
    if answer.status < 400:
        return None
    told = problem(answer.body)
    quoted = f": {told.words}" if told.words else ""
    message = f"{call}: GitHub answered {answer.status}{quoted}"
    if limit := _limit(answer, told, now, strikes):
        kind, retry_at = limit
        hint = "Nothing to do: sessiond waits as long as GitHub asks for."
        return Limited(message, retry_at=retry_at, kind=kind, hint=hint, status=answer.status)
    if answer.status >= 500:
        wait_s = wanted_wait_s(answer, now)
        retry_at_or_none = None if wait_s is None else now + min(max(wait_s, 1.0), MOST_WAIT_S)
        return ServerFailed(message, hint=SELF_HEALING, status=answer.status, retry_at=retry_at_or_none)
    kind_of_error, hint = _refusal(answer, told, call)
    return kind_of_error(message, hint=hint, status=answer.status)


def _limit(answer: Answer, told: Problem, now: float, strikes: int) -> tuple[str, float] | None:
    """Kind and end of the rate limit that an answer speaks of; the rule is GitHub's (docs, rate limits)."""
    if answer.status not in {403, 422, 429}:
        return None
    wait_s = wanted_wait_s(answer, now)
    exhausted = answer.number("x-ratelimit-remaining") == 0
    secondary = bool(_SECONDARY.search(told.words) or _SECONDARY_DOCS.search(told.docs))
    primary = bool(_PRIMARY.search(told.words))
    by_headers = answer.status == 429 or (answer.status == 403 and (wait_s is not None or exhausted))
    if not (by_headers or secondary or (primary and answer.status != 422)):
        return None
    kind = "primary" if (exhausted or primary) and not secondary else "secondary"
    reset = answer.number("x-ratelimit-reset")
    if wait_s is None and exhausted and reset is not None:
        server = answer.date()
        wait_s = reset + 1 - (now if server is None else server)
    if wait_s is None:
        wait_s = SECONDARY_S * 2 ** min(strikes - 1, MOST_DOUBLINGS)
    return kind, now + min(max(wait_s, 1.0), MOST_WAIT_S)


def _refusal(answer: Answer, told: Problem, call: Call) -> tuple[type[RemoteError], str]:
    """Class and hint of a 4xx that is no rate limit."""
    if not told.ours and answer.status == 403 and _NO_AGENT.search(answer.body):
        return NotPermitted, "GitHub saw no User-Agent: a proxy on the way removes it."
    if not told.ours and answer.status in {403, 404, 410}:
        return Unreachable, FOREIGN
    for rule in _RULES:
        if answer.status in rule.statuses and re.search(rule.words, told.words, re.IGNORECASE):
            needed = one_line(answer.headers.get("x-accepted-github-permissions", ""))
            return rule.error, f"{rule.hint} GitHub asks for: {needed}." if needed else rule.hint
    return _GONE[call.scope] if answer.status in {404, 410} else (Refused, ONCE_MENDED)


def unlike_github(answer: Answer, call: Call, why: str) -> Unreachable:
    """The error for an answer that says all went well but is not what GitHub says."""
    sort = one_line(answer.headers.get("content-type", "of no type"), 60)
    what = f"an answer {answer.status}, {sort}, {len(answer.body)} bytes"
    return Unreachable(
        f"{call}: {what}, that is not GitHub's: {one_line(why)}", hint=FOREIGN, status=answer.status
    )

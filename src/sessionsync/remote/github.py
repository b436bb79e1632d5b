"""GitHub's REST API: the few operations sessiond needs, and nobody else knows its URLs.

Every method asks once and returns what GitHub answered, or raises a `RemoteError`; whether and when to ask
again is the caller's decision.  After `Unreachable` and `ServerFailed` a write may have happened all the
same: GitHub has no idempotency key, so look (`complete_comments`) before writing again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NoReturn, TypeVar
from urllib.parse import SplitResult, quote, urlencode, urljoin, urlsplit

import msgspec

from sessionsync.errors import Lagging, Missing, NotPermitted, Refused, RepositoryMissing, Unreachable
from sessionsync.events import Emit
from sessionsync.privacy.gate import ClearedText
from sessionsync.remote.answers import (
    BOUNDS,
    ONCE_MENDED,
    SELF_HEALING,
    Bounds,
    Call,
    Comment,
    Issue,
    RateLimit,
    RateLimits,
    Repository,
    User,
    next_page,
    one_line,
    unlike_github,
)
from sessionsync.remote.api import Api, Decode, Reply

__all__ = ["Bounds", "Comment", "Comments", "GitHub", "Issue", "RateLimit", "Repository"]

PAGE = 100
"""Entries a page; GitHub's most."""
MOST_PAGES = 400
"""40,000 entries; an issue holds 2,500 comments."""
MOST_HOPS = 5
MOST_ISSUE_BYTES = 65_536
"""A longer text of an issue has been answered 200 and dropped (reported in a public thread)."""

T = TypeVar("T")

_repository = msgspec.json.Decoder(Repository).decode
_issue = msgspec.json.Decoder(Issue).decode
_issues = msgspec.json.Decoder(list[Issue]).decode
_comment = msgspec.json.Decoder(Comment).decode
_comments = msgspec.json.Decoder(list[Comment]).decode
_user = msgspec.json.Decoder(User).decode
_limits = msgspec.json.Decoder(RateLimits).decode


def _nothing(_: bytes) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Comments:
    """A listing.  `items` is None where nothing changed since `etag`.

    `etag` is None where it would not speak for the whole listing, which fills its first page then.
    `date` is GitHub's clock when the first page was read: where the next `since` starts.
    """

    items: list[Comment] | None
    etag: str | None
    date: float | None


class GitHub:
    """One repository at one API.  Belongs to one thread at a time; `close` may come from any.

    `token()` is asked before each request; `wall` and `monotonic` are the clocks.  Each request emits
    `github_requested` (operation, outcome, status, seconds), a new name `repository_moved` (was, repo).
    """

    def __init__(
        self,
        *,
        repo: str,
        api_url: str,
        token: Callable[[], str],
        user_agent: str,
        wall: Callable[[], float],
        monotonic: Callable[[], float],
        emit: Emit,
        bounds: Bounds = BOUNDS,
    ) -> None:
        self.repo = repo
        """owner/name as GitHub last told it."""
        self._id: int | None = None
        self._api = Api(
            api_url,
            token=token,
            user_agent=user_agent,
            wall=wall,
            monotonic=monotonic,
            emit=emit,
            bounds=bounds,
        )
        self._emit = emit

    def close(self) -> None:
        """End a running request at once (it raises `Unreachable`) and refuse later ones; for any thread."""
        self._api.close()

    @property
    def limits(self) -> dict[str, RateLimit]:
        """What is left of each resource, by the last answers; empty before the first."""
        return self._api.limits

    @property
    def skew_s(self) -> float | None:
        """How far GitHub's clock is ahead of this machine's, to a second; None before the first answer."""
        return self._api.skew_s

    def forget_skew(self) -> None:
        """The clock was set: how far it is from GitHub's is known with the next answer."""
        self._api.skew_s = None

    @property
    def token_expires_at(self) -> float | None:
        """When the token ends, Unix seconds; None where it does not say."""
        return self._api.token_expires_at

    @property
    def token_scopes(self) -> frozenset[str] | None:
        """What a classic token may do; None where it does not say, as fine-grained ones never do."""
        return self._api.token_scopes

    # --- the repository and the account

    def repository(self) -> Repository:
        """The repository as it is now, wherever it moved; RepositoryMissing."""
        call = Call("get_repository", self.repo, "repository")
        found = self._read(call, _repository, self._url(""))
        self._id = found.id
        if found.full_name.lower() != self.repo.lower():
            self._emit("repository_moved", was=self.repo, repo=found.full_name)
            self.repo = found.full_name
        return found

    def login(self) -> str | None:
        """The token's account.  None for a token of GitHub Actions, whose first comment shows who it is."""
        try:
            return self._read(
                Call("get_user", "the token's account", "account"), _user, f"{self._api.base}/user"
            ).login
        except NotPermitted as refusal:
            if "integration" in str(refusal):
                return None
            raise

    def rate_limit(self) -> dict[str, RateLimit]:
        """What is left of each resource, which costs nothing to ask; empty where the server has no limits."""
        call = Call("get_rate_limit", "the token's limits", "account")
        try:
            told = self._read(call, _limits, f"{self._api.base}/rate_limit")
        except Unreachable as error:
            if error.status == 404 and "not enabled" in str(error):  # GitHub Enterprise Server's words
                return {}
            raise
        return told.resources

    # --- issues

    def check_issues(self) -> None:
        """See that issues may be written, and write none: a title of nothing is refused only to who may.

        No other request tells: `permissions` are those of the token's owner, not of the token.

        Raises:
            NotPermitted: the token may not, or the repository is archived.
            RepositoryMissing: its issues are turned off.
        """
        call = Call("create_issue", f"issues of {self.repo}", "repository", writes=True)
        with suppress(Refused):
            self._write(call, _issue, "POST", self._url("/issues"), {"title": ""})

    def find_issues(self, label: str = "sessiond") -> list[Issue]:
        """Every issue with this label, open or closed, oldest first; pull requests are none."""
        query = urlencode(
            {"labels": label, "state": "all", "sort": "created", "direction": "asc", "per_page": PAGE}
        )
        call = Call("list_issues", f"issues of {self.repo}", "repository")
        found: dict[int, Issue] = {}
        for page in self._pages(call, _issues, self._url(f"/issues?{query}")):
            found |= {issue.id: issue for issue in page.value or [] if issue.pull_request is None}
        return list(found.values())

    def issue(self, number: int) -> Issue:
        """One issue; Missing.  `transferred` where it was moved to another repository."""
        call = Call("get_issue", self._name(number), "issue")
        reply = self._ask(call, _issue, self._url(f"/issues/{number}"))
        found = self._value(reply, call)
        if self._is_ours(urlsplit(reply.url)):
            return found
        return msgspec.structs.replace(found, transferred=True)

    def create_issue(self, title: ClearedText, body: ClearedText, labels: Sequence[str] = ()) -> Issue:
        """Open an issue; labels that are missing are made."""
        call = Call("create_issue", f"issues of {self.repo}", "repository", writes=True)
        fields = {"title": title, "body": body, "labels": list(labels)}
        return self._write(call, _issue, "POST", self._url("/issues"), fields)

    def update_issue(
        self,
        number: int,
        *,
        title: ClearedText | None = None,
        body: ClearedText | None = None,
        state: Literal["open", "closed"] | None = None,
    ) -> Issue:
        """Change what is given of an issue; Missing."""
        call = Call("update_issue", self._name(number), "issue", writes=True)
        fields = {"title": title, "body": body, "state": state}
        given = {name: value for name, value in fields.items() if value is not None}
        changed = self._write(call, _issue, "PATCH", self._url(f"/issues/{number}"), given)
        if body is not None and changed.text != body and len(body.encode()) > MOST_ISSUE_BYTES:
            raise Refused(
                f"{call}: GitHub kept the old text, the new one has {len(body.encode())} bytes",
                hint=f"An issue's text may have {MOST_ISSUE_BYTES} bytes.",
                status=200,
            )
        return changed

    # --- comments

    def comments(self, number: int, *, since: str | None = None, etag: str | None = None) -> Comments:
        """An issue's comments, oldest first, all or those changed at or after `since` (RFC 3339); Missing.

        The newest may be missing, see `complete_comments`, and deleted ones do not show.
        """
        call = Call("list_comments", self._name(number), "issue")
        pages = list(self._pages(call, _comments, self._comments_url(number, since), etag))
        first = pages[0]
        if first.value is None:
            return Comments(None, first.etag or etag, first.answer.date())
        # the tag of a full page need not change when the next page begins
        tag = first.etag if len(first.value) < PAGE else None
        return Comments(_each_once(pages), tag, first.answer.date())

    def changed_comments(self, since: str, *, etag: str | None = None) -> Comments:
        """Every comment of the repository that changed at or after `since` (RFC 3339), the latest last.

        Those of all issues and pull requests; deleted ones do not show.
        """
        query = {"since": since, "sort": "updated", "direction": "asc", "per_page": str(PAGE)}
        call = Call("list_comments", f"comments of {self.repo}", "repository")
        pages = list(self._pages(call, _comments, self._url(f"/issues/comments?{urlencode(query)}"), etag))
        first = pages[0]
        if first.value is None:
            return Comments(None, first.etag or etag, first.answer.date())
        tag = first.etag if len(first.value) < PAGE else None
        return Comments(_each_once(pages), tag, first.answer.date())

    def newest_comments(self, *, most_pages: int) -> Iterator[list[Comment]]:
        """The repository's comments, of all issues, a page at a time, those changed last first."""
        query = {"sort": "updated", "direction": "desc", "per_page": str(PAGE)}
        call = Call("list_comments", f"comments of {self.repo}", "repository")
        pages = self._pages(call, _comments, self._url(f"/issues/comments?{urlencode(query)}"))
        yield from (page.value or [] for page in islice(pages, most_pages))

    def complete_comments(self, number: int) -> list[Comment]:
        """All comments of an issue, proven complete: what a decision to write or not may rest on; Missing.

        Raises:
            Lagging: the list misses comments that the issue counts, or changed while it was read.
        """
        call = Call("list_comments", self._name(number), "issue")
        pages = list(self._pages(call, _comments, self._comments_url(number)))
        for page in pages[:-1]:  # a deletion moves later comments over a page's edge, out of sight
            again = self._ask(call, _comments, page.url, etag=page.etag)
            if again.value is not None and [c.id for c in again.value] != [c.id for c in page.value or []]:
                raise Lagging(f"{call}: the list changed while it was read", hint=SELF_HEALING)
        found = _each_once(pages)
        issue = self.issue(number)
        if issue.comments > len(found):
            raise Lagging(
                f"{call}: the list shows {len(found)} of {issue.comments} comments", hint=SELF_HEALING
            )
        return found

    def comment(self, comment_id: int, *, etag: str | None = None) -> tuple[Comment | None, str | None]:
        """One comment (None: unchanged since `etag`) and its new ETag; Missing."""
        call = Call("get_comment", f"comment {comment_id} of {self.repo}", "comment")
        reply = self._ask(call, _comment, self._url(f"/issues/comments/{comment_id}"), etag=etag)
        return reply.value, reply.etag or etag

    def create_comment(self, number: int, body: ClearedText) -> Comment:
        """Write a new comment, which notifies; Missing, IssueFull, IssueLocked."""
        call = Call("create_comment", self._name(number), "issue", writes=True)
        return self._write(call, _comment, "POST", self._url(f"/issues/{number}/comments"), {"body": body})

    def update_comment(self, comment_id: int, body: ClearedText) -> Comment:
        """Replace a comment's text, which does not notify; Missing."""
        call = Call("update_comment", f"comment {comment_id} of {self.repo}", "comment", writes=True)
        return self._write(
            call, _comment, "PATCH", self._url(f"/issues/comments/{comment_id}"), {"body": body}
        )

    def delete_comment(self, comment_id: int) -> None:
        """Delete a comment; Missing where it is gone already."""
        call = Call("delete_comment", f"comment {comment_id} of {self.repo}", "comment", writes=True)
        self._ask(call, _nothing, self._url(f"/issues/comments/{comment_id}"), method="DELETE")

    # --- URLs

    def _url(self, path: str) -> str:
        return f"{self._api.base}/repos/{quote(self.repo)}{path}"

    def _comments_url(self, number: int, since: str | None = None) -> str:
        query = {"per_page": str(PAGE)} | ({"since": since} if since else {})
        return self._url(f"/issues/{number}/comments?{urlencode(query)}")

    def _name(self, number: int) -> str:
        return f"issue {number} of {self.repo}"

    def _trusted(self, call: Call, asked: str, named: str) -> SplitResult:
        """The URL that an answer to `asked` named, at our own origin; the token goes nowhere else."""
        ours = urlsplit(self._api.base)
        try:
            there = urlsplit(urljoin(asked, named))
            if _origin(there) == _origin(ours) and "@" not in there.netloc:
                return there
        except ValueError:
            pass
        raise Unreachable(
            f"{call}: the answer leads away from {ours.netloc}, to {one_line(named, 100)}",
            hint="The token is not sent there. Check github.api_url and github.repo.",
        )

    def _is_ours(self, url: SplitResult) -> bool:
        """Whether a URL is inside our repository, by its id or its present name."""
        path = url.path.removeprefix(urlsplit(self._api.base).path)
        by_id = re.match(r"/repositories/(\d+)(?:/|$)", path)
        by_name = re.match(r"/repos/([^/]+/[^/]+)(?:/|$)", path)
        if by_id:
            return int(by_id[1]) == self._id
        return by_name is not None and by_name[1].lower() == quote(self.repo).lower()

    # --- exchanges

    def _read(self, call: Call, decode: Decode[T], url: str) -> T:
        return self._value(self._ask(call, decode, url), call)

    def _write(self, call: Call, decode: Decode[T], method: str, url: str, body: object) -> T:
        try:
            content = msgspec.json.encode(body)
        except UnicodeEncodeError:
            # `from None`: the exception holds the whole text
            raise Refused(
                f"{call}: the text holds half a surrogate pair, which is no text", hint=ONCE_MENDED
            ) from None
        return self._value(self._ask(call, decode, url, method=method, content=content), call)

    def _value(self, reply: Reply[T], call: Call) -> T:
        if reply.value is None:
            raise unlike_github(reply.answer, call, "nothing had been read before, yet it says unchanged")
        return reply.value

    def _pages(
        self, call: Call, decode: Decode[list[T]], url: str, etag: str | None = None
    ) -> Iterator[Reply[list[T]]]:
        """Every page of a list, by the URLs that its answers name."""
        seen = {url}
        while True:
            reply = self._ask(call, decode, url, etag=etag)
            yield reply
            link = next_page(reply.answer.headers.get("link", ""))
            if link is None or reply.value is None:
                return
            url, etag = self._trusted(call, reply.url, link).geturl(), None
            if url in seen or len(seen) >= MOST_PAGES:
                raise Unreachable(f"{call}: the pages do not end after {len(seen)}", hint=SELF_HEALING)
            seen.add(url)

    def _ask(
        self,
        call: Call,
        decode: Decode[T],
        url: str,
        *,
        method: str = "GET",
        content: bytes | None = None,
        etag: str | None = None,
    ) -> Reply[T]:
        """One request, redirects followed by hand: the method stays and the token stays at home."""
        for _ in range(MOST_HOPS):
            reply = self._api.ask(call, decode, url, method=method, content=content, etag=etag)
            if not reply.redirects:
                return reply
            url = self._redirected(call, reply)
        raise Unreachable(f"{call}: the redirects do not end", hint=SELF_HEALING)

    def _redirected(self, call: Call, reply: Reply[T]) -> str:
        """Where an answer sends us: to our repository under its new name, or to an issue elsewhere."""
        location = reply.answer.headers.get("location")
        if not location:
            raise unlike_github(reply.answer, call, "a redirect to nowhere")
        there = self._trusted(call, reply.url, location)
        if call.operation == "get_repository":
            return there.geturl()
        self.repository()  # learns id and new name, so later requests go there directly
        if not self._is_ours(there):
            if call.operation == "get_issue":
                return there.geturl()
            self._elsewhere(call, reply.answer.status)
        if call.writes and reply.answer.status not in {307, 308}:
            # 301 and 302 let a client turn POST into GET; GitHub sends 307 for writes
            raise unlike_github(reply.answer, call, "a redirect that may not be followed with a write")
        return there.geturl()

    def _elsewhere(self, call: Call, status: int) -> NoReturn:
        if call.scope == "repository":
            raise RepositoryMissing(
                f"{call}: GitHub leads to another repository", hint="Check github.repo.", status=status
            )
        hint = "Nothing to do: another issue is used."
        raise Missing(f"{call}: it was transferred to another repository", hint=hint, status=status)


def _each_once(pages: Sequence[Reply[list[Comment]]]) -> list[Comment]:
    """The comments of all pages, oldest first; one that shows up twice as it was last read."""
    return list({comment.id: comment for page in pages for comment in page.value or []}.values())


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"https": 443, "http": 80}.get(url.scheme)

"""What a stand-in GitHub knows: repositories, issues, comments, accounts, tokens, its clock; and what people do.

`World` is the one object that holds it. Everything a person does in the browser is a method of it; what a
REST client does is in `tests.fakes.api`. With a path the world lives in one SQLite file, written before any
answer leaves, so a killed process comes back with all it acknowledged. Rate windows and fault rules start anew.
"""

from __future__ import annotations

import functools
import itertools
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

import msgspec

P = ParamSpec("P")
T = TypeVar("T")
W = TypeVar("W", bound="World")
S = TypeVar("S", bound="Account | Token | Repo | Issue | Comment")

Role = Literal["read", "write", "admin"]
ACTIONS_BOT = "github-actions[bot]"
FULL = {"issues": "write", "contents": "write", "metadata": "read"}
"""What a fine-grained token for sessiond should hold (GitHub docs)."""


class Account(msgspec.Struct, kw_only=True):
    """Somebody: `type` is User, Bot or Organization."""

    id: int
    login: str
    type: str = "User"


class Token(msgspec.Struct, kw_only=True):
    """A credential. `kind`: `fine` or `classic` personal token, `actions` (GITHUB_TOKEN) or `app`."""

    value: str
    login: str
    kind: Literal["fine", "classic", "actions", "app"] = "fine"
    permissions: dict[str, str] = msgspec.field(default_factory=lambda: dict(FULL))
    repositories: list[str] | None = None
    expires_at: float | None = None
    revoked: bool = False


class Label(msgspec.Struct, kw_only=True):
    """A label of one repository."""

    id: int
    name: str
    color: str = "ededed"
    description: str | None = None


class Repo(msgspec.Struct, kw_only=True):
    """A repository. `roles` None: everybody who has a token may write. `files` maps paths to base64."""

    id: int
    full_name: str
    private: bool
    owner_type: str = "User"
    roles: dict[str, Role] | None = None
    associations: dict[str, str] = {}
    former_names: list[str] = []
    archived: bool = False
    has_issues: bool = True
    empty: bool = False
    clone_url: str | None = None
    labels: dict[str, Label] = {}
    files: dict[str, str] = {}
    next_number: int = 1
    created_at: float
    updated_at: float
    pushed_at: float


class Issue(msgspec.Struct, kw_only=True):
    """An issue, or the conversation of a pull request. `moved_to`: (repository id, number) after a transfer."""

    id: int
    repo_id: int
    number: int
    title: str
    body: str | None
    login: str | None
    association: str | None = None
    state: str = "open"
    state_reason: str | None = None
    labels: list[str] = []
    locked: bool = False
    pull_request: bool = False
    deleted: bool = False
    moved_to: tuple[int, int] | None = None
    lag: int = 0
    created_at: float
    updated_at: float
    closed_at: float | None = None


class Comment(msgspec.Struct, kw_only=True):
    """A comment. `login` None: its author's account is gone. `lag`: list reads that still miss it, -1 all."""

    id: int
    issue_id: int
    login: str | None
    body: str
    association: str | None = None
    lag: int = 0
    created_at: float
    updated_at: float


class Revision(msgspec.Struct, kw_only=True):
    """A text that was readable at some time; edits and deletions do not take it back."""

    at: float
    what: str
    login: str | None
    body: str | None


class Behaviour(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Numbers and moods of the server. Defaults are GitHub's own (docs or measured), except `lag_reads`.

    `lag_reads`: how many list reads miss a new comment or issue (-1: until `release_lag`).
    `limit_status`, `retry_after`, `wording`, `block_s`: how limits answer and how long a secondary one lasts.
    `edits_count`: whether PATCH counts as content creation too. `split_windows`: reads and writes have their
    own core windows, as recorded in 2026. `opaque_pages`: Link carries a cursor, not a page number.
    `body_characters`: enforce the error text's 65,536 characters as well, as older servers may.
    """

    core_per_hour: int = 5000
    actions_per_hour: int = 1000
    anonymous_per_hour: int = 60
    content_per_minute: int = 80
    content_per_hour: int = 500
    points_per_minute: int = 900
    edits_count: bool = False
    split_windows: bool = True
    limit_status: int = 403
    retry_after: bool = True
    wording: str = "secondary"
    block_s: int = 60
    comments_per_issue: int = 2500
    body_bytes: int = 262_144
    body_characters: int | None = None
    title_characters: int = 256
    bad_logins: int = 10
    bad_login_pause_s: float = 300.0
    lag_reads: int = 0
    opaque_pages: bool = False
    long_issue_edit_ignored: bool = False


class Clock(msgspec.Struct, kw_only=True):
    """Real time plus `offset_s`, or `frozen_at` plus it."""

    offset_s: float = 0.0
    frozen_at: float | None = None

    def now(self) -> float:
        return (time.time() if self.frozen_at is None else self.frozen_at) + self.offset_s


class Request(msgspec.Struct, kw_only=True):
    """One request as the server saw it. `status` None: no answer left. `effect`: what it changed, if anything.

    `monotonic_s` is the arrival on the machine's monotonic clock, `at` on the world's. The token's value is
    never kept; `account` says whose it was. `body` is kept for writes, in memory only.
    """

    n: int
    at: float
    monotonic_s: float
    method: str
    path: str
    headers: dict[str, str]
    account: str | None = None
    status: int | None = None
    effect: str = ""
    fault: str = ""
    size_bytes: int = 0
    body: str = ""

    @property
    def is_write(self) -> bool:
        return self.method not in {"GET", "HEAD"}


class Store:
    """One SQLite file of documents, or nothing at all when there is no path."""

    def __init__(self, path: Path | None) -> None:
        self._db: sqlite3.Connection | None = None
        if path is None:
            return
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # What matters here is a kill of this process, not of the machine.
        self._db.executescript(
            "PRAGMA synchronous=OFF;"
            "CREATE TABLE IF NOT EXISTS docs(kind TEXT, key TEXT, json BLOB, PRIMARY KEY(kind, key)) WITHOUT ROWID;"
            "CREATE TABLE IF NOT EXISTS rows(n INTEGER PRIMARY KEY, kind TEXT, json BLOB);"
        )

    def put(self, kind: str, key: object, value: object) -> None:
        self._run("REPLACE INTO docs VALUES(?,?,?)", kind, str(key), msgspec.json.encode(value))

    def drop(self, kind: str, key: object) -> None:
        self._run("DELETE FROM docs WHERE kind=? AND key=?", kind, str(key))

    def append(self, kind: str, value: object) -> None:
        self._run("INSERT INTO rows(kind, json) VALUES(?,?)", kind, msgspec.json.encode(value))

    def commit(self) -> None:
        if self._db is not None and self._db.in_transaction:
            self._db.execute("COMMIT")

    def docs(self, kind: str, type_: type[T]) -> list[T]:
        return self._all("SELECT json FROM docs WHERE kind=?", kind, type_)

    def rows(self, kind: str, type_: type[T]) -> list[T]:
        return self._all("SELECT json FROM rows WHERE kind=? ORDER BY n", kind, type_)

    def close(self) -> None:
        self.commit()
        if self._db is not None:
            self._db.close()
            self._db = None

    def _run(self, sql: str, *values: object) -> None:
        if self._db is None:
            return
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(sql, values)

    def _all(self, sql: str, kind: str, type_: type[T]) -> list[T]:
        if self._db is None:
            return []
        return [msgspec.json.decode(row[0], type=type_) for row in self._db.execute(sql, (kind,))]


def act(method: Callable[Concatenate[W, P], T]) -> Callable[Concatenate[W, P], T]:
    """A change as a whole: under the world's lock, stored before it returns."""

    @functools.wraps(method)
    def whole(self: W, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.lock:
            done = method(self, *args, **kwargs)
            self.store.commit()
            return done

    return whole


def in_browser(body: str) -> str:
    """A text as GitHub stores it after an edit in the browser: CRLF everywhere."""
    return re.sub(r"\r\n|\r|\n", "\r\n", body)


class World:
    """All state behind one lock. Repositories are named "owner/name", issues by number, comments by id."""

    def __init__(self, path: Path | None = None, *, frozen_at: float | None = None) -> None:
        self.lock = threading.RLock()
        self.store = Store(path)
        self.accounts = {item.login: item for item in self.store.docs("account", Account)}
        self.tokens = {item.value: item for item in self.store.docs("token", Token)}
        self.repos = {item.id: item for item in self.store.docs("repo", Repo)}
        # Ascending ids: the order of every list.
        self.issues = {i.id: i for i in sorted(self.store.docs("issue", Issue), key=lambda i: i.id)}
        self.posts = {c.id: c for c in sorted(self.store.docs("comment", Comment), key=lambda c: c.id)}
        self.revisions = self.store.rows("revision", Revision)
        self.log = self.store.rows("request", Request)
        self.behaviour = next(iter(self.store.docs("behaviour", Behaviour)), Behaviour())
        self.clock = next(iter(self.store.docs("clock", Clock)), Clock(frozen_at=frozen_at))
        # Real ids need more than 32 bits.
        self._last_id = max([3_100_000_000, *self.repos, *self.issues, *self.posts])
        if ACTIONS_BOT not in self.accounts:
            self._save(Account(id=41_898_282, login=ACTIONS_BOT, type="Bot"))
            self.store.commit()

    # The clock

    def now(self) -> float:
        """Unix seconds by the world's clock."""
        return self.clock.now()

    @act
    def advance(self, seconds: float) -> float:
        """Let time pass; returns the new time."""
        self.clock.offset_s += seconds
        self.store.put("clock", 0, self.clock)
        return self.now()

    @act
    def freeze(self, at: float | None = None) -> float:
        """Stop the clock at a time (default: now); only `advance` moves it after that."""
        self.clock = Clock(frozen_at=self.now() if at is None else at)
        self.store.put("clock", 0, self.clock)
        return self.now()

    # Who there is

    @act
    def user(self, login: str, type: str = "User") -> Account:  # noqa: A002
        """An account, made when needed."""
        return self.accounts.get(login) or self._save(
            Account(id=600_000 + len(self.accounts), login=login, type=type)
        )

    @act
    def token(
        self,
        value: str,
        *,
        login: str = "me",
        kind: Literal["fine", "classic", "actions", "app"] = "fine",
        permissions: Mapping[str, str] | None = None,
        repositories: Iterable[str] | None = None,
        expires_at: float | None = None,
    ) -> str:
        """Issue a token and return its value. `permissions` default to `FULL`; an `actions` token is the bot's."""
        login = ACTIONS_BOT if kind == "actions" else login
        self.user(login, "Bot" if kind in {"actions", "app"} else "User")
        self._save(
            Token(
                value=value,
                login=login,
                kind=kind,
                permissions=dict(FULL if permissions is None else permissions),
                repositories=None if repositories is None else list(repositories),
                expires_at=expires_at,
            )
        )
        return value

    @act
    def revoke_token(self, value: str) -> None:
        """The token is bad credentials from now on."""
        self.tokens[value].revoked = True
        self._save(self.tokens[value])

    @act
    def expire_token(self, value: str, at: float | None = None) -> None:
        """The token ends at `at` (default: now)."""
        self.tokens[value].expires_at = self.now() if at is None else at
        self._save(self.tokens[value])

    @act
    def permit(self, value: str, permissions: Mapping[str, str]) -> None:
        """Replace what a token may do, e.g. {"issues": "read", "metadata": "read"}."""
        self.tokens[value].permissions = dict(permissions)
        self._save(self.tokens[value])

    # Repositories

    @act
    def add_repo(
        self,
        full_name: str,
        *,
        private: bool = True,
        roles: Mapping[str, Role] | None = None,
        associations: Mapping[str, str] | None = None,
        owner_type: str = "User",
        empty: bool = False,
        clone_url: str | None = None,
    ) -> Repo:
        """Make a repository. `roles` maps logins to read, write or admin; None: everybody with a token may write.

        `associations` overrides what author_association says of a login. `clone_url` overrides the one shown.
        """
        self.user(full_name.split("/", maxsplit=1)[0], owner_type)
        now = self.now()
        return self._save(
            Repo(
                id=self._new_id(),
                full_name=full_name,
                private=private,
                roles=None if roles is None else dict(roles),
                associations=dict(associations or {}),
                owner_type=owner_type,
                empty=empty,
                clone_url=clone_url,
                created_at=now,
                updated_at=now,
                pushed_at=now,
            )
        )

    def repo(self, full_name: str) -> Repo:
        """The repository of that name today."""
        for repo in self.repos.values():
            if repo.full_name.lower() == full_name.lower():
                return repo
        raise KeyError(full_name)

    @act
    def rename_repo(self, full_name: str, new_name: str) -> None:
        """Rename or hand over; the old name redirects."""
        repo = self.repo(full_name)
        self.user(new_name.split("/", maxsplit=1)[0], repo.owner_type)
        repo.former_names = [*repo.former_names, repo.full_name]
        repo.full_name = new_name
        self._save(repo)

    @act
    def delete_repo(self, full_name: str) -> None:
        """Gone with all its issues."""
        repo = self.repos.pop(self.repo(full_name).id)
        self.store.drop("repo", repo.id)
        for issue in [issue for issue in self.issues.values() if issue.repo_id == repo.id]:
            self._drop_issue(issue)

    @act
    def archive_repo(self, full_name: str, *, archived: bool = True) -> None:
        """Read-only from now on."""
        self._change_repo(full_name, archived=archived)

    @act
    def empty_repo(self, full_name: str) -> None:
        """No branch, no file."""
        self._change_repo(full_name, empty=True, files={})

    @act
    def enable_issues(self, full_name: str, *, on: bool) -> None:
        """Turn the issues of a repository on or off; off hides them, nothing is lost."""
        self._change_repo(full_name, has_issues=on)

    @act
    def make_public(self, full_name: str, *, public: bool = True) -> None:
        """Change who may read."""
        self._change_repo(full_name, private=not public)

    @act
    def set_role(self, full_name: str, login: str, role: Role | None) -> None:
        """Give or take (None) a collaborator's role; from then on roles are explicit in this repository."""
        repo = self.repo(full_name)
        roles = dict(repo.roles or {})
        roles.pop(login, None)
        self._change_repo(full_name, roles=roles if role is None else {**roles, login: role})

    # Issues

    @act
    def add_issue(
        self,
        full_name: str,
        title: str = "An issue",
        body: str | None = None,
        *,
        login: str | None = "alice",
        labels: Iterable[str] = (),
        association: str | None = None,
        pull_request: bool = False,
    ) -> int:
        """Open an issue as a person; returns its number."""
        repo = self.repo(full_name)
        if login is not None:
            self.user(login)
        return self.open_issue(
            repo,
            title=title,
            body=body,
            login=login,
            labels=list(labels),
            association=association,
            pull_request=pull_request,
        ).number

    def open_issue(
        self,
        repo: Repo,
        *,
        title: str,
        body: str | None,
        login: str | None,
        labels: list[str],
        association: str | None = None,
        pull_request: bool = False,
        lag: int = 0,
    ) -> Issue:
        """Open an issue; the caller holds the lock and commits."""
        now = self.now()
        issue = Issue(
            id=self._new_id(),
            repo_id=repo.id,
            number=repo.next_number,
            title=title,
            body=body or None,
            login=login,
            association=association,
            labels=self.name_labels(repo, labels),
            pull_request=pull_request,
            lag=lag,
            created_at=now,
            updated_at=now,
        )
        repo.next_number += 1
        self._save(repo)
        self._remember(f"issue {issue.id}", login, issue.body)
        return self._save(issue)

    def issue(self, full_name: str, number: int) -> Issue:
        """The issue of that number, also when deleted or moved away."""
        return self.numbered(self.repo(full_name).id, number)

    def numbered(self, repo_id: int, number: int) -> Issue:
        """The issue of that number in a repository."""
        for issue in self.issues.values():
            if issue.repo_id == repo_id and issue.number == number:
                return issue
        raise KeyError(number)

    @act
    def edit_issue(
        self, full_name: str, number: int, *, title: str | None = None, body: str | None = None
    ) -> None:
        """Edit as a person in the browser: line ends become CRLF."""
        issue = self.issue(full_name, number)
        issue.title = issue.title if title is None else title
        if body is not None:
            issue.body = in_browser(body) or None
            self._remember(f"issue {issue.id}", None, issue.body)
        self.touch(issue)

    @act
    def close_issue(self, full_name: str, number: int, *, closed: bool = True) -> None:
        """Close or reopen."""
        self.set_state(self.issue(full_name, number), "closed" if closed else "open")

    @act
    def lock_issue(self, full_name: str, number: int, *, locked: bool = True) -> None:
        """Lock or unlock the conversation."""
        issue = self.issue(full_name, number)
        issue.locked = locked
        self.touch(issue)

    @act
    def delete_issue(self, full_name: str, number: int) -> None:
        """Gone for good: 410 to readers, its comments 404."""
        issue = self.issue(full_name, number)
        for comment in self.comments_of(issue):
            self._drop_comment(comment)
        issue.deleted = True
        self._save(issue)

    @act
    def transfer_issue(self, full_name: str, number: int, to: str) -> int:
        """Move an issue with its comments to another repository; returns its number there."""
        old = self.issue(full_name, number)
        target = self.repo(to)
        new = self.open_issue(target, title=old.title, body=old.body, login=old.login, labels=[])
        new.created_at = old.created_at
        for comment in self.comments_of(old):
            comment.issue_id = new.id
            self._save(comment)
        old.moved_to = (target.id, new.number)
        self._save(old)
        self._save(new)
        return new.number

    # Comments

    @act
    def add_comment(
        self,
        full_name: str,
        number: int,
        body: str,
        *,
        login: str | None = "alice",
        association: str | None = None,
        web: bool = False,
    ) -> int:
        """Comment as somebody; returns the id. `web`: typed in the browser, so CRLF."""
        if login is not None:
            self.user(login)
        issue = self.issue(full_name, number)
        text = in_browser(body) if web else body
        return self.post(issue, login=login, body=text, association=association).id

    def post(
        self, issue: Issue, *, login: str | None, body: str, association: str | None = None, lag: int = 0
    ) -> Comment:
        """Add a comment; the caller holds the lock and commits."""
        now = self.now()
        comment = Comment(
            id=self._new_id(),
            issue_id=issue.id,
            login=login,
            body=body,
            association=association,
            lag=lag,
            created_at=now,
            updated_at=now,
        )
        self.touch(issue)
        self._remember(f"comment {comment.id}", login, body)
        return self._save(comment)

    @act
    def edit_comment(
        self, comment_id: int, body: str, *, login: str | None = "alice", web: bool = True
    ) -> None:
        """Edit as a person; in the browser (`web`) every line end becomes CRLF."""
        self.rewrite(self.posts[comment_id], in_browser(body) if web else body, login)

    def rewrite(self, comment: Comment, body: str, login: str | None) -> None:
        """Replace a comment's body; the caller holds the lock and commits."""
        comment.body = body
        comment.updated_at = self.now()
        self._remember(f"comment {comment.id}", login, body)
        self._save(comment)

    @act
    def delete_comment(self, comment_id: int) -> None:
        """Delete as a person."""
        self._drop_comment(self.posts[comment_id])

    @act
    def forget_author(self, comment_id: int) -> None:
        """The author's account is deleted: `user` becomes null."""
        self.posts[comment_id].login = None
        self._save(self.posts[comment_id])

    @act
    def release_lag(self) -> None:
        """Lists catch up with everything written so far."""
        late: list[Issue | Comment] = [*self.issues.values(), *self.posts.values()]
        for thing in late:
            if thing.lag:
                thing.lag = 0
                self._save(thing)

    # Moods

    @act
    def behave(self, /, **changes: object) -> Behaviour:
        """Change numbers and moods; see `Behaviour`."""
        self.behaviour = msgspec.convert({**msgspec.to_builtins(self.behaviour), **changes}, Behaviour)
        self.store.put("behaviour", 0, self.behaviour)
        return self.behaviour

    # What a test asks

    def comments(self, full_name: str, number: int) -> list[Comment]:
        """Every comment of an issue, oldest first, also those that lists still miss."""
        with self.lock:
            return [msgspec.structs.replace(c) for c in self.comments_of(self.issue(full_name, number))]

    def all_comments(self) -> list[Comment]:
        """Every comment there is, oldest first."""
        with self.lock:
            return [msgspec.structs.replace(comment) for comment in self.posts.values()]

    def ever_readable(self) -> list[str]:
        """Every text anybody could ever read here, edited and deleted ones too."""
        with self.lock:
            return [revision.body for revision in self.revisions if revision.body is not None]

    def requests(
        self, method: str = ".*", path: str = "", *, status: int | None = None, writes: bool = False
    ) -> list[Request]:
        """Requests whose method (whole) and path (search) match; of one status; only writes."""
        with self.lock:
            return [
                request
                for request in self.log
                if re.fullmatch(method, request.method)
                and re.search(path, request.path)
                and status in {None, request.status}
                and (request.is_write or not writes)
            ]

    def effects(self, pattern: str = "") -> list[str]:
        """What requests changed, in order, e.g. "created comment 3100000007"."""
        with self.lock:
            return [r.effect for r in self.log if r.effect and re.search(pattern, r.effect)]

    def min_write_spacing_s(self) -> float:
        """Shortest time between the arrivals of two writes; infinite with fewer than two."""
        stamps = sorted(request.monotonic_s for request in self.requests(writes=True))
        return min((b - a for a, b in itertools.pairwise(stamps)), default=float("inf"))

    @act
    def forget_requests(self) -> None:
        """Empty the log, e.g. between arrangement and act."""
        self.log.clear()
        self.store._run("DELETE FROM rows WHERE kind='request'")

    def state(self) -> dict[str, object]:
        """All of it, without token values, as plain data."""
        with self.lock:
            dump = {
                "now": self.now(),
                "accounts": list(self.accounts.values()),
                "repos": list(self.repos.values()),
                "issues": list(self.issues.values()),
                "comments": list(self.posts.values()),
                "behaviour": self.behaviour,
            }
            plain: dict[str, object] = msgspec.to_builtins(dump)
            return plain

    # For the API: the caller holds the lock and commits

    def comments_of(self, issue: Issue) -> list[Comment]:
        return [comment for comment in self.posts.values() if comment.issue_id == issue.id]

    def name_labels(self, repo: Repo, names: Iterable[str]) -> list[str]:
        """The labels of these names, made where missing, each once."""
        labels = []
        for name in names:
            if name.lower() not in repo.labels:
                repo.labels[name.lower()] = Label(id=self._new_id(), name=name)
                self._save(repo)
            labels.append(repo.labels[name.lower()].name)
        return list(dict.fromkeys(labels))

    def set_state(self, issue: Issue, state: str, reason: str | None = None) -> None:
        if issue.state != state:
            issue.state = state
            issue.state_reason = (reason or "completed") if state == "closed" else "reopened"
            issue.closed_at = self.now() if state == "closed" else None
        self.touch(issue)

    def touch(self, issue: Issue) -> None:
        issue.updated_at = self.now()
        self._save(issue)

    def remember_request(self, request: Request) -> None:
        self.log.append(request)
        self.store.append("request", msgspec.structs.replace(request, body=""))

    def _change_repo(self, full_name: str, **changes: object) -> None:
        repo = self.repo(full_name)
        for name, value in changes.items():
            setattr(repo, name, value)
        repo.updated_at = self.now()
        self._save(repo)

    def _remember(self, what: str, login: str | None, body: str | None) -> None:
        revision = Revision(at=self.now(), what=what, login=login, body=body)
        self.revisions.append(revision)
        self.store.append("revision", revision)

    def _drop_comment(self, comment: Comment) -> None:
        del self.posts[comment.id]
        self.store.drop("comment", comment.id)

    def _drop_issue(self, issue: Issue) -> None:
        for comment in self.comments_of(issue):
            self._drop_comment(comment)
        del self.issues[issue.id]
        self.store.drop("issue", issue.id)

    def _new_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _save(self, thing: S) -> S:
        if isinstance(thing, Account):
            self.accounts[thing.login] = thing
            self.store.put("account", thing.login, thing)
        elif isinstance(thing, Token):
            self.tokens[thing.value] = thing
            self.store.put("token", thing.value, thing)
        elif isinstance(thing, Repo):
            self.repos[thing.id] = thing
            self.store.put("repo", thing.id, thing)
        elif isinstance(thing, Issue):
            self.issues[thing.id] = thing
            self.store.put("issue", thing.id, thing)
        else:
            self.posts[thing.id] = thing
            self.store.put("comment", thing.id, thing)
        return thing

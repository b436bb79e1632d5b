"""GitHub's REST API over a `World`: who may ask, what is refused and how, what is changed, what is answered.

Rules come from GitHub's documentation, its OpenAPI description, recorded answers and measurements in public
threads. A request goes one way: client known, API version, limits, route, repository, permission, body, effect.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import gzip
import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import formatdate
from typing import NoReturn, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import msgspec

from tests.fakes.answers import DOCS, Answer, Call, Refused, invalid, problem
from tests.fakes.limits import Limits
from tests.fakes.shapes import NEWER, Json, Shapes, git_sha, stamp
from tests.fakes.world import Comment, Issue, Repo, Token, World

VERSIONS = (NEWER, "2022-11-28")
LEVELS = ("none", "read", "write", "admin")
COMMENT_DOCS = f"{DOCS}/issues/comments"
ISSUE_DOCS = f"{DOCS}/issues/issues"
TOO_LONG = "ody is too long (maximum is 65536 characters)"
TOKEN_SECRET = re.compile(rb"gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{82}|AKIA[0-9A-Z]{16}")
NO_AGENT = (
    b"Request forbidden by administrative rules. Please make sure your request has a User-Agent header "
    b"(https://docs.github.com/en/rest/overview/resources-in-the-rest-api#user-agent-required). "
    b"Check https://developer.github.com for other possible causes.\n"
)

Thing = TypeVar("Thing", Issue, Comment)
Handler = Callable[["Api", Call, Repo, str], Answer]
ROUTES: list[tuple[str, str, Handler]] = []


def route(method: str, rest: str) -> Callable[[Handler], Handler]:
    """Serve `/repos/{owner}/{repo}<rest>` and `/repositories/{id}<rest>`; one group becomes the argument."""

    def register(handler: Handler) -> Handler:
        ROUTES.append((method, rest, handler))
        return handler

    return register


class Api:
    """Answers requests. `base` is the URL that answers show as the API's own."""

    def __init__(self, world: World, base: Callable[[], str]) -> None:
        self.world = world
        self.limits = Limits(world)
        self._base = base
        self._bad_logins: deque[float] = deque()
        self._serial = 0

    def answer(self, call: Call) -> Answer:
        """Carry out one request. The caller holds the world's lock and commits afterwards."""
        self._serial += 1
        call.request_id = f"F{self._serial:03X}:1A2B3:4C5D6E:7F8091:{int(self.world.now()):X}"
        if not call.headers.get("user-agent"):
            return self._finish(call, Answer(403, NO_AGENT, {"content-type": "text/html"}))
        free = call.path == "/rate_limit"
        try:
            self._identify(call)
            self._choose_version(call)
            if not free:
                self.limits.check_primary(call.account, write=call.write, request_id=call.request_id)
                self.limits.check_block(call.account, "writes" if call.write else "all")
            stale = self._is_stale(call)
            answer = self._dispatch(call)
            if stale:
                answer = Answer(412, problem(412, "Precondition Failed").answer.body, effect=answer.effect)
        except Refused as refused:
            answer = refused.answer
        answer = self._finish(call, answer)
        # A 304 is free, but only for those who say who they are (GitHub docs).
        if not free and not (answer.status == 304 and call.token is not None):
            self.limits.window(call.account, write=call.write).used += 1
        answer.headers.update(self.rate_headers(call.account, write=call.write))
        return answer

    def _is_stale(self, call: Call) -> bool:
        """Whether If-Match names another version. GitHub then says 412 and writes all the same (cli/cli#7167)."""
        wanted = call.headers.get("if-match")
        if call.method != "PATCH" or wanted is None:
            return False
        read = dataclasses.replace(call, method="GET")
        payload = msgspec.json.encode(self._dispatch(read).body)
        return wanted.removeprefix("W/") != self._tag(read, payload, link="")

    def rate_headers(self, account: str, *, write: bool) -> dict[str, str]:
        """x-ratelimit-* of the window a request falls into."""
        window = self.limits.window(account, write=write).shape()
        return {**{f"x-ratelimit-{k}": str(v) for k, v in window.items()}, "x-ratelimit-resource": "core"}

    # Who asks

    def _identify(self, call: Call) -> None:
        header = call.headers.get("authorization", "")
        if not header:
            return
        now, behaviour = self.world.now(), self.world.behaviour
        while self._bad_logins and self._bad_logins[0] <= now - behaviour.bad_login_pause_s:
            self._bad_logins.popleft()
        if len(self._bad_logins) >= behaviour.bad_logins:
            raise problem(403, "Maximum number of login attempts exceeded. Please try again later.")
        token = self.world.tokens.get(header.partition(" ")[2].strip())
        if token is None or token.revoked or (token.expires_at is not None and token.expires_at <= now):
            self._bad_logins.append(now)
            raise problem(401, "Bad credentials")
        call.token = token
        call.account = token.login
        if token.kind == "actions":
            call.account = f"actions:{','.join(token.repositories or ['*'])}"

    def _choose_version(self, call: Call) -> None:
        call.version = call.headers.get("x-github-api-version") or VERSIONS[-1]
        if call.version not in VERSIONS:
            raise problem(
                400,
                f'"{call.version}" is not a supported version of the REST API. Supported versions: '
                f"{', '.join(VERSIONS)}.",
                f"{DOCS}/about-the-rest-api/api-versions",
            )

    def _role(self, token: Token | None, repo: Repo) -> str | None:
        """What the caller is to the repository: admin, write, read, or None, a stranger."""
        stranger = None if repo.private else "read"
        if token is None or not self._covers(token, repo):
            return stranger
        if token.kind in {"actions", "app"}:
            return "write"
        if token.login == repo.full_name.split("/")[0]:
            return "admin"
        if repo.roles is None:
            return "write"
        return repo.roles.get(token.login, stranger)

    def _covers(self, token: Token, repo: Repo) -> bool:
        names = {name.lower() for name in (repo.full_name, *repo.former_names)}
        return token.repositories is None or bool(names & {name.lower() for name in token.repositories})

    def _need(self, call: Call, repo: Repo, level: str, *permissions: str) -> None:
        """Refuse unless the token's own permissions reach `level` in one of `permissions`."""
        accepted = "; ".join(f"{name}={level}" for name in permissions)
        if call.token is None:
            if level == "read":
                return
            raise problem(401, "Requires authentication")
        if call.token.kind == "classic" or (level == "read" and not repo.private):
            return
        held = max(
            (LEVELS.index(call.token.permissions.get(name, "none")) for name in permissions), default=0
        )
        if held < LEVELS.index(level) or not self._covers(call.token, repo):
            holder = "integration" if call.token.kind in {"actions", "app"} else "personal access token"
            raise problem(
                403, f"Resource not accessible by {holder}", DOCS, x_accepted_github_permissions=accepted
            )

    def _writable(self, repo: Repo) -> None:
        if repo.archived:
            raise problem(403, "Repository was archived so is read-only.")

    # Where it goes

    def _dispatch(self, call: Call) -> Answer:
        method = "GET" if call.method == "HEAD" else call.method
        whole = {"/rate_limit": self._rate_limit, "/user": self._user, "/versions": self._versions}
        if method == "GET" and call.path in whole:
            return whole[call.path](call)
        found = re.fullmatch(r"/repos/([^/]+)/([^/]+)(|/.*)", call.path)
        by_id = re.fullmatch(r"/repositories/(\d+)(|/.*)", call.path)
        if found is None and by_id is None:
            raise problem(404, "Not Found")
        rest = found[3] if found else by_id[2] if by_id else ""
        for wanted, pattern, handler in ROUTES:
            match = re.fullmatch(pattern, rest)
            if match is None or wanted != method:
                continue
            self.limits.check_points(call.account, f"{wanted} {pattern}", write=call.write)
            repo = self._repo_by_id(call, by_id[1]) if by_id else self._repo_by_name(call, rest)
            self._role(call.token, repo) or self._lost()
            return handler(self, call, repo, match[1] if match.groups() else "")
        raise problem(404, "Not Found")

    def _repo_by_id(self, call: Call, repo_id: str) -> Repo:
        repo = self.world.repos.get(int(repo_id))
        return repo or self._lost()

    def _repo_by_name(self, call: Call, rest: str) -> Repo:
        _, _, owner, name, *_ = call.path.split("/")
        full_name = f"{owner}/{name}".lower()
        repos = list(self.world.repos.values())
        for repo in repos:
            if repo.full_name.lower() == full_name:
                return repo
        for repo in repos:
            if full_name in map(str.lower, repo.former_names) and self._role(call.token, repo):
                self._redirect(call, f"/repositories/{repo.id}{rest}", 307 if call.write else 301)
        return self._lost()

    def _redirect(self, call: Call, path: str, status: int) -> NoReturn:
        query = urlsplit(call.target).query
        url = f"{self._base()}{path}{'?' if query else ''}{query}"
        words = "Moved Permanently" if status == 301 else "Temporary Redirect"
        docs = f"{DOCS}/guides/best-practices-for-using-the-rest-api#follow-redirects"
        body = {"message": words, "url": url, "documentation_url": docs}
        raise Refused(Answer(status, body, {"location": url}))

    def _lost(self) -> NoReturn:
        raise problem(404, "Not Found")

    def _shapes(self, call: Call) -> Shapes:
        return Shapes(self.world, self._base(), call.version)

    # Account and server

    def _rate_limit(self, call: Call) -> Answer:
        core = self.limits.window(call.account, write=False).shape()
        minute = int(self.world.now()) + 60
        others = {
            "search": 30,
            "graphql": 5000,
            "integration_manifest": 5000,
            "source_import": 100,
            "code_search": 10,
        }
        resources: Json = {
            "core": core,
            **{
                name: {"limit": top, "used": 0, "remaining": top, "reset": minute}
                for name, top in others.items()
            },
        }
        return Answer(
            200, {"resources": resources} if call.version >= NEWER else {"resources": resources, "rate": core}
        )

    def _user(self, call: Call) -> Answer:
        if call.token is None:
            raise problem(401, "Requires authentication")
        if call.token.kind in {"actions", "app"}:
            raise problem(403, "Resource not accessible by integration")
        return Answer(200, self._shapes(call).myself(call.token.login))

    def _versions(self, call: Call) -> Answer:
        return Answer(200, list(VERSIONS))

    @route("GET", "")
    def _repo(self, call: Call, repo: Repo, _: str) -> Answer:
        role = self._role(call.token, repo) if call.token else None
        return Answer(
            200,
            self._shapes(call).repo(repo, role),
            {"last-modified": formatdate(repo.updated_at, usegmt=True)},
        )

    @route("PUT", r"/contents/(.+)")
    def _put_file(self, call: Call, repo: Repo, path: str) -> Answer:
        docs = f"{DOCS}/repos/contents#create-or-update-file-contents"
        self._need(call, repo, "write", "contents")
        self._writable(repo)
        fields = self._fields(call)
        message = self._text(fields, "message", docs)
        try:
            content = base64.b64decode(self._text(fields, "content", docs), validate=False)
        except binascii.Error:
            raise problem(422, "content is not valid Base64", docs) from None
        if self._role(call.token, repo) not in {"write", "admin"}:
            raise problem(404, "Not Found", docs)
        if TOKEN_SECRET.search(content):
            raise problem(409, "Secret detected in content", docs)
        path = unquote(path)
        known = repo.files.get(path)
        if known is not None:
            if "sha" not in fields:
                raise problem(422, 'Invalid request.\n\n"sha" wasn\'t supplied.', docs)
            if fields["sha"] != git_sha("blob", base64.b64decode(known)):
                raise problem(409, f"{path} does not match {fields['sha']}", docs)
        repo.files[path] = base64.b64encode(content).decode()
        repo.empty = False
        repo.pushed_at = repo.updated_at = self.world.now()
        self.world._save(repo)
        login = call.token.login if call.token else ""
        return Answer(
            200 if known is not None else 201,
            self._shapes(call).file_commit(repo, path, content, message, login),
            effect=f"wrote file {path}",
        )

    # Issues

    def _issues_on(self, repo: Repo) -> None:
        if not repo.has_issues:
            raise problem(410, "Issues are disabled for this repo", DOCS)

    def _find_issue(self, call: Call, repo: Repo, number: str) -> Issue:
        self._issues_on(repo)
        try:
            issue = self.world.numbered(repo.id, int(number))
        except KeyError:
            self._lost()
        if issue.deleted:
            raise problem(410, "This issue was deleted", ISSUE_DOCS)
        if issue.moved_to is not None:
            target, there = issue.moved_to
            if target in self.world.repos and self._role(call.token, self.world.repos[target]):
                tail = call.path.rsplit(f"/issues/{number}", 1)[1]
                self._redirect(call, f"/repositories/{target}/issues/{there}{tail}", 301)
            self._lost()
        return issue

    @route("GET", "/issues")
    def _list_issues(self, call: Call, repo: Repo, _: str) -> Answer:
        self._need(call, repo, "read", "issues", "pull_requests")
        self._issues_on(repo)
        query = call.query
        state = self._one_of(query, "state", ("open", "closed", "all"))
        order = self._one_of(query, "sort", ("created", "updated", "comments"))
        direction = self._one_of(query, "direction", ("desc", "asc"))
        wanted = {name.strip().lower() for name in query.get("labels", "").split(",") if name.strip()}
        since = self._since(query)
        issues = [
            issue
            for issue in self.world.issues.values()
            if issue.repo_id == repo.id
            and not issue.deleted
            and issue.moved_to is None
            and state in {"all", issue.state}
            and wanted <= {name.lower() for name in issue.labels}
            and int(issue.updated_at) >= since
            and query.get("creator", issue.login) == issue.login
        ]
        keys: dict[str, Callable[[Issue], tuple[float, int]]] = {
            "created": lambda issue: (issue.created_at, issue.id),
            "updated": lambda issue: (issue.updated_at, issue.id),
            "comments": lambda issue: (len(self.world.comments_of(issue)), issue.id),
        }
        issues.sort(key=keys[order], reverse=direction == "desc")
        shapes = self._shapes(call)
        return self._page(call, repo, "/issues", self._caught_up(issues), shapes.issue)

    @route("POST", "/issues")
    def _create_issue(self, call: Call, repo: Repo, _: str) -> Answer:
        docs = f"{ISSUE_DOCS}#create-an-issue"
        self._need(call, repo, "write", "issues")
        self._writable(repo)
        self._issues_on(repo)
        fields = self._fields(call)
        title = self._text(fields, "title", docs, number_too=True)
        self._check_title(title, docs)
        body = self._text(fields, "body", docs) if fields.get("body") is not None else None
        self._check_issue_body(body, docs)
        may_label = self._role(call.token, repo) in {"write", "admin"}
        labels = self._label_names(fields, docs) if may_label else []
        self.limits.check_content(call.account)
        issue = self.world.open_issue(
            repo,
            title=title,
            body=body,
            login=call.token.login if call.token else None,
            labels=labels,
            lag=self.world.behaviour.lag_reads,
        )
        shape = self._shapes(call).issue(issue)
        return Answer(201, shape, {"location": str(shape["url"])}, effect=f"created issue {issue.number}")

    @route("GET", r"/issues/(\d+)")
    def _get_issue(self, call: Call, repo: Repo, number: str) -> Answer:
        self._need(call, repo, "read", "issues", "pull_requests")
        return Answer(200, self._shapes(call).issue(self._find_issue(call, repo, number)))

    @route("PATCH", r"/issues/(\d+)")
    def _update_issue(self, call: Call, repo: Repo, number: str) -> Answer:
        docs = f"{ISSUE_DOCS}#update-an-issue"
        self._need(call, repo, "write", "issues", "pull_requests")
        self._writable(repo)
        issue = self._find_issue(call, repo, number)
        fields = self._fields(call, may_be_empty=True)
        may_label = self._may_edit(call, repo, issue.login, docs)
        title = None
        if fields.get("title") is not None:
            title = self._text(fields, "title", docs, number_too=True)
            self._check_title(title, docs)
        if "state" in fields and fields["state"] not in {"open", "closed"}:
            raise problem(
                422,
                f"Invalid request.\n\nFor 'properties/state', {json.dumps(fields['state'])} is not a "
                'member of ["open", "closed"].',
                docs,
            )
        body = issue.body
        if "body" in fields:
            body = self._text(fields, "body", docs) if fields["body"] is not None else None
            if self._over_long(body or "") and self.world.behaviour.long_issue_edit_ignored:
                body = issue.body
            self._check_issue_body(body, docs)
        labels = self._label_names(fields, docs) if "labels" in fields and may_label else None
        issue.title = issue.title if title is None else title
        if (body or None) != issue.body:
            issue.body = body or None
            self.world._remember(f"issue {issue.id}", call.token.login if call.token else None, issue.body)
        if labels is not None:
            issue.labels = self.world.name_labels(repo, labels)
        reason = fields.get("state_reason")
        self.world.set_state(
            issue, str(fields.get("state", issue.state)), None if reason is None else str(reason)
        )
        return Answer(200, self._shapes(call).issue(issue), effect=f"updated issue {issue.number}")

    # Comments

    def _find_comment(self, repo: Repo, comment_id: str) -> Comment:
        self._issues_on(repo)
        comment = self.world.posts.get(int(comment_id))
        if comment is None or self.world.issues[comment.issue_id].repo_id != repo.id:
            self._lost()
        return comment

    @route("GET", "/issues/comments")
    def _list_repo_comments(self, call: Call, repo: Repo, _: str) -> Answer:
        self._need(call, repo, "read", "issues", "pull_requests")
        self._issues_on(repo)
        since = self._since(call.query)
        comments = [
            comment
            for comment in self.world.posts.values()
            if self.world.issues[comment.issue_id].repo_id == repo.id and int(comment.updated_at) >= since
        ]
        # Direction is ignored without sort (GitHub docs).
        if "sort" in call.query:
            updated = self._one_of(call.query, "sort", ("created", "updated")) == "updated"
            comments.sort(
                key=lambda c: (c.updated_at if updated else c.created_at, c.id),
                reverse=self._one_of(call.query, "direction", ("desc", "asc")) == "desc",
            )
        return self._page(
            call, repo, "/issues/comments", self._caught_up(comments), self._shapes(call).comment
        )

    @route("GET", r"/issues/(\d+)/comments")
    def _list_comments(self, call: Call, repo: Repo, number: str) -> Answer:
        self._need(call, repo, "read", "issues", "pull_requests")
        issue = self._find_issue(call, repo, number)
        since = self._since(call.query)
        comments = [comment for comment in self.world.comments_of(issue) if int(comment.updated_at) >= since]
        return self._page(
            call, repo, f"/issues/{number}/comments", self._caught_up(comments), self._shapes(call).comment
        )

    @route("POST", r"/issues/(\d+)/comments")
    def _create_comment(self, call: Call, repo: Repo, number: str) -> Answer:
        docs = f"{COMMENT_DOCS}#create-an-issue-comment"
        self._need(call, repo, "write", "issues", "pull_requests")
        self._writable(repo)
        issue = self._find_issue(call, repo, number)
        if issue.locked and self._role(call.token, repo) not in {"write", "admin"}:
            raise problem(403, "Unable to create comment because issue is locked.", docs)
        body = self._text(self._fields(call), "body", docs)
        self._check_comment_body(body, docs, code="unprocessable", field="data", letter="B")
        cap = self.world.behaviour.comments_per_issue
        if len(self.world.comments_of(issue)) >= cap:
            raise problem(403, f"Commenting is disabled on issues with more than {cap} comments", docs)
        self.limits.check_content(call.account)
        comment = self.world.post(
            issue,
            login=call.token.login if call.token else None,
            body=body,
            lag=self.world.behaviour.lag_reads,
        )
        shape = self._shapes(call).comment(comment)
        return Answer(201, shape, {"location": str(shape["url"])}, effect=f"created comment {comment.id}")

    @route("GET", r"/issues/comments/(\d+)")
    def _get_comment(self, call: Call, repo: Repo, comment_id: str) -> Answer:
        self._need(call, repo, "read", "issues", "pull_requests")
        return Answer(200, self._shapes(call).comment(self._find_comment(repo, comment_id)))

    @route("PATCH", r"/issues/comments/(\d+)")
    def _update_comment(self, call: Call, repo: Repo, comment_id: str) -> Answer:
        docs = f"{COMMENT_DOCS}#update-an-issue-comment"
        self._need(call, repo, "write", "issues", "pull_requests")
        self._writable(repo)
        comment = self._find_comment(repo, comment_id)
        self._may_edit(call, repo, comment.login, docs)
        body = self._text(self._fields(call), "body", docs)
        self._check_comment_body(body, docs, code="custom", field="body", letter="b")
        if self.world.behaviour.edits_count:
            self.limits.check_content(call.account)
        self.world.rewrite(comment, body, call.token.login if call.token else None)
        return Answer(200, self._shapes(call).comment(comment), effect=f"updated comment {comment.id}")

    @route("DELETE", r"/issues/comments/(\d+)")
    def _delete_comment(self, call: Call, repo: Repo, comment_id: str) -> Answer:
        docs = f"{COMMENT_DOCS}#delete-an-issue-comment"
        self._need(call, repo, "write", "issues", "pull_requests")
        self._writable(repo)
        comment = self._find_comment(repo, comment_id)
        self._may_edit(call, repo, comment.login, docs)
        self.world._drop_comment(comment)
        return Answer(204, effect=f"deleted comment {comment.id}")

    def _may_edit(self, call: Call, repo: Repo, author: str | None, docs: str) -> bool:
        """Refuse strangers to a text; true for those with write access."""
        writer = self._role(call.token, repo) in {"write", "admin"}
        if not writer and (call.token is None or call.token.login != author):
            raise problem(403, "Must have admin rights to Repository.", docs)
        return writer

    # What was sent

    def _fields(self, call: Call, *, may_be_empty: bool = False) -> Json:
        if may_be_empty and not call.body:
            return {}
        try:
            fields = json.loads(call.body.decode()) if call.body else None
            json.dumps(fields, ensure_ascii=False).encode()  # half a surrogate pair is no text
        except ValueError:
            raise problem(400, "Problems parsing JSON") from None
        if not isinstance(fields, dict):
            raise problem(400, "Body should be a JSON object")
        return fields

    def _text(self, fields: Json, name: str, docs: str, *, number_too: bool = False) -> str:
        if name not in fields:
            raise problem(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.', docs)
        value = fields[name]
        if number_too and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            shown = "nil" if value is None else json.dumps(value)
            raise problem(422, f"Invalid request.\n\nFor 'properties/{name}', {shown} is not a string.", docs)
        return value

    def _over_long(self, body: str) -> bool:
        most = self.world.behaviour.body_characters
        size = len(body.encode())
        return size > self.world.behaviour.body_bytes or (most is not None and len(body) > most)

    def _check_comment_body(self, body: str, docs: str, *, code: str, field: str, letter: str) -> None:
        error = {"resource": "IssueComment", "code": code, "field": field}
        if not body.strip():
            raise invalid(docs, {**error, "message": f"{letter}ody cannot be blank"})
        if self._over_long(body):
            raise invalid(docs, {**error, "message": f"{letter}{TOO_LONG}"})

    def _check_issue_body(self, body: str | None, docs: str) -> None:
        if self._over_long(body or ""):
            error = {"resource": "Issue", "code": "custom", "field": "body"}
            raise invalid(
                docs, {**error, "message": "body is too long"}, {**error, "message": f"b{TOO_LONG}"}
            )

    def _check_title(self, title: str, docs: str) -> None:
        if not title.strip():
            raise invalid(docs, {"resource": "Issue", "code": "missing_field", "field": "title"})
        most = self.world.behaviour.title_characters
        if len(title) > most:
            error = {"resource": "Issue", "code": "custom", "field": "title"}
            raise invalid(docs, {**error, "message": f"title is too long (maximum is {most} characters)"})

    def _label_names(self, fields: Json, docs: str) -> list[str]:
        labels = fields.get("labels") or []
        if not isinstance(labels, list):
            raise problem(422, "Invalid request.\n\nFor 'properties/labels', not an array.", docs)
        names = [label.get("name") if isinstance(label, dict) else label for label in labels]
        if not all(isinstance(name, str) and name.strip() and len(name) <= 50 for name in names):
            raise invalid(docs, {"resource": "Label", "code": "invalid", "field": "name"})
        return [str(name) for name in names]

    def _one_of(self, query: dict[str, str], name: str, allowed: Sequence[str]) -> str:
        value = query.get(name) or allowed[0]
        if value not in allowed:
            raise invalid(DOCS, {"resource": "Search", "code": "invalid", "field": name})
        return value

    def _since(self, query: dict[str, str]) -> float:
        text = query.get("since")
        if not text:
            return 0.0
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise invalid(DOCS, {"resource": "Issue", "code": "invalid", "field": "since"}) from None
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()

    # What is answered

    def _caught_up(self, things: list[Thing]) -> list[Thing]:
        """What this list read already shows; each read brings the rest nearer."""
        shown = []
        for thing in things:
            if thing.lag == 0:
                shown.append(thing)
            elif thing.lag > 0:
                thing.lag -= 1
                self.world._save(thing)
        return shown

    def _page(
        self, call: Call, repo: Repo, rest: str, items: list[Thing], shape: Callable[[Thing], Json]
    ) -> Answer:
        """One page, with Link as GitHub writes it: by repository id, in the order prev, next, last, first."""
        query = call.query
        size = min(self._number(query, "per_page", 30), 100)
        opaque = self.world.behaviour.opaque_pages
        page = self._number(query, "page", 1)
        if opaque:
            page = self._cursor(query.get("after", ""))
        last = max(1, -(-len(items) // size))
        links = []

        def link(rel: str, number: int) -> None:
            pairs = parse_qsl(urlsplit(call.target).query, keep_blank_values=True)
            kept = [(name, value) for name, value in pairs if name not in {"page", "after"}]
            where = ("after", base64.urlsafe_b64encode(f"v2:{number}".encode()).decode())
            kept.append(where if opaque else ("page", str(number)))
            url = f"{self._base()}/repositories/{repo.id}{rest}?{urlencode(kept, quote_via=quote)}"
            links.append(f'<{url}>; rel="{rel}"')

        if page > 1:
            link("prev", min(page - 1, last))
        if page < last:
            link("next", page + 1)
            if not opaque:
                link("last", last)
        if page > 1:
            link("first", 1)
        shown = [shape(item) for item in items[(page - 1) * size : page * size]]
        return Answer(200, shown, {"link": ", ".join(links)} if links else {})

    def _number(self, query: dict[str, str], name: str, default: int) -> int:
        text = query.get(name, "")
        return int(text) if text.isdecimal() and int(text) > 0 else default

    def _cursor(self, text: str) -> int:
        try:
            return int(base64.urlsafe_b64decode(text).decode().removeprefix("v2:")) if text else 1
        except ValueError:
            raise problem(422, "The `after` cursor is invalid") from None

    def _finish(self, call: Call, answer: Answer) -> Answer:
        """Encode, tag, compress; 304 where the client has it already."""
        headers = {
            "server": "github.com",
            "date": formatdate(self.world.now(), usegmt=True),
            "x-github-request-id": call.request_id,
        }
        if isinstance(answer.body, bytes):
            payload = answer.body
        else:
            payload = b"" if answer.body is None else msgspec.json.encode(answer.body)
            headers |= {
                "content-type": "application/json; charset=utf-8",
                "x-github-media-type": "github.v3; format=json",
                "x-github-api-version-selected": call.version,
                "access-control-expose-headers": "ETag, Link, Location, Retry-After",
                "vary": "Accept-Encoding, Accept, X-Requested-With",
            }
        if call.token is not None and call.token.expires_at is not None:
            ends = stamp(call.token.expires_at).replace("T", " ").replace("Z", " UTC")
            headers["github-authentication-token-expiration"] = ends
        if call.token is not None and call.token.kind == "classic":
            headers["x-oauth-scopes"] = "repo"
        answer.headers = headers | answer.headers
        if answer.status == 200 and call.method in {"GET", "HEAD"} and call.path != "/rate_limit":
            return self._conditional(call, answer, payload)
        return self._encoded(call, answer, payload)

    def _conditional(self, call: Call, answer: Answer, payload: bytes) -> Answer:
        tag = self._tag(call, payload, answer.headers.get("link", ""))
        known = [part.strip().removeprefix("W/") for part in call.headers.get("if-none-match", "").split(",")]
        if tag in known or "*" in known:
            answer.status, answer.body = 304, b""
            answer.headers["etag"] = tag
            answer.headers.pop("content-type", None)
            return answer
        answer.headers["cache-control"] = "private, max-age=60, s-maxage=60"
        answer = self._encoded(call, answer, payload)
        answer.headers["etag"] = f"W/{tag}" if "content-encoding" in answer.headers else tag
        return answer

    def _tag(self, call: Call, payload: bytes, link: str) -> str:
        """The strong tag; GitHub's are specific to token, media type and version."""
        token = call.token.value if call.token else ""
        mix = "|".join((token, call.version, call.headers.get("accept", ""), link))
        return f'"{hashlib.sha256(mix.encode() + payload).hexdigest()}"'

    def _encoded(self, call: Call, answer: Answer, payload: bytes) -> Answer:
        if payload and re.search(r"\bgzip\b", call.headers.get("accept-encoding", "")):
            payload = gzip.compress(payload, compresslevel=1, mtime=0)
            answer.headers["content-encoding"] = "gzip"
        answer.body = payload
        return answer

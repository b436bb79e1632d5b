"""The stand-in against GitHub's own OpenAPI description, with Prism between client and server as the judge."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import msgspec
import pytest

from tests.contract.prism import Prism, broken
from tests.fakes.github import FakeGitHub

VERSIONS = ("2022-11-28", "2026-03-10")


@pytest.fixture(scope="module")
def world() -> Iterator[FakeGitHub]:
    with FakeGitHub() as gh:
        gh.token("T", login="me")
        gh.add_repo("octo/sessions")
        gh.token("BOT", kind="actions")
        gh.token("READ", login="me", permissions={"issues": "read", "metadata": "read"})
        gh.behave(content_per_minute=100_000, content_per_hour=100_000, points_per_minute=1_000_000)
        yield gh


@pytest.fixture(params=VERSIONS, scope="module")
def judged(request: pytest.FixtureRequest, world: FakeGitHub, prism: Prism) -> Iterator[httpx.Client]:
    version = str(request.param)
    url = prism(world.url, version)
    world.show_as(url)  # so that Link leads through the judge as well
    headers = {"Authorization": "Bearer T", "Accept": "application/vnd.github+json"}
    headers |= {"X-GitHub-Api-Version": version, "User-Agent": "sessiond-contract-tests"}
    with httpx.Client(base_url=url, headers=headers, timeout=20, trust_env=False) as client:
        yield client
    world.show_as()


def test_every_operation_is_as_github_describes_it(
    judged: httpx.Client, world: FakeGitHub, prism: Prism
) -> None:
    prism.violations()
    repo = f"octo/judged-{judged.headers['x-github-api-version']}"
    world.add_repo(repo, empty=True)
    content = base64.b64encode(b"# Sessions\n").decode()

    def ask(method: str, path: str, status: int, body: object = None, **headers: str) -> httpx.Response:
        answer = judged.request(method, path, json=body, headers=headers)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        assert broken(answer.headers) == [], f"{method} {path}"
        return answer

    at = f"/repos/{repo}"
    ask("GET", "/rate_limit", 200)
    ask("GET", "/user", 200)
    ask("GET", "/versions", 200)
    ask("GET", at, 200)
    ask("PUT", f"{at}/contents/README.md", 201, {"message": "Begin", "content": content})
    ask("PUT", f"{at}/contents/a/b.md", 201, {"message": "More", "content": content})
    made = ask("POST", f"{at}/issues", 201, {"title": "Sessions: x", "body": "index", "labels": ["sessiond"]})
    issue = f"{at}/issues/{made.json()['number']}"
    ask("GET", issue, 200)
    ask("PATCH", issue, 200, {"body": "", "title": "Sessions: y", "labels": ["sessiond", "more"]})
    ids = [ask("POST", f"{issue}/comments", 201, {"body": f"{n} 😀\r\n"}).json()["id"] for n in range(5)]
    comment = f"{at}/issues/comments/{ids[0]}"
    ask("GET", comment, 200)
    ask("PATCH", comment, 200, {"body": "edited"})
    bot = ask("POST", f"{issue}/comments", 201, {"body": "by a workflow"}, Authorization="Bearer BOT").json()
    assert bot["user"]["login"] == "github-actions[bot]"
    world.forget_author(ids[1])
    world.add_issue(repo, "A pull request", pull_request=True)
    page: str | None = f"{issue}/comments?per_page=2"
    seen = []
    while page:  # follows Link through the /repositories/{id} paths
        answer = ask("GET", page, 200)
        seen += [item["id"] for item in answer.json()]
        page = answer.links.get("next", {}).get("url")
    assert seen == [*ids, bot["id"]]
    ask("GET", f"{at}/issues/comments?since=2020-01-01T00:00:00Z&sort=updated&direction=desc", 200)
    ask("GET", f"{at}/issues?labels=sessiond&state=all&sort=updated&direction=asc&per_page=1", 200)
    ask("GET", f"{at}/issues?state=all", 200)
    ask("GET", f"/repositories/{world.repo(repo).id}", 200)
    tag = ask("GET", f"{issue}/comments", 200).headers["etag"]
    ask("GET", f"{issue}/comments", 304, **{"If-None-Match": tag})
    world.close_issue(repo, made.json()["number"])
    ask("GET", issue, 200)
    ask("PATCH", issue, 200, {"state": "open"})
    ask("DELETE", comment, 204)

    # Refusals have shapes too.
    ask("GET", comment, 404)
    ask("POST", f"{issue}/comments", 422, {"body": " "})
    ask("PATCH", f"{at}/issues/comments/{ids[2]}", 422, {"body": "x" * 262_145})
    ask("POST", f"{at}/issues", 422, {"title": "x" * 257})
    ask("GET", "/user", 401, Authorization="Bearer nobody")
    ask("GET", "/user", 403, Authorization="Bearer BOT")
    ask("POST", f"{issue}/comments", 403, {"body": "x"}, Authorization="Bearer READ")
    world.secondary_limit(60)
    ask("POST", f"{issue}/comments", 403, {"body": "x"})
    world.forget_secondary_limit()
    world.enable_issues(repo, on=False)
    ask("GET", f"{at}/issues", 410)
    assert prism.violations() == []


def test_a_request_github_does_not_know_is_reported(
    judged: httpx.Client, world: FakeGitHub, prism: Prism, wait_until: Callable[..., None]
) -> None:
    number = world.add_issue("octo/sessions")
    prism.violations()
    answer = judged.post(f"/repos/octo/sessions/issues/{number}/comments", json={"text": "wrong field"})
    assert broken(answer.headers)
    wait_until(lambda: any("request.body" in line for line in prism.violations()))


def without(name: str) -> Callable[[dict[str, object]], object]:
    return lambda comment: {key: value for key, value in comment.items() if key != name}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(without("html_url"), id="a required field is missing"),
        pytest.param(lambda comment: {**comment, "id": "7"}, id="an id is text"),
        pytest.param(lambda comment: {**comment, "created_at": "yesterday"}, id="a date is none"),
        pytest.param(lambda comment: {**comment, "user": {"login": "me"}}, id="a user is half"),
        pytest.param(lambda comment: [comment], id="a list instead of an object"),
    ],
)
def test_a_wrong_answer_is_reported(
    spoil: Callable[[dict[str, object]], object],
    world: FakeGitHub,
    prism: Prism,
    wrong: Wrong,
    wait_until: Callable[..., None],
) -> None:
    comment = world.add_comment("octo/sessions", world.add_issue("octo/sessions"), "right")
    path = f"/repos/octo/sessions/issues/comments/{comment}"
    headers = {"Authorization": "Bearer T", "User-Agent": "x", "X-GitHub-Api-Version": VERSIONS[0]}
    right = httpx.get(f"{world.url}{path}", headers=headers, trust_env=False).json()
    wrong.answer = msgspec.json.encode(spoil(right))
    prism.violations()
    answer = httpx.get(f"{prism(wrong.url)}{path}", headers=headers, trust_env=False)
    assert broken(answer.headers)
    wait_until(lambda: any("response" in line for line in prism.violations()))


class Wrong:
    """A server that answers whatever it is told to."""

    def __init__(self) -> None:
        self.answer = b"{}"
        wrong = self

        class Line(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "application/json; charset=utf-8")
                self.send_header("content-length", str(len(wrong.answer)))
                self.end_headers()
                self.wfile.write(wrong.answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Line)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture(scope="module")
def wrong() -> Iterator[Wrong]:
    server = Wrong()
    yield server
    server.server.shutdown()
    server.server.server_close()

"""What GitHub's REST API does, behaviour by behaviour, through a plain HTTP client.

The first part asks for nothing but the API and runs against a real service as well (see conftest). The second
arranges states, limits and people, which only the stand-in can be told to do (fixture `gh`).
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import github
import httpx
import pytest

from tests.contract.conftest import Service
from tests.fakes.github import FakeGitHub

REPO = "octo/sessions"
COMMENT_ERROR = "https://docs.github.com/rest/issues/comments#{}-an-issue-comment"
Poll = Callable[..., None]


def comment(api: httpx.Client, issue: str, body: str = "hello") -> httpx.Response:
    answer = api.post(f"{issue}/comments", json={"body": body})
    assert answer.status_code == 201, answer.text
    return answer


def at(answer: httpx.Response) -> str:
    """The path of a comment just made."""
    return f"/issues/comments/{answer.json()['id']}"


def home(api: httpx.Client) -> str:
    """The repository itself; httpx would end a relative "" in a slash."""
    return str(api.base_url).rstrip("/")


def every_page(api: httpx.Client, path: str) -> list[int]:
    found: list[int] = []
    url: str | None = path
    while url:
        answer = api.get(url)
        assert answer.status_code == 200, answer.text
        found += [item["id"] for item in answer.json()]
        url = answer.links.get("next", {}).get("url")
    return found


# ---- Any service: comments


def test_a_comment_is_created_read_edited_and_deleted(api: httpx.Client, issue: str) -> None:
    made = comment(api, issue, "one")
    shape = made.json()
    assert made.headers["location"] == shape["url"]
    assert shape["url"].endswith(f"/issues/comments/{shape['id']}")
    assert shape["html_url"].endswith(f"{issue}#issuecomment-{shape['id']}")
    assert shape["user"]["type"] in {"User", "Bot"}
    assert shape["author_association"] in {"OWNER", "MEMBER", "COLLABORATOR", "NONE"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shape["created_at"])
    assert api.get(at(made)).json() == shape
    edited = api.patch(at(made), json={"body": "two"})
    assert edited.status_code == 200
    assert edited.json()["body"] == "two"
    assert edited.json()["id"] == shape["id"]
    gone = api.delete(at(made))
    assert (gone.status_code, gone.content) == (204, b"")
    for answer in (api.get(at(made)), api.patch(at(made), json={"body": "x"}), api.delete(at(made))):
        assert answer.status_code == 404
        assert answer.json()["message"] == "Not Found"
    assert every_page(api, f"{issue}/comments") == []


@pytest.mark.parametrize(
    "body", ["a\nb\n", "a\r\nb\r\n", "  both \t\n\n", "<!-- x -->\n```json\n{}\n```", "é漢😀\u200b", "a\rb"]
)
def test_the_bytes_sent_come_back(api: httpx.Client, issue: str, body: str) -> None:
    made = comment(api, issue, body)
    assert made.json()["body"] == body
    assert api.get(at(made)).json()["body"] == body
    assert api.patch(at(made), json={"body": body + "!"}).json()["body"] == body + "!"
    assert [item["body"] for item in api.get(f"{issue}/comments").json()] == [body + "!"]


@pytest.mark.parametrize(
    "body",
    [pytest.param("x" * 262_144, id="ascii"), pytest.param("😀" * 65_536, id="astral")],
)
def test_a_comment_holds_262_144_bytes(api: httpx.Client, issue: str, body: str) -> None:
    made = comment(api, issue, body)
    assert api.patch(at(made), json={"body": body}).status_code == 200
    refused = api.post(f"{issue}/comments", json={"body": body + "x"})
    assert refused.status_code == 422
    assert refused.json() == {
        "message": "Validation Failed",
        "errors": [
            {
                "resource": "IssueComment",
                "code": "unprocessable",
                "field": "data",
                "message": "Body is too long (maximum is 65536 characters)",
            }
        ],
        "documentation_url": COMMENT_ERROR.format("create"),
        "status": "422",
    }
    refused = api.patch(at(made), json={"body": body + "x"})
    assert refused.status_code == 422
    assert refused.json()["errors"] == [
        {
            "resource": "IssueComment",
            "code": "custom",
            "field": "body",
            "message": "body is too long (maximum is 65536 characters)",
        }
    ]
    assert api.get(at(made)).json()["body"] == body


@pytest.mark.parametrize("body", ["", " ", "\r\n\t"])
def test_a_comment_may_not_be_blank(api: httpx.Client, issue: str, body: str) -> None:
    made = comment(api, issue)
    for refused in (
        api.post(f"{issue}/comments", json={"body": body}),
        api.patch(at(made), json={"body": body}),
    ):
        assert refused.status_code == 422
        assert refused.json()["message"] == "Validation Failed"
        assert refused.json()["errors"][0]["message"].lower() == "body cannot be blank"


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b'{"text": "x"}', 422, 'Invalid request.\n\n"body" wasn\'t supplied.'),
        (b'{"body": null}', 422, "Invalid request.\n\nFor 'properties/body', nil is not a string."),
        (b'{"body": 7}', 422, "Invalid request.\n\nFor 'properties/body', 7 is not a string."),
        (b'{"body": ', 400, "Problems parsing JSON"),
        (b'{"body": "\xff"}', 400, "Problems parsing JSON"),
        (b'["body"]', 400, "Body should be a JSON object"),
    ],
)
def test_a_malformed_comment_is_refused(
    api: httpx.Client, issue: str, content: bytes, status: int, message: str
) -> None:
    refused = api.post(f"{issue}/comments", content=content, headers={"content-type": "application/json"})
    assert refused.status_code == status
    assert refused.json()["message"] == message
    assert refused.json()["status"] == str(status)


def test_the_count_of_comments_is_exact_at_once(api: httpx.Client, issue: str) -> None:
    assert api.get(issue).json()["comments"] == 0
    first = comment(api, issue)
    comment(api, issue)
    assert api.get(issue).json()["comments"] == 2
    api.delete(at(first))
    assert api.get(issue).json()["comments"] == 1


# ---- Any service: lists


def test_pages_are_linked_by_repository_id(api: httpx.Client, issue: str) -> None:
    ids = [comment(api, issue, str(n)).json()["id"] for n in range(5)]
    whole = api.get(f"{issue}/comments", params={"per_page": 5})
    assert [item["id"] for item in whole.json()] == ids
    assert "link" not in whole.headers

    def rels(page: int) -> list[str]:
        answer = api.get(f"{issue}/comments", params={"per_page": 2, "page": page})
        for link in answer.links.values():
            assert re.search(rf"/repositories/\d+{issue}/comments\?per_page=2&page=\d$", str(link["url"]))
        return re.findall(r'rel="(\w+)"', answer.headers["link"])

    assert rels(1) == ["next", "last"]
    assert rels(2) == ["prev", "next", "last", "first"]
    assert rels(3) == ["prev", "first"]
    assert every_page(api, f"{issue}/comments?per_page=2") == ids
    assert api.get(f"{issue}/comments", params={"per_page": 2, "page": 9}).json() == []


def test_an_edit_does_not_move_a_comment(api: httpx.Client, issue: str) -> None:
    first, second = comment(api, issue), comment(api, issue)
    api.patch(at(first), json={"body": "later"})
    assert every_page(api, f"{issue}/comments") == [first.json()["id"], second.json()["id"]]


def test_since_means_updated_at_or_after(api: httpx.Client, issue: str) -> None:
    made = comment(api, issue)
    updated = datetime.fromisoformat(made.json()["updated_at"])

    def found(when: datetime) -> list[int]:
        text = when.strftime("%Y-%m-%dT%H:%M:%SZ")
        return every_page(api, f"{issue}/comments?since={text}")

    assert found(updated) == [made.json()["id"]]
    assert found(updated + timedelta(hours=1)) == []
    assert made.json()["id"] in every_page(
        api, f"/issues/comments?since={updated.strftime('%Y-%m-%dT%H:%M:%SZ')}&per_page=100"
    )
    api.delete(at(made))
    assert found(updated) == []


# ---- Any service: issues


def test_an_issue_without_text_has_a_null_body(api: httpx.Client, issue: str) -> None:
    assert api.get(issue).json()["body"] is None
    assert api.patch(issue, json={"body": "text"}).json()["body"] == "text"
    assert api.patch(issue, json={"body": ""}).json()["body"] is None


def test_labels_are_made_by_naming_them(api: httpx.Client, issue: str) -> None:
    assert [label["name"] for label in api.get(issue).json()["labels"]] == ["sessiond"]
    listed = api.get("/issues", params={"labels": "sessiond", "per_page": 100})
    number = int(issue.rsplit("/", 1)[1])
    assert number in [item["number"] for item in listed.json()]
    assert api.get("/issues", params={"labels": "sessiond,no such label"}).json() == []


def test_issues_come_newest_first_and_open_ones_only(api: httpx.Client, issue: str) -> None:
    number = int(issue.rsplit("/", 1)[1])
    newer = api.post("/issues", json={"title": "newer"}).json()["number"]
    assert [item["number"] for item in api.get("/issues").json()][:2] == [newer, number]
    closed = api.patch(f"/issues/{newer}", json={"state": "closed", "state_reason": "not_planned"}).json()
    assert (closed["state"], closed["state_reason"]) == ("closed", "not_planned")
    assert closed["closed_at"] is not None
    assert newer not in [item["number"] for item in api.get("/issues").json()]
    assert api.get("/issues", params={"state": "closed"}).json()[0]["number"] == newer
    assert api.get("/issues", params={"state": "all"}).json()[0]["number"] == newer


def test_a_closed_issue_takes_comments(api: httpx.Client, issue: str) -> None:
    assert api.patch(issue, json={"state": "closed"}).status_code == 200
    assert comment(api, issue).status_code == 201
    assert api.get(issue).json()["state"] == "closed"


@pytest.mark.parametrize(
    ("title", "code"), [("", "missing_field"), ("  ", "missing_field"), ("x" * 257, "custom")]
)
def test_a_title_has_1_to_256_characters(api: httpx.Client, title: str, code: str) -> None:
    refused = api.post("/issues", json={"title": title})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["code"] == code
    assert refused.json()["errors"][0]["field"] == "title"


def test_an_issue_body_over_the_limit_is_told_twice(api: httpx.Client) -> None:
    refused = api.post("/issues", json={"title": "x", "body": "x" * 262_145})
    assert refused.status_code == 422
    assert [error["message"] for error in refused.json()["errors"]] == [
        "body is too long",
        "body is too long (maximum is 65536 characters)",
    ]


# ---- Any service: transport


def test_a_request_without_user_agent_gets_html(api: httpx.Client) -> None:
    request = api.build_request("GET", home(api))
    del request.headers["user-agent"]
    answer = api.send(request)
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/html")
    assert "User-Agent" in answer.text


def test_an_unknown_api_version_is_refused(api: httpx.Client) -> None:
    answer = api.get(home(api), headers={"X-GitHub-Api-Version": "2020-01-01"})
    assert answer.status_code == 400
    assert "is not a supported version" in answer.json()["message"]


def test_the_newer_version_drops_fields(api: httpx.Client, issue: str, service: Service) -> None:
    newer = {"X-GitHub-Api-Version": "2026-03-10"}
    assert "assignee" in api.get(issue).json()
    assert "assignee" not in api.get(issue, headers=newer).json()
    assert "has_downloads" in api.get(home(api)).json()
    assert "has_downloads" not in api.get(home(api), headers=newer).json()
    assert "rate" in api.get(f"{service.url}/rate_limit").json()
    assert "rate" not in api.get(f"{service.url}/rate_limit", headers=newer).json()


@pytest.mark.parametrize("path", ["/issues/", "/issues/999999", "/issues/comments/1", "/no/such/thing"])
def test_what_is_not_there_is_404(api: httpx.Client, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 404
    assert answer.json()["message"] == "Not Found"


def test_a_stranger_sees_no_private_repository(api: httpx.Client) -> None:
    request = api.build_request("GET", home(api))
    del request.headers["authorization"]
    assert api.send(request).status_code == 404


def test_tags_are_weak_when_compressed_and_compare_weakly(api: httpx.Client, issue: str) -> None:
    comment(api, issue)
    path = f"{issue}/comments"
    weak = api.get(path, headers={"Accept-Encoding": "gzip"})
    assert weak.headers["content-encoding"] == "gzip"
    assert weak.headers["etag"].startswith('W/"')
    plain = api.get(path, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.headers["etag"].startswith('"')
    assert plain.json() == weak.json()
    unchanged = api.get(path, headers={"If-None-Match": weak.headers["etag"], "Accept-Encoding": "gzip"})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == weak.headers["etag"].removeprefix("W/")
    again = api.get(path, headers={"If-None-Match": unchanged.headers["etag"]})
    assert again.status_code == 304
    comment(api, issue)
    assert api.get(path, headers={"If-None-Match": weak.headers["etag"]}).status_code == 200


def test_looking_at_the_limit_is_free(api: httpx.Client, service: Service) -> None:
    before = api.get(f"{service.url}/rate_limit").json()["resources"]["core"]
    after = api.get(f"{service.url}/rate_limit").json()["resources"]["core"]
    assert before["remaining"] == after["remaining"]
    assert set(after) >= {"limit", "used", "remaining", "reset"}


def test_every_answer_tells_time_and_limit(api: httpx.Client, issue: str) -> None:
    for answer in (api.get(issue), api.get("/issues/999999"), api.patch(issue, json={"title": "t"})):
        assert parsedate_to_datetime(answer.headers["date"]).tzinfo is not None
        assert answer.headers["x-ratelimit-resource"] == "core"
        limit, used, left = (
            int(answer.headers[f"x-ratelimit-{name}"]) for name in ("limit", "used", "remaining")
        )
        assert limit == used + left
        assert int(answer.headers["x-ratelimit-reset"]) > 0


def test_connections_are_kept(api: httpx.Client, issue: str) -> None:
    streams = []
    for _ in range(3):
        with api.stream("GET", issue) as answer:
            streams.append(answer.extensions["network_stream"])
            answer.read()
    assert len(set(map(id, streams))) == 1


# ---- The stand-in: who may do what


def as_user(gh: FakeGitHub, token: str, **headers: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}", "User-Agent": "contract", **headers}
    return httpx.Client(base_url=f"{gh.url}/repos/{REPO}", headers=headers, timeout=20, trust_env=False)


def test_the_token_is_whose_comments_are_mine(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    me = api.get(f"{gh.url}/user").json()["login"]
    gh.add_comment(REPO, 1, "hers", login="alice", association="CONTRIBUTOR")
    comment(api, issue, "mine")
    gh.forget_author(gh.add_comment(REPO, 1, "nobody's"))
    listed = api.get(f"{issue}/comments").json()
    assert [c["user"] and c["user"]["login"] for c in listed] == ["alice", me, None]
    assert [c["author_association"] for c in listed] == ["CONTRIBUTOR", "COLLABORATOR", "NONE"]


def test_a_workflow_token_is_a_bot_that_has_no_user(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    gh.token("A", kind="actions", repositories=[REPO])
    with as_user(gh, "A") as bot:
        refused = bot.get(f"{gh.url}/user")
        assert refused.status_code == 403
        assert refused.json()["message"] == "Resource not accessible by integration"
        made = comment(bot, issue).json()
        assert (made["user"]["login"], made["user"]["type"]) == ("github-actions[bot]", "Bot")
        assert made["performed_via_github_app"]["slug"] == "github-actions"
        assert bot.get(home(bot)).headers["x-ratelimit-limit"] == "1000"
        gh.permit("A", {"issues": "read"})
        refused = bot.post(f"{issue}/comments", json={"body": "x"})
        assert refused.status_code == 403
        assert refused.json()["message"] == "Resource not accessible by integration"
        gh.add_repo("octo/other")
        assert bot.get(f"{gh.url}/repos/octo/other").status_code == 404


def test_a_token_without_the_permission_is_told_which(gh: FakeGitHub, issue: str) -> None:
    gh.token("R", login="me", permissions={"issues": "read", "contents": "read", "metadata": "read"})
    with as_user(gh, "R") as reader:
        assert reader.get(issue).status_code == 200
        for refused in (
            reader.post(f"{issue}/comments", json={"body": "x"}),
            reader.post("/issues", json={"title": "x"}),
            reader.patch(issue, json={"body": "x"}),
            reader.put("/contents/a", json={"message": "m", "content": ""}),
        ):
            assert refused.status_code == 403
            assert refused.json()["message"] == "Resource not accessible by personal access token"
            assert refused.headers["x-accepted-github-permissions"]
            assert int(refused.headers["x-ratelimit-remaining"]) > 0
    assert gh.effects() == ["created issue 1"]


def test_without_access_a_private_repository_is_not_there(gh: FakeGitHub, issue: str) -> None:
    gh.set_role(REPO, "me", "write")
    gh.token("O", login="outsider")
    gh.token("S", login="me", repositories=["octo/another"])
    gh.token("C", login="outsider", kind="classic")
    for token in "OSC":
        with as_user(gh, token) as stranger:
            for answer in (stranger.get(issue), stranger.post(f"{issue}/comments", json={"body": "x"})):
                assert (answer.status_code, answer.json()["message"]) == (404, "Not Found")
    gh.permit("T", {"metadata": "read"})
    with as_user(gh, "T") as blind:
        assert blind.get(home(blind)).status_code == 200
        assert blind.get(issue).status_code == 403


def test_only_writers_edit_the_texts_of_others(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    gh.set_role(REPO, "me", "write")
    gh.set_role(REPO, "reader", "read")
    gh.token("R", login="reader")
    hers = f"/issues/comments/{gh.add_comment(REPO, 1, 'hers')}"
    with as_user(gh, "R") as reader:
        own = at(comment(reader, issue, "own"))
        assert reader.patch(own, json={"body": "still own"}).status_code == 200
        for refused in (
            reader.patch(hers, json={"body": "x"}),
            reader.delete(hers),
            reader.patch(issue, json={"title": "x"}),
        ):
            assert refused.status_code == 403
        made = reader.post("/issues", json={"title": "x", "labels": ["dropped"]})
        assert made.status_code == 201
        assert made.json()["labels"] == []
    assert api.patch(hers, json={"body": "corrected"}).json()["user"]["login"] == "alice"


def test_a_stale_if_match_is_412_and_written_all_the_same(
    api: httpx.Client, gh: FakeGitHub, issue: str
) -> None:
    made = comment(api, issue, "mine")
    tag = api.get(at(made)).headers["etag"]
    assert api.patch(at(made), json={"body": "first"}, headers={"If-Match": tag}).status_code == 200
    assert api.patch(at(made), json={"body": "second"}, headers={"If-Match": tag}).status_code == 412
    assert api.get(at(made)).json()["body"] == "second"


def test_a_stranger_reads_but_does_not_write_in_public(gh: FakeGitHub, issue: str) -> None:
    gh.make_public(REPO)
    with httpx.Client(base_url=f"{gh.url}/repos/{REPO}", trust_env=False) as stranger:
        assert stranger.get(issue).status_code == 200
        refused = stranger.post(f"{issue}/comments", json={"body": "x"})
        assert (refused.status_code, refused.json()["message"]) == (401, "Requires authentication")
        assert stranger.get(home(stranger)).headers["x-ratelimit-limit"] == "60"
        assert stranger.get(home(stranger)).json()["private"] is False


def test_bad_credentials_are_401_and_soon_403_for_the_good_ones_too(
    api: httpx.Client, gh: FakeGitHub, issue: str
) -> None:
    gh.freeze()
    gh.behave(bad_logins=3)
    gh.revoke_token("T")
    for _ in range(3):
        refused = api.get(issue)
        assert (refused.status_code, refused.json()["message"]) == (401, "Bad credentials")
    gh.token("T2", login="me")
    with as_user(gh, "T2") as good:
        assert good.get(issue).status_code == 403
        gh.advance(301)
        assert good.get(issue).status_code == 200


def test_an_expiring_token_says_when(api: httpx.Client, gh: FakeGitHub) -> None:
    gh.freeze(1_900_000_000)
    gh.expire_token("T", gh.now() + 60)
    answer = api.get(home(api))
    assert answer.headers["github-authentication-token-expiration"] == "2030-03-17 17:47:40 UTC"
    gh.advance(60)
    assert api.get(home(api)).status_code == 401


# ---- The stand-in: issues and repositories in other states


def test_people_edit_in_the_browser_with_crlf(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    made = comment(api, issue, "a\nb\r\nc")
    gh.edit_comment(made.json()["id"], "a\nb\r\nc!")
    assert api.get(at(made)).json()["body"] == "a\r\nb\r\nc!"
    gh.edit_issue(REPO, 1, body="x\ny")
    assert api.get(issue).json()["body"] == "x\r\ny"
    gh.delete_comment(made.json()["id"])
    assert api.patch(at(made), json={"body": "x"}).status_code == 404


def test_a_locked_issue_is_open_to_writers_only(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    gh.set_role(REPO, "me", "write")
    gh.set_role(REPO, "reader", "read")
    gh.token("R", login="reader")
    gh.lock_issue(REPO, 1)
    assert comment(api, issue).status_code == 201
    with as_user(gh, "R") as reader:
        refused = reader.post(f"{issue}/comments", json={"body": "x"})
        assert refused.status_code == 403
        assert refused.json()["message"] == "Unable to create comment because issue is locked."


def test_the_2500th_comment_is_the_last(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    assert gh.behaviour.comments_per_issue == 2500
    gh.behave(comments_per_issue=2)
    made = comment(api, issue)
    comment(api, issue)
    refused = api.post(f"{issue}/comments", json={"body": "x"})
    assert refused.status_code == 403
    assert refused.json()["message"] == "Commenting is disabled on issues with more than 2 comments"
    assert api.patch(at(made), json={"body": "edits still work"}).status_code == 200


def test_a_deleted_issue_is_gone(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    made = comment(api, issue)
    gh.delete_issue(REPO, 1)
    assert api.get(issue).status_code == 410
    assert api.get(f"{issue}/comments").status_code == 410
    assert api.post(f"{issue}/comments", json={"body": "x"}).status_code == 410
    assert api.get(at(made)).status_code == 404
    assert api.get("/issues").json() == []
    assert api.get("/issues/comments").json() == []


def test_a_transferred_issue_redirects_with_its_comments(
    api: httpx.Client, gh: FakeGitHub, issue: str
) -> None:
    made = comment(api, issue)
    target = gh.add_repo("octo/elsewhere")
    number = gh.transfer_issue(REPO, 1, "octo/elsewhere")
    answer = api.get(f"{issue}/comments?per_page=5")
    assert answer.status_code == 301
    there = f"{gh.url}/repositories/{target.id}/issues/{number}/comments?per_page=5"
    assert answer.headers["location"] == there
    assert [item["id"] for item in api.get(there).json()] == [made.json()["id"]]


def test_a_renamed_repository_redirects_by_id(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    repo_id = gh.repo(REPO).id
    gh.rename_repo(REPO, "octo/renamed")
    read = api.get(f"{issue}?x=1")
    assert (read.status_code, read.json()["message"]) == (301, "Moved Permanently")
    assert read.headers["location"] == f"{gh.url}/repositories/{repo_id}{issue}?x=1"
    write = api.post(f"{issue}/comments", json={"body": "x"})
    assert (write.status_code, write.json()["message"]) == (307, "Temporary Redirect")
    assert gh.comments("octo/renamed", 1) == []
    assert api.post(write.headers["location"], json={"body": "x"}).status_code == 201
    assert api.get(read.headers["location"]).json()["repository_url"].endswith("/repos/octo/renamed")
    gh.add_repo(REPO)  # somebody takes the name
    assert api.get(issue).status_code == 404


def test_an_archived_repository_is_read_only(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    gh.archive_repo(REPO)
    assert api.get(issue).status_code == 200
    assert api.get(home(api)).json()["archived"] is True
    for refused in (
        api.post(f"{issue}/comments", json={"body": "x"}),
        api.patch(issue, json={"body": "x"}),
        api.post("/issues", json={"title": "x"}),
    ):
        assert refused.status_code == 403
        assert refused.json()["message"] == "Repository was archived so is read-only."


def test_issues_may_be_turned_off(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    made = comment(api, issue)
    gh.enable_issues(REPO, on=False)
    assert api.get(home(api)).json()["has_issues"] is False
    for refused in (api.get("/issues"), api.get(at(made)), api.post("/issues", json={"title": "x"})):
        assert refused.status_code == 410
        assert refused.json()["message"] == "Issues are disabled for this repo"
    gh.enable_issues(REPO, on=True)
    assert api.get(at(made)).status_code == 200


def test_an_empty_repository_is_begun_with_a_file(api: httpx.Client, gh: FakeGitHub) -> None:
    gh.empty_repo(REPO)
    assert api.get(home(api)).json()["size"] == 0
    content = base64.b64encode(b"# Sessions\n").decode()
    made = api.put("/contents/README.md", json={"message": "Begin", "content": content})
    assert made.status_code == 201
    assert made.json()["content"]["sha"] == "f185a0e70de7607bdb5e3fc7a4c25261f82e1133"
    assert api.get(home(api)).json()["size"] == 1
    again = api.put("/contents/README.md", json={"message": "Again", "content": content})
    assert again.status_code == 422
    assert '"sha" wasn\'t supplied' in again.json()["message"]
    fields = {"message": "Again", "content": content, "sha": made.json()["content"]["sha"]}
    assert api.put("/contents/README.md", json=fields).status_code == 200
    assert api.put("/contents/README.md", json={**fields, "sha": "0" * 40}).status_code == 409
    secret = base64.b64encode(b"key = ghp_" + b"x1" * 18).decode()
    refused = api.put("/contents/key", json={"message": "Oops", "content": secret})
    assert (refused.status_code, refused.json()["message"]) == (409, "Secret detected in content")


# ---- The stand-in: lists


def test_a_list_may_miss_what_was_just_written(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    gh.behave(lag_reads=2)
    made = comment(api, issue).json()["id"]
    assert api.get(issue).json()["comments"] == 1
    assert api.get(f"/issues/comments/{made}").status_code == 200
    assert every_page(api, f"{issue}/comments") == []
    assert every_page(api, "/issues/comments") == []
    assert every_page(api, f"{issue}/comments") == [made]
    gh.behave(lag_reads=-1)
    later = comment(api, issue).json()["id"]
    opened = api.post("/issues", json={"title": "late"}).json()["number"]
    for _ in range(5):
        assert every_page(api, f"{issue}/comments") == [made]
        assert opened not in [item["number"] for item in api.get("/issues").json()]
    gh.release_lag()
    assert every_page(api, f"{issue}/comments") == [made, later]
    assert api.get("/issues").json()[0]["number"] == opened


def test_since_has_whole_seconds(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    gh.freeze(1_900_000_000.9)
    made = comment(api, issue).json()["id"]
    second = datetime.fromtimestamp(1_900_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert every_page(api, f"{issue}/comments?since={second}") == [made]
    assert every_page(api, f"/issues/comments?since={second}") == [made]
    assert [found["number"] for found in api.get(f"/issues?since={second}").json()] == [1]
    gh.advance(0.1)
    other = comment(api, issue).json()["id"]
    for path in (f"{issue}/comments", "/issues/comments"):
        assert every_page(api, f"{path}?since=2030-03-17T17:46:41Z") == [other]
    gh.edit_comment(made, "edited")
    assert every_page(api, f"{issue}/comments?since=2030-03-17T17:46:41%2B00:00") == [made, other]
    assert api.get(f"{issue}/comments?since=yesterday").status_code == 422


def test_the_repository_wide_list_can_be_sorted(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    gh.freeze(1_900_000_000)
    ids = []
    for number in (1, gh.add_issue(REPO)):
        gh.advance(1)
        ids.append(gh.add_comment(REPO, number, "x"))
    gh.advance(1)
    gh.edit_comment(ids[0], "y")
    assert every_page(api, "/issues/comments") == ids
    assert every_page(api, "/issues/comments?direction=desc") == ids
    assert every_page(api, "/issues/comments?sort=updated&direction=asc") == [ids[1], ids[0]]
    assert every_page(api, "/issues/comments?sort=created&per_page=1") == [ids[1], ids[0]]


def test_sizes_of_pages(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    for number in range(101):
        gh.add_comment(REPO, 1, str(number))
    path = f"{issue}/comments"
    assert len(api.get(path).json()) == 30
    assert len(api.get(path, params={"per_page": 100}).json()) == 100
    assert len(api.get(path, params={"per_page": 1000}).json()) == 100
    assert len(api.get(path, params={"per_page": "many"}).json()) == 30


def test_links_may_be_opaque(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    ids = [gh.add_comment(REPO, 1, str(number)) for number in range(5)]
    gh.behave(opaque_pages=True)
    first = api.get(f"{issue}/comments?per_page=2")
    assert "&page=" not in first.headers["link"]
    assert "last" not in first.links
    assert every_page(api, f"{issue}/comments?per_page=2") == ids


def test_tags_belong_to_a_token(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    gh.token("T2", login="me")
    tag = api.get(issue).headers["etag"]
    with as_user(gh, "T2", Accept=api.headers["accept"]) as other:
        assert other.get(issue, headers={"If-None-Match": tag}).status_code == 200
    assert api.get(issue, headers={"If-None-Match": tag}).status_code == 304
    changed = {"If-None-Match": tag, "X-GitHub-Api-Version": "2026-03-10"}
    assert api.get(issue, headers=changed).status_code == 200


# ---- The stand-in: limits


def remaining(answer: httpx.Response) -> int:
    return int(answer.headers["x-ratelimit-remaining"])


def test_requests_count_and_304_does_not(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    first = api.get(issue)
    assert remaining(api.get("/issues/999999")) == remaining(first) - 1
    unchanged = api.get(issue, headers={"If-None-Match": first.headers["etag"]})
    assert unchanged.status_code == 304
    assert remaining(unchanged) == remaining(first) - 1
    # Reads and writes have windows of their own.
    write = api.patch(issue, json={"title": "t"})
    assert write.headers["x-ratelimit-reset"] != first.headers["x-ratelimit-reset"]
    assert remaining(write) == 5000 - 2
    assert remaining(api.get(issue)) == 5000 - 3


@pytest.mark.parametrize("status", [403, 429])
def test_the_primary_limit_ends_with_the_window(
    api: httpx.Client, gh: FakeGitHub, issue: str, status: int
) -> None:
    gh.freeze()
    gh.behave(limit_status=status)
    gh.rate_limit("me", remaining=1, reset_in_s=30)
    assert remaining(api.get(issue)) == 0
    refused = api.get(issue)
    assert refused.status_code == status
    assert refused.json()["message"].startswith("API rate limit exceeded for user ID")
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert int(refused.headers["x-ratelimit-reset"]) == int(gh.now()) + 30
    assert "retry-after" not in refused.headers
    assert api.get(f"{gh.url}/rate_limit").json()["resources"]["core"]["remaining"] == 0
    gh.token("T2", login="me")
    with as_user(gh, "T2") as other:  # all tokens of a user share
        assert other.get(issue).status_code == status
    gh.advance(30)
    assert api.get(issue).status_code == 200


def test_80_creations_a_minute_and_500_an_hour(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    gh.freeze()
    for _ in range(79):  # the issue was the first
        comment(api, issue)
    refused = api.post(f"{issue}/comments", json={"body": "x"})
    assert refused.status_code == 403
    assert "secondary rate limit" in refused.json()["message"]
    assert refused.json()["documentation_url"].endswith("secondary-rate-limits")
    assert refused.headers["retry-after"] == "60"
    assert remaining(refused) > 0
    assert api.patch(issue, json={"title": "edits go on"}).status_code == 200
    gh.advance(59)
    assert api.post("/issues", json={"title": "x"}).headers["retry-after"] == "1"
    gh.advance(2)
    made = 80
    while api.post(f"{issue}/comments", json={"body": "x"}).status_code == 201:
        made += 1
        gh.advance(1)
    assert made == 500


def test_900_points_a_minute_at_one_endpoint(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    gh.freeze()
    gh.behave(points_per_minute=10)
    for _ in range(2):
        assert api.patch(issue, json={"title": "x"}).status_code == 200
    assert api.get(issue).status_code == 200  # another endpoint
    refused = api.patch(issue, json={"title": "x"})
    assert refused.status_code == 403
    assert "secondary rate limit" in refused.json()["message"]


@pytest.mark.parametrize("retry_after", [True, False])
@pytest.mark.parametrize(
    ("wording", "docs"), [("secondary", "secondary-rate-limits"), ("abuse", "#abuse-rate-limits")]
)
def test_a_secondary_limit_may_not_say_how_long(
    api: httpx.Client, gh: FakeGitHub, issue: str, wording: str, docs: str, retry_after: bool
) -> None:
    gh.freeze()
    gh.secondary_limit(72, retry_after=retry_after, wording=wording, status=429)
    refused = api.post(f"{issue}/comments", json={"body": "x"})
    assert refused.status_code == 429
    assert ("abuse detection" if wording == "abuse" else "secondary rate") in refused.json()["message"]
    assert refused.json()["documentation_url"].endswith(docs)
    assert refused.headers.get("retry-after") == ("72" if retry_after else None)
    assert api.get(issue).status_code == 200
    gh.advance(72)
    assert comment(api, issue).status_code == 201


@pytest.mark.parametrize(
    ("scope", "statuses"), [("content", [200, 200, 403]), ("writes", [200, 403, 403]), ("all", [403] * 3)]
)
def test_scopes_of_a_secondary_limit(
    api: httpx.Client, gh: FakeGitHub, issue: str, scope: str, statuses: list[int]
) -> None:
    gh.control("secondary_limit", f'{{"scope": "{scope}"}}'.encode())
    answers = [
        api.get(issue),
        api.patch(issue, json={"title": "x"}),
        api.post(f"{issue}/comments", json={"body": "x"}),
    ]
    assert [answer.status_code for answer in answers] == statuses


# ---- The stand-in: many at once


def test_writes_from_many_threads_are_all_kept(gh: FakeGitHub, issue: str) -> None:
    def write(worker: int) -> None:
        with as_user(gh, "T") as client:
            for number in range(10):
                comment(client, issue, f"{worker}:{number}")

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    bodies = [post.body for post in gh.comments(REPO, 1)]
    assert sorted(bodies) == sorted(f"{worker}:{number}" for worker in range(6) for number in range(10))


# ---- A client that is not ours


def test_pygithub_reads_what_was_written(api: httpx.Client, gh: FakeGitHub, issue: str) -> None:
    gh.behave(points_per_minute=100_000)
    body = "<!-- marker -->\n😀\r\n"
    ids = [comment(api, issue, f"{body}{n}").json()["id"] for n in range(35)]
    hub = github.Github(
        base_url=gh.url, auth=github.Auth.Token("T"), seconds_between_requests=0, seconds_between_writes=0
    )
    try:
        repo = hub.get_repo(REPO)
        assert (repo.private, repo.has_issues, repo.owner.login) == (True, True, "octo")
        assert hub.get_user().login == "me"
        assert hub.get_rate_limit().resources.core.limit == 5000
        found = repo.get_issue(1)
        assert [label.name for label in found.labels] == ["sessiond"]
        assert [i.number for i in repo.get_issues(labels=["sessiond"], state="all")] == [1]
        listed = list(found.get_comments())
        assert [c.id for c in listed] == ids
        assert listed[0].body == f"{body}0"
        newest = found.get_comment(ids[-1])
        newest.edit("edited")
        assert api.get(f"/issues/comments/{ids[-1]}").json()["body"] == "edited"
        assert list(found.get_comments(since=datetime.now(UTC) + timedelta(hours=1))) == []
        assert len(list(found.get_comments(since=datetime.now(UTC) - timedelta(hours=1)))) == 35
        assert repo.create_issue("By PyGithub", labels=["new"]).create_comment("x").user.login == "me"
        newest.delete()
        with pytest.raises(github.UnknownObjectException):
            found.get_comment(ids[-1])
    finally:
        hub.close()

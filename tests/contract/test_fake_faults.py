"""The stand-in's faults, its log, and its life as a process: what other tests rely on to arrange trouble."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.conftest import PATIENCE_S
from tests.fakes.faults import Fault, Plan, accept_then_drop, limited, rule, server_error
from tests.fakes.github import CONTROLS, FakeGitHub
from tests.fakes.process import ROOT, GitHubProcess

REPO = "octo/sessions"
COMMENTS = f"/repos/{REPO}/issues/1/comments"
HEADERS = {"Authorization": "Bearer T", "User-Agent": "faults"}
Wait = Callable[..., None]


@pytest.fixture
def gh() -> Iterator[FakeGitHub]:
    with FakeGitHub(seed=7) as fake:
        fake.add_repo(REPO)
        fake.add_issue(REPO)
        fake.token("T", login="me")
        yield fake


@pytest.fixture
def api(gh: FakeGitHub) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gh.url, headers=HEADERS, timeout=PATIENCE_S, trust_env=False) as client:
        yield client


def post(api: httpx.Client, body: str = "x") -> httpx.Response:
    return api.post(COMMENTS, json={"body": body})


def bodies(gh: FakeGitHub) -> list[str]:
    return [comment.body for comment in gh.comments(REPO, 1)]


# ---- Kinds of faults


def test_accept_then_drop_writes_and_says_nothing(api: httpx.Client, gh: FakeGitHub) -> None:
    gh.fault(accept_then_drop(times=1))
    with pytest.raises(httpx.RemoteProtocolError):
        post(api, "lost answer")
    assert bodies(gh) == ["lost answer"]
    dropped = gh.requests("POST")[-1]
    assert (dropped.status, dropped.fault, dropped.effect) == (None, "drop", gh.effects()[-1])
    assert post(api).status_code == 201


def test_drop_without_effect_writes_nothing(api: httpx.Client, gh: FakeGitHub) -> None:
    gh.fault(rule("drop", times=1))
    with pytest.raises(httpx.RemoteProtocolError):
        post(api)
    assert bodies(gh) == []


def test_a_reset_is_another_error(api: httpx.Client, gh: FakeGitHub) -> None:
    gh.fault(accept_then_drop(reset=True, times=1))
    with pytest.raises(httpx.ReadError):
        post(api)
    assert bodies(gh) == ["x"]
    assert post(api).status_code == 201


@pytest.mark.parametrize("effect", [False, True])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_5xx_before_and_after_the_effect(
    api: httpx.Client, gh: FakeGitHub, status: int, effect: bool
) -> None:
    gh.fault(server_error(status, effect=effect, headers={"retry-after": "3"}))
    answer = post(api, "x")
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "3")
    assert answer.json()["message"] == "Server Error"
    assert bodies(gh) == (["x"] if effect else [])


def test_html_instead_of_json(api: httpx.Client, gh: FakeGitHub) -> None:
    gh.fault(rule("html", status=502))
    answer = post(api)
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "text/html"
    assert "Unicorn" in answer.text
    assert bodies(gh) == []


def test_an_answer_that_is_no_json(api: httpx.Client, gh: FakeGitHub) -> None:
    gh.fault(rule("malformed"))
    answer = post(api)
    assert answer.status_code == 201
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    assert bodies(gh) == ["x"]


@pytest.mark.parametrize("keep_bytes", [0, 20])
@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_an_answer_cut_short(api: httpx.Client, gh: FakeGitHub, keep_bytes: int, coding: str) -> None:
    gh.fault(rule("truncate", keep_bytes=keep_bytes, times=1))
    with pytest.raises(httpx.RemoteProtocolError, match="complete message body"):
        api.post(COMMENTS, json={"body": "x"}, headers={"Accept-Encoding": coding})
    assert bodies(gh) == ["x"]
    assert post(api).status_code == 201


def test_a_slow_answer(api: httpx.Client, gh: FakeGitHub, wait_until: Wait) -> None:
    gh.fault(rule("slow", delay_s=0.2))
    start = time.monotonic()
    assert post(api).status_code == 201
    assert time.monotonic() - start >= 0.2
    with pytest.raises(httpx.ReadTimeout):
        api.post(COMMENTS, json={"body": "y"}, timeout=0.05)
    wait_until(lambda: bodies(gh) == ["x", "y"])


@pytest.mark.parametrize("effect", [False, True])
def test_a_hang_ends_when_released(gh: FakeGitHub, wait_until: Wait, effect: bool) -> None:
    gh.fault(rule("hang", effect=effect, delay_s=2 * PATIENCE_S))
    failed: list[Exception] = []

    def ask() -> None:
        with httpx.Client(
            base_url=gh.url, headers=HEADERS, timeout=2 * PATIENCE_S, trust_env=False
        ) as client:
            try:
                post(client)
            except httpx.HTTPError as error:
                failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_until(lambda: gh.requests("POST"))
    assert asking.is_alive()
    gh.clear_faults()
    asking.join(PATIENCE_S)
    assert not asking.is_alive()
    assert [type(error) for error in failed] == [httpx.RemoteProtocolError]
    assert bodies(gh) == (["x"] if effect else [])


def test_a_hang_outlasts_the_client(api: httpx.Client, gh: FakeGitHub) -> None:
    gh.fault(rule("hang", times=1))
    with pytest.raises(httpx.ReadTimeout):
        api.post(COMMENTS, json={"body": "x"}, timeout=0.1)
    assert post(api).status_code == 201


def test_refused_connections(api: httpx.Client, gh: FakeGitHub) -> None:
    assert post(api).status_code == 201
    with gh.refused():
        for _ in range(3):
            with pytest.raises(httpx.TransportError):
                post(api)
        with pytest.raises(httpx.ConnectError):
            post(api)
    assert post(api).status_code == 201
    assert len(bodies(gh)) == 2


def test_a_rule_may_shut_the_door_for_a_while(api: httpx.Client, gh: FakeGitHub, wait_until: Wait) -> None:
    gh.fault(rule("refuse", delay_s=0.3, times=1))
    with pytest.raises(httpx.TransportError):
        post(api)
    with pytest.raises(httpx.ConnectError):
        post(api)

    def back() -> bool:
        try:
            return api.get("/rate_limit").status_code == 200
        except httpx.TransportError:
            return False

    wait_until(back)
    assert bodies(gh) == []


@pytest.mark.parametrize("wording", ["secondary", "abuse"])
def test_a_limit_that_strikes_one_request(api: httpx.Client, gh: FakeGitHub, wording: str) -> None:
    gh.fault(limited(429, retry_after_s=7, wording=wording, nth=[2]))
    assert post(api).status_code == 201
    refused = post(api)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    assert ("secondary rate" if wording == "secondary" else "abuse") in refused.json()["message"]
    assert int(refused.headers["x-ratelimit-remaining"]) > 0
    assert post(api).status_code == 201


def test_an_answer_of_ones_own(api: httpx.Client, gh: FakeGitHub) -> None:
    gh.fault(rule("status", status=403, body='{"message": "Sorry."}', headers={"x-ratelimit-remaining": "0"}))
    answer = api.get("/user")
    assert (answer.status_code, answer.json()) == (403, {"message": "Sorry."})
    assert answer.headers["x-ratelimit-remaining"] == "0"


# ---- Which requests a rule hits


def test_rules_match_method_path_and_count() -> None:
    plan = Plan()
    plan.add(
        rule("drop", method="POST", path=r"/comments$", nth=[2, 3]),
        rule("html", method="POST|PATCH", path="issues", times=1),
        rule("slow", path=r"since="),
    )

    def kinds(*requests: tuple[str, str]) -> list[str]:
        return [fault.kind if (fault := plan.pick(*request)) else "" for request in requests]

    comments = ("POST", COMMENTS)
    assert kinds(comments, comments, comments, comments) == ["html", "drop", "drop", ""]
    assert kinds(("GET", COMMENTS), ("GET", f"{COMMENTS}?since=2026-01-01T00:00:00Z")) == ["", "slow"]
    assert plan.hits() == [2, 1, 1]
    plan.clear()
    assert kinds(comments, comments) == ["", ""]


def test_chance_is_the_seed_and_nothing_else() -> None:
    requests = [("GET", f"/repos/{REPO}/issues/{n % 7}") for n in range(300)]

    def struck(seed: int, order: list[tuple[str, str]]) -> list[tuple[str, int]]:
        plan = Plan(seed)
        plan.add(rule("drop", probability=0.3))
        seen: dict[str, int] = {}
        hits = []
        for method, path in order:
            seen[path] = seen.get(path, 0) + 1
            if plan.pick(method, path):
                hits.append((path, seen[path]))
        return sorted(hits)

    first = struck(1, requests)
    assert first == struck(1, requests)
    assert first == struck(1, sorted(requests)), "another interleaving, the same faults"
    assert first != struck(2, requests)
    assert 60 < len(first) < 120


def test_a_misspelt_rule_is_an_error(gh: FakeGitHub) -> None:
    with pytest.raises(msgspec.ValidationError):
        rule("drop", metod="POST")
    with pytest.raises(msgspec.ValidationError):
        gh.fault(add=[{"kind": "explode"}])
    with pytest.raises(msgspec.ValidationError):
        gh.behave(lag=3)


# ---- The log


def test_the_log_tells_what_was_asked_and_never_the_token(api: httpx.Client, gh: FakeGitHub) -> None:
    post(api, "first")
    api.get(f"{COMMENTS}?per_page=5", headers={"If-None-Match": '"x"'})
    written, read = gh.requests()
    assert (written.method, written.path, written.status, written.account) == ("POST", COMMENTS, 201, "me")
    assert json.loads(written.body) == {"body": "first"}
    assert written.effect == gh.effects()[0] == f"created comment {gh.comments(REPO, 1)[0].id}"
    assert (read.path, read.headers["if-none-match"], read.body) == (f"{COMMENTS}?per_page=5", '"x"', "")
    assert written.headers["authorization"] == "Bearer …"
    assert gh.requests(writes=True) == [written]
    assert gh.requests("GET", r"per_page", status=200) == [read]
    assert read.monotonic_s >= written.monotonic_s
    gh.forget_requests()
    assert gh.requests() == []


def test_spacing_is_between_writes_only(api: httpx.Client, gh: FakeGitHub) -> None:
    assert gh.min_write_spacing_s() == float("inf")
    post(api)
    api.get(COMMENTS)
    post(api)
    first, second = gh.requests(writes=True)
    assert gh.min_write_spacing_s() == second.monotonic_s - first.monotonic_s > 0


def test_what_was_once_readable_stays_known(api: httpx.Client, gh: FakeGitHub) -> None:
    made = post(api, "secret")
    path = f"/repos/{REPO}/issues/comments/{made.json()['id']}"
    api.patch(path, json={"body": "redacted"})
    api.delete(path)
    assert gh.all_comments() == []
    assert gh.ever_readable() == ["secret", "redacted"]


def test_a_request_that_never_came_whole_is_not_logged(gh: FakeGitHub, api: httpx.Client) -> None:
    gh.close()
    with pytest.raises(httpx.TransportError):
        post(api)
    assert gh.requests() == []


# ---- As a process


@pytest.fixture
def process(tmp_path: Path) -> Iterator[GitHubProcess]:
    with GitHubProcess(tmp_path / "github.db", seed=7) as started:
        started.call("add_repo", full_name=REPO)
        started.call("add_issue", full_name=REPO)
        started.call("token", value="T", login="me")
        yield started


def client(process: GitHubProcess) -> httpx.Client:
    return httpx.Client(base_url=process.url, headers=HEADERS, timeout=PATIENCE_S, trust_env=False)


def test_nothing_acknowledged_is_lost_by_a_kill(process: GitHubProcess) -> None:
    acknowledged: list[str] = []
    started = threading.Event()

    def write() -> None:
        with client(process) as api:
            for number in range(100_000):
                try:
                    made = post(api, str(number))
                except httpx.TransportError:
                    return
                assert made.status_code == 201, made.text
                acknowledged.append(str(number))
                if number == 20:
                    started.set()

    process.call("behave", content_per_minute=10**9, content_per_hour=10**9, points_per_minute=10**9)
    writing = threading.Thread(target=write)
    writing.start()
    assert started.wait(PATIENCE_S)
    url = process.url
    process.kill()
    writing.join(PATIENCE_S)
    process.start()
    assert process.url == url
    kept = [comment["body"] for comment in process.call("comments", full_name=REPO, number=1)]
    assert kept[: len(acknowledged)] == acknowledged
    assert len(kept) - len(acknowledged) in {0, 1}, "at most the one that was under way"
    assert len(process.call("effects", pattern="created comment")) == len(kept)
    with client(process) as api:
        assert post(api, "after").json()["id"] > process.call("comments", full_name=REPO, number=1)[-2]["id"]
        assert api.get(f"/repos/{REPO}/issues/1").json()["comments"] == len(kept) + 1


def test_what_people_did_survives_a_kill(process: GitHubProcess) -> None:
    made = process.call("add_comment", full_name=REPO, number=1, body="kept")
    process.call("behave", comments_per_issue=1)
    process.kill()
    process.start()
    assert [c["id"] for c in process.call("comments", full_name=REPO, number=1)] == [made]
    with client(process) as api:
        assert post(api).status_code == 403


def test_the_control_endpoint_does_what_the_methods_do(process: GitHubProcess) -> None:
    with client(process) as api:
        made = post(api, "a\nb").json()["id"]
        process.call("fault", add=[{"kind": "status", "status": 503, "times": 1}])
        assert api.get("/user").status_code == 503
        assert process.call("fault_hits") == [1]
        process.call("clear_faults")
        process.call("edit_comment", comment_id=made, body="x\ny")
        assert api.get(f"/repos/{REPO}/issues/comments/{made}").json()["body"] == "x\r\ny"
        process.call("rename_repo", full_name=REPO, new_name="octo/new")
        assert api.get(f"/repos/{REPO}").status_code == 301
        process.call("make_public", full_name="octo/new")
        assert process.call("state")["repos"][0]["private"] is False
        process.call("rate_limit", account="me", remaining=0)
        assert api.get("/user").status_code == 403
        now = process.call("freeze")
        assert process.call("advance", seconds=90) == now + 90
        assert api.get("/user").status_code == 200
        process.call("revoke_token", value="T")
        assert api.get("/user").status_code == 401
        assert len(process.call("requests", path="^/user$", status=200)) == 1
    with pytest.raises(ValueError, match="no such control"):
        process.call("close")
    with pytest.raises(ValueError, match="unexpected keyword"):
        process.call("advance", minutes=1)
    with pytest.raises(ValueError, match="KeyError"):
        process.call("archive_repo", full_name="no/such")


def test_every_control_is_a_method() -> None:
    assert [name for name in CONTROLS if not callable(getattr(FakeGitHub, name, None))] == []
    assert list(CONTROLS) == sorted(CONTROLS)


def test_the_process_ends_at_once_and_quietly(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.fakes.github", "--port", "0"]
    command += ["--state", str(tmp_path / "s.db"), "--repo", REPO, "--token", "T=me"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        hello = json.loads(process.stdout.readline())
        assert hello["pid"] == process.pid
        with httpx.Client(base_url=hello["url"], headers=HEADERS, trust_env=False) as api:
            assert api.get(f"/repos/{REPO}").status_code == 200
            os.kill(process.pid, signal.SIGTERM)
            _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (0, "")
    with sqlite3.connect(tmp_path / "s.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_a_prefix_as_on_servers_of_ones_own() -> None:
    with FakeGitHub(prefix="/api/v3") as gh:
        gh.add_repo(REPO)
        gh.token("T")
        number = gh.add_issue(REPO)
        for text in "abc":
            gh.add_comment(REPO, number, text)
        assert gh.url.endswith("/api/v3")
        with httpx.Client(headers=HEADERS, trust_env=False) as api:
            page = api.get(f"{gh.url}/repos/{REPO}/issues/1/comments?per_page=2")
            rest = api.get(page.links["next"]["url"])
            assert [item["body"] for item in rest.json()] == ["c"]
            assert api.get(f"{gh.url.removesuffix('/api/v3')}/repos/{REPO}").status_code == 404


def test_a_fault_is_described_by_its_docstring() -> None:
    kinds = msgspec.json.schema(Fault)["$defs"]["Fault"]["properties"]["kind"]["enum"]
    assert [kind for kind in kinds if f"`{kind}`" not in (Fault.__doc__ or "")] == []

"""The client against a GitHub on loopback: real HTTP, every error reached by an answer that really comes."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import pytest

from sessionsync.errors import (
    IssueFull,
    IssueLocked,
    Lagging,
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
from sessionsync.events import EVENTS
from sessionsync.privacy.gate import ClearedText
from sessionsync.remote.answers import BOUNDS
from sessionsync.remote.api import API_VERSION
from sessionsync.remote.github import Bounds, GitHub
from tests.conftest import poll
from tests.contract.prism import Prism
from tests.contract.wires import Script
from tests.fakes import faults
from tests.fakes.github import FakeGitHub

REPO = "octo/sessions"
SECRET = "ghp_NeverShown0123456789NeverShown0123456"
NOW = 1_800_000_000.0
E = TypeVar("E", bound=RemoteError)
QUICK = Bounds(connect_s=2, read_s=0.2, total_s=0.4)


def cleared(text: str) -> ClearedText:
    return ClearedText(text)


class Rig:
    """A client, what it told, and the stand-in's clock as its own."""

    def __init__(self, gh: FakeGitHub) -> None:
        self.gh = gh
        self.token = SECRET
        self.events: list[dict[str, Any]] = []
        self.slow_s = 0.0  # how far this machine's clock is behind GitHub's
        self.on_request: Callable[[str], None] = lambda _: None
        self._clients: list[GitHub] = []
        self.hub = self.client()

    def client(self, **changes: Any) -> GitHub:
        settings: dict[str, Any] = {
            "repo": REPO,
            "api_url": self.gh.url,
            "token": lambda: self.token,
            "user_agent": "sessiond/0",
            "wall": self.wall,
            "monotonic": time.monotonic,
            "emit": self.emit,
        }
        hub = GitHub(**(settings | changes))
        self._clients.append(hub)
        return hub

    def wall(self) -> float:
        return self.gh.now() - self.slow_s

    def emit(self, event: str, **fields: Any) -> None:
        assert event in EVENTS
        self.events.append({"event": event, **fields})
        if event == "github_requested":
            self.on_request(fields["operation"])

    def told(self, event: str) -> list[dict[str, Any]]:
        return [told for told in self.events if told["event"] == event]

    @property
    def outcomes(self) -> list[str]:
        return [told["outcome"] for told in self.told("github_requested")]

    def fails(self, kind: type[E], act: Callable[[], object]) -> E:
        """The error that `act` ends with: of exactly this class, fit to be shown."""
        with pytest.raises(kind) as caught:
            act()
        error = caught.value
        assert type(error) is kind
        message = str(error)
        assert len(message) < 500
        assert message.isprintable()
        assert error.hint.isprintable()
        assert len(error.hint) > 10
        trace = "".join(traceback.format_exception(error))
        seen: BaseException | None = error
        while seen is not None:
            trace += repr(seen) + repr(vars(seen))
            seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
        assert SECRET not in trace
        return error

    def close(self) -> None:
        for hub in self._clients:
            hub.close()
        assert SECRET not in repr(self.events)
        assert SECRET not in repr([vars(hub) for hub in self._clients])


@pytest.fixture
def rig(gh: FakeGitHub) -> Iterator[Rig]:
    gh.freeze(NOW)
    gh.token(SECRET, login="me")
    rig = Rig(gh)
    yield rig
    rig.close()


@pytest.fixture
def issue(rig: Rig) -> int:
    return rig.gh.add_issue(REPO, "Sessions: x", labels=["sessiond"], login="me")


# --- how it asks


def test_importing_the_client_does_not_import_httpx() -> None:
    code = "import sys, sessionsync.remote.github; print(sorted({'httpx', 'httpcore', 'ssl'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_request_says_who_asks_what_and_in_which_version(rig: Rig, issue: int) -> None:
    rig.hub.repository()
    rig.hub.create_comment(issue, cleared("x"))
    for request in rig.gh.requests():
        assert request.headers["user-agent"] == "sessiond/0"
        assert request.headers["accept"] == "application/vnd.github+json"
        assert request.headers["x-github-api-version"] == API_VERSION == "2022-11-28"
        assert request.headers["authorization"] == "Bearer …"
        assert request.account == "me"
        assert request.headers["accept-encoding"] == "gzip"
        assert "cookie" not in request.headers
    assert rig.outcomes == ["success", "success"]
    told = rig.told("github_requested")[1]
    assert (told["operation"], told["status"]) == ("create_comment", 201)
    assert told["seconds"] >= 0


def test_one_connection_serves_all_requests(rig: Rig, issue: int) -> None:
    rig.hub.repository()
    first = set(rig.gh._open)
    for n in range(5):
        rig.hub.create_comment(issue, cleared(str(n)))
    rig.fails(Missing, lambda: rig.hub.comment(1))
    assert rig.gh._open == first
    assert len(first) == 1


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(rig: Rig) -> None:
    rig.hub.repository()
    with rig.gh.refused():
        pass
    rig.hub.repository()
    assert rig.outcomes == ["success", "success"]


def test_the_token_is_asked_for_each_time(rig: Rig) -> None:
    rig.gh.token("other", login="someone-else")
    assert rig.hub.login() == "me"
    rig.token = "other"
    assert rig.hub.login() == "someone-else"


# --- what it reads


def test_the_repository_is_read(rig: Rig) -> None:
    found = rig.hub.repository()
    assert (found.full_name, found.private, found.archived, found.has_issues) == (REPO, True, False, True)
    assert found.permissions is not None
    assert found.permissions.push
    rig.gh.make_public(REPO)
    assert not rig.hub.repository().private


def test_a_token_of_actions_has_no_login(rig: Rig, issue: int) -> None:
    rig.token = rig.gh.token("ghs_actions", kind="actions", repositories=[REPO])
    assert rig.hub.login() is None
    assert rig.hub.create_comment(issue, cleared("hello")).author == "github-actions[bot]"


def test_limits_are_those_of_the_tightest_window_that_still_runs(rig: Rig, issue: int) -> None:
    assert rig.hub.limits == {}
    rig.gh.rate_limit("me", remaining=5, limit=100, reset_in_s=60)
    rig.hub.create_comment(issue, cleared("x"))
    assert rig.hub.limits["core"].remaining == 4
    rig.gh.rate_limit("me", remaining=90, limit=100, reset_in_s=3600)
    rig.hub.repository()
    assert rig.hub.limits["core"].remaining == 4  # writes have a window of their own
    rig.gh.advance(61)
    assert rig.hub.limits["core"].remaining == 89
    assert rig.hub.limits["core"].reset_at == NOW + 3600


def test_asking_for_the_limits_is_free(rig: Rig) -> None:
    rig.gh.rate_limit("me", remaining=7, limit=100)
    assert rig.hub.rate_limit()["core"].remaining == 7
    assert rig.hub.rate_limit()["core"].remaining == 7


def test_a_server_without_limits_is_no_error(rig: Rig) -> None:
    rig.gh.fault(faults.rule("status", status=404, body='{"message": "Rate limiting is not enabled."}'))
    assert rig.hub.rate_limit() == {}


def test_the_clocks_difference_is_known(rig: Rig) -> None:
    rig.slow_s = 120.0
    assert rig.hub.skew_s is None
    rig.hub.repository()
    assert rig.hub.skew_s == 120.0


def test_the_token_s_end_is_known(rig: Rig) -> None:
    rig.hub.repository()
    assert rig.hub.token_expires_at is None
    rig.gh.expire_token(SECRET, NOW + 86_400)
    rig.hub.repository()
    assert rig.hub.token_expires_at == NOW + 86_400


@pytest.mark.parametrize("opaque", [False, True], ids=["numbered pages", "cursors"])
def test_all_250_comments_come_once_and_in_order(rig: Rig, issue: int, opaque: bool) -> None:
    rig.gh.behave(opaque_pages=opaque)
    ids = [rig.gh.add_comment(REPO, issue, f"comment {n}") for n in range(250)]
    found = rig.hub.comments(issue)
    assert found.items is not None
    assert [comment.id for comment in found.items] == ids
    assert found.items[249].text == "comment 249"
    assert found.items[0].author == "alice"
    assert found.date == NOW
    assert len(rig.gh.requests("GET", "/comments")) == 3
    assert [comment.id for comment in rig.hub.complete_comments(issue)] == ids


def test_only_what_changed_since(rig: Rig, issue: int) -> None:
    old = rig.gh.add_comment(REPO, issue, "old")
    rig.gh.advance(600)
    new = rig.gh.add_comment(REPO, issue, "new")
    found = rig.hub.comments(issue, since="2027-01-15T08:05:00Z")
    assert [comment.id for comment in found.items or []] == [new]
    rig.gh.edit_comment(old, "old, edited")
    found = rig.hub.comments(issue, since="2027-01-15T08:05:00+00:00")
    assert [comment.id for comment in found.items or []] == [old, new]


def test_what_did_not_change_is_not_sent_again(rig: Rig, issue: int) -> None:
    comment = rig.gh.add_comment(REPO, issue, "one")
    first = rig.hub.comments(issue)
    assert first.etag is not None
    again = rig.hub.comments(issue, etag=first.etag)
    assert (again.items, again.etag is not None, again.date) == (None, True, NOW)
    one, tag = rig.hub.comment(comment)
    assert one is not None
    assert rig.hub.comment(comment, etag=tag)[0] is None
    assert [request.status for request in rig.gh.requests()] == [200, 304, 200, 304]
    rig.gh.edit_comment(comment, "two", web=False)
    changed, newer = rig.hub.comment(comment, etag=tag)
    assert changed is not None
    assert changed.text == "two"
    assert newer != tag
    assert rig.hub.comments(issue, etag=first.etag).items
    assert set(rig.outcomes) == {"success"}


def test_a_tag_is_not_used_with_another_token(rig: Rig, issue: int) -> None:
    tag = rig.hub.comments(issue).etag
    rig.token = rig.gh.token("another", login="me")
    assert rig.hub.comments(issue, etag=tag).items == []
    assert "if-none-match" not in rig.gh.requests()[-1].headers
    rig.client().comments(issue, etag=tag)
    assert "if-none-match" not in rig.gh.requests()[-1].headers, "nor after a restart"
    rig.hub.comments(issue, etag='"older"')
    assert rig.gh.requests()[-1].headers["if-none-match"] == '"older"'


def test_a_full_page_has_no_tag_because_the_next_may_begin_unseen(rig: Rig, issue: int) -> None:
    for n in range(100):
        rig.gh.add_comment(REPO, issue, str(n))
    assert rig.hub.comments(issue).etag is None


def test_unasked_not_modified_is_no_answer(rig: Rig, issue: int) -> None:
    rig.gh.fault(faults.rule("status", status=304, body=""))
    rig.fails(Unreachable, lambda: rig.hub.issue(issue))


def test_issues_of_all_states_and_pages_but_no_pull_requests(rig: Rig) -> None:
    numbers = [rig.gh.add_issue(REPO, f"Sessions: {n}", labels=["sessiond"]) for n in range(120)]
    rig.gh.close_issue(REPO, numbers[3])
    rig.gh.add_issue(REPO, "no label")
    rig.gh.add_issue(REPO, "a change", labels=["sessiond"], pull_request=True)
    found = rig.hub.find_issues()
    assert [issue.number for issue in found] == numbers
    assert found[3].state == "closed"
    assert found[0].label_names == ["sessiond"]


def test_an_issue_says_what_it_holds(rig: Rig, issue: int) -> None:
    rig.gh.add_comment(REPO, issue, "one")
    rig.gh.lock_issue(REPO, issue)
    found = rig.hub.issue(issue)
    assert (found.number, found.comments, found.locked, found.text, found.author, found.transferred) == (
        issue,
        1,
        True,
        "",
        "me",
        False,
    )


def test_a_comment_whose_author_is_gone(rig: Rig, issue: int) -> None:
    comment = rig.gh.add_comment(REPO, issue, "bye")
    rig.gh.forget_author(comment)
    found, _ = rig.hub.comment(comment)
    assert found is not None
    assert found.author == ""


# --- a list that proves itself


def test_a_list_that_lags_is_not_taken_for_complete(rig: Rig, issue: int) -> None:
    rig.gh.behave(lag_reads=2)
    written = rig.hub.create_comment(issue, cleared("new"))
    assert rig.hub.comments(issue).items == []
    error = rig.fails(Lagging, lambda: rig.hub.complete_comments(issue))
    assert "0 of 1 comments" in str(error)
    assert [comment.id for comment in rig.hub.complete_comments(issue)] == [written.id]


def test_a_deletion_between_two_pages_is_noticed(rig: Rig, issue: int) -> None:
    ids = [rig.gh.add_comment(REPO, issue, str(n)) for n in range(150)]

    def delete_once(operation: str) -> None:
        if operation == "list_comments" and ids[50] in rig.gh.posts:
            rig.gh.delete_comment(ids[50])

    rig.on_request = delete_once
    rig.fails(Lagging, lambda: rig.hub.complete_comments(issue))
    assert len(rig.hub.complete_comments(issue)) == 149
    assert rig.gh.requests("GET", status=304)  # an unchanged page is proven for nothing


# --- what it writes


def test_an_issue_is_made_changed_and_closed(rig: Rig) -> None:
    made = rig.hub.create_issue(cleared("Sessions: p"), cleared("index"), ["sessiond"])
    assert (made.title, made.text, made.label_names, made.state) == (
        "Sessions: p",
        "index",
        ["sessiond"],
        "open",
    )
    changed = rig.hub.update_issue(made.number, body=cleared(""), state="closed")
    assert (changed.title, changed.text, changed.state) == ("Sessions: p", "", "closed")
    assert rig.hub.update_issue(made.number, title=cleared("Sessions: q")).title == "Sessions: q"


def test_a_comment_is_written_changed_and_deleted_byte_for_byte(rig: Rig, issue: int) -> None:
    text = 'line\r\nline\n\ttab \u0000-free 😀 é \u2028 "quoted" \\ </x>'.replace("\u0000", "")
    made = rig.hub.create_comment(issue, cleared(text))
    assert made.text == text
    assert rig.gh.posts[made.id].body == text
    assert rig.hub.update_comment(made.id, cleared(text * 2)).text == text * 2
    rig.hub.delete_comment(made.id)
    assert made.id not in rig.gh.posts
    rig.fails(Missing, lambda: rig.hub.delete_comment(made.id))
    rig.fails(Missing, lambda: rig.hub.update_comment(made.id, cleared("x")))
    rig.fails(Missing, lambda: rig.hub.comment(made.id))


def test_half_a_surrogate_pair_is_refused_before_it_is_sent(rig: Rig, issue: int) -> None:
    rig.fails(Refused, lambda: rig.hub.create_comment(issue, cleared("\ud800")))
    assert rig.gh.requests(writes=True) == []


def test_a_new_text_that_github_dropped_is_refused(rig: Rig, issue: int) -> None:
    rig.gh.behave(long_issue_edit_ignored=True)
    long = cleared("x" * 262_145)
    error = rig.fails(Refused, lambda: rig.hub.update_issue(issue, body=long))
    assert "kept the old text" in str(error)
    assert rig.hub.update_issue(issue, body=cleared("x" * 70_000)).text == "x" * 70_000


# --- where it is sent


def test_a_renamed_repository_is_followed_and_told_once(rig: Rig, issue: int) -> None:
    comment = rig.gh.add_comment(REPO, issue, "one", login="me")
    rig.gh.rename_repo(REPO, "octo/renamed")
    assert [found.id for found in rig.hub.comments(issue).items or []] == [comment]
    assert rig.told("repository_moved") == [
        {"event": "repository_moved", "was": REPO, "repo": "octo/renamed"}
    ]
    assert rig.hub.repo == "octo/renamed"
    rig.gh.forget_requests()
    rig.hub.create_comment(issue, cleared("two"))
    assert [request.path for request in rig.gh.requests()] == [f"/repos/octo/renamed/issues/{issue}/comments"]


@pytest.mark.parametrize("knows", [False, True], ids=["not asked before", "asked before"])
def test_a_write_follows_a_rename_with_method_and_text(rig: Rig, issue: int, knows: bool) -> None:
    if knows:
        rig.hub.repository()
    rig.gh.rename_repo(REPO, "octo/renamed")
    made = rig.hub.create_comment(issue, cleared("once"))
    assert [comment.body for comment in rig.gh.comments("octo/renamed", issue)] == ["once"]
    assert rig.gh.effects() == [f"created comment {made.id}"]
    assert [request.status for request in rig.gh.requests("POST")] == [307, 201]
    rig.gh.rename_repo("octo/renamed", "octo/again")
    assert rig.hub.update_comment(made.id, cleared("twice")).text == "twice"
    rig.gh.rename_repo("octo/again", "octo/thrice")
    rig.hub.delete_comment(made.id)
    assert [told["repo"] for told in rig.told("repository_moved")] == [
        "octo/renamed",
        "octo/again",
        "octo/thrice",
    ]


def test_a_transferred_issue_is_seen_but_neither_read_nor_written(rig: Rig, issue: int) -> None:
    rig.gh.add_comment(REPO, issue, "one")
    rig.gh.add_repo("octo/elsewhere", private=False)
    rig.gh.transfer_issue(REPO, issue, "octo/elsewhere")
    rig.gh.forget_requests()
    found = rig.hub.issue(issue)
    assert found.transferred
    assert found.repository_url.endswith("/repos/octo/elsewhere")
    for act in (
        lambda: rig.hub.comments(issue),
        lambda: rig.hub.complete_comments(issue),
        lambda: rig.hub.create_comment(issue, cleared("secret plans")),
        lambda: rig.hub.update_issue(issue, title=cleared("secret plans")),
    ):
        assert "transferred" in str(rig.fails(Missing, act))
    assert rig.gh.effects() == []
    assert rig.told("repository_moved") == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_the_token_never_goes_to_another_server(rig: Rig, issue: int, status: int) -> None:
    with FakeGitHub() as other:
        for location in (
            f"{other.url}/repos/{REPO}",
            f"http://user@{rig.gh.url[7:]}/repos/{REPO}",
            "http://[bad/x",
        ):
            rig.gh.clear_faults()
            rig.gh.fault(faults.rule("status", status=status, headers={"location": location}))
            rig.fails(Unreachable, rig.hub.repository)
            rig.fails(Unreachable, lambda: rig.hub.create_comment(issue, cleared("x")))
            assert len(rig.gh.requests()) == 2
            rig.gh.forget_requests()
        assert other.requests() == []


def test_pages_at_another_server_are_not_read(rig: Rig, issue: int) -> None:
    for n in range(101):
        rig.gh.add_comment(REPO, issue, str(n))
    rig.gh.show_as("http://127.0.0.1:9")
    error = rig.fails(Unreachable, lambda: rig.hub.comments(issue))
    assert "127.0.0.1:9" in str(error)
    assert "api_url" in error.hint


def test_redirects_and_pages_that_go_in_circles_end(rig: Rig, issue: int) -> None:
    here = f"/repos/{REPO}"
    rig.gh.fault(faults.rule("status", path=f"{here}$", status=301, headers={"location": here}))
    rig.fails(Unreachable, rig.hub.repository)
    assert len(rig.gh.requests()) == 5
    link = f'<{here}/issues/{issue}/comments?per_page=100>; rel="next"'
    rig.gh.fault(faults.rule("status", path="/comments", status=200, body="[]", headers={"link": link}))
    rig.fails(Unreachable, lambda: rig.hub.comments(issue))


def test_redirects_to_nowhere_and_for_writes_into_reads_are_not_followed(rig: Rig, issue: int) -> None:
    here = {"location": f"/repos/{REPO}/issues/{issue}"}
    rig.gh.fault(faults.rule("status", method="PATCH", status=302, headers=here, times=1))
    rig.fails(Unreachable, lambda: rig.hub.update_issue(issue, title=cleared("x")))
    assert len(rig.gh.requests("PATCH")) == 1
    rig.gh.fault(faults.rule("status", method="POST", status=307))
    rig.fails(Unreachable, lambda: rig.hub.create_comment(issue, cleared("x")))
    rig.gh.fault(faults.rule("status", method="GET", status=300))
    rig.fails(Unreachable, rig.hub.repository)


def test_a_server_of_one_s_own_has_a_path_before_the_api() -> None:
    with FakeGitHub(prefix="/api/v3", frozen_at=NOW) as gh:
        gh.add_repo(REPO)
        gh.token(SECRET, login="me")
        number = gh.add_issue(REPO)
        for n in range(101):
            gh.add_comment(REPO, number, str(n))
        rig = Rig(gh)
        assert len(rig.hub.complete_comments(number)) == 101
        gh.rename_repo(REPO, "octo/renamed")
        assert len(rig.hub.complete_comments(number)) == 101
        assert not rig.hub.issue(number).transferred
        rig.close()


# --- how it is refused


def test_a_revoked_token_is_refused(rig: Rig) -> None:
    rig.gh.revoke_token(SECRET)
    error = rig.fails(TokenRefused, rig.hub.repository)
    assert (error.status, rig.outcomes) == (401, ["client_error"])
    assert "Bad credentials" in str(error)
    assert "sessiond doctor" in error.hint


def test_after_too_many_bad_logins_it_waits(rig: Rig) -> None:
    rig.token = "bad"
    for _ in range(10):
        rig.fails(TokenRefused, rig.hub.repository)
    rig.token = SECRET
    assert rig.fails(Limited, rig.hub.repository).retry_at == NOW + 60


@pytest.mark.parametrize(
    "token", ["", "two words", f"{SECRET}\n", f"{SECRET}\r\nX-Evil: 1", "tökén", "a\x00b"]
)
def test_what_cannot_be_a_token_is_not_sent(rig: Rig, token: str) -> None:
    rig.token = token
    rig.fails(TokenRefused, rig.hub.repository)
    assert rig.gh.requests() == []


@pytest.mark.parametrize("status", [403, 429])
def test_a_used_up_hour_ends_when_github_says(rig: Rig, status: int) -> None:
    rig.gh.behave(limit_status=status)
    rig.gh.rate_limit("me", remaining=0, reset_in_s=1200)
    rig.slow_s = 30  # the reset is by GitHub's clock, the wait by ours
    error = rig.fails(Limited, rig.hub.repository)
    assert (error.kind, error.retry_at, error.status) == ("primary", rig.wall() + 1201, status)
    assert rig.outcomes == ["rate_limited"]
    assert rig.hub.limits["core"].remaining == 0


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("wording", ["secondary", "abuse"])
def test_a_secondary_limit_lasts_as_long_as_it_says(rig: Rig, issue: int, wording: str, status: int) -> None:
    rig.gh.secondary_limit(90, wording=wording, status=status)
    error = rig.fails(Limited, lambda: rig.hub.create_comment(issue, cleared("x")))
    assert (error.kind, error.retry_at) == ("secondary", NOW + 90)


def test_a_secondary_limit_that_does_not_say_is_waited_for_twice_as_long_each_time(
    rig: Rig, issue: int
) -> None:
    rig.gh.secondary_limit(3000, retry_after=False)

    def write() -> object:
        return rig.hub.create_comment(issue, cleared("x"))

    assert rig.fails(Limited, write).retry_at == NOW + 60
    assert rig.fails(Limited, write).retry_at == NOW + 60  # it had not been waited for
    for wait_s in (120, 240, 480, 960):
        rig.gh.advance(wait_s / 2)
        rig.hub.repository()  # reads that go through say nothing about writes
        assert rig.fails(Limited, write).retry_at == rig.gh.now() + wait_s
    rig.gh.secondary_limit(3000, retry_after=False, scope="all")
    assert rig.fails(Limited, rig.hub.repository).retry_at == rig.gh.now() + 60
    rig.gh.forget_secondary_limit()
    write()
    rig.gh.secondary_limit(3000, retry_after=False)
    assert rig.fails(Limited, write).retry_at == rig.gh.now() + 60


def test_retry_after_may_be_a_date(rig: Rig, issue: int) -> None:
    rig.slow_s = 1000
    headers = {"retry-after": "Fri, 15 Jan 2027 08:01:40 GMT", "date": "Fri, 15 Jan 2027 08:00:00 GMT"}
    rig.gh.fault(faults.rule("status", status=429, headers=headers))
    assert rig.fails(Limited, rig.hub.repository).retry_at == rig.wall() + 100


def test_a_missing_right_names_what_is_needed(rig: Rig, issue: int) -> None:
    rig.gh.permit(SECRET, {"issues": "read", "metadata": "read"})
    error = rig.fails(NotPermitted, lambda: rig.hub.create_comment(issue, cleared("x")))
    assert "Resource not accessible by personal access token" in str(error)
    assert "issues=write" in error.hint
    assert f"issue {issue} of {REPO}" in str(error)


def test_an_archived_repository_takes_nothing(rig: Rig, issue: int) -> None:
    rig.gh.archive_repo(REPO)
    error = rig.fails(NotPermitted, lambda: rig.hub.create_comment(issue, cleared("x")))
    assert "Unarchive" in error.hint


def test_a_locked_issue(rig: Rig, issue: int) -> None:
    rig.gh.make_public(REPO)
    rig.gh.set_role(REPO, "me", "read")
    rig.gh.lock_issue(REPO, issue)
    rig.fails(IssueLocked, lambda: rig.hub.create_comment(issue, cleared("x")))


def test_a_full_issue(rig: Rig, issue: int) -> None:
    rig.gh.behave(comments_per_issue=2)
    for n in range(2):
        rig.hub.create_comment(issue, cleared(str(n)))
    rig.fails(IssueFull, lambda: rig.hub.create_comment(issue, cleared("x")))


def test_without_a_user_agent_github_sends_a_page(rig: Rig) -> None:
    error = rig.fails(NotPermitted, rig.client(user_agent="").repository)
    assert "User-Agent" in error.hint


def test_a_page_of_somebody_else_is_not_a_refusal(rig: Rig, issue: int) -> None:
    for status in (403, 404, 410):
        rig.gh.clear_faults()
        rig.gh.fault(faults.rule("html", status=status))
        error = rig.fails(Unreachable, lambda: rig.hub.issue(issue))
        assert error.status == status
    assert rig.outcomes == ["client_error"] * 3


def test_a_missing_repository(rig: Rig) -> None:
    for repo, private in (("octo/none", None), ("octo/theirs", True)):
        if private:
            rig.gh.add_repo(repo, roles={})
        hub = rig.client(repo=repo)
        error = rig.fails(RepositoryMissing, hub.repository)
        assert repo in str(error)
        rig.fails(RepositoryMissing, hub.find_issues)
        rig.fails(RepositoryMissing, partial(hub.create_issue, cleared("t"), cleared("b")))


def test_missing_and_deleted_issues(rig: Rig, issue: int) -> None:
    rig.gh.delete_issue(REPO, issue)
    for number, status in ((issue, 410), (999, 404)):
        for act in (
            lambda number=number: rig.hub.issue(number),
            lambda number=number: rig.hub.comments(number),
            lambda number=number: rig.hub.create_comment(number, cleared("x")),
            lambda number=number: rig.hub.update_issue(number, state="open"),
        ):
            assert rig.fails(Missing, act).status == status


def test_issues_turned_off_is_said(rig: Rig, issue: int) -> None:
    rig.gh.enable_issues(REPO, on=False)
    for act in (rig.hub.find_issues, lambda: rig.hub.create_comment(issue, cleared("x"))):
        error = rig.fails(RepositoryMissing, act)
        assert "disabled" in str(error)
        assert "settings" in error.hint


def test_a_wrong_address_is_not_a_missing_account(rig: Rig) -> None:
    hub = rig.client(api_url=f"{rig.gh.url}/wrong")
    for act in (hub.login, hub.rate_limit):
        assert "api_url" in rig.fails(Unreachable, act).hint


def test_a_text_too_long_is_refused_in_both_of_github_s_ways(rig: Rig, issue: int) -> None:
    long = cleared("x" * 262_145)
    made = rig.hub.create_comment(issue, cleared("short"))
    for act in (
        lambda: rig.hub.create_comment(issue, long),
        lambda: rig.hub.update_comment(made.id, long),
        lambda: rig.hub.create_issue(cleared("t"), long),
    ):
        error = rig.fails(Refused, act)
        assert error.status == 422
        assert "ody is too long" in str(error)
        assert "comment_bytes" in error.hint
    blank = rig.fails(Refused, lambda: rig.hub.create_comment(issue, cleared(" ")))
    assert "cannot be blank" in str(blank)
    assert "comment_bytes" not in blank.hint


@pytest.mark.parametrize(
    ("status", "message", "kind", "hint"),
    [
        (400, '"2022-11-28" is not a supported version of the REST API.', NotPermitted, "update it"),
        (400, "Problems parsing JSON", Refused, "ctl retry"),
        (403, "Commenting is disabled on issues with more than 2500 comments", IssueFull, "next issue"),
        (403, "Resource protected by organization SAML enforcement.", NotPermitted, "rights"),
        (407, "Proxy Authentication Required", Unreachable, "HTTPS_PROXY"),
        (408, "Request Timeout", Unreachable, "by itself"),
        (409, "Git Repository is empty.", Refused, "first commit"),
        (409, "Secret detected in content", Refused, "privacy.patterns"),
        (409, "Conflict", Refused, "ctl retry"),
        (413, "Payload Too Large", Refused, "ctl retry"),
        (422, "was submitted too quickly", Limited, "waits"),
        (451, "Repository access blocked", NotPermitted, "another github.repo"),
    ],
)  # fmt: skip
def test_rarer_refusals(
    rig: Rig, issue: int, status: int, message: str, kind: type[RemoteError], hint: str
) -> None:
    rig.gh.fault(faults.rule("status", status=status, body=json.dumps({"message": message})))
    error = rig.fails(kind, lambda: rig.hub.create_comment(issue, cleared("x")))
    assert message in str(error)
    assert hint in error.hint


def test_github_s_words_cannot_break_a_log(rig: Rig) -> None:
    words = "first\nsecond\x1b[31m red\u202e\r\n" + "long " * 1000
    rig.gh.fault(faults.rule("status", status=418, body=json.dumps({"message": words, "errors": [words]})))
    error = rig.fails(Refused, rig.hub.repository)
    assert "first second[31m red long" in str(error)


def test_a_token_that_comes_back_is_not_shown(rig: Rig) -> None:
    rig.gh.fault(faults.rule("status", status=400, body=json.dumps({"message": f"bad header {SECRET}"})))
    assert "bad header …" in str(rig.fails(Refused, rig.hub.repository))
    with Script(f"{SECRET} is no status line\r\n\r\n".encode()) as server:
        rig.fails(Unreachable, rig.client(api_url=server.url).repository)


# --- how it breaks


def test_a_server_error_may_have_written(rig: Rig, issue: int) -> None:
    rig.gh.fault(faults.server_error(500, method="POST", effect=True))
    error = rig.fails(ServerFailed, lambda: rig.hub.create_comment(issue, cleared("x")))
    assert (error.status, error.retry_at) == (500, None)
    assert len(rig.gh.comments(REPO, issue)) == 1
    assert rig.outcomes == ["server_error"]


def test_a_server_that_is_down_for_a_while_says_when_it_is_back(rig: Rig) -> None:
    rig.gh.fault(faults.server_error(503, headers={"retry-after": "120"}))
    assert rig.fails(ServerFailed, rig.hub.repository).retry_at == NOW + 120
    rig.gh.clear_faults()
    rig.gh.fault(faults.rule("html", status=502))
    assert rig.fails(ServerFailed, rig.hub.repository).retry_at is None


def test_nobody_listens(rig: Rig) -> None:
    with rig.gh.refused():
        error = rig.fails(Unreachable, rig.hub.repository)
    assert "refused" in str(error).lower()
    assert rig.outcomes == ["network_error"]
    assert rig.told("github_requested")[0]["status"] == 0
    assert error.status == 0
    rig.hub.repository()


def test_written_but_never_answered(rig: Rig, issue: int) -> None:
    rig.gh.fault(faults.accept_then_drop())
    rig.fails(Unreachable, lambda: rig.hub.create_comment(issue, cleared("once")))
    rig.gh.clear_faults()
    assert [comment.text for comment in rig.hub.complete_comments(issue)] == ["once"]


def test_dropped_before_anything_happened(rig: Rig, issue: int) -> None:
    rig.gh.fault(faults.rule("drop", times=1))
    rig.fails(Unreachable, lambda: rig.hub.create_comment(issue, cleared("x")))
    assert rig.hub.complete_comments(issue) == []


@pytest.mark.parametrize("kind", ["truncate", "malformed", "html"])
def test_an_answer_that_is_none(rig: Rig, issue: int, kind: faults.Kind) -> None:
    rig.gh.add_comment(REPO, issue, "x" * 5000)
    rig.gh.fault(faults.rule(kind, status=200, effect=True))
    rig.fails(Unreachable, lambda: rig.hub.comments(issue))
    rig.fails(Unreachable, lambda: rig.hub.create_comment(issue, cleared("x")))
    assert len(rig.gh.comments(REPO, issue)) == 2
    assert rig.outcomes == ["network_error"] * 2


def test_an_answer_of_another_shape(rig: Rig, issue: int) -> None:
    for body in ("{}", "[]", '{"id": "7"}', "null", "", "[" * 100_000):
        rig.gh.clear_faults()
        rig.gh.fault(faults.rule("status", status=200, body=body))
        error = rig.fails(Unreachable, lambda: rig.hub.issue(issue))
        assert "not GitHub's" in str(error)


def test_no_answer_in_time(rig: Rig, issue: int) -> None:
    rig.gh.fault(faults.rule("hang"))
    began = time.monotonic()
    rig.fails(Unreachable, lambda: rig.client(bounds=QUICK).create_comment(issue, cleared("x")))
    assert time.monotonic() - began < BOUNDS.read_s
    assert rig.outcomes == ["timeout"]


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"], ids=["head", "body"]
)
def test_a_trickle_ends_at_the_deadline(rig: Rig, head: bytes) -> None:
    with Script(head, trickle=b"X-A: b\r\n") as server:
        hub = rig.client(api_url=server.url, bounds=QUICK)
        began = time.monotonic()
        rig.fails(Unreachable, hub.repository)
        assert QUICK.total_s - 0.1 < time.monotonic() - began < BOUNDS.read_s
    assert rig.outcomes == ["timeout"]


def test_an_answer_without_end_is_cut(rig: Rig, issue: int) -> None:
    rig.gh.add_comment(REPO, issue, "x" * 200_000)  # a few KB on the wire
    hub = rig.client(bounds=Bounds(answer_bytes=100_000))
    assert "larger than 100000" in str(rig.fails(Unreachable, lambda: hub.comments(issue)))


def test_broken_compression(rig: Rig) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope"
    with Script(head) as server:
        rig.fails(Unreachable, rig.client(api_url=server.url).repository)


def test_closing_ends_a_running_request_at_once(rig: Rig, issue: int) -> None:
    rig.gh.fault(faults.rule("hang"))
    ended: list[Unreachable] = []

    def write() -> None:
        ended.append(rig.fails(Unreachable, lambda: rig.hub.create_comment(issue, cleared("x"))))

    thread = threading.Thread(target=write)
    thread.start()
    poll(lambda: rig.gh.requests("POST"))
    rig.hub.close()
    thread.join(BOUNDS.read_s - 1)
    assert len(ended) == 1
    assert rig.events == []  # stopping is no failure of GitHub's
    rig.gh.clear_faults()
    rig.fails(Unreachable, rig.hub.repository)
    assert rig.gh.requests("GET") == []
    rig.hub.close()


def test_closing_before_the_first_request(rig: Rig) -> None:
    rig.hub.close()
    rig.fails(Unreachable, rig.hub.repository)
    assert rig.gh.requests() == []


# --- judged by somebody else


def test_github_s_own_description_finds_no_fault_with_the_client(rig: Rig, prism: Prism) -> None:
    gh = rig.gh
    url = prism(gh.url)
    gh.show_as(url)
    prism.violations()
    hub = rig.client(api_url=url)
    try:
        assert hub.login() == "me"
        assert hub.repository().full_name == REPO
        assert "core" in hub.rate_limit()
        number = hub.create_issue(cleared("Sessions: x"), cleared("index"), ["sessiond"]).number
        hub.update_issue(number, title=cleared("Sessions: y"), body=cleared("two"), state="open")
        gh.add_issue(REPO, "a change", labels=["sessiond"], pull_request=True)
        assert [issue.number for issue in hub.find_issues()] == [number]
        made = hub.create_comment(number, cleared("one\r\n😀"))
        assert hub.update_comment(made.id, cleared("two")).text == "two"
        for n in range(120):
            gh.add_comment(REPO, number, str(n))
        assert len(hub.complete_comments(number)) == 121
        assert hub.comments(number, since="2026-01-01T00:00:00Z").etag is None
        _, tag = hub.comment(made.id)
        assert hub.comment(made.id, etag=tag)[0] is None
        hub.delete_comment(made.id)
        rig.fails(Missing, lambda: hub.comment(made.id))
        rig.fails(Refused, lambda: hub.create_comment(number, cleared(" ")))
        gh.rename_repo(REPO, "octo/renamed")
        assert hub.issue(number).comments == 120  # the judge follows redirects itself, and knows reads only
        assert prism.violations() == []
    finally:
        hub.close()
        prism.stop(gh.url)


@pytest.mark.parametrize(
    "fault",
    [None, faults.server_error(500), faults.rule("drop"), faults.rule("truncate", status=200, effect=True)],
    ids=["success", "failure", "no answer", "half an answer"],
)
def test_an_answer_leaves_no_cycle_behind(rig: Rig, fault: faults.Fault | None) -> None:
    """What only a cycle holds stays until somebody looks: with each request as much as its answer.

    With one that failed it is also all that was to be sent, which those hold who have asked.
    """
    if fault is not None:
        rig.gh.fault(fault)
    left = []
    gc.collect()
    gc.disable()
    try:
        for number in (10, 20):
            for _ in range(number):
                with suppress(RemoteError):
                    rig.hub.repository()
            left.append(gc.collect())
    finally:
        gc.enable()
    assert left[1] - left[0] < 10, left

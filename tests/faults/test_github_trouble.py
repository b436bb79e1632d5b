"""GitHub says no, says nothing, or is not what it was: nothing is lost, nothing doubled, and one line says why.

The engine on a time that the test moves, over real HTTP; the stand-in's clock moves along.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sessionsync import report
from sessionsync.queue import State
from sessionsync.remote import comments
from sessionsync.remote.github import Repository
from tests import arrived
from tests.fakes.faults import Fault, accept_then_drop, limited, rule, server_error
from tests.fakes.github import FakeGitHub
from tests.rig import START, Events, Home, Line, Rig, append, let_nothing_search, line, write

pytestmark = pytest.mark.github(frozen_at=START)

HOUR = 3600.0
YEAR = 365 * 24 * HOUR


class Desk:
    """A rig, the stand-in GitHub on the same clock, and a pusher between them."""

    def __init__(self, folder: Path, gh: FakeGitHub) -> None:
        self.gh = gh
        self.rig = Rig(Home(folder))
        self.line = Line(self.rig, gh.url)
        self.files: list[Path] = []

    def close(self) -> None:
        self.line.close()
        self.rig.close()

    def connect(self, **settings: Any) -> None:
        """What a restart does, or other settings, or another token."""
        self.line.close()
        self.line = Line(self.rig, self.gh.url, **settings)

    def say(self, text: str, path: Path | None = None) -> Path:
        """A session says something and comes to rest: a checkpoint waits."""
        if path is None:
            path = self.rig.home.transcript()
            self.files.append(path)
        append(path, line("user", text, self.rig.home.project))
        self.rig.wait(5)
        self.rig.wait(200)
        return path

    def go(self, for_s: float = 0.0) -> None:
        """Let the pusher do what is due within so many seconds, and let these pass."""
        end = self.rig.now + for_s
        for _ in range(500):
            self.gh.freeze(self.rig.now)
            if self.line.step():
                continue
            at = self.line.push.next_at(self.rig.now)
            if at is None or at > end:
                self.rig.now = max(self.rig.now, end)
                return
            self.rig.now = max(self.rig.now + 0.001, at)
        pytest.fail(f"it never rests: {self.rig.queue.items()}")

    def check_all_arrived(self) -> None:
        """Every session is on GitHub once, whole, as it is on disk; nothing waits."""
        waiting = [item for item in self.rig.queue.items() if item.operation == "comment"]
        assert waiting == []
        assert set(arrived.records(self.gh)) == {path.stem for path in self.files}
        for path in self.files:
            assert arrived.files(self.gh, path.stem) == {path.name: path.read_bytes()}

    def check_all_is_kept(self) -> None:
        """Whatever GitHub says: the bytes are in both local copies and what has not arrived waits."""
        for session in self.rig.catalog.sessions():
            name = session.location.name
            assert self.rig.mirrored(session, name) == session.location.read_bytes()
            assert self.rig.restored(session)[name] == session.location.read_bytes()
        waiting = {item.subject for item in self.rig.queue.items()}
        unsent = [s for s in self.rig.catalog.sessions() if s.pushed_checkpoint != s.checkpoint]
        assert {session.id for session in unsent} <= waiting

    def paused(self) -> tuple[str, str]:
        """Code and whole text of the pause: what happened, and what to do."""
        pause = self.line.push.uplink.pause
        assert pause is not None
        (told, *_) = self.rig.events.named("push_paused")[-1:]
        assert (told["code"], told["reason"], told["hint"]) == (pause.code, pause.message, pause.hint)
        for text in (pause.message, pause.hint):
            assert text
            assert text.isprintable()
            assert "T" not in text.split()
        return pause.code, f"{pause.message} {pause.hint}"


@pytest.fixture
def desk(tmp_path: Path, gh: FakeGitHub) -> Iterator[Desk]:
    made = Desk(tmp_path, gh)
    yield made
    made.close()


# --- the token


@pytest.mark.parametrize("how", ["revoked", "expired", "unknown"])
def test_a_refused_token_is_shown_once_and_never_again(desk: Desk, gh: FakeGitHub, how: str) -> None:
    path = desk.say("before")
    desk.go(60)
    if how == "revoked":
        gh.revoke_token("T")
    elif how == "expired":
        gh.expire_token("T")
    else:
        desk.connect(token="other")
    gh.forget_requests()
    desk.say("after", path)
    desk.say("another")
    desk.go(24 * HOUR)
    desk.line.push.probe_now()  # what `ctl sync` and `ctl retry` do
    desk.go(24 * HOUR)
    assert [request.status for request in gh.requests()] == [401]
    code, text = desk.paused()
    assert code == "github_token_refused"
    assert "Bad credentials" in text
    desk.check_all_is_kept()
    gh.token("new", login="me")
    desk.connect(token="new")
    desk.go(60)
    desk.check_all_arrived()


def test_a_person_may_insist_on_a_token(desk: Desk, gh: FakeGitHub) -> None:
    """GitHub has refused valid tokens in its bad hours."""
    gh.fault(rule("status", status=401, body='{"message": "Bad credentials"}', times=1))
    desk.say("hello")
    desk.go(HOUR)
    assert len(gh.requests()) == 1
    desk.line.push.probe_now(insist=True)
    desk.go(60)
    desk.check_all_arrived()


def test_a_look_that_is_asked_for_during_a_look_is_taken(
    desk: Desk, gh: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ctl resume` comes from another thread, maybe while an older answer about the repository is on its way."""
    github = desk.line.push.github
    look = github.repository

    def looked() -> Repository:
        found = look()
        desk.line.push.probe_now(insist=True)
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(github, "repository", looked)
        desk.say("hello")
        desk.go(60)
    desk.check_all_arrived()
    gh.make_public("o/r")
    desk.say("after")
    desk.go(60)
    code, _ = desk.paused()
    assert code == "github_repository_public"
    gh.make_public("o/r", public=False)
    desk.line.push.probe_now(insist=True)
    desk.go(60)
    desk.check_all_arrived()


def test_what_was_asked_before_an_order_and_is_refused_after_it_pauses_nothing(
    desk: Desk, gh: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ctl resume` comes from another thread, maybe while the answer that made it needful is on its way."""
    hear = Events.__call__
    orders = [False, True]  # what `ctl sync` says, and `ctl resume`

    def heard(events: Events, event: str, **fields: Any) -> None:
        hear(events, event, **fields)
        if event == "github_requested" and fields["outcome"] == "client_error" and orders:
            desk.line.push.probe_now(insist=orders.pop(0))

    def refuse() -> None:
        gh.fault(rule("status", status=401, body='{"message": "Bad credentials"}', times=1))
        desk.say("hello")
        desk.go(60)

    monkeypatch.setattr(Events, "__call__", heard)
    refuse()
    assert desk.paused()[0] == "github_token_refused"  # `ctl sync` shows no refused token again
    desk.line.push.probe_now(insist=True)
    refuse()
    assert orders == []
    assert desk.line.push.uplink.pause is None
    desk.check_all_arrived()
    refuse()
    assert desk.paused()[0] == "github_token_refused"  # an order counts once
    assert gh.fault_hits() == [1, 1, 1]


@pytest.mark.parametrize("lacks", ["issues", "write"])
def test_a_token_without_the_right_is_asked_about_now_and_then(
    desk: Desk, gh: FakeGitHub, lacks: str
) -> None:
    gh.permit("T", {"metadata": "read"} | ({"issues": "read"} if lacks == "write" else {}))
    desk.say("hello")
    desk.go(HOUR)
    code, text = desk.paused()
    assert code == "github_not_permitted"
    assert "Issues: read and write" in text
    assert len(gh.requests(status=403)) <= HOUR / 300 + 2
    assert gh.effects() == []
    desk.check_all_is_kept()
    gh.permit("T", {"metadata": "read", "issues": "write"})
    desk.go(HOUR)
    desk.check_all_arrived()


def test_a_lost_right_buries_nothing_also_where_the_comment_is_somebody_elses(
    desk: Desk, gh: FakeGitHub
) -> None:
    gh.token("T2", login="ann")
    path = desk.say("of two people")
    desk.go(60)
    desk.connect(token="T2", authors=("me",))
    gh.permit("T2", {"metadata": "read", "issues": "read"})
    desk.say("by ann", path)
    desk.go(HOUR)
    assert desk.paused()[0] == "github_not_permitted"
    assert desk.rig.queue.items(buried=True) == []
    gh.permit("T2", {"metadata": "read", "issues": "write"})
    desk.go(HOUR)
    desk.check_all_arrived()


def test_what_may_not_be_edited_does_not_hold_up_the_others(desk: Desk, gh: FakeGitHub) -> None:
    """Who may only read a repository may comment there, but edit nobody else's comment."""
    gh.token("T2", login="ann")
    path = desk.say("of two people")
    desk.go(60)
    gh.set_role("o/r", "me", "admin")
    gh.set_role("o/r", "ann", "read")
    desk.connect(token="T2", authors=("me",))
    desk.say("more", path)
    desk.go(1)
    desk.say("hers alone")
    desk.go(60)
    assert {part.session_id for parts in arrived.records(gh).values() for part in parts} == {
        path.stem,
        desk.files[1].stem,
    }
    assert desk.line.push.uplink.pause is None
    (buried,) = desk.rig.queue.items(buried=True)
    assert "me" in buried.last_error
    assert len(arrived.records(gh)[path.stem]) == 1


# --- the repository


def test_a_repository_that_is_missing(desk: Desk, gh: FakeGitHub) -> None:
    desk.connect(repo="o/later")
    desk.say("hello")
    desk.go(HOUR)
    code, text = desk.paused()
    assert code == "github_repository_missing"
    assert "o/later" in text
    assert "github.repo" in text
    desk.check_all_is_kept()
    gh.add_repo("o/later", private=True)
    desk.go(HOUR)
    desk.check_all_arrived()


def test_a_repository_that_is_renamed(desk: Desk, gh: FakeGitHub) -> None:
    path = desk.say("before")
    desk.go(60)
    gh.rename_repo("o/r", "o/new")
    desk.say("after", path)
    desk.say("another")
    desk.go(60)
    desk.check_all_arrived()
    assert len(gh.effects("created issue")) == 1
    assert desk.rig.events.named("repository_moved")[0] == {"was": "o/r", "repo": "o/new"}


def test_a_repository_of_the_same_name_is_not_the_same(desk: Desk, gh: FakeGitHub) -> None:
    desk.say("before")
    desk.go(60)
    gh.delete_repo("o/r")
    gh.add_repo("o/r", private=True)
    gh.forget_requests()
    desk.connect()
    desk.say("after")
    desk.go(HOUR)
    code, text = desk.paused()
    assert code == "github_not_permitted"
    assert "another repository" in text
    assert gh.effects() == []
    desk.check_all_is_kept()


@pytest.mark.parametrize("when", ["first", "later"])
def test_an_archived_repository(desk: Desk, gh: FakeGitHub, when: str) -> None:
    path = None
    if when == "later":
        path = desk.say("before")
        desk.go(60)
    gh.archive_repo("o/r")
    gh.forget_requests()
    desk.say("after", path)
    desk.go(HOUR)
    code, text = desk.paused()
    assert code == "github_not_permitted"
    assert "archive" in text.lower()
    assert gh.effects() == []
    desk.check_all_is_kept()
    gh.archive_repo("o/r", archived=False)
    desk.go(HOUR)
    desk.check_all_arrived()


def test_a_repository_without_a_commit_takes_comments(desk: Desk, gh: FakeGitHub) -> None:
    gh.empty_repo("o/r")
    desk.say("hello")
    desk.go(60)
    desk.check_all_arrived()


@pytest.mark.parametrize("when", ["first", "later"])
def test_issues_are_turned_off(desk: Desk, gh: FakeGitHub, when: str) -> None:
    path = None
    if when == "later":
        path = desk.say("before")
        desk.go(60)
    gh.enable_issues("o/r", on=False)
    gh.forget_requests()
    desk.say("after", path)
    desk.go(HOUR)
    code, text = desk.paused()
    assert code == "github_repository_missing"
    assert "settings" in text
    assert gh.effects() == []
    desk.check_all_is_kept()
    gh.enable_issues("o/r", on=True)
    desk.go(HOUR)
    desk.check_all_arrived()


def test_nothing_is_written_to_a_public_repository_unless_that_is_meant(desk: Desk, gh: FakeGitHub) -> None:
    gh.make_public("o/r")
    desk.say("private words")
    desk.go(6 * HOUR)
    code, text = desk.paused()
    assert code == "github_repository_public"
    assert "github.allow_public = true" in text
    assert gh.requests(writes=True) == []
    assert not any("private words" in read for read in gh.ever_readable())
    desk.check_all_is_kept()
    desk.connect(allow_public=True)
    desk.go(60)
    desk.check_all_arrived()


def test_a_repository_that_becomes_public_gets_nothing_after_an_hour(desk: Desk, gh: FakeGitHub) -> None:
    path = desk.say("before")
    desk.go(60)
    gh.make_public("o/r")
    gh.forget_requests()
    desk.rig.now += HOUR
    desk.say("private words", path)
    desk.go(HOUR)
    assert desk.paused()[0] == "github_repository_public"
    assert gh.requests(writes=True) == []
    gh.make_public("o/r", public=False)
    desk.go(HOUR)
    desk.check_all_arrived()


def test_a_repository_that_becomes_public_while_nothing_is_said_is_noticed_within_a_day(
    desk: Desk, gh: FakeGitHub
) -> None:
    desk.say("before")
    desk.go(60)
    gh.make_public("o/r")
    gh.forget_requests()
    desk.rig.now += 23 * HOUR
    desk.go(60)
    assert gh.requests() == []  # nothing to say, nothing to ask
    desk.connect()  # a restart begins no other day
    desk.rig.now += HOUR
    desk.go(60)
    assert desk.paused()[0] == "github_repository_public"
    desk.go(HOUR)
    assert desk.paused()[0] == "github_repository_public"
    assert gh.requests(writes=True) == []
    gh.make_public("o/r", public=False)
    desk.rig.now += HOUR
    desk.go(60)
    assert desk.line.push.uplink.pause is None
    assert len(gh.requests()) < 40


def test_a_token_that_loses_its_right_while_nothing_is_said_is_noticed_within_a_day(
    desk: Desk, gh: FakeGitHub
) -> None:
    desk.say("before")
    desk.go(60)
    effects = gh.effects()
    gh.permit("T", {"metadata": "read", "issues": "read"})
    desk.rig.now += 25 * HOUR
    desk.go(60)
    assert desk.paused()[0] == "github_not_permitted"
    gh.permit("T", {"metadata": "read", "issues": "write"})
    desk.rig.now += HOUR
    desk.go(60)
    assert desk.line.push.uplink.pause is None
    assert gh.effects() == effects  # to ask was to change nothing


def test_a_daily_look_that_comes_to_nothing_is_made_again_without_haste(desk: Desk, gh: FakeGitHub) -> None:
    desk.say("before")
    desk.go(60)
    gh.fault(rule("status", status=500, times=2))
    gh.forget_requests()
    desk.rig.now += 25 * HOUR
    for _ in range(10):
        desk.go(1.0)
    assert len(gh.requests()) == 1
    desk.rig.now += HOUR
    desk.go(60)
    desk.rig.now += HOUR
    desk.go(60)
    assert len(gh.requests()) <= 5
    assert not desk.line.push.uplink.reach.unreachable


def test_that_a_token_may_do_more_than_is_needed_is_said_once(desk: Desk, gh: FakeGitHub) -> None:
    gh.token("T", login="me", kind="classic")
    for _ in range(3):
        desk.say("hello")
        desk.go(2 * HOUR)
        desk.connect()
    desk.check_all_arrived()
    (told,) = desk.rig.events.named("token_exceeded")
    assert told["scopes"] == "repo"
    assert "fine-grained" in told["hint"]


# --- the gate


def test_what_cannot_be_searched_for_secrets_stops_alone(
    desk: Desk, gh: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        let_nothing_search(broken, b"unsearchable")
        stuck = desk.say("unsearchable words")
        desk.say("other words")
        desk.go(HOUR)
        (buried,) = desk.rig.queue.items(buried=True)
        assert buried.last_code == "redaction_failed"
        assert "unsearchable" not in buried.last_error
        assert desk.line.push.uplink.pause is None
        assert not any("unsearchable" in read for read in gh.ever_readable())
        assert len(arrived.records(gh)) == 1
    desk.say("once more", stuck)
    desk.go(HOUR)
    desk.check_all_arrived()


# --- the issue


def test_a_locked_issue_holds_up_nobody_else_and_says_what_to_do(desk: Desk, gh: FakeGitHub) -> None:
    path = desk.say("before")
    desk.go(60)
    gh.set_role("o/r", "boss", "admin")
    gh.set_role("o/r", "me", "read")
    gh.lock_issue("o/r", 1)
    gh.forget_requests()
    desk.say("in the locked issue", path)
    desk.say("in the locked issue as well")
    desk.go(6 * HOUR)
    assert len(gh.requests(status=403)) <= 2 * 7
    assert desk.line.push.uplink.pause is None
    reason, hint = report.trouble(desk.rig.queue)
    assert "locked" in reason
    assert "Unlock the issue" in hint
    desk.check_all_is_kept()
    gh.lock_issue("o/r", 1, locked=False)
    desk.go(2 * HOUR)
    desk.check_all_arrived()


def test_a_closed_issue_takes_comments_and_stays_closed(desk: Desk, gh: FakeGitHub) -> None:
    path = desk.say("before")
    desk.go(60)
    gh.close_issue("o/r", 1)
    desk.say("after", path)
    desk.say("another")
    desk.go(60)
    desk.check_all_arrived()
    assert gh.issue("o/r", 1).state == "closed"


@pytest.mark.parametrize("how", ["deleted", "transferred"])
def test_an_issue_that_is_gone_is_replaced(desk: Desk, gh: FakeGitHub, how: str) -> None:
    path = desk.say("before")
    desk.go(60)
    gh.add_repo("o/elsewhere", private=True)
    moved: list[Any] = []
    if how == "deleted":
        gh.delete_issue("o/r", 1)
    else:
        number = gh.transfer_issue("o/r", 1, "o/elsewhere")
        moved = [comment.body for comment in gh.comments("o/elsewhere", number)]
    desk.say("after", path)
    desk.say("another")
    desk.go(HOUR)
    assert desk.rig.events.named("issue_missed")
    (new,) = gh.effects("created issue")[1:]
    assert new == "created issue 2"
    here = [comment for comment in gh.all_comments() if comment.body not in moved]
    parts = [part for comment in here if (part := comments.parse(comment.body)) is not None]
    assert sorted(part.session_id for part in parts) == sorted(file.stem for file in desk.files)
    for part in parts:
        (file,) = [file for file in desk.files if file.stem == part.session_id]
        assert comments.assemble([part])[1] == {file.name: file.read_bytes()}


def test_a_named_issue_that_is_gone_makes_way_for_the_projects_own(desk: Desk, gh: FakeGitHub) -> None:
    number = gh.add_issue("o/r", title="Ours", login="me")
    desk.connect(issue=number)
    path = desk.say("before")
    desk.go(60)
    assert len(gh.comments("o/r", number)) == 1
    gh.delete_issue("o/r", number)
    desk.say("after", path)
    desk.go(HOUR)
    desk.check_all_arrived()


# --- the comment


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda body: body.replace("sha256=", "sha256=0"), id="marker"),
        pytest.param(lambda body: "Somebody was here.", id="all of it"),
        pytest.param(lambda body: "", id="nothing left"),
        pytest.param(lambda body: body.replace("```json", "```"), id="block"),
        pytest.param(lambda body: body[: len(body) // 2], id="half"),
        pytest.param(lambda body: body + "\n\nA word of mine.", id="behind"),
    ],
)
def test_a_record_that_a_person_edited_is_whole_again_with_the_next_checkpoint(
    desk: Desk, gh: FakeGitHub, edit: Callable[[str], str]
) -> None:
    path = desk.say("before")
    desk.go(60)
    (comment,) = gh.all_comments()
    gh.edit_comment(comment.id, edit(comment.body))
    desk.say("after", path)
    desk.go(60)
    desk.check_all_arrived()


def test_a_comment_deleted_between_two_looks_is_written_anew_once(desk: Desk, gh: FakeGitHub) -> None:
    path = desk.say("before")
    desk.say("another")
    desk.go(60)
    gh.delete_comment(gh.all_comments()[0].id)
    gh.fault(accept_then_drop(method="POST", path="/comments$", times=1))
    desk.say("after", path)
    desk.go(HOUR)
    desk.check_all_arrived()


# --- the clock


@pytest.mark.parametrize("jump", [-YEAR, -HOUR, -30.0, HOUR, YEAR])
@pytest.mark.parametrize("amid", ["nothing", "a limit", "an outage", "a budget"])
def test_a_clock_that_jumps_delays_nothing_for_long(
    desk: Desk, gh: FakeGitHub, amid: str, jump: float
) -> None:
    path = desk.say("before")
    desk.go(60)
    if amid == "a limit":
        gh.fault(limited(retry_after_s=50, times=1))
    elif amid == "an outage":
        gh.fault(server_error(503, times=4))
    elif amid == "a budget":
        desk.connect(creations_per_hour=2)
    desk.say("after", path)
    desk.say("another")
    desk.go(20)
    real = gh.now()
    # what the process does when it sees a jump
    desk.rig.now += jump
    desk.line.push.clock_set(desk.rig.now, jump)
    if jump < 0:
        desk.rig.catalog.clock_set_back(desk.rig.now, jump)
    gh.freeze(real)
    moved = desk.rig.now
    for _ in range(200):
        gh.freeze(real + desk.rig.now - moved)
        if not desk.line.step():
            at = desk.line.push.next_at(desk.rig.now)
            if at is None:
                break
            desk.rig.now = min(max(desk.rig.now + 0.001, at), desk.rig.now + 20)
    assert desk.rig.now - moved < 1.2 * HOUR
    desk.check_all_arrived()
    # and what comes after it is a checkpoint in its turn
    desk.rig.now = moved + 2 * HOUR
    gh.freeze(real + 2 * HOUR)
    was = [desk.rig.session(session.ref).checkpoint for session in desk.rig.catalog.sessions()]
    for file in desk.files:
        desk.say("later", file)
    now = [desk.rig.session(session.ref).checkpoint for session in desk.rig.catalog.sessions()]
    assert set(was).isdisjoint(now)
    desk.go(HOUR)
    desk.check_all_arrived()
    desk.check_all_is_kept()


# --- names


@pytest.mark.parametrize(
    "name",
    [
        "$(reboot) 'x' \"y\"",
        "CON",
        "%2e%2e",
        "--> <!-- sessiond v1",
        "@octocat #1 ```",
        "\u65e5\u672c" * 30,
        "x" * 255,
    ],
)
def test_a_session_of_any_name_arrives_and_mentions_nobody(desk: Desk, gh: FakeGitHub, name: str) -> None:
    files = {"context.json": b'{"title": "@octocat closes #1 `` ` -->"}', "art\nifact": b"x", "a`b": b"y"}
    write(desk.rig.home.structured(name), list(files.items()))
    desk.rig.wait(5)
    desk.rig.wait(200)
    desk.go(60)
    assert set(arrived.records(gh)) == {name}
    assert arrived.files(gh, name) == files
    first, *_ = gh.all_comments()[0].body.splitlines()
    assert first.count("-->") == 1


# --- limits


@pytest.mark.parametrize("status", [403, 429])
def test_the_primary_limit_is_waited_for_until_it_is_reset(desk: Desk, gh: FakeGitHub, status: int) -> None:
    path = desk.say("before")
    desk.go(60)
    gh.behave(limit_status=status)
    gh.freeze(desk.rig.now)
    gh.rate_limit("me", remaining=0, reset_in_s=2000)
    gh.forget_requests()
    began = desk.rig.now
    desk.say("after", path)
    desk.say("another")
    desk.go(1000)
    asked = len(gh.requests())
    assert asked == 1
    pause = desk.line.push.uplink.pause
    assert pause is not None
    assert pause.code == "github_rate_limited"
    assert "Nothing to do" in pause.hint
    desk.line.push.probe_now(insist=True)  # no command of a person's makes GitHub's limit end sooner
    desk.go(100)
    assert len(gh.requests()) == 1
    desk.check_all_is_kept()
    desk.go(2000)
    desk.check_all_arrived()
    assert min(request.at for request in gh.requests()[1:]) >= began + 2000


@pytest.mark.parametrize("told", [True, False], ids=["retry-after", "no retry-after"])
@pytest.mark.parametrize("wording", ["secondary", "abuse"])
@pytest.mark.parametrize("status", [403, 429])
def test_a_secondary_limit_is_waited_for(
    desk: Desk, gh: FakeGitHub, told: bool, wording: str, status: int
) -> None:
    desk.say("one")
    desk.say("two")
    gh.freeze(desk.rig.now)
    gh.secondary_limit(170, scope="content", retry_after=told, wording=wording, status=status)
    began = desk.rig.now
    desk.go(600)
    refused = [request for request in gh.requests(writes=True) if request.status == status]
    assert len(refused) == (1 if told else 2)  # 60 s, then 120 s (GitHub docs)
    assert len(desk.rig.events.named("github_limited")) == len(refused)
    if not told:
        assert refused[1].at - refused[0].at >= 60
    assert desk.rig.queue.depth()[State.BURIED] == 0
    desk.check_all_arrived()
    assert min(request.at for request in gh.requests(writes=True) if request.effect) >= began + 170


# --- an outage

REFUSED = [rule("refuse", delay_s=0.0, times=3)]
OUTAGES: dict[str, list[Fault]] = {
    "cut": [rule("drop")],
    "5xx": [server_error(502), server_error(503)],
    "done, but 5xx": [server_error(500, effect=True)],
    "done, but cut": [accept_then_drop(), rule("drop", method="GET")],
    "an error page": [rule("html", status=503)],
    "a login page": [rule("html", status=200)],
    "half an answer": [rule("truncate")],
    "no JSON": [rule("malformed")],
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_after_an_outage_everything_arrives_once(desk: Desk, gh: FakeGitHub, outage: str) -> None:
    path = desk.say("before")
    desk.go(60)
    gh.forget_requests()
    gh.fault(*OUTAGES[outage])
    for number in range(4):
        desk.say(f"during {number}", path)
        desk.say(f"a new one {number}")
    desk.go(2 * HOUR)
    assert desk.line.push.uplink.reach.unreachable
    assert desk.line.push.uplink.pause is None
    # one probe every 30 to 60 s for the whole daemon
    probes = gh.requests("GET", "^/rate_limit$")
    assert 2 * HOUR / 60 - 5 <= len(probes) <= 2 * HOUR / 30
    assert len(gh.requests()) - len(probes) < 20
    desk.check_all_is_kept()
    gh.clear_faults()
    desk.go(120)
    assert desk.rig.events.named("github_reached")
    desk.check_all_arrived()


def test_a_flaky_line_doubles_nothing(desk: Desk, gh: FakeGitHub) -> None:
    chance = random.Random(7)
    gh.seed_faults(chance.randrange(1000))
    gh.fault(
        accept_then_drop(probability=0.3),
        server_error(500, effect=True, method="POST|PATCH", probability=0.3),
        rule("drop", probability=0.1),
        limited(retry_after_s=1, probability=0.05),
    )
    paths = [desk.say(f"first {number}") for number in range(3)]
    for turn in range(4):
        for path in paths:
            desk.say(f"turn {turn}", path)
        desk.go(900)
    gh.clear_faults()
    desk.go(HOUR)
    desk.check_all_arrived()
    assert len(gh.effects("created issue")) == 1

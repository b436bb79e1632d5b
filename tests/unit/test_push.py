"""From queued checkpoints to the right comment of the right issue, over real HTTP, with a time that the test moves."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessionsync.model import Tier
from sessionsync.queue import State
from sessionsync.remote import comments
from tests.archive import with_archive
from tests.fakes.github import FakeGitHub
from tests.rig import START, Home, Line, Rig, append, line, write

pytestmark = pytest.mark.github(frozen_at=START)


@pytest.fixture
def pusher(rig: Rig, gh: FakeGitHub) -> Iterator[Line]:
    made = Line(rig, gh.url)
    yield made
    made.close()


def session(rig: Rig, *texts: str) -> Path:
    """A transcript with these messages, checkpointed and queued."""
    path = rig.home.transcript()
    append(path, *(line("user", text, rig.home.project) for text in texts or ("hello",)))
    rig.wait(5)
    rig.wait(200)
    return path


def grow(rig: Rig, path: Path, text: str = "more") -> None:
    append(path, line("user", text, rig.home.project))
    rig.wait(5)
    rig.wait(200)


def records(gh: FakeGitHub, issue: int = 1) -> dict[str, list[comments.Part]]:
    found: dict[str, list[comments.Part]] = {}
    for comment in gh.comments("o/r", issue):
        part = comments.parse(comment.body)
        if part is not None:
            found.setdefault(part.session_id, []).append(part)
    return found


def record_of(body: str) -> dict[str, Any]:
    fence = re.search(r"^(`{3,})json\n(.*?)\n\1$", body, re.DOTALL | re.MULTILINE)
    assert fence is not None
    found: dict[str, Any] = json.loads(fence[2])
    return found


def test_a_small_session_is_whole_in_one_comment_of_the_projects_issue(
    rig: Rig, gh: FakeGitHub, pusher: Line
) -> None:
    path = session(rig, "hello")
    pusher.drain()
    (comment,) = gh.comments("o/r", 1)
    record, files = comments.assemble([part for part in [comments.parse(comment.body)] if part is not None])
    assert files == {path.name: path.read_bytes()}
    assert record.session_id == path.stem
    assert record.tier is Tier.GITHUB_ONLY
    assert rig.queue.items() == []
    assert rig.session().pushed_checkpoint == rig.session().checkpoint


def test_the_next_checkpoint_edits_the_same_comment_with_one_write_and_one_read(
    rig: Rig, gh: FakeGitHub, pusher: Line
) -> None:
    path = session(rig)
    pusher.drain()
    gh.forget_requests()
    grow(rig, path)
    pusher.drain()
    asked = [(r.method, re.sub(r"\d+", "N", r.path.split("?")[0])) for r in gh.requests()]
    assert asked == [("GET", "/repos/o/r/issues/N/comments"), ("PATCH", "/repos/o/r/issues/comments/N")]
    (comment,) = gh.comments("o/r", 1)
    part = comments.parse(comment.body)
    assert part is not None
    assert part.revision == 2
    assert comments.assemble([part])[1] == {path.name: path.read_bytes()}


def test_an_unchanged_record_is_not_sent(rig: Rig, gh: FakeGitHub, pusher: Line) -> None:
    session(rig)
    pusher.drain()
    gh.forget_requests()
    found = rig.session()
    assert found.checkpoint is not None
    rig.queue.enqueue("comment", found.id, found.checkpoint, rig.now)
    pusher.drain()
    assert gh.requests(writes=True) == []


@pytest.mark.parametrize(
    ("size", "tier"), [(1_000, Tier.GITHUB_ONLY), (60_000, Tier.HYBRID), (300_000, Tier.LOCAL_PRIMARY)]
)
def test_each_tier_has_the_same_critical_data_and_only_the_smallest_the_bytes(
    rig: Rig, gh: FakeGitHub, pusher: Line, size: int, tier: Tier
) -> None:
    folder = rig.home.structured("plan")
    write(
        folder,
        [
            (
                "context.json",
                b'{"title": "T", "decisions": ["d1"], "current_phase": "p", "next_steps": ["n"]}',
            ),
            ("artifacts/data.bin", b"x" * size),
        ],
    )
    rig.wait(5)
    rig.wait(200)
    pusher.drain()
    (comment,) = gh.comments("o/r", 1)
    record = record_of(comment.body)
    assert record["tier"] == tier.value
    assert record["critical_data"]["decisions"] == ["d1"]
    assert record["critical_data"]["current_phase"] == "p"
    assert record["critical_data"]["next_steps"] == ["n"]
    assert {f["path"] for f in record["files"]} == {"context.json", "artifacts/data.bin"}
    assert record["local_path"] == ".claude/sessions/plan"
    assert ("sessiond\n" in comment.body) == (tier is Tier.GITHUB_ONLY)


def test_a_session_that_grows_is_promoted_and_leaves_no_old_parts(
    rig: Rig, gh: FakeGitHub, pusher: Line
) -> None:
    folder = rig.home.structured("grows")
    noise = random.Random(1).randbytes(44_000)
    write(folder, [("context.json", b"{}"), ("a.bin", noise)])
    rig.wait(5)
    rig.wait(200)
    pusher.drain()
    assert len(records(gh)["grows"]) == 2
    write(folder, [("b.bin", noise)])
    rig.wait(5)
    rig.wait(200)
    pusher.drain()
    (part,) = records(gh)["grows"]
    assert part.record is not None
    assert part.record.tier is Tier.HYBRID
    assert rig.events.named("tier_promoted")
    assert "Tier `hybrid`, grown from `github_only` ·" in gh.comments("o/r", 1)[0].body


def test_that_the_bytes_go_to_an_archive_is_said(tmp_path: Path, gh: FakeGitHub) -> None:
    home = Home(tmp_path)
    rig = Rig(home, settings=with_archive(home.config(), tmp_path / "archive.git"))
    pusher = Line(rig, gh.url)
    write(home.structured("large"), [("context.json", b"{}"), ("a.bin", b"x" * 60_000)])
    rig.wait(5)
    rig.wait(200)
    pusher.drain()
    (comment,) = gh.comments("o/r", 1)
    assert "all bytes are in the backup on laptop and go to the archive" in comment.body
    pusher.close()
    rig.close()


def test_the_last_part_is_written_first(rig: Rig, gh: FakeGitHub, pusher: Line) -> None:
    noise = random.Random(1).randbytes(45_000)
    write(rig.home.structured("big"), [("context.json", b"{}"), ("a.bin", noise)])
    rig.wait(5)
    rig.wait(200)
    pusher.drain()
    numbers = [part.part for part in records(gh)["big"]]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) > 1
    record, files = comments.assemble(records(gh)["big"])
    assert files is not None
    assert files["a.bin"] == noise
    assert record.parts == len(numbers)


def test_the_session_names_its_issue(rig: Rig, gh: FakeGitHub, pusher: Line) -> None:
    number = gh.add_issue("o/r", title="A bug", login="me")
    write(rig.home.structured("fix"), [("context.json", json.dumps({"issue": number}).encode())])
    rig.wait(5)
    rig.wait(200)
    pusher.drain()
    assert set(records(gh, number)) == {"fix"}
    assert gh.requests("POST", r"/issues$") == []


def test_the_issues_body_lists_its_sessions_and_is_rewritten_only_when_they_change(
    rig: Rig, gh: FakeGitHub, pusher: Line
) -> None:
    paths = [session(rig, f"question {n}") for n in range(3)]
    pusher.drain()
    body = gh.requests("PATCH", r"/issues/\d+$")
    assert body
    gh.forget_requests()
    grow(rig, paths[0])
    pusher.drain()
    assert gh.requests("PATCH", r"/issues/\d+$") == []


def test_writes_are_a_second_apart(rig: Rig, gh: FakeGitHub, pusher: Line) -> None:
    for _ in range(4):
        session(rig)
    before = rig.now
    pusher.drain()
    assert rig.now - before >= 4 * 1.5


def test_a_lost_answer_makes_no_double(rig: Rig, gh: FakeGitHub, pusher: Line) -> None:
    from tests.fakes.faults import accept_then_drop

    session(rig)
    gh.fault(accept_then_drop(method="POST", path=r"/issues$", times=1))
    gh.fault(accept_then_drop(method="POST", path=r"/comments$", times=1))
    pusher.drain()
    assert len(gh.comments("o/r", 1)) == 1
    assert len(gh.effects("created issue")) == 1


def test_a_deleted_comment_is_written_anew(rig: Rig, gh: FakeGitHub, pusher: Line) -> None:
    path = session(rig)
    pusher.drain()
    (comment,) = gh.comments("o/r", 1)
    gh.delete_comment(comment.id)
    grow(rig, path)
    pusher.drain()
    (again,) = gh.comments("o/r", 1)
    assert again.id != comment.id
    assert rig.queue.depth()[State.BURIED] == 0


def test_text_that_a_person_adds_to_the_comment_is_kept(rig: Rig, gh: FakeGitHub, pusher: Line) -> None:
    path = session(rig)
    pusher.drain()
    (comment,) = gh.comments("o/r", 1)
    gh.edit_comment(comment.id, comment.body + "\n\nA note from Ann.")
    grow(rig, path)
    pusher.drain()
    (edited,) = gh.comments("o/r", 1)
    assert "A note from Ann." in edited.body
    part = comments.parse(edited.body)
    assert part is not None
    assert part.intact
    assert comments.assemble([part])[1] == {path.name: path.read_bytes()}


def test_text_that_a_person_adds_to_the_issue_is_kept(rig: Rig, gh: FakeGitHub, pusher: Line) -> None:
    session(rig)
    pusher.drain()
    issue = pusher.github.issue(1)
    gh.edit_issue("o/r", 1, body=issue.text + "\n\nAsk Ann before closing.")
    session(rig, "another")
    pusher.drain()
    body = pusher.github.issue(1).text
    assert "Ask Ann before closing." in body
    assert body.count("<!-- sessiond v1 project=") == 1


def test_a_new_name_of_the_machine_is_in_the_next_record(rig: Rig, gh: FakeGitHub, pusher: Line) -> None:
    path = session(rig)
    pusher.drain()
    pusher.machine = "99999999"
    grow(rig, path)
    pusher.drain()
    assert record_of(gh.comments("o/r", 1)[0].body)["machine"] == "99999999"


def test_the_last_fiftieth_of_a_rate_limit_is_left_to_others(rig: Rig, gh: FakeGitHub, pusher: Line) -> None:
    session(rig, "one")
    pusher.drain()
    gh.rate_limit("me", remaining=103, reset_in_s=1800)
    session(rig, "two")
    session(rig, "three")
    for _ in range(20):
        pusher.step()
    pause = pusher.push.uplink.pause
    assert pause is not None
    assert pause.code == "github_rate_limited"
    assert "are left until its reset" in pause.message
    assert rig.queue.items()
    limit = pusher.github.limits["core"]
    assert 90 < limit.remaining < 100
    gh.advance(1900)
    rig.now += 1900
    pusher.drain()
    assert rig.queue.items() == []
    assert len(records(gh)) == 3

"""What the commands tell, from a real state file; the shapes are the contract's."""

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sessionsync import report
from sessionsync.catalog import Catalog, Checkpoint, File, Session
from sessionsync.model import CriticalData, Ref, Role, Summary, Tier, checkpoint_id, rfc3339
from sessionsync.queue import Queue
from sessionsync.reliability.findings import Finding, Severity
from sessionsync.store import Store

NOW = 1_800_000_000.0
MINUTE = 60.0

LIVE = report.Live(
    version="1.2.3",
    pid=4711,
    uptime_seconds=3600.04,
    mode="normal",
    captured_until=NOW - 2,
    repo="o/r",
    reachable=True,
    rate_limit=(5000, 4812, NOW + 600),
)


class State:
    """A state file, and sessions put into it as capture and push would."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "state.db")
        self.catalog = Catalog(self.store)
        self.queue = Queue(self.store)
        self.root = folder

    def add(self, name: str = "s1", *, source: str = "claude", prompts: int = 3, **values: Any) -> Session:
        """A session that was changed two minutes ago; `checkpoints` and `pushed` are times."""
        checkpoints: list[float] = values.pop("checkpoints", [])
        pushed: float | None = values.pop("pushed", None)
        usual: dict[str, Any] = {
            "commented": True,
            "size": 1000,
            "captured_bytes": 1000,
            "tier": Tier.GITHUB_ONLY,
        }
        values = usual | values
        session = Session(
            id=0,
            ref=Ref(source, name),
            root=self.root,
            location=self.root / f"{name}.jsonl",
            summary=values.pop("summary", Summary(title=f"Title of {name}", prompts=prompts, turns=7)),
            modified_at=values.pop("modified_at", NOW - 2 * MINUTE),
            changed_at=values.pop("changed_at", NOW - 2 * MINUTE),
            key=name,
            **values,
        )
        if checkpoints:
            session.checkpoint, session.checkpoint_at = checkpoint_id(checkpoints[-1]), checkpoints[-1]
        if pushed is not None:
            session.pushed_checkpoint, session.pushed_at = checkpoint_id(pushed), pushed + 5
            session.pushed_bytes = 600
        self.catalog.save(session)
        for at in checkpoints:
            self.catalog.add_checkpoint(session.id, Checkpoint(checkpoint_id(at), at, "quiet", 900))
        self.catalog.save_file(session.id, File(f"{name}.jsonl", Role.MAIN, length=1000))
        return session

    def status(self, **live: Any) -> dict[str, Any]:
        return report.status(self.catalog, self.queue, replace(LIVE, **live), NOW)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(tmp_path)
    yield state
    state.store.close()


def test_the_shape_of_a_status(state: State) -> None:
    assert state.status() == {
        "version": "1.2.3",
        "pid": 4711,
        "uptime_seconds": 3600.0,
        "status": "ok",
        "mode": "normal",
        "reason": "",
        "hint": "",
        "safe_until": rfc3339(NOW - 2),
        "captured_until": rfc3339(NOW - 2),
        "unpushed_since": None,
        "github": {
            "repo": "o/r",
            "reachable": True,
            "rate_limit": {"limit": 5000, "remaining": 4812, "reset_at": rfc3339(NOW + 600)},
        },
        "archive": {
            "url": "",
            "pending": 0,
            "behind": 0,
            "since": None,
            "buried": 0,
            "reason": "",
            "hint": "",
        },
        "queue": {"pending": 0, "kept": 0, "oldest_age_seconds": 0.0, "buried": 0, "next_attempt_at": None},
        "sessions": {
            "watched": 0,
            "active": 0,
            "unpushed": 0,
            "conflicts": 0,
            "restorable_elsewhere": 0,
            "uncommented": 0,
        },
        "last_push_at": None,
        "reliability_score": None,
        "findings": [],
    }
    assert state.status(rate_limit=None)["github"]["rate_limit"] is None


def safe(status: dict[str, Any]) -> tuple[str | None, int, str | None]:
    return status["safe_until"], status["sessions"]["unpushed"], status["unpushed_since"]


def test_everything_is_safe_as_far_as_it_is_captured(state: State) -> None:
    state.add(checkpoints=[NOW - 90], pushed=NOW - 90)
    assert safe(state.status()) == (rfc3339(NOW - 2), 0, None)
    assert safe(state.status(captured_until=NOW - 500)) == (rfc3339(NOW - 500), 0, None)
    assert safe(state.status(captured_until=None)) == (None, 0, None)


def test_a_change_since_the_pushed_checkpoint_is_not_safe(state: State) -> None:
    state.add(checkpoints=[NOW - 90], pushed=NOW - 90, dirty_since=NOW - 40)
    assert safe(state.status()) == (rfc3339(NOW - 40), 1, rfc3339(NOW - 40))
    # where nothing is meant to leave, the disk is all there is to say
    assert safe(state.status(mode="local_only")) == (rfc3339(NOW - 2), 1, rfc3339(NOW - 40))


def test_an_unpushed_checkpoint_holds_at_most_its_span_of_changes(state: State) -> None:
    state.add(checkpoints=[NOW - 9000, NOW - 4000, NOW - 100], pushed=NOW - 9000)
    assert safe(state.status())[2] == rfc3339(NOW - 4000 - report.CHECKPOINT_SPAN_S)
    state.add("s2", checkpoints=[NOW - 5100, NOW - 5000], pushed=NOW - 5100)
    assert safe(state.status()) == (rfc3339(NOW - 5100), 2, rfc3339(NOW - 5100))


def test_a_new_session_is_not_safe_since_its_first_change(state: State) -> None:
    state.add(dirty_since=NOW - 30, captured_bytes=10)
    assert safe(state.status())[1:] == (1, rfc3339(NOW - 30))


def test_when_a_checkpoint_was_made_is_that_of_its_session_however_others_are_called(state: State) -> None:
    """An id has whole seconds: two sessions that rest at once have the same."""
    times = (NOW - 50.0, NOW - 49.5)
    first, second = (state.add(f"s{n}", checkpoints=[at]) for n, at in enumerate(times))
    assert first.checkpoint == second.checkpoint
    told = [state.catalog.checkpoint_at(each.id, each.checkpoint) for each in (first, second)]
    assert told == [*times]
    assert state.catalog.checkpoint_at(first.id, None) is None
    behind = [state.catalog.first_checkpoint(each.id, NOW - 50.0) for each in (first, second)]
    assert [each and each.at for each in behind] == [None, NOW - 49.5]


def test_what_a_status_holds_does_not_grow_with_the_checkpoints(state: State) -> None:
    """It is asked all day, and sessions have hundreds: two of each are read."""
    held = []
    for number in (100, 200):
        made = [NOW - 10 * MINUTE + n for n in range(number)]
        state.add(f"of {number}", checkpoints=made, pushed=made[number // 2], changed_at=made[-1])
        session = state.catalog.find(Ref("claude", f"of {number}"))
        assert session is not None
        report._unsafe_since(state.catalog, session)  # what is prepared once
        tracemalloc.start()
        report._unsafe_since(state.catalog, session)
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert held[1] < held[0] + 1000


def test_what_goes_nowhere_is_not_waited_for(state: State) -> None:
    state.add("silent", prompts=0, checkpoints=[NOW - 50])
    state.add("older", checkpoints=[NOW - 50], commented=False)
    state.add("older-silent", prompts=0, checkpoints=[NOW - 50], commented=False)
    state.add("folder", source="structured", prompts=0, checkpoints=[NOW - 50], pushed=NOW - 50)
    found = state.status()
    assert safe(found) == (rfc3339(NOW - 2), 0, None)
    assert found["sessions"]["watched"] == 4
    assert found["sessions"]["uncommented"] == 1
    assert found["sessions"]["restorable_elsewhere"] == 1


def test_why_it_waits_is_the_oldest_error(state: State) -> None:
    first = state.add("s1", checkpoints=[NOW - 800])
    second = state.add("s2", checkpoints=[NOW - 700])
    for session, at in ((first, NOW - 800), (second, NOW - 700)):
        state.queue.enqueue("comment", session.id, session.checkpoint or "", at)
    for error in ("GitHub does not answer.", "Something newer."):
        item = state.queue.lease(NOW)
        assert item is not None
        state.queue.retry(item, NOW + 33, error, "github_unreachable")
    found = state.status(reachable=False)
    assert found["reason"] == "GitHub does not answer."
    assert found["hint"] == "Nothing to do: it is tried again."
    assert found["queue"] == {
        "pending": 2, "kept": 0, "oldest_age_seconds": 800.0, "buried": 0, "next_attempt_at": rfc3339(NOW + 33),
    }  # fmt: skip
    assert state.status(next_attempt_at=NOW + 5)["queue"]["next_attempt_at"] == rfc3339(NOW + 5)
    paused = state.status(mode="paused", reason="GitHub refuses the token.", hint="Replace it.")
    assert (paused["reason"], paused["hint"]) == ("GitHub refuses the token.", "Replace it.")


def test_what_waits_has_an_age_whatever_it_is(state: State) -> None:
    state.queue.enqueue("index", 7, "", NOW - 20, delay_s=30)
    found = state.status()
    assert found["queue"] == {
        "pending": 1, "kept": 0, "oldest_age_seconds": 20.0, "buried": 0, "next_attempt_at": rfc3339(NOW + 10),
    }  # fmt: skip
    assert safe(found)[1] == 0


def test_the_worst_finding_is_the_status(state: State) -> None:
    warning = Finding("near_limit", Severity.WARNING, "Near.", "Look.", NOW - 10)
    critical = Finding(
        "backup_disk_full", Severity.CRITICAL, "Full.", "Free space.", NOW - 20, session="claude:s1"
    )
    assert state.status(findings=[warning])["status"] == "degraded"
    found = state.status(findings=[critical, warning])
    assert found["status"] == "critical"
    assert found["findings"][0] == {
        "code": "backup_disk_full",
        "severity": "critical",
        "session": "claude:s1",
        "message": "Full.",
        "hint": "Free space.",
        "doing": "",
        "since": rfc3339(NOW - 20),
    }
    healthy = report.health([], {}, NOW)
    assert healthy == {"status": "ok", "checked_at": rfc3339(NOW), "findings": [], "reliability": {}}
    assert report.health([warning], {}, NOW)["status"] == "warning"
    assert report.health([], {}, None)["checked_at"] is None


def test_a_session_as_a_list_shows_it(state: State) -> None:
    summary = Summary(
        title="Redesign", prompts=1, turns=7, critical=CriticalData(next_steps=["write", "rest"])
    )
    state.add(summary=summary, project="shop", checkpoints=[NOW - 90, NOW - 60], pushed=NOW - 90)
    (found,) = report.sessions(state.catalog, NOW)["sessions"]
    assert found == {
        "id": "s1",
        "source": "claude",
        "project": "shop",
        "title": "Redesign",
        "path": str(state.root / "s1.jsonl"),
        "size": 1000,
        "tier": "github_only",
        "state": "active",
        "turns": 7,
        "next": "write",
        "updated_at": rfc3339(NOW - 120),
        "last_checkpoint_at": rfc3339(NOW - 60),
        "last_pushed_at": rfc3339(NOW - 85),
        "unpushed": True,
        "unpushed_bytes": 400,
        "copies": ["mirror", "vault", "github"],
        "purge_in_days": 30.0,
        "newer_elsewhere": False,
        "elsewhere": None,
        "conflict": False,
    }


def test_states_and_copies(state: State) -> None:
    state.add("active")
    state.add("idle", modified_at=NOW - 1801, captured_bytes=0, tier=None)
    state.add("large", tier=Tier.HYBRID, checkpoints=[NOW - 60], pushed=NOW - 60, modified_at=NOW - 9000)
    gone = state.add("gone", modified_at=NOW - 9001)
    state.catalog.save_file(gone.id, File("gone.jsonl", Role.MAIN, deleted_at=NOW - 5))
    found = report.sessions(state.catalog, NOW)["sessions"]
    assert {each["id"]: each["state"] for each in found} == {
        "active": "active", "idle": "idle", "large": "idle", "gone": "deleted",
    }  # fmt: skip
    assert [each["id"] for each in found] == ["active", "idle", "large", "gone"]
    assert {each["id"]: each["copies"] for each in found} == {
        "active": ["mirror"], "idle": [], "large": ["mirror", "vault"], "gone": ["mirror"],
    }  # fmt: skip
    assert [each["tier"] for each in found][1] is None


def test_a_session_is_ended_when_its_agent_said_so_and_nothing_came_since(state: State) -> None:
    over, on = state.add("over", checkpoints=[NOW - 60]), state.add("on", checkpoints=[NOW - 60])
    state.catalog.store.execute("UPDATE checkpoints SET trigger = 'session-end'")
    on.dirty_since = NOW - 5
    state.catalog.save(on)
    found = report.sessions(state.catalog, NOW)["sessions"]
    assert {each["id"]: each["state"] for each in found} == {"over": "ended", "on": "active"}
    assert report.show(state.catalog, over, (), NOW)["state"] == "ended"


def test_sessions_of_one_project(state: State) -> None:
    shop, other = state.root / "shop", state.root / "shop-other"
    state.add("in", project_root=str(shop))
    state.add("below", summary=Summary(cwd=str(shop / "web"), prompts=1))
    state.add("other", project_root=str(other), summary=Summary(cwd=str(other), prompts=1))

    def ids(folder: Path) -> set[str]:
        return {each["id"] for each in report.sessions(state.catalog, NOW, folder)["sessions"]}

    assert ids(shop) == {"in", "below"}
    assert ids(shop / "src") == {"in"}
    assert ids(state.root / "nothing") == set()


def test_one_session_whole(state: State) -> None:
    session = state.add(checkpoints=[NOW - 90 - n for n in range(60, 0, -1)], pushed=NOW - 91)
    state.catalog.save_file(
        session.id, File("notes.md", Role.PART, length=5, generation=2, deleted_at=NOW - 1)
    )
    mine = Finding("x", Severity.WARNING, "m", "h", NOW, session="claude:s1")
    theirs = replace(mine, session="claude:s2")
    found = report.show(state.catalog, state.catalog.resolve("s1"), [mine, theirs], NOW)
    assert found.keys() >= {"id", "critical_data", "checkpoints", "files", "findings"}
    assert found["critical_data"].keys() == {"decisions", "checkpoints", "current_phase", "next_steps"}
    assert len(found["critical_data"]["checkpoints"]) == 50
    assert len(found["checkpoints"]) == 60
    assert found["checkpoints"][-1] == {
        "id": checkpoint_id(NOW - 91), "at": rfc3339(NOW - 91), "trigger": "quiet", "alias": "", "size": 900, "pushed": True,
    }  # fmt: skip
    assert [(f["path"], f["size"], f["generation"], f["deleted_at"]) for f in found["files"]] == [
        ("notes.md", 5, 2, rfc3339(NOW - 1)),
        ("s1.jsonl", 1000, 0, None),
    ]
    assert [f["session"] for f in found["findings"]] == ["claude:s1"]


def test_the_queue(state: State) -> None:
    session = state.add(checkpoints=[NOW - 50])
    state.queue.enqueue("comment", session.id, "C1", NOW - 50)
    state.queue.enqueue("index", 99, "", NOW - 40)
    item = state.queue.lease(NOW)
    assert item is not None
    state.queue.retry(item, NOW + 9, "No answer.", "github_unreachable")
    found = report.queue(state.catalog, state.queue)["items"]
    assert found[1] == {
        "session": "claude:s1",
        "operation": "comment",
        "issue": None,
        "checkpoint": "C1",
        "state": "retrying",
        "attempts": 1,
        "enqueued_at": rfc3339(NOW - 50),
        "next_attempt_at": rfc3339(NOW + 9),
        "last_error": "No answer.",
        "last_code": "github_unreachable",
    }
    assert (found[0]["session"], found[0]["operation"], found[0]["issue"]) == ("", "index", None)
    assert report.queue(state.catalog, state.queue, buried=True) == {"items": []}
    item = state.queue.lease(NOW + 10)
    assert item is not None
    state.queue.bury(item, "No.", "github_refused")
    (buried,) = report.queue(state.catalog, state.queue, buried=True)["items"]
    assert (buried["state"], buried["next_attempt_at"]) == ("buried", None)


def test_events_go_on_where_one_stopped(state: State) -> None:
    for n in range(5):
        state.store.log(NOW + n, "push_completed", "claude:s1", {"revision": n, "event": "shadow"})
    found = report.events(state.store, limit=2)["events"]
    assert [each["revision"] for each in found] == [3, 4]
    assert found[0] == {
        "revision": 3, "event": "push_completed", "at": rfc3339(NOW + 3), "session": "claude:s1", "number": 4,
    }  # fmt: skip
    assert report.events(state.store, after=found[-1]["number"]) == {"events": []}

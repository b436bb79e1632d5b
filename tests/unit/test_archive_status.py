"""What is said of the archive: how far it is behind, since when, and in the first line of the status."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessiond.cli.status import headline, render
from sessiond.cli.terminal import Terminal
from sessionsync import report
from sessionsync.model import rfc3339
from sessionsync.remote.archive.ledger import CURRENT, archived, behind
from tests.archive import Shipper, with_archive
from tests.rig import Home, Rig, append, line

PLAIN = Terminal(None, colours=False)
SID = "3f0c9f8a-0000-4000-8000-000000000001"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    home = Home(tmp_path / "one")
    made = Rig(home, settings=with_archive(home.config(), tmp_path / "archive.git"))
    yield made
    made.close()


@pytest.fixture
def shipper(rig: Rig) -> Iterator[Shipper]:
    made = Shipper(rig)
    rig.store.set_meta(CURRENT, made.address.id)
    yield made
    made.close()


def say(rig: Rig, text: str) -> None:
    append(rig.home.transcript(SID), line("user", text, rig.home.project, session=SID))
    rig.scan()


def status(rig: Rig, **live: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"captured_until": rig.now, "archive": "/a.git", "mode": "local_only"}
    told |= {"version": "1", "pid": 1, "uptime_seconds": 1.0, **live}
    return report.status(rig.catalog, rig.queue, report.Live(**told), rig.now)


def test_behind_is_what_was_changed_or_checkpointed_since(rig: Rig, shipper: Shipper) -> None:
    began = rig.now
    say(rig, "one")
    assert behind(rig.store) == (1, began)
    rig.wait(130)
    (number, since) = behind(rig.store)
    assert (number, since) == (1, began), "a checkpoint that is not there covers what led to it, and no more"
    shipper.drain()
    assert behind(rig.store) == (0, None)
    assert archived(rig.store) == {rig.session().id}
    rig.now += 1000
    changed = rig.now
    say(rig, "two")
    assert behind(rig.store) == (1, changed)
    rig.wait(130)
    (number, since) = behind(rig.store)
    assert (number, since) == (1, changed)
    rig.store.set_meta(CURRENT, "another")
    assert behind(rig.store)[0] == 1
    assert archived(rig.store) == set()


def test_what_is_safe_does_not_jump_back_with_a_checkpoint(rig: Rig, shipper: Shipper) -> None:
    began = rig.now
    say(rig, "one")
    rig.wait(130)
    assert status(rig)["safe_until"] == rfc3339(began)
    assert status(rig, mode="normal", archive="")["unpushed_since"] == rfc3339(began)
    rig.store.execute("UPDATE checkpoints SET since = NULL")  # as a version made them that did not know it
    at = rig.session().checkpoint_at
    assert at is not None
    assert status(rig)["safe_until"] == rfc3339(at - 600)


def test_status_counts_what_another_machine_could_restore(rig: Rig, shipper: Shipper) -> None:
    say(rig, "one")
    rig.wait(130)
    assert status(rig)["sessions"]["restorable_elsewhere"] == 0
    assert status(rig)["archive"]["behind"] == 1
    shipper.drain()
    assert status(rig)["sessions"]["restorable_elsewhere"] == 1
    assert status(rig)["safe_until"] == rfc3339(rig.now)
    (told,) = report.sessions(rig.catalog, rig.now)["sessions"]
    assert told["copies"] == ["mirror", "vault", "archive"]


@pytest.mark.parametrize(
    ("behind_by", "trouble", "line", "colour"),
    [
        (0, ("", ""), "is on this disk twice and in the archive. Nothing goes to GitHub", "yellow"),
        (1, ("", ""), "The archive follows by itself: 1 session.", "yellow"),
        (1, ("It is full.", "Free space."), "1 session is not in the archive since", "yellow"),
    ],
    ids=["all there", "on its way", "in trouble"],
)
def test_the_first_line_is_true_of_the_archive(
    rig: Rig, shipper: Shipper, behind_by: int, trouble: tuple[str, str], line: str, colour: str
) -> None:
    say(rig, "one")
    rig.wait(130)
    if not behind_by:
        shipper.drain()
    head = headline(status(rig, reason="no repository is set", archive_trouble=trouble), rig.now)
    assert line in head.text
    assert (trouble[0] in head.text) == bool(trouble[0]) or not trouble[0]
    assert head.colour == colour


def test_with_the_archive_alone_the_screen_counts_what_goes_there(rig: Rig, shipper: Shipper) -> None:
    say(rig, "one")
    rig.wait(130)
    screen = "\n".join(render(status(rig, reason="no repository is set"), rig.now, PLAIN))
    assert "1 waiting for the archive, 1 kept until a repository is set" in screen
    assert "unpushed" not in screen
    queue = status(rig, reason="no repository is set")["queue"]
    assert (queue["pending"], queue["kept"]) == (1, 1)
    shipper.drain()
    queue = status(rig, reason="no repository is set")["queue"]
    assert (queue["pending"], queue["kept"], queue["oldest_age_seconds"]) == (0, 1, 0.0)
    screen = "\n".join(render(status(rig, reason="no repository is set"), rig.now, PLAIN))
    assert "  1 kept until a repository is set\n" in screen


def test_with_both_the_line_says_both(rig: Rig, shipper: Shipper) -> None:
    say(rig, "one")
    rig.wait(130)
    shipper.drain()
    rig.store.execute("UPDATE sessions SET pushed_checkpoint = checkpoint")
    head = headline(status(rig, mode="normal", repo="o/r", reachable=True), rig.now)
    assert head.text.endswith("is on this disk twice, on GitHub and in the archive.")
    assert head.colour == "green"


def test_without_an_archive_nothing_is_said_of_it(rig: Rig) -> None:
    say(rig, "one")
    rig.wait(130)
    told = status(rig, archive="")
    assert told["archive"] == {
        "url": "",
        "pending": 0,
        "behind": 0,
        "since": None,
        "buried": 0,
        "reason": "",
        "hint": "",
    }
    assert "archive" not in headline(told, rig.now).text

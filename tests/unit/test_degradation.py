"""What still goes on while something else does not: each trouble, in the daemon as it is wired."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sessiond import loops
from sessionsync.errors import DaemonError, StoreFull
from sessionsync.model import Ref
from sessionsync.reliability.findings import CRITICAL
from sessionsync.reliability.ledger import Incident
from tests.conftest import PATIENCE_S
from tests.fakes.github import FakeGitHub
from tests.full import full_below
from tests.living import Living

TOKEN = "T"


@pytest.fixture
def gh() -> Iterator[FakeGitHub]:
    with FakeGitHub() as made:
        made.add_repo("o/r")
        made.token(TOKEN, login="me")
        yield made


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "TROUBLE_S", 0.2)


def living(folder: Path, gh: FakeGitHub, **settings: str) -> Living:
    return Living(folder, **gh.settings(TOKEN), **settings)


def test_github_away_lets_local_go_on_and_is_caught_up_with(tmp_path: Path, gh: FakeGitHub) -> None:
    with living(tmp_path, gh) as here:
        gh.refuse()
        names = [here.transcript().stem for _ in range(3)]
        here.until(lambda: here.ctl("sync", acts=True) and "github_unreachable" in here.codes())
        found = here.ctl("status")
        assert found["queue"]["pending"] == 3
        assert found["sessions"]["unpushed"] == 3
        assert len(list(here.home.mirror.rglob("*.jsonl"))) == 3
        push, ledger = here.app.engine.push, here.app.books.ledger
        assert push is not None
        failed_at, since = push.uplink.reach.failed_at or 0.0, push.uplink.reach.since or 0.0
        here.until(
            lambda: here.ctl("sync", acts=True) and (push.uplink.reach.failed_at or 0.0) > failed_at + 0.2
        )
        here.until(lambda: "github_unreachable" in {each.code for each in ledger.incidents(still_open=True)})

        def accept(_now: float) -> tuple[float, float]:
            """Between two tries; when the last one was, and when the next one will not be in vain."""
            gh.accept()
            return (push.uplink.reach.failed_at or 0.0) - since, time.time() - since

        last_s, accepted_s = here.app.push.call(accept)
        assert here.ctl("sync", acts=True, wait=PATIENCE_S)["left"] == 0
        assert len(gh.all_comments()) == len(names)
        here.until(lambda: not ledger.incidents(still_open=True))
        (outage,) = [each for each in ledger.incidents() if each.code == "github_unreachable"]
        known_s = outage.recoverable_since - outage.since
        assert last_s - 0.05 <= known_s <= accepted_s + 0.05, (
            "it could be mended from the last try in vain on"
        )


def test_the_end_of_an_outage_that_was_told_late_ends_none_that_comes_later(
    tmp_path: Path, gh: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with living(tmp_path, gh) as here:
        make_due, ledger = here.app.engine.queue.make_due, here.app.books.ledger

        def asked_meanwhile(*arguments: Any, **named: Any) -> int:
            here.app.health.keep_books()
            return make_due(*arguments, **named)

        # it has answered, is due again, and somebody asks before that is told
        monkeypatch.setattr(here.app.engine.queue, "make_due", asked_meanwhile)
        for times in (1, 2):
            gh.refuse()
            here.transcript()
            here.until(lambda: here.ctl("sync", acts=True) and "github_unreachable" in here.codes())
            here.until(lambda: ledger.incidents(still_open=True))
            gh.accept()
            here.until(lambda: here.ctl("sync", acts=True) and not ledger.incidents(still_open=True))
            outages = [each for each in ledger.incidents() if each.code == "github_unreachable"]
            assert [(each.closed_at or 0.0) > each.since for each in outages] == [True] * times


def test_a_command_that_a_full_disk_refuses_has_seen_that_it_is(
    tmp_path: Path, gh: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "TROUBLE_S", 60.0)  # by itself it does not try again
    with living(tmp_path, gh) as here:
        path = here.transcript()
        with pytest.MonkeyPatch.context() as patch:
            full_below(patch, here.home.mirror)
            here.write(path)
            here.until(lambda: "backup_disk_full" in here.codes())
            asked_at = time.time()
            with pytest.raises(DaemonError, match="No space left"):
                here.ctl("checkpoint", acts=True, session=path.stem)
            (full,) = [each for each in here.app.findings.open() if each.code == "backup_disk_full"]
            assert full.since < asked_at <= full.seen_at


def test_a_state_that_two_found_full_is_so_until_both_can_write(tmp_path: Path, gh: FakeGitHub) -> None:
    with living(tmp_path, gh) as here:
        findings, push = here.app.findings, here.app.push
        here.until(lambda: here.app.health.is_checked)  # before that nothing goes into the books
        here.ctl("pause", acts=True)
        now = push.call(lambda now: now)  # it is past its last try

        def of_full() -> list[Incident]:
            here.app.health.keep_books()
            return [each for each in here.app.books.ledger.incidents() if each.code == StoreFull.code]

        push.trouble, push.trouble_since, push.trouble_at = StoreFull("no room", hint=""), now - 100, now - 50
        findings.raised(StoreFull.code, CRITICAL, "no room", "", now - 90, seen_at=now - 60)
        (full,) = of_full()
        findings.cleared(StoreFull.code)
        (full,) = of_full()
        assert full.closed_at is None
        push.trouble = None
        (full,) = of_full()
        assert full.closed_at is not None
        assert 50 <= (full.seconds or 0.0) < 60, "it could be mended from the last try in vain on"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_stops_the_capture_and_not_what_is_on_its_way(
    tmp_path: Path, gh: FakeGitHub, number: int
) -> None:
    with living(tmp_path, gh) as here:
        here.ctl("pause", acts=True)
        here.transcript()
        with pytest.MonkeyPatch.context() as patch:
            full_below(patch, here.home.mirror, number)
            here.write()
            here.until(lambda: "backup_disk_full" in here.codes())
            here.ctl("resume", acts=True)
            here.until(gh.all_comments)
            assert here.ctl("health")["status"] == "critical"
        here.until(lambda: "backup_disk_full" not in here.codes())
        here.until(lambda: len(list(here.home.mirror.rglob("*.jsonl"))) == 2)


@pytest.mark.parametrize("full", ["mirror", "vault"])
def test_a_full_disk_under_one_copy_does_not_stop_the_other(
    tmp_path: Path, gh: FakeGitHub, full: str
) -> None:
    here = living(tmp_path, gh)
    there = [here.write() for _ in range(5)]  # what waits when it starts, and what changes then
    with pytest.MonkeyPatch.context() as patch:
        full_below(patch, getattr(here.home, full))
        here.start()
        here.until(lambda: "backup_disk_full" in here.codes())
        there.append(here.write())
        if full == "vault":
            here.until(lambda: all(map(here.is_copied, there)))
        else:
            here.until(lambda: len(here.app.engine.catalog.sessions()) == len(there))
            assert all(here.captured_bytes(path) == path.stat().st_size for path in there)
            with pytest.raises(DaemonError, match="No space left"):
                here.ctl("checkpoint", acts=True, session=there[-1].stem)
            here.until(gh.all_comments)  # and from there to GitHub
        here.until(lambda: here.app.capture.waiting == len(there))
        assert not here.told("capture_resumed")
    here.until(lambda: here.codes() == set())
    assert all(map(here.is_copied, there))
    here.until(lambda: here.app.capture.waiting == 0)  # it looks once more at everything
    here.stop()


def test_it_has_resumed_when_all_that_did_not_fit_is_kept_and_not_before(
    tmp_path: Path, gh: FakeGitHub
) -> None:
    with living(tmp_path, gh) as here:
        other, big = here.transcript(), here.home.transcript()
        resumed = partial(here.told, "capture_resumed")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loops, "FLUSH_S", 0.01)
            full_below(patch, here.copy_of(other).with_name(big.name))
            here.write(big)
            here.until(lambda: "backup_disk_full" in here.codes())
            stands = here.app.capture.captured_until
            for number in range(3):  # what is small still fits, also while it rests
                here.write(other, f"it fits, {number}")
                here.until(lambda: here.is_copied(other))
            here.ctl("checkpoint", acts=True, session=other.stem)
            for _ in range(2):
                rescans = here.told("rescan_completed")
                here.app.capture.want_rescan("test")
                here.until(lambda: here.told("rescan_completed") > rescans)  # noqa: B023
            assert not resumed()
            assert "backup_disk_full" in here.codes()
            assert here.app.capture.captured_until == stands
        here.until(resumed)
        assert here.is_copied(big)
        here.until(lambda: here.codes() == set())
        assert resumed() == here.told("capture_stopped") == 1


def test_what_a_command_could_not_commit_is_looked_for_again(tmp_path: Path, gh: FakeGitHub) -> None:
    with pytest.MonkeyPatch.context() as patch, living(tmp_path, gh) as here:
        patch.setattr(loops, "FLUSH_S", 60.0)  # what is captured waits for a command
        path = here.transcript()
        here.write(path, "more")
        here.until(lambda: here.is_copied(path))  # so its hint was taken
        with pytest.MonkeyPatch.context() as full:
            full_below(full, here.home.vault)
            with pytest.raises(DaemonError, match="No space left"):
                here.ctl("checkpoint", acts=True, session=path.stem)
        # of which nothing is left: only a look at everything can find it
        here.until(lambda: Ref("claude", path.stem) in here.app.engine.capture.unflushed)
        here.ctl("checkpoint", acts=True, session=path.stem)
        assert here.captured_bytes(path) == path.stat().st_size


def test_what_it_calls_copied_is(tmp_path: Path, gh: FakeGitHub) -> None:
    with living(tmp_path, gh) as here:
        path, blocked = here.transcript(), here.home.transcript()
        for number in range(3):
            here.write(path, f"{number}")
            written = time.time()
            here.until(lambda: (here.app.capture.captured_until or 0) > written)  # noqa: B023
            assert here.is_copied(path)
        # nor does time pass while something cannot be copied, or read
        here.copy_of(path).with_name(blocked.name).mkdir()
        here.write(blocked)
        here.until(lambda: "copy_failed" in here.codes())
        stands = here.app.capture.captured_until
        here.write(path, "meanwhile")
        here.until(lambda: here.is_copied(path) and not here.app.engine.capture.unflushed)
        assert here.app.capture.captured_until == stands
        here.copy_of(path).with_name(blocked.name).rmdir()
        here.write(blocked)
        written = time.time()
        here.until(lambda: (here.app.capture.captured_until or 0) > written)
        assert here.is_copied(blocked)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own at a folder; needs root."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k,mode=0700", "sessiond-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk, and not everywhere")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_read_only_vault_does_not_keep_the_daemon_from_starting(tmp_path: Path, gh: FakeGitHub) -> None:
    here = living(tmp_path, gh)
    with small_disk(here.home.vault) as vault:
        with here:
            here.ctl("pause", acts=True)
            here.transcript()
        subprocess.run(["mount", "-o", "remount,ro", str(vault)], check=True)
        here.start(scanned=False)
        here.until(lambda: "backup_disk_full" in here.codes())
        (found,) = here.ctl("health")["findings"]
        assert str(vault) in found["message"]
        path = here.write()  # its plain copy is made all the same
        here.until(lambda: here.is_copied(path))
        assert "backup_disk_full" in here.codes()
        with pytest.raises(DaemonError, match="Read-only"):
            here.transcript()
        here.ctl("resume", acts=True)
        here.until(gh.all_comments)  # what was captured before goes out
        subprocess.run(["mount", "-o", "remount,rw", str(vault)], check=True)
        here.until(lambda: here.codes() == set())
        assert here.ctl("sync", acts=True, capture=True, wait=PATIENCE_S)["left"] == 0
        assert len(gh.all_comments()) == 3
        here.stop()


def test_nor_does_a_full_disk_where_there_is_no_vault_yet(tmp_path: Path, gh: FakeGitHub) -> None:
    here = living(tmp_path, gh)
    with small_disk(here.home.vault) as vault:
        filled = vault / "filled"
        with suppress(OSError), filled.open("wb", buffering=0) as file:
            while file.write(b"x" * 1024):
                pass
        here.start(scanned=False)
        here.until(lambda: "backup_disk_full" in here.codes())
        here.until(here.app.capture.scanning.is_set)
        filled.unlink()
        here.until(lambda: here.codes() == set())
        here.transcript()
        here.until(gh.all_comments)
        here.stop()


def test_a_broken_index_keeps_nothing_else_from_going_on(tmp_path: Path, gh: FakeGitHub) -> None:
    with living(tmp_path, gh) as here:
        here.transcript()
        index = here.app.engine.paths.index_db
        here.until(index.exists)
    for file in index.parent.glob("index.db*"):
        file.unlink()
    index.write_bytes(b"no database at all" * 1000)
    with pytest.raises(sqlite3.DatabaseError), sqlite3.connect(index) as broken:
        broken.execute("SELECT * FROM sqlite_master")
    with here:
        here.transcript()
        assert here.ctl("sync", acts=True, wait=PATIENCE_S)["left"] == 0
        assert len(gh.all_comments()) == 2
        here.until(lambda: "index_broken" not in here.codes())  # it is made anew by itself


def test_a_revoked_token_pauses_and_burns_no_attempt(tmp_path: Path, gh: FakeGitHub) -> None:
    with living(tmp_path, gh) as here:
        gh.revoke_token(TOKEN)
        here.transcript()
        here.until(lambda: "github_token_refused" in here.codes())
        assert here.ctl("status")["mode"] == "paused"
        (item,) = here.ctl("queue")["items"]
        assert item["attempts"] == 0
        here.transcript()  # and local goes on
        assert here.ctl("status")["queue"]["pending"] == 2

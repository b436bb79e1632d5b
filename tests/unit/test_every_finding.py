"""Every finding there is comes and goes in the daemon as it is wired: each by its cause, and by its cure.

A case is a generator: up to its `yield` it does the harm, behind that it mends it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sessiond import health, loops, readings, recovering
from sessiond.cli.status import render
from sessiond.cli.terminal import Terminal
from sessiond.traffic import Traffic
from sessionsync.archiving import means
from sessionsync.errors import AlreadyRunning, CopyError
from sessionsync.model import Ref
from sessionsync.reliability import recovery
from sessionsync.reliability.findings import FINDINGS, Findings
from sessionsync.reliability.indicators import DAY_S, settle
from sessionsync.vault import Vault
from tests.conftest import PATIENCE_S
from tests.fakes.faults import Fault
from tests.fakes.git_host import Fault as HostFault
from tests.fakes.git_host import GitHost
from tests.fakes.github import FakeGitHub
from tests.keeper import flip
from tests.living import Living
from tests.process import test_upgrade
from tests.rig import START

TOKEN = "ghp_" + "ThisIsTheTokenOfTheArchive1234567890"
Case = Iterator[None]


class Stage(NamedTuple):
    """Where a case plays."""

    living: Living
    gh: FakeGitHub
    host: GitHost
    patch: pytest.MonkeyPatch

    def push(self) -> None:
        """Something new to send, and a try to send it."""
        self.living.transcript()
        self.living.ctl("sync", acts=True)

    def execute(self, statement: str, *parameters: object) -> None:
        self.living.app.engine.store.execute(statement, parameters)

    def poke(self, code: str) -> None:
        """Let the indicators be read until this is found."""

        def is_found() -> bool:
            self.look()
            return code in self.living.codes()

        self.living.until(is_found)

    def look(self) -> None:
        """Let the indicators be read now."""
        self.living.app.health.want()

    def told(self, times: int, event: str, **fields: Any) -> None:
        for _ in range(times):
            self.living.app.emit(event, **fields)
        self.look()

    def structured(self, **files: str) -> Path:
        """A structured session with these files (`__` for `/`), captured."""
        folder = self.living.home.structured("design")
        for name, text in files.items():
            path = folder / name.replace("__", "/").replace("_json", ".json")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        self.living.ctl("checkpoint", acts=True, session="structured:design")
        return folder

    def copies(self, name: str) -> list[Path]:
        """The plain copies of a file, and every pack of the vault."""
        plain = [path for path in self.living.home.mirror.rglob(name) if path.is_file()]
        return plain + [path for path in self.living.home.vault.rglob("pack*") if path.is_file()]

    def gone(self, name: str) -> bool:
        """Whether the catalog knows that a file is gone."""
        rows = self.living.app.engine.store.rows(
            "SELECT 1 FROM files WHERE name LIKE ? AND deleted_at IS NOT NULL", (f"%{name}",)
        )
        return bool(rows)


# --- GitHub


def refused(stage: Stage) -> Case:
    stage.gh.revoke_token(TOKEN)
    stage.push()
    yield
    stage.gh.tokens[TOKEN].revoked = False
    stage.living.ctl("resume", acts=True)
    stage.push()


def not_permitted(stage: Stage) -> Case:
    stage.gh.archive_repo("o/r")
    stage.push()
    yield
    stage.gh.archive_repo("o/r", archived=False)
    stage.push()


def public(stage: Stage) -> Case:
    stage.gh.make_public("o/r")
    stage.push()
    yield
    stage.gh.make_public("o/r", public=False)
    stage.push()


def missing(stage: Stage) -> Case:
    stage.gh.rename_repo("o/r", "o/elsewhere")
    stage.gh.repos[stage.gh.repo("o/elsewhere").id].former_names = []
    stage.push()
    yield
    stage.gh.rename_repo("o/elsewhere", "o/r")
    stage.push()


def limited(stage: Stage) -> Case:
    stage.gh.rate_limit("me", remaining=0, reset_in_s=10)  # by then it must have been asked
    stage.push()
    yield
    stage.living.until(lambda: stage.gh.now() > 0)


def unreachable(stage: Stage) -> Case:
    stage.living.transcript()
    stage.gh.refuse()
    failing = partial(stage.living.ctl, "sync", acts=True)
    stage.living.until(lambda: failing() and "github_unreachable" in stage.living.codes())
    yield
    stage.gh.accept()
    stage.living.ctl("sync", acts=True)


def slow(stage: Stage) -> Case:
    stage.told(11, "github_requested", operation="get_issue", outcome="success", seconds=6.0)
    yield
    stage.told(400, "github_requested", operation="get_issue", outcome="success", seconds=0.1)


def failing(stage: Stage) -> Case:
    stage.told(10, "github_requested", operation="get_issue", outcome="timeout", seconds=30.0)
    yield
    stage.told(10, "github_requested", operation="get_issue", outcome="success", seconds=0.1)


def little_left(stage: Stage) -> Case:
    stage.gh.rate_limit("me", remaining=500, reset_in_s=3600)
    stage.push()
    stage.living.until(stage.gh.all_comments)
    stage.look()
    yield
    stage.gh.rate_limit("me", remaining=4900, reset_in_s=3600)
    stage.push()
    stage.living.until(lambda: len(stage.gh.all_comments()) == 2)
    stage.look()


def expiring(stage: Stage) -> Case:
    stage.gh.expire_token(TOKEN, stage.gh.now() + 2 * DAY_S)
    stage.push()
    stage.living.until(stage.gh.all_comments)
    stage.look()
    yield
    stage.gh.expire_token(TOKEN, stage.gh.now() + 60 * DAY_S)
    stage.push()
    stage.living.until(lambda: len(stage.gh.all_comments()) == 2)
    stage.look()


def skewed(by_s: float, stage: Stage) -> Case:
    stage.gh.advance(by_s)
    stage.push()
    stage.living.until(stage.gh.all_comments)
    stage.look()
    yield
    stage.gh.advance(-by_s)
    stage.push()
    stage.living.until(lambda: len(stage.gh.all_comments()) == 2)
    stage.look()


# --- the archive


def archive_refused(stage: Stage) -> Case:
    stage.host.token = "another"
    stage.push()
    yield
    stage.host.token = TOKEN
    stage.living.ctl("resume", acts=True)


def archive_answers(status: int, code: str, stage: Stage) -> Case:
    stage.host.faults = [HostFault(path="", status=status, count=10**6)]
    stage.living.transcript()

    def is_found() -> bool:
        if stage.living.app.archive.waits_until > time.monotonic():  # what it has been told is done
            stage.living.ctl("sync", acts=True)
        return code in stage.living.codes()

    stage.living.until(is_found)
    yield
    stage.host.faults = []
    stage.living.ctl("reload", acts=True)


def archive_missing(stage: Stage) -> Case:
    repository = stage.host.folder / "o" / "r.git"
    repository.rename(repository.with_name("away"))
    stage.push()
    yield
    repository.with_name("away").rename(repository)
    stage.living.ctl("sync", acts=True)


def archive_needs(stage: Stage) -> Case:
    config = Path(stage.living.environ["SESSIOND_HOME"]) / "config.toml"
    del stage.living.environ["SESSIOND_GITHUB_REPO"], stage.living.environ["SESSIOND_ARCHIVE_URL"]
    config.write_text('[archive]\nurl = "github"\n')
    stage.living.ctl("reload", acts=True)
    yield
    config.write_text("")
    stage.living.ctl("reload", acts=True)


def too_new(stage: Stage) -> Case:
    stage.told(
        1, "copy_unavailable", session="claude:s", where="archive", code="archive_too_new", reason="v9"
    )
    yield
    stage.told(1, "version_kept", session="claude:s", machine="m", host="h", revision=1, whole=True)


# --- synchronisation


def late(stage: Stage) -> Case:
    stage.gh.fault(Fault(kind="hang", delay_s=60))
    stage.living.transcript()
    stage.execute("UPDATE items SET enqueued_at = ?", time.time() - 1000)
    stage.look()
    yield
    stage.gh.clear_faults()
    stage.living.until(lambda: stage.living.ctl("sync", acts=True)["left"] == 0)
    stage.look()


def sync_failing(stage: Stage) -> Case:
    stage.gh.fault(Fault(kind="hang", delay_s=60))
    stage.living.transcript()
    stage.told(3, "push_failed", session="claude:s", code="copy_mismatch", reason="r", hint="h")
    yield
    stage.gh.clear_faults()
    stage.push()
    stage.living.until(stage.gh.all_comments)
    stage.look()


def conflicting(stage: Stage) -> Case:
    stage.told(30, "push_unchanged", session="claude:s")
    stage.told(30, "push_completed", session="claude:s", parts=1)
    stage.told(1, "conflict_opened", session="claude:s", kind="files")
    yield
    stage.told(200, "push_completed", session="claude:s", parts=1)


def conflict(stage: Stage) -> Case:
    stage.living.transcript()
    stage.execute(
        "INSERT INTO conflicts (session, fork, kind, since, machine, local, remote)"
        " SELECT id, 'f', 'files', ?, 'm', '{}', '{}' FROM sessions",
        time.time(),
    )
    yield
    stage.execute("UPDATE conflicts SET chosen = 'local', chosen_at = ?", time.time())


def buried(stage: Stage) -> Case:
    stage.gh.fault(Fault(kind="status", method="POST", path="comments", status=422, times=1))
    stage.push()
    yield
    stage.living.ctl("retry", acts=True)


def near(stage: Stage) -> Case:
    folder = stage.structured(context_json=json.dumps({"title": "t"}), artifacts__a="x" * 44_000)
    yield
    (folder / "artifacts" / "b").write_text("x" * 44_000)
    stage.living.ctl("checkpoint", acts=True, session="structured:design")


# --- the copies


def refuse_writes(stage: Stage, below: Path, number: int) -> None:
    """Let the system refuse to write below a folder, as a full disk does."""
    real = os.pwrite

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(below):
            raise OSError(number, os.strerror(number))
        return real(descriptor, data, offset)

    stage.patch.setattr(os, "pwrite", pwrite)


def backup_full(stage: Stage) -> Case:
    refuse_writes(stage, stage.living.home.mirror, errno.ENOSPC)
    stage.living.write()
    yield
    stage.patch.undo()
    stage.living.app.capture.go_on()


def state_full(stage: Stage) -> Case:
    connection = stage.living.app.engine.store._connection
    most = connection.execute("PRAGMA max_page_count").fetchone()[0]
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(30):
        stage.living.write()
    yield
    connection.execute(f"PRAGMA max_page_count = {most}")
    stage.living.app.capture.go_on()


def disk_low(stage: Stage) -> Case:
    real = shutil.disk_usage
    stage.patch.setattr(shutil, "disk_usage", lambda path: real(path)._replace(total=1 << 30, free=1 << 20))
    stage.look()
    yield
    stage.patch.undo()
    stage.look()


def copy_failed(stage: Stage) -> Case:
    path = stage.living.write()
    copy = stage.living.home.mirror / "app" / path.name
    stage.living.until(copy.exists)
    copy.unlink()
    copy.mkdir()
    stage.living.write(path)
    yield
    copy.rmdir()


def copy_mismatch(stage: Stage) -> Case:
    """A disk that gives back other bytes than it took."""
    real, below = os.pread, stage.living.home.mirror

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        data = real(descriptor, length, offset)
        is_copy = Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(below)
        return b"?" + data[1:] if is_copy and data else data

    stage.patch.setattr(os, "pread", pread)
    stage.living.write()
    yield
    stage.patch.undo()
    stage.living.app.capture.want_rescan("command")


def damaged(stage: Stage) -> Case:
    """The agent has deleted it, and both copies have the same bit wrong."""
    path = stage.living.transcript("words " * 200)
    stage.living.ctl("local-only", acts=True, on=True)
    path.unlink()
    stage.living.until(lambda: stage.gone(path.name))
    copies = stage.copies(path.name)
    sound = [copy.read_bytes() for copy in copies]
    for copy in copies:
        flip(copy, 60)
    stage.living.ctl("repair", acts=True, session=path.stem)
    yield
    for copy, data in zip(copies, sound, strict=True):
        copy.write_bytes(data)
    stage.living.ctl("repair", acts=True, session=path.stem)


def removed(stage: Stage) -> Case:
    """Both copies' folders go in turn, and come back without anybody."""
    living, app = stage.living, stage.living.app
    path = living.transcript("words " * 200)
    app.supervise()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app.upkeep, "turn", lambda: 0.05)  # else it is healed before anybody has seen it
        shutil.rmtree(living.home.vault)
        app.supervise()
        yield
    living.until(lambda: app.engine.vault.is_held() and "copies_removed" not in living.codes())
    shutil.rmtree(living.home.mirror)
    app.supervise()
    living.until(lambda: living.is_copied(path))
    verdict = living.ctl("verify", acts=True, deep=True)
    assert (verdict["checked"], verdict["bad"]) == (1, []), "both are whole again"


def lost(stage: Stage) -> Case:
    stage.patch.setitem(stage.living.environ, "SESSIOND_GITHUB_REPO", "")
    stage.patch.setitem(stage.living.environ, "SESSIOND_ARCHIVE_URL", "")
    stage.living.ctl("reload", acts=True)  # nobody else may have it
    yield from damaged(stage)


def artifact(stage: Stage) -> Case:
    folder = stage.structured(context_json="{}", artifacts__a="x" * 3000)
    stage.living.ctl("local-only", acts=True, on=True)
    copies = stage.copies("a")
    sound = [copy.read_bytes() for copy in copies]
    (folder / "artifacts" / "a").unlink()
    stage.living.until(lambda: stage.gone("artifacts/a"))
    for copy in copies:
        copy.write_bytes(b"")
    stage.living.ctl("verify", acts=True, deep=True)
    yield
    for copy, data in zip(copies, sound, strict=True):
        copy.write_bytes(data)
    stage.living.ctl("repair", acts=True, session="structured:design")


def reference(stage: Stage) -> Case:
    path = stage.living.transcript("words " * 200)
    stage.living.ctl("local-only", acts=True, on=True)
    path.unlink()
    stage.living.until(lambda: stage.gone(path.name))
    copies = stage.copies(path.name)
    sound = [copy.read_bytes() for copy in copies]
    for copy in copies:
        copy.write_bytes(b"")
    stage.living.ctl("verify", acts=True, deep=True)
    yield
    for copy, data in zip(copies, sound, strict=True):
        copy.write_bytes(data)
    stage.living.ctl("repair", acts=True, session=path.stem)


def drill(stage: Stage) -> Case:
    path = stage.living.transcript("words " * 200)
    stage.living.ctl("local-only", acts=True, on=True)
    path.unlink()
    stage.living.until(lambda: stage.gone(path.name))
    copies = stage.copies(path.name)
    sound = [copy.read_bytes() for copy in copies]
    for copy in copies:
        flip(copy, 60)
    stage.living.ctl("verify", acts=True, session=path.stem, drill=True)
    yield
    for copy, data in zip(copies, sound, strict=True):
        copy.write_bytes(data)
    stage.living.ctl("verify", acts=True, session=path.stem, drill=True)


def unproven(stage: Stage) -> Case:
    stage.living.transcript()
    stage.living.app.started_at -= 4 * DAY_S
    stage.look()
    yield
    stage.living.ctl("verify", acts=True, drill=True)
    stage.look()


def unreadable(stage: Stage) -> Case:
    path, real = stage.living.home.transcript(), os.open

    def refusing(name: Any, flags: int, *rest: int, **where: Any) -> int:
        if str(name).endswith(path.name):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(name, flags, *rest, **where)

    stage.patch.setattr(os, "open", refusing)
    stage.living.write(path)
    yield
    stage.patch.undo()
    stage.living.app.capture.want_rescan("readable")


# --- this machine


def starved(stage: Stage) -> Case:
    stage.living.app.watcher._starved("/a/folder")
    stage.look()
    yield
    stage.living.app.watcher.restart()
    stage.look()


def large(name: str, code: str, stage: Stage) -> Case:
    stage.patch.setattr(readings, name, 0)
    stage.patch.setattr(readings, "MEASURE_S", 0.0)
    stage.living.transcript()
    stage.poke(code)
    yield
    stage.patch.setattr(readings, name, 1 << 40)
    stage.look()


def index_broken(stage: Stage) -> Case:
    """Something else lies where the index should."""
    index = stage.living.app.engine.paths.index_db
    stage.living.until(index.exists)
    app = stage.living.app
    app.index.stop()
    app.index.join()
    app.index._index = None
    for file in index.parent.glob("index.db*"):
        file.unlink()
    index.mkdir()
    with pytest.raises(sqlite3.Error):
        sqlite3.connect(index)
    app.index._stopping = False
    app.index.turn()
    yield
    index.rmdir()

    def is_mended() -> bool:
        app.index.turn()
        return "index_broken" not in stage.living.codes()

    stage.living.until(is_mended)


def config(stage: Stage) -> Case:
    file = Path(stage.living.environ["SESSIOND_HOME"]) / "config.toml"
    file.write_text("[health]\ninterval_seconds = 0\n")
    with pytest.raises(Exception, match="interval_seconds"):
        stage.living.ctl("reload", acts=True)
    yield
    file.write_text("")
    stage.living.ctl("reload", acts=True)


def unread(stage: Stage) -> Case:
    file = Path(stage.living.environ["SESSIOND_HOME"]) / "config.toml"
    file.write_text("[health]\ninterval_seconds = 7\n")
    stage.living.app.supervise()
    (said,) = [f["message"] for f in stage.living.ctl("status")["findings"] if f["code"] == "reload_needed"]
    assert said.endswith("has not read it again: health.interval_seconds.")
    yield
    stage.living.ctl("reload", acts=True)
    stage.living.app.supervise()


def restart(stage: Stage) -> Case:
    file = Path(stage.living.environ["SESSIOND_HOME"]) / "config.toml"
    file.write_text("[backup]\nkeep_checkpoints = 7\n")
    answer = stage.living.ctl("reload", acts=True)
    assert answer == {"changed": ["backup.keep_checkpoints"], "restart_needed": ["backup.keep_checkpoints"]}
    (said,) = [f["message"] for f in stage.living.ctl("status")["findings"] if f["code"] == "restart_needed"]
    assert said.endswith("restart to apply: backup.keep_checkpoints.")
    yield
    file.write_text("")
    assert stage.living.ctl("reload", acts=True)["changed"] == []


def stuck(stage: Stage) -> Case:
    loop = stage.living.app.upkeep
    loop.progressed_at = loop.waits_until = time.monotonic() - 500
    stage.look()
    yield
    loop.bell.ring()
    stage.living.until(lambda: loop.progress_age_s < 100)
    stage.look()


def unrecovered(stage: Stage) -> Case:
    stage.patch.setattr(recovery, "PAUSE_S", 0.0)
    stage.patch.setattr(recovering, "SHOWS_S", 0.0)
    mended = damaged(stage)
    next(mended)
    stage.poke("recovery_failed")
    yield
    next(mended, None)


# --- the agents


def purge_at_once(stage: Stage) -> Case:
    settings = stage.living.home.agent / "settings.json"
    settings.write_text('{"cleanupPeriodDays": 0}')
    yield
    settings.unlink()


def purge_near(stage: Stage) -> Case:
    path = stage.living.transcript()
    stage.execute(
        "UPDATE sessions SET modified_at = ?, dirty_since = ?", time.time() - 28 * DAY_S, time.time() + 9
    )
    stage.execute("UPDATE sessions SET changed_at = ?", time.time() + 9)
    stage.look()
    yield
    stage.living.ctl("checkpoint", acts=True, session=path.stem)
    stage.look()


def silent(stage: Stage) -> Case:
    """Its process lives, and it owes an answer."""
    path = stage.living.transcript("a question")
    running = stage.living.home.agent / "sessions" / f"{os.getpid()}.json"
    running.parent.mkdir()
    running.write_text(json.dumps({"pid": os.getpid(), "sessionId": path.stem}))
    stage.execute("UPDATE sessions SET modified_at = ?", time.time() - 2000)
    stage.look()
    yield
    stage.living.write(path)
    stage.living.ctl("checkpoint", acts=True, session=path.stem)
    stage.look()


def dropped(stage: Stage) -> Case:
    folder = stage.structured(context_json="{}", metrics_json=json.dumps({"quality": 0.9}))
    checkpoint = partial(stage.living.ctl, "checkpoint", acts=True, session="structured:design")
    (folder / "metrics.json").write_text(json.dumps({"quality": 0.5}))
    checkpoint()
    yield
    (folder / "metrics.json").write_text(json.dumps({"quality": 0.95}))
    checkpoint()


CASES: dict[str, Callable[[Stage], Case]] = {
    "github_token_refused": refused,
    "github_not_permitted": not_permitted,
    "github_repository_public": public,
    "github_repository_missing": missing,
    "github_rate_limited": limited,
    "github_unreachable": unreachable,
    "github_latency_high": slow,
    "github_errors_high": failing,
    "github_limit_low": little_left,
    "token_expiring": expiring,
    "clock_skewed": partial(skewed, 300.0),
    "archive_token_refused": archive_refused,
    "archive_not_permitted": partial(archive_answers, 403, "archive_not_permitted"),
    "archive_rate_limited": partial(archive_answers, 429, "archive_rate_limited"),
    "archive_unreachable": partial(archive_answers, 502, "archive_unreachable"),
    "archive_repository_missing": archive_missing,
    "archive_needs_repository": archive_needs,
    "archive_too_new": too_new,
    "sync_late": late,
    "sync_failing": sync_failing,
    "sync_conflicts_high": conflicting,
    "session_conflict": conflict,
    "item_buried": buried,
    "near_limit": near,
    "backup_disk_full": backup_full,
    "state_disk_full": state_full,
    "disk_low": disk_low,
    "copy_failed": copy_failed,
    "copy_mismatch": copy_mismatch,
    "copy_damaged": damaged,
    "copies_removed": removed,
    "data_lost": lost,
    "artifact_missing": artifact,
    "reference_broken": reference,
    "drill_failed": drill,
    "restore_unproven": unproven,
    "source_unreadable": unreadable,
    "watches_low": starved,
    "index_large": partial(large, "SMALL_INDEX_BYTES", "index_large"),
    "vault_large": partial(large, "SMALL_VAULT_BYTES", "vault_large"),
    "index_broken": index_broken,
    "config_invalid": config,
    "reload_needed": unread,
    "restart_needed": restart,
    "loop_stuck": stuck,
    "recovery_failed": unrecovered,
    "purge_at_once": purge_at_once,
    "purge_near": purge_near,
    "agent_silent": silent,
    "quality_dropped": dropped,
}


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with FakeGitHub() as gh, GitHost(tmp_path / "repos", token=TOKEN) as host:
        gh.add_repo("o/r")
        gh.token(TOKEN, login="me")
        host.make("o/r")
        settings = {**gh.settings(TOKEN), "SESSIOND_ARCHIVE_URL": host.url("o/r")}
        for name, value in {"HOME": str(tmp_path), **settings}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(means, "SPACING_S", 0.2)
        monkeypatch.setattr(loops, "TROUBLE_S", 0.5)
        monkeypatch.setattr(health, "BREATH_S", 0.05)
        monkeypatch.setattr(readings, "PURGES_S", 0.0)
        with Living(tmp_path, **settings) as living, pytest.MonkeyPatch.context() as patch:
            yield Stage(living, gh, host, patch)


@pytest.mark.parametrize("code", sorted(CASES))
def test_it_comes_by_its_cause_and_goes_by_its_cure(code: str, stage: Stage) -> None:
    assert code not in stage.living.codes()
    case = CASES[code](stage)
    next(case)
    stage.living.until(lambda: code in stage.living.codes())
    next(case, None)
    stage.living.until(lambda: code not in stage.living.codes())


def test_a_clock_that_is_ahead_of_githubs_is_skewed_as_well(stage: Stage) -> None:
    case = skewed(-300.0, stage)
    next(case)
    stage.living.until(lambda: "clock_skewed" in stage.living.codes())
    next(case, None)
    stage.living.until(lambda: "clock_skewed" not in stage.living.codes())


def test_what_waited_through_an_outage_is_not_late_at_its_end(stage: Stage) -> None:
    case = late(stage)
    next(case)
    stage.living.until(lambda: "sync_late" in stage.living.codes())
    stage.living.app.emit("github_reached")
    stage.look()
    stage.living.until(lambda: "sync_late" not in stage.living.codes())
    next(case, None)


def test_local_only_has_no_trouble_with_github(stage: Stage) -> None:
    next(failing(stage))
    stage.living.until(lambda: "github_errors_high" in stage.living.codes())
    stage.living.ctl("local-only", acts=True, on=True)
    stage.look()
    stage.living.until(lambda: "github_errors_high" not in stage.living.codes())


def test_a_folder_that_is_closed_is_seen_by_the_next_look_and_captured_when_it_is_open(
    stage: Stage,
) -> None:
    living, access = stage.living, os.access
    path = living.transcript()
    folder = path.parent
    living.app.supervise()
    assert "source_unreadable" not in living.codes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", lambda where, mode: str(where) != str(folder) and access(where, mode))
        living.app.supervise()
        living.until(lambda: "source_unreadable" in living.codes())
        assert not stage.gone(path.name)
    living.app.supervise()
    living.until(lambda: "source_unreadable" not in living.codes())
    living.write(path)
    living.until(lambda: living.is_copied(path))


def test_a_transcript_that_is_a_link_is_said_while_it_is_there(stage: Stage, tmp_path: Path) -> None:
    path = stage.living.transcript()
    link = path.with_name("99999999-9999-4999-8999-999999999999.jsonl")
    (tmp_path / "elsewhere.jsonl").write_bytes(path.read_bytes())
    link.symlink_to(tmp_path / "elsewhere.jsonl")
    stage.living.app.capture.want_rescan("command")
    stage.living.until(lambda: "source_unreadable" in stage.living.codes())
    status = stage.living.ctl("status")
    said = next(found for found in status["findings"] if found["code"] == "source_unreadable")
    assert said["message"] == f"{link} cannot be read: it is a symbolic link."
    assert render(status, time.time(), Terminal(None, colours=False))[0].startswith(
        "Not everything is on this disk twice since "
    )
    link.unlink()
    stage.living.app.capture.bell.ring()
    stage.living.until(lambda: "source_unreadable" not in stage.living.codes())


def test_a_vault_that_another_process_has_taken_meanwhile_is_left_to_it(stage: Stage) -> None:
    living = stage.living
    living.transcript()
    shutil.rmtree(living.home.vault)
    with Vault(living.home.vault).lock():
        living.app.supervise()
        living.until(lambda: living.app.exit_code == AlreadyRunning.exit_code)
        session = living.app.engine.vault.open("app", Ref("claude", "new"))
        with pytest.raises(CopyError, match="Another sessiond writes to the vault"):
            session.append("a", 0, 0, b"abc")
    # a process that was begun just now has the lock as well, until it is another program
    living.app.engine.hold_vault(time.time(), wait_s=PATIENCE_S)
    living.app.exit_code = 0


# --- what takes hours to see, or a start of its own


class Hours:
    """GitHub's traffic and the findings of it, over a time that the test moves."""

    def __init__(self) -> None:
        self.now = START
        self.traffic = Traffic(lambda: self.now)
        self.findings = Findings()

    def pass_by(self, minutes: int, seconds: float, *, failing: float = 0.0) -> None:
        """So many minutes with four requests each, of which a part fails, looked at every five minutes."""
        for minute in range(minutes):
            for number in range(4):
                is_bad = (minute * 4 + number) % 100 < 100 * failing
                fields = {"outcome": "timeout" if is_bad else "success", "seconds": seconds}
                self.traffic.on_event("github_requested", fields)
            self.now += 60
            if minute % 5 == 4:
                settle(self.findings, self.traffic.read(None, self.now), self.now)

    def codes(self) -> set[str]:
        return {found.code for found in self.findings.open()}


def test_github_slower_than_usual_comes_and_goes() -> None:
    hours = Hours()
    hours.pass_by(300, 0.4)
    assert hours.codes() == set()
    hours.pass_by(15, 1.0)
    assert hours.codes() == {"github_slower"}
    hours.pass_by(20, 0.4)
    assert hours.codes() == set()


def test_rising_latency_comes_before_it_is_high_and_goes() -> None:
    hours, seen = Hours(), set[str]()
    hours.pass_by(120, 0.5)
    for step in range(30):
        hours.pass_by(5, 0.5 + step * 0.12)
        seen |= hours.codes()
    assert "github_latency_rising" in seen
    assert "github_latency_high" not in seen
    hours.pass_by(600, 0.5)
    assert "github_latency_rising" not in hours.codes()


def test_rising_errors_come_before_they_are_many_and_go() -> None:
    hours, seen = Hours(), set[str]()
    for step in range(60):
        for _ in range(200):
            hours.traffic.on_event("github_requested", {"outcome": "success", "seconds": 0.1})
        for _ in range(step // 6):
            hours.traffic.on_event("github_requested", {"outcome": "timeout", "seconds": 30.0})
        hours.now += 300
        settle(hours.findings, hours.traffic.read(None, hours.now), hours.now)
        seen |= hours.codes()
    assert "github_errors_rising" in seen
    assert "github_errors_high" not in seen
    hours.pass_by(600, 0.1)
    assert "github_errors_rising" not in hours.codes()


def test_a_limit_that_will_not_last_comes_and_goes(stage: Stage) -> None:
    now, traffic, findings = time.time(), Traffic(time.time), Findings()
    push = stage.living.app.engine.push
    assert push is not None
    stage.gh.freeze()
    for used in range(10):
        stage.gh.rate_limit("me", remaining=5000 - 200 * used, reset_in_s=3600)
        stage.living.app.push.call(lambda _now: push.github.rate_limit())
        traffic.take(push, now + 60 * used)
    settle(findings, traffic.read(push, now + 600), now + 600)
    assert [found.code for found in findings.open()] == ["github_limit_short"]
    stage.gh.rate_limit("me", remaining=5000, reset_in_s=7200)
    stage.living.app.push.call(lambda _now: push.github.rate_limit())
    settle(findings, traffic.read(push, now + 700), now + 700)
    assert findings.open() == []


def test_a_disk_that_fills_comes_and_goes(stage: Stage) -> None:
    used, total, now, findings = [0.0], 100 << 30, time.time(), Findings()
    stage.patch.setattr(
        shutil,
        "disk_usage",
        lambda path: shutil._ntuple_diskusage(total, int(used[0]), int(total - used[0])),
    )
    instruments = readings.Instruments(stage.living.app)

    def codes(hour: float) -> set[str]:
        settle(findings, instruments.read({}, now + 3600 * hour), now + 3600 * hour)
        return {found.code for found in findings.open()}

    for hour in range(12):
        used[0] = (65 + hour) * (1 << 30)
        found = codes(hour)
    assert found == {"disk_filling"}
    for hour in range(12, 32):
        used[0] = 30 * (1 << 30)
        found = codes(hour)
    assert found == set()


def test_a_taken_port_is_said_until_the_daemon_has_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Living(tmp_path, SESSIOND_HTTP_LISTEN=address) as living:
            assert living.codes() == {"http_port_taken"}
            living.transcript()  # everything else goes on
    with Living(tmp_path, SESSIOND_HTTP_LISTEN="127.0.0.1:0") as living:  # that one may be taken again
        assert living.codes() == set()


def test_a_public_archive_is_said_until_it_is_private(stage: Stage) -> None:
    stage.gh.rename_repo("o/r", "o/comments")
    stage.living.stop()
    stage.living.environ |= {
        "SESSIOND_GITHUB_REPO": "o/r",
        "SESSIOND_ARCHIVE_URL": "github",
        "SESSIOND_GITHUB_API_URL": stage.host.base,
    }
    stage.host.api = stage.gh.url
    stage.gh.rename_repo("o/comments", "o/r")
    stage.gh.make_public("o/r")
    stage.living.start()
    stage.push()
    stage.living.until(lambda: "archive_repository_public" in stage.living.codes())
    stage.gh.make_public("o/r", public=False)
    stage.push()
    stage.living.until(lambda: "archive_repository_public" not in stage.living.codes())


APART = {
    "github_slower": test_github_slower_than_usual_comes_and_goes,
    "github_latency_rising": test_rising_latency_comes_before_it_is_high_and_goes,
    "github_errors_rising": test_rising_errors_come_before_they_are_many_and_go,
    "github_limit_short": test_a_limit_that_will_not_last_comes_and_goes,
    "disk_filling": test_a_disk_that_fills_comes_and_goes,
    "http_port_taken": test_a_taken_port_is_said_until_the_daemon_has_another,
    "program_unusable": test_upgrade.test_a_version_that_does_not_start_is_not_given_way_to_and_one_that_does_is,
    "archive_repository_public": test_a_public_archive_is_said_until_it_is_private,
}


def test_no_finding_is_without_such_a_test() -> None:
    assert sorted([*CASES, *APART]) == sorted(FINDINGS)

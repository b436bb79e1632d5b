"""State and backup of other versions: forward by themselves, back by a copy, and never half of either."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from sessiond.upgrade import check
from sessionsync import migrations
from sessionsync.errors import StoreCorrupt, StoreError, StoreFull, StoreTooNew, VaultTooNew
from sessionsync.migrations import MIGRATIONS, copies_of, copy_of
from sessionsync.paths import paths
from sessionsync.store import Store
from sessionsync.vault import Vault
from sessionsync.vault.journal import FORMAT
from tests import arrived
from tests.crowd import fill
from tests.fakes.github import FakeGitHub
from tests.rig import Home, Line, Rig, append, line

NEWEST = len(MIGRATIONS)
NEXT = "CREATE TABLE later (word TEXT NOT NULL); INSERT INTO later VALUES ('kept')"


@pytest.fixture
def gh() -> Iterator[FakeGitHub]:
    with FakeGitHub() as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def of_version(file: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state as the program of that version made it, with something in it."""
    with monkeypatch.context() as older:
        older.setattr(migrations, "MIGRATIONS", MIGRATIONS[:version])
        with closing(Store(file)) as store:
            store.set_meta("machine", "0a1b2c3d")
            store.log(1.0, "daemon_started", "", {})


def schema(file: Path) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")
        return [row for row in rows if not row[1].startswith("sqlite_")]


def version(file: Path) -> int:
    with closing(sqlite3.connect(file)) as connection:
        return migrations.version_of(connection)


@pytest.mark.parametrize("old", range(1, NEWEST))
def test_every_older_state_comes_forward_and_a_copy_of_it_stays(
    file: Path, old: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_version(file, old, monkeypatch)
    was = schema(file)
    with closing(Store(file)) as store:
        assert store.put_aside == copy_of(file, old)
        assert store.meta("machine") == "0a1b2c3d"
        assert [event for _, _, event, _, _ in store.events()] == ["daemon_started"]
    with closing(Store(file.with_name("new.db"))):
        pass
    assert schema(file) == schema(file.with_name("new.db"))
    copy = copy_of(file, old)
    assert (version(copy), schema(copy)) == (old, was)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with monkeypatch.context() as older:
        older.setattr(migrations, "MIGRATIONS", MIGRATIONS[:old])
        with closing(Store(copy)) as store:
            assert store.meta("machine") == "0a1b2c3d"


def test_what_is_counted_as_it_changes_begins_with_what_was_there(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = next(at for at, step in enumerate(MIGRATIONS) if "TABLE item_counts" in step)
    with monkeypatch.context() as older:
        older.setattr(migrations, "MIGRATIONS", MIGRATIONS[:before])
        with closing(Store(file)) as store:
            fill(store, 1, 3)
            store.execute("UPDATE sessions SET tier = NULL WHERE id = 1")
    with closing(Store(file)) as store:
        assert store.rows("SELECT * FROM session_counts") == [("claude", "hybrid", 2)]
        assert store.rows("SELECT * FROM item_counts") == [
            (operation, "pending", "", 3, 270_000, 60_000) for operation in ("archive", "comment")
        ]


def test_of_the_newest_version_nothing_is_put_aside(file: Path) -> None:
    for _ in range(2):
        with closing(Store(file)) as store:
            assert store.put_aside is None
    assert copies_of(file) == []


def test_only_the_copy_of_the_last_step_stays(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_version(file, NEWEST, monkeypatch)
    for more in ((NEXT,), (NEXT, "CREATE TABLE latest (x)")):
        monkeypatch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, *more))
        Store(file).close()
    assert copies_of(file) == [copy_of(file, NEWEST + 1)]


@pytest.mark.parametrize("broken", ["CREATE TABLE sessions (x)", "INSERT INTO nowhere VALUES (1)"])
def test_a_step_that_fails_changes_nothing(file: Path, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of_version(file, 2, monkeypatch)
    was = schema(file)
    with monkeypatch.context() as failing:
        failing.setattr(migrations, "MIGRATIONS", (*MIGRATIONS[:4], f"CREATE TABLE made (x); {broken}"))
        with pytest.raises(sqlite3.OperationalError):
            Store(file)
    assert (version(file), schema(file)) == (2, was)
    with closing(Store(file)) as store:
        assert store.meta("machine") == "0a1b2c3d"


def test_without_room_for_the_copy_nothing_is_changed_and_it_is_said(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_version(file, 2, monkeypatch)
    (blocked := copy_of(file, 2)).mkdir()  # where the copy would go
    was = file.read_bytes()
    with pytest.raises(StoreFull, match="cannot be opened"):
        Store(file)
    assert (file.read_bytes(), [*file.parent.glob("*.part")]) == (was, [])
    blocked.rmdir()
    Store(file).close()
    assert version(file) == NEWEST


def test_a_daemon_does_not_give_way_to_what_would_have_no_room_for_its_copy(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"SESSIOND_HOME": str(file.parent), "HOME": str(file.parent)}
    state = paths(environ).state_db
    state.parent.mkdir(parents=True)
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=999))
        check(environ)  # there is nothing to bring up to date
        of_version(state, 2, monkeypatch)
        was = state.read_bytes()
        with pytest.raises(StoreFull, match="its disk has 999"):
            check(environ)
    assert check(environ).startswith("sessiond ")
    assert state.read_bytes() == was


def test_a_newer_state_is_refused_untouched_and_the_way_back_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_version(file, NEWEST, monkeypatch)
    with monkeypatch.context() as newer:
        newer.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, NEXT))
        Store(file).close()
    was = file.read_bytes()
    for read_only in (False, True):
        with pytest.raises(
            StoreTooNew, match=f"version {NEWEST + 1}; this sessiond knows {NEWEST}"
        ) as refused:
            Store(file, read_only=read_only)
        assert refused.value.exit_code == 78
        assert refused.value.hint.endswith(f"mv {copy_of(file, NEWEST)} {file}")
    assert file.read_bytes() == was
    copy_of(file, NEWEST).unlink()
    with pytest.raises(StoreTooNew) as refused:
        Store(file)
    assert refused.value.hint.endswith(f"move {file} away: it is rebuilt.")


def test_who_only_reads_an_older_state_changes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_version(file, 3, monkeypatch)
    was = file.read_bytes()
    with pytest.raises(StoreError, match="has version 3"):
        Store(file, read_only=True)
    assert (file.read_bytes(), copies_of(file)) == (was, [])


@pytest.mark.parametrize("made", ["PRAGMA user_version=1", "CREATE TABLE customers (name)"])
def test_somebody_elses_database_is_not_migrated(file: Path, made: str) -> None:
    with closing(sqlite3.connect(file)) as other:
        other.execute(made)
    with pytest.raises(StoreCorrupt, match="not one of sessiond's"):
        Store(file)
    assert copies_of(file) == []


def test_who_goes_back_to_the_copy_loses_nothing_and_doubles_nothing(
    tmp_path: Path, gh: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older program, with the state of before the upgrade: behind its files, its vault and GitHub."""
    gh.add_repo("o/r", private=True)
    gh.token("T", login="me")
    home = Home(tmp_path)
    paths = [home.transcript()]
    append(paths[0], line("user", "before", home.project))
    now = lived(home, gh, None)
    with monkeypatch.context() as newer:
        newer.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, NEXT))
        for text in ("newer", "newest"):
            append(paths[0], line("user", text, home.project))
            now = lived(home, gh, now)
        paths.append(home.transcript())
        append(paths[1], line("user", "only the newer one has seen this", home.project))
        now = lived(home, gh, now)
    state = home.state / "state.db"
    with pytest.raises(StoreTooNew):
        Store(state)
    copy_of(state, NEWEST).replace(state)
    append(paths[0], line("user", "older again", home.project))
    now = lived(home, gh, now)
    append(paths[1], line("user", "and this", home.project))
    lived(home, gh, now)
    assert len(gh.all_comments()) == 2
    assert len(gh.effects("created issue")) == 1
    for path in paths:
        assert arrived.files(gh, path.stem) == {path.name: path.read_bytes()}


def lived(home: Home, gh: FakeGitHub, now: float | None) -> float:
    """A life of the daemon: everything is captured, kept, and pushed; returns when it ended."""
    rig = Rig(home) if now is None else Rig(home, now=now)
    push = Line(rig, gh.url)
    rig.scan()
    rig.wait(130)
    push.drain()
    for session in rig.catalog.sessions():
        (name,) = rig.restored(session)
        assert rig.restored(session)[name] == rig.mirrored(session, name)
    push.close()
    rig.close()
    return rig.now + 60


def test_a_newer_backup_is_not_written_to(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault")
    with vault.lock():
        pass
    said = tmp_path / "vault" / ".sessiond" / "format"
    assert said.read_bytes() == b"%d\n" % FORMAT
    newer = b"%d\n" % (FORMAT + 1)
    said.write_bytes(newer)
    told = f"has format {FORMAT + 1}; this sessiond writes {FORMAT}"
    with pytest.raises(VaultTooNew, match=told) as refused, vault.lock():
        pass
    assert refused.value.exit_code == 78
    assert said.read_bytes() == newer


@pytest.mark.parametrize("content", [b"", b"rubbish", b"0\n"])
def test_a_format_that_cannot_be_read_is_said_anew(tmp_path: Path, content: bytes) -> None:
    said = tmp_path / "vault" / ".sessiond" / "format"
    said.parent.mkdir(parents=True)
    said.write_bytes(content)
    with Vault(tmp_path / "vault").lock():
        assert said.read_bytes() == b"%d\n" % FORMAT

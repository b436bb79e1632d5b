"""`sessiond ctl verify`, `repair` and `gc` against a running daemon."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sessiond import client
from sessionsync.privacy.seal import make_identity
from tests.conftest import poll
from tests.daemon import Daemon
from tests.fakes.github import FakeGitHub
from tests.keeper import flip
from tests.rig import append, line

LOOKS = 'sessiond_integrity_checks_total{result="ok",store="mirror"}'


@pytest.fixture
def daemon(socket_dir: Path) -> Iterator[Daemon]:
    with Daemon(socket_dir, SESSIOND_SOURCES_QUIET_SECONDS="1") as daemon:
        yield daemon


def ctl(daemon: Daemon, *arguments: str, code: int = 0) -> dict[str, Any]:
    """The answer of `sessiond ctl … --json`, which must end with this code."""
    done = say(daemon, *arguments, "--json")
    assert (done.returncode, done.stderr) == (code, "")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def say(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sessiond", "ctl", *arguments]
    return subprocess.run(
        command, env=daemon.environ, capture_output=True, text=True, timeout=60, check=False
    )


def a_session(daemon: Daemon, *texts: str) -> tuple[Path, Path, Path]:
    """A transcript with two checkpoints, its plain copy and its pack."""
    path = daemon.agent / "projects" / "-work-app" / f"{uuid.uuid4()}.jsonl"
    path.parent.mkdir(parents=True)
    looked = 0.0
    for text in texts or ("first", "second"):
        append(path, line("user", text * 200, daemon.home, session=path.stem))
        append(path, line("assistant", text * 900, daemon.home, session=path.stem))
        poll(lambda: daemon.ctl("sessions")["sessions"])
        assert daemon.ctl("checkpoint", acts=True, session=path.stem)["checkpoint"]
        # the daemon looks by itself at each checkpoint: what is hurt after that it does not find
        poll(lambda looked=looked: daemon.metrics()[LOOKS] > looked)  # type: ignore[misc]
        looked = daemon.metrics()[LOOKS]
    (copy,) = daemon.mirror.glob(f"*/{path.name}")
    (pack,) = daemon.vault.glob("*/*/pack")
    return path, copy, pack


def test_damage_is_found_healed_and_counted(daemon: Daemon) -> None:
    daemon.start()
    path, copy, pack = a_session(daemon)
    assert ctl(daemon, "verify", "--deep")["bad"] == []
    sound = copy.read_bytes()
    told: list[tuple[int, int]] = []
    watched = client.watched(daemon.socket, "verify", {}, lambda done, total: told.append((done, total)))
    assert (watched["bad"], told) == ([], [(0, 1)]), "how far it is, for a bar"

    flip(pack, 150)
    assert ctl(daemon, "verify")["bad"] == [], "the structure is sound"
    found = ctl(daemon, "verify", path.stem[:8], "--sample", "1/1", code=1)
    (bad,) = found["bad"]
    assert (bad["session"], bad["what"]) == (f"claude:{path.stem}", "is damaged")
    assert bad["where"].startswith(f"vault: {path.name}, bytes ")
    # by itself: a failed verify asks for a repair
    poll(lambda: "damage_healed" in [each["event"] for each in ctl(daemon, "events")["events"]])

    flip(copy, 100)
    answer = ctl(daemon, "repair", path.stem)
    assert (answer["left"], answer["healed_bytes"]) == ([], {"vault": answer["healed_bytes"]["vault"]})
    assert [Path(kept).read_bytes() != sound for kept in answer["kept"]] == [True]
    assert ctl(daemon, "verify", "--deep")["bad"] == []
    assert copy.read_bytes() == sound == path.read_bytes()

    metrics = daemon.metrics()
    assert metrics['sessiond_integrity_checks_total{result="ok",store="vault"}'] > 0
    assert metrics['sessiond_integrity_checks_total{result="mismatch",store="vault"}'] > 0
    assert metrics['sessiond_integrity_checks_total{result="mismatch",store="mirror"}'] > 0
    assert metrics['sessiond_integrity_checks_total{result="ok",store="archive"}'] == 0
    assert metrics["sessiond_integrity_scan_last_success_timestamp_seconds"] == 0
    assert metrics["sessiond_integrity_scan_duration_seconds_count"] == 0
    assert daemon.ctl("health")["findings"] == []


def test_what_nothing_heals_is_said_until_it_is(daemon: Daemon) -> None:
    daemon.start()
    path, copy, pack = a_session(daemon)
    sound = copy.read_bytes()
    path.unlink()
    flip(copy, 100)
    flip(pack, 150)
    done = say(daemon, "repair", path.stem)
    assert done.returncode == 1
    assert "No other copy can heal:" in done.stdout
    assert f"mirror: {path.name}, bytes 0 to" in done.stdout
    (finding,) = [f for f in daemon.ctl("health")["findings"] if f["code"] == "copy_damaged"]
    assert finding["severity"] == "critical"
    assert finding["session"] == f"claude:{path.stem}"
    copy.write_bytes(sound)  # from a backup of the backup
    assert say(daemon, "repair", path.stem).returncode == 0
    assert daemon.ctl("health")["findings"] == []


def test_what_is_asked_for_wrongly_is_refused(daemon: Daemon) -> None:
    daemon.start()
    for sample in ("0/3", "4/3", "x", "1/", "/2", "-1/2"):
        assert say(daemon, "verify", f"--sample={sample}").returncode == 2
    assert say(daemon, "verify", "nothing-of-this-name").returncode == 4
    assert say(daemon, "repair", "nothing-of-this-name").returncode == 4
    assert say(daemon, "repair").returncode == 2


def test_gc_removes_only_what_nothing_names(daemon: Daemon) -> None:
    daemon.start()
    path, _, pack = a_session(daemon)
    foreign = [pack.with_name("notes.md"), daemon.vault / "old" / "2023" / "a.jsonl"]
    leftover = pack.with_name("journal.part")
    old = time.time() - 2 * 86_400
    for file in (*foreign, leftover):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"12345678")
        os.utime(file, (old, old))
    assert ctl(daemon, "gc", "--dry-run") == {"files": [str(leftover)], "packs": [], "freed_bytes": 8}
    assert leftover.exists()
    assert say(daemon, "gc").stdout == f"{leftover}\n8 B were removed.\n"
    assert not leftover.exists()
    assert all(file.read_bytes() == b"12345678" for file in foreign)
    assert ctl(daemon, "verify", path.stem, "--deep")["bad"] == []


def test_a_drill_restores_and_says_what_would_not_come_back(daemon: Daemon) -> None:
    daemon.start()
    path, _, pack = a_session(daemon)
    answer = ctl(daemon, "verify", "--drill")
    assert (answer["bad"], {each["result"] for each in answer["restored"]}) == ([], {"ok"})
    assert {each["from"] for each in answer["restored"]} == {"mirror", "vault"}
    said = say(daemon, "verify", path.stem, "--drill")
    assert said.returncode == 0
    assert " restores whole and loadable." in said.stdout
    metrics = daemon.metrics()
    assert metrics['sessiond_artifact_verifications_total{kind="restore",result="ok"}'] >= 4
    assert metrics['sessiond_artifact_verifications_total{kind="restore",result="failed"}'] == 0
    assert metrics["sessiond_restore_last_verified_timestamp_seconds"] > 1.7e9
    assert not list(daemon.state.parent.glob("drill/*"))

    flip(pack, pack.stat().st_size - 30)
    found = ctl(daemon, "verify", path.stem, "--drill", code=1)
    (bad,) = found["bad"]
    assert (bad["session"], bad["where"].partition(" ")[0]) == (f"claude:{path.stem}", "vault:")
    assert daemon.metrics()['sessiond_artifact_verifications_total{kind="restore",result="failed"}'] == 1
    (finding,) = [f for f in daemon.ctl("health")["findings"] if f["code"] == "drill_failed"]
    assert (finding["severity"], finding["session"]) == ("critical", f"claude:{path.stem}")
    poll(lambda: any(event["event"] == "damage_healed" for event in ctl(daemon, "events")["events"]))
    assert ctl(daemon, "verify", path.stem, "--drill")["bad"] == []
    assert daemon.ctl("health")["findings"] == []


def damage(copy: Path, pack: Path) -> None:
    """Of the same bytes, of the first of two segments of some 300 packed bytes, both that hold them here."""
    flip(copy, 100)
    flip(pack, 150)


def lose(copy: Path, pack: Path) -> None:
    copy.unlink()
    shutil.rmtree(pack.parent)


@pytest.mark.parametrize("hurt", [damage, lose])
def test_what_the_comment_holds_heals_both_local_copies(
    socket_dir: Path, gh: FakeGitHub, hurt: Callable[[Path, Path], None]
) -> None:
    with Daemon(socket_dir, **gh.settings()) as daemon:
        daemon.start()
        path, copy, pack = a_session(daemon)
        assert daemon.ctl("sync", acts=True, wait=30)["left"] == 0
        whole = path.read_bytes()
        path.unlink()
        poll(lambda: any(e["event"] == "session_deleted" for e in ctl(daemon, "events")["events"]))
        hurt(copy, pack)
        assert ctl(daemon, "verify", path.stem, "--deep", code=1)["bad"]
        say(daemon, "repair", path.stem)  # once more: with the vault its older checkpoints are gone
        assert ctl(daemon, "repair", path.stem)["left"] == []
        assert copy.read_bytes() == whole
        assert ctl(daemon, "verify", path.stem, "--deep", "--drill")["bad"] == []
        healed = [e for e in ctl(daemon, "events")["events"] if e["event"] == "damage_healed"]
        assert any("github" in event["sources"] for event in healed), healed
        assert daemon.ctl("health")["findings"] == []


def test_what_github_could_heal_waits_until_it_answers(socket_dir: Path, gh: FakeGitHub) -> None:
    with Daemon(socket_dir, **gh.settings()) as daemon:
        daemon.start()
        path, copy, pack = a_session(daemon)
        assert daemon.ctl("sync", acts=True, wait=30)["left"] == 0
        whole = path.read_bytes()
        path.unlink()
        poll(lambda: any(e["event"] == "session_deleted" for e in ctl(daemon, "events")["events"]))
        damage(copy, pack)
        daemon.ctl("local-only", acts=True, on=True)
        assert say(daemon, "repair", path.stem).returncode == 1
        assert [f["code"] for f in daemon.ctl("health")["findings"]] == ["copy_damaged"]
        daemon.ctl("local-only", acts=True, on=False)
        poll(lambda: daemon.ctl("health")["findings"] == [])
        assert copy.read_bytes() == whole


def test_two_homes_share_a_vault_one_after_the_other(socket_dir: Path) -> None:
    with Daemon(socket_dir / "a", SESSIOND_SOURCES_QUIET_SECONDS="1") as one:
        one.start()
        path, _, pack = a_session(one)
        two = Daemon(
            socket_dir / "b",
            SESSIOND_BACKUP_VAULT_DIR=str(one.vault),
            SESSIOND_BACKUP_MIRROR_DIR=str(one.mirror),
        )
        with pytest.raises(AssertionError, match="ended with 75"):
            two.start()
        assert ctl(one, "verify", "--deep")["bad"] == []
    with two:
        two.start()
        assert ctl(two, "verify", "--deep")["checked"] == 1, "the other home's session"
        flip(pack, 150)
        (bad,) = ctl(two, "verify", "--deep", code=1)["bad"]
        assert bad["session"] == f"claude:{path.stem}"
        poll(lambda: any(e["event"] == "damage_healed" for e in ctl(two, "events")["events"]))
        assert ctl(two, "verify", "--deep")["bad"] == []


def test_what_the_archive_holds_heals_both_local_copies(socket_dir: Path) -> None:
    """Encrypted, it holds what redaction would have changed as well."""
    archive, identity = socket_dir / "archive.git", socket_dir / "identity"
    subprocess.run(["git", "init", "-q", "--bare", str(archive)], check=True)
    settings = {
        "SESSIOND_SOURCES_QUIET_SECONDS": "1",
        "SESSIOND_ARCHIVE_URL": str(archive),
        "SESSIOND_ARCHIVE_ENCRYPT_TO": json.dumps([make_identity(identity)]),
        "SESSIOND_ARCHIVE_IDENTITY_FILE": str(identity),
    }
    with Daemon(socket_dir, **settings) as daemon:
        daemon.start()
        path, copy, pack = a_session(daemon, "first", "use ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8 ")
        newest = daemon.ctl("show", session=path.stem)["checkpoints"][-1]["id"]

        def archived() -> bool:
            told = daemon.ctl("events")["events"]
            return any(e["event"] == "archive_completed" and e["checkpoint"] == newest for e in told)

        poll(archived, 40, 0.2)
        whole = path.read_bytes()
        path.unlink()
        poll(lambda: any(e["event"] == "session_deleted" for e in ctl(daemon, "events")["events"]))
        damage(copy, pack)
        assert ctl(daemon, "verify", path.stem, "--deep", code=1)["bad"]
        assert ctl(daemon, "repair", path.stem)["left"] == []
        assert copy.read_bytes() == whole
        healed = [e for e in ctl(daemon, "events")["events"] if e["event"] == "damage_healed"]
        assert any("archive" in event["sources"] for event in healed)

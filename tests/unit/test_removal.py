"""`sessiond uninstall` and what lies in the backups' folders that is somebody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from sessiond import removal
from sessiond.service import Service
from sessionsync.errors import ServiceFailed
from sessionsync.model import Ref
from sessionsync.paths import paths
from sessionsync.project_names import Names
from sessionsync.tombstones import Tombstones
from sessionsync.vault import Vault

SID = "5e0d9b7a-1111-4000-8000-000000000000"


@pytest.fixture
def environ(tmp_path: Path, home: Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "SESSIOND_HOME": str(tmp_path / "s"),
        "SESSIOND_BACKUP_VAULT_DIR": f'"{tmp_path / "vault"}"',
        "SESSIOND_BACKUP_MIRROR_DIR": f'"{tmp_path / "mirror"}"',
    }


def purge(environ: dict[str, str]) -> removal.Removal:
    def nowhere() -> Service:
        raise ServiceFailed("There is no service manager.", hint="None is needed.")

    found = removal.plan(environ, paths(environ), 2, nowhere)
    removal.apply(found)
    return found


def kept_vault(folder: Path) -> Path:
    vault = Vault(folder)
    with vault.lock():
        vault.open("app", Ref("claude", SID)).describe(first_seen=1.0, project_key="path:/app", meta={})
    (made,) = folder.glob("*/*/journal")
    return made.parent


def test_a_session_of_the_vault_goes(environ: dict[str, str], tmp_path: Path) -> None:
    folder = kept_vault(tmp_path / "vault")
    purge(environ)
    assert not folder.exists()
    assert not (tmp_path / "vault").exists()


def test_what_only_looks_like_the_vaults_stays_and_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    ours = kept_vault(tmp_path / "vault")
    diary = tmp_path / "vault" / "me" / "diary.2026" / "journal"
    diary.parent.mkdir(parents=True)
    diary.write_text("Dear diary,\n")
    found = purge(environ)
    assert not ours.exists()
    assert diary.read_text() == "Dear diary,\n"
    assert [part.path for part in found.staying] == [diary.parents[1]]


def test_what_a_link_in_the_vault_leads_to_stays(environ: dict[str, str], tmp_path: Path) -> None:
    ours, theirs = kept_vault(tmp_path / "vault"), kept_vault(tmp_path / "another")
    (tmp_path / "vault" / "linked").symlink_to(theirs.parent)
    found = purge(environ)
    assert not ours.exists()
    assert (theirs / "journal").is_file()
    assert [part.path for part in found.staying] == [tmp_path / "vault" / "linked"]


def test_of_the_plain_copies_only_copies_go(environ: dict[str, str], tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    project = mirror / Names(mirror).name_for("path:/app", "app")
    vault = Vault(tmp_path / "vault")
    with vault.lock():
        for ref in (Ref("claude", f"{SID}-0a1b2c"), Ref("structured", "plan"), Ref("note", "note.app.x")):
            vault.open("app", ref).describe(first_seen=1.0, project_key="path:/app", meta={})
    for name in (
        f"{SID}.jsonl",
        f"{SID}.20260921T100000Z.7.jsonl",
        f"{SID}/subagents/agent-1.jsonl",
        f"{SID}-0a1b2c.jsonl",
        "plan/context.json",
        "note.app.x/x.tmp",
        f".{SID}.jsonl.part",
        "plans/mine",
        "plan.txt",
    ):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).touch()
    Tombstones(mirror).add("claude", "gone")
    found = purge(environ)
    assert {path.name for path in mirror.iterdir()} == {"app"}
    assert {path.relative_to(project).as_posix() for path in project.rglob("*")} == {
        "plans",
        "plans/mine",
        "plan.txt",
    }
    assert [part.path for part in found.staying] == [project / "plan.txt", project / "plans"]


def test_plain_copies_are_known_by_the_vault_where_the_names_are_lost(
    environ: dict[str, str], tmp_path: Path
) -> None:
    kept_vault(tmp_path / "vault")
    copy = tmp_path / "mirror" / "app" / f"{SID}.jsonl"
    copy.parent.mkdir(parents=True)
    copy.write_text("{}\n")
    Names(tmp_path / "mirror").name_for("path:/other", "other")
    found = purge(environ)
    assert found.staying == []
    assert not (tmp_path / "mirror").exists()

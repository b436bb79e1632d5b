"""`sessiond list` where nobody has a state: it knows what `restore` would find."""

from __future__ import annotations

import json
import os
import shutil
import signal
import uuid
from pathlib import Path

from sessionsync.model import Ref
from sessionsync.vault import Vault
from tests.conftest import poll
from tests.fakes.faults import rule
from tests.fakes.github import FakeGitHub
from tests.machine import repository
from tests.process.user import User
from tests.rig import line


def test_without_daemon_and_state_the_list_has_what_can_be_restored(tmp_path: Path, gh: FakeGitHub) -> None:
    user = User(tmp_path / "one", gh, CI="true")
    path = user.say("said here")
    assert user.type("sync", "--once").returncode == 0
    shutil.rmtree(user.state.parent)
    (found,) = json.loads(user.type("list", "--json").stdout)["sessions"]
    assert (found["id"], found["project"], found["title"]) == (path.stem, "app", "said here")
    assert found["copies"] == ["mirror", "vault", "github"]
    shown = user.type("list").stdout
    assert (path.stem[:8] in shown, "said here" in shown) == (True, True)
    for folder, number in ((user.project, 1), (user.home, 0)):
        listed = json.loads(user.type("list", "--project", str(folder), "--json").stdout)
        assert len(listed["sessions"]) == number
    other = User(tmp_path / "two", gh)
    (found,) = json.loads(other.type("list", "--json").stdout)["sessions"]
    assert (found["id"], found["copies"], found["title"]) == (path.stem, ["github"], "said here")
    assert not other.state.exists()
    gh.fault(rule("refuse"))
    said = other.type("list").stdout
    assert said.startswith("No sessions are known here.\nGitHub was not asked: ")


def test_what_only_a_copy_tells_of_is_listed_beside_what_the_state_knows(tmp_path: Path) -> None:
    archive = str(tmp_path / "archive.git")
    user = User(tmp_path / "one", SESSIOND_ARCHIVE_URL=archive)
    known = user.say("said here")
    assert user.type("sync", "--once").returncode == 0
    seen = known.with_name(f"{uuid.uuid4()}.jsonl")  # as by a hook, and no daemon since
    (user.mirror / "app" / seen.name).write_bytes(line("user", "hello", user.project, session=seen.stem))
    adopted = Ref("claude", str(uuid.uuid4()))  # as from an older backup
    vault = Vault(user.vault)
    with vault.lock():
        stored = vault.open("app", adopted)
        stored.describe(first_seen=1.0, project_key="", meta={})
        stored.append("x.jsonl", 0, 0, b"{}\n")
        stored.snapshot(id="20200101T000000Z", at=2.0, trigger="adopted", alias="", files=[], meta={})
    listed = {each["id"]: each for each in json.loads(user.type("list", "--json").stdout)["sessions"]}
    assert listed.keys() == {known.stem, seen.stem, adopted.session_id}
    assert listed[adopted.session_id]["copies"] == ["vault"]
    assert listed[known.stem]["copies"] == ["mirror", "vault", "archive"]
    assert (listed[seen.stem]["project"], listed[seen.stem]["copies"]) == ("app", ["mirror"])
    assert listed[seen.stem]["updated_at"]
    for folder, number in ((user.project, 3), (user.home, 0)):
        said = json.loads(user.type("list", "--project", str(folder), "--json").stdout)
        assert len(said["sessions"]) == number
    other = User(tmp_path / "two", SESSIOND_ARCHIVE_URL=archive)
    (found,) = json.loads(other.type("list", "--json").stdout)["sessions"]
    assert (found["id"], found["copies"]) == (known.stem, ["archive"])
    with other:
        other.start()
        poll(lambda: json.loads(other.type("list", "--json").stdout)["sessions"])
        (found,) = json.loads(other.type("list", "--json").stdout)["sessions"]
        assert (found["id"], found["copies"]) == (known.stem, ["archive"])


def test_a_frozen_daemon_keeps_nobody_from_listing_and_searching(tmp_path: Path) -> None:
    user = User(tmp_path / "one")
    said = user.say("a quokka, frozen")
    with user:
        user.start()
        poll(lambda: json.loads(user.type("search", "quokka", "--json").stdout)["hits"])
        os.kill(user.pid, signal.SIGSTOP)
        try:
            listed = user.type("list", "--json")
            assert (listed.returncode, listed.stderr) == (0, "")
            assert [each["id"] for each in json.loads(listed.stdout)["sessions"]] == [said.stem]
            (hit,) = json.loads(user.type("search", "quokka", "--json").stdout)["hits"]
            assert hit["session"] == said.stem
        finally:
            os.kill(user.pid, signal.SIGCONT)


def test_sessions_of_a_folder_that_is_gone_are_listed_and_found_by_it(tmp_path: Path) -> None:
    user = User(tmp_path / "one")
    said = user.say("a quokka in a work tree")
    shutil.rmtree(user.project)
    with user:
        user.start()
        user.save(said)
        listed = json.loads(user.type("list", "--project", str(user.project), "--json").stdout)
        assert [each["id"] for each in listed["sessions"]] == [said.stem]
        search = ("search", "quokka", "--project", str(user.project), "--json")
        poll(lambda: json.loads(user.type(*search).stdout)["hits"])
        other = str(tmp_path / "mistyped")
        assert user.type("list", "--project", other).stdout.startswith("No sessions are known here")
        assert user.type("search", "quokka", "--project", other).stdout == "Nothing was found.\n"


def test_what_the_archive_holds_as_well_has_the_title_that_its_record_says(
    tmp_path: Path, gh: FakeGitHub
) -> None:
    archive = str(tmp_path / "archive.git")
    one = User(tmp_path / "one", gh, CI="true", SESSIOND_ARCHIVE_URL=archive)
    two = User(tmp_path / "two", gh, SESSIOND_ARCHIVE_URL=archive)
    for user in (one, two):
        repository(user.project, "https://github.com/acme/app.git")
    path = one.say("said here")
    assert one.type("sync", "--once").returncode == 0
    for more in ((), ("--project", str(two.project))):
        (found,) = json.loads(two.type("list", "--json", *more).stdout)["sessions"]
        assert (found["id"], found["title"], found["project"]) == (path.stem, "said here", "app")
        assert found["copies"] == ["github", "archive"]

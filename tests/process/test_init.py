"""`sessiond init` as its user meets it: with flags, on a terminal, against a GitHub that says yes or no."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sessionsync.privacy.seal import make_identity, recipient_of
from tests.daemon import Daemon
from tests.fakes.git_host import GitHost
from tests.fakes.github import FakeGitHub
from tests.machine import repository
from tests.sitting import sit

TOKEN = "T-of-mine-4711"
KEPT = """\
# mine
[sources]
quiet_seconds = 60 # quick

[github]  # where
issue = 7
# next: the port

[http]
listen = "127.0.0.1:0"
"""


class Newcomer(Daemon):
    """Somebody who has just installed it, with a project on the GitHub that the settings name."""

    def __init__(self, folder: Path, host: GitHost) -> None:
        super().__init__(folder, SESSIOND_GITHUB_API_URL=host.base, GH_TOKEN=TOKEN)
        self.host = host
        self.config = folder / "s" / "config.toml"
        self.hooks = self.agent / "settings.json"
        self.project = folder / "work"
        # neither a service manager nor a `gh` of the machine that the tests run on
        tools = folder / "bin"
        tools.mkdir()
        for name in ("git", "sh"):
            (tools / name).symlink_to(
                next(p for p in map(Path, ("/usr/bin", "/bin")) if (p / name).exists()) / name
            )
        self.environ["PATH"] = str(tools)
        repository(self.project, f"{host.base}/git/o/r.git")

    def init(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sessiond", "init", *arguments],
            env=self.environ | environ,
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )

    def sit(self, *answers: str, arguments: Sequence[str] = ()) -> tuple[int, str]:
        """Run it on a terminal and answer what it asks; '' for what it proposes."""
        command = [sys.executable, "-m", "sessiond", "init", *arguments]
        return sit(command, *answers, environ=self.environ, cwd=self.project)

    def settings(self) -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = tomllib.loads(self.config.read_text())
        return found

    def files(self) -> dict[str, bytes]:
        """Everything this user has, by its name."""
        found = [
            path for path in self.folder.rglob("*") if path.is_file() and path.is_relative_to(self.folder)
        ]
        return {str(path): path.read_bytes() for path in found}


@pytest.fixture
def gh() -> Iterator[FakeGitHub]:
    with FakeGitHub() as gh:
        gh.token(TOKEN)
        gh.add_repo("o/r")
        yield gh


@pytest.fixture
def user(tmp_path: Path, gh: FakeGitHub) -> Iterator[Newcomer]:
    with GitHost(tmp_path / "host", token=TOKEN, api=gh.url) as host:
        host.make("o/r")
        yield Newcomer(tmp_path / "u", host)


def refused(done: subprocess.CompletedProcess[str], code: int) -> tuple[str, str]:
    """The line that says what is wrong, and the one that says what to do."""
    assert done.returncode == code, done.stderr + done.stdout
    first, second = done.stderr.splitlines()[-2:]
    assert first.startswith("sessiond: ")
    return first, second


# --- with flags


def test_flags_say_it_all(user: Newcomer, gh: FakeGitHub) -> None:
    (user.agent / "projects" / "-work").mkdir()
    session = user.agent / "projects" / "-work" / "a.jsonl"
    session.write_text("{}\n" * 300)
    os.utime(session, (time.time() - 2.5 * 3600,) * 2)
    done = user.init("--yes", "--repo", "o/r", "--archive", "github", "--hooks")
    assert done.returncode == 0, done.stderr
    assert f"{user.agent}: 1 session, 900 B, the newest 2 h ago" in done.stdout
    assert "from GH_TOKEN" in done.stdout
    assert "github.repo: show sessions in the issues of o/r" in done.stdout
    assert done.stdout.rstrip().endswith("Next: sessiond run")
    assert "o/r: private, issues can be written." in done.stderr
    assert "The archive can be written to." in done.stderr
    assert user.settings() == {"github": {"repo": "o/r"}, "archive": {"url": "github"}}
    assert user.config.stat().st_mode & 0o777 == 0o600
    assert len(json.loads(user.hooks.read_text())["hooks"]) == 4
    assert gh.effects() == []  # looked, and left nothing
    assert not list((user.host.folder / "o/r.git").rglob("refs/sessiond*"))
    assert TOKEN not in done.stdout + done.stderr
    assert not [name for name, content in user.files().items() if TOKEN.encode() in content]


def test_again_nothing_changes_and_one_flag_changes_one_thing(user: Newcomer) -> None:
    wanted = ("--yes", "--repo", "o/r", "--archive", "github", "--hooks")
    user.init(*wanted)
    before = user.files()
    again = user.init(*wanted)
    assert "Nothing to change." in again.stdout
    assert user.init("--yes").returncode == 0
    assert user.files() == before
    assert user.init("--yes", "--archive", "none", "--no-hooks").returncode == 0
    assert user.settings() == {"github": {"repo": "o/r"}, "archive": {"url": ""}}
    assert not user.hooks.exists()


@pytest.mark.parametrize(
    ("place", "what", "todo"),
    [
        ("a file", "is a file", "Set archive.url to an empty folder"),
        ("no/arch.git", "is not there", "make the folder"),
    ],
)
def test_an_archive_that_cannot_be_made_is_said(user: Newcomer, place: str, what: str, todo: str) -> None:
    (user.folder / "a file").touch()
    done = user.init("--yes", "--archive", str(user.folder / place))
    first, second = done.stderr.splitlines()[-2:]
    assert done.returncode == 1
    assert first.startswith("sessiond: archive_repository_missing: ")
    assert what in first
    assert todo in second
    assert not user.config.exists()


def test_the_archive_is_encrypted_for_an_identity_that_is_made_once(user: Newcomer) -> None:
    done = user.init("--yes", "--archive", str(user.folder / "kept.git"), "--encrypt")
    assert done.returncode == 0, done.stderr
    file = user.config.with_name("archive-identity.txt")
    made = file.read_text()
    recipient = recipient_of(file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert f"identity: make {file}, for you alone" in done.stdout
    assert recipient in done.stdout
    assert "Keep a copy of the identity off this machine" in done.stdout
    assert made.splitlines()[-1] not in done.stdout + done.stderr
    said = {"url": f"{user.folder}/kept.git", "encrypt_to": [recipient], "identity_file": str(file)}
    assert user.settings()["archive"] == said
    again = user.init("--yes", "--encrypt")
    assert "Nothing to change." in again.stdout
    assert "encrypted for 1 recipient" in again.stdout
    # another one beside it: made anew, an own one, or taken away
    other, key = user.folder / "other" / "key", user.folder / "own"
    own = make_identity(key)
    assert user.init("--yes", "--identity", str(other)).returncode == 0
    assert user.init("--yes", "--identity", str(key)).returncode == 0
    assert user.settings()["archive"] == said | {
        "encrypt_to": [recipient, recipient_of(other), own],
        "identity_file": str(key),
    }
    assert user.init("--yes", "--no-encrypt").returncode == 0
    assert user.settings()["archive"] == said | {"encrypt_to": [], "identity_file": str(key)}
    assert file.read_text() == made


@pytest.mark.parametrize("content", ["", "age1qqqq\n"], ids=["empty", "none"])
def test_what_is_no_identity_is_refused_and_kept(user: Newcomer, content: str) -> None:
    file = user.folder / "key"
    file.write_text(content)
    wanted = ("--yes", "--archive", str(user.folder / "kept.git"), "--identity", str(file))
    first, _ = refused(user.init(*wanted), 1)
    assert f"The identity file {file} cannot be used" in first
    assert file.read_text() == content
    assert not user.config.exists()
    first, second = refused(user.init("--yes", "--encrypt"), 2)
    assert "no archive" in first
    assert "--archive" in second
    assert not user.config.exists()
    assert not user.config.with_name("archive-identity.txt").exists()


def test_what_a_person_wrote_stays(user: Newcomer) -> None:
    user.config.parent.mkdir()
    user.config.write_text(KEPT)
    done = user.init("--yes", "--repo", "o/r", "--issue", "0", "--archive", str(user.folder / "kept.git"))
    assert done.returncode == 0, done.stderr
    assert user.config.read_text() == KEPT.replace("issue = 7\n", 'issue = 0\nrepo = "o/r"\n') + (
        f'\n[archive]\nurl = "{user.folder}/kept.git"\n'
    )
    assert not (user.folder / "kept.git").exists()  # the first push makes it


@pytest.mark.parametrize("content", ["[github\n", "[github]\nrpeo = 'o/r'\n", "[tiers]\ncomment_bytes = 1\n"])
def test_broken_settings_are_refused_and_kept(user: Newcomer, content: str) -> None:
    user.config.parent.mkdir()
    user.config.write_text(content)
    first, second = refused(user.init("--yes", "--repo", "o/r", "--hooks"), 78)
    assert str(user.config) in first
    assert second
    assert user.config.read_text() == content
    assert not user.hooks.exists()


def test_nobody_there_to_ask(user: Newcomer) -> None:
    first, second = refused(user.init("--repo", "o/r"), 5)
    assert "nobody is here" in first
    assert "--yes" in second
    assert not user.config.exists()


@pytest.mark.parametrize(
    ("trouble", "said", "advice"),
    [
        ("public", "is public", "--allow-public"),
        ("missing", "github_repository_missing", "Check github.repo"),
        ("no rights", "github_not_permitted", "Issues: read and write"),
        ("issues off", "Issues are turned off", "Turn them on"),
        ("archived", "is archived", "Unarchive"),
        ("token", "github_token_refused", "valid token"),
        ("no such issue", "no issue 12 in o/r", "Name another"),
    ],
)
def test_what_github_would_refuse_is_said_before_anything_is_written(
    user: Newcomer, gh: FakeGitHub, trouble: str, said: str, advice: str
) -> None:
    match trouble:
        case "public":
            gh.make_public("o/r")
        case "missing":
            gh.delete_repo("o/r")
        case "no rights":
            gh.permit(TOKEN, {"issues": "read", "contents": "write", "metadata": "read"})
        case "issues off":
            gh.enable_issues("o/r", on=False)
        case "archived":
            gh.archive_repo("o/r")
        case "token":
            gh.revoke_token(TOKEN)
    issue = ["--issue", "12"] if trouble == "no such issue" else []
    done = user.init("--yes", "--repo", "o/r", "--hooks", *issue)
    first, second = refused(done, 1)
    assert said in first
    assert advice in second
    assert TOKEN not in done.stdout + done.stderr
    assert not user.config.exists()
    assert not user.hooks.exists()


def test_a_public_repository_when_that_is_meant(user: Newcomer, gh: FakeGitHub) -> None:
    gh.make_public("o/r")
    assert user.init("--yes", "--repo", "o/r", "--allow-public").returncode == 0
    assert user.settings() == {"github": {"repo": "o/r", "allow_public": True}}


def test_an_archive_that_takes_no_pushes(user: Newcomer) -> None:
    bare = user.host.folder / "o/r.git"
    subprocess.run(["git", "-C", str(bare), "config", "http.receivepack", "false"], check=True)
    first, second = refused(user.init("--yes", "--repo", "o/r", "--archive", "github"), 1)
    assert "archive_not_permitted" in first
    assert "write access" in second
    assert not user.config.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--repo", "not a repository"), "github.repo"),
        (("--repo", "ghp_0123456789abcdefghijABCDEFGHIJ012345"), "github.repo"),
        (("--archive", "https://me:secret@git.example/a.git"), "git's credential helper"),
        (("--archive", "github"), "there is none"),
    ],
)
def test_a_flag_that_makes_no_sense(user: Newcomer, arguments: tuple[str, ...], said: str) -> None:
    done = user.init("--yes", *arguments)
    first, _ = refused(done, 2)
    assert said in first
    assert not [secret for secret in ("secret", "ghp_0123") if secret in done.stdout + done.stderr]
    assert not user.config.exists()


def test_without_a_token_or_a_network_it_is_local_only(user: Newcomer, gh: FakeGitHub) -> None:
    done = user.init("--yes", "--repo", "o/r", GH_TOKEN="")
    assert done.returncode == 0
    assert "There is no token: nothing goes to GitHub yet, all is kept here." in done.stdout
    assert "gh auth login" in done.stdout
    assert user.settings() == {"github": {"repo": "o/r"}}
    user.config.unlink()
    done = user.init("--yes", "--repo", "o/r", SESSIOND_GITHUB_API_URL="http://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    assert "Not checked: " in done.stderr
    assert user.settings() == {"github": {"repo": "o/r"}}
    assert gh.effects() == []


def test_a_daemon_that_runs_has_the_settings_at_once(user: Newcomer) -> None:
    with user:
        user.start()
        done = user.init("--yes", "--repo", "o/r")
        assert "The daemon that runs has read the settings again." in done.stdout
        assert "is on this disk twice" in done.stdout
        assert done.stdout.rstrip().endswith("Next: sessiond ctl status")
        assert user.ctl("status")["github"]["repo"] == "o/r"


# --- on a terminal


def test_what_is_proposed_is_taken_with_enter(user: Newcomer) -> None:
    code, screen = user.sit("", "", "", "", "")  # repository, archive, not encrypted, hooks, go on
    assert code == 0, screen
    assert "Repository (owner/name, or none) [o/r]: " in screen
    assert screen.index("This will be done:") < screen.index("Go on? [Y/n]") < screen.index("Wrote ")
    assert user.settings() == {"github": {"repo": "o/r"}, "archive": {"url": "github"}}
    assert user.hooks.exists()
    assert TOKEN not in screen
    before = user.files()
    code, screen = user.sit("", "")
    assert code == 0
    assert "Nothing to change." in screen
    assert user.files() == before


def test_an_identity_is_asked_for_until_it_is_one(user: Newcomer) -> None:
    wrong = user.folder / "wrong"
    wrong.write_text("no key\n")
    code, screen = user.sit("none", str(user.folder / "a.git"), "y", str(wrong), "", "n", "y")
    assert code == 0, screen
    assert "its line 1 is no identity" in screen
    file = user.config.with_name("archive-identity.txt")
    assert f"Identity file (made if it is not there) [{file}]: " in screen
    assert user.settings()["archive"]["encrypt_to"] == [recipient_of(file)]
    assert file.read_text().splitlines()[-1] not in screen
    code, screen = user.sit("", "", "n")  # of what is there nothing is asked again
    assert "Nothing to change." in screen
    no = ("--no-hooks", "--no-service", "--repo", "none")
    code, screen = user.sit(
        "n", arguments=(*no, "--archive", str(user.folder / "b.git"), "--identity", "new")
    )
    assert code == 5, screen
    assert not (user.project / "new").exists()


def test_a_no_changes_nothing(user: Newcomer) -> None:
    code, screen = user.sit("", "none", "n", "n")
    assert code == 5
    assert "Nothing was changed." in screen
    assert not user.config.exists()


def test_what_is_refused_is_asked_again(user: Newcomer, gh: FakeGitHub) -> None:
    gh.add_repo("o/open", private=False)
    code, screen = user.sit("o/none", "o/open", "n", "o/r", "/no/such/folder", "none", "n", "y")
    assert code == 0, screen
    assert "Check github.repo" in screen
    assert "readable by everyone" in screen
    assert "/no/such is not there" in screen
    assert user.settings() == {"github": {"repo": "o/r"}}


def test_public_is_allowed_by_a_yes(user: Newcomer, gh: FakeGitHub) -> None:
    gh.make_public("o/r")
    code, screen = user.sit("", "y", "none", "n", "y")
    assert code == 0, screen
    assert user.settings() == {"github": {"repo": "o/r", "allow_public": True}}


def test_flags_are_not_asked_about(user: Newcomer) -> None:
    code, screen = user.sit("", arguments=("--repo", "none", "--archive", "none", "--hooks"))
    assert code == 0, screen
    assert "No repository is set: everything stays on this machine, twice." in screen
    assert not user.config.exists()

"""What `sessiond init` does beside asking: settings as text, and the service that a wish is for."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sessiond import setup
from sessiond.service import Wish as ServiceWish
from sessiond.settings import changed, write
from sessionsync.errors import ConfigError, NotAllowed
from sessionsync.paths import paths

Json = dict[str, Any]


class Manager:
    """A service manager that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.installed = False

    def status(self) -> Json:
        return {
            "installed": self.installed,
            "state": "running" if self.installed else "stopped",
            "credential": False,
        }

    def install(self, wish: ServiceWish) -> Json:
        return self._now("install", there=True)

    def uninstall(self) -> Json:
        return self._now("uninstall", there=False)

    def start(self) -> Json:
        return self._now("start", there=True)

    def stop(self) -> Json:
        return self._now("stop", there=True)

    def _now(self, word: str, *, there: bool) -> Json:
        self.told.append(word)
        self.installed = there
        return self.status()


def test_the_service_is_put_in_once_and_taken_out_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GH_TOKEN", "T")
    manager, where = Manager(), paths(os.environ)

    def look() -> setup.Found:
        return setup.find(os.environ, where, tmp_path, lambda: manager)

    for wanted in (True, True, False, False, None):
        todo = setup.plan(look(), setup.Wish(service=wanted))
        setup.apply(todo, look(), os.environ, lambda: manager)
        assert manager.installed is bool(wanted)
        assert setup.kept_from_service(look()) is bool(wanted)  # the shell's token does not reach it
    assert manager.told == ["install", "uninstall"]


def test_what_is_a_link_is_not_watched_and_not_counted(tmp_path: Path) -> None:
    for name in ("watched/projects/-p", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "one.jsonl").write_text("{}\n")
    projects = tmp_path / "watched" / "projects"
    (projects / "-linked").symlink_to(tmp_path / "elsewhere")
    (projects / "-p" / "two.jsonl").symlink_to(tmp_path / "elsewhere" / "one.jsonl")
    assert setup.agent(tmp_path / "watched").sessions == 1


def test_sessions_in_the_folder_that_is_not_watched_are_seen(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path / "moved", home / ".claude"):
        (folder / "projects" / "-p").mkdir(parents=True)
        for name in ("one.jsonl", "agent-of-one.jsonl"):
            (folder / "projects" / "-p" / name).write_text("{}\n")
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path / "moved"))
    found = setup.find(os.environ, paths(os.environ), tmp_path, Manager)
    assert [(each.folder, each.sessions, each.size) for each in found.agents] == [(tmp_path / "moved", 1, 3)]
    assert found.unwatched is not None
    assert found.unwatched.folder == home / ".claude"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[github]\nrepo = "o/r"\n'),
        ("# mine", '# mine\n\n[github]\nrepo = "o/r"\n'),
        ("[github] # a\nrepo = 'x/y' # b\n", '[github] # a\nrepo = "o/r" # b\n'),
        (
            "[github]\n# a\nissue = 3\n\n# of http\n[http]\n",
            '[github]\n# a\nissue = 3\nrepo = "o/r"\n\n# of http\n[http]\n',
        ),
        ("github.issue = 3 # a\n[http]\n", 'github.issue = 3 # a\ngithub.repo = "o/r"\n[http]\n'),
        ("github = {issue = 3} # a\n", 'github = {issue = 3, repo = "o/r"} # a\n'),
        ("[github]\r\nissue = 3\r\n", '[github]\r\nissue = 3\r\nrepo = "o/r"\r\n'),
        ('[http]\nlisten = ""\n', '[http]\nlisten = ""\n\n[github]\nrepo = "o/r"\n'),
        ("[github]\nrepo = 'o/r'", "[github]\nrepo = 'o/r'"),
        (
            "[privacy]\npatterns = [\n  '''\n[github]\n''', # a\n]\n",
            "[privacy]\npatterns = [\n  '''\n[github]\n''', # a\n]\n\n[github]\nrepo = \"o/r\"\n",
        ),
    ],
)
def test_only_what_is_asked_for_changes(before: str, after: str) -> None:
    made = changed(before, {"github.repo": "o/r"})
    assert tomllib.loads(made)["github"]["repo"] == "o/r"
    assert made.replace(" = 3,repo", " = 3, repo") == after


def test_settings_that_would_not_hold_are_not_written(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[tiers]\nhybrid_bytes = 100000\n")
    with pytest.raises(ConfigError, match="the first is larger") as caught:
        write(file, {"tiers.github_only_bytes": 200000}, os.environ)
    assert str(file) in str(caught.value)
    with pytest.raises(ConfigError, match="holds a token"):
        write(file, {"archive.url": "/a/ghp_0123456789abcdefghijABCDEFGHIJ012345"}, os.environ)
    assert file.read_text() == "[tiers]\nhybrid_bytes = 100000\n"
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["config.toml"]


def test_a_link_is_followed_and_the_file_is_this_users_alone(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "sessiond.toml"
    real.parent.mkdir()
    real.write_text("# mine\n")
    real.chmod(0o644)
    file = tmp_path / "config.toml"
    file.symlink_to(real)
    assert write(file, {"github.repo": "o/r"}, os.environ)
    assert file.is_symlink()
    assert real.read_text() == '# mine\n\n[github]\nrepo = "o/r"\n'
    assert real.stat().st_mode & 0o777 == 0o600
    assert not write(file, {"github.repo": "o/r"}, os.environ)


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotAllowed, match="cannot be read"):
        write(tmp_path, {"github.repo": "o/r"}, os.environ)

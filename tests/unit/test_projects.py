"""Which project a folder belongs to, and the names that hook and daemon agree on."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sessionsync.errors import CopyError
from sessionsync.project_names import Names, ProjectIdentity, folder_name
from sessionsync.projects import identify, normalise, watchable
from tests.conftest import PATIENCE_S


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def repository(folder: Path, origin: str = "") -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    if origin:
        git(folder, "remote", "add", "origin", origin)
    return folder


# --- addresses


@pytest.mark.parametrize(
    "written",
    [
        "https://github.com/Owner/Name",
        "https://github.com/owner/name.git",
        "https://github.com/owner/name.git/",
        "https://user:pass@github.com:443/owner/name",
        "http://www.github.com/owner//name?ref=x#y",
        "git@github.com:owner/name.git",
        "GitHub.com:owner/name",
        "ssh://git@github.com/owner/name.git",
        "ssh://git@ssh.github.com:443/owner/name.git",
        "git+ssh://git@github.com./owner/name",
        "git://github.com/owner/name",
        "git@github.com-work:owner/name.git",
        " https://github.com/owner/name\n",
    ],
)
def test_one_repository_has_one_key_however_it_is_written(written: str) -> None:
    assert normalise(written, "/tree") == "github.com/owner/name"


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("https://Git.Example.org/Group/Sub/Name.git", "git.example.org/Group/Sub/Name"),
        ("ssh://git@git.example.org:7999/Group/Name", "git.example.org/Group/Name"),
        ("ssh://[::1]:22/srv/name.git", "[::1]/srv/name"),
        ("host:/srv/git/name", "host/srv/git/name"),
        ("https://token@git.example.org/a%20b", "git.example.org/a b"),
        ("codecommit::us-east-1://me:secret@name", "codecommit::us-east-1://name"),
    ],
)
def test_other_hosts_keep_the_case_of_their_paths_and_no_login_stays(written: str, key: str) -> None:
    assert normalise(written, "/tree") == key


def test_paths_become_real_paths(tmp_path: Path) -> None:
    real = tmp_path / "srv" / "name.git"
    real.mkdir(parents=True)
    (tmp_path / "link").symlink_to(real)
    for written in (str(real), f"file://{real}", str(tmp_path / "link"), "../srv/name.git"):
        assert normalise(written, str(tmp_path / "tree")) == str(real)


# --- folders


def test_a_clone_is_the_project_of_its_origin_from_any_folder_in_it(tmp_path: Path) -> None:
    top = repository(tmp_path / "Name", "git@github.com:Owner/Name.git")
    inner = top / "src" / "deep"
    inner.mkdir(parents=True)
    for folder in (top, inner):
        assert identify(str(folder)) == ("github.com/owner/name", str(top), "Name")


def test_a_linked_work_tree_is_the_same_project_and_lends_it_no_name(tmp_path: Path) -> None:
    top = repository(tmp_path / "name", "https://github.com/owner/name")
    git(top, "commit", "-q", "--allow-empty", "-m", "x")
    git(top, "worktree", "add", "-q", str(tmp_path / "feature-7"))
    assert identify(str(tmp_path / "feature-7")) == (
        "github.com/owner/name",
        str(tmp_path / "feature-7"),
        "name",
    )
    git(top, "remote", "remove", "origin")
    assert identify(str(tmp_path / "feature-7")).key == identify(str(top)).key == str(top)


def test_work_trees_of_a_bare_repository_are_one_project(tmp_path: Path) -> None:
    repository(tmp_path / "seed")
    git(tmp_path / "seed", "commit", "-q", "--allow-empty", "-m", "x")
    (tmp_path / "project").mkdir()
    git(tmp_path, "clone", "-q", "--bare", str(tmp_path / "seed"), str(tmp_path / "project" / ".bare"))
    git(
        tmp_path / "project" / ".bare",
        "worktree",
        "add",
        "-q",
        "-b",
        "one",
        str(tmp_path / "project" / "one"),
    )
    assert identify(str(tmp_path / "project" / "one")).name_hint == "project"
    assert identify(str(tmp_path / "project" / "one")).key == str(tmp_path / "seed")


def test_without_a_remote_the_real_path_of_the_work_tree_is_the_key(tmp_path: Path) -> None:
    top = repository(tmp_path / "name")
    (top / "sub").mkdir()
    (tmp_path / "link").symlink_to(top)
    assert identify(str(tmp_path / "link" / "sub")) == (str(top), str(top), "name")


def test_a_folder_without_git_is_its_own_project(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert identify(str(tmp_path / "plain")) == (str(tmp_path / "plain"), str(tmp_path / "plain"), "plain")


def test_links_in_a_circle_are_their_path(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert identify(str(tmp_path / "loop")).name_hint == "loop"


def test_a_deleted_folder_is_its_path(tmp_path: Path) -> None:
    assert identify(str(tmp_path / "gone")) == (str(tmp_path / "gone"), str(tmp_path / "gone"), "gone")


@pytest.mark.parametrize(
    ("cwd", "name"),
    [("D:\\work\\name", "name"), ("relative/name", "name"), ("", ""), ("/a\0b", "a\0b"), ("C:/x/y/", "y")],
)
def test_paths_of_other_systems_are_taken_as_they_are(cwd: str, name: str) -> None:
    assert identify(cwd) == (cwd, cwd, name)


def test_a_home_under_git_is_not_the_project_of_everything_in_it(home: Path) -> None:
    git(home, "init", "-q")
    git(home, "remote", "add", "origin", "https://github.com/me/dotfiles")
    (home / "code").mkdir()
    assert identify(str(home / "code")).key == str(home / "code")
    assert identify(str(home)).key == "github.com/me/dotfiles"


def test_a_short_address_is_expanded_but_a_full_one_is_not_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gitconfig"
    config.write_text(
        '[url "https://github.com/"]\n insteadOf = gh:\n[url "https://mirror.example/"]\n insteadOf = https://gitlab.com/\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    assert identify(str(repository(tmp_path / "a", "gh:owner/name"))).key == "github.com/owner/name"
    assert identify(str(repository(tmp_path / "b", "https://gitlab.com/o/n"))).key == "gitlab.com/o/n"


def test_what_a_git_hook_leaves_in_the_environment_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository(tmp_path / "other", "https://github.com/o/other")
    mine = repository(tmp_path / "mine", "https://github.com/o/mine")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "remote.origin.url")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/o/injected")
    assert identify(str(mine)).key == "github.com/o/mine"


def test_a_repository_runs_nothing_of_its_own(tmp_path: Path) -> None:
    top = repository(tmp_path / "trap", "ext::sh -c 'touch ran'")
    ran = tmp_path / "ran"
    script = top / "run"
    script.write_text(f"#!/bin/sh\ntouch {ran}\n")
    script.chmod(0o755)
    for setting in (
        "core.fsmonitor",
        "core.pager",
        "core.sshCommand",
        "core.editor",
        "core.gitProxy",
        "credential.helper",
    ):
        git(top, "config", setting, str(script))
    git(top, "config", "core.hooksPath", str(top))
    git(top, "config", "alias.config", f"!{script}")
    assert identify(str(top)).key == "ext::sh -c 'touch ran'"
    assert not ran.exists()
    assert not (top / "ran").exists()


def test_a_bare_repository_inside_a_clone_is_not_asked(tmp_path: Path) -> None:
    top = repository(tmp_path / "clone", "https://github.com/o/clone")
    git(tmp_path, "init", "-q", "--bare", str(top / "embedded"))
    assert identify(str(top / "embedded")).key == str(top / "embedded")


def test_a_git_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    assert identify(str(tmp_path), timeout_s=0.2).key == str(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert identify(str(tmp_path)).key == str(tmp_path)


# --- what may be watched


def test_watchable(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir(mode=0o755)
    assert watchable(mine)
    assert not watchable(tmp_path / "gone")
    assert not watchable(Path("/a\0b"))
    file = tmp_path / "file"
    file.touch()
    assert not watchable(file)
    mine.chmod(0o777)
    assert not watchable(mine)
    if os.geteuid() == 0:
        mine.chmod(0o755)
        os.chown(mine, 12345, 12345)
        assert not watchable(mine)


# --- names


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        ("name", "name"),
        ("my project.v2", "my project.v2"),
        ("..", "project"),
        ("", "project"),
        (".hidden", "hidden"),
        ("a/b\\c:d\0e\nf", "a-b-c-d-e-f"),
        ("x" * 300, "x" * 80),
        ("日本語" * 20, ("日本語" * 20)[:26]),
        ("cafe\u0301", "caf\u00e9"),
        ("bad\udcff", "bad"),
        ("turned\u202earound", "turned-around"),
    ],
)
def test_a_name_is_a_folder_that_every_system_takes(hint: str, name: str) -> None:
    assert folder_name(hint) == name


def test_a_second_project_of_the_name_gets_six_digits_and_keeps_them(tmp_path: Path) -> None:
    names = Names(tmp_path / "mirror")
    assert names.name_for("github.com/a/app", "app") == "app"
    second = names.name_for("github.com/b/app", "App")
    assert second.startswith("App-")
    assert len(second) == len("App-") + 6
    assert names.name_for("github.com/c/cafe", "CAFE\u0301") == "CAFÉ"
    assert names.name_for("github.com/d/cafe", "caf\u00e9").startswith("café-")
    again = Names(tmp_path / "mirror")
    assert again.name_for("github.com/b/app", "something else") == second
    assert again.name_for("github.com/a/app", "App") == "app"
    assert len(again.known()) == 4


def test_lost_names_come_back_and_take_none_that_was_given_meanwhile(tmp_path: Path) -> None:
    Names(tmp_path).name_for("new", "Blog")
    names = Names(tmp_path)
    names.keep({"old": "blog", "other": "shop", "new": "else"})
    assert Names(tmp_path).known() == names.known() == {"new": "Blog", "other": "shop"}


def test_the_registry_is_private_and_one_small_file(tmp_path: Path) -> None:
    Names(tmp_path / "mirror").name_for("key", "name")
    registry = tmp_path / "mirror" / ".projects.json"
    assert stat.S_IMODE(registry.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "mirror").stat().st_mode) == 0o700
    assert json.loads(registry.read_text())["names"] == {"key": "name"}


def test_another_process_sees_a_new_name_without_being_told(tmp_path: Path) -> None:
    one, other = Names(tmp_path), Names(tmp_path)
    assert one.name_for("a", "app") == "app"
    assert one.known() == other.known() == {"a": "app"}
    other.name_for("b", "app")
    assert set(one.known()) == {"a", "b"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\0" * 100,
        b'{"names": {"a": "../../etc"}}',
        b'{"names": {"a": 1}}',
        b"[]",
        b"[" * 9999,
        b'{"names": []}',
    ],
)
def test_a_broken_registry_is_set_aside_and_nothing_of_it_is_deleted(tmp_path: Path, content: bytes) -> None:
    registry = tmp_path / ".projects.json"
    for number in (1, 2):
        registry.write_bytes(content)
        names = Names(tmp_path)
        assert names.name_for("key", "name") == "name"
        assert (tmp_path / f".projects.{number}.bad.json").read_bytes() == content
        assert Names(tmp_path).known() == {"key": "name"}


def test_a_link_in_the_registrys_place_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text('{"names": {"key": "theirs"}}')
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / ".projects.json").symlink_to(outside)
    assert Names(mirror).name_for("key", "mine") == "mine"
    assert outside.read_text() == '{"names": {"key": "theirs"}}'


def test_a_registry_that_cannot_be_written_says_so_and_knows_what_it_knew(tmp_path: Path) -> None:
    names = Names(tmp_path / "mirror")
    names.name_for("old", "old")
    (tmp_path / "mirror" / ".projects.json.tmp").mkdir()
    with pytest.raises(CopyError, match="could not be written"):
        names.name_for("new", "new")
    assert names.name_for("old", "x") == "old"


# --- sessions that were begun elsewhere

HERE = ProjectIdentity("github.com/o/app", "/home/ben/app", "app")


def test_what_was_put_down_of_a_session_is_its_project_for_everybody(tmp_path: Path) -> None:
    names, other = Names(tmp_path), Names(tmp_path)
    assert other.home("claude:1", "/home/ann/app") is None
    names.put_down("claude:1", "/home/ann/app", HERE)
    assert names.home("claude:1", "/home/ann/app") == other.home("claude:1", "/home/ann/app") == HERE
    assert other.home("claude:fork", "/home/ann/app") == HERE  # begun in the same folder, which is not here
    assert other.home("claude:2", "/home/ann/other") is None
    assert other.name_for(HERE.key, HERE.name_hint) == "app"
    assert Names(tmp_path).home("claude:1", "") == HERE  # a new name loses nothing of it


def test_a_folder_of_this_machine_stays_what_it_is(tmp_path: Path) -> None:
    names = Names(tmp_path)
    names.put_down("claude:1", str(tmp_path), HERE)
    assert names.home("claude:1", str(tmp_path)) == HERE
    assert names.home("claude:2", str(tmp_path)) is None
    later = tmp_path / "later"
    names.put_down("claude:3", str(later), HERE)
    later.mkdir()
    assert names.home("claude:4", str(later)) is None


def test_what_is_put_down_again_is_not_written_again(tmp_path: Path) -> None:
    names = Names(tmp_path)
    names.put_down("claude:1", "", HERE)
    before = (tmp_path / ".projects.json").stat()
    Names(tmp_path).put_down("claude:1", "", HERE)
    assert (tmp_path / ".projects.json").stat() == before
    assert json.loads((tmp_path / ".projects.json").read_text())["homes"].keys() == {"claude:1"}


@pytest.mark.parametrize(
    "homes",
    [[], 1, {"/a": 1}, {"/a": {}}, {"/a": {"key": "k", "root": "relative", "name_hint": "n"}},
     {"/a": {"key": "", "root": "/r", "name_hint": "n"}}, {"/a": {"key": "k", "root": "/r", "name_hint": 1}}],
)  # fmt: skip
def test_what_makes_no_sense_of_it_is_passed_over_and_the_names_stay(tmp_path: Path, homes: object) -> None:
    registry = {"names": {"key": "name"}, "homes": homes}
    (tmp_path / ".projects.json").write_text(json.dumps(registry))
    names = Names(tmp_path)
    assert names.home("claude:1", "/a") is None
    assert names.known() == {"key": "name"}


NAMER = """
import sys
from pathlib import Path
from sessionsync.project_names import Names
folder, start, mine = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
while not start.exists():
    pass
names = Names(folder)
for n in range(40):
    print(names.name_for(f"host{mine if n % 2 else ''}/{n}/app", "app"))
"""


def test_processes_that_name_at_once_agree_and_lose_nothing(tmp_path: Path) -> None:
    mirror, start = tmp_path / "mirror", tmp_path / "start"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", NAMER, str(mirror), str(start), str(n)], stdout=subprocess.PIPE, text=True
        )
        for n in range(4)
    ]
    start.touch()
    said = [process.communicate(timeout=PATIENCE_S)[0].split() for process in running]
    assert all(process.returncode == 0 for process in running)
    known = Names(mirror).known()
    assert len(known) == 20 + 4 * 20
    assert len({name.casefold() for name in known.values()}) == len(known)
    for n, names in enumerate(said):
        assert names == [known[f"host{n if k % 2 else ''}/{k}/app"] for k in range(40)]
    assert sorted(path.name for path in mirror.iterdir()) == [".projects.json", ".projects.lock"]

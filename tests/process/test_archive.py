"""The archive of a real daemon: filled beside the comments, killed in the middle, and read on another machine."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessionsync.privacy.seal import is_sealed, make_identity
from tests.archive import objects_of, refs_of, run_git
from tests.conftest import poll
from tests.daemon import Daemon
from tests.fakes.agent import Agent
from tests.fakes.git_host import Fault, GitHost
from tests.fakes.github import FakeGitHub

TOKEN = "ghp_" + "ThisIsTheTokenOfTheArchive1234567890"


@pytest.fixture
def gh() -> Iterator[FakeGitHub]:
    with FakeGitHub() as made:
        made.add_repo("o/r")
        made.token(TOKEN, login="me")
        yield made


@pytest.fixture
def host(tmp_path: Path, gh: FakeGitHub) -> Iterator[GitHost]:
    with GitHost(tmp_path / "repos", token=TOKEN, api=gh.url) as made:
        yield made


@pytest.fixture
def repo(host: GitHost) -> Path:
    return host.make("o/r")


@pytest.fixture
def daemon(socket_dir: Path, host: GitHost, repo: Path) -> Iterator[Daemon]:
    with a_daemon(socket_dir / "a", host) as made:
        yield made


def a_daemon(folder: Path, host: GitHost, **settings: str) -> Daemon:
    folder.mkdir(exist_ok=True)
    usual = {
        "GH_TOKEN": TOKEN,
        "SESSIOND_GITHUB_REPO": "o/r",
        "SESSIOND_GITHUB_API_URL": host.base,
        "SESSIOND_ARCHIVE_URL": "github",
    }
    return Daemon(folder, **usual | settings)


def run(daemon: Daemon, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sessiond", *arguments],
        env=daemon.environ | environ,
        cwd=daemon.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def grow(daemon: Daemon, agent: Agent, prompt: str) -> Path:
    """A turn, and a checkpoint of it."""
    agent.turn(prompt)
    path = daemon.agent / "projects" / "-work-app" / f"{agent.session}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(agent.data)
    daemon.ctl("checkpoint", acts=True, session=agent.session)
    return path


def archive_items(daemon: Daemon) -> list[dict[str, Any]]:
    return [item for item in daemon.ctl("queue")["items"] if item["operation"] == "archive"]


def hold(host: GitHost) -> tuple[threading.Event, threading.Event]:
    """Let the next push wait in the host: the first is set when it has come, the second lets it go on."""
    pushing, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        pushing.set()
        go_on.wait(40)

    host.faults = [Fault(hold=wait)]
    return pushing, go_on


def test_comments_and_archive_are_filled_and_another_machine_goes_on(
    daemon: Daemon, host: GitHost, gh: FakeGitHub, repo: Path, socket_dir: Path
) -> None:
    daemon.start()
    agent = Agent(cwd="/work/app")
    path = grow(daemon, agent, "hello there")
    done = run(daemon, "ctl", "sync", "--wait", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(refs_of(repo)) == 1
    assert gh.all_comments()
    said = run(daemon, "ctl", "status").stdout
    assert "is on this disk twice, on GitHub and in the archive." in said.splitlines()[0]
    assert "elsewhere: 1 of 1" in said
    (session,) = daemon.ctl("sessions")["sessions"]
    assert session["copies"] == ["mirror", "vault", "github", "archive"]
    assert daemon.metrics()['sessiond_queue_completed_total{operation="archive",outcome="success"}'] == 1
    assert "sessiond_loop_progress_age_seconds" in "".join(
        name for name in daemon.metrics() if 'loop="archive"' in name
    )
    with a_daemon(socket_dir / "b", host) as other:
        listed = json.loads(run(other, "restore", agent.session, "--list", "--json").stdout)
        assert {copy["from"] for copy in listed["copies"]} == {"github", "archive"}
        assert all(copy["complete"] and copy["exact"] for copy in listed["copies"])
        out = other.home / "out"
        done = run(other, "restore", agent.session, "--from", "archive", "--out", str(out))
        assert done.returncode == 0, done.stdout + done.stderr
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_a_daemon_killed_in_the_middle_of_a_push_goes_on(
    daemon: Daemon, host: GitHost, repo: Path, socket_dir: Path
) -> None:
    daemon.start()
    agent = Agent(cwd="/work/app")
    path = grow(daemon, agent, "one")
    poll(lambda: not archive_items(daemon))
    pushing, go_on = hold(host)
    grow(daemon, agent, "two")
    assert pushing.wait(40)
    daemon.kill()
    go_on.set()
    daemon.start()
    poll(lambda: not archive_items(daemon))
    (tip,) = refs_of(repo).values()
    run_git(repo, "fsck", "--strict")
    points = [point["id"] for point in daemon.ctl("show", session=agent.session)["checkpoints"]]
    messages = run_git(repo, "log", "--reverse", "--format=%s", tip).decode().split("\n")[:-1]
    assert [message.split(" ")[1] for message in messages] == points
    out = daemon.home / "out"
    assert run(daemon, "restore", agent.session, "--from", "archive", "--out", str(out)).returncode == 0
    assert (out / path.name).read_bytes() == path.read_bytes()


def test_a_push_that_hangs_holds_up_no_comment(daemon: Daemon, host: GitHost, gh: FakeGitHub) -> None:
    daemon.start()
    pushing, go_on = hold(host)
    agent = Agent(cwd="/work/app")
    grow(daemon, agent, "one")
    assert pushing.wait(30)
    grow(daemon, agent, "two")
    poll(lambda: not [item for item in daemon.ctl("queue")["items"] if item["operation"] == "comment"])
    assert gh.all_comments()
    assert archive_items(daemon)
    assert "The archive follows by itself" in run(daemon, "ctl", "status").stdout.replace("\n", " ")
    assert daemon.get("/healthz")
    go_on.set()


def test_by_command_nothing_leaves_for_the_archive_either(daemon: Daemon, repo: Path) -> None:
    daemon.start()
    daemon.ctl("local-only", acts=True, on=True)
    grow(daemon, Agent(cwd="/work/app"), "one")
    done = run(daemon, "ctl", "sync", "--wait", "1")
    assert done.returncode == 1
    assert len(archive_items(daemon)) == 1
    assert not refs_of(repo)
    daemon.ctl("local-only", acts=True, on=False)
    poll(lambda: refs_of(repo))


def test_a_public_repository_is_refused(daemon: Daemon, gh: FakeGitHub, repo: Path) -> None:
    gh.make_public("o/r")
    daemon.start()
    grow(daemon, Agent(cwd="/work/app"), "one")
    poll(lambda: "archive_repository_public" in json.dumps(daemon.ctl("health")))
    assert not refs_of(repo)
    assert len(archive_items(daemon)) == 1


def test_a_runner_archives_into_a_folder_and_the_next_one_restores(socket_dir: Path) -> None:
    folder = socket_dir / "archive"
    settings = {"SESSIOND_ARCHIVE_URL": str(folder), "CI": "true"}
    states = {}
    for number, name in enumerate(("one", "two")):
        (socket_dir / name).mkdir()
        runner = Daemon(socket_dir / name, **settings)
        agent = Agent(session=f"3f0c9f8a-0000-4000-8000-00000000000{number}", cwd="/work/app")
        for prompt in ("hello", name):
            agent.turn(prompt)
        path = runner.agent / "projects" / "-work-app" / f"{agent.session}.jsonl"
        path.parent.mkdir(parents=True)
        path.write_bytes(agent.data)
        done = run(runner, "sync", "--once", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["left"] == 0
        states[agent.session] = path.read_bytes()
    assert len(refs_of(folder)) == 2
    (socket_dir / "three").mkdir()
    third = Daemon(socket_dir / "three", **settings)
    for session, state in states.items():
        done = run(third, "restore", session, "--cwd", str(third.home), "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        (restored,) = third.agent.rglob(f"{session}.jsonl")
        assert restored.read_bytes() == state


@pytest.mark.parametrize("runs", [False, True], ids=["alone", "daemon"])
def test_with_an_archive_alone_nobody_waits_for_comments(socket_dir: Path, *, runs: bool) -> None:
    folder = socket_dir / "archive"
    with Daemon(socket_dir, SESSIOND_ARCHIVE_URL=str(folder), CI="true") as daemon:
        if runs:
            daemon.start()
        agent = Agent(session="3f0c9f8a-0000-4000-8000-000000000000", cwd="/work/app")
        agent.turn("hello")
        path = daemon.agent / "projects" / "-work-app" / f"{agent.session}.jsonl"
        path.parent.mkdir(parents=True)
        path.write_bytes(agent.data)
        done = run(daemon, "sync", "--once", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        counts = json.loads(done.stdout)
        assert {name: counts[name] for name in ("due", "pushed", "left", "buried")} == {
            "due": 1,
            "pushed": 1,
            "left": 0,
            "buried": 0,
        }
        assert len(refs_of(folder)) == 1
        assert run(daemon, "sync", "--once").stdout == "Nothing waits.\n"
        if runs:
            said = run(daemon, "ctl", "resume").stdout
            assert said.startswith("Everything goes to the archive, and nothing to GitHub: no repository is")
            assert run(daemon, "ctl", "pause").stdout.startswith("Nothing is sent to the archive for now")


def test_what_is_new_wins_over_an_older_copy_and_the_newest_is_passed_over_where_it_is_damaged(
    daemon: Daemon, host: GitHost, repo: Path, socket_dir: Path
) -> None:
    daemon.start()
    agent = Agent(cwd="/work/app")
    first = grow(daemon, agent, "one").read_bytes()
    path = grow(daemon, agent, "two")
    done = run(daemon, "ctl", "sync", "--wait", "60")
    assert done.returncode == 0
    url = f"{host.base}/git/o/r.git"
    with a_daemon(socket_dir / "b", host, SESSIOND_GITHUB_REPO="", SESSIOND_ARCHIVE_URL=url) as other:
        out = other.home / "out"
        assert run(other, "restore", agent.session, "--out", str(out)).returncode == 0
        assert (out / path.name).read_bytes() == path.read_bytes()
        # the bytes of the newest one vanish on the way: the one before it is taken, and says so
        cache = other.folder / "s" / "state" / "archive.git"
        tip = next(iter(refs_of(repo).values()))
        changed = run_git(repo, "diff-tree", "-r", "--name-only", f"{tip}~1", tip).decode().split()
        (segment, *_) = [name for name in changed if name.startswith("seg/")]
        oid = run_git(repo, "rev-parse", f"{tip}:{segment}").decode().strip()
        run_git(cache, "unpack-objects", "-q", stdin=_pack_of(cache))
        for pack in (cache / "objects" / "pack").iterdir():
            pack.unlink()
        (cache / "objects" / oid[:2] / oid[2:]).unlink()
        out = other.home / "again"
        done = run(other, "restore", agent.session, "--out", str(out))
        assert (out / path.name).read_bytes() == first, done.stdout + done.stderr
        assert "passed over" in done.stdout + done.stderr


def _pack_of(folder: Path) -> bytes:
    """The pack, moved out of the way so that its objects can be unpacked."""
    (pack,) = (folder / "objects" / "pack").glob("*.pack")
    data = pack.read_bytes()
    for file in pack.parent.iterdir():
        file.chmod(0o600)
        if file.suffix == ".idx":
            file.unlink()
    return data


def test_who_has_the_identity_reads_an_encrypted_archive_and_nobody_else(socket_dir: Path) -> None:
    folder, secret = socket_dir / "archive", "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
    (socket_dir / "one").mkdir()
    (socket_dir / "two").mkdir()
    one, two = (Daemon(socket_dir / name, CI="true") for name in ("one", "two"))
    assert run(one, "init", "--yes", "--archive", str(folder), "--encrypt").returncode == 0
    agent = Agent(cwd="/work/app")
    for prompt in ("hello", f"use {secret}"):
        agent.turn(prompt)
    path = one.agent / "projects" / "-work-app" / f"{agent.session}.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(agent.data)
    done = run(one, "sync", "--once", "--json")
    assert (done.returncode, json.loads(done.stdout)["left"]) == (0, 0), done.stderr
    assert all(is_sealed(data) for _, kind, data in objects_of(folder) if kind == "blob")
    before = list(objects_of(folder)), refs_of(folder)

    identity, wrong = one.folder / "s" / "archive-identity.txt", socket_dir / "wrong"
    make_identity(wrong)
    asked = ("restore", agent.session, "--out", str(two.home / "out"))
    for given, saying in (
        ("", "no identity is set here"),
        (str(wrong), f"for others than the identity in {wrong}"),
        (str(socket_dir / "none"), "No such file or directory"),
    ):
        environ = {"SESSIOND_ARCHIVE_URL": str(folder), "SESSIOND_ARCHIVE_IDENTITY_FILE": given}
        for command in (asked, (*asked, "--list"), ("restore", agent.session[:8])) if not given else (asked,):
            done = run(two, *command, **environ)
            assert done.returncode == 1, done.stdout
            first, second = done.stderr.splitlines()
            assert first.startswith("sessiond: archive_sealed: In the archive, a checkpoint of 2")
            assert saying in first
            assert "archive.identity_file" in second
    done = run(two, "continue", "--latest", SESSIOND_ARCHIVE_URL=str(folder))
    assert done.returncode == 1
    assert "is not known: 1 of 1 session in the archive is encrypted and cannot be looked at: " in done.stderr
    assert "no identity is set here" in done.stderr
    assert not (two.home / "out").exists()
    assert not list(two.agent.rglob("*.jsonl"))

    environ = {"SESSIOND_ARCHIVE_URL": str(folder), "SESSIOND_ARCHIVE_IDENTITY_FILE": str(identity)}
    done = run(two, *asked, **environ)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert (two.home / "out" / path.name).read_bytes() == agent.data
    done = run(two, "restore", agent.session, "--cwd", str(two.home), **environ)
    assert done.returncode == 0, done.stderr
    (restored,) = two.agent.rglob(f"{agent.session}.jsonl")
    assert restored.read_bytes() == agent.data
    assert (list(objects_of(folder)), refs_of(folder)) == before
    words = identity.read_text().splitlines()[-1].encode()
    kept = [
        file for each in (one, two) for file in each.folder.rglob("*") if file.is_file() and file != identity
    ]
    assert not [file for file in kept if words in file.read_bytes()]

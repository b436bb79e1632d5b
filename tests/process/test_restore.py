"""`sessiond restore` and `continue` as processes: beside a daemon, killed, on a full disk, with a person to ask."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from sessionsync.restore import loadable
from tests.conftest import PATIENCE_S, poll
from tests.daemon import Daemon
from tests.fakes.agent import Agent
from tests.fakes.github import FakeGitHub
from tests.machine import repository

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(socket_dir: Path) -> Path:
    return socket_dir


def run(
    daemon: Daemon, *arguments: str, cwd: Path | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sessiond", *arguments],
        env=daemon.environ | environ,
        cwd=cwd or daemon.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def project(daemon: Daemon, name: str = "app") -> Path:
    folder = daemon.home / name
    folder.mkdir(parents=True)
    repository(folder)
    return Path(os.path.realpath(folder))


def transcript(daemon: Daemon, folder: Path, agent: Agent) -> Path:
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in str(folder))
    path = daemon.agent / "projects" / name / f"{agent.session}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def an_agent(folder: Path, *prompts: str) -> Agent:
    agent = Agent(cwd=str(folder))
    for prompt in prompts or ("hello",):
        agent.turn(prompt)
    return agent


def test_a_session_deleted_under_the_daemon_comes_back_and_goes_on(folder: Path) -> None:
    with Daemon(folder) as daemon:
        app = project(daemon)
        agent = an_agent(app)
        live = transcript(daemon, app, agent)
        live.write_bytes(agent.data)
        daemon.start()
        point = daemon.ctl("checkpoint", acts=True, session=agent.session)["checkpoint"]
        live.unlink()
        poll(lambda: daemon.ctl("show", session=agent.session)["state"] == "deleted")
        done = run(daemon, "restore", agent.session)
        assert done.returncode == 0, done.stderr
        assert live.read_bytes() == agent.data
        poll(lambda: daemon.ctl("show", session=agent.session)["state"] != "deleted")
        agent.turn("and on")
        live.write_bytes(agent.data)
        daemon.ctl("checkpoint", acts=True, session=agent.session)
        files = daemon.ctl("show", session=agent.session)["files"]
        assert [file["generation"] for file in files] == [0]  # it goes on where it was, and is no new version
        assert daemon.ctl("show", session=agent.session)["checkpoints"][0]["id"] == point


def test_two_machines_and_a_runner_through_github(folder: Path) -> None:
    with FakeGitHub() as gh:
        gh.add_repo("o/r", private=True)
        gh.token("T", login="me")
        github = gh.settings()
        one, two = Daemon(folder / "1", CI="true", **github), Daemon(folder / "2", **github)
        app, there = project(one), project(two, "code/app")
        agent = an_agent(app)
        transcript(one, app, agent).write_bytes(agent.data)
        done = run(one, "sync", "--once", "--timeout", "50")
        assert done.returncode == 0, done.stderr
        done = run(two, "restore", agent.session[:8], cwd=there)
        assert done.returncode == 0, done.stderr
        put = transcript(two, there, agent)
        assert put.read_bytes() == agent.data
        assert done.stdout.splitlines()[-1] == f"cd {there} && claude --resume {agent.session}"
        put.unlink()
        done = run(two, "continue", cwd=there)
        assert (done.returncode, done.stdout) == (0, f"cd {there} && claude --resume {agent.session}\n")
        assert put.read_bytes() == agent.data


def test_in_a_folder_that_is_gone_it_says_so(folder: Path) -> None:
    daemon = Daemon(folder)
    gone = folder / "gone"
    gone.mkdir()
    script = 'rmdir ../gone; exec "$0" -m sessiond restore abc'
    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable],
        env=daemon.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'daemon'}"},
        cwd=gone,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "sessiond: restore_failed: The folder that this runs in is gone."


@pytest.fixture
def stored(folder: Path) -> tuple[Daemon, Agent, Path]:
    """A large session whose file is gone."""
    daemon = Daemon(folder)
    app = project(daemon)
    agent = an_agent(app, *(f"{n} " + "x" * 400_000 for n in range(25)))
    live = transcript(daemon, app, agent)
    live.write_bytes(agent.data)
    done = run(daemon, "sync", "--once")
    assert done.returncode == 0, done.stderr
    live.unlink()
    return daemon, agent, live


def test_a_restore_that_is_killed_leaves_all_or_nothing(stored: tuple[Daemon, Agent, Path]) -> None:
    daemon, agent, live = stored

    def begun() -> set[Path]:
        return set((daemon.agent / "projects").glob(".sessiond-restore-*/*"))

    caught, until = 0, time.monotonic() + 3 * PATIENCE_S
    while caught < 3:  # one that is faster than we is none
        assert time.monotonic() < until, caught
        left = begun()
        process = subprocess.Popen(
            [sys.executable, "-m", "sessiond", "restore", agent.session],
            env=daemon.environ,
            cwd=daemon.home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and time.monotonic() < until:
            if begun() - left:
                caught += 1
                break
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        assert not live.exists() or live.read_bytes() == agent.data
        live.unlink(missing_ok=True)
    old = time.time() - 2 * 86_400
    for folder in (daemon.agent / "projects").glob(".sessiond-restore-*"):
        os.utime(folder, (old, old))
    assert run(daemon, "restore", agent.session).returncode == 0
    assert live.read_bytes() == agent.data
    assert not list((daemon.agent / "projects").glob(".sessiond-restore-*"))


def test_a_disk_without_room_for_it_takes_nothing(stored: tuple[Daemon, Agent, Path]) -> None:
    daemon, agent, live = stored
    live.parent.rmdir()
    mount = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=4m,mode=0700",
        "sessiond-test",
        str(daemon.agent / "projects"),
    ]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk, and not everywhere")
    try:
        done = run(daemon, "restore", agent.session)
        assert done.returncode == 1
        assert "has room for 4,194,304" in done.stderr
        assert "Make room" in done.stderr
        assert list((daemon.agent / "projects").rglob("*")) == []
    finally:
        subprocess.run(["umount", "-l", str(daemon.agent / "projects")], check=True)


def on_a_terminal(daemon: Daemon, typed: str, *arguments: str, cwd: Path) -> tuple[int, str]:
    """Run it where a person sits, who types that when asked; its exit code and the screen."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "sessiond", *arguments],
        env=daemon.environ | {"TERM": "dumb"},
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        screen, answer = b"", typed.encode()
        try:
            while select.select([ours], [], [], PATIENCE_S)[0] and (block := os.read(ours, 65536)):
                screen += block
                if answer and screen.endswith(b": "):
                    os.write(ours, answer)
                    answer = b""
        except OSError:  # Linux says EIO where the other end has gone
            pass
        os.close(ours)
        return process.wait(PATIENCE_S), screen.decode()


def test_a_large_session_shows_how_far_it_is(stored: tuple[Daemon, Agent, Path]) -> None:
    daemon, agent, live = stored
    size = len(agent.data)
    assert size < 16 * 1024 * 1024
    bigger = an_agent(daemon.home / "app", *(f"{n} " + "y" * 400_000 for n in range(45)))
    live.write_bytes(bigger.data)
    assert run(daemon, "sync", "--once").returncode == 0
    live.unlink()
    code, screen = on_a_terminal(daemon, "", "restore", agent.session, cwd=daemon.home)
    assert code == 0
    assert "Restoring" in screen
    assert live.read_bytes() == bigger.data


def test_a_first_backup_shows_how_far_it_is_and_no_line_for_each_session(folder: Path) -> None:
    daemon = Daemon(folder)
    app = project(daemon)
    for _ in range(20):
        agent = an_agent(app)
        live = transcript(daemon, app, agent)
        live.write_bytes(agent.data)
    code, screen = on_a_terminal(daemon, "", "sync", "--once", cwd=daemon.home)
    assert code == 0
    assert "Copying" in screen
    assert "_found" not in screen
    assert "checkpoint_completed" not in screen
    agent.turn("more")
    live.write_bytes(agent.data)
    done = run(daemon, "sync", "--once")
    assert (done.returncode, done.stderr) == (0, "")
    log = folder / "s" / "log" / "sessiond.log"
    assert "checkpoint_completed" in log.read_text(), "what nobody is shown is kept"
    agent.turn("and more")
    live.write_bytes(agent.data)
    assert "session_captured" in run(daemon, "sync", "--once", "--debug").stderr


def test_a_person_is_asked_about_somebody_elses_session_and_which_to_go_on_with(folder: Path) -> None:
    with FakeGitHub() as gh:
        gh.add_repo("o/r", private=True)
        gh.token("T", login="me")
        gh.token("T2", login="ann")
        one = Daemon(folder / "1", CI="true", **gh.settings())
        two = Daemon(folder / "2", SESSIOND_GITHUB_AUTHORS='["me"]', **gh.settings("T2"))
        app, there = project(one), project(two)
        agent = an_agent(app)
        transcript(one, app, agent).write_bytes(agent.data)
        assert run(one, "sync", "--once", "--timeout", "50").returncode == 0
        put = transcript(two, there, agent)
        code, screen = on_a_terminal(two, "n\n", "restore", agent.session, cwd=there)
        assert code == 5
        assert "is me's" in screen
        assert not put.exists()
        code, screen = on_a_terminal(two, "y\n", "restore", agent.session, cwd=there)
        assert code == 0
        assert put.read_bytes() == agent.data
        code, screen = on_a_terminal(two, "\n", "continue", cwd=there)
        assert code == 0
        assert "Which [1]:" in screen
        assert screen.splitlines()[-1] == f"cd {there} && claude --resume {agent.session}"


def event(daemon: Daemon, agent: Agent, path: Path) -> None:
    """The agent's hook at the end of a turn."""
    subprocess.run(
        [sys.executable, "-m", "sessiond", "hook", "Stop"],
        env=daemon.environ,
        input=json.dumps({"session_id": agent.session, "transcript_path": str(path), "cwd": "/"}),
        text=True,
        timeout=30,
        check=True,
    )


@pytest.mark.parametrize("first", ["hook", "capture"])
@pytest.mark.parametrize("there", ["another path", "a path that is another project here"])
def test_a_session_that_goes_on_elsewhere_keeps_its_project_and_its_one_comment(
    folder: Path, first: str, there: str
) -> None:
    with FakeGitHub() as gh:
        gh.add_repo("o/r", private=True)
        gh.token("T", login="me")
        github = gh.settings()
        one, two = (Daemon(folder / n, CI="true", **github) for n in "12")
        app, elsewhere = project(one), project(two, "src/my-clone")
        agent = an_agent(app)
        transcript(one, app, agent).write_bytes(agent.data)
        assert run(one, "sync", "--once", "--timeout", "50").returncode == 0
        shutil.rmtree(app)  # on the second machine there is none
        if there == "a path that is another project here":
            app.mkdir()
            repository(app, "git@github.com:o/another.git")
        done = run(two, "restore", agent.session, "--cwd", str(elsewhere))
        assert done.returncode == 0, done.stderr
        put = transcript(two, elsewhere, agent)
        agent.turn("and on, on the second machine")
        put.write_bytes(agent.data)
        if first == "hook":
            event(two, agent, put)
        done = run(two, "sync", "--once", "--timeout", "50")
        assert done.returncode == 0, done.stderr
        (issue,) = gh.issues.values()
        (comment,) = gh.comments("o/r", issue.number)
        assert "revision=2" in comment.body.splitlines()[0]
        assert (two.mirror / "my-clone" / put.name).read_bytes() == agent.data
        names = json.loads((two.mirror / ".projects.json").read_text())["names"]
        assert names == {"github.com/o/app": "my-clone"}


def test_of_a_session_whose_copies_are_gone_the_best_is_made(folder: Path) -> None:
    with FakeGitHub() as gh, ExitStack() as ends:
        gh.add_repo("o/r", private=True)
        gh.token("T", login="me")
        github = gh.settings()
        daemon = ends.enter_context(Daemon(folder, **github))
        app = project(daemon)
        daemon.start()
        agent = an_agent(app, *(f"Question {n}, about saffron? " + "so " * 2000 for n in range(10)))
        live = transcript(daemon, app, agent)
        live.write_bytes(agent.data)
        poll(lambda: run(daemon, "ctl", "checkpoint", agent.session).returncode == 0)
        assert run(daemon, "ctl", "sync", "--wait").returncode == 0
        poll(lambda: run(daemon, "search", "saffron", "--json").stdout.count('"role": "user"') == 10)
        daemon.stop()
        live.unlink()
        for kept in (daemon.mirror, daemon.vault):
            shutil.rmtree(kept)
        daemon.start()
        done = run(daemon, "ctl", "reconstruct", agent.session, "--dry-run", "--json")
        assert done.returncode == 5, done.stderr
        assert not (folder / "out").exists()
        done = run(daemon, "ctl", "reconstruct", agent.session, "--out", str(folder / "out"), "--json")
        assert done.returncode == 5, done.stderr
        answer = json.loads(done.stdout)
        assert (answer["problems"], answer["path"]) == ([], str(folder / "out"))
        text = (folder / "out" / live.name).read_text()
        assert all(f"question {n} about saffron" in text for n in range(10))
        assert loadable(folder / "out" / live.name) == []
        assert not live.exists()
        done = run(daemon, "ctl", "reconstruct", agent.session, "--out", str(folder / "out"))
        assert done.returncode == 1
        assert "is there already" in done.stderr
        done = run(daemon, "ctl", "reconstruct", agent.session[:8])
        assert done.returncode == 5
        assert "are lost, behind the beginning" in done.stdout
        assert Path(done.stdout.splitlines()[-1], "report.json").is_file()
        assert run(daemon, "ctl", "reconstruct", "nobody").returncode == 4

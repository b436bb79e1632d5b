"""The saves of a session at its hooks, and what may go wrong with one: real hooks, a real daemon, real faults.

The first four are what an older program of this kind was known by, the next five are the rows of its table
of risks.  Where a daemon does not answer, a hook's call takes the time it takes, so those who wait for that
wait side by side.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sessiond.handover import BETWEEN_S, TRIES, TRY_S
from sessiond.hook import COPY_S
from sessionsync.peek import UNKNOWN
from tests.conftest import PATIENCE_S, poll
from tests.daemon import Daemon
from tests.hooked import SID, Agent, answering, logged, run
from tests.rig import append, boundary, line

Wait = Callable[..., None]
WAITS_S = TRIES * TRY_S + BETWEEN_S + PATIENCE_S


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path, SESSIOND_LOG_LEVEL="debug") as it:
        yield it


@pytest.fixture
def agent(daemon: Daemon) -> Agent:
    return Agent(daemon)


def restored(agent: Agent, out: Path) -> bytes:
    """The transcript as the vault gives it back."""
    done = run_command(agent.daemon, "restore", SID, "--from", "vault", "--out", str(out))
    assert done.returncode == 0, done.stderr
    return (out / f"{SID}.jsonl").read_bytes()


def run_command(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sessiond", *arguments],
        env=daemon.environ,
        cwd=daemon.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


# --- those that have to wait


class Slow(NamedTuple):
    """What became of the hooks of three agents."""

    silent: Agent
    frozen: Agent
    thawed: Agent


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slow]:
    """Three hooks at once: at a socket that takes calls and answers none, at a daemon that is frozen, and
    at one that is frozen until the first try has timed out."""
    with (
        Daemon(tmp_path_factory.mktemp("a")) as nobody,
        Daemon(tmp_path_factory.mktemp("b")) as frozen,
        Daemon(tmp_path_factory.mktemp("c")) as thawed,
    ):
        they = Slow(*map(Agent, (nobody, frozen, thawed)))
        for daemon in (frozen, thawed):
            daemon.start()
            os.kill(daemon.pid, signal.SIGSTOP)
        with answering(nobody.socket, [None, None, b""], []):
            for each in they:
                each.say("about to be compacted")
                each.fire("PreCompact", trigger="auto")
            poll(lambda: they.thawed.log("session_save_retried"), WAITS_S)
            os.kill(thawed.pid, signal.SIGCONT)
            poll(lambda: all(each.log("session_saved", "session_save_fell_back") for each in they), WAITS_S)
        yield they
        frozen.kill()  # it hears nothing else


# --- the four


def test_normal_save(agent: Agent, wait_until: Wait, tmp_path: Path) -> None:
    agent.daemon.start()
    agent.say()
    assert agent.fire("stop").stdout == b""
    assert agent.copy.read_bytes() == agent.transcript.read_bytes()
    wait_until(lambda: agent.log("session_saved"))
    assert agent.told() == [("session_save_attempt", 1), ("session_saved", 1)]
    size = agent.transcript.stat().st_size
    (copied,) = agent.log("session_copied")
    assert copied["source_bytes"] == copied["copy_bytes"] == size
    (told,) = agent.log("session_saved")
    assert (told["bytes"], told["trigger"]) == (size, "stop")
    (saved,) = logged(agent.daemon, "session_saved")
    assert (saved["bytes"], saved["trigger"], saved["session"]) == (size, "stop", f"claude:{SID}")
    assert saved["source_bytes"] == saved["copy_bytes"] == saved["seen_bytes"] == size
    assert saved["checkpoint"] == told["checkpoint"]
    assert "stop" in agent.triggers()
    assert restored(agent, tmp_path / "out") == agent.transcript.read_bytes()
    assert not agent.spool.exists()


def test_pre_backup(agent: Agent, wait_until: Wait) -> None:
    """The copy is whole when the hook returns; only then is the daemon asked, which can do nothing yet."""
    agent.daemon.start()
    os.kill(agent.daemon.pid, signal.SIGSTOP)
    try:
        for number in range(200):
            agent.say(f"{number} " + "x" * 5000)
        agent.fire("PreCompact", trigger="auto")
        assert agent.copy.read_bytes() == agent.transcript.read_bytes()
        assert oct(agent.copy.stat().st_mode & 0o777) == "0o600"
        wait_until(lambda: agent.log("session_save_attempt"))
    finally:
        os.kill(agent.daemon.pid, signal.SIGCONT)
    wait_until(lambda: agent.log("session_saved"))
    assert [each["event"] for each in agent.log()] == [
        "session_copied",
        "session_save_attempt",
        "session_saved",
    ]
    copied, _, saved = agent.log()
    assert (copied["bytes"], copied["complete"]) == (agent.transcript.stat().st_size, True)
    assert (saved["bytes"], saved["trigger"]) == (copied["bytes"], "pre-compact")
    assert "pre-compact" in agent.triggers()


def test_retry(slow: Slow) -> None:
    """A daemon that hangs for ten seconds, and then answers."""
    agent = slow.thawed
    assert agent.told() == [
        ("session_save_attempt", 1),
        ("session_save_timed_out", 1),
        ("session_save_retried", 2),
        ("session_save_attempt", 2),
        ("session_saved", 2),
    ]
    (timed_out,) = agent.log("session_save_timed_out")
    assert TRY_S <= timed_out["seconds"] < TRY_S + PATIENCE_S
    assert agent.triggers() == ["pre-compact"]  # what was asked twice was done once
    assert agent.copy.read_bytes() == agent.transcript.read_bytes()
    assert not agent.spool.exists()


def test_full_conversation(agent: Agent, wait_until: Wait, tmp_path: Path) -> None:
    agent.daemon.start()

    def fire(event: str, **more: Any) -> None:
        before = len(agent.log("session_saved"))
        agent.fire(event, **more)
        assert agent.copy.read_bytes() == agent.transcript.read_bytes()
        wait_until(lambda: len(agent.log("session_saved")) > before)

    agent.say("build it")
    agent.say("it is built", "assistant")
    fire("Stop", last_assistant_message="it is built")
    subagent = agent.transcript.with_suffix("") / "subagents" / "agent-7.jsonl"
    subagent.parent.mkdir(parents=True)
    append(subagent, line("user", "look", agent.project, session=SID))
    agent.say("look closer")
    fire("SubagentStop", agent_id="7", agent_transcript_path=str(subagent))
    agent.say("long talk " * 1000)
    fire("PreCompact", trigger="manual")
    append(agent.transcript, boundary(agent.project))
    agent.say("and on")
    fire("Stop")
    agent.say("bye")
    fire("SessionEnd", reason="prompt_input_exit")

    copied = agent.copy.with_suffix("") / "subagents" / "agent-7.jsonl"
    assert copied.read_bytes() == subagent.read_bytes()
    assert {"stop", "subagent-stop", "pre-compact", "session-end"} <= set(agent.triggers())
    assert not agent.log("session_save_failed", "session_copy_failed", "hook_refused")
    assert sorted(agent.mirror.rglob("*.jsonl")) == sorted([agent.copy, copied])
    assert restored(agent, tmp_path / "out") == agent.transcript.read_bytes()
    assert (tmp_path / "out" / SID / "subagents" / "agent-7.jsonl").read_bytes() == subagent.read_bytes()


# --- the risks


def test_exit_without_activity(agent: Agent, wait_until: Wait) -> None:
    """Nothing was said: nothing is copied, asked or complained about.  Nothing new was said: nothing new is kept."""
    agent.daemon.start()
    agent.fire("SessionEnd", reason="other")
    assert [each["event"] for each in agent.log()] == ["hook_ignored"]
    assert not list(agent.mirror.rglob("*.jsonl"))
    assert not agent.spool.exists()
    agent.say()
    agent.fire("Stop")
    wait_until(lambda: agent.log("session_saved"))
    agent.fire("SessionEnd", reason="other")
    wait_until(lambda: len(agent.log("session_saved")) == 2)
    first, second = agent.log("session_saved")
    assert first["checkpoint"] == second["checkpoint"]
    assert agent.log("session_copied")[1]["bytes"] == 0
    assert len(agent.triggers()) == 1


@pytest.mark.parametrize("who", ["silent", "frozen"])
def test_save_times_out(slow: Slow, who: str, wait_until: Wait) -> None:
    agent: Agent = getattr(slow, who)
    assert agent.told() == [
        ("session_save_attempt", 1),
        ("session_save_timed_out", 1),
        ("session_save_retried", 2),
        ("session_save_attempt", 2),
        ("session_save_timed_out", 2),
        ("session_save_failed", 2),
        ("session_save_fell_back", 0),
    ]
    assert all(TRY_S <= each["seconds"] < TRY_S + PATIENCE_S for each in agent.log("session_save_timed_out"))
    assert {each["level"] for each in agent.log("session_save_failed", "session_save_fell_back")} == {
        "warning"
    }
    (fell_back,) = agent.log("session_save_fell_back")
    assert (fell_back["copy"], fell_back["verified"]) == (str(agent.copy), True)
    assert agent.copy.read_bytes() == agent.transcript.read_bytes()
    (waiting,) = agent.spool.glob("*.json")
    assert oct(waiting.stat().st_mode & 0o777) == "0o600"
    assert fell_back["spooled"] == str(waiting)
    if who == "frozen":  # still: else it takes that in itself; so does the next one
        agent.daemon.kill()
        agent.daemon.start()
        wait_until(lambda: not list(agent.spool.iterdir()))
        assert agent.triggers() == ["pre-compact"]


def test_save_crashes(agent: Agent, wait_until: Wait, tmp_path: Path) -> None:
    """The daemon dies in the middle of a save; what the hook leaves is taken in by the next one, once."""
    daemon = agent.daemon
    daemon.start()
    agent.say()
    wait_until(lambda: daemon.ctl("status")["sessions"]["watched"] == 1)
    state = sqlite3.connect(daemon.state)
    state.execute("BEGIN IMMEDIATE")  # nothing can be committed: the save stops where it wants to
    agent.say("the last word")
    agent.fire("PreCompact")
    assert agent.copy.read_bytes() == agent.transcript.read_bytes()
    wait_until(
        lambda: [each for each in logged(daemon, "command_received") if each["command"] == "session_save"]
    )
    assert agent.told() == [("session_save_attempt", 1)]
    daemon.kill()
    state.close()
    wait_until(lambda: agent.log("session_save_fell_back"))
    assert agent.told() == [
        ("session_save_attempt", 1),
        ("session_save_failed", 1),
        ("session_save_retried", 2),
        ("session_save_attempt", 2),
        ("session_save_failed", 2),
        ("session_save_fell_back", 0),
    ]
    (fell_back,) = agent.log("session_save_fell_back")
    assert (fell_back["copy"], fell_back["verified"]) == (str(agent.copy), True)
    assert len(list(agent.spool.glob("*.json"))) == 1
    daemon.start()
    wait_until(lambda: not list(agent.spool.iterdir()))
    assert "pre-compact" in agent.triggers()
    (saved,) = logged(daemon, "session_saved")
    assert (saved["trigger"], saved["copy_bytes"]) == ("pre-compact", agent.transcript.stat().st_size)
    assert restored(agent, tmp_path / "out") == agent.transcript.read_bytes()
    assert agent.asides() == []


def test_copy_corrupted(agent: Agent, wait_until: Wait, tmp_path: Path) -> None:
    """A copy that holds something else is not touched by the hook; the daemon keeps both."""
    agent.say("one")
    agent.fire("Stop")
    whole = agent.copy.read_bytes()
    spoiled = whole[:-5] + b"XXXXX"
    agent.copy.write_bytes(spoiled)
    agent.say("two")
    agent.fire("Stop")
    assert agent.copy.read_bytes() == spoiled
    (failed,) = agent.log("session_copy_failed")
    assert failed["level"] == "warning"
    assert str(agent.copy) in failed["reason"]
    wait_until(lambda: len(agent.log("session_save_fell_back")) == 2)
    fell_back = [(each["copy"], each["verified"]) for each in agent.log("session_save_fell_back")]
    assert sorted(fell_back) == [(str(agent.copy), False), (str(agent.copy), True)]
    agent.daemon.start()
    assert agent.copy.read_bytes() == agent.transcript.read_bytes()
    assert agent.asides() == [b"XXXXX"]
    assert restored(agent, tmp_path / "out") == agent.transcript.read_bytes()


def test_compaction_then_failed_end(agent: Agent, wait_until: Wait, tmp_path: Path) -> None:
    """Saved before the compaction, which rewrites the transcript; at the end nobody answers.  Nothing is lost."""
    daemon = agent.daemon
    daemon.start()
    agent.say("a long story " * 500)
    story = agent.transcript.read_bytes()
    agent.fire("PreCompact")
    wait_until(lambda: agent.log("session_saved"))
    (saved,) = agent.log("session_saved")
    daemon.kill()
    agent.transcript.write_bytes(line("user", "short", agent.project, session=SID))
    agent.fire("SessionEnd")
    assert agent.copy.read_bytes() == story
    wait_until(lambda: agent.log("session_save_fell_back"))
    daemon.start()
    wait_until(lambda: agent.copy.read_bytes() == agent.transcript.read_bytes())
    assert any(story.endswith(aside) and aside for aside in agent.asides())
    assert {"pre-compact", "session-end"} <= set(agent.triggers())
    wait_until(lambda: not list(agent.spool.iterdir()))
    for at, content in ((saved["checkpoint"], story), ("", agent.transcript.read_bytes())):
        out = tmp_path / f"out{at}"
        chosen = ("--at", at) if at else ("--at", daemon.ctl("show", session=SID)["checkpoints"][-1]["id"])
        done = run_command(daemon, "restore", SID, "--from", "vault", *chosen, "--out", str(out))
        assert done.returncode == 0, done.stderr
        assert (out / f"{SID}.jsonl").read_bytes() == content


# --- without a daemon


def test_what_there_was_no_time_for_is_copied_behind_the_agents_back(agent: Agent, wait_until: Wait) -> None:
    """A hook that was frozen for longer than it has, and no daemon to copy the rest."""
    for _ in range(50):
        agent.say("x" * 100_000)
    event = agent.event()
    command = [sys.executable, "-m", "sessiond", "hook", "SessionEnd"]
    hook = subprocess.Popen(command, env=agent.daemon.environ, stdin=subprocess.PIPE)
    assert hook.stdin is not None
    pipe = hook.stdin.fileno()
    os.write(pipe, event[:-1])
    wait_until(lambda: not struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0])
    hook.send_signal(signal.SIGSTOP)
    until = time.monotonic() + COPY_S
    wait_until(lambda: time.monotonic() > until)
    os.write(pipe, event[-1:])
    hook.send_signal(signal.SIGCONT)
    hook.communicate(timeout=PATIENCE_S)
    assert hook.returncode == 0
    wait_until(lambda: agent.log("session_save_fell_back"))
    first, second = agent.log("session_copied")
    assert (first["complete"], second["complete"]) == (False, True)
    assert 0 < first["copy_bytes"] < second["copy_bytes"] == agent.transcript.stat().st_size
    assert agent.copy.read_bytes() == agent.transcript.read_bytes()
    (fell_back,) = agent.log("session_save_fell_back")
    assert (fell_back["copy"], fell_back["verified"]) == (str(agent.copy), True)


def test_a_single_run_takes_in_what_hooks_left(agent: Agent, wait_until: Wait) -> None:
    agent.say()
    agent.fire("PreCompact")
    wait_until(lambda: agent.log("session_save_fell_back"))
    done = run_command(agent.daemon, "sync", "--once")
    assert done.returncode == 0, done.stderr
    assert not list(agent.spool.iterdir())
    (saved,) = logged(agent.daemon, "session_saved")
    assert (saved["trigger"], saved["bytes"]) == ("pre-compact", agent.transcript.stat().st_size)
    agent.daemon.start()
    assert agent.triggers() == ["pre-compact"]


# --- real sessions, growing


def test_real_sessions_are_the_same_bytes_in_every_copy_at_every_step(
    shared: Path, tmp_path: Path, wait_until: Wait
) -> None:
    """A hook that is alone, and a daemon with hooks: two backups of what real agents wrote."""
    with Daemon(tmp_path / "d") as daemon:
        daemon.start()
        alone = tmp_path / "alone"
        environ = {"SESSIOND_HOME": str(tmp_path / "h"), "SESSIOND_BACKUP_MIRROR_DIR": str(alone)}
        chains = sorted((shared / "data" / "transcripts").glob("*/chain-*"))
        assert chains
        for number, chain in enumerate(chains):
            session = f"{number:08x}-58d7-4cf4-9f3f-6a6f5c9c1a11"
            transcript = daemon.agent / "projects" / "-real" / f"{session}.jsonl"
            transcript.parent.mkdir(exist_ok=True)
            for step in sorted(chain.glob("*.jsonl")):
                data = step.read_bytes()
                with transcript.open("ab") as live:
                    live.write(data[live.tell() :])
                assert transcript.read_bytes() == data
                event = json.dumps({"session_id": session, "transcript_path": str(transcript)}).encode()
                before = len(logged(daemon, "session_saved"))
                for env in (environ, {}):
                    assert run(daemon, "Stop", data=event, environ=env).returncode == 0
                wait_until(lambda known=before: len(logged(daemon, "session_saved")) > known)
                for mirror in (alone, daemon.mirror):
                    # what was captured in the middle of a write, before a line names a folder, stays where it is
                    copies = mirror.glob(f"*/{session}.jsonl")
                    (copy,) = (copy for copy in copies if copy.parent.name != UNKNOWN)
                    assert copy.read_bytes() == data
                out = tmp_path / f"out{number}-{step.stem}"
                done = run_command(daemon, "restore", session, "--from", "vault", "--out", str(out))
                assert done.returncode == 0, done.stderr
                assert (out / f"{session}.jsonl").read_bytes() == data

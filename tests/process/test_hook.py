"""`sessiond hook` as an agent runs it: real processes, a real daemon, real trouble."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sessiond.hook import STDIN_S
from sessiond.spool import Save, Spool
from tests.daemon import Daemon
from tests.hooked import SID, Agent, answering, logged, run
from tests.process.user import ordinary

Wait = Callable[..., None]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as it:
        yield it


@pytest.fixture
def agent(daemon: Daemon) -> Agent:
    return Agent(daemon)


def test_what_install_writes_is_what_an_agent_can_run(agent: Agent, wait_until: Wait) -> None:
    """From settings that somebody has written, through the shell that the agent uses, and back to the byte."""
    if not Path(sys.executable).with_name("sessiond").exists():
        pytest.skip("the program is not installed beside this Python")
    settings = agent.daemon.agent / "settings.json"
    settings.write_text(
        '{"model":"opus",\n "hooks": {"Stop": [{"hooks": [{"type": "command", "command": "true"}]}]}}'
    )
    before = settings.read_bytes()

    def hooks(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "sessiond", "hooks", *words],
            env=agent.daemon.environ, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "now" in hooks("install")
    once = settings.read_bytes()
    assert "already" in hooks("install")
    assert settings.read_bytes() == once
    agent.daemon.start()
    for number, event in enumerate(("PreCompact", "Stop", "SubagentStop", "SessionEnd"), start=1):
        agent.say(event)
        handlers = [each for group in json.loads(once)["hooks"][event] for each in group["hooks"]]
        assert handlers[-1]["timeout"] == 30
        assert handlers[-1]["command"].startswith("/")
        for handler in handlers:
            done = subprocess.run(
                ["/bin/sh", "-c", handler["command"]],
                env=agent.daemon.environ, input=agent.event(hook_event_name=event),
                capture_output=True, timeout=30, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert agent.copy.read_bytes() == agent.transcript.read_bytes()
        wait_until(lambda count=number: len(logged(agent.daemon, "session_saved")) == count)
    assert agent.triggers() == ["pre-compact", "stop", "subagent-stop", "session-end"]
    assert "SessionEnd" in hooks("status")
    assert "any more" in hooks("uninstall")
    assert settings.read_bytes() == before


# --- nothing that comes in does harm


def test_names_of_events_are_told_apart_by_letters_alone(agent: Agent, wait_until: Wait) -> None:
    agent.say()
    for given in (
        "STOP",
        "precompact",
        "pre-compact",
        "subagentStop",
        "session-end",
        "Notification",
        "Nonsense",
    ):
        agent.fire(given, session_id="")  # the transcript's path says whose it is
    assert {each["session"] for each in agent.log("session_copied")} == {f"claude:{SID}"}
    wait_until(lambda: len(list(agent.spool.glob("*.json"))) == 5)
    assert sorted(json.loads(file.read_text())["trigger"] for file in agent.spool.glob("*.json")) == [
        "pre-compact",
        "pre-compact",
        "session-end",
        "stop",
        "subagent-stop",
    ]


def test_wrong_arguments_end_with_0(agent: Agent, wait_until: Wait) -> None:
    agent.say()
    for arguments in (
        (),
        ("--nonsense",),
        ("Stop", "more", "--and", "more"),
        ("",),
        ("\udcff",),
        ("--debug",),
        ("Stop", "--", "-h"),
    ):
        assert agent.fire(*arguments, hook_event_name="Notification").stdout == b""
        assert agent.copy.read_bytes() == agent.transcript.read_bytes()
        agent.copy.unlink()
    for words in (
        ("--debug", "hook"),
        ("--debug", "hook", "Stop", "--x"),
        ("hook", "--passthrough=x", "--help"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "sessiond", *words],
            env=agent.daemon.environ, input=b"", capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"\xff\xfe\x00",
        b"{}" * 9,
        b"[" * 200_000,
        b"1" * 10_000,
        b'{"transcript_path": 7}',
        b'{"transcript_path": "\\ud800"}',
        b'{"transcript_path": "/a\\u0000b"}',
        b'{"x": "' + b"y" * (17 * 1024 * 1024) + b'"}',
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_event_is_refused(agent: Agent, data: bytes) -> None:
    agent.say()
    agent.fire("Stop", data=data)
    assert [each["event"] for each in agent.log()] == ["hook_refused"]
    assert not agent.mirror.exists()


def test_paths_are_not_believed(agent: Agent, tmp_path: Path) -> None:
    agent.say()
    folder = agent.transcript.parent
    secret = tmp_path / f"{SID}.jsonl"
    secret.write_bytes(b"{}\n")
    other = "11111111-58d7-4cf4-9f3f-6a6f5c9c1a11"
    (folder / f"{other}.jsonl").symlink_to(secret)
    fifo = "22222222-58d7-4cf4-9f3f-6a6f5c9c1a11"
    os.mkfifo(folder / f"{fifo}.jsonl")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{SID}.jsonl").write_bytes(b"{}\n")
    (folder.parent / "link").symlink_to(elsewhere)
    (folder / "deep").mkdir()
    (folder / "deep" / f"{SID}.jsonl").write_bytes(b"{}\n")
    (folder / "notes.jsonl").write_bytes(b"{}\n")
    (folder / "33333333-58d7-4cf4-9f3f-6a6f5c9c1a11.jsonl").mkdir()
    bad = [
        str(secret),
        f"{folder}/{other}.jsonl",
        f"{folder}/{fifo}.jsonl",
        f"{folder.parent}/link/{SID}.jsonl",
        f"{folder}/deep/{SID}.jsonl",
        f"{folder}/deep/../{SID}.jsonl",
        f"{folder}/notes.jsonl",
        f"{folder}/33333333-58d7-4cf4-9f3f-6a6f5c9c1a11.jsonl",
        f"{folder}/../../../../../../../../etc/passwd",
        "/dev/zero", "/dev/stdin", "relative.jsonl", "", "/", f"{folder}/", "/" + "a" * 5000,
        f"{agent.daemon.agent}/projects/{SID}.jsonl",
    ]  # fmt: skip
    for path in bad:
        agent.fire("Stop", transcript_path=path)
    assert [each["event"] for each in agent.log()] == ["hook_refused"] * len(bad)
    assert not agent.mirror.exists()
    assert not agent.spool.exists()


def test_a_subagents_path_is_not_believed_either(agent: Agent, tmp_path: Path) -> None:
    agent.say()
    folder = agent.transcript.parent
    own = folder / SID / "subagents"
    own.mkdir(parents=True)
    (tmp_path / "secret.jsonl").write_bytes(b"secret")
    (own / "agent-link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    (own / "agent-good.jsonl").write_bytes(b'{"a": 1}\n')
    (folder / "agent-mine.jsonl").write_bytes(f'{{"sessionId": "{SID}"}}\n'.encode())
    (folder / "agent-other.jsonl").write_bytes(b'{"sessionId": "x"}\n')
    for name in (str(tmp_path / "secret.jsonl"), f"{own}/agent-link.jsonl", f"{own}/../../x", f"{folder}/agent-other.jsonl",
                 f"{folder}/agent-mine.jsonl", 7):  # fmt: skip
        agent.fire("Notification", agent_transcript_path=name)
    copies = {
        str(file.relative_to(agent.copy.parent)) for file in agent.copy.parent.rglob("*") if file.is_file()
    }
    assert copies == {f"{SID}.jsonl", f"{SID}/subagents/agent-good.jsonl", f"{SID}/agent-mine.jsonl"}
    assert len(agent.log("hook_refused", "session_copy_failed")) == 5


def test_nothing_is_written_through_a_link(agent: Agent, tmp_path: Path) -> None:
    agent.say()
    target = tmp_path / "target"
    target.mkdir()
    agent.mirror.mkdir()
    (agent.mirror / "app").symlink_to(target)
    agent.fire("Notification")
    assert not list(target.iterdir())
    (agent.mirror / "app").unlink()
    (agent.mirror / "app").mkdir()
    (target / "file").write_bytes(b"")
    agent.copy.symlink_to(target / "file")
    agent.fire("Notification")
    assert (target / "file").read_bytes() == b""
    assert len(agent.log("session_copy_failed")) == 2


def test_a_hook_only_adds(agent: Agent) -> None:
    agent.say("one")
    agent.say("two")
    agent.fire("Notification")
    whole = agent.copy.read_bytes()
    agent.transcript.write_bytes(whole[: len(whole) // 2])
    agent.fire("Notification")
    assert agent.copy.read_bytes() == whole


def test_hooks_at_once_write_one_copy(agent: Agent) -> None:
    for number in range(50):
        agent.say(f"{number} " + "y" * 20_000)
    command = [sys.executable, "-m", "sessiond", "hook", "Notification"]
    running = [
        subprocess.Popen(command, env=agent.daemon.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    for process in running:
        assert process.communicate(agent.event(), timeout=30)[0] == b""
        assert process.returncode == 0
    assert agent.copy.read_bytes() == agent.transcript.read_bytes()
    assert len(list(agent.mirror.rglob("*.jsonl"))) == 1


def test_a_wrong_setting_costs_no_copy(agent: Agent, tmp_path: Path) -> None:
    agent.say()
    (agent.daemon.folder / "s").mkdir()
    kept = tmp_path / "kept"
    (agent.daemon.folder / "s" / "config.toml").write_text(
        f'[nonsense]\nx = 1\n[backup]\nmirror_dir = "{kept}"\n'
    )
    agent.daemon.environ["CLAUDE_CONFIG_DIR"] = str(agent.daemon.agent)
    agent.fire("Notification")
    assert (kept / "app" / f"{SID}.jsonl").read_bytes() == agent.transcript.read_bytes()
    assert len(agent.log("config_refused")) == 1


def test_settings_that_are_wrong_elsewhere_are_told_where_no_daemon_answers(
    agent: Agent, wait_until: Wait
) -> None:
    """They may be why there is none; the copy does not wait for that."""
    agent.say()
    (agent.daemon.folder / "s").mkdir()
    (agent.daemon.folder / "s" / "config.toml").write_text("[nonsense]\nx = 1\n")
    agent.fire("Stop")
    assert agent.copy.read_bytes() == agent.transcript.read_bytes()
    wait_until(lambda: agent.log("config_refused"))
    assert [each["event"] for each in agent.log()][-2:] == ["session_save_fell_back", "config_refused"]
    assert "nonsense" in agent.log("config_refused")[0]["reason"]


def test_a_home_that_cannot_be_costs_no_copy(agent: Agent) -> None:
    agent.say()
    for home in ("relative", "/" + "deep/" * 40, "/a\nb"):
        agent.copy.unlink(missing_ok=True)
        environ = {"SESSIOND_HOME": home}
        done = run(agent.daemon, "Notification", data=agent.event(), environ=environ)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert agent.copy.read_bytes() == agent.transcript.read_bytes()
    log = agent.daemon.home / ".local" / "state" / "sessiond" / "log" / "hook.log"
    assert log.read_text().count('"config_refused"') == 3


# --- backups that cannot be written


@pytest.mark.parametrize("what", ["file", "folder", "read-only", "nobody's"])
def test_backups_that_cannot_be_written_are_said_in_the_log_alone(
    agent: Agent, what: str, wait_until: Wait
) -> None:
    """The daemon is asked all the same, and the event kept: it may be able to do what the hook cannot."""
    agent.daemon.before = ordinary()
    agent.say()
    if what == "file":
        agent.mirror.write_bytes(b"")
    elif what == "folder":
        agent.copy.mkdir(parents=True)
    else:
        agent.mirror.mkdir()
        agent.mirror.chmod(0o500 if what == "read-only" else 0)
    try:
        agent.fire("Stop")
        (failed,) = agent.log("session_copy_failed")
        assert str(agent.mirror) in failed["reason"]
        wait_until(lambda: agent.log("session_save_fell_back"))
        (fell_back,) = agent.log("session_save_fell_back")
        assert (fell_back["copy"], fell_back["verified"]) == ("none", False)
        assert len(list(agent.spool.glob("*.json"))) == 1
    finally:
        agent.mirror.chmod(0o700)


def test_a_small_disk_that_is_full_and_elsewhere(agent: Agent, tmp_path: Path, wait_until: Wait) -> None:
    """Backups on another file system, which has no room: what fits is kept, and the rest as soon as it fits."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "sessiond-test", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk, and not everywhere")
    try:
        agent.daemon.environ["SESSIOND_BACKUP_MIRROR_DIR"] = str(disk / "mirror")
        copy = disk / "mirror" / "app" / agent.copy.name
        agent.say("small")
        agent.fire("Notification")
        assert copy.read_bytes() == agent.transcript.read_bytes()
        for _ in range(40):
            agent.say("x" * 50_000)
        agent.fire("Notification")
        (failed,) = agent.log("session_copy_failed")
        assert "space" in failed["reason"].lower()
        assert agent.transcript.read_bytes().startswith(copy.read_bytes())
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        agent.fire("Notification")
        assert copy.read_bytes() == agent.transcript.read_bytes()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_two_daemons_and_hooks_share_one_backup(tmp_path: Path, wait_until: Wait) -> None:
    """Two homes, one backup: the second daemon says why it does not run, and its hooks still copy."""
    with Daemon(tmp_path / "one") as one, Daemon(tmp_path / "two") as two:
        agent = Agent(one)
        shared = {
            "CLAUDE_CONFIG_DIR": str(one.agent),
            "SESSIOND_BACKUP_MIRROR_DIR": str(one.mirror),
            "SESSIOND_BACKUP_VAULT_DIR": str(one.vault),
        }
        two.environ |= shared
        one.start()
        refused = subprocess.run(
            [sys.executable, "-m", "sessiond", "run"],
            env=two.environ, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert refused.returncode == 75
        assert str(one.vault) in refused.stderr
        command = [sys.executable, "-m", "sessiond", "hook", "Stop"]
        for number in range(5):
            for _ in range(20):
                agent.say(f"{number} " + "y" * 10_000)
            hooks = [
                subprocess.Popen(command, env=environ, stdin=subprocess.PIPE)
                for environ in (one.environ, two.environ, one.environ, two.environ)
            ]
            for hook in hooks:
                hook.communicate(agent.event(), timeout=30)
                assert hook.returncode == 0
            assert agent.copy.read_bytes() == agent.transcript.read_bytes()
        wait_until(lambda: len(logged(one, "session_saved")) == 10)
        assert agent.asides() == []
        assert len(list(one.mirror.rglob("*.jsonl"))) == 1
        assert not agent.log("session_copy_failed")


# --- nothing that is broken is the agent's business


@pytest.mark.parametrize(
    "package", ["raise SystemExit(2)", "import no_such_module", "def broken(", "raise KeyboardInterrupt"]
)
def test_a_broken_installation_is_not_noticed(agent: Agent, tmp_path: Path, package: str) -> None:
    broken = tmp_path / "broken" / "sessionsync"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(package)
    done = run(
        agent.daemon, "Stop", "--passthrough", data=b"\x00data", environ={"PYTHONPATH": str(broken.parent)}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\x00data", b"")
    done = run(agent.daemon, "Stop", "--help", environ={"PYTHONPATH": str(broken.parent)})
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_full_disk_is_not_noticed(agent: Agent) -> None:
    """Files may not grow beyond 64 KB here, which is how a full disk or a quota ends a write."""
    for _ in range(10):
        agent.say("z" * 20_000)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))

    done = run(agent.daemon, "Notification", data=agent.event(), preexec_fn=limit)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    (failed,) = agent.log("session_copy_failed")
    assert str(agent.copy) in failed["reason"]
    agent.fire("Notification")
    assert agent.copy.read_bytes() == agent.transcript.read_bytes()


def test_closed_streams_are_not_noticed(agent: Agent) -> None:
    agent.say()
    for redirect in ("<&-", ">&- <&-", "2>&- >&- <&-", ">&- 2>&-"):
        for more in ("", " --passthrough"):
            command = f"'{sys.executable}' -m sessiond hook Notification{more} {redirect}"
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                env=agent.daemon.environ,
                input=agent.event(),
                check=False,
                timeout=30,
            )
            assert done.returncode == 0
    assert agent.copy.read_bytes() == agent.transcript.read_bytes()


def test_a_reader_that_left_is_not_noticed(agent: Agent) -> None:
    agent.say()
    command = [sys.executable, "-m", "sessiond", "hook", "Notification", "--passthrough"]
    hook = subprocess.Popen(
        command,
        env=agent.daemon.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert hook.stdout is not None
    hook.stdout.close()
    hook.stdout = None
    _, said = hook.communicate(agent.event(), timeout=30)
    assert (hook.returncode, said) == (0, b"")
    assert agent.copy.read_bytes() == agent.transcript.read_bytes()


@pytest.mark.parametrize("data", [b"", b"{}", b"\x00\xff\n" * 100_000, b"x" * (20 * 1024 * 1024)], ids=len)
def test_a_chain_gets_what_came(agent: Agent, data: bytes) -> None:
    assert agent.fire("Stop", "--passthrough", data=data).stdout == data


def reading_for(seconds: float, event: str) -> list[str]:
    """The hook as a command, with so long a time for what is on stdin."""
    program = f"import sys; from sessiond import hook; hook.STDIN_S = {seconds}; hook.run(sys.argv[1:])"
    return [sys.executable, "-c", program, event]


@pytest.mark.parametrize("whole", [True, False], ids=["an event", "half of one"])
def test_stdin_may_stay_open(agent: Agent, whole: bool) -> None:
    """An event that is there is not waited behind, and half of one not for longer than is read at most."""
    agent.say()
    event = agent.event()
    read, write = os.pipe()
    try:
        os.write(write, event if whole else event[:-1])
        done = subprocess.run(
            reading_for(3600.0 if whole else STDIN_S, "Notification"),
            env=agent.daemon.environ, stdin=read, capture_output=True, timeout=30, check=False,
        )  # fmt: skip
    finally:
        os.close(read)
        os.close(write)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    if whole:
        assert agent.copy.read_bytes() == agent.transcript.read_bytes()
    else:
        assert [each["event"] for each in agent.log()] == ["hook_refused"]


def test_stdin_may_be_endless(agent: Agent) -> None:
    """40 MB are read and refused: whoever writes them is not left with a broken pipe."""
    agent.say()
    hook = subprocess.Popen(
        reading_for(3600.0, "Stop"),
        env=agent.daemon.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert hook.stdin is not None
    block = b'{"x": "' + b"y" * (1024 * 1024)
    for _ in range(40):
        hook.stdin.write(block)
    out, err = hook.communicate(timeout=30)
    assert (hook.returncode, out, err) == (0, b"", b"")
    (refused,) = agent.log()
    assert (refused["event"], "longer than" in refused["reason"]) == ("hook_refused", True)
    assert not agent.mirror.exists()


def test_a_descriptor_that_was_left_open_is_not_held(agent: Agent, wait_until: Wait) -> None:
    """A shell in between may leave us one; its reader sees the end when the hook ends, not 20 s later."""
    agent.say()
    read, write = os.pipe()
    with answering(agent.daemon.socket, [None, b'{"checkpoint": "c", "bytes": 1}'], []) as release:
        run(agent.daemon, "Stop", data=agent.event(), pass_fds=(write,))
        os.close(write)
        wait_until(lambda: agent.log("session_save_attempt"))
        os.set_blocking(read, False)
        assert os.read(read, 1) == b""
        release.set()
        wait_until(lambda: agent.log("session_saved"))
    os.close(read)


def test_a_hook_holds_nothing_of_the_agents_when_it_has_ended(agent: Agent, wait_until: Wait) -> None:
    """Its child lives on for seconds where nobody answers; `communicate` would wait for it if it held a pipe."""
    agent.say()
    with answering(agent.daemon.socket, [None, b'{"checkpoint": "c", "bytes": 1}'], []) as release:
        agent.fire("Stop")  # returns only when stdout and stderr are closed by all who had them
        wait_until(lambda: agent.log("session_save_attempt"))
        assert not agent.log("session_saved", "session_save_failed", "session_save_timed_out")
        release.set()
        wait_until(lambda: agent.log("session_saved"))


def test_a_hook_needs_the_standard_library_alone(agent: Agent) -> None:
    agent.say()
    environ = dict(agent.daemon.environ)
    del environ["SESSIOND_HOME"]  # the platform's own places, which take a library elsewhere
    environ |= {"XDG_STATE_HOME": str(agent.daemon.folder), "XDG_CONFIG_HOME": str(agent.daemon.folder)}
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "sessiond", "hook", "Notification"],
        env=environ, input=agent.event(), capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert agent.copy.exists()
    lines = [each.rpartition("|")[2] for each in done.stderr.decode().splitlines()]
    started = next(number for number, each in enumerate(lines) if each.strip() == "sessiond")
    imported = {each.strip().partition(".")[0] for each in lines[started:]}
    assert imported <= sys.stdlib_module_names | {"sessiond", "sessionsync"}
    assert "sessionsync" in imported
    assert not imported & {"ctypes", "lzma", "shutil"}  # each costs as much as the copy


@pytest.mark.parametrize("event", ["Notification", "Stop"])
def test_an_agent_waits_for_few_imports_where_its_session_is_known(
    agent: Agent, wait_until: Wait, event: str
) -> None:
    """`re`, `pathlib`, `typing`, `json`, `hashlib` and `tomllib` take three times as long as all that is left."""
    agent.say()
    agent.fire("Notification")
    settings = agent.daemon.folder / "s" / "config.toml"
    settings.write_text('[github]\nrepo = "owner/name"\n')
    agent.say("more")
    script = (
        "import os, sys; before = {*sys.modules}; detached = None\n"
        "from sessiond import hook\n"
        "fork = hook._detached\n"
        "def told(work): print(*sorted({*sys.modules} - before), file=sys.stderr, flush=True); fork(work)\n"
        "hook._detached = told\n"
        "hook.run(sys.argv[1:])\n"
        "print(*sorted({*sys.modules} - before), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, event],
        env=agent.daemon.environ, input=agent.event(), capture_output=True, timeout=30, check=True,
    )  # fmt: skip
    assert agent.copy.read_bytes() == agent.transcript.read_bytes()
    waited = done.stderr.decode().splitlines()
    assert (
        len(waited) == {"Notification": 1, "Stop": 2}[event]
    )  # the second is of the agent's process, at its end
    imported = set(waited[-1].split())
    assert {name for name in imported if name.startswith("sess")} == {
        *("sessiond", "sessiond.hook", "sessiond.hooklog", "sessiond.plaincopy"),
        *(
            "sessionsync",
            "sessionsync.errors",
            "sessionsync.events",
            "sessionsync.fastjson",
            "sessionsync.peek",
        ),
        *("sessionsync.places", "sessionsync.project_registry", "sessionsync.tombstones"),
        *("sessionsync.vault", "sessionsync.vault.copy", "sessionsync.vault.folder"),
    }
    contextlib = {
        "contextlib",
        "collections",
        "functools",
        "types",
        "operator",
        "itertools",
        "keyword",
        "reprlib",
    }
    under = {"_collections", "_functools", "_operator"}
    in_c = {"_json", "_sha2", "_sha256", "errno", "fcntl", "select"}
    theirs = {name.partition(".")[0] for name in imported} - {"sessiond", "sessionsync"}
    assert theirs <= contextlib | under | in_c | {"__future__"}
    if event == "Stop":
        wait_until(lambda: agent.log("session_save_fell_back"))


# --- the log and the spool are bounded


def test_the_log_is_bounded(tmp_path: Path) -> None:
    from sessiond.hooklog import FILE_BYTES, HookLog

    log = HookLog(tmp_path / "log")
    for number in range(2500):
        log("hook_refused", reason=f"{number} " + "x" * 5000)
    sizes = [file.stat().st_size for file in (tmp_path / "log").iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < FILE_BYTES + 1000
    assert next(log.newest())["reason"].startswith("2499 ")


def test_the_spool_is_bounded_and_holds_events_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", most=20)
    for number in range(25):
        spool.put(Save(SID, "stop", "/t", number))
    assert [save.size for _, save in spool.waiting() if save] == list(range(5, 25))
    for file in (tmp_path / "spool").iterdir():
        file.unlink()
    (tmp_path / "spool" / "1.json").write_text("{")
    (tmp_path / "spool" / "2.json").symlink_to("/etc/passwd")
    (tmp_path / "spool" / "3.json").write_text('{"session": 1, "trigger": "", "transcript": "", "size": 2}')
    (tmp_path / "spool" / "other").write_text("")
    assert [save for _, save in spool.waiting()] == [None, None, None]


def test_the_daemon_drops_what_is_no_event(agent: Agent, wait_until: Wait) -> None:
    agent.spool.mkdir(parents=True)
    (agent.spool / "1.json").write_text("{")
    Spool(agent.spool).put(Save(SID, "stop", "/nowhere", 1))
    Spool(agent.spool).put(Save("../../x", "stop", "/nowhere", 1))
    agent.daemon.start()
    wait_until(lambda: not list(agent.spool.iterdir()))
    assert len(logged(agent.daemon, "spool_event_dropped")) == 3

"""A long backlog shared with other processes: the same copies and rows, whoever is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from sessiond import loops, workers
from sessiond.engine import Engine
from sessiond.loops import CaptureLoop
from sessiond.watcher import Watcher
from sessiond.workers import LIST_SESSIONS, LISTS, Workers
from sessionsync.capture import capture
from sessionsync.catalog import File, Session
from sessionsync.config import load, paths
from sessionsync.errors import AlreadyRunning, CopyError
from sessionsync.model import Ref
from sessionsync.reliability.findings import Findings
from sessionsync.vault import Vault
from tests.bench.usage import children
from tests.conftest import poll
from tests.daemon import Daemon
from tests.rig import Events, append, boundary, line

SESSIONS = 5 * LIST_SESSIONS
# What says when something was looked at, and numbers that are given in the order of that.
WHEN = {
    "id",
    "changed_at",
    "modified_at",
    "dirty_since",
    "checkpoint",
    "checkpoint_at",
    "look_at",
    "unstored_since",
}


def running() -> list[int]:
    """The workers of this process, which may have other children as well."""
    found = []
    for pid in children(os.getpid()):
        with suppress(OSError):  # it may have ended since
            if b"sessiond.worker" in runs(pid):
                found.append(pid)
    return found


def runs(pid: int) -> bytes:
    """What a process runs; one that has just begun says so a moment after its `Popen` is there."""
    while not (said := Path(f"/proc/{pid}/cmdline").read_bytes()):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":  # nor will it ever
            break
    return said


def converse(agent: Path, count: int = SESSIONS) -> list[Path]:
    """Sessions of a few projects, each with a compaction: a checkpoint in the middle of it."""
    found = []
    for number in range(count):
        cwd = agent.parent / "work" / f"app{number % 3}"
        path = agent / "projects" / f"-work-app{number % 3}" / f"{uuid.UUID(int=number + 1, version=4)}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        append(path, line("user", f"Question {number}", cwd), boundary(cwd), line("assistant", "So", cwd))
        os.utime(path, (1_700_000_000 + number,) * 2)
        found.append(path)
    return found


class Place:
    """A home for an engine that backs up the sessions of `agent`."""

    def __init__(self, folder: Path, agent: Path) -> None:
        self.folder, self.agent = folder, agent
        self.mirror, self.vault = folder / "mirror", folder / "vault"
        self.events = Events()
        self.alone = 0
        """How many sessions this process captured itself."""

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """Its engine, which commits what it has at the end."""
        environ = {
            "HOME": str(self.folder),
            "SESSIOND_HOME": str(self.folder / "s"),
            "CLAUDE_CONFIG_DIR": str(self.agent),
            "SESSIOND_BACKUP_MIRROR_DIR": str(self.mirror),
            "SESSIOND_BACKUP_VAULT_DIR": str(self.vault),
        }
        where = paths(environ)
        engine = Engine(environ, load(environ, where.config_file), where, self.events)
        try:
            yield engine
        finally:
            engine.close()

    def back_up(self, engine: Engine, workers: Workers) -> list[CopyError]:
        """Capture everything that differs; returns what could not be."""
        backlog, failed = deque(engine.capture.survey()), list[CopyError]()
        while workers.share(backlog):
            self.alone += 1
            try:
                engine.capture.capture(backlog.popleft(), time.time())
            except CopyError as error:
                failed.append(error)
        engine.capture.checkpoint_all("once", time.time())
        return failed

    def rows(self) -> dict[str, Any]:
        """What the state says of every session and file, as far as it does not depend on when."""
        with self.engine() as engine:
            catalog = engine.catalog
            return {
                session.name: [
                    _lasting(session),
                    *map(_lasting, catalog.files(session.id).values()),
                    *((each.trigger, each.size) for each in catalog.checkpoints(session.id)),
                ]
                for session in catalog.sessions()
            }

    def check(self, transcripts: list[Path]) -> None:
        """See that both copies of each are whole."""
        copies = {path.stem: path.read_bytes() for path in self.mirror.glob("*/*.jsonl") if path.is_file()}
        assert copies == {path.stem: path.read_bytes() for path in transcripts}
        vault = Vault(self.vault)
        kept = {
            ref.session_id: b"".join(
                vault.open(project, ref).read(f"{ref.session_id}.jsonl", 0, len(copies[ref.session_id]))
            )
            for project, ref in vault.sessions()
            if ref.session_id in copies
        }
        assert kept == copies


def _lasting(row: Session | File) -> dict[str, Any]:
    return {key: value for key, value in asdict(row).items() if key not in WHEN}


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    return tmp_path / "claude"


@pytest.mark.parametrize("most", [1, 3])
def test_with_others_it_is_the_same_backup(tmp_path: Path, agent: Path, most: int) -> None:
    transcripts = converse(agent)
    alone, shared = Place(tmp_path / "alone", agent), Place(tmp_path / "shared", agent)
    for place, count in ((alone, 0), (shared, most)):
        with place.engine() as engine, Workers(engine, place.events, count) as others:
            assert not place.back_up(engine, others)
            assert not others.busy
        place.check(transcripts)
    assert alone.alone == SESSIONS
    assert shared.alone < SESSIONS - LIST_SESSIONS
    assert shared.rows() == alone.rows()
    for event in ("session_found", "session_captured", "checkpoint_completed"):
        told = [sorted(each["session"] for each in place.events.named(event)) for place in (alone, shared)]
        assert told[0] == told[1]
    assert not running()  # they end with their work


def long_ones(agent: Path) -> list[Path]:
    """Sessions of which the lines are only skimmed at first."""
    found = converse(agent)
    for path in found:
        append(path, line("user", "Why? " * 10_000, agent), line("assistant", "Decision: so", agent))
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return found


@pytest.mark.parametrize("killed", [False, True])
def test_what_was_skimmed_others_read_as_well(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch, *, killed: bool
) -> None:
    transcripts = long_ones(agent)
    alone, shared = Place(tmp_path / "alone", agent), Place(tmp_path / "shared", agent)
    with monkeypatch.context() as patch, alone.engine() as engine, Workers(engine, alone.events, 0) as none:
        patch.setattr(capture, "MANY_NEW", 10**9)
        assert not alone.back_up(engine, none)
    with shared.engine() as engine, Workers(engine, shared.events, 1) as others:
        assert not shared.back_up(engine, others)
        due = deque(engine.capture.due(time.time()))
        assert len(due) == SESSIONS
        count, read = 0, list[int]()
        while others.share(due):
            read += running()
            if killed and read:
                os.kill(read[0], signal.SIGKILL)
                others.settle(due)
                killed = False
            engine.capture.capture(due.popleft(), time.time())
            count += 1
        engine.capture.flush(time.time())
        assert read
        assert count == SESSIONS if shared.events.named("worker_lost") else count < SESSIONS - LIST_SESSIONS
        assert not engine.capture.due(time.time())
    assert shared.rows() == alone.rows()
    shared.check(transcripts)


def test_they_stay_as_long_as_there_are_lines_to_be_read(tmp_path: Path, agent: Path) -> None:
    place, transcripts = Place(tmp_path, agent), long_ones(agent)
    with place.engine() as engine, Workers(engine, place.events, 1) as others:
        assert not place.back_up(engine, others)
        due = deque(engine.capture.due(time.time()))
        assert others.share(due)
        begun = running()
        assert begun
        others.share(deque())  # till all is done that they have
        assert not others.busy
        assert engine.capture.skimmed
        assert running() == begun
        engine.capture.skimmed.clear()
        others.share(deque())
        assert not running()
    place.check(transcripts)


def test_a_worker_holds_the_vault_as_long_as_it_lives(tmp_path: Path, agent: Path) -> None:
    place = Place(tmp_path, agent)
    converse(agent)
    with ExitStack() as held:
        with place.engine() as engine:
            others = held.enter_context(Workers(engine, place.events, 1))
            backlog = deque(engine.capture.survey())
            assert others.share(backlog)
            handed = others.busy
            while others.busy == handed:
                others._take_in(backlog, None)  # then it has begun
        with pytest.raises(AlreadyRunning), Vault(place.vault).lock():
            pass
    with Vault(place.vault).lock():
        pass


def in_workers(folder: Path, patch: pytest.MonkeyPatch, flush: str) -> None:
    """Let workers flush their plain copies by these lines, which know the true `flush`."""
    lib = folder / "lib"
    lib.mkdir()
    (lib / "sitecustomize.py").write_text(
        "import pathlib, time\n"
        "from sessionsync.vault import Mirror\n"
        "flush = Mirror.flush\n"
        "def other(mirror):\n"
        f"{flush}"
        "Mirror.flush = other\n"
    )
    patch.setenv("PYTHONPATH", str(lib))


def test_a_mistake_while_a_list_is_made_durable_ends_a_worker_at_once(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    place, transcripts = Place(tmp_path, agent), converse(agent)
    in_workers(tmp_path, monkeypatch, "    raise ZeroDivisionError\n")
    with place.engine() as engine, Workers(engine, place.events, 1) as others:
        backlog = deque(engine.capture.survey())
        assert others.share(backlog)  # one list: no other follows that would find out
        others.settle(backlog)
        assert not place.back_up(engine, others)
    (lost,) = place.events.named("worker_lost")
    assert lost["reason"] == "it ended with 1"  # not killed, for being silent
    assert "ZeroDivisionError" in capfd.readouterr().err
    assert place.alone == SESSIONS
    place.check(transcripts)


def test_the_next_list_is_captured_while_one_is_made_durable(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is slow with the first list, until the second is copied."""
    place, transcripts, held = Place(tmp_path, agent), converse(agent), tmp_path / "held"
    in_workers(
        tmp_path,
        monkeypatch,
        f"    while pathlib.Path({str(held)!r}).exists():\n        time.sleep(0.01)\n    return flush(mirror)\n",
    )
    held.touch()
    with place.engine() as engine, Workers(engine, place.events, 1) as others:
        backlog = deque(engine.capture.survey())
        for _ in range(LISTS):
            assert others.share(backlog)
        handed = others.busy
        assert handed == LISTS * LIST_SESSIONS
        poll(lambda: len(list(place.mirror.glob("*/*.jsonl"))) == handed)
        assert not list(place.vault.glob("*/*/journal"))
        assert others.busy == handed
        held.unlink()
        others.settle(backlog)
        assert len(backlog) == SESSIONS - handed
        assert not place.back_up(engine, others)
    place.check(transcripts)


def test_few_sessions_and_what_is_known_already_are_captured_here(tmp_path: Path, agent: Path) -> None:
    place = Place(tmp_path, agent)
    converse(agent, LIST_SESSIONS)
    with place.engine() as engine, Workers(engine, place.events, 1) as others:
        place.back_up(engine, others)
        for path in (known := converse(agent, 2 * LIST_SESSIONS + 1)):
            append(path, line("user", "More", tmp_path))
        place.back_up(engine, others)
        place.alone = 0
        for path in known:
            append(path, line("user", "And more", tmp_path))
        place.back_up(engine, others)
    assert place.alone == len(known)
    place.check(known)


def test_what_a_worker_that_is_killed_had_is_captured_here(tmp_path: Path, agent: Path) -> None:
    place, transcripts = Place(tmp_path, agent), converse(agent)
    with place.engine() as engine, Workers(engine, place.events, 1) as others:
        backlog = deque(engine.capture.survey())
        assert others.share(backlog)
        assert others.busy
        (worker,) = running()
        os.kill(worker, signal.SIGKILL)
        others.settle(backlog)
        assert len(backlog) == SESSIONS
        place.back_up(engine, others)
    (lost,) = place.events.named("worker_lost")  # no other takes its place
    assert lost["reason"] == f"it ended with {-signal.SIGKILL}"
    assert place.alone == SESSIONS
    place.check(transcripts)


@pytest.mark.parametrize("waits", ["settle", "share"])
def test_a_worker_that_does_not_answer_is_waited_for_so_long_and_ended(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch, waits: str
) -> None:
    monkeypatch.setattr(workers, "SILENT_S", 0.5)
    monkeypatch.setattr(workers, "ENDS_S", 0.1)
    place, transcripts = Place(tmp_path, agent), converse(agent)
    with place.engine() as engine, Workers(engine, place.events, 1) as others:
        backlog = deque(engine.capture.survey())
        assert others.share(backlog)
        (worker,) = running()
        os.kill(worker, signal.SIGSTOP)  # as a disk that does not answer stops it
        if waits == "settle":
            others.settle(backlog)
            assert len(backlog) == SESSIONS
        assert not place.back_up(engine, others)
        assert not running()
    (lost,) = place.events.named("worker_lost")
    assert lost["reason"] == f"it ended with {-signal.SIGKILL}"
    place.check(transcripts)


def test_where_no_worker_can_begin_all_is_captured_here(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, transcripts = Place(tmp_path, agent), converse(agent)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))  # as where Python is upgraded
    with place.engine() as engine, Workers(engine, place.events, 2) as others:
        assert not place.back_up(engine, others)
    (lost,) = place.events.named("worker_lost")
    assert lost["reason"] == "it cannot begin: No such file or directory"
    assert place.alone == SESSIONS
    place.check(transcripts)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one core nothing is shared")
def test_those_that_begin_early_are_used_first_and_else_ended(
    tmp_path: Path, agent: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place, transcripts = Place(tmp_path, agent), converse(agent)
    with workers.early(workers.LONG_SESSIONS - 1):
        assert not running()
    with workers.early(workers.LONG_SESSIONS) as begun:
        early = running()
        assert len(early) == len(begun) >= 1
        with place.engine() as engine, Workers(engine, place.events, 1, begun) as others:
            assert others.share(deque(engine.capture.survey()))
            assert others.busy
            assert running() == early
            others.end()
            assert not place.back_up(engine, others)
        assert not begun
    assert not running()
    assert not capfd.readouterr().err  # also of one that is ended before it was told anything
    place.check(transcripts)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one core nothing is shared")
def test_those_that_begin_in_vain_end_before_anything_is_sent(tmp_path: Path, agent: Path) -> None:
    place = Place(tmp_path, agent)
    converse(agent, LIST_SESSIONS)  # as where most of many transcripts are too long to be handed out
    with (
        workers.early(workers.LONG_SESSIONS) as begun,
        place.engine() as engine,
        Workers(engine, place.events, begun=begun) as others,
    ):
        assert running()
        place.back_up(engine, others)
        assert not running()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one core nothing is shared")
def test_what_one_that_died_while_it_began_was_to_have_is_captured_here(tmp_path: Path, agent: Path) -> None:
    place, transcripts = Place(tmp_path, agent), converse(agent)
    with workers.early(workers.LONG_SESSIONS) as begun:
        for worker in running():
            os.kill(worker, signal.SIGKILL)
        with place.engine() as engine, Workers(engine, place.events, 1, begun) as others:
            assert not place.back_up(engine, others)
    (lost,) = place.events.named("worker_lost")
    assert lost["reason"] == f"it ended with {-signal.SIGKILL}"
    assert place.alone == SESSIONS
    place.check(transcripts)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one core nothing is shared")
@pytest.mark.parametrize("error", [KeyboardInterrupt, CopyError])
def test_those_that_begin_early_end_where_the_engine_does_not_begin(error: type[BaseException]) -> None:
    early = []
    with suppress(error), workers.early(workers.LONG_SESSIONS):
        early = running()
        raise error("it cannot be used")
    assert early
    assert not running()


def test_where_only_some_can_begin_no_more_are_tried(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, transcripts = Place(tmp_path, agent), converse(agent, 2 * SESSIONS)
    begin = workers.Worker.__init__

    def one_alone(worker: workers.Worker) -> None:
        if running():
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        begin(worker)

    monkeypatch.setattr(workers.Worker, "__init__", one_alone)
    with place.engine() as engine, Workers(engine, place.events, 2) as others:
        assert not place.back_up(engine, others)
    assert len(place.events.named("worker_lost")) == 1
    place.check(transcripts)


def test_a_worker_of_another_version_hands_nothing_back(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, transcripts = Place(tmp_path, agent), converse(agent)
    monkeypatch.setattr(workers, "__version__", "0")  # what runs is older than what is installed
    with place.engine() as engine, Workers(engine, place.events, 1) as others:
        assert not place.back_up(engine, others)
    assert len(place.events.named("worker_lost")) == 1
    assert place.alone == SESSIONS
    place.check(transcripts)


def test_a_list_is_a_share_of_what_is_left() -> None:
    refs = [Ref("claude", str(number)) for number in range(100 * workers.LIST_SHARE)]
    backlog, sizes = deque(refs), dict.fromkeys(refs, 1)
    lengths = []
    while taken := workers._some(backlog, sizes):
        assert set(taken) == set(refs[len(backlog) :])
        del refs[len(backlog) :]
        lengths.append(len(taken))
    assert lengths == sorted(lengths, reverse=True)
    assert (lengths[0], lengths[-1]) == (100, LIST_SESSIONS)
    assert LIST_SESSIONS <= len(backlog) < 2 * LIST_SESSIONS  # left for who shares


def test_a_list_is_short_where_sessions_are_large(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, transcripts = Place(tmp_path, agent), converse(agent)
    sizes = [path.stat().st_size for path in transcripts]
    monkeypatch.setattr(capture, "TURN_BYTES", max(sizes) - 1)  # some are longer than a turn
    monkeypatch.setattr(workers, "LIST_BYTES", max(sizes))
    with place.engine() as engine, Workers(engine, place.events, 1) as others:
        backlog = deque(engine.capture.survey())
        assert others.share(backlog)
        assert 1 < others.busy <= 2 * LISTS
        assert len(engine.capture.strangers) == sum(size < max(sizes) for size in sizes) - others.busy
        others.settle(backlog)
        assert not place.back_up(engine, others)
    place.check(transcripts)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one core nothing is shared")
def test_what_a_worker_has_when_the_clock_is_set_has_no_time_of_before(tmp_path: Path, agent: Path) -> None:
    place = Place(tmp_path, agent)
    converse(agent)
    with place.engine() as engine:
        watcher = Watcher(list, place.events)
        loop = CaptureLoop(engine, watcher, Findings(), place.events, lambda *_: None, lambda: None)
        loop.turn()
        loop.turn()
        loop._flush(time.monotonic(), force=True)
        assert not engine.capture.unflushed
        now = time.time() - 3600
        loop.clock_set(now, -3600.0)
        assert not engine.capture.unflushed
        sessions = list(engine.catalog.sessions())
        assert len(sessions) > LIST_SESSIONS
        assert all(session.changed_at <= now for session in sessions)
        loop.finish()


def test_who_begins_waits_for_the_workers_of_one_that_was_killed(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, before = Place(tmp_path, agent), ExitStack()
    before.enter_context(Vault(place.vault).lock())
    monkeypatch.setattr(time, "sleep", lambda _seconds: before.close())  # the disk lets go of them
    with place.engine() as engine:
        assert engine.vault.held is not None


def test_what_is_handed_to_a_worker_that_is_gone_comes_back_once(tmp_path: Path, agent: Path) -> None:
    place, transcripts = Place(tmp_path, agent), converse(agent)
    with place.engine() as engine, Workers(engine, place.events, 1) as others:
        backlog = deque(engine.capture.survey())
        others.share(backlog)
        (worker,) = others._workers
        backlog.extend(worker.lists.pop())  # as if it had one list only
        worker.line.close()
        others._hand_out(backlog)
        assert sorted(backlog) == sorted(Ref("claude", path.stem) for path in transcripts)
        assert not others.busy
    assert len(place.events.named("worker_lost")) == 1


def test_a_worker_takes_no_module_from_the_folder_that_it_is_begun_in(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, transcripts = Place(tmp_path, agent), converse(agent)
    (tmp_path / "pickle.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    with place.engine() as engine, Workers(engine, place.events, 1) as others:
        place.back_up(engine, others)
    assert not place.events.named("worker_lost")
    assert place.alone < SESSIONS
    place.check(transcripts)


def test_what_a_worker_cannot_do_is_tried_and_complained_of_here(tmp_path: Path, agent: Path) -> None:
    place, transcripts = Place(tmp_path, agent), converse(agent)
    bad = transcripts.pop(0)  # the oldest is the first that is handed out
    with place.engine() as engine, Workers(engine, place.events, 1) as others:
        for number in range(3):
            (place.mirror / f"app{number}" / bad.name).mkdir(parents=True)
        (failed,) = place.back_up(engine, others)
    assert bad.name in str(failed)
    place.check(transcripts)
    name = str(Ref("claude", bad.stem))
    assert name not in {fields.get("session") for _, fields in place.events.all}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one core nothing is shared")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_worker_ends_with_who_has_begun_it(tmp_path: Path, how: signal.Signals) -> None:
    daemon = Daemon(tmp_path)  # for its folders: none is started
    transcripts = converse(daemon.agent, 1000)
    command = [sys.executable, "-m", "sessiond", "sync", "--once"]
    with subprocess.Popen(
        command, env=daemon.environ, stderr=subprocess.PIPE, process_group=0, text=True
    ) as first:
        poll(lambda: children(first.pid) and any(daemon.vault.glob("*/*/journal")))
        workers = children(first.pid)
        os.killpg(first.pid, how)
        _, said = first.communicate(timeout=60)
    assert first.returncode == (130 if how is signal.SIGINT else -how)
    assert said.strip() == ""
    poll(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    again = subprocess.run(
        command, env=daemon.environ, capture_output=True, text=True, timeout=120, check=True
    )
    assert "1,000 sessions are on this disk twice" in again.stdout
    place = Place(tmp_path, daemon.agent)
    place.mirror, place.vault = daemon.mirror, daemon.vault
    place.check(transcripts)


def test_once_all_is_said_to_be_copied_nothing_is_lost_by_a_kill(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)  # for its folders: none is started
    transcripts = long_ones(daemon.agent)
    command = [sys.executable, "-m", "sessiond", "sync", "--once"]
    with subprocess.Popen(command, env=daemon.environ, stdout=subprocess.PIPE, text=True) as first:
        said = first.stdout
        assert said is not None
        poll(lambda: f"{SESSIONS} sessions are on this disk twice" in said.readline())
        first.kill()
    place = Place(tmp_path, daemon.agent)
    place.mirror, place.vault = daemon.mirror, daemon.vault
    place.check(transcripts)
    vault = Vault(place.vault)
    for project, ref in vault.sessions():
        assert [each.trigger for each in vault.open(project, ref).snapshots()] == ["compaction", "quiet"]
    subprocess.run(command, env=daemon.environ, capture_output=True, timeout=120, check=True)
    with place.engine() as engine:
        summaries = [session.summary for session in engine.catalog.sessions()]
    assert [(each.skimmed, each.critical.decisions) for each in summaries] == [(False, ["so"])] * SESSIONS


def test_copies_of_what_is_new_come_before_its_lines(
    tmp_path: Path, agent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MOST", 0)
    monkeypatch.setattr(loops, "DUE_S", 0.0)
    place = Place(tmp_path, agent)
    long_ones(agent)
    with place.engine() as engine:
        loop = CaptureLoop(
            engine, Watcher(list, place.events), Findings(), place.events, lambda *_: None, lambda: None
        )
        for _ in range(SESSIONS + 1):
            loop.turn()
            loop._flush(time.monotonic(), force=True)
        assert [session.summary.skimmed for session in engine.catalog.sessions()] == [True] * SESSIONS
        for _ in range(2 * SESSIONS):
            loop.turn()
        loop._flush(time.monotonic(), force=True)
        assert [session.summary.skimmed for session in engine.catalog.sessions()] == [False] * SESSIONS
        loop.finish()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one core nothing is shared")
def test_the_daemon_shares_its_first_look_also_after_it_was_killed_in_it(tmp_path: Path) -> None:
    with Daemon(tmp_path, SESSIOND_SOURCES_QUIET_SECONDS="1") as daemon:
        transcripts = converse(daemon.agent, 500)
        daemon.launch()
        poll(lambda: children(daemon.pid) and any(daemon.vault.glob("*/*/journal")))
        workers = children(daemon.pid)
        daemon.kill()
        daemon.start()  # at once
        poll(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
        poll(lambda: len(list(daemon.mirror.glob("*/*.jsonl"))) == 500 and not children(daemon.pid))
        place = Place(tmp_path, daemon.agent)
        place.mirror, place.vault = daemon.mirror, daemon.vault
        poll(lambda: all(any(daemon.vault.glob(f"*/claude.{path.stem}/journal")) for path in transcripts))
        place.check(transcripts)
        append(transcripts[0], line("user", "More", tmp_path))  # one that a worker had
        poll(lambda: b"More" in next(daemon.mirror.glob(f"*/{transcripts[0].name}")).read_bytes())

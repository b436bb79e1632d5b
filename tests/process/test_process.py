"""Folders, lock and socket, with real processes that are killed."""

import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sessiond import client, process
from sessionsync.errors import AlreadyRunning, ConfigError, DaemonNotRunning, NotAllowed
from tests.conftest import PATIENCE_S

ROOT = Path(__file__).parents[2]

HOLDER = """
import sys, signal
from pathlib import Path
from sessiond import process
process.harden()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
with process.hold(Path(sys.argv[1])), process.bound(Path(sys.argv[2])) as listener:
    listener.listen()
    print("held", flush=True)
    signal.sigwait([signal.SIGTERM])
"""


@contextmanager
def holder(lock: Path, name: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock and listens."""
    command = [sys.executable, "-c", HOLDER, str(lock), str(name)]
    other = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        yield other
    finally:
        other.send_signal(signal.SIGCONT)
        other.kill()
        other.wait(PATIENCE_S)
        assert other.stdout is not None
        other.stdout.close()


def test_the_lock_names_who_holds_it_and_ends_with_its_holder(socket_dir: Path) -> None:
    lock, name = socket_dir / "lock", socket_dir / "run" / "ctl.sock"
    with holder(lock, name) as other:
        with pytest.raises(AlreadyRunning, match=f"pid {other.pid}") as refused, process.hold(lock):
            pytest.fail("two hold the lock")
        assert refused.value.exit_code == 75
        assert refused.value.hint
        other.kill()  # no time to tidy up
        other.wait(PATIENCE_S)
        with process.hold(lock):
            assert lock.read_text() == f"{os.getpid()}\n"
    with process.hold(lock), pytest.raises(AlreadyRunning), process.hold(lock):
        pytest.fail("a lock is not held twice by one process either")


def test_a_living_socket_is_left_alone_and_a_dead_ones_place_is_taken(socket_dir: Path) -> None:
    lock, name = socket_dir / "lock", socket_dir / "run" / "ctl.sock"
    with holder(lock, name) as other:
        with pytest.raises(AlreadyRunning), process.bound(name):
            pytest.fail("two listen")
        other.send_signal(signal.SIGSTOP)  # frozen is not dead
        with pytest.raises(AlreadyRunning), process.bound(name):
            pytest.fail("two listen")
        other.send_signal(signal.SIGKILL)
        other.wait(PATIENCE_S)
        assert name.is_socket()
        with pytest.raises(DaemonNotRunning):
            client.request(name, "status")
        with process.bound(name) as listener:
            assert stat.S_IMODE(name.stat().st_mode) == 0o600
            assert stat.S_IMODE(name.parent.stat().st_mode) == 0o700
            listener.listen()
            with socket.socket(socket.AF_UNIX) as visitor:
                visitor.connect(str(name))
        assert not name.exists()


def test_a_clean_end_takes_the_sockets_name_with_it(socket_dir: Path) -> None:
    name = socket_dir / "run" / "ctl.sock"
    with holder(socket_dir / "lock", name) as other:
        other.terminate()
        other.wait(PATIENCE_S)
        assert not name.exists()


def test_the_name_of_somebody_else_stays(socket_dir: Path) -> None:
    name = socket_dir / "ctl.sock"
    with process.bound(name):
        name.unlink()
        theirs = socket.socket(socket.AF_UNIX)
        theirs.bind(str(name))
    assert name.is_socket()
    theirs.close()


def test_what_is_no_socket_is_not_removed(socket_dir: Path) -> None:
    name = socket_dir / "ctl.sock"
    name.write_text("precious")
    with pytest.raises(ConfigError, match="in the way"), process.bound(name):
        pytest.fail("bound")
    assert name.read_text() == "precious"


def test_folders_are_made_private_and_stay_so(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        folder = process.own(tmp_path / "a" / "b")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        folder.chmod(0o755)
        process.own(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file"):
        process.own(tmp_path / "file")
    with pytest.raises(ConfigError):
        process.own(tmp_path / "file" / "below")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_another_users_folder_and_lock_are_refused(tmp_path: Path) -> None:
    folder = process.own(tmp_path / "theirs")
    os.chown(folder, 4321, 4321)
    with pytest.raises(NotAllowed, match="4321") as refused:
        process.own(folder)
    assert refused.value.exit_code == 77


def test_a_lock_is_no_link_to_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(ConfigError), process.hold(tmp_path / "lock"):
        pytest.fail("held")
    assert not (tmp_path / "precious").exists()


def test_no_core_file_and_nothing_for_others() -> None:
    script = (
        "from sessiond import process; process.harden();"
        "import ctypes, os, resource, sys;"
        "print(oct(os.umask(0)), resource.getrlimit(resource.RLIMIT_CORE));"
        "print(sys.platform == 'linux' and ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0] == f"0o77 {(0, 0)}"
    assert done.stdout.splitlines()[1] in {"0", "False"}
    assert resource.getrlimit(resource.RLIMIT_CORE)[1] != 1  # this process keeps its own


def test_who_opens_an_archive_leaves_no_core_file(tmp_path: Path) -> None:
    script = (
        "import contextlib, os, resource; from sessiond import retrieval; from sessionsync.config import load;"
        "from sessionsync.paths import paths; where = paths(os.environ);"
        "config = load(os.environ, where.config_file);"
        "ends = contextlib.ExitStack(); assert retrieval.open_archive(config, where, ends) is not None;"
        "ends.close(); print(resource.getrlimit(resource.RLIMIT_CORE))"
    )
    home = {"HOME": str(tmp_path), "SESSIOND_HOME": str(tmp_path / "s")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **home, "SESSIOND_ARCHIVE_URL": f'"{tmp_path}/archive"'},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{(0, 0)}\n"


def test_the_boot_has_a_name_that_stays() -> None:
    assert process.boot_id() == process.boot_id()
    assert process.boot_id() or sys.platform not in {"linux", "darwin"}

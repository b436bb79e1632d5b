"""Many files are made durable at once, in the order that one by one has; where that is not sure, one by one."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sessionsync.errors import CopyError
from sessionsync.model import Ref
from sessionsync.vault import Mirror, Vault, disk
from sessionsync.vault.folder import MANY

Told = list[str]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """What is asked of the system, in its order."""
    if not disk.is_synced_whole(tmp_path.stat().st_dev):
        pytest.skip("this file system is flushed file by file")
    calls: Told = []
    plain, write = os.fsync, os.pwrite

    def fsync(descriptor: int) -> None:
        calls.append("fsync")
        plain(descriptor)

    def pwrite(descriptor: int, data: bytes, at: int) -> int:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        calls.append("copy" if name.endswith(".jsonl") else name)
        return write(descriptor, data, at)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "pwrite", pwrite)

    def syncfs(_: int) -> int:
        calls.append("syncfs")
        return 0

    calling(monkeypatch, syncfs)
    return calls


def calling(monkeypatch: pytest.MonkeyPatch, call: Callable[[int], int]) -> None:
    monkeypatch.setattr(disk, "_syncfs", call)


def written(vault: Vault, count: int) -> None:
    for number in range(count):
        vault.open("p", Ref("claude", f"s{number}")).append("a", 0, 0, b"data")


def read(folder: Path, count: int) -> list[bytes]:
    sessions = [Vault(folder).open("p", Ref("claude", f"s{number}")) for number in range(count)]
    return [b"".join(session.read("a", 0, session.stored("a")[1])) for session in sessions]


def test_packs_are_durable_before_a_line_is_written_and_lines_before_it_returns(
    tmp_path: Path, told: Told
) -> None:
    vault = Vault(tmp_path)
    with vault.lock():
        told.clear()
        written(vault, MANY)
        vault.flush()
        assert told == ["pack"] * MANY + ["syncfs"] + ["journal"] * MANY + ["syncfs"]
        assert read(tmp_path, MANY) == [b"data"] * MANY


def test_many_copies_cost_one_call(tmp_path: Path, told: Told) -> None:
    mirror = Mirror(tmp_path / "mirror")
    for number in range(MANY):
        ref = Ref("claude", f"s{number}")
        mirror.write(mirror.path_of("p", ref, f"s{number}.jsonl"), 0, b"data")
    assert mirror.flush() == MANY
    assert told == ["copy"] * MANY + ["syncfs"]


def test_the_disk_begins_at_once_with_what_is_long(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = disk._beginning()
    assert begin is not None

    def beginning(descriptor: int, offset: int, size: int, how: int) -> int:
        assert begin(descriptor, offset, size, how) == 0
        told.append(f"begun {size} from {offset}")
        return 0

    monkeypatch.setattr(disk, "_beginning", lambda: beginning)
    mirror, vault, ref = Mirror(tmp_path / "mirror"), Vault(tmp_path / "vault"), Ref("claude", "s")
    long = os.urandom(disk.LONG_BYTES)  # which nothing packs
    with vault.lock():
        told.clear()
        copy = mirror.path_of("p", ref, "s.jsonl")
        mirror.write(copy, 0, long[:-1])
        mirror.write(copy, len(long) - 1, long)
        vault.open("p", ref).append("a", 0, 0, long)
    assert told[:3] == ["copy", "copy", f"begun {len(long)} from {len(long) - 1}"]
    assert [each.split()[0] for each in told[3:5]] == ["pack", "begun"]


def test_a_few_are_made_durable_alone(tmp_path: Path, told: Told) -> None:
    vault = Vault(tmp_path)
    with vault.lock():
        written(vault, MANY - 1)
        vault.flush()
    assert "syncfs" not in told


@pytest.mark.parametrize("fails_at", [1, 2])
def test_where_all_at_once_fails_each_is_tried_alone(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    calls: list[int] = []

    def syncfs(descriptor: int) -> int:
        calls.append(descriptor)
        return -1 if len(calls) == fails_at else 0

    calling(monkeypatch, syncfs)
    vault = Vault(tmp_path)
    with vault.lock():
        told.clear()
        written(vault, MANY)
        vault.flush()
        assert told.count("fsync") >= 2 * MANY
        assert read(tmp_path, MANY) == [b"data"] * MANY


def test_a_disk_that_fails_is_never_believed(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    vault = Vault(tmp_path)
    with vault.lock():
        written(vault, MANY)
        with monkeypatch.context() as patch:
            calling(patch, lambda _: -1)
            patch.setattr(os, "fsync", fsync)
            with pytest.raises(CopyError, match="Input/output error"):
                vault.flush()
        assert read(tmp_path, MANY) == [b""] * MANY
        written(vault, MANY)
        assert vault.flush() == MANY


def test_what_others_have_written_is_not_waited_for(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "meminfo"
    memory.write_text("MemFree:  99 kB\nDirty:     1000000 kB\nWriteback:  100000 kB\n")
    monkeypatch.setattr(disk, "_MEMORY", memory)
    vault = Vault(tmp_path / "vault")
    with vault.lock():
        written(vault, MANY)
        assert vault.flush() == MANY
    assert "syncfs" not in told
    assert read(tmp_path / "vault", MANY) == [b"data"] * MANY


def test_a_folder_on_another_disk_is_made_durable_alone(
    tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = disk.Disk(tmp_path)
    elsewhere = os.open("/proc/self/status", os.O_RDONLY)
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        whole.will_change(here)
        assert whole.sync()
        whole.will_change(elsewhere)
        assert not whole.sync()
        whole.rest()
        whole.will_change(here)
        assert whole.sync()
    finally:
        whole.rest()
        os.close(here)
        os.close(elsewhere)

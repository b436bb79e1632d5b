"""Full, failing, read-only and lying disks; kills at every call; single bits that flip."""

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from sessionsync.errors import CopyError, CopyMismatch, DiskFull
from sessionsync.model import Ref
from sessionsync.vault import Mirror, SessionVault, StoredFile, Vault
from sessionsync.vault.journal import Fork, Removal, Segment, Snapshot, decode
from tests.bench.corpus import session_bytes
from tests.faults.crashes import stated

REF = Ref("claude", "s")
OTHER = Ref("claude", "t")
AT = 1_767_600_000.0
ROOT = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "vault"


@pytest.fixture
def vault(folder: Path) -> Iterator[Vault]:
    vault = Vault(folder)
    with vault.lock():
        yield vault


def snap(session: SessionVault, name: str, *files: StoredFile) -> None:
    session.snapshot(id=name, at=AT, trigger="quiet", alias="", files=files, meta={})


def read(session: SessionVault, file: StoredFile) -> bytes:
    return b"".join(session.read(file.name, file.generation, file.length, root=file.root))


# --- kills and power cuts


@pytest.mark.parametrize("story", ["vault", "mirror"])
@pytest.mark.parametrize("way", ["kill", "power"])
def test_whatever_dies_when_what_was_acknowledged_is_there(way: str, story: str) -> None:
    if way == "power" and not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell which file a descriptor is")
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        command = [sys.executable, "-m", "tests.faults.crashes", way, story, folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 90


# --- full disks


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(place: Path, options: str = "size=1m") -> Iterator[Path]:
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "sessiond-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk, and not everywhere")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_an_append_that_does_not_fit_leaves_all_as_it_was(vault: Vault, folder: Path) -> None:
    session = vault.open("app", REF)
    first, second = random.Random(1).randbytes(5000), random.Random(2).randbytes(50_000)
    session.append("a", 0, 0, first)
    vault.flush()
    pack = folder / "app" / "claude.s" / "pack"
    before = pack.read_bytes()
    with no_file_over(20_000), pytest.raises(CopyError) as caught:
        session.append("a", 0, 5000, second)
    assert str(pack) in str(caught.value)
    assert caught.value.hint
    assert pack.read_bytes() == before
    assert session.stored("a") == (0, 5000)
    session.append("a", 0, 5000, second)
    vault.flush()
    assert b"".join(session.read("a", 0, 55_000)) == first + second


def test_a_flush_that_does_not_fit_stores_nothing(vault: Vault, folder: Path) -> None:
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"abc")
    snap(session, "1", stated("a", 0, b"abc"))
    vault.flush()
    journal = folder / "app" / "claude.s" / "journal"
    before = journal.read_bytes()
    session.append("a", 0, 3, b"def")
    session.snapshot(
        id="2", at=AT, trigger="quiet", alias="", files=[stated("a", 0, b"abcdef")], meta={"x": "y" * 9000}
    )
    with no_file_over(4000), pytest.raises(CopyError):
        vault.flush()
    assert journal.read_bytes() == before
    assert (session.stored("a"), [s.id for s in session.snapshots()]) == ((0, 3), ["1"])
    session.append("a", 0, 3, b"def")
    snap(session, "2", stated("a", 0, b"abcdef"))
    vault.flush()
    assert [read(session, session.files(name)["a"]) for name in ("1", "2")] == [b"abc", b"abcdef"]


def test_a_mirror_write_that_does_not_fit_can_be_repeated(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror")
    path = mirror.path_of("app", REF, "s.jsonl")
    data = random.Random(3).randbytes(50_000)
    with no_file_over(20_000), pytest.raises(CopyError):
        mirror.write(path, 0, data)
    assert data.startswith(mirror.read(path, 0, 99_999))
    mirror.write(path, 0, data)
    assert path.read_bytes() == data


def test_a_copy_is_only_cut_when_all_of_it_was_set_aside(tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror")
    path = mirror.path_of("app", REF, "s.jsonl")
    data = random.Random(4).randbytes(50_000)
    mirror.write(path, 0, data)
    with no_file_over(20_000), pytest.raises(CopyError):
        mirror.set_aside(path, 100, AT)
    assert path.read_bytes() == data
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    aside = mirror.set_aside(path, 100, AT)
    assert aside is not None
    assert aside.read_bytes() == data[100:]


def test_a_disk_runs_full_and_is_freed(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        vault, chunk = Vault(disk / "vault"), 64 * 1024
        data = random.Random(5).randbytes(40 * chunk)
        with vault.lock():
            session = vault.open("app", REF)
            filler = disk / "filler"
            filler.write_bytes(bytes(300_000))

            def fill() -> None:
                for begin in range(0, len(data), chunk):
                    session.append("a", 0, begin, data[begin : begin + chunk])
                    vault.flush()

            with pytest.raises(DiskFull, match="space"):
                fill()
            generation, stored = session.stored("a")
            assert (generation, stored % chunk) == (0, 0)
            assert stored > 0
            mirror = Mirror(disk / "mirror")
            path = mirror.path_of("app", REF, "s.jsonl")
            with pytest.raises(DiskFull) as caught:
                mirror.write(path, 0, data)
            assert "space" in caught.value.hint
            filler.unlink()
            (disk / "mirror").rename(disk / "gone")
            shutil.rmtree(disk / "gone")
            session.append("a", 0, stored, data[stored : stored + chunk])
            vault.flush()
            assert b"".join(session.read("a", 0, stored + chunk)) == data[: stored + chunk]


def test_a_read_only_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        vault, mirror = Vault(disk / "vault"), Mirror(disk / "mirror")
        path = mirror.path_of("app", REF, "s.jsonl")
        mirror.write(path, 0, b"abc")
        with vault.lock():
            vault.open("app", REF).append("a", 0, 0, b"abc")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(DiskFull):
            mirror.write(path, 3, b"d")
        with pytest.raises(DiskFull):
            mirror.set_aside(path, 1, AT)
        with pytest.raises(DiskFull), vault.lock():
            pass
        assert mirror.read(path, 0, 3) == b"abc"
        assert b"".join(vault.open("app", REF).read("a", 0, 3)) == b"abc"


# --- no right to write

UNPRIVILEGED = """
import os, sys
from pathlib import Path
from sessionsync.errors import CopyError, DiskFull
from sessionsync.model import Ref
from sessionsync.vault import Mirror, Vault
folder, ref = Path(sys.argv[1]), Ref("claude", "s")
Vault(folder), Mirror(folder)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
mirror = Mirror(folder / "mirror")
path = mirror.path_of("app", ref, "s.jsonl")
def lock():
    with Vault(folder / "vault").lock():
        pass
for write in (lambda: mirror.write(path, 3, b"d"), lambda: mirror.set_aside(path, 1, 0.0), lock,
              lambda: Mirror(folder / "new").write(folder / "new" / "x", 0, b"")):
    try:
        write()
    except DiskFull:
        print("full")
    except CopyError as problem:
        print(problem.code, problem.hint)
    else:
        print("written")
print(mirror.read(path, 0, 3))
"""


def test_without_the_right_to_write_nothing_is_written() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mirror" / "app").mkdir(parents=True)
        (folder / "vault").mkdir()
        (folder / "mirror" / "app" / "s.jsonl").write_bytes(b"abc")
        entries = [folder, *folder.rglob("*")]
        for entry in entries:
            entry.chmod(0o444 if entry.is_file() else 0o555)
            if os.geteuid() == 0:
                os.chown(entry, 65534, 65534)
        command = [sys.executable, "-c", UNPRIVILEGED, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        assert done.stderr == ""
        refused = "copy_failed The folder and what is in it must belong to this user."
        assert done.stdout.splitlines() == [refused] * 4 + ["b'abc'"]
        assert [folder, *folder.rglob("*")] == entries
        for entry in entries:
            entry.chmod(0o755)


# --- failing disks


def test_a_failed_fsync_is_never_believed(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    session = vault.open("app", REF)
    plain, failing = os.fsync, True

    def fsync(descriptor: int) -> None:
        if failing:
            raise OSError(errno.EIO, "Input/output error")
        plain(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    session.append("a", 0, 0, b"abc")
    with pytest.raises(CopyError, match="Input/output error") as caught:
        vault.flush()
    assert "disk fails" in caught.value.hint
    assert session.stored("a") == (0, 0)
    failing = False
    assert vault.flush() == 0
    session.append("a", 0, 0, b"abc")
    assert vault.flush() == 1
    assert b"".join(session.read("a", 0, 3)) == b"abc"


@pytest.mark.parametrize("which", ["pack", "journal"])
def test_one_session_fails_and_the_others_are_stored(vault: Vault, folder: Path, which: str) -> None:
    good, bad = vault.open("app", OTHER), vault.open("app", REF)
    for session in (good, bad):
        session.append("a", 0, 0, b"abc")
    vault.flush()
    for session in (bad, good):
        session.append("a", 0, 3, b"def")
    file = folder / "app" / "claude.s" / which
    file.rename(file.with_name("away"))
    file.mkdir()
    with pytest.raises(CopyError, match=r"claude\.s"):
        vault.flush()
    file.rmdir()
    file.with_name("away").rename(file)
    assert (good.stored("a"), bad.stored("a")) == ((0, 6), (0, 3))
    bad.append("a", 0, 3, b"def")
    vault.flush()
    assert b"".join(bad.read("a", 0, 6)) == b"abcdef"


def test_a_failed_flush_of_the_mirror_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = Mirror(tmp_path / "mirror")
    path = mirror.path_of("app", REF, "s.jsonl")
    mirror.write(path, 0, b"abc")

    def fsync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(CopyError, match="Input/output error"):
            mirror.flush()
    mirror.write(path, 0, b"abcdef")
    assert mirror.flush() == 1


def test_what_is_read_back_differs(vault: Vault, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A disk, or another program, that turns what was written into something else."""
    plain = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: plain(fd, bytes(255 - x for x in data), at))
    session, mirror = vault.open("app", REF), Mirror(tmp_path / "mirror")
    with pytest.raises(CopyMismatch):
        session.append("a", 0, 0, b"abc")
    with pytest.raises(CopyMismatch):
        mirror.write(mirror.path_of("app", REF, "s.jsonl"), 0, b"abc")
    monkeypatch.undo()
    assert session.stored("a") == (0, 0)
    session.append("a", 0, 0, b"abc")
    vault.flush()
    assert b"".join(session.read("a", 0, 3)) == b"abc"


# --- bits flip


def test_a_flipped_bit_is_never_given_out_and_costs_no_more_than_it_hit(tmp_path: Path) -> None:
    rng = random.Random(20_260_105)
    folder = tmp_path / "vault"
    contents = grown(folder)
    place = folder / "app" / "claude.s"
    plain = {name: (place / name).read_bytes() for name in ("pack", "journal")}
    entries = [decode(line) for line in plain["journal"].splitlines()]
    assert read_all(folder, contents) == {(name, file) for name, files in contents.items() for file in files}
    hidden = 0
    for _ in range(400):
        name = rng.choice(["pack", "journal"])
        position, bit = rng.randrange(len(plain[name])), rng.randrange(8)
        damaged = bytearray(plain[name])
        damaged[position] ^= 1 << bit
        (place / name).write_bytes(damaged)
        readable = read_all(folder, contents)
        hit = hit_by(name, position, plain["journal"], entries)
        must = {(number, file) for number, files in contents.items() for file in files}
        must = {(number, file) for number, file in must if file not in hit and number not in hit}
        assert readable >= must, f"bit {bit} of byte {position} of {name}"
        hidden += readable == read_all_of(contents)
        (place / name).write_bytes(plain[name])
    assert hidden < 40, "nearly every flip is seen at once"


def grown(folder: Path) -> dict[str, dict[str, bytes]]:
    """A vault with a history; returns its checkpoints."""
    vault, contents, files = Vault(folder), dict[str, dict[str, bytes]](), dict[str, tuple[int, bytes]]()
    with vault.lock():
        session = vault.open("app", REF)
        session.describe(first_seen=AT, project_key="k", meta={})
        for number in range(8):
            for name in ("a", "b", f"c{number}"):
                generation, data = files.get(name, (0, b""))
                if name == "b" and data:
                    generation, data = generation + 1, data[:200]
                    session.fork(name, generation, generation - 1, 200)
                more = session_bytes(number, 3000)
                session.append(name, generation, len(data), more)
                files[name] = (generation, data + more)
            snap(session, str(number), *(stated(name, *file) for name, file in files.items()))
            contents[str(number)] = {name: data for name, (_, data) in files.items()}
            vault.flush()
    return contents


def read_all(folder: Path, contents: dict[str, dict[str, bytes]]) -> set[tuple[str, str]]:
    """Every file of every checkpoint that reads; what reads is right."""
    session, readable = Vault(folder).open("app", REF), set()
    for snapshot in session.snapshots():
        for name, file in session.files(snapshot.id).items():
            try:
                data = read(session, file)
            except CopyMismatch:
                continue
            assert data == contents[snapshot.id][name]
            readable.add((snapshot.id, name))
    return readable


def read_all_of(contents: dict[str, dict[str, bytes]]) -> set[tuple[str, str]]:
    return {(number, file) for number, files in contents.items() for file in files}


def hit_by(name: str, position: int, journal: bytes, entries: Sequence[object]) -> set[str]:
    """The files, or the checkpoint, that a damaged byte may cost."""
    if name == "pack":
        return {e.file for e in entries if isinstance(e, Segment) and e.at <= position < e.packed_end}
    first = journal[:position].count(b"\n")
    hit: set[str] = set()
    # a newline that flips joins two lines
    for entry in entries[first : first + (2 if journal[position : position + 1] == b"\n" else 1)]:
        match entry:
            case Segment() | Fork() | Removal():
                hit.add(entry.file)
            case Snapshot():
                hit.add(entry.id)
            case _:
                pass
    return hit

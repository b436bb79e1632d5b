"""Hashes of files as a record lists them, also after a restart."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sessionsync import sha256
from sessionsync.digests import Digests
from sessionsync.model import FileEntry
from sessionsync.privacy.gate import Gate
from sessionsync.vault.pack import Unpacker
from tests.bench.corpus import session_bytes
from tests.rig import Rig, append, line

BYTES = 600_000
# What is read to go on: one segment of the vault, packed, and the lines of its journal.
AGAIN = 64 * 1024
SECRET = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bD1fG3hJ5"

has_library = pytest.mark.skipif(
    sha256._library() is None, reason="this Python does not show OpenSSL's older functions"
)


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python whose OpenSSL shows nothing: no hash can be put down."""
    monkeypatch.setattr(sha256, "_library", lambda: None)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of what is read of files."""
    lengths: list[int] = []
    pread = os.pread

    def counted(descriptor: int, size: int, at: int) -> bytes:
        data = pread(descriptor, size, at)
        lengths.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counted)
    return lengths


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of what is read from the vault."""
    lengths: list[int] = []
    unpack = Unpacker.unpack

    def counted(self: Unpacker, frame: bytes, length: int) -> bytes:
        lengths.append(length)
        return unpack(self, frame, length)

    monkeypatch.setattr(Unpacker, "unpack", counted)
    return lengths


def long_one(rig: Rig) -> Path:
    """A session with a checkpoint, without a secret, of several segments."""
    path = rig.home.transcript()
    path.write_bytes(session_bytes(1, BYTES, session_id=path.stem, cwd=str(rig.home.project)))
    rig.scan()
    rig.wait(300)
    return path


def entry(rig: Rig, path: Path) -> FileEntry:
    """What the record lists, by a process that has just started."""
    session = rig.catalog.resolve(path.stem)
    vault = rig.vault.open(session.project or "", session.stored_as)
    found = Digests(rig.store, Gate(redact=True), rig.mirror).of(session, vault, vault.files()[path.name])
    assert found.entry.size == path.stat().st_size
    return found.entry


def digest(rig: Rig, path: Path) -> str | None:
    """The hash in the record, by a process that has just started."""
    return entry(rig, path).sha256


def redacted(path: Path) -> str:
    """The hash of what may leave of it."""
    return hashlib.sha256(Gate(redact=True).data(path.name, path.read_bytes())[0]).hexdigest()


def says_more(rig: Rig, path: Path, text: str = "more") -> None:
    append(path, line("user", text, rig.home.project, session=path.stem))
    rig.scan()
    rig.wait(300)


def copy_of(rig: Rig, path: Path) -> Path:
    return next(rig.home.mirror.rglob(path.name))


def flipped(copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    data[1000] ^= 1
    copy.write_bytes(data)


@has_library
def test_after_a_restart_what_was_hashed_is_not_read(rig: Rig, unpacked: list[int], read: list[int]) -> None:
    path = long_one(rig)
    assert digest(rig, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sum(unpacked) >= BYTES // 2
    says_more(rig, path)
    unpacked.clear()
    read.clear()
    assert digest(rig, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert 0 < sum(unpacked) < 1000
    assert sum(read) < AGAIN


@has_library
def test_after_a_restart_it_goes_on_behind_a_secret(rig: Rig, unpacked: list[int], read: list[int]) -> None:
    path = long_one(rig)
    says_more(rig, path, f"export GITHUB_TOKEN={SECRET}")
    for text in ("more", f"and again {SECRET}"):
        found = entry(rig, path)
        assert (found.sha256, found.stored_sha256) == (None, redacted(path))
        says_more(rig, path, text)
        unpacked.clear()
        read.clear()
    found = entry(rig, path)
    assert (found.sha256, found.stored_sha256) == (None, redacted(path))
    assert 0 < sum(unpacked) < 1000
    assert sum(read) < AGAIN


@has_library
def test_what_was_put_down_is_believed_by_its_hash_alone(rig: Rig, unpacked: list[int]) -> None:
    path = long_one(rig)
    digest(rig, path)
    rig.store.execute("UPDATE digests SET state = zeroblob(112)")
    unpacked.clear()
    assert digest(rig, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not sum(unpacked)  # the plain copy has the bytes of that hash


@has_library
def test_what_has_not_changed_is_not_written_again(rig: Rig) -> None:
    path = long_one(rig)
    digest(rig, path)
    heard: list[str] = []
    rig.store._connection.set_trace_callback(heard.append)
    digest(rig, path)
    rig.store._connection.set_trace_callback(None)
    assert {statement[:6] for statement in heard} == {"SELECT"}


@pytest.mark.usefixtures("hidden")
def test_where_no_hash_can_be_put_down_only_what_is_new_is_unpacked(rig: Rig, unpacked: list[int]) -> None:
    path = long_one(rig)
    assert digest(rig, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sum(unpacked) >= BYTES // 2
    says_more(rig, path)
    unpacked.clear()
    assert digest(rig, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert 0 < sum(unpacked) < 1000
    says_more(rig, path, f"export GITHUB_TOKEN={SECRET}")
    for _ in range(2):
        found = entry(rig, path)
        assert (found.sha256, found.stored_sha256) == (None, redacted(path))


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize("hurt", [flipped, Path.unlink, lambda copy: copy.write_bytes(b"")])
def test_a_copy_that_is_not_what_it_was_is_not_believed(
    rig: Rig, unpacked: list[int], hurt: Callable[[Path], object]
) -> None:
    path = long_one(rig)
    digest(rig, path)
    hurt(copy_of(rig, path))
    unpacked.clear()
    assert digest(rig, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sum(unpacked) >= BYTES // 2


def test_a_file_that_was_written_anew_is_hashed_anew(rig: Rig) -> None:
    path = long_one(rig)
    digest(rig, path)
    path.write_bytes(session_bytes(2, BYTES // 2, session_id=path.stem, cwd=str(rig.home.project)))
    rig.scan()
    rig.wait(300)
    assert digest(rig, path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_of_a_file_that_is_written_anew_again_and_again_one_hash_is_kept(rig: Rig) -> None:
    path = long_one(rig)
    digests = Digests(rig.store, Gate(redact=True), rig.mirror)
    for number in range(3):
        path.write_bytes(session_bytes(number, 20_000, session_id=path.stem, cwd=str(rig.home.project)))
        rig.scan()
        rig.wait(300)
        session = rig.catalog.resolve(path.stem)
        vault = rig.vault.open(session.project or "", session.stored_as)
        found = digests.of(session, vault, vault.files()[path.name])
        assert found.entry.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(digests._running) == 1

"""Hashes of files as a record lists them, also after a restart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from sessionsync.digests import Digests
from sessionsync.privacy.gate import Gate
from sessionsync.vault.pack import Unpacker
from tests.bench.corpus import session_bytes
from tests.rig import Rig, append, line

BYTES = 600_000


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


def digest(rig: Rig, path: Path) -> str | None:
    """The hash in the record, by a process that has just started."""
    session = rig.catalog.resolve(path.stem)
    vault = rig.vault.open(session.project or "", session.stored_as)
    found = Digests(rig.store, Gate(redact=True), rig.mirror).of(session, vault, vault.files()[path.name])
    assert found.entry.size == path.stat().st_size
    return found.entry.sha256


def copy_of(rig: Rig, path: Path) -> Path:
    return next(rig.home.mirror.rglob(path.name))


def flipped(copy: Path) -> None:
    data = bytearray(copy.read_bytes())
    data[1000] ^= 1
    copy.write_bytes(data)


def test_after_a_restart_only_what_is_new_is_unpacked(rig: Rig, unpacked: list[int]) -> None:
    path = long_one(rig)
    assert digest(rig, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sum(unpacked) >= BYTES // 2
    append(path, line("user", "more", rig.home.project, session=path.stem))
    rig.scan()
    rig.wait(300)
    unpacked.clear()
    assert digest(rig, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert 0 < sum(unpacked) < 1000


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

"""The archive: what is committed, pushed and read back, with a real git and a real repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.archive import Elsewhere, Shipper, contents, every_object, refs_of, run_git, with_archive
from tests.rig import Home, Rig, append, line

SID = "3f0c9f8a-0000-4000-8000-000000000001"
SECRET = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"


@pytest.fixture
def place(tmp_path: Path) -> Home:
    return Home(tmp_path / "one")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive.git"


@pytest.fixture
def rig(place: Home, archive: Path) -> Iterator[Rig]:
    made = Rig(place, settings=with_archive(place.config(), archive))
    yield made
    made.close()


@pytest.fixture
def shipper(rig: Rig) -> Iterator[Shipper]:
    made = Shipper(rig)
    yield made
    made.close()


@pytest.fixture
def elsewhere(tmp_path: Path, rig: Rig) -> Iterator[Elsewhere]:
    made = Elsewhere(tmp_path / "elsewhere", rig.config)
    yield made
    made.close()


def grow(rig: Rig, path: Path, *lines: bytes) -> None:
    """Add lines and let the quiet make a checkpoint of them."""
    append(path, *lines)
    rig.scan()
    rig.wait(130)


def said(text: str, rig: Rig) -> bytes:
    return line("user", text, rig.home.project, session=SID)


def test_every_checkpoint_reaches_the_archive_and_comes_back_byte_for_byte(
    rig: Rig, shipper: Shipper, elsewhere: Elsewhere, archive: Path
) -> None:
    path = rig.home.transcript(SID)
    states = []
    for number in range(4):
        grow(rig, path, *(said(f"turn {number} {word} " * 40, rig) for word in ("one", "two")))
        states.append(path.read_bytes())
        if number != 1:  # one that goes together with the next
            shipper.drain()
    assert list(refs_of(archive)) == [f"refs/sessiond/claude/{SID}/0a1b2c3d"]
    versions = elsewhere.versions(SID, rig.now)
    assert [contents(version)[f"{SID}.jsonl"] for version in versions] == states
    known = rig.catalog.checkpoints(rig.session().id)
    assert [version.manifest.checkpoint.id for version in versions] == [point.id for point in known]
    assert not [item for item in rig.queue.items() if item.operation == "archive"]
    run_git(archive, "fsck", "--strict")


def test_what_the_gate_takes_out_is_in_no_object(
    rig: Rig, shipper: Shipper, elsewhere: Elsewhere, archive: Path
) -> None:
    path = rig.home.transcript(SID)
    grow(rig, path, said(f"my token is {SECRET}", rig), said("and this is harmless", rig))
    shipper.drain()
    grow(rig, path, said(f"again {SECRET}", rig), b'{"torn": "' + SECRET.encode() + b" and mo")
    shipper.drain()
    objects = every_object(archive)
    assert any(b"[REDACTED:" in data for data in objects.values())
    assert not any(SECRET.encode() in data for data in objects.values())
    newest = elsewhere.versions(SID, rig.now)[-1]
    (file,) = newest.files()
    assert not file.exact
    assert contents(newest)[file.name] == shipper_redacts(path.read_bytes())


def shipper_redacts(data: bytes) -> bytes:
    from sessionsync.privacy.gate import Gate

    return Gate().data("x.jsonl", data)[0]

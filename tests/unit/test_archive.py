"""The archive: what is committed, pushed and read back, with a real git and a real repository."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from sessionsync.errors import (
    ArchiveTooNew,
    CopyMismatch,
    NoSuchCopy,
    RepositoryMissing,
    RestoreError,
    Unreachable,
)
from sessionsync.model import Ref
from sessionsync.privacy.gate import Gate
from sessionsync.remote.archive import cache
from sessionsync.remote.archive.address import Address
from sessionsync.remote.archive.cache import Cache, tidy
from sessionsync.remote.archive.git import Git
from sessionsync.remote.archive.ledger import CURRENT
from sessionsync.remote.archive.tree import Line, Segments, name_of, unpack
from sessionsync.restore import KeptShelf, Known, MirrorShelf, OutTarget, Shelf, Shelves, VaultShelf
from sessionsync.restore.archived import ArchiveShelf
from sessionsync.upkeep import Upkeep
from sessionsync.vault.pack import Packer
from tests.archive import (
    SID,
    Elsewhere,
    Shipper,
    contents,
    every_object,
    grow,
    refs_of,
    run_git,
    said,
    sha,
    with_archive,
)
from tests.fakes.git_host import GitHost
from tests.rig import Home, Rig, append, line

EMPTY = hashlib.sha256().hexdigest()
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


def test_a_segment_with_other_bytes_than_its_name_says_is_damage() -> None:
    packed = Segments().pack(b"what was stored")
    other = Segments().pack(b"what was forged")
    stored = Line(0, 15, name_of(packed))
    assert unpack(packed, stored, "it") == b"what was stored"
    for blob, told in ((other, stored), (packed, stored._replace(length=14)), (packed[:-1], stored)):
        with pytest.raises(CopyMismatch):
            unpack(blob, told, "it")


def test_segments_of_another_file_do_not_make_this_one(
    rig: Rig, shipper: Shipper, elsewhere: Elsewhere
) -> None:
    grow(rig, rig.home.transcript(SID), said("one", rig))
    shipper.drain()
    (version,) = elsewhere.versions(SID, rig.now)
    (file,) = version.files()
    assert b"".join(version.read(file))
    for wrong in (replace(file, root=EMPTY), replace(file, length=file.length - 1), replace(file, pages=2)):
        with pytest.raises(CopyMismatch):
            b"".join(version.read(wrong))


def shipper_redacts(data: bytes) -> bytes:
    return Gate().data("x.jsonl", data)[0]


# --- what a checkpoint costs


def test_a_turn_of_20_kb_in_a_session_of_20_mb_sends_less_than_40_kb(place: Home, tmp_path: Path) -> None:
    chance = random.Random(7)
    words = [
        "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(4000)
    ]

    def turn(size: int) -> bytes:
        lines = b""
        while len(lines) < size:
            lines += line("assistant", " ".join(chance.choices(words, k=120)), place.project, session=SID)
        return lines

    block = turn(1 << 20)
    with GitHost(tmp_path / "repos", token="T") as host:
        host.make("o/r")
        rig = Rig(place, settings=with_archive(place.config(), host.url("o/r")))
        shipper = Shipper(rig, token=lambda: "T")
        path = place.transcript(SID)
        path.write_bytes(turn(1000) + b"".join(block.replace(b"msg_", b"m%02d_" % n) for n in range(20)))
        assert path.stat().st_size > 20 << 20
        rig.scan()
        rig.wait(130)
        shipper.drain()
        for restarted in (False, True):
            if restarted:
                shipper.close()
                shipper = Shipper(rig, token=lambda: "T")
            host.received.clear()
            grow(rig, path, turn(20_000))
            shipper.drain()
            sent = sum(size for _, size in host.received)
            assert 0 < sent < 40_000, (restarted, host.received)
        other = Elsewhere(tmp_path / "elsewhere", rig.config, token=lambda: "T")
        newest = other.versions(SID, rig.now)[-1]
        (file,) = newest.files()
        assert newest.digest(file) == sha(path.read_bytes())
        biggest = max(
            int(row.split()[1])
            for row in run_git(
                host.folder / "o" / "r.git",
                "cat-file",
                "--batch-all-objects",
                "--batch-check=%(objecttype) %(objectsize)",
            )
            .decode()
            .splitlines()
        )
        assert biggest <= 1 << 20
        other.close()
        shipper.close()
        rig.close()


class CountingGate(Gate):
    """Counts the bytes of files that it is given."""

    seen = 0

    def data(self, name: str, data: bytes) -> tuple[bytes, int]:
        self.seen += len(data)
        return super().data(name, data)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("word", ["harmless", SECRET], ids=["clean", "redacted"])
def test_an_append_reads_what_was_appended(rig: Rig, shipper: Shipper, restarted: bool, word: str) -> None:
    path = rig.home.transcript(SID)
    grow(rig, path, *(said(f"{number} {word} " * 50, rig) for number in range(200)))
    shipper.drain()
    if restarted:
        shipper.close()
        shipper = Shipper(rig)
    gate = CountingGate()
    shipper.archiving._branches._gate = gate
    turn = said("and one more", rig)
    grow(rig, path, turn)
    shipper.drain()
    assert gate.seen == len(turn)
    shipper.close()


# --- folding


def test_idle_refs_of_dead_machines_are_folded_and_restored(
    rig: Rig, shipper: Shipper, archive: Path, tmp_path: Path
) -> None:
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(300)]
    states = {}
    for sid in ids:
        path = rig.home.transcript(sid)
        append(path, line("user", f"this is {sid}", rig.home.project, session=sid))
        states[sid] = path.read_bytes()
    rig.scan()
    rig.wait(130)
    shipper.drain()
    assert len(refs_of(archive)) == 300
    rig.now += 31 * 86_400
    living = line("user", "this one lives", rig.home.project, session=ids[0])
    grow(rig, rig.home.transcript(ids[0]), living)
    shipper.archiving.care.fold_later(rig.now)
    shipper.drain()

    folder = tmp_path / "runner"  # another machine, which never saw any of them
    runner = Elsewhere(folder, rig.config)
    folded = []
    while more := runner.cold.fold(runner.host, rig.now):
        folded += more
    assert len(folded) == 299
    left = refs_of(archive)
    assert len(left) == 2, "the cold ref, and that of the session that lives"
    for sid in (ids[0], ids[1], ids[299]):
        versions = runner.versions(sid, rig.now)
        assert contents(versions[-1])[f"{sid}.jsonl"] == states[sid] + (living if sid == ids[0] else b"")
    run_git(archive, "fsck", "--strict", "--connectivity-only")
    assert not runner.cold.fold(runner.host, rig.now)
    runner.close()

    # the machine they are of notices, sends nothing twice, and goes on with one of them
    rig.now += 3700
    shipper.drain()
    assert not rig.events.named("archive_lost")
    append(rig.home.transcript(ids[5]), line("user", "awake again", rig.home.project, session=ids[5]))
    rig.scan()
    rig.wait(130)
    shipper.drain()
    assert len(refs_of(archive)) == 3
    other = Elsewhere(tmp_path / "third", rig.config)
    assert contents(other.versions(ids[5], rig.now)[-1])[f"{ids[5]}.jsonl"] == (
        rig.home.transcript(ids[5]).read_bytes()
    )
    other.close()


def test_what_a_clock_far_ahead_has_folded_does_not_hide_what_is_folded_after_it(
    rig: Rig, shipper: Shipper, archive: Path, tmp_path: Path
) -> None:
    path = rig.home.transcript(SID)
    with closing(Elsewhere(tmp_path / "runner", rig.config)) as runner:
        for number, ahead in enumerate([3650 * 86_400, 0]):
            grow(rig, path, line("user", f"turn {number}", rig.home.project, session=SID))
            shipper.archiving.care.fold_later(rig.now)
            shipper.drain()
            rig.now += 31 * 86_400
            assert len(runner.cold.fold(runner.host, rig.now + ahead)) == 1
    assert all("/cold/" in ref for ref in refs_of(archive))
    with closing(Elsewhere(tmp_path / "third", rig.config)) as other:
        assert contents(other.versions(SID, rig.now)[-1])[path.name] == path.read_bytes()


@pytest.mark.parametrize("filters", [False, True], ids=["plain", "with filters"])
def test_folding_needs_nothing_special_of_a_host(place: Home, tmp_path: Path, filters: bool) -> None:
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(3)]
    with GitHost(tmp_path / "repos", token="T") as host:
        repo = host.make("o/r", **({"uploadpack_allowFilter": "true"} if filters else {}))
        rig = Rig(place, settings=with_archive(place.config(), host.url("o/r")))
        shipper = Shipper(rig, token=lambda: "T")
        for _ in range(2):
            for sid in ids:
                words = random.Random(sid).randbytes(40_000).hex()  # nothing in it is like anything else
                append(rig.home.transcript(sid), line("user", words, place.project, session=sid))
            rig.scan()
            rig.wait(130)
            shipper.drain()
        rig.now += 31 * 86_400
        runner = Elsewhere(tmp_path / "runner", rig.config, token=lambda: "T")
        assert len(runner.cold.fold(runner.host, rig.now)) == len(ids)
        assert len(refs_of(repo)) == 1
        shipper.archiving.care.fold_later(rig.now)
        shipper.drain()  # it learns that its refs were folded
        host.received.clear()
        grow(rig, rig.home.transcript(ids[1]), line("user", "awake", place.project, session=ids[1]))
        shipper.drain()
        assert len(refs_of(repo)) == 2
        assert sum(size for path, size in host.received if path.endswith("receive-pack")) < 20_000
        versions = runner.versions(ids[1], rig.now)
        assert contents(versions[-1])[f"{ids[1]}.jsonl"] == rig.home.transcript(ids[1]).read_bytes()
        assert len(versions) == 3
        for closing in (runner, shipper, rig):
            closing.close()


def test_a_ref_that_moves_while_it_is_folded_stays(
    rig: Rig, shipper: Shipper, archive: Path, tmp_path: Path
) -> None:
    path = rig.home.transcript(SID)
    grow(rig, path, said("one", rig))
    shipper.drain()
    (ref,) = refs_of(archive)
    rig.now += 31 * 86_400
    runner = Elsewhere(tmp_path / "runner", rig.config)
    push = runner.host.push

    def slow(*arguments: Any, **options: Any) -> Any:
        grow(rig, path, said("two", rig))
        shipper.archiving.care.fold_later(rig.now)
        shipper.drain()
        return push(*arguments, **options)

    runner.host.push = slow  # type: ignore[method-assign]
    assert not runner.cold.fold(runner.host, rig.now)
    assert list(refs_of(archive)) == [ref]
    assert contents(runner.versions(SID, rig.now)[-1])[f"{SID}.jsonl"] == path.read_bytes()
    runner.close()


# --- what waits for the archive


def test_what_the_archive_lacks_is_not_let_go_of(rig: Rig, shipper: Shipper, elsewhere: Elsewhere) -> None:
    path = rig.home.transcript(SID)
    rig.store.set_meta(CURRENT, shipper.address.id)
    states = []
    for number in range(8):
        grow(rig, path, said(f"turn {number}", rig))
        states.append(path.read_bytes())
        if number == 2:
            shipper.drain()
    rig.now += 40 * 86_400
    keeping = Upkeep(
        catalog=rig.catalog,
        queue=rig.queue,
        mirror=rig.mirror,
        vault=rig.vault,
        sources=rig.sources,
        keep_checkpoints=2,
        write=lambda work: work(rig.now),
        store_anew=rig.capture.store_anew,
        recall=rig.capture.recall,
        emit=rig.events,
    )
    session = rig.session()
    assert len(keeping.forget(session)) == 3, "those that are in the archive, and no other"
    shipper.drain()
    assert [contents(version)[f"{SID}.jsonl"] for version in elsewhere.versions(SID, rig.now)] == states
    assert keeping.forget(rig.session()), "and now the others"


# --- reading what is not as it should be


def shelf(place: Elsewhere, now: float) -> ArchiveShelf:
    return ArchiveShelf(place.reader, now)


KNOWN = Known(Ref("claude", SID), SID)


def forge(archive: Path, tmp_path: Path, files: dict[str, bytes], ref: str) -> str:
    """A commit that no sessiond of this version would make, forced into the archive."""
    address = Address(str(archive), archive)
    cache = Cache(tmp_path / "forger.git", Git(address, dict(os.environ), tmp_path / "git"))
    with cache.writing() as writer:
        changes = [(path, writer.blob(data)) for path, data in files.items()]
        commit = writer.commit(ref, "", 1_800_000_000, "forged", changes)
    cache.publish()
    cache.close()
    run_git(cache.folder, "push", "-q", "--force", str(archive), f"{commit}:{ref}")
    return commit


def test_a_newer_schema_is_said_to_be_newer(
    rig: Rig, shipper: Shipper, elsewhere: Elsewhere, archive: Path, tmp_path: Path
) -> None:
    grow(rig, rig.home.transcript(SID), said("one", rig))
    shipper.drain()
    (ref,) = refs_of(archive)
    forge(archive, tmp_path, {"manifest.json": b'{"schema": 99, "all": "different"}'}, ref)
    with pytest.raises(ArchiveTooNew, match="schema 99; this sessiond reads up to 1") as raised:
        shelf(elsewhere, rig.now).copies(KNOWN)
    assert "Update sessiond" in raised.value.hint


def test_a_ref_that_was_forced_is_read_as_it_is_and_not_written_over(
    rig: Rig, shipper: Shipper, elsewhere: Elsewhere, archive: Path, tmp_path: Path
) -> None:
    path = rig.home.transcript(SID)
    grow(rig, path, said("one", rig))
    shipper.drain()
    (ref,) = refs_of(archive)
    manifest = {
        "schema": 1,
        "session_id": SID,
        "source": "claude",
        "machine": "0a1b2c3d",
        "checkpoint": {"id": "20270101T000000Z", "at": "2027-01-01T00:00:00Z"},
    }
    forged = forge(archive, tmp_path, {"manifest.json": json.dumps(manifest).encode()}, ref)
    assert [copy.checkpoint for copy in shelf(elsewhere, rig.now).copies(KNOWN)] == ["20270101T000000Z"]
    grow(rig, path, said("two", rig))
    shipper.drain()
    assert refs_of(archive)[ref] == forged
    assert rig.events.named("machine_renamed")
    newest = Elsewhere(tmp_path / "third", rig.config)
    copies = shelf(newest, rig.now).copies(KNOWN)
    assert [size.size for copy in copies for size in copy.files()][-1] == path.stat().st_size
    newest.close()


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"manifest.json": b""},
        {"manifest.json": b"[]"},
        {"manifest.json": b'{"schema": 1, "session_id": "another", "source": "claude"}'},
        {"manifest.json": b"{" * 100_000},
        {"manifest.json": b" " * (2 << 20)},
    ],
    ids=["nothing", "empty", "a list", "another's", "deep", "huge"],
)
def test_damage_is_told_and_the_versions_before_it_are_there(
    rig: Rig,
    shipper: Shipper,
    elsewhere: Elsewhere,
    archive: Path,
    tmp_path: Path,
    broken: dict[str, bytes],
) -> None:
    ref = f"refs/sessiond/claude/{SID}/ffffffff"
    grow(rig, rig.home.transcript(SID), said("one", rig))
    shipper.drain()
    forge(archive, tmp_path, broken | {"x": b"x"}, ref)
    copies = shelf(elsewhere, rig.now).copies(KNOWN)
    assert [copy.machine for copy in copies] == ["0a1b2c3d"]
    run_git(archive, "update-ref", "-d", f"refs/sessiond/claude/{SID}/0a1b2c3d")
    alone = Elsewhere(tmp_path / "alone", rig.config)
    with pytest.raises(CopyMismatch, match="damaged or missing"):
        shelf(alone, rig.now).copies(KNOWN)
    alone.close()


def test_names_that_lead_out_of_the_session_are_not_followed(
    rig: Rig, shipper: Shipper, elsewhere: Elsewhere, archive: Path, tmp_path: Path
) -> None:
    manifest = {
        "schema": 1,
        "session_id": SID,
        "source": "claude",
        "machine": "ffffffff",
        "checkpoint": {"id": "x", "at": "2027-01-01T00:00:00Z"},
        "files": [
            {"number": 0, "name": "../../.bashrc", "role": "main", "length": 0, "root": EMPTY, "pages": 0}
        ],
    }
    grow(rig, rig.home.transcript(SID), said("one", rig))
    shipper.drain()
    forge(
        archive,
        tmp_path,
        {"manifest.json": json.dumps(manifest).encode()},
        f"refs/sessiond/claude/{SID}/ffffffff",
    )
    copy = shelf(elsewhere, rig.now).copies(KNOWN)[-1]
    with pytest.raises(RestoreError, match="cannot lie in a session"):
        OutTarget(tmp_path / "out").puts(copy.files())


def test_an_archive_that_is_empty_or_gone_holds_nothing(
    rig: Rig, elsewhere: Elsewhere, archive: Path, tmp_path: Path
) -> None:
    with pytest.raises(RepositoryMissing):
        shelf(elsewhere, rig.now).copies(KNOWN)
    run_git(tmp_path, "init", "-q", "--bare", str(archive))
    assert shelf(elsewhere, rig.now).copies(KNOWN) == []
    assert shelf(elsewhere, rig.now).named(SID) is None
    shelves = Shelves([shelf(elsewhere, rig.now)])
    with pytest.raises(NoSuchCopy):
        shelves.choose(KNOWN, origin="archive")


def test_a_place_that_is_not_set_up_is_refused_with_those_that_are(rig: Rig, tmp_path: Path) -> None:
    here: list[Shelf] = [
        MirrorShelf(rig.mirror, rig.vault),
        VaultShelf(rig.vault),
        KeptShelf(tmp_path / "vault"),
    ]
    with pytest.raises(NoSuchCopy, match="from archive: it is not set up") as raised:
        Shelves(here).copies(KNOWN, "archive")
    assert raised.value.hint == "Without it there are: mirror, vault."


def test_a_folder_that_is_not_there_is_made_by_the_first_push_whatever_was_looked_after_before(
    rig: Rig, shipper: Shipper, archive: Path
) -> None:
    shipper.drain()
    rig.now += 2 * 86_400
    shipper.drain()
    assert shipper.archiving.uplink.pause is None
    assert not rig.events.named("archive_upkeep_failed")
    assert not archive.exists()
    grow(rig, rig.home.transcript(SID), said("one", rig))
    shipper.drain()
    assert list(refs_of(archive)) == [f"refs/sessiond/claude/{SID}/0a1b2c3d"]


def test_a_folder_with_something_else_in_it_is_left_alone(rig: Rig, shipper: Shipper, archive: Path) -> None:
    archive.mkdir()
    (archive / "letter.txt").write_text("dear sir")
    grow(rig, rig.home.transcript(SID), said("one", rig))
    shipper.step()
    assert shipper.archiving.uplink.pause is not None
    assert "not empty" in shipper.archiving.uplink.pause.message
    assert [file.name for file in archive.iterdir()] == ["letter.txt"]


def test_what_a_killed_git_has_left_is_removed_when_packs_become_few(
    rig: Rig, shipper: Shipper, archive: Path
) -> None:
    grow(rig, rig.home.transcript(SID), said("hello", rig))
    shipper.drain()
    left, running = (archive / "objects" / "pack" / f"tmp_pack_{name}" for name in ("old", "new"))
    for file in (left, running):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"half")
    os.utime(left, (left.stat().st_mtime - 100_000,) * 2)
    tidy(Git(Address(str(archive), archive), os.environ, rig.home.state / "git"), archive)
    assert not left.exists()
    assert running.exists()
    run_git(archive, "fsck", "--strict")


def test_packs_become_few_also_where_something_is_always_due(
    rig: Rig, shipper: Shipper, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MANY_PACKS", 4)
    path, packs = rig.home.transcript(SID), rig.home.state / "archive.git" / "objects" / "pack"
    for number in range(12):
        grow(rig, path, said(str(number), rig))
        assert shipper.step()
        assert not shipper.step()  # too soon for another push
        assert len(list(packs.glob("*.pack"))) < 5
        assert len(list(packs.glob("*.keep"))) < 5
    assert len(run_git(archive, "rev-list", "--all").splitlines()) == 12


def test_what_is_begun_after_the_end_ends_as_well(tmp_path: Path) -> None:
    git = Git(Address(str(tmp_path / "archive"), tmp_path / "archive"), dict(os.environ), tmp_path / "git")
    git.abort()
    with pytest.raises(Unreachable, match="left in the middle"):
        git.run(["version"])


def test_once_all_is_committed_nothing_is_held_that_only_compressing_needs(
    rig: Rig, shipper: Shipper, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Packer] = []
    pack = Packer.pack

    def noted(self: Packer, data: bytes) -> bytes:
        used.append(self)
        return pack(self, data)

    monkeypatch.setattr(Packer, "pack", noted)
    grow(rig, rig.home.transcript(SID), said("a turn " * 100, rig))
    captured = set(map(id, used))
    shipper.drain()
    assert {id(packer) for packer in used} > captured, "the archive has its own"
    assert not [packer for packer in used if packer._short._free or packer._alone._free]

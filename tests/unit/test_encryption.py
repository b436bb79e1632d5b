"""The archive encrypted: what leaves, who can read it, and what is said to those who cannot."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zstandard

from sessionsync import age
from sessionsync.config import Config, load
from sessionsync.errors import ArchiveSealed, CopyMismatch, IdentityUnusable, NoSuchCheckpoint, ServerFailed
from sessionsync.model import Ref, rfc3339, unix_seconds
from sessionsync.privacy.gate import Gate
from sessionsync.privacy.scan import scan
from sessionsync.privacy.seal import Seal, Unseal, identities, is_sealed, make_identity, recipient_of
from sessionsync.remote.archive.host import Host
from sessionsync.remote.archive.ledger import Ledger
from sessionsync.remote.archive.pushed import Pushed
from sessionsync.remote.archive.tree import BLOB_BYTES, Line, Segments, name_of, opened, unpack
from sessionsync.restore import Known, Shelves
from sessionsync.restore.archived import ArchiveShelf
from tests.archive import (
    SID,
    Elsewhere,
    Shipper,
    contents,
    grow,
    objects_of,
    refs_of,
    run_git,
    said,
    with_archive,
)
from tests.rig import Home, Rig, line, write

SECRET = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"


class Keys:
    """Identity files, and their recipients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> Path:
        file = self.folder / name
        if not file.exists():
            make_identity(file)
        return file

    def to(self, *names: str) -> tuple[str, ...]:
        return tuple(recipient_of(self(name)) for name in names)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "archive.git"


Machine = Callable[..., tuple[Rig, Shipper]]


@pytest.fixture
def machine(tmp_path: Path, archive: Path, keys: Keys) -> Iterator[Machine]:
    """A machine that writes to recipients, and need not be able to read."""
    ends: list[Any] = []

    def make(*to: str, home: Home | None = None) -> tuple[Rig, Shipper]:
        place = home or Home(tmp_path / "one")
        rig = Rig(place, settings=with_archive(place.config(), archive, encrypt_to=keys.to(*to)))
        shipper = Shipper(rig)
        ends.extend((shipper, rig))
        return rig, shipper

    yield make
    for end in ends:
        end.close()


@pytest.fixture
def reader(tmp_path: Path, archive: Path, keys: Keys) -> Iterator[Callable[..., Elsewhere]]:
    """A machine that has nothing but the address, and an identity or none."""
    made: list[Elsewhere] = []

    def make(name: str = "") -> Elsewhere:
        identity = keys(name) if name else None
        config = with_archive(Config(), archive, identity_file=identity)
        made.append(Elsewhere(tmp_path / f"elsewhere-{len(made)}", config))
        return made[-1]

    yield make
    for each in made:
        each.close()


# --- what leaves


def test_nothing_leaves_in_clear_and_every_recipient_gets_the_exact_bytes(
    machine: Machine, reader: Callable[..., Elsewhere], archive: Path
) -> None:
    rig, shipper = machine("ann", "bob")
    path = rig.home.transcript(SID)
    beside = path.parent / SID / "tool-results" / "quarterly-figures.txt"
    beside.parent.mkdir(parents=True)
    states = []
    for number in range(3):
        beside.write_text(f"result {number} with {SECRET}\n" * 50)
        grow(rig, path, said(f"A very particular title {number}: {SECRET}", rig), said("so " * 2000, rig))
        states.append(
            {
                path.name: path.read_bytes(),
                f"{SID}/tool-results/quarterly-figures.txt": beside.read_bytes(),
            }
        )
        shipper.drain()
    write(rig.home.structured("plan"), [("context.json", b'{"decisions": ["an unusual decision"]}')])
    rig.scan()
    rig.wait(130)
    shipper.drain()

    objects = list(objects_of(archive))
    blobs = [data for _, kind, data in objects if kind == "blob"]
    assert len(blobs) > 10
    assert all(is_sealed(data) for data in blobs)
    project = Path(rig.home.project).name
    for word in (SECRET, "particular", "unusual", "quarterly", "laptop", str(rig.home.project), project, SID):
        assert not any(word.encode() in data for *_, data in objects), word
    for name in ("ann", "bob"):
        versions = reader(name).versions(SID, rig.now)
        assert [contents(version) for version in versions] == states
        assert all(file.exact for version in versions for file in version.files())
        assert versions[-1].manifest.title.startswith("A very particular title")
    run_git(archive, "fsck", "--strict")


def test_an_id_that_holds_a_secret_is_a_name_in_clear_and_stays_here(machine: Machine, archive: Path) -> None:
    rig, shipper = machine("ann")
    write(rig.home.structured(SECRET), [("context.json", b'{"decisions": ["any"]}')])
    rig.scan()
    rig.wait(130)
    shipper.drain()
    assert not refs_of(archive) if archive.exists() else True
    (item,) = rig.queue.items(buried=True)
    assert "holds a secret" in item.last_error


def test_an_append_costs_what_was_appended_and_three_headers(machine: Machine, archive: Path) -> None:
    rig, shipper = machine("ann", "bob")
    path, chance = rig.home.transcript(SID), random.Random(7)

    def turn(size: int) -> bytes:
        return said(chance.randbytes(size // 2).hex(), rig)  # what cannot be packed to less than half

    grow(rig, path, *(turn(200_000) for _ in range(30)))
    shipper.drain()
    for appended in (200, 20_000):
        before = set(sizes(archive))
        grow(rig, path, turn(appended))
        shipper.drain()
        added = sum(size for oid, size in sizes(archive).items() if oid not in before)
        assert appended / 2 < added < appended * 0.6 + 6000


def sizes(folder: Path) -> dict[str, int]:
    return {oid: len(data) for oid, _, data in objects_of(folder)} if folder.exists() else {}


# --- who can read


@pytest.mark.parametrize(
    ("name", "saying", "hint"),
    [
        ("", "no identity is set here", "Set archive.identity_file"),
        ("eve", "for others than", "of a recipient"),
    ],
    ids=["missing", "wrong"],
)
def test_without_the_key_it_says_so_and_touches_nothing(
    machine: Machine, reader: Callable[..., Elsewhere], archive: Path, name: str, saying: str, hint: str
) -> None:
    rig, shipper = machine("ann")
    grow(rig, rig.home.transcript(SID), said("hello", rig))
    shipper.drain()
    before = list(objects_of(archive)), refs_of(archive)
    shelf = ArchiveShelf(reader(name).reader, rig.now)
    for ask in (
        lambda: shelf.named(SID),
        lambda: shelf.copies(Known(Ref("claude", SID), SID)),
        lambda: shelf.told(lambda _: True),
    ):
        with pytest.raises(ArchiveSealed, match=saying) as raised:
            ask()
        assert hint in raised.value.hint
        assert raised.value.code == "archive_sealed"
    assert (list(objects_of(archive)), refs_of(archive)) == before


def test_an_identity_that_comes_later_reads_what_was_there(
    machine: Machine, archive: Path, keys: Keys, tmp_path: Path
) -> None:
    rig, shipper = machine("ann")
    path = rig.home.transcript(SID)
    grow(rig, path, said("hello", rig))
    shipper.drain()
    file = tmp_path / "later"
    config = with_archive(Config(), archive, identity_file=file)
    other = Elsewhere(tmp_path / "other", config)
    with pytest.raises(ArchiveSealed, match="cannot be used: No such file"):
        other.versions(SID, rig.now)
    shutil.copy(keys("ann"), file)
    assert contents(other.versions(SID, rig.now)[-1])[path.name] == path.read_bytes()
    other.close()


def test_damage_is_damage_and_no_wrong_key() -> None:
    secret, recipient = age.new_identity()
    seal = Seal([recipient])
    blob = seal(Segments().pack(b"what was stored"))
    stored = Line(0, 15, name_of(blob))
    unseal = Unseal(None)
    unseal._known, unseal._file = age.identities(secret.encode()), Path("it")
    assert unpack(blob, stored, "it", unseal) == b"what was stored"
    for at in range(len(blob)):
        flipped = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        with pytest.raises(CopyMismatch):  # whoever looks, with a key or without
            unpack(flipped, stored, "it", Unseal(None))
        if at > blob.index(b"\n--- ") + 4:  # what has no name: the stanzas say nothing of who broke them
            with pytest.raises(CopyMismatch):
                opened(flipped, "it", 100, unseal)
    for cut in (0, 30, 200, len(blob) - 1):
        with pytest.raises(CopyMismatch):
            unpack(blob[:cut], stored, "it", unseal)


def test_bombs_are_bounded() -> None:
    secret, recipient = age.new_identity()
    seal, unseal = Seal([recipient]), Unseal(Path("it"))
    unseal._known = age.identities(secret.encode())
    bomb = seal(zstandard.compress(bytes(1 << 27), 1))
    unsaid = seal(zstandard.ZstdCompressor(write_content_size=False).compress(bytes(2000)))
    assert len(bomb) < BLOB_BYTES
    for blob in (bomb, unsaid, seal(b"no frame")):
        with pytest.raises(CopyMismatch):
            opened(blob, "it", 1000, unseal)
        with pytest.raises(CopyMismatch):
            unpack(blob, Line(0, 1000, name_of(blob)), "it", unseal)
    # more stanzas than there are recipients: each would be tried
    stanza = b"-> X25519 " + b"A" * 43 + b"\n" + b"A" * 43 + b"\n"
    with pytest.raises(CopyMismatch, match="header"):
        unseal(age.MAGIC + stanza * 5000 + b"--- " + b"A" * 43 + b"\n" + b"x" * 100, "it")


# --- who can write


def test_who_cannot_read_goes_on_writing_whatever_is_lost(
    machine: Machine, reader: Callable[..., Elsewhere], archive: Path
) -> None:
    rig, shipper = machine("ann")
    rig.now += 0.7  # a commit tells whole seconds alone
    path, states = rig.home.transcript(SID), []
    for number in range(6):
        if number == 2:  # the cache
            shutil.rmtree(shipper.folder / "archive.git")
        if number == 4:  # the newest commits, as where an older state was put back
            shipper.close()
            shutil.rmtree(shipper.folder / "archive.git")
            (ref,) = refs_of(archive)
            run_git(archive, "update-ref", ref, f"{ref}~2")
            shipper.archiving.care._looked_at = rig.now
        grow(rig, path, said(f"turn {number}", rig))
        states.append(path.read_bytes())
        shipper.drain()
    versions = reader("ann").versions(SID, rig.now)
    found = [contents(version)[path.name] for version in versions]
    assert [state for state in states if state not in found] == []
    assert found == states
    assert [version.manifest.checkpoint.id for version in versions] == [
        point.id for point in rig.catalog.checkpoints(rig.session().id)
    ]


def test_clear_then_encrypted_then_for_another_then_clear_again(
    machine: Machine, reader: Callable[..., Elsewhere], archive: Path, keys: Keys
) -> None:
    home: Home | None = None
    newest: list[bytes] = []
    for number, to in enumerate([(), ("ann",), ("ann",), ("bob",), ()]):
        rig, shipper = machine(*to, home=home)
        home = rig.home
        rig.now += number * 1000
        path = home.transcript(SID)
        before = sizes(archive)
        grow(rig, path, said(f"turn {number} {SECRET}", rig))
        newest.append(path.read_bytes())
        shipper.drain()
        added = [(kind, data) for oid, kind, data in objects_of(archive) if oid not in before]
        assert not any(SECRET.encode() in data for _, data in added)
        assert {is_sealed(data) for kind, data in added if kind == "blob"} == {bool(to)}
        shipper.close()
        rig.close()
    cleared = [data.replace(SECRET.encode(), b"[REDACTED:github_token]") for data in newest]
    found = {name: reader(name).versions(SID, rig.now) for name in ("", "ann", "bob")}
    at = {version.at for version in found["ann"]} | {version.at for version in found["bob"]}
    assert len(at) == 5
    assert [text(version) for version in found[""]] == [cleared[0], cleared[4]]
    assert [text(version) for version in found["ann"]] == [cleared[0], newest[1], newest[2], cleared[4]]
    assert [text(version) for version in found["bob"]] == [cleared[0], newest[3], cleared[4]]
    assert [file.exact for version in found["ann"] for file in version.files()] == [False, True, True, False]


@pytest.mark.parametrize("sent", [0, 1], ids=["nothing was sent", "one was sent"])
def test_what_was_committed_in_clear_and_not_sent_never_leaves_in_clear(
    machine: Machine,
    reader: Callable[..., Elsewhere],
    archive: Path,
    monkeypatch: pytest.MonkeyPatch,
    sent: int,
) -> None:
    rig, shipper = machine()
    home, path = rig.home, rig.home.transcript(SID)
    for number in range(sent):
        grow(rig, path, said(f"sent in clear {number}", rig))
        shipper.drain()
    grow(rig, path, said("committed in clear", rig))

    def broken(*_: Any, **__: Any) -> Any:
        raise ServerFailed("It broke off.")

    with monkeypatch.context() as line_down:
        line_down.setattr(Host, "push", broken)
        shipper.step()
    before, now = sizes(archive), rig.now
    shipper.close()
    rig.close()
    rig, shipper = machine("ann", home=home)
    rig.now = now + 1000
    grow(rig, path, said("now encrypted", rig))
    shipper.drain()
    added = [data for oid, kind, data in objects_of(archive) if kind == "blob" and oid not in before]
    assert added
    assert all(map(is_sealed, added))
    versions = reader("ann").versions(SID, rig.now)
    assert [len(text(version).splitlines()) for version in versions] == [*range(1, sent + 3)]


def test_an_archive_in_clear_that_was_deleted_to_be_encrypted_is_filled_encrypted(
    machine: Machine, reader: Callable[..., Elsewhere], archive: Path
) -> None:
    rig, shipper = machine()
    home, path = rig.home, rig.home.transcript(SID)
    for number in range(2):
        grow(rig, path, said(f"in clear {number}", rig))
        shipper.drain()
    now = rig.now
    shipper.close()
    rig.close()
    shutil.rmtree(archive)
    rig, shipper = machine("ann", home=home)
    rig.now = now + 7200  # it looks whether all is there
    shipper.step()
    shipper.drain()
    assert {is_sealed(data) for _, kind, data in objects_of(archive) if kind == "blob"} == {True}
    assert [len(text(version).splitlines()) for version in reader("ann").versions(SID, rig.now)] == [1, 2]


def text(version: Any) -> bytes:
    return contents(version)[f"{SID}.jsonl"]


def test_idle_refs_are_folded_by_who_cannot_read(
    machine: Machine, reader: Callable[..., Elsewhere], archive: Path
) -> None:
    rig, shipper = machine("ann")
    path = rig.home.transcript(SID)
    grow(rig, path, said("hello", rig))
    shipper.drain()
    rig.now += 31 * 86_400
    shipper.step()
    shipper.drain()
    assert all("/cold/" in ref for ref in refs_of(archive))
    assert text(reader("ann").versions(SID, rig.now)[-1]) == path.read_bytes()
    grow(rig, path, said("and on", rig))
    shipper.drain()
    assert text(reader("ann").versions(SID, rig.now)[-1]) == path.read_bytes()


def test_what_older_rules_let_through_before_it_was_encrypted_is_told(machine: Machine) -> None:
    rig, shipper = machine()
    grow(rig, rig.home.transcript(SID), said("ACME-12 it was", rig))
    shipper.drain()
    home, now = rig.home, rig.now
    shipper.close()
    rig.close()
    rig, shipper = machine("ann", home=home)
    rig.now = now + 100
    grow(rig, rig.home.transcript(SID), said("ACME-13 it is", rig))
    shipper.drain()
    with closing(Elsewhere(shipper.folder, rig.config)) as here:
        pushed = Pushed(here.cache, Ledger(rig.store, shipper.address.id), here.reader)
        gate = Gate(patterns=[r"ACME-\d+"])
        (found,) = pushed.under_other_rules(rig.session().id, gate.rules)
        assert [hit.line for hit in scan(gate, *found)] == [1]


def test_a_damaged_object_is_passed_over_and_said_to_be_damaged(
    machine: Machine, reader: Callable[..., Elsewhere], archive: Path
) -> None:
    rig, shipper = machine("ann")
    path = rig.home.transcript(SID)
    grow(rig, path, said("first", rig))
    first = path.read_bytes()
    shipper.drain()
    grow(rig, path, said("second", rig))
    shipper.drain()
    (ref,) = refs_of(archive)
    manifest = bytearray(run_git(archive, "cat-file", "blob", f"{ref}:manifest.json"))
    manifest[-1] ^= 1  # by whoever holds the archive: to git all is well
    forged = run_git(archive, "hash-object", "-w", "--stdin", stdin=bytes(manifest)).decode().strip()
    tree = run_git(archive, "ls-tree", ref).decode()
    old = run_git(archive, "rev-parse", f"{ref}:manifest.json").decode().strip()
    made = run_git(archive, "mktree", stdin=tree.replace(old, forged).encode()).decode().strip()
    author = ("-c", "user.name=x", "-c", "user.email=x")
    commit = run_git(archive, *author, "commit-tree", made, "-p", f"{ref}~1", "-m", "x").decode().strip()
    run_git(archive, "update-ref", ref, commit)
    shelf = ArchiveShelf(reader("ann").reader, rig.now)
    (copy,) = shelf.copies(Known(Ref("claude", SID), SID))
    assert b"".join(copy.read(copy.files()[0])) == first
    (note,) = shelf.notes
    assert "is damaged: decryption error" in note
    with pytest.raises(ArchiveSealed, match="no identity is set"):  # who has no key sees no difference
        ArchiveShelf(reader().reader, rig.now).copies(Known(Ref("claude", SID), SID))


# --- in clear at first, then encrypted: who has no key


OTHER = "3f0c9f8a-0000-4000-8000-000000000002"


@pytest.fixture
def half(machine: Machine) -> tuple[Rig, bytes, list[str]]:
    """An archive that was in clear at first: the bytes of then, and the ids of a session's three checkpoints.

    The last two are encrypted, and so is all of another session.
    """
    rig, shipper = machine()
    path = rig.home.transcript(SID)
    grow(rig, path, said("in clear", rig))
    shipper.drain()
    clear, home, now = path.read_bytes(), rig.home, rig.now
    shipper.close()
    rig.close()
    rig, shipper = machine("ann", home=home)
    rig.now = now + 100
    for text in ("encrypted", "and again"):
        grow(rig, path, said(text, rig))
    grow(rig, home.transcript(OTHER), line("user", "hello", home.project, session=OTHER))
    shipper.drain()
    session = rig.session(Ref("claude", SID))
    vault = rig.vault.open(session.project or "", session.stored_as)
    ids = [snapshot.id for snapshot in vault.snapshots()]
    return rig, clear, ids


def test_what_is_encrypted_is_counted_and_hides_nothing_that_is_in_clear(
    half: tuple[Rig, bytes, list[str]], reader: Callable[..., Elsewhere]
) -> None:
    rig, _, _ = half
    shelf = ArchiveShelf(reader().reader, rig.now)
    assert [known.ref.session_id for known in shelf.told(lambda _: True)] == [SID]
    (note,) = shelf.notes
    assert note.startswith(
        "1 of 2 sessions in the archive is encrypted and cannot be looked at: no identity "
    )
    assert "Set archive.identity_file" in note
    with pytest.raises(ArchiveSealed, match="1 of 2 sessions in the archive is encrypted") as raised:
        shelf.told(lambda _: False)  # it may be the one that is looked for
    assert "archive.identity_file" in raised.value.hint
    everything = ArchiveShelf(reader("ann").reader, rig.now)
    assert len(everything.told(lambda _: True)) == 2
    assert everything.notes == []


def test_a_checkpoint_in_clear_is_reached_under_newer_ones_that_are_encrypted(
    half: tuple[Rig, bytes, list[str]], reader: Callable[..., Elsewhere]
) -> None:
    rig, clear, ids = half
    shelf = ArchiveShelf(reader().reader, rig.now)
    known = shelf.named(SID)
    assert known is not None
    shelves = Shelves([shelf])
    (copy,) = shelves.copies(known)
    assert copy.checkpoint == ids[0]
    (note,) = shelf.notes
    assert note.startswith(
        "2 of 3 checkpoints in the archive from machine 0a1b2c3d cannot be read here, the newest "
    )
    assert f"a checkpoint of {rfc3339(unix_seconds(ids[2]))} of claude:{SID} is encrypted" in note
    assert "archive.identity_file" in note
    for at in ("", ids[0]):
        (chosen,) = shelves.choose(known, origin="archive", at=at).copies
        assert b"".join(chosen.read(next(iter(chosen.files())))) == clear
    for at in ids[1:]:
        with pytest.raises(ArchiveSealed, match=rfc3339(unix_seconds(at))):
            shelves.choose(known, origin="archive", at=at)
    with pytest.raises(NoSuchCheckpoint):
        shelves.choose(known, origin="archive", at="20200101T000000Z")
    others = Shelves([ArchiveShelf(reader("ann").reader, rig.now)])
    assert [each.checkpoint for each in others.copies(known)] == ids


# --- identity files


def test_an_identity_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "identity.txt"
    before = os.umask(0)
    try:
        recipient = make_identity(file)
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    made = file.read_bytes()
    assert recipient_of(file) == recipient
    assert recipient.encode() in made
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for taken in (file, tmp_path / "link"):
        with pytest.raises(IdentityUnusable, match="cannot be made: File exists"):
            make_identity(taken)
    assert file.read_bytes() == made
    assert not (tmp_path / "nowhere").exists()


def test_half_an_identity_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IdentityUnusable, match="cannot be made: No space left"):
        make_identity(tmp_path / "identity")
    assert not (tmp_path / "identity").exists()


def test_a_header_that_is_written_can_be_read() -> None:
    """Of 20 recipients with the longest key there is here; what might be longer is refused before."""
    data, public = ssh_key("rsa", bits=4096)
    sealed = Seal([public] * age.RECIPIENTS)(b"hello")
    assert sealed.index(b"\n--- ") < age.HEADER_BYTES
    assert age.decrypt(sealed, age.identities(data)) == b"hello"
    assert age.fits([public] * age.RECIPIENTS)
    assert not age.fits([public] * (age.RECIPIENTS + 1))
    assert not age.fits(["x" * 4000] * 10)


def ssh_key(kind: str, form: str = "OpenSSH", bits: int = 2048) -> tuple[bytes, str]:
    """A key of SSH's, and its public half."""
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key: Any
    if kind == "rsa":
        key = rsa.generate_private_key(65537, bits)
    else:
        key = (
            ed25519.Ed25519PrivateKey.generate()
            if kind == "ed25519"
            else ec.generate_private_key(ec.SECP256R1())
        )
    private = s.PrivateFormat.OpenSSH if form == "OpenSSH" else s.PrivateFormat.TraditionalOpenSSL
    public = key.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH)
    return key.private_bytes(s.Encoding.PEM, private, s.NoEncryption()), public.decode()


@pytest.mark.parametrize(("kind", "form"), [("ed25519", "OpenSSH"), ("rsa", "OpenSSH"), ("rsa", "PEM")])
def test_a_key_of_ssh_is_an_identity(tmp_path: Path, kind: str, form: str) -> None:
    data, public = ssh_key(kind, form=form)
    file = tmp_path / "id"
    file.write_bytes(data)
    sealed = Seal([f"{public} ann@laptop"])(b"hello")
    assert Unseal(file)(sealed, "it") == b"hello"
    if form == "OpenSSH":
        assert recipient_of(file) == public
    else:
        with pytest.raises(IdentityUnusable, match="does not tell its recipient"):
            recipient_of(file)
    assert Seal([public]).id == Seal([f"{public} another comment"]).id
    assert Seal([public]).id != Seal([age.new_identity()[1]]).id


SOMEBODY, _ = age.new_identity()
UNUSABLE = {
    "empty": (b"", "it holds no identity"),
    "comments": (b"# created\n\n", "it holds no identity"),
    "binary": (b"\xff\x00\xfe", "its line 1 is no identity"),
    "a recipient": (b"age1qqqq\n", "its line 1 is no identity"),
    "cut": (SOMEBODY[:-5].encode(), "the identity in its line 1 is not whole"),
    "a plugin's": (b"#\nAGE-PLUGIN-YUBIKEY-1QQQQ\n", "its line 2 is a plugin's identity"),
    "encrypted": (age.MAGIC + b"-> scrypt x 18\n", "it is encrypted itself"),
    "long": (b"#" * 70_000, "too long"),
    "cut ssh": (
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        "no whole key",
    ),
    "ecdsa": (ssh_key("ecdsa")[0], "only ed25519 and RSA"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_is_no_identity_is_said_to_be_none_and_never_repeated(tmp_path: Path, name: str) -> None:
    data, saying = UNUSABLE[name]
    file = tmp_path / "id"
    file.write_bytes(data)
    with pytest.raises(IdentityUnusable, match=saying) as raised:
        identities(file)
    assert SOMEBODY[20:40] not in f"{raised.value}{raised.value.hint}{raised.value.__cause__}"
    assert str(file) in str(raised.value)


def test_a_pipe_is_no_identity_file_and_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path / "pipe", tmp_path):
        with pytest.raises(IdentityUnusable, match=r"no file|directory"):
            identities(file)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="no ssh-keygen")
def test_nobody_is_asked_for_a_passphrase(tmp_path: Path) -> None:
    file = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "some words", "-f", str(file)], check=True)
    with pytest.raises(IdentityUnusable, match="protected by a passphrase"):
        identities(file)


def test_without_the_library_nothing_leaves_and_each_step_says_what_to_install(
    machine: Machine, archive: Path, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (recipient,), identity = keys.to("ann"), keys("ann")
    sealed = Seal([recipient])(b"hello")
    monkeypatch.setitem(sys.modules, "pyrage", None)
    with pytest.raises(age.Unavailable):
        Seal([recipient])
    rig, _ = machine()
    rig.config = with_archive(rig.config, archive, encrypt_to=(recipient,))  # it was valid before
    shipper = Shipper(rig, seal=lambda _: None)
    grow(rig, rig.home.transcript(SID), said("hello", rig))
    shipper.step()
    pause = shipper.archiving.uplink.pause
    assert pause is not None
    assert (pause.code, "pyrage is missing" in pause.message) == ("archive_not_permitted", True)
    assert "pip install pyrage" in pause.hint
    assert not archive.exists() or not refs_of(archive)
    shipper.close()
    for fails, kind in (
        (lambda: Unseal(identity)(sealed, "it"), ArchiveSealed),
        (lambda: recipient_of(identity), IdentityUnusable),
        (lambda: make_identity(tmp_path / "new"), IdentityUnusable),
    ):
        with pytest.raises(kind, match="pyrage") as raised:
            fails()
        assert "pip install pyrage" in raised.value.hint
    assert not (tmp_path / "new").exists()
    config = tmp_path / "config.toml"
    config.write_text(f"[archive]\nencrypt_to = ['{recipient}']\n")
    assert load({"HOME": "/home/ann"}, config).archive.encrypt_to == (recipient,)

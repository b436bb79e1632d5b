import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from sessionsync.errors import AlreadyRunning, CopyError, CopyMismatch, NoSuchCheckpoint, NotAllowed
from sessionsync.model import Ref
from sessionsync.vault import Mirror, Root, SessionVault, StoredFile, Vault, verify
from sessionsync.vault import journal as journal_module
from sessionsync.vault.folder import Folder
from sessionsync.vault.journal import Segment
from sessionsync.vault.pack import (
    ALONE_BYTES,
    DICTIONARY,
    LEVEL,
    LONG_BYTES,
    Dictionaries,
    Packer,
    Unpacker,
    dictionary,
)
from tests.bench.corpus import session_bytes
from tests.conftest import PATIENCE_S
from tests.unit.test_mirror import few_descriptors

REF = Ref("claude", "0b6e2f6e-64f1-4c39-9df5-3f0d6d8f5a11")
NAME = f"{REF.session_id}.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "vault"


@pytest.fixture
def vault(folder: Path) -> Iterator[Vault]:
    vault = Vault(folder)
    with vault.lock():
        yield vault


@pytest.fixture
def session(vault: Vault) -> SessionVault:
    return vault.open("app", REF)


@pytest.fixture
def place(folder: Path) -> Path:
    return folder / "app" / f"claude.{REF.session_id}"


def root_of(data: bytes) -> str:
    root = Root()
    root.update(data)
    return root.hexdigest()


def stated(data: bytes, name: str = NAME, generation: int = 0, deleted_at: float | None = None) -> StoredFile:
    return StoredFile(name, generation, len(data), root_of(data), deleted_at)


def snap(session: SessionVault, name: str, *files: StoredFile, **meta: Any) -> None:
    session.snapshot(id=name, at=5.0, trigger="quiet", alias="", files=files, meta=meta)


def read(session: SessionVault, file: StoredFile, start: int = 0) -> bytes:
    return b"".join(session.read(file.name, file.generation, file.length, start, root=file.root))


def at_snapshot(session: SessionVault, name: str) -> dict[str, bytes]:
    return {file.name: read(session, file) for file in session.files(name).values()}


def lines_of(place: Path) -> list[dict[str, Any]]:
    return [json.loads(line[9:]) for line in (place / "journal").read_bytes().splitlines()]


# --- what goes in comes out


def test_a_session_and_its_checkpoints(vault: Vault, session: SessionVault, folder: Path) -> None:
    data = session_bytes(3, 200_000)
    session.describe(first_seen=1.5, project_key="https://example.com/app", meta={"cwd": "/x"})
    session.append(NAME, 0, 0, data[:100_000])
    snap(session, "one", stated(data[:100_000]), size=100_000)
    session.append(NAME, 0, 100_000, data[100_000:])
    session.append("todos/x.json", 0, 0, b"[]")
    session.snapshot(
        id="two",
        at=6.0,
        trigger="hook",
        alias="a",
        files=[stated(data), stated(b"[]", "todos/x.json")],
        meta={},
    )
    assert vault.flush() == 1

    reader = Vault(folder).open("app", REF)
    assert reader.first_seen() == 1.5
    assert [(s.id, s.at, s.trigger, s.alias, s.meta) for s in reader.snapshots()] == [
        ("one", 5.0, "quiet", "", {"size": 100_000}),
        ("two", 6.0, "hook", "a", {}),
    ]
    assert at_snapshot(reader, "one") == {NAME: data[:100_000]}
    assert at_snapshot(reader, "two") == {NAME: data, "todos/x.json": b"[]"}
    assert reader.files() == reader.files("two")
    assert reader.stored(NAME) == (0, len(data))
    assert read(reader, reader.files()[NAME], 99_990) == data[99_990:]
    assert b"".join(reader.read(NAME, 0, 150_000, 120_000)) == data[120_000:150_000]
    assert reader.damaged_lines() == 0


def test_of_what_is_not_there(vault: Vault, session: SessionVault) -> None:
    assert session.is_new()
    assert (session.first_seen(), session.snapshots(), session.files(), session.stored("x")) == (
        None,
        [],
        {},
        (0, 0),
    )
    assert list(session.read("x", 0, 0)) == []
    with pytest.raises(CopyMismatch, match=r"claude:0b6e2f6e.* bytes of x from 0 are not there"):
        list(session.read("x", 0, 1))
    with pytest.raises(NoSuchCheckpoint, match="none"):
        session.files("none")
    assert list(vault.sessions()) == []


def test_a_snapshot_names_only_what_changed(session: SessionVault) -> None:
    session.append("a", 0, 0, b"a")
    session.append("b", 0, 0, b"b")
    snap(session, "one", stated(b"a", "a"), stated(b"b", "b"))
    session.append("a", 0, 1, b"A")
    snap(session, "two", stated(b"aA", "a"))
    snap(session, "three")
    assert at_snapshot(session, "one") == {"a": b"a", "b": b"b"}
    assert at_snapshot(session, "two") == at_snapshot(session, "three") == {"a": b"aA", "b": b"b"}


def test_an_empty_file_is_a_file(session: SessionVault) -> None:
    session.append("a", 0, 0, b"")
    snap(session, "one", stated(b"", "a"))
    assert at_snapshot(session, "one") == {"a": b""}


def test_what_the_session_dropped_stays(session: SessionVault) -> None:
    session.append("a", 0, 0, b"kept")
    snap(session, "one", stated(b"kept", "a"))
    session.remove("a", 7.5)
    session.remove("never stored", 7.5)
    assert session.files()["a"].deleted_at == 7.5
    assert session.files("one")["a"].deleted_at is None
    snap(session, "two")
    assert session.files("two")["a"] == stated(b"kept", "a", deleted_at=7.5)
    assert read(session, session.files("two")["a"]) == b"kept"
    snap(session, "three", stated(b"kept", "a"))
    assert session.files()["a"].deleted_at is None


def test_a_generation_shares_what_it_can(vault: Vault, session: SessionVault, place: Path) -> None:
    data = session_bytes(4, 100_000)
    session.append(NAME, 0, 0, data)
    snap(session, "whole", stated(data))
    vault.flush()
    before = (place / "pack").stat().st_size
    session.fork(NAME, 1, 0, 60_000)
    assert session.stored(NAME) == (1, 60_000)
    session.append(NAME, 1, 60_000, b"other")
    snap(session, "rewritten", stated(data[:60_000] + b"other", generation=1))
    session.fork(NAME, 2, 1, 60_002)
    session.append(NAME, 2, 60_002, b"third")
    session.fork(NAME, 3, 2, 10)
    session.append(NAME, 3, 10, b"fourth")
    session.fork(NAME, 4, 3, 0)
    session.append(NAME, 4, 0, b"fifth")
    vault.flush()
    assert (place / "pack").stat().st_size < before + 200
    contents = [data, data[:60_000] + b"other", data[:60_000] + b"otthird", data[:10] + b"fourth", b"fifth"]
    for generation, content in enumerate(contents):
        assert read(session, stated(content, generation=generation)) == content
    assert at_snapshot(session, "whole") == {NAME: data}
    assert at_snapshot(session, "rewritten") == {NAME: contents[1]}
    assert session.stored(NAME) == (4, 5)


def test_ten_thousand_rewrites(vault: Vault, session: SessionVault) -> None:
    session.append("context.json", 0, 0, b'{"n": 0}')
    for generation in range(1, 10_001):
        session.fork("context.json", generation, generation - 1, 6)
        if generation % 1000 == 0:
            session.append("context.json", generation, 6, b"%d}" % generation)
    vault.flush()
    assert session.stored("context.json") == (10_000, 12)
    assert read(session, stated(b'{"n": 10000}', "context.json", 10_000)) == b'{"n": 10000}'


def test_a_long_append_becomes_several_segments(vault: Vault, session: SessionVault, place: Path) -> None:
    data = os.urandom(10_000_000)
    session.append(NAME, 0, 0, data)
    vault.flush()
    lengths = [line["length"] for line in lines_of(place)]
    assert len(lengths) == 3
    assert max(lengths) <= 4_194_304
    assert {data[end - 1 : end] for end in accumulate(lengths[:-1])} == {b"\n"}
    assert read(session, stated(data)) == data


def test_a_long_line_is_cut_all_the_same(vault: Vault, session: SessionVault, place: Path) -> None:
    data = bytes(10_000_000)
    session.append(NAME, 0, 0, data)
    vault.flush()
    assert [line["length"] for line in lines_of(place)] == [4_194_304, 4_194_304, 1_611_392]
    assert read(session, stated(data)) == data


@pytest.mark.parametrize("name", ["a b", "ü", "a\nb", 'q"uote', os.fsdecode(b"caf\xe9"), "x" * 5000])
def test_any_name_goes(vault: Vault, session: SessionVault, folder: Path, name: str) -> None:
    session.describe(first_seen=1.0, project_key="k", meta={"path": name})
    session.append(name, 0, 0, b"data")
    snap(session, "one", stated(b"data", name))
    vault.flush()
    assert at_snapshot(Vault(folder).open("app", REF), "one") == {name: b"data"}


# --- overlaps, repetitions, other outcomes


def test_bytes_may_be_stored_again(session: SessionVault) -> None:
    data = bytes(range(100))
    for begin, end in ((0, 50), (0, 50), (20, 70), (70, 100), (0, 100), (99, 100)):
        session.append("a", 0, begin, data[begin:end])
    assert session.stored("a") == (0, 100)
    for start in range(0, 100, 7):
        assert read(session, stated(data, "a"), start) == data[start:]


def test_a_gap_ends_what_is_stored(session: SessionVault) -> None:
    session.append("a", 0, 0, b"0123")
    session.append("a", 0, 6, b"67")
    assert session.stored("a") == (0, 4)
    with pytest.raises(CopyMismatch, match="bytes of a from 4 are not there"):
        list(session.read("a", 0, 8))
    assert b"".join(session.read("a", 0, 8, 6)) == b"67"
    session.append("a", 0, 4, b"45")
    assert session.stored("a") == (0, 8)
    assert b"".join(session.read("a", 0, 8)) == b"01234567"


def test_a_file_may_go_on_otherwise_after_a_crash(session: SessionVault) -> None:
    """The journal was durable, the caller's state was not: it goes on from where it knew itself to be."""
    session.append("a", 0, 0, b"common ")
    session.append("a", 0, 7, b"lost in the crash")
    snap(session, "lost", stated(b"common lost in the crash", "a"))
    session.append("a", 0, 7, b"and on")
    snap(session, "went on", stated(b"common and on", "a"))
    session.fork("a", 1, 0, 3)
    session.append("a", 1, 3, b"first try")
    snap(session, "forked", stated(b"comfirst try", "a", 1))
    session.fork("a", 1, 0, 5)
    session.append("a", 1, 5, b"2nd")
    snap(session, "forked again", stated(b"commo2nd", "a", 1))
    contents = {"lost": b"common lost in the crash", "went on": b"common and on"}
    contents |= {"forked": b"comfirst try", "forked again": b"commo2nd"}
    for name, content in contents.items():
        assert at_snapshot(session, name) == {"a": content}


def test_the_same_length_twice_is_told_apart_by_the_root(session: SessionVault) -> None:
    session.append("a", 0, 0, b"one")
    snap(session, "1", stated(b"one", "a"))
    session.append("a", 0, 0, b"two")
    snap(session, "2", stated(b"two", "a"))
    assert (at_snapshot(session, "1"), at_snapshot(session, "2")) == ({"a": b"one"}, {"a": b"two"})
    assert b"".join(session.read("a", 0, 3)) == b"two"


def test_the_whole_is_held_against_the_root(session: SessionVault) -> None:
    session.append("a", 0, 0, b"other")
    snap(session, "1", StoredFile("a", 0, 5, root_of(b"bytes")))
    with pytest.raises(CopyMismatch, match="are not those of the checkpoint"):
        at_snapshot(session, "1")


def test_of_two_snapshots_of_one_name_the_later_counts(session: SessionVault) -> None:
    session.append("a", 0, 0, b"abc")
    snap(session, "x", stated(b"a", "a"))
    snap(session, "y", stated(b"ab", "a"))
    snap(session, "x", stated(b"abc", "a"))
    assert [snapshot.id for snapshot in session.snapshots()] == ["y", "x"]
    assert at_snapshot(session, "x") == {"a": b"abc"}


# --- flushing and locking


def test_nothing_is_there_before_the_flush(vault: Vault, session: SessionVault, folder: Path) -> None:
    session.append("a", 0, 0, b"abc")
    snap(session, "one", stated(b"abc", "a"))
    other = Vault(folder).open("app", REF)
    assert (other.stored("a"), other.snapshots()) == ((0, 0), [])
    assert session.stored("a") == (0, 3), "who wrote it sees it"
    assert at_snapshot(session, "one") == {"a": b"abc"}
    vault.flush()
    assert at_snapshot(other, "one") == at_snapshot(session, "one") == {"a": b"abc"}
    assert vault.flush() == 0


def test_leaving_in_peace_flushes_and_leaving_in_trouble_does_not(folder: Path) -> None:
    vault = Vault(folder)
    with vault.lock():
        vault.open("app", REF).append("a", 0, 0, b"abc")
    assert vault.open("app", REF).stored("a") == (0, 3)

    def trouble() -> None:
        vault.open("app", REF).append("a", 0, 3, b"def")
        raise KeyError

    with pytest.raises(KeyError), vault.lock():
        trouble()
    assert vault.open("app", REF).stored("a") == (0, 3)
    with vault.lock():
        vault.open("app", REF).append("a", 0, 3, b"def")
    assert b"".join(vault.open("app", REF).read("a", 0, 6)) == b"abcdef"
    assert not vault.open("app", REF).is_new()


def test_without_the_lock_nothing_is_written(folder: Path) -> None:
    session = Vault(folder).open("app", REF)
    with pytest.raises(RuntimeError, match="without its lock"):
        session.append("a", 0, 0, b"x")
    with pytest.raises(RuntimeError, match="without its lock"):
        snap(session, "x")
    assert not folder.exists()


def test_only_one_holds_the_lock(vault: Vault, folder: Path) -> None:
    with pytest.raises(AlreadyRunning) as caught, Vault(folder).lock():
        pass
    assert caught.value.exit_code == 75
    script = """
import sys
from pathlib import Path
from sessionsync.errors import AlreadyRunning
from sessionsync.vault import Vault
try:
    with Vault(Path(sys.argv[1])).lock():
        print("held")
except AlreadyRunning:
    print("refused")
"""
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert done.stdout == "refused\n"


def test_a_lock_that_went_with_its_folder_is_held_no_more_and_can_be_had_anew(folder: Path) -> None:
    vault = Vault(folder)
    assert not vault.is_held()
    with vault.lock():
        assert vault.is_held()
        shutil.rmtree(folder)
        assert not vault.is_held()
        with Vault(folder).lock():
            assert not vault.is_held(), "it is another's"
        with vault.lock():
            assert vault.is_held()
            vault.open("app", REF).append("a", 0, 0, b"abc")
    assert b"".join(vault.open("app", REF).read("a", 0, 3)) == b"abc"


def test_the_lock_is_free_again(folder: Path) -> None:
    for _ in range(3):
        with Vault(folder).lock():
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_users_vault_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(NotAllowed), Vault(folder).lock():
        pass
    assert list(folder.iterdir()) == []


def test_errors_of_the_body_stay_what_they_are(folder: Path) -> None:
    with pytest.raises(FileNotFoundError), Vault(folder).lock():
        (folder / "none").read_bytes()


def test_a_reader_beside_the_writer_sees_no_half(vault: Vault, session: SessionVault, folder: Path) -> None:
    failures: list[BaseException] = []
    done = threading.Event()

    def look() -> None:
        known, readers = 0, [vault.open("app", REF), Vault(folder).open("app", REF)]
        try:
            while not done.is_set():
                for reader in readers:
                    length = reader.stored("a")[1]
                    assert b"".join(reader.read("a", 0, length)) == content[:length]
                    for snapshot in reader.snapshots():
                        assert len(at_snapshot(reader, snapshot.id)["a"]) == int(snapshot.id)
                known = max(known, length)
        except BaseException as problem:  # noqa: BLE001 - told below, in the test's own thread
            failures.append(problem)

    content = session_bytes(5, 60_000)
    thread = threading.Thread(target=look)
    thread.start()
    for end in range(600, len(content), 600):
        session.append("a", 0, end - 600, content[end - 600 : end])
        if end % 1800 == 0:
            snap(session, str(end), stated(content[:end], "a"))
        if end % 3000 == 0:
            vault.flush()
    done.set()
    thread.join(PATIENCE_S)
    assert failures == []


def test_in_the_middle_of_a_flush_all_is_seen_once(
    vault: Vault, session: SessionVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pack written, journal written, but who looks now still finds the batch as well."""
    plain, looks = os.fsync, []

    def fsync(descriptor: int) -> None:
        plain(descriptor)
        looking = vault.open("app", REF)
        assert looking.stored("a") == (1, 7)
        assert [snapshot.id for snapshot in looking.snapshots()] == ["1", "2", "3"]
        for name, content in (("1", b"abc"), ("2", b"abcdef"), ("3", b"abother")):
            assert at_snapshot(looking, name) == {"a": content}
        looks.append(looking)

    session.append("a", 0, 0, b"abc")
    snap(session, "1", stated(b"abc", "a"))
    vault.flush()
    monkeypatch.setattr(os, "fsync", fsync)
    session.append("a", 0, 3, b"def")
    snap(session, "2", stated(b"abcdef", "a"))
    session.fork("a", 1, 0, 2)
    session.append("a", 1, 2, b"other")
    snap(session, "3", stated(b"abother", "a", 1))
    vault.flush()
    assert len(looks) >= 2


def test_flushes_in_the_middle_of_a_look_hide_nothing(
    vault: Vault, session: SessionVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, meanwhile = os.open, [b"def"]

    def busy_open(path: Any, *args: Any, **kwargs: Any) -> int:
        if path == "journal" and meanwhile:
            data = meanwhile.pop()
            vault.flush()
            session.append("a", 0, 3, data)
            vault.flush()
        return plain(path, *args, **kwargs)

    session.append("a", 0, 0, b"ab")
    vault.flush()
    session.append("a", 0, 2, b"c")
    monkeypatch.setattr(os, "open", busy_open)
    looking = vault.open("app", REF)
    assert looking.stored("a") == (0, 6)
    assert b"".join(looking.read("a", 0, 6)) == b"abcdef"


# --- the format


def test_a_person_can_read_the_journal(vault: Vault, session: SessionVault, place: Path) -> None:
    session.describe(first_seen=1.5, project_key="k", meta={})
    session.append("a", 0, 0, b"abc")
    session.fork("a", 1, 0, 2)
    session.remove("b", 2.5)
    session.snapshot(
        id="1", at=3.5, trigger="quiet", alias="first", files=[stated(b"abc", "a")], meta={"n": 1}
    )
    vault.flush()
    for line in (place / "journal").read_bytes().splitlines():
        assert line[:9] == b"%08x " % zlib.crc32(line[9:])
    packed = (place / "pack").stat().st_size
    assert lines_of(place) == [
        {"do": "session", "source": "claude", "session_id": REF.session_id, "project": "app", "project_key": "k", "first_seen": 1.5},
        {"do": "segment", "file": "a", "generation": 0, "offset": 0, "length": 3, "at": 0, "packed": packed, "root": root_of(b"abc")},
        {"do": "fork", "file": "a", "generation": 1, "parent": 0, "shared": 2},
        {"do": "remove", "file": "b", "at": 2.5},
        {"do": "snapshot", "id": "1", "at": 3.5, "trigger": "quiet", "alias": "first", "files": [
            {"name": "a", "generation": 0, "length": 3, "root": root_of(b"abc")}], "meta": {"n": 1}},
    ]  # fmt: skip


def in_format_1(place: Path, pieces: Sequence[bytes]) -> None:
    """Write the journal as that format has it, in which segments, of these bytes, have their SHA-256."""
    entries = [journal_module.decode(line) for line in (place / "journal").read_bytes().splitlines()]
    hashes = iter(hashlib.sha256(piece).hexdigest() for piece in pieces)
    old = [
        msgspec.structs.replace(entry, root="", sha256=next(hashes)) if isinstance(entry, Segment) else entry
        for entry in entries
        if entry is not None
    ]
    (place / "journal").write_bytes(b"".join(map(journal_module.encode, old)))


def test_what_was_written_in_format_1_is_read_proven_and_merged(
    vault: Vault, session: SessionVault, place: Path
) -> None:
    pieces = [session_bytes(n, 20_000) for n in (1, 2)]
    data = b"".join(pieces)
    for n, piece in enumerate(pieces):
        session.append("a", 0, sum(map(len, pieces[:n])), piece)
    snap(session, "1", stated(data, "a"))
    vault.flush()
    in_format_1(place, pieces)
    assert all("root" not in line for line in lines_of(place) if line["do"] == "segment")
    assert read(vault.open("app", REF), stated(data, "a")) == data
    merge = vault.merge("app", REF, {}, force=True)
    for _ in merge.prepare():
        pass
    assert vault.commit(merge)
    assert read(vault.open("app", REF), stated(data, "a")) == data
    merged = map(journal_module.decode, (place / "journal").read_bytes().splitlines())
    whole = next(entry for entry in merged if isinstance(entry, Segment))
    with (place / "journal").open("ab") as journal:  # a sound frame, and not of what was stored
        other = hashlib.sha256(data[::-1]).hexdigest()
        journal.write(journal_module.encode(msgspec.structs.replace(whole, file="b", root="", sha256=other)))
    with pytest.raises(CopyMismatch, match="are damaged"):
        read(vault.open("app", REF), stated(data[: whole.length], "b"))


def test_a_pack_reads_without_the_program(
    vault: Vault, session: SessionVault, place: Path, folder: Path
) -> None:
    data = session_bytes(6, 50_000)
    session.append("a", 0, 0, data[:20_000])
    session.append("a", 0, 20_000, data[20_000:])
    vault.flush()
    (file,) = (folder / ".sessiond").glob("dictionary-*")
    assert file.read_bytes() == DICTIONARY.read_bytes()
    dictionary = zstandard.ZstdCompressionDict(file.read_bytes())
    pack = (place / "pack").read_bytes()
    assert (
        zstandard.get_frame_parameters(pack).dict_id == dictionary.dict_id() == int(file.name.split("-")[1])
    )
    reader = zstandard.ZstdDecompressor(dict_data=dictionary).stream_reader(pack, read_across_frames=True)
    assert reader.read() == data


def test_the_dictionary_is_worth_its_bytes() -> None:
    data = session_bytes(7, 300_000)
    pieces = [data[begin : begin + 10_240] for begin in range(0, len(data), 10_240)]
    with_it = sum(len(Packer().pack(piece)) for piece in pieces)
    without = sum(len(zstandard.ZstdCompressor(LEVEL).compress(piece)) for piece in pieces)
    assert len(DICTIONARY.read_bytes()) <= 112 * 1024
    assert len(data) / with_it > 4.4, "what the design counts on"
    assert without > 1.3 * with_it


def test_a_long_frame_does_without_the_dictionary() -> None:
    data = bytes(ALONE_BYTES)
    ids = [zstandard.get_frame_parameters(Packer().pack(data[:end])).dict_id for end in (-1, ALONE_BYTES)]
    assert ids == [dictionary().dict_id(), 0]


def test_whatever_its_length_a_frame_is_about_as_short_as_zstd_makes_it() -> None:
    data = session_bytes(7, 2 * LONG_BYTES)
    for size in (ALONE_BYTES - 1, ALONE_BYTES, LONG_BYTES - 1, LONG_BYTES):
        piece, usual = data[:size], zstandard.ZstdCompressor(LEVEL)
        frame = Packer().pack(piece)
        assert zstandard.get_frame_parameters(frame).content_size == size
        assert len(frame) < 1.05 * len(usual.compress(piece))
        assert Unpacker(Dictionaries(Folder(Path("/none")), Path("/none"))).unpack(frame, size) == piece


def test_a_dictionary_of_another_version_is_found_in_the_vault(
    vault: Vault, session: SessionVault, place: Path, folder: Path
) -> None:
    data = session_bytes(8, 30_000)
    samples: list[bytes | bytearray | memoryview[int]] = [data[n : n + 500] for n in range(0, 30_000, 500)]
    other = zstandard.train_dictionary(4096, samples, dict_id=77_777)
    frame = zstandard.ZstdCompressor(dict_data=other).compress(data)
    session.append("a", 0, 0, b"x")
    vault.flush()
    at = (place / "pack").stat().st_size
    with (place / "pack").open("ab") as pack:
        pack.write(frame)
    segment = Segment("b", 0, 0, len(data), at, len(frame), root=root_of(data))
    with (place / "journal").open("ab") as journal:
        journal.write(journal_module.encode(segment))
    with pytest.raises(CopyMismatch, match="are damaged"):
        read(vault.open("app", REF), stated(data, "b"))
    (folder / ".sessiond" / "dictionary-77777").write_bytes(other.as_bytes())
    assert read(vault.open("app", REF), stated(data, "b")) == data


def swapped(place: Path) -> None:
    """Let the first two frames, as long as each other, change places: each is sound, and not what it should be."""
    one, other = (line for line in lines_of(place) if line["do"] == "segment")
    assert one["packed"] == other["packed"]
    pack = place / "pack"
    data = pack.read_bytes()
    pack.write_bytes(data[other["at"] :] + data[: other["at"]])


def test_what_is_not_proven_is_told_by_its_root(vault: Vault, session: SessionVault, place: Path) -> None:
    data = random.Random(1).randbytes(200_000)
    for offset in (0, 100_000):
        session.append("a", 0, offset, data[offset : offset + 100_000])
    snap(session, "one", stated(data, "a"))
    vault.flush()
    root = root_of(data)
    assert b"".join(session.unproven("a", 0, len(data), root=root)) == data
    swapped(place)
    found = b"".join(vault.open("app", REF).unproven("a", 0, len(data), root=root))
    assert found == data[100_000:] + data[:100_000], "nothing but the root could know"
    with pytest.raises(CopyMismatch, match="from 0 are damaged"):
        read(vault.open("app", REF), stated(data, "a"))
    bads = [each.bad for each in verify.roots(session, Mirror(place / "none"), []) if each.bad]
    assert [(bad.name, bad.start, bad.end) for bad in bads] == [("a", 0, len(data))]
    session.append("a", 0, 0, data)  # stored again
    vault.flush()
    assert not [each.bad for each in verify.roots(session, Mirror(place / "none"), []) if each.bad]


def test_what_is_damaged_is_not_given_out(vault: Vault, session: SessionVault, place: Path) -> None:
    data = session_bytes(8, 30_000)
    session.append("a", 0, 0, data)
    snap(session, "one", stated(data, "a"))
    vault.flush()
    with (place / "pack").open("r+b") as pack:
        pack.seek(500)
        pack.write(b"\0\0")
    with pytest.raises(CopyMismatch, match="from 0 are damaged"):
        read(session, stated(data, "a"))
    with (place / "pack").open("r+b") as pack:
        pack.write(b"\0\0")  # what is no frame any more
    with pytest.raises(CopyMismatch, match="from 0 are damaged"):
        list(session.unproven("a", 0, len(data), root=root_of(data)))
    with pytest.raises(CopyMismatch, match="from 0 are not there"):
        list(session.unproven("b", 0, 9, root=root_of(b"")))


def test_each_byte_is_hashed_once_to_prove_them_all(
    vault: Vault, session: SessionVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = session_bytes(8, 300_000)
    for end in range(100_000, 400_000, 100_000):
        session.append("a", 0, end - 100_000, data[end - 100_000 : end])
        snap(session, str(end), stated(data[:end], "a"))
    vault.flush()
    hashed: list[int] = []

    def root_of_segment(data: bytes) -> str:
        hashed.append(len(data))
        return root_of(data)

    monkeypatch.setattr(journal_module, "root_of", root_of_segment)
    checked = list(verify.roots(session, Mirror(Path("none")), []))
    assert sum(each.size for each in checked) == len(data)
    assert not [each for each in checked if each.bad]
    assert hashed == [], "its root has proven it"


def test_what_no_checkpoint_speaks_of_is_looked_at_as_well(
    vault: Vault, session: SessionVault, place: Path
) -> None:
    data = session_bytes(8, 60_000)
    session.append("a", 0, 0, data[:30_000])
    snap(session, "one", stated(data[:30_000], "a"))
    session.append("a", 0, 30_000, data[30_000:])
    vault.flush()
    none = Mirror(place / "none")
    assert not [each.bad for each in verify.everything(session, none, []) if each.bad]
    with (place / "pack").open("r+b") as pack:
        pack.seek(-4, os.SEEK_END)  # the last frame's end
        pack.write(b"\0\0\0\0")
    assert not [each.bad for each in verify.roots(session, none, []) if each.bad]
    bads = [each.bad for each in verify.everything(session, none, []) if each.bad]
    assert [(bad.name, bad.start, bad.end) for bad in bads] == [("a", 30_000, len(data))]


def test_the_end_of_a_segment_that_a_checkpoint_names_the_beginning_of_is_looked_at_as_well(
    vault: Vault, session: SessionVault, tmp_path: Path
) -> None:
    """As after a merge, which makes one segment over the ends of checkpoints."""
    data = bytearray(session_bytes(8, 60_000))
    session.append("a", 0, 0, bytes(data))
    snap(session, "one", stated(bytes(data[:30_000]), "a"))
    vault.flush()
    mirror = Mirror(tmp_path / "mirror")
    expected = [copied(mirror, "a", bytes(data))]
    data[45_000] ^= 1
    expected[0].path.write_bytes(data)
    assert (verify.MIRROR, 0, len(data), "") in bads_of(verify.everything(session, mirror, expected))


def test_a_plain_copy_is_looked_at_also_where_the_vault_reads_what_was_stored_again(
    vault: Vault, session: SessionVault, place: Path, tmp_path: Path
) -> None:
    data = bytearray(session_bytes(8, 60_000))
    session.append("a", 0, 0, bytes(data))
    session.append("a", 0, 0, bytes(data))
    snap(session, "one", stated(bytes(data), "a"))
    vault.flush()
    mirror = Mirror(tmp_path / "mirror")
    expected = [copied(mirror, "a", bytes(data))]
    with (place / "pack").open("r+b") as pack:
        pack.seek(-4, os.SEEK_END)  # that of the one that is read first
        pack.write(b"\0\0\0\0")
    assert not bads_of(verify.everything(session, mirror, expected))
    data[30_000] ^= 1
    expected[0].path.write_bytes(data)
    assert (verify.MIRROR, 0, len(data), "") in bads_of(verify.everything(session, mirror, expected))


def test_a_plain_copy_that_is_as_the_vault_has_it_still_has_to_be_what_was_captured(
    vault: Vault, session: SessionVault, tmp_path: Path
) -> None:
    captured = session_bytes(8, 200_000)
    other = b" " + captured[1:]
    mirror = Mirror(tmp_path / "mirror")
    expected = [copied(mirror, "a", captured)]
    expected[0].path.write_bytes(other)
    root = (verify.MIRROR, 0, len(captured), verify.ROOT)

    session.append("a", 0, 0, other)
    snap(session, "one", stated(other, "a"))
    vault.flush()
    assert root in bads_of(verify.everything(session, mirror, expected))

    session.append("a", 0, 0, captured)
    snap(session, "two", stated(captured, "a"))
    session.append("a", 0, 0, other)  # the checkpoint has what was captured, and the copy what is there now
    vault.flush()
    assert root in bads_of(verify.everything(session, mirror, expected))


def test_the_end_of_a_plain_copy_that_the_vault_does_not_have_yet_is_looked_at_as_well(
    vault: Vault, session: SessionVault, tmp_path: Path
) -> None:
    data = bytearray(session_bytes(8, 30_000))
    session.append("a", 0, 0, bytes(data[:10_000]))
    snap(session, "one", stated(bytes(data[:10_000]), "a"))
    vault.flush()
    mirror = Mirror(tmp_path / "mirror")
    expected = [copied(mirror, "a", bytes(data))]
    assert not bads_of(verify.everything(session, mirror, expected))
    data[20_000] ^= 1
    expected[0].path.write_bytes(data)
    assert bads_of(verify.everything(session, mirror, expected)) == {
        (verify.MIRROR, 0, len(data), verify.TAIL)
    }


def copied(mirror: Mirror, name: str, data: bytes) -> verify.Expected:
    """A plain copy of a file, and what the state knows of it."""
    path, root = mirror.folder / name, Root()
    root.update(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    tail = hashlib.sha256(data[-verify.TAIL_BYTES :]).hexdigest()
    return verify.Expected(name, path, 0, len(data), len(data), tail, tuple(root.peaks))


def bads_of(checked: Iterable[verify.Checked]) -> set[tuple[str, int, int, str]]:
    """Which bytes are bad in which copy, and what has found that."""
    return {(bad.store, bad.start, bad.end, bad.by) for bad in (each.bad for each in checked) if bad}


def test_a_damaged_dictionary_in_the_vault_is_mended(folder: Path) -> None:
    with Vault(folder).lock():
        pass
    (file,) = (folder / ".sessiond").glob("dictionary-*")
    file.write_bytes(b"damaged" * 20_000)
    with Vault(folder).lock():
        assert file.read_bytes() == DICTIONARY.read_bytes()


def test_lines_of_a_later_version_are_skipped_with_a_doubt(
    vault: Vault, session: SessionVault, place: Path
) -> None:
    session.append("a", 0, 0, b"abc")
    snap(session, "1", stated(b"abc", "a"))
    vault.flush()
    body = b'{"do":"teleport","file":"a"}'
    with (place / "journal").open("ab") as journal:
        journal.write(b"%08x %b\n" % (zlib.crc32(body), body))
    snap(session, "2")
    vault.flush()
    assert [(snapshot.id, snapshot.doubtful) for snapshot in session.snapshots()] == [
        ("1", False),
        ("2", True),
    ]
    assert session.damaged_lines() == 1
    assert at_snapshot(session, "2") == {"a": b"abc"}


# --- what a crash leaves


@pytest.mark.parametrize("torn", [b"0", b"0123abcd ", b'deadbeef {"do":"frag', bytes(5000), b"x" * 200_000])
def test_a_torn_line_is_cut_off(folder: Path, place: Path, torn: bytes) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    vault = Vault(folder, lambda event, **fields: told.append((event, fields)))
    with vault.lock():
        vault.open("app", REF).append("a", 0, 0, b"abc")
    sound = (place / "journal").read_bytes()
    with (place / "journal").open("ab") as journal:
        journal.write(torn)
    assert vault.open("app", REF).stored("a") == (0, 3)
    assert vault.open("app", REF).damaged_lines() == 0
    with vault.lock():
        vault.open("app", REF).append("a", 0, 3, b"def")
    assert told == [("vault_tail_cut", {"session": str(REF), "bytes": len(torn)})]
    assert (place / "journal").read_bytes().startswith(sound)
    assert len(lines_of(place)) == 2
    assert b"".join(vault.open("app", REF).read("a", 0, 6)) == b"abcdef"


@pytest.mark.parametrize("end", [b"", b"\x0b"])
def test_a_line_that_lacks_only_its_newline_counts(folder: Path, place: Path, end: bytes) -> None:
    vault = Vault(folder)
    with vault.lock():
        vault.open("app", REF).append("a", 0, 0, b"abc")
    (place / "journal").write_bytes((place / "journal").read_bytes()[:-1] + end)
    assert vault.open("app", REF).stored("a") == (0, 3)
    with vault.lock():
        vault.open("app", REF).append("a", 0, 3, b"def")
    assert vault.open("app", REF).damaged_lines() == 0
    assert b"".join(vault.open("app", REF).read("a", 0, 6)) == b"abcdef"


def test_bytes_in_the_pack_that_no_line_names_do_no_harm(
    vault: Vault, session: SessionVault, place: Path
) -> None:
    session.append("a", 0, 0, b"abc")
    vault.flush()
    with (place / "pack").open("ab") as pack:
        pack.write(b"half a frame")
    session.append("a", 0, 3, b"def")
    vault.flush()
    assert b"".join(session.read("a", 0, 6)) == b"abcdef"


@pytest.mark.parametrize("lost", [1, 30, 10_000])
def test_what_the_pack_lost_is_not_stored(folder: Path, place: Path, lost: int) -> None:
    vault, parts = Vault(folder), [os.urandom(1000) for _ in range(4)]
    with vault.lock():
        session = vault.open("app", REF)
        for number, part in enumerate(parts[:3]):
            session.append("a", 0, 1000 * number, part)
        snap(session, "before", stated(b"".join(parts[:3]), "a"))
    size = (place / "pack").stat().st_size
    os.truncate(place / "pack", max(0, size - lost))
    session = vault.open("app", REF)
    kept = 2 if lost < 1000 else 0
    assert session.stored("a") == (0, 1000 * kept)
    with pytest.raises(CopyMismatch, match=f"bytes of a from {1000 * kept} are not there"):
        at_snapshot(session, "before")
    with vault.lock():
        for number in range(kept, 4):
            session.append("a", 0, 1000 * number, parts[number])
        snap(session, "after", stated(b"".join(parts), "a"))
    assert session.stored("a") == (0, 4000)
    assert at_snapshot(session, "before") == {"a": b"".join(parts[:3])}
    assert at_snapshot(session, "after") == {"a": b"".join(parts)}


def test_what_was_lost_is_mended_by_what_was_stored_next(folder: Path, place: Path) -> None:
    vault = Vault(folder)
    with vault.lock():
        vault.open("app", REF).append("a", 0, 0, b"lost")
        snap(vault.open("app", REF), "1", stated(b"lost", "a"))
    os.truncate(place / "pack", 3)
    with vault.lock():
        vault.open("app", REF).append("a", 0, 0, b"lost")
        vault.open("app", REF).append("a", 0, 0, b"after a crash it went on otherwise")
    assert at_snapshot(vault.open("app", REF), "1") == {"a": b"lost"}


def test_the_place_of_lost_bytes_may_be_taken(folder: Path, place: Path) -> None:
    vault = Vault(folder)
    with vault.lock():
        vault.open("app", REF).append("a", 0, 0, os.urandom(1000))
        vault.open("app", REF).append("a", 0, 1000, os.urandom(1000))
    os.truncate(place / "pack", (place / "pack").stat().st_size - 1)
    with vault.lock():
        vault.open("app", REF).append("b", 0, 0, os.urandom(5000))
    assert vault.open("app", REF).stored("a") == (0, 1000)
    assert vault.open("app", REF).stored("b") == (0, 5000)


def test_a_sound_frame_with_other_bytes_is_not_believed(
    vault: Vault, session: SessionVault, place: Path
) -> None:
    session.append("a", 0, 0, os.urandom(1000))
    session.append("b", 0, 0, os.urandom(1000))
    vault.flush()
    pack = (place / "pack").read_bytes()
    half = len(pack) // 2
    (place / "pack").write_bytes(pack[half:] + pack[:half])
    for name in ("a", "b"):
        with pytest.raises(CopyMismatch, match=f"bytes of {name} from 0 are damaged"):
            list(session.read(name, 0, 1000))


def test_damage_is_told_and_mended_by_storing_again(vault: Vault, session: SessionVault, place: Path) -> None:
    data = session_bytes(9, 30_000)
    for begin in range(0, 30_000, 10_000):
        session.append("a", 0, begin, data[begin : begin + 10_000])
    snap(session, "one", stated(data, "a"))
    vault.flush()
    middle = lines_of(place)[1]["at"] + 20
    with (place / "pack").open("r+b") as pack:
        pack.seek(middle)
        pack.write(b"\0\0\0\0")
    chunks: list[bytes] = []
    with pytest.raises(CopyMismatch, match=r"Session claude:.*bytes of a from 10000 are damaged"):
        chunks.extend(session.read("a", 0, len(data)))
    assert b"".join(chunks) == data[:10_000]
    assert b"".join(session.read("a", 0, len(data), 20_000)) == data[20_000:]
    session.append("a", 0, 5_000, data[5_000:25_000])
    assert at_snapshot(session, "one") == {"a": data}
    session.fork("a", 1, 0, 25_000)
    assert b"".join(session.read("a", 1, 25_000)) == data[:25_000]


def test_what_was_mended_in_a_generation_is_shared_with_the_next(session: SessionVault) -> None:
    session.fork("a", 1, 0, 3)
    session.append("a", 1, 0, b"012345")
    session.fork("a", 2, 1, 3)
    assert session.stored("a") == (2, 3)
    assert b"".join(session.read("a", 2, 3)) == b"012"


# --- which sessions there are


def test_the_sessions_of_a_vault(vault: Vault, folder: Path) -> None:
    sessions = [
        ("app", REF),
        ("app", Ref("structured", "alpha")),
        ("other", Ref("note", "note.other.2026")),
        (".sessiond", Ref("claude", "x")),
        ("p" * 300, Ref("structured", "ü" * 200)),
    ]
    for project, ref in sessions:
        vault.open(project, ref).describe(first_seen=1.0, project_key="k", meta={})
    vault.open("app", Ref("claude", "undescribed")).append("a", 0, 0, b"x")
    vault.flush()
    (folder / "app" / "not.ours").mkdir()
    (folder / "app" / "neither").mkdir()
    (folder / "app" / "neither" / "journal").write_bytes(b"Dear diary\n")
    (folder / "README").write_bytes(b"hello")
    (folder / "link").symlink_to(folder / "app")
    expected = [*sessions, ("app", Ref("claude", "undescribed"))]
    assert sorted(vault.sessions()) == sorted(expected)


def test_a_session_whose_first_line_is_damaged_is_found(
    vault: Vault, session: SessionVault, place: Path
) -> None:
    session.describe(first_seen=1.0, project_key="k", meta={})
    session.append("a", 0, 0, b"x")
    vault.flush()
    with (place / "journal").open("r+b") as journal:
        journal.write(b"?")
    assert list(vault.sessions()) == [("app", REF)]
    assert session.first_seen() is None


def test_everything_is_private(vault: Vault, session: SessionVault, folder: Path) -> None:
    before = os.umask(0)
    try:
        session.append("a", 0, 0, b"x")
        vault.flush()
    finally:
        os.umask(before)
    for path in folder.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_links_are_not_followed(vault: Vault, session: SessionVault, place: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    place.parent.mkdir()
    place.symlink_to(outside)
    with pytest.raises(CopyError):
        session.append("a", 0, 0, b"x")
    assert list(outside.iterdir()) == []


# --- costs


def test_an_append_costs_what_it_appends(vault: Vault, session: SessionVault, place: Path) -> None:
    """Also to a session of a gigabyte that was just opened: it reads no journal and no pack."""

    def work() -> tuple[int, int]:
        before = counted()
        handle = Vault.open(vault, "app", REF)
        handle.append("a", 0, 0, data)
        snap(handle, "x", stated(data, "a"))
        vault.flush()
        after = counted()
        return after[0] - before[0], after[1] - before[1]

    def counted() -> tuple[int, int]:
        with Path("/proc/thread-self/io").open() as file:  # other threads are of the tests' runner
            numbers = dict(line.split(": ") for line in file.read().splitlines())
        return int(numbers["rchar"]), int(numbers["wchar"])

    if not Path("/proc/thread-self/io").exists():
        pytest.skip("this system does not count a thread's reads")
    data = session_bytes(10, 10_000)
    work()
    read_small, written_small = work()
    line = (place / "journal").read_bytes().splitlines(keepends=True)[0]
    (place / "journal").write_bytes(line * 100_000)
    os.truncate(place / "pack", 1024**3)
    read_big, written_big = work()
    assert read_big < read_small + 500
    assert written_big < written_small + 500


def test_many_sessions_need_few_descriptors_and_no_memory(vault: Vault) -> None:
    with few_descriptors(12):
        for number in range(200):
            session = vault.open("app", Ref("claude", f"s{number}"))
            session.append("a", 0, 0, b"x")
            assert session.stored("a") == (0, 1)
        assert vault.flush() == 200
    assert vault._batch._sessions == {}
    assert vault._tree._changed == {}

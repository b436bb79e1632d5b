"""What a merge makes of a session's vault, and who may look on meanwhile."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import zstandard

from sessionsync.errors import CopyError
from sessionsync.vault import SessionVault, Vault
from sessionsync.vault.merge import Merge
from tests.bench.corpus import session_bytes
from tests.conftest import PATIENCE_S
from tests.keeper import done, flip
from tests.unit.test_vault import REF, at_snapshot, in_format_1, lines_of, snap, stated

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
def place(folder: Path) -> Path:
    return folder / "app" / f"claude.{REF.session_id}"


def merged(vault: Vault, *, besides: dict[str, int] | None = None, cold: bool = False) -> Merge:
    vault.flush()
    merge = vault.merge("app", REF, besides or {}, cold=cold, force=True)
    done(merge.prepare())
    assert merge.why == ""
    assert vault.commit(merge)
    return merge


def kinds(place: Path) -> list[str]:
    return [f"{line['do']} {line.get('file', line.get('id', ''))}".strip() for line in lines_of(place)]


def test_neighbours_become_one_where_the_first_was(vault: Vault, place: Path) -> None:
    session = vault.open("app", REF)
    session.describe(first_seen=1.0, project_key="k", meta={})
    for n, (one, other) in enumerate(zip(b"abc", b"xyz", strict=True)):
        session.append("a", 0, n, bytes([one]))
        session.append("b", 0, n, bytes([other]))
        snap(session, str(n), stated(b"abc"[: n + 1], "a"), stated(b"xyz"[: n + 1], "b"))
    session.forget(["1"], 2.0)
    assert merged(vault).frames == (6, 2)
    assert kinds(place) == ["pack", "session", "segment a", "segment b", "snapshot 0", "snapshot 2"]
    assert at_snapshot(session, "0") == {"a": b"a", "b": b"x"}
    assert at_snapshot(session, "2") == {"a": b"abc", "b": b"xyz"}


def test_what_only_forgotten_checkpoints_had_goes(vault: Vault, place: Path) -> None:
    session = vault.open("app", REF)
    data = session_bytes(1, 100_000)
    session.append(NAME, 0, 0, data)
    snap(session, "whole", stated(data))
    for generation in range(1, 9):
        session.fork(NAME, generation, generation - 1, 1000 * (9 - generation))
        content = data[: 1000 * (9 - generation)] + b"%d" % generation
        session.append(NAME, generation, 1000 * (9 - generation), b"%d" % generation)
        snap(session, str(generation), stated(content, generation=generation))
    last = data[:1000] + b"8"
    session.forget(["whole", *map(str, range(1, 8))], 2.0)
    merge = merged(vault)
    assert merge.frames == (9, 2)
    assert merge.packed_bytes[1] < merge.packed_bytes[0] / 10
    forks = [
        (line["generation"], line["parent"], line["shared"])
        for line in lines_of(place)
        if line["do"] == "fork"
    ]
    assert forks == [(8, 0, 1000)]
    assert at_snapshot(session, "8") == {NAME: last}
    assert session.stored(NAME) == (8, 1001)
    assert b"".join(session.read(NAME, 8, 1001)) == last


def test_a_segment_stays_as_long_as_any_checkpoint_needs_it(vault: Vault) -> None:
    """Of a cut segment the older checkpoint needs all, the newer one the beginning."""
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"0123456789")
    snap(session, "old", stated(b"0123456789", "a"))
    session.fork("a", 1, 0, 4)
    snap(session, "new", stated(b"0123", "a", 1))
    merged(vault)
    assert (at_snapshot(session, "old"), at_snapshot(session, "new")) == (
        {"a": b"0123456789"},
        {"a": b"0123"},
    )
    session.forget(["old"], 2.0)
    assert merged(vault).raw_bytes == 4
    assert at_snapshot(session, "new") == {"a": b"0123"}


def test_a_generation_that_somebody_goes_on_from_stays(vault: Vault) -> None:
    """The state was not committed: capture goes on from the generation before."""
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"common and the old")
    session.fork("a", 1, 0, 6)
    snap(session, "new", stated(b"common", "a", 1))
    merged(vault, besides={"a": 0})
    session.append("a", 0, 18, b" goes on")
    assert b"".join(session.read("a", 0, 26)) == b"common and the old goes on"


def test_a_removed_file_stays_removed(vault: Vault) -> None:
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"kept")
    session.append("b", 0, 0, b"too")
    snap(session, "1", stated(b"kept", "a"), stated(b"too", "b"))
    session.remove("a", 7.5)
    snap(session, "2")
    session.remove("b", 8.5)
    session.forget(["1"], 9.0)
    before = session.files("2"), session.files()
    merged(vault)
    assert (session.files("2"), session.files()) == before
    assert session.files()["b"].deleted_at == 8.5


def test_larger_and_colder_frames(vault: Vault, place: Path) -> None:
    session = vault.open("app", REF)
    data = session_bytes(2, 5_000_000)
    for begin in range(0, len(data), 65_536):
        session.append(NAME, 0, begin, data[begin : begin + 65_536])
    snap(session, "1", stated(data))
    warm = merged(vault)
    assert warm.frames[1] == 2
    cold = merged(vault, cold=True)
    assert cold.frames == (2, 2)
    assert cold.packed_bytes[1] < warm.packed_bytes[1] < warm.packed_bytes[0]
    assert at_snapshot(session, "1") == {NAME: data}
    assert kinds(place) == ["pack", f"segment {NAME}", f"segment {NAME}", "snapshot 1"]
    again = vault.merge("app", REF, {}, cold=True)
    done(again.prepare())
    assert again.why == "there is nothing to merge"
    assert sorted(path.name for path in place.iterdir()) == ["journal", "pack-2"]


def test_it_reads_without_this_program(vault: Vault, folder: Path, place: Path) -> None:
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"one ")
    session.append("a", 0, 4, b"two")
    snap(session, "1", stated(b"one two", "a"))
    merged(vault)
    (shipped,) = (folder / ".sessiond").glob("dictionary-*")
    reader = zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(shipped.read_bytes()))
    assert reader.decompress((place / "pack-1").read_bytes()) == b"one two"


@pytest.mark.parametrize("version", [1, 2])
def test_a_damaged_frame_stays_as_it_is_and_is_told(vault: Vault, place: Path, version: int) -> None:
    session = vault.open("app", REF)
    parts = [session_bytes(seed, 5000) for seed in range(4)]
    for n, part in enumerate(parts):
        session.append("a", 0, sum(map(len, parts[:n])), part)
    snap(session, "1", stated(b"".join(parts), "a"))
    vault.flush()
    if version == 1:
        in_format_1(place, parts)
    hurt = session.fold().stored[1][0]
    flip(place / "pack", hurt.at + hurt.packed // 2)
    frame = (place / "pack").read_bytes()[hurt.at : hurt.packed_end]
    merge = merged(vault)
    assert [segment.offset for segment in merge.damaged] == [hurt.offset]
    assert merge.frames == (4, 3), "only sound neighbours are put together"
    assert frame in (place / "pack-1").read_bytes()
    start = len(parts[0] + parts[1])
    assert b"".join(session.read("a", 0, len(b"".join(parts)), start)) == b"".join(parts[2:])
    # stored again, it is healed; the damaged frame is then set aside
    session.append("a", 0, hurt.offset, parts[1])
    assert at_snapshot(session, "1") == {"a": b"".join(parts)}
    healed = merged(vault)
    (kept,) = place.glob("damaged-*")
    assert kept.read_bytes() == frame
    assert healed.frames == (4, 3)
    assert merged(vault).frames == (3, 3)
    assert at_snapshot(session, "1") == {"a": b"".join(parts)}
    assert kept.exists()


def test_a_damaged_journal_is_not_merged(vault: Vault, place: Path) -> None:
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"abc")
    snap(session, "1", stated(b"abc", "a"))
    vault.flush()
    data = (place / "journal").read_bytes()
    (place / "journal").write_bytes(data[:30] + b"XX" + data[32:])
    merge = vault.merge("app", REF, {}, force=True)
    done(merge.prepare())
    assert merge.why == "its journal is damaged"
    assert not vault.commit(merge)
    assert sorted(path.name for path in place.iterdir()) == ["journal", "pack"]


def test_what_is_not_there_is_not_merged(vault: Vault, folder: Path) -> None:
    merge = vault.merge("app", REF, {}, force=True)
    done(merge.prepare())
    assert merge.why
    assert not vault.commit(merge)
    assert not (folder / "app").exists()
    with pytest.raises(RuntimeError, match="without its lock"):
        Vault(folder).commit(merge)


def test_readers_go_on_while_it_is_merged(vault: Vault, folder: Path) -> None:
    session = vault.open("app", REF)
    data = session_bytes(3, 60_000)
    for begin in range(0, len(data), 6000):
        session.append("a", 0, begin, data[begin : begin + 6000])
    snap(session, "1", stated(data, "a"))
    vault.flush()
    failures: list[BaseException] = []
    ended = threading.Event()
    reads = 0

    def look() -> None:
        nonlocal reads
        readers = [vault.open("app", REF), Vault(folder).open("app", REF)]
        try:
            while not ended.is_set():
                for reader in (*readers, Vault(folder).open("app", REF)):
                    assert at_snapshot(reader, "1") == {"a": data}
                    reads += 1
        except BaseException as problem:  # noqa: BLE001 - told below, in the test's own thread
            failures.append(problem)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(150):
        merged(vault)
    ended.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert failures == []
    assert reads > 10


def test_a_merge_between_two_looks_is_not_noticed(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader has opened the journal, and its pack is gone by the time it looks for it."""
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"abc")
    snap(session, "1", stated(b"abc", "a"))
    vault.flush()
    reader = vault.open("app", REF)
    plain, merges = reader._open, 0

    def opening(held: ExitStack, folder: int | None, name: str) -> int | None:
        nonlocal merges
        found = plain(held, folder, name)
        if name == "journal" and merges < 3:
            merges += 1
            merged(vault)
        return found

    monkeypatch.setattr(reader, "_open", opening)
    assert at_snapshot(reader, "1") == {"a": b"abc"}
    assert merges == 3


def test_what_was_compressed_further_is_not_undone(vault: Vault) -> None:
    session = vault.open("app", REF)
    data = session_bytes(4, 200_000)
    session.append("a", 0, 0, data[:100_000])
    merged(vault, cold=True)
    cold = session.fold().stored[0][0]
    for begin in range(100_000, 200_000, 5000):
        session.append("a", 0, begin, data[begin : begin + 5000])
    assert merged(vault).frames == (21, 2)
    first, second = (segment for segment, _ in session.fold().stored)
    assert (first.level, first.packed, second.level) == (12, cold.packed, 3)
    assert b"".join(session.read("a", 0, len(data))) == data


def test_a_disk_that_fails_leaves_the_old_pair(
    vault: Vault, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"abc")
    snap(session, "1", stated(b"abc", "a"))
    vault.flush()
    merge = vault.merge("app", REF, {}, force=True)
    work = merge.prepare()
    next(work)
    with monkeypatch.context() as patch:

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        patch.setattr("os.pwrite", full)
        with pytest.raises(CopyError):
            done(work)
    assert sorted(path.name for path in place.iterdir()) == ["journal", "pack"]
    assert at_snapshot(session, "1") == {"a": b"abc"}


def prepared(vault: Vault, besides: dict[str, int] | None = None) -> Merge:
    vault.flush()
    merge = vault.merge("app", REF, besides or {}, force=True)
    done(merge.prepare())
    assert merge.why == ""
    return merge


def test_what_is_written_while_it_is_prepared_is_taken_over(vault: Vault, place: Path) -> None:
    session = vault.open("app", REF)
    for n, one in enumerate(b"abc"):
        session.append("a", 0, n, bytes([one]))
        snap(session, str(n), stated(b"abc"[: n + 1], "a"))
    merge = prepared(vault)
    session.append("a", 0, 3, b"d")
    snap(session, "3", stated(b"abcd", "a"))
    session.fork("a", 1, 0, 2)
    session.append("a", 1, 2, b"X")
    session.append("b", 0, 0, b"new")
    session.forget(["0"], 2.0)
    snap(session, "4", stated(b"abX", "a", generation=1), stated(b"new", "b"))
    session.remove("b", 3.0)
    vault.flush()
    assert vault.commit(merge)
    session.append("a", 1, 3, b"Y")
    snap(session, "5", stated(b"abXY", "a", generation=1))
    vault.flush()
    assert sorted(path.name for path in place.iterdir()) == ["journal", "pack-1"]
    again = vault.open("app", REF)
    assert [snapshot.id for snapshot in again.snapshots()] == ["1", "2", "3", "4", "5"]
    assert at_snapshot(again, "1") == {"a": b"ab"}
    assert at_snapshot(again, "3") == {"a": b"abcd"}
    assert at_snapshot(again, "4") == {"a": b"abX", "b": b"new"}
    assert at_snapshot(again, "5")["a"] == b"abXY"
    assert again.files()["b"].deleted_at == 3.0
    assert again.damaged_lines() == 0


def test_a_session_that_is_written_to_at_each_merge_keeps_a_short_journal(vault: Vault, place: Path) -> None:
    """It never rests; whoever reads its journal reads all of it, so that may not grow with what was said."""
    session = vault.open("app", REF)
    data, lengths = b"", []
    for round_ in range(3):
        for n in range(30):
            session.append("a", 0, len(data), b"%02d" % n)
            data += b"%02d" % n
            snap(session, f"{round_}.{n}", stated(data, "a"))
        session.forget([f"{round_}.{n}" for n in range(29)], 1.0)
        merge = prepared(vault)
        session.append("a", 0, len(data), b"!")
        data += b"!"
        snap(session, f"{round_}.end", stated(data, "a"))
        vault.flush()
        assert vault.commit(merge)
        lengths.append(len(lines_of(place)))
    assert lengths[2] <= lengths[1] + 3
    assert b"".join(vault.open("app", REF).read("a", 0, len(data))) == data


def test_a_journal_that_was_cut_and_written_again_is_another(vault: Vault, place: Path) -> None:
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"abc")
    snap(session, "1", stated(b"abc", "a"))
    vault.flush()
    before = (place / "journal").stat().st_size
    snap(session, "2", stated(b"abc", "a"))
    merge = prepared(vault)
    with (place / "journal").open("r+b") as journal:
        journal.truncate(before)
    session = vault.open("app", REF)
    snap(session, "3", stated(b"abc", "a"))
    snap(session, "4", stated(b"abc", "a"))
    vault.flush()
    assert not vault.commit(merge)
    assert [snapshot.id for snapshot in vault.open("app", REF).snapshots()] == ["1", "3", "4"]
    assert sorted(path.name for path in place.iterdir()) == ["journal", "pack"]


def fork(session: SessionVault) -> None:
    session.fork("a", 2, 0, 3)
    snap(session, "2", stated(b"abc", "a", generation=2))


def append(session: SessionVault) -> None:
    session.append("a", 0, 3, b"d")


def state(session: SessionVault) -> None:
    snap(session, "2", stated(b"abc", "a"))


@pytest.mark.parametrize("kept", [b"", b"ab"])
@pytest.mark.parametrize("goes_on", [fork, append, state])
def test_nothing_goes_on_from_what_the_merge_left_out(
    vault: Vault, place: Path, goes_on: Callable[[SessionVault], None], kept: bytes
) -> None:
    session = vault.open("app", REF)
    session.append("a", 0, 0, kept)
    session.append("a", 0, len(kept), b"abc"[len(kept) :])
    snap(session, "0", stated(kept, "a"))
    session.fork("a", 1, 0, 0)
    session.append("a", 1, 0, b"xyz")
    snap(session, "1", stated(b"xyz", "a", generation=1))
    merge = prepared(vault)
    goes_on(session)
    vault.flush()
    assert not vault.commit(merge)
    assert b"".join(vault.open("app", REF).read("a", 0, 3)) == b"abc"
    assert at_snapshot(vault.open("app", REF), "0") == {"a": kept}


def test_what_the_merge_left_out_may_begin_anew(vault: Vault) -> None:
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"abc")
    session.fork("a", 1, 0, 0)
    session.append("a", 1, 0, b"no more")
    session.append("b", 0, 0, b"b")
    session.fork("a", 2, 0, 3)
    snap(session, "1", stated(b"abc", "a", generation=2))
    merge = prepared(vault)
    session.fork("a", 1, 2, 1)
    session.append("a", 1, 1, b"new")
    snap(session, "2", stated(b"anew", "a", generation=1))
    vault.flush()
    assert vault.commit(merge)
    assert at_snapshot(vault.open("app", REF), "1") == {"a": b"abc"}
    assert at_snapshot(vault.open("app", REF), "2") == {"a": b"anew"}


@pytest.mark.parametrize("where", [-20, -1])
def test_a_line_that_is_damaged_while_it_is_prepared_is_kept_to_be_mended(
    vault: Vault, place: Path, where: int
) -> None:
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"abc")
    merge = prepared(vault)
    snap(session, "1", stated(b"abc", "a"))
    vault.flush()
    journal = place / "journal"
    flip(journal, journal.stat().st_size + where)
    damaged = journal.read_bytes()
    assert not vault.commit(merge)
    assert journal.read_bytes() == damaged
    vault.mend("app", REF, 1.0)
    assert at_snapshot(vault.open("app", REF), "1") == {"a": b"abc"}


@pytest.mark.parametrize("tail", [b"torn", b"\n"])
def test_what_is_written_behind_a_line_without_an_end_is_not_taken_over(
    vault: Vault, place: Path, tail: bytes
) -> None:
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"abc")
    snap(session, "1", stated(b"abc", "a"))
    vault.flush()
    journal = place / "journal"
    journal.write_bytes(journal.read_bytes()[: -(tail == b"\n") or None] + tail.strip())
    merge = prepared(vault)
    session = vault.open("app", REF)
    snap(session, "2", stated(b"abc", "a"))
    vault.flush()
    assert not vault.commit(merge)
    assert [snapshot.id for snapshot in vault.open("app", REF).snapshots()] == ["1", "2"]


def test_nothing_is_taken_over_behind_a_journal_that_lost_lines(vault: Vault, place: Path) -> None:
    """What the lost ones said of files is not known: what follows stays marked, until it is merged with that."""
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"abc")
    snap(session, "1", stated(b"abc", "a"))
    snap(session, "lost", stated(b"abc", "a"))
    vault.flush()
    journal = place / "journal"
    journal.write_bytes(journal.read_bytes()[:-20] + b"?" * 19 + b"\n")
    merge = vault.merge("app", REF, {}, kept_as="now")
    done(merge.prepare())
    assert not merge.why
    session = vault.open("app", REF)
    snap(session, "2", stated(b"abc", "a"))
    vault.flush()
    assert not vault.commit(merge)
    assert [(each.id, each.doubtful) for each in vault.open("app", REF).snapshots()] == [
        ("1", False),
        ("2", True),
    ]


def test_what_is_damaged_while_it_is_prepared_is_not_taken_over(vault: Vault, place: Path) -> None:
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"abc")
    snap(session, "1", stated(b"abc", "a"))
    merge = prepared(vault)
    there = (place / "pack").stat().st_size
    session.append("a", 0, 3, b"d")
    vault.flush()
    flip(place / "pack", there + 2)
    assert not vault.commit(merge)
    assert sorted(path.name for path in place.iterdir()) == ["journal", "pack"]


def test_what_there_is_no_room_for_when_it_is_taken_over_leaves_the_old_pair(
    vault: Vault, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"abc")
    merge = prepared(vault)
    session.append("a", 0, 3, b"d")
    snap(session, "1", stated(b"abcd", "a"))
    vault.flush()
    with monkeypatch.context() as patch:

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        patch.setattr("os.pwrite", full)
        with pytest.raises(CopyError):
            vault.commit(merge)
    assert sorted(path.name for path in place.iterdir()) == ["journal", "pack"]
    assert merged(vault).frames == (2, 1)
    assert at_snapshot(vault.open("app", REF), "1") == {"a": b"abcd"}


def test_of_two_merges_of_a_session_one_is_done(vault: Vault, place: Path) -> None:
    """Both would write the same files, and what one discards would be the other's."""
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"abc")
    snap(session, "1", stated(b"abc", "a"))
    first = prepared(vault)
    second = vault.merge("app", REF, {}, force=True)
    done(second.prepare())
    assert second.why == "it is being merged already"
    assert not vault.commit(second)
    assert vault.commit(first)
    assert not vault.commit(first)
    assert not vault.commit(second)
    assert sorted(path.name for path in place.iterdir()) == ["journal", "pack-1"]
    assert at_snapshot(vault.open("app", REF), "1") == {"a": b"abc"}


def test_a_merge_that_nobody_goes_on_with_keeps_no_other_from_its_turn(vault: Vault, place: Path) -> None:
    session = vault.open("app", REF)
    session.append("a", 0, 0, b"abc")
    prepared(vault)  # and let go
    refused = vault.merge("app", REF, {})
    done(refused.prepare())
    assert refused.why == "there is nothing to merge"
    prepared(vault)
    half = vault.merge("app", REF, {}, force=True)
    work = half.prepare()
    next(work)
    work.close()
    last = prepared(vault)  # also while those before are still there
    assert vault.commit(last)
    assert sorted(path.name for path in place.iterdir()) == ["journal", "pack-1"]

"""Damage is found, healed from the other copy, and gone; what cannot be healed is said."""

import random
import shutil
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import pytest

from sessionsync.catalog import Session
from sessionsync.errors import NoSuchSession, StoreFull
from sessionsync.model import Ref
from sessionsync.project_names import Names
from sessionsync.tombstones import Tombstones
from sessionsync.upkeep import Upkeep
from sessionsync.vault.verify import Part
from tests.keeper import done, flip, pack_of, place_of, upkeep_of, wheres
from tests.rig import Rig, append, line, write


@pytest.fixture
def upkeep(rig: Rig) -> Upkeep:
    return upkeep_of(rig)


def a_transcript(rig: Rig, turns: int = 40) -> tuple[Path, Session]:
    """A transcript of several segments and checkpoints, cut once, with a file beside it."""
    path = rig.home.transcript()
    sid = path.stem
    for turn in range(turns):
        append(path, line("user", f"question {turn} " + "word " * 40, rig.home.project, session=sid))
        append(path, line("assistant", f"answer {turn} " + "text " * 90, rig.home.project, session=sid))
        if turn % 8 == 7:
            rig.scan()
            rig.wait(300)
        if turn == turns // 2:
            whole = path.read_bytes()
            path.write_bytes(whole[: whole.rindex(b"\n", 0, len(whole) * 2 // 3) + 1])
            rig.scan()
    write(path.with_suffix(""), [("tool-results/a.txt", b"result\n" * 99)])
    rig.scan()
    rig.wait(300)
    return path, rig.session()


def everything(rig: Rig, session: Session) -> dict[str, dict[str, bytes]]:
    return {c.id: rig.restored(session, c.id) for c in rig.catalog.checkpoints(session.id)}


def test_sound_copies_are_sound(rig: Rig, upkeep: Upkeep) -> None:
    path, session = a_transcript(rig)
    for verdict in (done(upkeep.verify(session)), done(upkeep.verify(session, deep=True))):
        assert (verdict.checked, verdict.bad) == (1, [])
    assert verdict.size > 2 * path.stat().st_size
    assert {key[1] for key in verdict.results} == {"ok"}
    outcome = done(upkeep.repair(session))
    assert (outcome.healed, outcome.left, outcome.kept) == ({}, [], [])
    assert rig.events.named("damage_found") == rig.events.named("damage_healed") == []


@pytest.mark.parametrize("seed", range(25))
def test_a_bit_that_flips_anywhere_is_found_and_healed(rig: Rig, upkeep: Upkeep, seed: int) -> None:
    chance = random.Random(seed)
    path, session = a_transcript(rig)
    if seed % 2:
        path.unlink()  # the copies are all there is
    before = everything(rig, session)
    mirrored = rig.mirrored(session, path.name)
    layers = [
        rig.mirror.path_of(session.project or "", session.stored_as, path.name),
        pack_of(rig, session),
        place_of(rig, session) / "journal",
    ]
    hurt = layers[seed % 3]
    flip(hurt, chance.randrange(hurt.stat().st_size), chance.randrange(8))

    found = done(upkeep.verify(session, deep=True))
    if not found.bad:  # a few bits of a frame say nothing to zstd: then nothing is damaged
        assert (hurt, everything(rig, session)) == (pack_of(rig, session), before)
        return
    assert rig.events.named("damage_found")
    outcome = done(upkeep.repair(session))
    assert outcome.left == []
    assert outcome.healed or outcome.bits == 1
    assert done(upkeep.verify(session, deep=True)).bad == []
    assert everything(rig, session) == before
    assert rig.mirrored(session, path.name) == mirrored
    assert rig.vault.open(session.project or "", session.stored_as).damaged_lines() == 0


@pytest.mark.parametrize("place", [100, -70_000, -100], ids=["head", "middle", "tail"])
@pytest.mark.parametrize("when", ["before an append", "before a checkpoint"])
def test_damage_to_the_copy_of_a_session_that_goes_on_is_vouched_for_by_nobody(
    rig: Rig, upkeep: Upkeep, place: int, when: str
) -> None:
    path = rig.home.transcript()
    say = partial(line, "user", cwd=rig.home.project, session=path.stem)
    append(path, *(say(f"question {turn} " + "word " * 500) for turn in range(60)))
    rig.scan()
    rig.wait(300)
    if when == "before a checkpoint":
        append(path, say("captured, and nothing else"))
        rig.scan()
        rig.capture.capture(rig.session().ref, rig.now)
    copy = rig.mirror.path_of("app", rig.session().stored_as, path.name)
    flip(copy, place % copy.stat().st_size)
    if when == "before an append":
        for turn in range(3):
            append(path, say(f"more {turn}"))
            rig.scan()
    rig.wait(300)
    rig.wait(300)
    session = rig.session()
    assert rig.restored(session) == {path.name: path.read_bytes()}
    assert not rig.events.named("session_rewritten"), "its agent has changed nothing"
    assert {where.partition(":")[0] for where in wheres(done(upkeep.verify(session, deep=True)))} <= {
        "mirror"
    }
    assert done(upkeep.repair(session)).left == []
    assert copy.read_bytes() == path.read_bytes()
    assert done(upkeep.verify(rig.session(), deep=True)).bad == []


def test_every_part_together_is_everything(rig: Rig, upkeep: Upkeep) -> None:
    path, session = a_transcript(rig)
    flip(pack_of(rig, session), 50)
    flip(rig.mirror.path_of(session.project or "", session.stored_as, path.name), 5000)
    assert done(upkeep.verify(session)).bad == []
    found = [where for n in range(1, 6) for where in wheres(done(upkeep.verify(session, Part(n, 5))))]
    whole = wheres(done(upkeep.verify(session, Part(1, 1))))
    assert set(found) >= set(whole)
    assert [where.partition(":")[0] for where in whole] == ["vault", "mirror"]


def test_damage_to_both_at_the_same_place_is_said(rig: Rig, upkeep: Upkeep) -> None:
    path, session = a_transcript(rig)
    copy = rig.mirror.path_of(session.project or "", session.stored_as, path.name)
    segment = rig.vault.open(session.project or "", session.stored_as).fold().stored[0][0]
    flip(pack_of(rig, session), segment.at + segment.packed // 2)
    flip(copy, 10)
    path.unlink()
    hurt = copy.read_bytes(), pack_of(rig, session).read_bytes()
    outcome = done(upkeep.repair(session))
    assert {bad.store for bad in outcome.left} == {"vault", "mirror"}
    assert any(bad.where == f"vault: {path.name}, bytes 0 to {segment.end}" for bad in outcome.left)
    assert rig.events.named("damage_remained")[0]["where"]
    assert (copy.read_bytes(), pack_of(rig, session).read_bytes()) == hurt, "the last copies stay as they are"


def test_damage_to_both_is_healed_from_the_live_file(rig: Rig, upkeep: Upkeep) -> None:
    path, session = a_transcript(rig)
    copy = rig.mirror.path_of(session.project or "", session.stored_as, path.name)
    flip(pack_of(rig, session), 60)
    flip(copy, 10)
    outcome = done(upkeep.repair(session))
    assert outcome.left == []
    assert set(outcome.healed) == {"live", "vault"}
    (kept,) = outcome.kept
    assert kept.name.endswith(".damaged")
    assert copy.read_bytes() == path.read_bytes()


def test_damage_to_both_is_healed_from_elsewhere(rig: Rig) -> None:
    path, session = a_transcript(rig)
    data = path.read_bytes()

    def find(_session: Session, _machine: str, name: str, start: int, end: int) -> bytes:
        return data[start:end] if name == path.name else b""

    upkeep = upkeep_of(rig, github=find)
    flip(pack_of(rig, session), 60)
    flip(rig.mirror.path_of(session.project or "", session.stored_as, path.name), 10)
    path.unlink()
    outcome = done(upkeep.repair(session))
    assert (outcome.left, set(outcome.healed)) == ([], {"github", "vault"})


def test_what_elsewhere_says_is_not_believed_without_proof(rig: Rig) -> None:
    path, session = a_transcript(rig)
    data = path.read_bytes().replace(b"question", b"Question")
    upkeep = upkeep_of(rig, github=lambda _s, _m, _n, start, end: data[start:end])
    flip(pack_of(rig, session), 60)
    flip(rig.mirror.path_of(session.project or "", session.stored_as, path.name), 10)
    path.unlink()
    assert {bad.store for bad in done(upkeep.repair(session)).left} == {"vault", "mirror"}


def test_cut_bytes_are_healed_from_what_was_set_aside(rig: Rig, upkeep: Upkeep) -> None:
    path, session = a_transcript(rig)
    vault = rig.vault.open(session.project or "", session.stored_as)
    cut = [s for s, _ in vault.fold().stored if s.file == path.name and s.generation == 0][-1]
    flip(pack_of(rig, session), cut.at + cut.packed // 2)
    path.unlink()
    before = len(vault.snapshots())
    outcome = done(upkeep.repair(session))
    assert outcome.left == []
    assert [name for name in outcome.healed if name.startswith(f"{path.stem}.2")]
    assert all(rig.restored(session, c.id) for c in rig.catalog.checkpoints(session.id))
    assert len(vault.snapshots()) == before


def test_a_lost_mirror_is_made_again(rig: Rig, upkeep: Upkeep) -> None:
    path, session = a_transcript(rig)
    before = rig.mirrored(session, path.name)
    copy = rig.mirror.path_of(session.project or "", session.stored_as, path.name)
    copy.unlink()
    path.unlink()
    found = done(upkeep.verify(session))
    assert wheres(found) == [f"mirror: {path.name}, bytes 0 to {len(before)}"]
    outcome = done(upkeep.repair(session))
    assert (outcome.left, outcome.healed) == ([], {"vault": len(before)})
    assert copy.read_bytes() == before
    assert copy.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("by", ["repair", "capture"])
def test_with_a_lost_mirror_its_projects_get_their_names_back(rig: Rig, upkeep: Upkeep, by: str) -> None:
    path, session = a_transcript(rig)
    named = Names(rig.home.mirror).known()
    assert session.project in named.values()
    for _ in range(2):
        shutil.rmtree(rig.home.mirror)
        if by == "repair":
            assert done(upkeep.repair(session)).left == []
        else:
            append(path, line("user", "more", rig.home.project, session=path.stem))
            rig.scan()
        assert Names(rig.home.mirror).known() == named


def test_a_torn_pack_is_filled_from_the_mirror(rig: Rig, upkeep: Upkeep) -> None:
    path, session = a_transcript(rig)
    before = everything(rig, session)
    pack = pack_of(rig, session)
    with pack.open("r+b") as file:
        file.truncate(pack.stat().st_size // 3)
    found = done(upkeep.verify(session))
    assert {bad.result for _, bad in found.bad} == {"missing"}
    path.unlink()
    outcome = done(upkeep.repair(session))
    assert outcome.left == []
    assert everything(rig, session) == before


def test_a_checkpoint_that_only_the_state_knows_is_said(rig: Rig, upkeep: Upkeep) -> None:
    _, session = a_transcript(rig)
    journal = place_of(rig, session) / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    lost = next(n for n, text in enumerate(lines) if b'"do":"snapshot"' in text)
    journal.write_bytes(b"".join([*lines[:lost], b"X" * 50 + lines[lost][50:], *lines[lost + 1 :]]))
    first, *others = [checkpoint.id for checkpoint in rig.catalog.checkpoints(session.id)]
    damaged = journal.read_bytes()
    outcome = done(upkeep.repair(session))
    assert f"it has no checkpoint {first}" in [bad.what for bad in outcome.left]
    assert "1 of its lines are damaged" in [bad.what for bad in outcome.left]
    # said once; then the journal begins anew, and the old one is kept
    assert done(upkeep.repair(session)).left == []
    assert [checkpoint.id for checkpoint in rig.catalog.checkpoints(session.id)] == others
    kept = {path.name.rpartition("-")[0]: path for path in place_of(rig, session).glob("damaged-*")}
    assert sorted(kept) == ["damaged-journal", "damaged-pack"]
    assert kept["damaged-journal"].read_bytes() == damaged
    vault = rig.vault.open(session.project or "", session.stored_as)
    assert vault.damaged_lines() == 0
    assert all(snapshot.doubtful for snapshot in vault.snapshots())


@pytest.mark.parametrize("alive", [True, False])
def test_a_lost_vault_is_made_again(rig: Rig, upkeep: Upkeep, alive: bool) -> None:
    path, session = a_transcript(rig)
    before = rig.restored(session)
    lost = [checkpoint.id for checkpoint in rig.catalog.checkpoints(session.id)]
    if alive:  # and with it some of the plain copy
        flip(rig.mirror.path_of(session.project or "", session.stored_as, path.name), 10)
    else:
        path.unlink()
    shutil.rmtree(place_of(rig, session))
    outcome = done(upkeep.repair(session))
    assert {bad.what for bad in outcome.left} == {f"it has no checkpoint {name}" for name in lost}
    session = rig.session()
    assert rig.restored(session) == before
    assert done(upkeep.repair(session)).left == []
    assert [checkpoint.id for checkpoint in rig.catalog.checkpoints(session.id)] == [session.checkpoint]
    assert rig.catalog.checkpoints(session.id)[0].trigger == "repair"
    assert rig.vault.open(session.project or "", session.stored_as).first_seen() is not None


def test_what_is_captured_meanwhile_is_no_damage(rig: Rig, upkeep: Upkeep) -> None:
    path, session = a_transcript(rig)
    work = upkeep.verify(session, deep=True)
    for n in range(3):
        next(work)
        append(path, line("user", f"more {n}", rig.home.project, session=path.stem))
        rig.scan()
    path.write_bytes(line("user", "all anew", rig.home.project, session=path.stem))
    rig.scan()
    assert done(work).bad == []
    assert done(upkeep.verify(rig.session(), deep=True)).bad == []


def test_the_daily_scan_reads_each_byte_once_a_week_and_goes_on_where_it_was(rig: Rig) -> None:
    path, session = a_transcript(rig)
    write(rig.home.structured("s2"), [("context.json", b'{"a": 1}')])
    rig.scan()
    rig.wait(300)
    copy = rig.mirror.path_of(session.project or "", session.stored_as, path.name)
    flip(copy, 10)
    found, scans = 0, 0
    for _ in range(100):
        upkeep = upkeep_of(rig)  # a restart each time
        due = upkeep.next_scan()
        if due > rig.now:
            scans += 1
            if scans == 7:
                break
            rig.now = due
        found += len(done(upkeep.scan(rig.now)).bad)
    assert scans == 7
    assert found >= 1
    ended = rig.events.named("integrity_scanned")
    assert len(ended) == 7
    assert {event["sessions"] for event in ended} == {2}
    assert sum(event["bad"] for event in ended) == found


def test_where_a_scan_is_costs_a_commit_a_second_and_none_a_session(rig: Rig, upkeep: Upkeep) -> None:
    for number in range(20):
        append(rig.home.transcript(), line("user", f"question {number}", rig.home.project))
    rig.scan()
    rig.wait(300)
    heard: list[str] = []
    rig.store._connection.set_trace_callback(heard.append)
    for number in range(20):
        done(upkeep.scan(rig.now + 0.1 * number))
    rig.store._connection.set_trace_callback(None)
    assert heard.count("COMMIT") == 2
    told = len(rig.events.named("integrity_checked"))
    killed = upkeep_of(rig)  # what was looked at in the last second is looked at again
    done(killed.scan(rig.now + 2))
    assert len(rig.events.named("integrity_checked")) > told
    assert killed.next_scan() <= rig.now
    for _ in range(20):
        done(killed.scan(rig.now + 2))
    (ended,) = rig.events.named("integrity_scanned")
    assert ended["sessions"] == 20


def test_a_scan_whose_end_cannot_be_written_is_not_at_its_end(
    rig: Rig, upkeep: Upkeep, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(rig.home.transcript(), line("user", "question", rig.home.project))
    rig.scan()
    rig.wait(300)
    done(upkeep.scan(rig.now))
    with monkeypatch.context() as patch:
        patch.setattr(rig.store, "set_meta", Mock(side_effect=StoreFull("The disk is full.")))
        with pytest.raises(StoreFull):
            done(upkeep.scan(rig.now))
    assert upkeep.next_scan() <= rig.now
    assert not rig.events.named("integrity_scanned")
    done(upkeep.scan(rig.now))
    assert len(rig.events.named("integrity_scanned")) == 1


def test_a_vault_that_nobody_knows_is_looked_at_too(rig: Rig, upkeep: Upkeep) -> None:
    _, session = a_transcript(rig)
    pack = pack_of(rig, session)
    place = place_of(rig, session)
    rig.store.execute("DELETE FROM sessions")
    flip(pack, 60)
    bad = []
    for _ in range(7):
        bad += done(upkeep.scan(rig.now)).bad
        rig.now += 86_400
    assert [name for name, _ in bad] == [session.name]
    assert place.is_dir()


def versions(rig: Rig, session: Session, name: str) -> list[bytes]:
    """A file as it was at every checkpoint in the vault."""
    vault = rig.vault.open(session.project or "", session.stored_as)
    files = [vault.files(snapshot.id)[name] for snapshot in vault.snapshots()]
    return [b"".join(vault.read(name, f.generation, f.length, root=f.root)) for f in files]


@pytest.mark.parametrize("hurt", ["pack", "journal"])
def test_what_only_the_vault_knows_is_healed_by_its_plain_copy(rig: Rig, upkeep: Upkeep, hurt: str) -> None:
    path, session = a_transcript(rig)
    path.unlink()
    rig.store.execute("DELETE FROM sessions")
    before = versions(rig, session, path.name)
    if hurt == "pack":
        segment = rig.vault.open(session.project or "", session.stored_as).fold().stored[0][0]
        flip(pack_of(rig, session), segment.at + 20)
    else:
        flip(place_of(rig, session) / "journal", 300)
    assert {name for name, _ in done(upkeep.verify_others(deep=True)).bad} == {session.name}
    outcome = done(upkeep.repair_other(session.name))
    assert outcome.left == []
    assert outcome.healed or outcome.bits == 1
    assert done(upkeep.verify_others(deep=True)).bad == []
    assert versions(rig, session, path.name) == before
    with pytest.raises(NoSuchSession):
        done(upkeep.repair_other("claude:nothing"))


def test_a_damaged_or_missing_dictionary_is_laid_anew(rig: Rig, upkeep: Upkeep) -> None:
    a_transcript(rig)
    (dictionary,) = (rig.home.vault / ".sessiond").glob("dictionary-*")
    sound = dictionary.read_bytes()
    for hurt in (partial(flip, dictionary, 5000, 3), dictionary.unlink):
        hurt()
        (bad,) = done(upkeep.verify_others()).bad
        assert str(dictionary) in bad[1].where
        assert dictionary.read_bytes() == sound
        assert done(upkeep.verify_others(deep=True)).bad == []


def cut_in_half(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) // 2]))


FOREIGN = b"somebody else wrote this\n" * 200
BREAKS: dict[str, Callable[[Path, Path], object]] = {
    "no pack": lambda _journal, pack: pack.unlink(),
    "an empty pack": lambda _journal, pack: pack.write_bytes(b""),
    "a foreign pack": lambda _journal, pack: pack.write_bytes(FOREIGN),
    "no journal": lambda journal, _pack: journal.unlink(),
    "an empty journal": lambda journal, _pack: journal.write_bytes(b""),
    "half a journal": lambda journal, _pack: cut_in_half(journal),
    "a foreign journal": lambda journal, _pack: journal.write_bytes(FOREIGN),
    "zeros in the journal": lambda journal, _pack: journal.write_bytes(
        journal.read_bytes()[:500] + bytes(300) + journal.read_bytes()[800:]
    ),
}


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("breaks", BREAKS)
def test_a_broken_vault_is_whole_again(rig: Rig, upkeep: Upkeep, breaks: str, alive: bool) -> None:
    path, session = a_transcript(rig)
    before, newest = everything(rig, session), rig.restored(session)
    if not alive:
        path.unlink()
        rig.scan()
    BREAKS[breaks](place_of(rig, session) / "journal", pack_of(rig, session))
    assert done(upkeep.verify(rig.session(), deep=True)).bad
    said = done(upkeep.repair(rig.session())).left
    assert all("checkpoint" in bad.what or "lines are damaged" in bad.what for bad in said)
    assert done(upkeep.repair(rig.session())).left == [], "what is lost for good is said once"
    after = everything(rig, rig.session())
    assert [after[name] for name in after if name in before] == [before[n] for n in after if n in before]
    assert rig.restored(rig.session()) == newest
    # and goes on as a whole: a later checkpoint names what did not change as well
    append(path, line("user", "more", rig.home.project, session=path.stem))
    rig.scan()
    rig.wait(300)
    assert rig.restored(rig.session()).keys() == newest.keys()
    assert done(upkeep.verify(rig.session(), deep=True)).bad == []


def test_lines_that_were_lost_without_a_trace_are_missed(rig: Rig, upkeep: Upkeep) -> None:
    path, session = a_transcript(rig)
    journal = place_of(rig, session) / "journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(text for text in lines if b"tool-results" not in text))
    append(path, line("user", "more", rig.home.project, session=path.stem))
    rig.scan()
    rig.wait(300)  # a checkpoint that names only what changed
    assert any("tool-results" in bad.what for _, bad in done(upkeep.verify(rig.session())).bad)
    done(upkeep.repair(rig.session()))
    assert done(upkeep.repair(rig.session())).left == []
    assert sorted(rig.restored(rig.session())) == sorted([path.name, f"{path.stem}/tool-results/a.txt"])


def test_something_else_where_the_journal_belongs_is_said(rig: Rig, upkeep: Upkeep) -> None:
    _, session = a_transcript(rig)
    journal = place_of(rig, session) / "journal"
    kept = journal.read_bytes()
    journal.unlink()
    journal.mkdir()
    (bad,) = done(upkeep.repair(session)).left
    assert (bad.result, str(journal) in bad.what) == ("error", True)
    journal.rmdir()
    journal.write_bytes(kept)
    assert done(upkeep.repair(session)).left == []


def test_what_an_older_backup_left_is_taken_in_and_left_alone(rig: Rig, upkeep: Upkeep) -> None:
    path, session = a_transcript(rig)
    old, new, short = (f"0000000{n}-58d7-4cf4-9f3f-6a6f5c9c1a11" for n in range(3))
    text = line("user", "long ago " * 300_000, rig.home.project, session=old)
    write(rig.home.vault / "app", [(f"{old}.jsonl", text), (f"2023/{old}.jsonl", text[:100])])
    write(rig.home.vault / "app" / "2023" / "a" / "b", [(f"{new}.jsonl", text[:999]), ("notes.jsonl", b"x")])
    write(rig.home.vault / "app", [(path.name, path.read_bytes()[:500]), (f".hidden/{short}.jsonl", b"x")])
    write(rig.home.mirror / "other", [(f"{short}.jsonl", text[:77])])
    (rig.home.vault / "app" / "00000009-58d7-4cf4-9f3f-6a6f5c9c1a11.jsonl").symlink_to(path)
    before = {file: file.read_bytes() for file in rig.home.vault.rglob("*.jsonl")}

    folders = {rig.home.mirror: 1, rig.home.vault: 6}
    assert done(upkeep.adopt(folders)) == 3
    assert done(upkeep.adopt(folders)) == 0
    for sid, project, data in ((old, "app", text), (new, "app", text[:999]), (short, "other", text[:77])):
        vault = rig.vault.open(project, Ref("claude", sid))
        (snapshot,) = vault.snapshots()
        (file,) = vault.files(snapshot.id).values()
        assert b"".join(vault.read(file.name, 0, file.length, root=file.root)) == data
    assert {file: file.read_bytes() for file in rig.home.vault.rglob("*.jsonl")} == before
    assert [event["session"] for event in rig.events.named("session_adopted")] == [
        f"claude:{sid}" for sid in (short, old, new)
    ]
    assert done(upkeep.verify_others(deep=True)).bad == []
    assert len(rig.catalog.checkpoints(session.id)) == 6


def test_what_was_forgotten_is_not_taken_in_from_an_older_backup(rig: Rig, upkeep: Upkeep) -> None:
    old = "00000000-58d7-4cf4-9f3f-6a6f5c9c1a11"
    write(rig.home.vault / "app", [(f"2023/{old}.jsonl", line("user", "long ago", rig.home.project))])
    Tombstones(rig.home.mirror).add("claude", old)
    folders = {rig.home.mirror: 1, rig.home.vault: 6}
    assert done(upkeep.adopt(folders)) == 0
    assert Tombstones(rig.home.mirror).lift("claude", old)
    assert done(upkeep.adopt(folders)) == 1


def test_what_is_just_being_captured_is_no_older_backup(rig: Rig, upkeep: Upkeep) -> None:
    path = rig.home.transcript()
    append(path, line("user", "hello", rig.home.project, session=path.stem))
    rig.scan(flush=False)  # its plain copy is there, and the catalog knows nothing of it yet
    assert list(rig.home.mirror.glob(f"*/{path.name}"))
    assert done(upkeep.adopt({rig.home.mirror: 1, rig.home.vault: 6})) == 0
    assert not rig.events.named("session_adopted")
    rig.wait(300)
    (point,) = rig.catalog.checkpoints(rig.session().id)
    assert [kept.id for kept in rig.vault.open("app", rig.session().ref).snapshots()] == [point.id]


@pytest.mark.parametrize("seed", range(5))
def test_what_was_set_aside_is_looked_at_and_healed_too(rig: Rig, upkeep: Upkeep, seed: int) -> None:
    chance = random.Random(seed)
    path, session = a_transcript(rig)
    copy = rig.mirror.path_of(session.project or "", session.stored_as, path.name)
    (aside,) = copy.parent.glob(f"{path.stem}.2*.jsonl")
    foreign = aside.with_name(f"{path.stem}.20200101T000000Z.10.jsonl")
    foreign.write_bytes(chance.randbytes(aside.stat().st_size))
    before = aside.read_bytes(), foreign.read_bytes()
    assert done(upkeep.verify(session, deep=True)).bad == []
    flip(aside, chance.randrange(len(before[0])), chance.randrange(8))
    (where,) = wheres(done(upkeep.verify(session, deep=True)))
    assert where.startswith(f"mirror: {aside.name}, bytes ")
    outcome = done(upkeep.repair(session))
    assert (outcome.left, outcome.healed) == ([], {"vault": 1})
    assert (aside.read_bytes(), foreign.read_bytes()) == before
    assert [kept.suffix for kept in outcome.kept] == [".damaged"]
    assert done(upkeep.verify(session, deep=True)).bad == []


def test_what_is_another_file_is_known_by_its_first_bytes_and_not_listed(rig: Rig, upkeep: Upkeep) -> None:
    path = rig.home.transcript()
    say = partial(line, "user", cwd=rig.home.project, session=path.stem)
    append(path, say("a long question " + "word " * 200_000), say("one more"))
    rig.scan()
    rig.wait(300)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    rig.scan()
    rig.wait(300)
    session = rig.session()
    copy = rig.mirror.path_of(session.project or "", session.stored_as, path.name)
    foreign = copy.with_name(f"{path.stem}.20200101T000000Z.0.jsonl")
    foreign.write_bytes(b"\0" * copy.stat().st_size)
    tracemalloc.start()
    try:
        assert done(upkeep.verify(session, deep=True)).bad == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * copy.stat().st_size

"""Which checkpoints stay, what goes with those that do not, and what is never touched."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from sessionsync.catalog import Session
from sessionsync.errors import NoSuchCheckpoint
from sessionsync.upkeep import COLD_S, GRACE_S, QUIET_S
from sessionsync.upkeep.merge import MANY_CHECKPOINTS
from sessionsync.vault.retention import DAY_S, kept
from tests.bench.corpus import session_bytes
from tests.keeper import done, flip, pack_of, place_of, upkeep_of
from tests.rig import START, Rig, append, line, write


@dataclass(frozen=True)
class At:
    at: float
    id: str = ""


def points(*ats: float) -> list[At]:
    return [At(at, str(number)) for number, at in enumerate(ats)]


# --- the rule


def test_the_newest_stay_and_one_a_day() -> None:
    noon = START // DAY_S * DAY_S + DAY_S / 2
    days = [noon - DAY_S * back + hour * 3600 for back in range(40, -1, -1) for hour in (-3, 0, 3)]
    found = points(*days)
    stay = kept(found, keep=5, now=noon + 4 * 3600)
    assert {p.id for p in found[-5:]} <= stay
    others = [p for p in found if p.id in stay and p not in found[-5:]]
    assert all(p.at % DAY_S == DAY_S / 2 + 3 * 3600 for p in others), "the last one of its day"
    assert len({int(p.at // DAY_S) for p in found if p.id in stay}) == 30


@pytest.mark.parametrize(
    ("ats", "keep", "now", "pinned", "expected"),
    [
        ([], 50, 0, (), set()),
        ([0], 1, START, (), {"0"}),
        ([0, 1, 2], 1, START, (), {"2"}),
        ([0, 1, 2], 1, START, ("0", "no such"), {"0", "2"}),
        ([0, 1, 2], 50, START, (), {"0", "1", "2"}),
        ([START, START + 1], 1, START + 30 * DAY_S, (), {"1"}),
        (
            [START + 9, START + 5],
            1,
            START + 9,
            (),
            {"1"},
        ),  # a clock that went back: the later made is the newer
    ],
)
def test_the_rule(
    ats: list[float], keep: int, now: float, pinned: tuple[str, ...], expected: set[str]
) -> None:
    assert kept(points(*ats), keep=keep, now=now, pinned=pinned) == expected


# --- a session


def grow(rig: Rig, path: Path, turns: int, *, apart_s: float = 400) -> Session:
    """So many checkpoints more."""
    for turn in range(turns):
        append(path, line("user", f"{turn} {rig.now} " + "word " * 50, rig.home.project, session=path.stem))
        rig.scan()
        rig.wait(apart_s)
    return rig.session()


def ids(rig: Rig, session: Session) -> list[str]:
    return [checkpoint.id for checkpoint in rig.catalog.checkpoints(session.id)]


def in_vault(rig: Rig, session: Session) -> list[str]:
    return [s.id for s in rig.vault.open(session.project or "", session.stored_as).snapshots()]


def test_old_checkpoints_are_forgotten_in_state_and_vault(rig: Rig) -> None:
    session = grow(rig, rig.home.transcript(), 12)
    upkeep = upkeep_of(rig, keep=5)
    before, contents = ids(rig, session), {name: rig.restored(session, name) for name in ids(rig, session)}
    assert upkeep.crowded() == [session.id]
    gone = upkeep.forget(session)
    assert gone == before[:7]
    assert ids(rig, session) == in_vault(rig, session) == before[7:]
    assert {name: rig.restored(session, name) for name in before[7:]} == {n: contents[n] for n in before[7:]}
    with pytest.raises(NoSuchCheckpoint):
        rig.restored(session, gone[0])
    assert upkeep.forget(session) == []
    assert rig.events.named("checkpoints_forgotten") == [{"session": session.name, "count": 7}]
    again = grow(rig, next(rig.home.agent.rglob("*.jsonl")), 1)
    assert ids(rig, again)[:5] == before[7:], "life goes on"


def test_what_waits_to_be_sent_stays(rig: Rig) -> None:
    session = grow(rig, rig.home.transcript(), 8)
    wanted = ids(rig, session)[1]
    rig.queue.enqueue("comment", session.id, wanted, rig.now)
    item = rig.queue.lease(rig.now)
    assert item is not None
    rig.queue.enqueue("comment", session.id, ids(rig, session)[3], rig.now)
    upkeep_of(rig, keep=2).forget(session)
    assert {wanted, *ids(rig, session)[-2:]} <= set(ids(rig, session))
    assert len(ids(rig, session)) == 4
    rig.queue.bury(item, "no", "code")
    rig.queue.done(item, rig.now)
    upkeep_of(rig, keep=1).forget(session)
    assert len(ids(rig, session)) == 2, "a buried item's checkpoint stays, and the newest"


def test_what_was_sent_last_stays(rig: Rig) -> None:
    session = grow(rig, rig.home.transcript(), 6)
    sent = rig.catalog.checkpoints(session.id)[2]
    rig.catalog.mark_pushed(session.id, sent, rig.now)
    upkeep_of(rig, keep=2).forget(session)
    assert ids(rig, session)[0] == sent.id
    assert len(ids(rig, session)) == 3


def test_what_a_shrink_cut_stays_restorable(rig: Rig) -> None:
    path = rig.home.transcript()
    grow(rig, path, 5)
    whole = path.read_bytes()
    last = rig.session().checkpoint
    path.write_bytes(whole[: whole.index(b"\n") + 1])
    session = grow(rig, path, 9)
    upkeep = upkeep_of(rig, keep=2)
    upkeep.forget(session)
    assert ids(rig, session)[0] == last
    assert done(upkeep.merge(session, rig.now, force=True))
    assert rig.restored(session, last)[path.name] == whole
    assert len(ids(rig, session)) == 3


def test_a_checkpoint_with_a_file_of_its_own_stays_as_long_as_that(rig: Rig) -> None:
    folder = rig.home.structured("s1")
    for number in range(6):
        write(folder, [("context.json", b'{"n": %d}' % number), (f"checkpoints/c{number}.json", b"{}")])
        rig.scan()
        rig.wait(400)
    session = rig.session()
    aliases = [c.alias for c in rig.catalog.checkpoints(session.id) if c.alias]
    assert aliases == [f"c{n}" for n in range(6)]
    (folder / "checkpoints" / "c1.json").unlink()
    rig.scan()
    rig.wait(400)
    upkeep_of(rig, keep=1).forget(session)
    left = {c.alias for c in rig.catalog.checkpoints(session.id)}
    assert left - {""} == {"c0", "c2", "c3", "c4", "c5"}
    newest = rig.session().checkpoint or ""
    files = rig.vault.open(session.project or "", session.stored_as).files(newest)
    assert "checkpoints/c1.json" in files, "the file itself is still there"


def test_a_damaged_journal_forgets_nothing(rig: Rig) -> None:
    session = grow(rig, rig.home.transcript(), 6)
    journal = place_of(rig, session) / "journal"
    data = journal.read_bytes()
    journal.write_bytes(data[:100] + b"XXXX" + data[104:])
    assert upkeep_of(rig, keep=1).forget(session) == []


# --- merging a session


def test_small_segments_become_one(rig: Rig) -> None:
    path = rig.home.transcript()
    session = grow(rig, path, 40)
    upkeep = upkeep_of(rig, keep=10)
    upkeep.forget(session)
    contents = {name: rig.restored(session, name) for name in ids(rig, session)}
    size = pack_of(rig, session).stat().st_size
    rig.now += QUIET_S + 1
    due = upkeep.next_to_merge(rig.now)
    assert due is not None
    assert due.id == session.id
    assert done(upkeep.merge(due, rig.now))
    assert upkeep.next_to_merge(rig.now) is None
    assert pack_of(rig, session).name == "pack-1"
    assert sorted(p.name for p in place_of(rig, session).iterdir()) == ["journal", "pack-1"]
    assert pack_of(rig, session).stat().st_size < size / 2
    (merged,) = rig.events.named("segments_merged")
    assert (merged["frames_before"], merged["frames"]) == (40, 1)
    assert {name: rig.restored(session, name) for name in ids(rig, session)} == contents
    assert done(upkeep.verify(session, deep=True)).bad == []

    more = grow(rig, path, 2)
    assert rig.restored(more)[path.name] == path.read_bytes()


def test_a_session_that_never_rests_is_merged_after_so_many_checkpoints(rig: Rig) -> None:
    path, upkeep = rig.home.transcript(), upkeep_of(rig, keep=10)
    for _ in range(2):
        assert upkeep.next_to_merge(rig.now) is None
        grow(rig, path, MANY_CHECKPOINTS - 1)
        assert upkeep.next_to_merge(rig.now) is None
        session = grow(rig, path, 1)
        append(path, line("user", "More", rig.home.project))
        rig.scan()  # it goes on
        due = upkeep.next_to_merge(rig.now)
        assert due is not None
        assert due.dirty_since is not None
        upkeep.forget(due)
        before = place_of(rig, session).joinpath("journal").read_bytes().count(b"\n")
        assert done(upkeep.merge(due, rig.now))
        assert place_of(rig, session).joinpath("journal").read_bytes().count(b"\n") < before / 2
        rig.now += 1
    grow(rig, path, 1)
    assert rig.restored(rig.session())[path.name] == path.read_bytes()


def test_a_cold_session_is_compressed_further_once(rig: Rig) -> None:
    path = rig.home.transcript()
    path.write_bytes(session_bytes(7, 600_000))
    rig.scan()
    rig.wait(400)
    session = rig.session()
    size = pack_of(rig, session).stat().st_size
    upkeep = upkeep_of(rig)
    rig.now += QUIET_S + 1
    assert not done(upkeep.merge(session, rig.now))
    rig.now += COLD_S + 1
    due = upkeep.next_to_merge(rig.now)
    assert due is not None
    assert done(upkeep.merge(due, rig.now))
    assert pack_of(rig, session).stat().st_size < size * 0.95  # of one frame, which packs well as it is
    assert upkeep.next_to_merge(rig.now + 9 * COLD_S) is None
    assert not done(upkeep.merge(session, rig.now)), "there is nothing left to win"
    assert rig.restored(session)[path.name] == path.read_bytes()


def test_the_state_may_be_lost_after_a_merge(rig: Rig) -> None:
    path = rig.home.transcript()
    session = grow(rig, path, 30)
    assert done(upkeep_of(rig).merge(session, rig.now, force=True))
    known = ids(rig, session)
    rig.close()
    (rig.home.state / "state.db").unlink()
    again = Rig(rig.home, now=rig.now)
    try:
        again.scan()
        append(path, line("user", "after", rig.home.project, session=path.stem))
        again.scan()
        again.wait(400)
        assert ids(again, again.session())[: len(known)] == known
        assert again.restored(again.session())[path.name] == path.read_bytes()
    finally:
        again.close()


# --- what is not ours


def test_the_files_of_others_are_never_touched(rig: Rig) -> None:
    """An older system's tree in the same folders, also with names like ours."""
    path = rig.home.transcript()
    session = grow(rig, path, 30)
    place = place_of(rig, session)
    old = [
        rig.home.vault / "app" / "2024-01-01" / "session.jsonl",
        rig.home.vault / "app" / "notes.md",
        rig.home.vault / "elsewhere" / "pack",
        rig.home.vault / "elsewhere" / "journal",
        place / "README",
        place / "pack.bak",
        place / "pack-x",
        place / "pack-007",
        rig.home.mirror / "app" / "old.jsonl",
        rig.home.mirror / "app" / ".old.jsonl.part",
    ]
    for file in old:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"mine: " + str(file).encode())
        os.utime(file, (START - 9 * GRACE_S, START - 9 * GRACE_S))
    upkeep = upkeep_of(rig, keep=1)
    upkeep.forget(session)
    assert done(upkeep.merge(session, rig.now, force=True))
    rig.now += 9 * GRACE_S
    assert done(upkeep.gc(rig.now))["files"] == []
    assert done(upkeep.repair(session)).left == []
    assert [file.read_bytes() for file in old] == [b"mine: " + str(file).encode() for file in old]


def test_gc_takes_what_nothing_names_and_says_so_before(rig: Rig) -> None:
    session = grow(rig, rig.home.transcript(), 5)
    upkeep = upkeep_of(rig)
    place = place_of(rig, session)
    pack = pack_of(rig, session)
    with pack.open("ab") as file:
        file.write(b"what a crash left" * 10)
    for name in ("pack-1", "journal.part"):
        (place / name).write_bytes(b"half")
        os.utime(place / name, (rig.now, rig.now))
    now = rig.now + 60
    young = done(upkeep.gc(now, dry_run=True))
    assert (young["files"], young["freed_bytes"]) == ([], 170)
    rig.now += 2 * GRACE_S
    said = done(upkeep.gc(rig.now, dry_run=True))
    assert {Path(name).name for name in said["files"]} == {"pack-1", "journal.part"}
    assert said["freed_bytes"] == 178
    assert (place / "pack-1").exists()
    assert done(upkeep.gc(rig.now)) == said
    assert sorted(p.name for p in place.iterdir()) == ["journal", "pack-1"]
    assert done(upkeep.gc(rig.now)) == {"files": [], "packs": [], "freed_bytes": 0}
    assert done(upkeep.verify(session, deep=True)).bad == []


def test_a_journal_as_it_was_before_it_was_mended_goes_when_all_that_it_said_is_in_the_one_that_counts(
    rig: Rig,
) -> None:
    session = grow(rig, rig.home.transcript(), 5)
    upkeep, place = upkeep_of(rig), place_of(rig, session)
    journal = place / "journal"
    sound = journal.read_bytes()

    def gone() -> list[str]:
        return [Path(name).name for name in done(upkeep.gc(rig.now))["files"]]

    flip(journal, 300)
    assert done(upkeep.repair(session)).bits == 1
    assert journal.read_bytes() == sound
    (kept,) = place.glob("damaged-journal-*")
    beyond = place / "damaged-journal-20260101T000000Z"
    beyond.write_bytes(sound[:300] + b"XXXX" + sound[304:])
    mine = place / "damaged-journal-of-mine"
    mine.write_bytes(sound)
    for file in (kept, beyond, mine):
        os.utime(file, (rig.now, rig.now))
    assert gone() == []  # it is young
    rig.now += 2 * GRACE_S
    journal.write_bytes(beyond.read_bytes())
    assert gone() == []  # it is the only one to tell it all
    journal.write_bytes(sound)
    assert gone() == [kept.name]
    assert beyond.exists()
    assert mine.exists()
    assert done(upkeep.verify(session, deep=True)).bad == []


def test_a_pack_is_never_an_orphan_while_its_journal_is_damaged(rig: Rig) -> None:
    session = grow(rig, rig.home.transcript(), 5)
    place = place_of(rig, session)
    journal = place / "journal"
    data = journal.read_bytes()
    journal.write_bytes(b"XXXXXXXXXXXX" + data[12:])
    (place / "pack-1").write_bytes(b"half")
    for file in place.iterdir():
        os.utime(file, (START - 9 * GRACE_S, START - 9 * GRACE_S))
    assert done(upkeep_of(rig).gc(rig.now))["files"] == []
    assert (place / "pack").exists()


def test_gc_leaves_a_pack_that_no_merge_made(rig: Rig) -> None:
    session = grow(rig, rig.home.transcript(), 3)
    foreign = place_of(rig, session) / "pack-7"
    foreign.write_bytes(b"somebody's")
    os.utime(foreign, (START - 9 * GRACE_S, START - 9 * GRACE_S))
    assert done(upkeep_of(rig).gc(rig.now))["files"] == []
    assert foreign.read_bytes() == b"somebody's"


def test_every_content_of_an_artifact_stays_in_both_copies(rig: Rig) -> None:
    folder = rig.home.structured("s1")
    contents = [bytes([65 + n]) * 1000 * (n + 1) for n in range(4)]
    for data in contents:
        write(folder, [("context.json", b"{}"), ("artifacts/plan.bin", data)])
        rig.scan()
        rig.wait(300)
    (folder / "artifacts" / "plan.bin").unlink()
    rig.scan()
    rig.wait(300)
    for day in range(1, 4):
        write(folder, [("context.json", b'{"day": %d}' % day)])
        rig.wait(40 * DAY_S)
        rig.wait(300)
    session = rig.session()
    upkeep = upkeep_of(rig, keep=1)
    assert upkeep.forget(session)
    assert done(upkeep.merge(session, rig.now, force=True))
    vault = rig.vault.open(session.project or "", session.stored_as)
    kept = [b"".join(vault.read("artifacts/plan.bin", n, len(data))) for n, data in enumerate(contents)]
    assert kept == contents
    copy = rig.mirror.path_of(session.project or "", session.stored_as, "artifacts/plan.bin")
    beside = [path.read_bytes() for path in copy.parent.glob("plan.2*.bin")]
    assert sorted([copy.read_bytes(), *beside]) == contents
    assert done(upkeep.verify(session, deep=True)).bad == []

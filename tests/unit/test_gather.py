"""Two machines on one archive and no GitHub: what each hears of the other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sessiond.away import Away
from sessiond.engine import Engine
from sessiond.loops import PushLoop
from sessionsync.config import load
from sessionsync.conflict import Conflict, Conflicts
from sessionsync.elsewhere import Elsewhere as Kept
from sessionsync.elsewhere import Versions
from sessionsync.events import silent
from sessionsync.gather import Gather
from sessionsync.paths import paths
from sessionsync.privacy.gate import Gate
from sessionsync.privacy.seal import make_identity
from sessionsync.remote.archive.reader import Reader
from sessionsync.remote.archive.reader import Version as InArchive
from sessionsync.report import sessions
from sessionsync.restore.archived import ArchiveShelf
from sessionsync.retry import ROUND_S
from sessionsync.vault.verify import Part
from tests.archive import Elsewhere, Shipper, refs_of, run_git, sha, with_archive
from tests.keeper import done, flip, upkeep_of
from tests.machines import SID, texts
from tests.rig import START, Home, Line, Rig, append, line, write


class Peer:
    """A home with an archive and nothing else."""

    def __init__(self, folder: Path, archive: Path, number: int, **settings: Any) -> None:
        self.home = Home(folder)
        self.rig = Rig(self.home, settings=with_archive(self.home.config(), archive, **settings))
        self.name = f"{number:08x}"
        self.shipper = Shipper(self.rig, machine=self.name)
        # nobody listens there: whatever would be asked of GitHub fails
        self.line = Line(self.rig, "http://127.0.0.1:9", machine=self.name, host=f"host{number}", tells=False)
        self.asked = 0
        self.archive = archive
        self.gather = self.listening()

    def listening(self) -> Gather:
        return Gather(
            archive=self._reader,
            name="a",
            push=lambda: self.line.push,
            catalog=self.rig.catalog,
            elsewhere=Kept(self.home.vault, self.rig.events),
            gate=Gate(),
            limits=(46_080, 204_800),
            machine=lambda: self.name,
            ready=self.archive.exists,
            emit=self.rig.events,
        )

    @contextmanager
    def _reader(self) -> Iterator[Reader]:
        with closing(Elsewhere(self.home.state, self.rig.config)) as opened:
            ask = opened.host.refs

            def counted(now: float) -> dict[str, str]:
                self.asked += 1
                return ask(now)

            opened.host.refs = counted  # type: ignore[method-assign]
            yield opened.reader

    @property
    def transcript(self) -> Path:
        return self.home.transcript(SID)

    def say(self, *said: str) -> None:
        append(self.transcript, *(line("user", text, "/w/app", session=SID) for text in said))

    def send(self) -> None:
        self.rig.wait(5)
        self.rig.wait(200)
        self.shipper.drain()

    def hear(self, now: float = 0.0) -> None:
        self.rig.now = max(self.rig.now, now) + ROUND_S + 1
        assert self.gather.work(self.rig.now)

    def told(self) -> tuple[bool, bool]:
        (found,) = sessions(self.rig.catalog, self.rig.now)["sessions"]
        return found["newer_elsewhere"], found["conflict"]

    def close(self) -> None:
        self.line.close()
        self.shipper.close()
        self.rig.close()


Make = Callable[..., Peer]


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Make]:
    made: list[Peer] = []

    def make(number: int, **settings: Any) -> Peer:
        made.append(Peer(tmp_path / str(number), tmp_path / "archive.git", number, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def pair(peer: Make, **settings: Any) -> tuple[Peer, Peer]:
    """Two machines that have the same session."""
    one, two = peer(1, **settings), peer(2, **settings)
    one.say("begun")
    two.transcript.write_bytes(one.transcript.read_bytes())
    one.send()
    two.send()
    return one, two


def kept(peer: Peer) -> bytes:
    """What the peer keeps of the other's newest transcript."""
    session = peer.rig.session()
    (version,) = Versions(peer.rig.store).of(session.id)
    files = Kept(peer.home.vault).files(session.stored_as, version.machine, version.checkpoint)
    source = files[f"{SID}.jsonl"]
    return b"".join(source.read(0, source.size))


def test_what_could_not_be_kept_is_tried_again(peer: Make) -> None:
    one, two = pair(peer)
    one.say("more")
    one.send()
    place = two.home.vault / ".sessiond" / "elsewhere"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"a file where the folder belongs")
    two.hear()
    assert two.told() == (False, False)
    place.unlink()
    two.hear()
    assert kept(two) == one.transcript.read_bytes()


def test_of_a_version_that_says_more_than_the_disk_holds_nothing_is_read(
    peer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair(peer)
    two.hear()
    one.say("more " * 1000)
    one.send()
    with monkeypatch.context() as small:
        for name in ("read", "digest"):
            small.setattr(InArchive, name, lambda _, file: pytest.fail(f"{file.name} was read"))
        small.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=999))
        two.hear()
    (told,) = two.rig.events.named("copy_unavailable")
    assert "room for 999" in told["reason"]
    assert two.told() == (False, False)
    two.hear()
    assert kept(two) == one.transcript.read_bytes()


def test_while_much_is_read_for_it_the_loop_that_pushes_is_not_taken_for_stuck(
    peer: Make, home: Path
) -> None:
    one, _ = pair(peer)
    one.send()
    where = paths(os.environ)
    where.state_dir.mkdir(parents=True)
    config = with_archive(load(os.environ, where.config_file), one.archive)
    with closing(Engine(os.environ, config, where, silent)) as engine:
        loop = PushLoop(engine, lambda: True, silent, lambda *_: None)

        def lives(step: Callable[[], object]) -> object:
            loop.progressed_at -= 500
            done = step()
            assert loop.progress_age_s < 100
            return done

        assert engine.gather is not None
        # who is at it goes on also where the settings name no archive any more
        engine.config = load(os.environ, where.config_file)
        with engine.gather._archive() as reader:
            (head, *_) = reader.heads(0.0)
            lives(lambda: reader.fetch([head], 0.0))
            version = reader.newest(head)
            lives(lambda: [version.digest(file) for file in version.files()])


def test_what_went_on_elsewhere_is_kept_and_shown_and_put_nowhere(peer: Make) -> None:
    one, two = pair(peer)
    two.hear()
    assert two.told() == (False, False)
    one.say("gone on")
    one.send()
    before = two.transcript.read_bytes()

    two.hear(one.rig.now)

    assert two.told() == (True, False)
    assert texts(kept(two)) == ["begun", "gone on"]
    assert two.transcript.read_bytes() == before
    two.transcript.write_bytes(one.transcript.read_bytes())  # as a restore does
    two.send()
    two.hear()
    assert two.told() == (False, False)


def test_what_a_clock_far_ahead_has_dated_hides_nothing_that_comes_after_it(peer: Make) -> None:
    one, two = pair(peer)
    one.rig.now += 365 * 86_400
    one.say("from next year")
    one.send()
    two.hear()
    assert texts(kept(two)) == ["begun", "from next year"]
    one.rig.now -= 365 * 86_400
    one.say("and from now")
    one.send()
    two.hear()
    assert texts(kept(two)) == ["begun", "from next year", "and from now"]


def test_a_transcript_that_went_two_ways_is_united_and_no_conflict(peer: Make) -> None:
    one, two = pair(peer)
    one.say("of one")
    two.say("of two")
    one.send()
    two.send()
    one.hear()
    two.hear()
    for each, other in ((one, "of two"), (two, "of one")):
        assert other in texts(kept(each))
        assert Conflicts(each.rig.store).open_count() == 0
        assert len(each.rig.events.named("session_united")) == 1


def test_files_that_went_two_ways_are_a_conflict_without_a_notice(peer: Make) -> None:
    one, two = peer(1), peer(2)
    for each, said in ((one, b'{"n": 1}'), (two, b'{"n": 2}')):
        write(each.home.structured("plan"), [("context.json", said), ("conversation.json", b"[]")])
        # the same project on both, as its remote would say
        each.send()
        each.rig.store.execute("UPDATE sessions SET project_key = 'github.com/o/app'")
    for each in (one, two):
        write(each.home.structured("plan"), [("context.json", b'{"by": "%s"}' % each.name.encode())])
        each.send()
    two.hear(one.rig.now)

    assert two.told()[1]
    (conflict,) = Conflicts(two.rig.store).all()
    assert conflict.machine == one.name
    assert two.rig.queue.get("notice", two.rig.session().id) is None
    two.line.push.others.resolve(two.rig.session(), conflict, "local", two.rig.now)
    two.hear()
    assert Conflicts(two.rig.store).open_count() == 0
    assert two.rig.queue.get("notice", two.rig.session().id) is None


def test_at_rest_the_archive_is_asked_once_a_minute_and_nothing_is_written(peer: Make) -> None:
    one, two = pair(peer)
    two.hear(one.rig.now)
    two.asked, said = 0, two.rig.store.meta("gathered a")
    start = two.rig.now
    for second in range(1, 601):
        two.gather.work(start + second)
    assert two.asked == 10
    assert two.rig.store.meta("gathered a") == said
    assert len(two.rig.events.named("version_kept")) == 1


def test_sessions_of_others_are_not_fetched(peer: Make) -> None:
    one, two = peer(1), peer(2)
    one.say("not yours")
    one.send()
    two.hear(one.rig.now)
    assert two.rig.catalog.sessions() == []
    assert two.rig.events.named("version_kept") == []
    assert not (two.home.vault / ".sessiond" / "elsewhere").exists()


def test_an_archive_that_is_not_there_is_not_asked(peer: Make) -> None:
    alone = peer(1)
    assert not alone.gather.work(START)
    assert alone.asked == 0


def test_a_flipped_bit_in_what_is_kept_of_others_is_found(peer: Make) -> None:
    one, two = pair(peer)
    one.say("gone on " * 50)
    one.send()
    two.hear(one.rig.now)
    upkeep = upkeep_of(two.rig)
    assert not done(upkeep.verify_others(deep=True)).bad
    (pack,) = (two.home.vault / ".sessiond" / "elsewhere").rglob("pack*")
    flip(pack, pack.stat().st_size // 2)

    found = done(upkeep.verify_others(deep=True))
    parts = [done(upkeep.verify_others(Part(number, 7))) for number in range(1, 8)]

    name = f"claude:{SID} of {one.name}"
    assert {session for session, _ in found.bad} == {name}
    assert any(part.bad for part in parts)
    assert done(upkeep.repair_other(name)).left


@pytest.mark.parametrize("whose", ["its own", "another's"])
def test_what_is_kept_of_others_is_healed_from_what_they_archived(peer: Make, whose: str) -> None:
    one, two = pair(peer)
    one.say("gone on " * 50)
    one.send()
    two.hear(one.rig.now)
    (pack,) = (two.home.vault / ".sessiond" / "elsewhere").rglob("pack*")
    flip(pack, pack.stat().st_size // 2)
    if whose == "another's":  # whose bytes are others, and prove nothing
        (ref,) = [ref for ref in refs_of(one.archive) if ref.endswith(one.name)]
        run_git(one.archive, "update-ref", "-d", ref)

    @contextmanager
    def opened() -> Iterator[ArchiveShelf]:
        with closing(Elsewhere(two.home.folder / "third", two.rig.config)) as third:
            yield ArchiveShelf(third.reader, two.rig.now)

    away = Away("archive", opened, two.rig.catalog, two.home.folder, two.rig.events)
    upkeep = upkeep_of(two.rig, archive=away.read)
    healing = done(upkeep.repair_other(f"claude:{SID} of {one.name}"))
    away.forget()
    assert bool(healing.left) is (whose == "another's")
    assert set(healing.healed) == (set() if healing.left else {"archive"})
    if not healing.left:
        assert kept(two) == one.transcript.read_bytes()
        assert not done(upkeep.verify_others(deep=True)).bad


def test_old_versions_go_and_those_of_a_conflict_stay(peer: Make) -> None:
    one, two = pair(peer)
    ids = []
    for number in range(8):
        one.say(f"more {number}")
        one.send()
        two.hear(one.rig.now)
        session = two.rig.session()
        ids.append(Versions(two.rig.store).of(session.id)[0].checkpoint)
    conflict = Conflict(0, session.id, "f", "files", 0.0, one.name, {}, {"checkpoint": ids[1]})
    Conflicts(two.rig.store).add(conflict)

    gone = done(upkeep_of(two.rig, keep=2).forget_versions(two.rig.now + 40 * 86_400))

    left = {each.snapshot.id for each in Kept(two.home.vault).of(session.stored_as)}
    assert gone > 0
    assert {ids[1], *ids[-2:]} <= left
    assert texts(kept(two))[-1] == "more 7"
    assert not done(upkeep_of(two.rig).verify_others(deep=True)).bad


def test_an_encrypted_archive_is_heard_exactly_and_told_of_redacted(peer: Make, tmp_path: Path) -> None:
    identity = tmp_path / "identity"
    one, two = pair(peer, encrypt_to=(make_identity(identity),), identity_file=identity)
    two.hear()
    assert two.told() == (False, False)
    secret = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
    one.say(f"gone on with {secret}")
    one.send()
    two.hear(one.rig.now)
    assert two.told() == (True, False)
    assert kept(two) == one.transcript.read_bytes()
    session = two.rig.session()
    (version,) = Versions(two.rig.store).of(session.id)
    (entry,) = version.record.files
    assert entry.sha256 is None  # of what was never redacted no hash is told
    assert entry.stored_sha256 == sha(Gate().data(entry.path, kept(two))[0])
    said = two.line.push.judge.draft_of(session, version)
    assert secret not in str(said)
    assert sha(one.transcript.read_bytes()) not in str(said)


def test_who_cannot_read_hears_of_it_once_and_asks_again_with_an_identity(peer: Make, tmp_path: Path) -> None:
    identity = tmp_path / "identity"
    one, two = pair(peer, encrypt_to=(make_identity(identity),))
    one.say("gone on")
    one.send()
    for _ in range(3):
        two.hear(one.rig.now)
    (told,) = two.rig.events.named("copy_unavailable")
    assert "encrypted, and no identity is set here" in told["reason"]
    assert two.told() == (False, False)
    two.rig.config = with_archive(two.rig.config, tmp_path / "archive.git", identity_file=identity)
    two.gather = two.listening()  # as where the settings are read again
    two.hear()
    assert two.told() == (True, False)

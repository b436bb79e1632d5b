"""The archive when things go wrong: hosts that refuse and break off, kills, and what is lost at either end."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sessionsync.config import Config
from sessionsync.privacy.seal import make_identity
from sessionsync.remote.github import GitHub, Repository
from sessionsync.vault.journal import Snapshot
from sessionsync.vault.session import SessionVault
from tests.archive import SID, Elsewhere, Shipper, contents, every_object, refs_of, run_git, with_archive
from tests.fakes.git_host import Fault, GitHost
from tests.fakes.github import FakeGitHub
from tests.rig import Home, Rig, append, let_nothing_search, line

TOKEN = "ghp_" + "ThisIsTheTokenOfTheArchive1234567890"


@pytest.fixture
def place(tmp_path: Path) -> Home:
    return Home(tmp_path / "one")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    with GitHost(tmp_path / "repos", token=TOKEN) as made:
        yield made


@pytest.fixture
def repo(host: GitHost) -> Path:
    return host.make("o/r")


def settings_of(place: Home, host: GitHost, way: str) -> Config:
    identity = place.folder / "identity"
    to = (make_identity(identity),) if way == "encrypted" else ()
    return with_archive(place.config(), host.url("o/r"), encrypt_to=to, identity_file=identity)


@pytest.fixture
def rig(place: Home, host: GitHost, repo: Path, request: pytest.FixtureRequest) -> Iterator[Rig]:
    made = Rig(place, settings=settings_of(place, host, getattr(request, "param", "clear")))
    yield made
    made.close()


BOTH = pytest.mark.parametrize("rig", ["clear", "encrypted"], indirect=True)


@pytest.fixture
def shipper(rig: Rig) -> Iterator[Shipper]:
    made = Shipper(rig, token=lambda: TOKEN)
    yield made
    made.close()


def grow(rig: Rig, text: str, session: str = SID) -> bytes:
    path = rig.home.transcript(session)
    append(path, line("user", text, rig.home.project, session=session))
    rig.scan()
    rig.wait(130)
    return path.read_bytes()


def waiting(rig: Rig) -> list[tuple[str, str]]:
    return [(item.state.value, item.last_code) for item in rig.queue.items() if item.operation == "archive"]


def newest(tmp_path: Path, rig: Rig, session: str = SID) -> list[dict[str, bytes]]:
    """What a machine with nothing but the address reads, oldest first."""
    other = Elsewhere(tmp_path / f"other-{time.monotonic_ns()}", rig.config, token=lambda: TOKEN)
    try:
        return [contents(version) for version in other.versions(session, rig.now)]
    finally:
        other.close()


def test_the_token_is_in_no_argument_environment_or_file(
    rig: Rig, shipper: Shipper, host: GitHost, repo: Path, tmp_path: Path
) -> None:
    seen: dict[str, bytes] = {}
    asked = threading.Event()

    def look() -> None:
        """What everybody may see of the processes that are pushing now."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_bytes()
                if command.startswith((b"git", b"/")) and b"git" in command[:60]:
                    seen[command.decode()] = (entry / "environ").read_bytes()
            except OSError:
                continue
        asked.set()

    host.faults = [Fault(hold=look)]
    grow(rig, "hello")
    shipper.drain()
    assert not waiting(rig)
    assert refs_of(repo)
    assert asked.is_set()
    pushing = [command for command in seen if "push" in command or "remote-http" in command]
    assert pushing, f"no push was seen among {list(seen)}"
    for command, environ in seen.items():
        assert TOKEN not in command
        assert TOKEN.encode() not in environ
    assert host.logins
    assert set(host.logins) == {"x-access-token"}
    for folder in (shipper.folder, repo):
        for path in folder.rglob("*"):
            if path.is_file():
                assert TOKEN.encode() not in path.read_bytes(), path


def test_a_wrong_token_pauses_until_there_is_another(rig: Rig, host: GitHost) -> None:
    token = ["ghp_" + "x" * 36]
    shipper = Shipper(rig, token=lambda: token[0])
    grow(rig, "hello")
    shipper.drain(5)
    assert shipper.archiving.uplink.pause is not None
    assert shipper.archiving.uplink.pause.code == "archive_token_refused"
    assert token[0] not in str(rig.events.all)
    asked = len(host.logins)
    rig.now += 200
    shipper.step()
    assert len(host.logins) == asked, "a refused token is not shown again"
    token[0] = TOKEN
    rig.now += 200
    shipper.drain()
    assert rig.events.named("archive_completed")
    assert not waiting(rig)
    shipper.close()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(status=500, count=2), "archive_server_error"),
        (Fault(status=429), "archive_rate_limited"),
        (Fault(status=403), "archive_not_permitted"),
        (Fault(path="info/refs", status=503, count=2), "archive_server_error"),
        (Fault(cut=0, count=2), "archive_unreachable"),
        (Fault(cut=20, count=2), "archive_unreachable"),
        (Fault(take=100, count=2), "archive_unreachable"),
        (Fault(path="info/refs", cut=30), "archive_unreachable"),
    ],
    ids=["500", "429", "403", "503", "no answer", "half an answer", "half a pack", "half the refs"],
)
def test_whatever_the_host_does_everything_arrives_once(
    rig: Rig, shipper: Shipper, host: GitHost, repo: Path, tmp_path: Path, fault: Fault, code: str
) -> None:
    states = [grow(rig, "one")]
    shipper.drain()
    host.faults = [replace(fault)]
    states.append(grow(rig, "two"))
    shipper.step()
    told = [fields.get("code") for name, fields in rig.events.all if name.startswith("archive_")]
    paused = shipper.archiving.uplink.pause
    assert code in [*told, paused.code if paused is not None else ""]
    states.append(grow(rig, "three"))
    shipper.drain()
    assert not waiting(rig)
    assert [files[f"{SID}.jsonl"] for files in newest(tmp_path, rig)] == states
    assert len(refs_of(repo)) == 1
    run_git(repo, "fsck", "--strict")


@BOTH
def test_a_push_whose_git_is_killed_is_made_again(
    rig: Rig, shipper: Shipper, host: GitHost, repo: Path, tmp_path: Path
) -> None:
    states = [grow(rig, "one")]
    shipper.drain()
    host.faults = [Fault(hold=shipper.archiving.abort)]
    states.append(grow(rig, "two"))
    shipper.step()
    assert waiting(rig)
    shipper.close()
    again = Shipper(rig, token=lambda: TOKEN)  # as after a restart
    again.drain()
    assert not waiting(rig)
    assert [files[f"{SID}.jsonl"] for files in newest(tmp_path, rig)] == states
    again.close()


def test_what_a_hook_refuses_is_buried_and_retried_by_command(
    rig: Rig, shipper: Shipper, repo: Path, tmp_path: Path
) -> None:
    hook = repo / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'no sessions here' >&2\nexit 1\n")
    hook.chmod(0o755)
    state = grow(rig, "one")
    shipper.step()
    (buried,) = rig.queue.items(buried=True)
    assert buried.operation == "archive"
    assert "hook declined" in buried.last_error
    hook.unlink()
    rig.queue.make_due(rig.now, buried=True)
    shipper.drain()
    assert [files[f"{SID}.jsonl"] for files in newest(tmp_path, rig)] == [state]


@BOTH
def test_the_local_copy_may_be_deleted_at_any_time(
    rig: Rig, shipper: Shipper, repo: Path, tmp_path: Path
) -> None:
    states = []
    for number in range(4):
        states.append(grow(rig, f"turn {number}"))
        shipper.drain()
        tip = refs_of(repo)
        if number % 2:
            shutil.rmtree(shipper.folder / "archive.git")
        assert tip == refs_of(repo)
    assert [files[f"{SID}.jsonl"] for files in newest(tmp_path, rig)] == states
    (tip_now,) = refs_of(repo).values()
    assert run_git(repo, "rev-list", "--count", tip_now) == b"4\n"


@BOTH
def test_a_damaged_local_copy_is_made_anew(rig: Rig, shipper: Shipper, repo: Path, tmp_path: Path) -> None:
    states = [grow(rig, "one")]
    shipper.drain()
    for pack in (shipper.folder / "archive.git" / "objects" / "pack").iterdir():
        pack.chmod(0o600)
        data = bytearray(pack.read_bytes())
        data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
        pack.write_bytes(data)
    shipper.close()
    again = Shipper(rig, token=lambda: TOKEN)
    states.append(grow(rig, "two"))
    again.drain()
    assert not waiting(rig)
    assert [files[f"{SID}.jsonl"] for files in newest(tmp_path, rig)] == states
    again.close()


@BOTH
@pytest.mark.parametrize("both", [False, True], ids=["the archive alone", "and the local copy"])
def test_an_archive_that_was_made_anew_is_filled_again(
    rig: Rig, shipper: Shipper, host: GitHost, repo: Path, tmp_path: Path, both: bool
) -> None:
    other = SID.replace("1", "2")
    states = [grow(rig, "one"), grow(rig, "two")]
    resting = grow(rig, "this one rests", other)
    shipper.drain()
    shutil.rmtree(repo)
    if both:
        shutil.rmtree(shipper.folder / "archive.git")
    host.make("o/r")
    states.append(grow(rig, "three"))
    shipper.drain()
    rig.now += 3700  # it looks whether all is there
    shipper.drain()
    assert [files[f"{SID}.jsonl"] for files in newest(tmp_path, rig)] == states
    assert [files[f"{other}.jsonl"] for files in newest(tmp_path, rig, other)] == [resting]
    assert rig.events.named("archive_lost")


def test_a_cloned_state_takes_a_new_name_and_forces_nothing(
    rig: Rig, shipper: Shipper, place: Home, repo: Path, tmp_path: Path
) -> None:
    common = grow(rig, "before the copy")
    shipper.drain()
    rig.close()
    shipper.close()
    shutil.copytree(place.folder, tmp_path / "two")
    machines = []
    for number, name in enumerate(("one", "two")):
        home = Home(tmp_path / name)
        home.project = place.project
        own = Rig(
            home, now=rig.now + 1000 * number, settings=rig.config._replace(backup=home.config().backup)
        )
        ship = Shipper(own, token=lambda: TOKEN)
        path = next(home.agent.rglob(f"{SID}.jsonl"))
        append(path, line("user", f"on machine {name}", place.project, session=SID))
        own.scan()
        own.wait(130)
        ship.drain()
        assert not waiting(own)
        machines.append((own.store.meta("machine"), path.read_bytes()))
        if name == "two":
            assert own.events.named("machine_renamed")
        ship.close()
        own.close()
    (first, one), (second, two) = machines
    assert first != second
    assert set(refs_of(repo)) == {f"refs/sessiond/claude/{SID}/{name}" for name in (first, second)}
    read = [files[f"{SID}.jsonl"] for files in newest(tmp_path, rig)]
    assert {one, two, common} == set(read)


@pytest.mark.parametrize("way", ["clear", "encrypted"])
def test_a_daemon_that_is_killed_while_it_pushes_goes_on_where_it_was(
    place: Home, host: GitHost, repo: Path, tmp_path: Path, way: str
) -> None:
    """SIGKILL of the whole engine, at each of several moments; then another one over the same state."""
    rig = Rig(place, settings=settings_of(place, host, way))
    states = []
    for number, fault in enumerate(
        [Fault(path="info/refs"), Fault(path="git-receive-pack"), Fault(path="git-receive-pack", cut=0)]
    ):
        states.append(grow(rig, f"turn {number}"))
        rig.close()
        victim = os.fork()
        if victim == 0:
            own = Rig(place, now=rig.now, settings=rig.config)
            ship = Shipper(own, token=lambda: TOKEN)
            ship.step()
            os._exit(0)
        ready = threading.Event()

        def kill(victim: int = victim, ready: threading.Event = ready) -> None:
            os.kill(victim, 9)
            ready.set()

        fault.hold = kill
        host.faults = [fault]
        os.waitpid(victim, 0)
        assert ready.is_set()
        rig = Rig(place, now=rig.now + 100, settings=rig.config)
        ship = Shipper(rig, token=lambda: TOKEN)
        ship.drain()
        assert not waiting(rig)
        ship.close()
    assert [files[f"{SID}.jsonl"] for files in newest(tmp_path, rig)] == states
    assert len(refs_of(repo)) == 1
    rig.close()


def test_a_repository_that_is_gone_pauses_and_says_so(
    rig: Rig, shipper: Shipper, repo: Path, tmp_path: Path
) -> None:
    shutil.rmtree(repo)
    grow(rig, "one")
    shipper.step()
    assert shipper.archiving.uplink.pause is not None
    assert shipper.archiving.uplink.pause.code == "archive_repository_missing"
    assert "archive.url" in shipper.archiving.uplink.pause.hint


def test_no_host_at_all_is_probed_and_then_caught_up_with(
    rig: Rig, shipper: Shipper, host: GitHost, repo: Path, tmp_path: Path
) -> None:
    host.faults = [Fault(path="info/refs", cut=0, count=4)]
    state = grow(rig, "one")
    for _ in range(4):
        shipper.step()
        at = shipper.archiving.next_at(rig.now)
        assert at is not None
        rig.now = max(rig.now, at)
    assert rig.events.named("archive_unreachable")
    shipper.drain()
    assert rig.events.named("archive_reached")
    assert [files[f"{SID}.jsonl"] for files in newest(tmp_path, rig)] == [state]


def test_there_is_a_push_every_15_s_at_most(rig: Rig, shipper: Shipper, host: GitHost) -> None:
    times = []
    for number in range(3):
        grow(rig, f"turn {number}")
        grow(rig, f"turn {number}", SID.replace("1", "2"))
        before = len([path for path, _ in host.received if path.endswith("receive-pack")])
        shipper.step()
        after = len([path for path, _ in host.received if path.endswith("receive-pack")])
        if after > before:
            times.append(rig.now)
        rig.queue.enqueue("archive", 1, "again", rig.now)
        assert not shipper.step()
        rig.now += 14.9
        assert not shipper.step()
        rig.now += 0.2
    assert len(times) == 3


def test_without_git_it_says_what_to_install(rig: Rig, tmp_path: Path) -> None:
    grow(rig, "one")
    shipper = Shipper(rig, environ={"PATH": str(tmp_path / "nowhere"), "HOME": os.environ["HOME"]})
    shipper.step()
    (failed,) = rig.events.named("archive_failed")
    assert "git" in failed["reason"]
    assert "Install git" in failed["hint"]
    shipper.close()


class Seen(GitHub):
    """Calls `after` with each answer about the repository."""

    after: Callable[[], object] = staticmethod(lambda: None)

    def repository(self) -> Repository:
        found = super().repository()
        type(self).after()
        return found


@contextmanager
def on_github(place: Home, host: GitHost) -> Iterator[tuple[Rig, Shipper, FakeGitHub]]:
    """The repository is GitHub's, which says whether it is public."""
    settings = with_archive(place.config(repo="o/r", api_url=host.base), "github")
    with closing(Rig(place, settings=settings)) as rig, FakeGitHub() as gh:
        gh.add_repo("o/r", private=True)
        gh.token("T", login="me")
        make = partial(
            Seen,
            repo="o/r",
            api_url=gh.url,
            token=lambda: "T",
            user_agent="sessiond/test",
            wall=time.time,
            monotonic=time.monotonic,
            emit=rig.events,
        )
        with closing(Shipper(rig, token=lambda: TOKEN, github=make)) as shipper:
            yield rig, shipper, gh


def test_an_archive_that_becomes_public_while_nothing_is_said_is_noticed_within_a_day(
    place: Home, host: GitHost, repo: Path
) -> None:
    with on_github(place, host) as (rig, shipper, gh):
        grow(rig, "one")
        shipper.drain()
        there = refs_of(repo)
        assert there
        gh.make_public("o/r")
        for said in (
            "",
            "two",
            "",
            "three",
        ):  # every look finds it so, whether something is to be sent or not
            rig.now += 86_400
            if said:
                grow(rig, said)
            some_turns(shipper)
            assert shipper.archiving.uplink.pause is not None
            assert shipper.archiving.uplink.pause.code == "archive_repository_public"
        assert refs_of(repo) == there
        gh.make_public("o/r", public=False)
        rig.now += 3600
        some_turns(shipper)
        assert shipper.archiving.uplink.pause is None
        assert refs_of(repo) != there


def test_a_look_at_the_archive_that_is_asked_for_during_a_look_is_taken(
    place: Home, host: GitHost, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_github(place, host) as (rig, shipper, gh):
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(Seen, "after", lambda: shipper.archiving.probe_now(insist=True))
            grow(rig, "one")
            shipper.drain()
        there = refs_of(repo)
        assert there
        gh.make_public("o/r")
        grow(rig, "two")
        some_turns(shipper)
        assert shipper.archiving.uplink.pause is not None
        assert shipper.archiving.uplink.pause.code == "archive_repository_public"
        assert refs_of(repo) == there


@pytest.mark.parametrize("hurt", [0, 1, 2])
def test_a_session_that_cannot_be_read_keeps_none_of_the_same_push_from_the_archive(
    rig: Rig, shipper: Shipper, repo: Path, tmp_path: Path, hurt: int
) -> None:
    sessions = [f"3f0c9f8a-0000-4000-8000-00000000000{n}" for n in range(3)]
    data = {session: grow(rig, "hello", session) for session in sessions}
    (pack,) = rig.home.vault.glob(f"*/claude.{sessions[hurt]}/pack")
    sound = pack.read_bytes()
    pack.write_bytes(b"")
    shipper.step()
    kept = {session for session in sessions if any(session in ref for ref in refs_of(repo))}
    assert kept == {*sessions} - {sessions[hurt]}
    assert not rig.events.named("archive_buried")
    pack.write_bytes(sound)
    shipper.drain()
    assert not waiting(rig)
    for session in sessions:
        assert newest(tmp_path, rig, session)[-1] == {f"{session}.jsonl": data[session]}


def test_what_the_gate_cannot_judge_keeps_no_other_session_of_the_same_push_from_the_archive(
    rig: Rig, shipper: Shipper, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_nothing_search(monkeypatch, b"nested")
    other = "3f0c9f8a-0000-4000-8000-000000000002"
    grow(rig, "hello")
    grow(rig, "nested", other)
    shipper.step()
    assert [SID in ref for ref in refs_of(repo)] == [True]
    assert [each["session"] for each in rig.events.named("archive_buried")] == [f"claude:{other}"]


def test_a_vault_that_is_removed_while_it_is_archived_is_archived_when_it_is_back(
    rig: Rig, shipper: Shipper, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = rig.home.folder / "aside"
    list_them = SessionVault.snapshots

    def removed(self: SessionVault) -> list[Snapshot]:
        found = list_them(self)
        if found and not aside.exists():
            rig.home.vault.rename(aside)
        return found

    monkeypatch.setattr(SessionVault, "snapshots", removed)
    grow(rig, "one")
    some_turns(shipper)
    assert aside.exists()
    assert not refs_of(repo)
    assert rig.events.named("archive_failed")
    shutil.rmtree(rig.home.vault, ignore_errors=True)
    aside.rename(rig.home.vault)
    aside.mkdir()
    shipper.drain()
    assert refs_of(repo)


def test_what_cannot_be_searched_for_secrets_stops_alone(
    rig: Rig, shipper: Shipper, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_nothing_search(monkeypatch, b"unsearchable")
    grow(rig, "unsearchable words")
    grow(rig, "other words", SID.replace("1", "2"))
    shipper.drain()
    (buried,) = rig.queue.items(buried=True)
    assert (buried.operation, buried.last_code) == ("archive", "redaction_failed")
    assert len(refs_of(repo)) == 1
    assert not any(b"unsearchable" in data for data in every_object(repo).values())


def some_turns(shipper: Shipper) -> None:
    for _ in range(5):
        shipper.step()


def test_nothing_is_left_running(rig: Rig, shipper: Shipper) -> None:
    grow(rig, "one")
    shipper.drain()
    shipper.close()
    mine = subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True, check=False
    ).stdout
    assert "fast-import" not in mine
    assert "cat-file" not in mine

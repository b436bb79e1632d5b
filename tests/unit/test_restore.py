"""Sessions put back: from every place that has a copy, to the byte, and never over what is worth more."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from sessionsync.divergence import Plain
from sessionsync.elsewhere import Elsewhere
from sessionsync.errors import CopyIncomplete, RestoreError, SessionLive, StoreError
from sessionsync.model import Ref, Role, rfc3339
from sessionsync.remote import comments
from sessionsync.restore import (
    FileTarget,
    Known,
    MirrorShelf,
    OutTarget,
    Restored,
    VaultShelf,
    loadable,
    put_back,
)
from sessionsync.restore.choice import Choice, newest
from sessionsync.restore.copies import CopyFile, main_of
from sessionsync.restore.examine import Examiner
from sessionsync.restore.names import beside_agent, in_agent, in_project
from sessionsync.restore.place import Placing
from sessionsync.restore.records import RecordShelf
from sessionsync.restore.target import AgentTarget, ProjectTarget, Put, folder_name, project_folder
from sessionsync.sources.roles import role_of
from sessionsync.store import Store
from sessionsync.vault import Root, StoredFile, Vault
from tests.archive import Shipper, with_archive
from tests.conftest import samples
from tests.fakes.agent import SESSION, Agent
from tests.fakes.github import FakeGitHub
from tests.keeper import flip, pack_of
from tests.machine import Done, Machine, Make, repository
from tests.rig import Line, write

CHAINS = ("chain-fdd24234", "chain-6c0a282a", "chain-glued-line-86cc3044")


def a_session(machine: Machine, *prompts: str) -> tuple[Agent, Path]:
    agent = machine.agent()
    for prompt in prompts or ("hello",):
        agent.turn(prompt)
    return agent, machine.write(agent)


def transcripts_of(machine: Machine, session: str) -> list[Path]:
    return list((machine.home.agent / "projects").glob(f"*/{session}.jsonl"))


def replaced(machine: Machine) -> dict[str, bytes]:
    folder = machine.home.mirror / ".replaced"
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leftovers(machine: Machine) -> list[Path]:
    return list(machine.home.folder.rglob(".sessiond-restore-*"))


# --- what comes back


@pytest.mark.parametrize("chain", CHAINS)
def test_every_checkpoint_of_a_session_that_grew_comes_back_to_the_byte(
    machine: Machine, shared: Path, chain: str
) -> None:
    (folder,) = (shared / "data" / "transcripts").glob(f"*/{chain}")
    states = [path.read_bytes() for path in sorted(folder.glob("*.jsonl"))]
    found = next(json.loads(line) for line in states[0].splitlines() if b'"sessionId"' in line)
    session = str(found["sessionId"])
    points = []
    for state in states:
        live = machine.put(session, state)
        points.append(machine.rig.session().checkpoint or "")
    live.unlink()
    machine.rig.scan()
    for number, (point, state) in enumerate(zip(points, states, strict=True)):
        out = machine.home.folder / f"out{number}"
        done = machine("restore", session, "--from", "vault", "--at", point, "--out", str(out))
        assert done.code == 0, done.err
        assert (out / f"{session}.jsonl").read_bytes() == state
    out = machine.home.folder / "plain"
    assert machine("restore", session, "--from", "mirror", "--out", str(out)).code == 0
    assert (out / f"{session}.jsonl").read_bytes() == states[-1]
    done = machine("restore", session, "--cwd", str(machine.home.project), "--json")
    assert done.code == 0
    (put,) = transcripts_of(machine, session)
    # the one byte that may differ: the agent glues its next line to a last one without it
    assert put.read_bytes() == states[-1].removesuffix(b"\n") + b"\n"
    listed = machine("restore", session, "--list", "--from", "vault", "--json").json["copies"]
    hashes = {each["checkpoint"]: each["sha256"] for each in listed}
    assert [hashes[point] for point in points] == [hashlib.sha256(state).hexdigest() for state in states]
    assert all(each["complete"] and each["exact"] for each in listed)


def test_a_deleted_session_is_back_where_the_agent_looks(machine: Machine) -> None:
    agent, live = a_session(machine, "one", "two")
    old = live.read_bytes()
    live.unlink()
    machine.rig.scan()
    before = time.time()
    done = machine("restore", agent.session)
    assert (done.code, done.err) == (0, "")
    assert live.read_bytes() == old
    assert stat.S_IMODE(live.stat().st_mode) == 0o600
    assert live.stat().st_mtime >= before - 1  # the agent's clean-up goes by the age of files
    assert done.last == f"cd {machine.home.project} && claude --resume {agent.session}"
    assert loadable(live) == []
    assert not leftovers(machine)


def test_subagents_and_companions_come_back_with_it(machine: Machine) -> None:
    agent = machine.agent()
    agent.turn("hello")
    folder = machine.home.transcript(agent.session).parent
    sid = agent.session
    side = json.dumps({"sessionId": sid, "isSidechain": True, "type": "user", "uuid": "a"}).encode() + b"\n"
    files = [
        (f"{sid}/subagents/agent-1.jsonl", side),
        (f"{sid}/subagents/agent-1.meta.json", b"{}"),
        (f"{sid}/subagents/workflows/w/journal.jsonl", b"{}\n"),
        (f"{sid}/tool-results/big.txt", b"x" * 5000),
        ("agent-old.jsonl", side),
    ]
    write(folder, files)
    beside = [(f"todos/{sid}-agent-{sid}.json", b"[]"), (f"file-history/{sid}/1@v1", b"was")]
    write(machine.home.agent, beside)
    machine.write(agent)
    for name, _ in [*files, (f"{sid}.jsonl", b"")]:
        (folder / name).unlink()
    for name, _ in beside:
        (machine.home.agent / name).unlink()
    shutil.rmtree(folder / sid)
    machine.rig.scan()
    for origin in ("mirror", "vault"):
        assert machine("restore", sid, "--from", origin).code == 0
        assert {name: (folder / name).read_bytes() for name, _ in files} == dict(files)
        assert {name: (machine.home.agent / name).read_bytes() for name, _ in beside} == dict(beside)
        assert stat.S_IMODE((folder / sid / "subagents").stat().st_mode) == 0o700
        shutil.rmtree(folder / sid)
        machine.home.transcript(sid).unlink()
    out = machine.home.folder / "out"
    assert machine("restore", sid, "--out", str(out)).code == 0
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert there == {name for name, _ in [*files, *beside]} | {f"{sid}.jsonl"}


def test_what_was_not_yet_a_checkpoint_comes_back_too(machine: Machine) -> None:
    agent, live = a_session(machine)
    agent.turn("and this")
    live.write_bytes(agent.data)
    machine.rig.wait(1)  # captured, but not quiet for long enough
    live.unlink()
    assert machine("restore", agent.session, "--json").json["from"] == "mirror"
    assert live.read_bytes() == agent.data


def test_a_structured_session_comes_back_into_its_project(machine: Machine) -> None:
    folder = machine.home.structured("plan")
    files = [("context.json", b'{"title": "T"}'), ("checkpoints/1.json", b"{}"), ("artifacts/a.bin", b"\0\1")]
    write(folder, files)
    machine.settle()
    shutil.rmtree(folder)
    machine.rig.scan()
    done = machine("restore", "structured:plan")
    assert done.code == 0, done.err
    assert {name: (folder / name).read_bytes() for name, _ in files} == dict(files)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert done.last == f"cd {machine.home.project}"


def test_a_file_that_a_structured_session_dropped_does_not_come_back(machine: Machine) -> None:
    folder = machine.home.structured("plan")
    write(folder, [("context.json", b"{}"), ("artifacts/a", b"1"), ("artifacts/b", b"2")])
    machine.settle()
    first = machine.rig.session().checkpoint or ""
    (folder / "artifacts" / "b").unlink()
    write(folder, [("context.json", b'{"title": "x"}')])
    machine.settle()
    shutil.rmtree(folder)
    machine.rig.scan()
    assert machine("restore", "plan").code == 0
    assert not (folder / "artifacts" / "b").exists()
    assert machine("restore", "plan", "--at", first, "--out", str(machine.home.folder / "o")).code == 0
    assert (machine.home.folder / "o" / "artifacts" / "b").read_bytes() == b"2"


def test_a_torn_end_gets_its_newline_and_nothing_else_changes(machine: Machine) -> None:
    agent = machine.agent()
    agent.turn("hello")
    live = machine.put(agent.session, agent.data[:-1])
    live.unlink()
    done = machine("restore", agent.session)
    assert live.read_bytes() == agent.data
    assert "A newline was added" in done.out
    out = machine.home.folder / "out"
    assert machine("restore", agent.session, "--out", str(out)).code == 0
    assert (out / f"{agent.session}.jsonl").read_bytes() == agent.data[:-1]


# --- without the state


@pytest.mark.parametrize("lost", ["state", "mirror", "vault", "state and mirror", "state and vault"])
def test_any_local_copy_is_enough(machine: Machine, lost: str) -> None:
    agent, live = a_session(machine)
    old = live.read_bytes()
    live.unlink()
    machine.rig.scan()
    for name in lost.split(" and "):
        shutil.rmtree(machine.home.folder / name)
    done = machine("restore", agent.session[:10])
    assert done.code == 0, done.err
    assert live.read_bytes() == old
    assert loadable(live) == []


@pytest.mark.parametrize("lost", ["state", "state and mirror"])
def test_a_structured_session_is_found_without_the_state(machine: Machine, lost: str) -> None:
    folder = machine.home.structured("plan")
    write(folder, [("context.json", b'{"title": "T"}')])
    machine.settle()
    shutil.rmtree(folder)
    for name in lost.split(" and "):
        shutil.rmtree(machine.home.folder / name)
    assert machine("restore", "plan").code == 0
    assert (folder / "context.json").read_bytes() == b'{"title": "T"}'


def test_a_state_that_cannot_be_used_is_done_without(machine: Machine) -> None:
    agent, live = a_session(machine)
    live.unlink()
    machine.rig.store.close()
    (machine.home.state / "state.db").write_bytes(b"no database at all" * 100)
    done = machine("restore", agent.session)
    assert done.code == 0
    assert live.exists()
    assert "The state is not used" in done.err


def test_the_state_is_only_read(machine: Machine) -> None:
    agent, live = a_session(machine)
    live.unlink()
    file = machine.home.state / "state.db"
    before = file.read_bytes(), file.stat().st_mtime_ns
    assert machine("restore", agent.session).code == 0
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
    with pytest.raises(StoreError):
        Store(machine.home.folder / "nothing.db", read_only=True)
    assert not (machine.home.folder / "nothing.db").exists()


# --- which copy


def test_a_checkpoint_by_id_alias_and_time(machine: Machine) -> None:
    folder = machine.home.structured("plan")
    points = []
    for number in range(3):
        write(folder, [("context.json", b"%d" % number), (f"checkpoints/cp{number}.json", b"{}")])
        machine.rig.wait(2)
        machine.rig.wait(2)
        points.append(machine.rig.catalog.checkpoints(machine.rig.session().id)[-1])
    machine.settle()

    def content(at: str) -> bytes | int:
        out = machine.home.folder / f"out-{len(list(machine.home.folder.iterdir()))}"
        done = machine("restore", "plan", "--at", at, "--out", str(out))
        return (out / "context.json").read_bytes() if done.code == 0 else done.code

    assert [content(point.id) for point in points] == [b"0", b"1", b"2"]
    assert content("cp1") == b"1"
    assert content(rfc3339(points[1].at)) == b"1"
    assert content(rfc3339(points[0].at + 1)) == b"0"
    assert content(rfc3339(points[0].at - 60)) == 4
    assert content("cp9") == 4
    assert content("not a time") == 4


def test_after_a_shrink_the_last_checkpoint_before_it_is_taken(machine: Machine) -> None:
    agent, live = a_session(machine, "one", "two", "three")
    whole = live.read_bytes()
    whole_point = machine.rig.session().checkpoint
    live.write_bytes(whole[:300])
    machine.settle()
    short = live.read_bytes()
    live.unlink()
    done = machine("restore", agent.session, "--json")
    assert (done.code, done.json["checkpoint"]) == (0, whole_point)
    assert any("was cut after checkpoint" in note for note in done.json["notes"])
    assert live.read_bytes() == whole
    newest = machine.rig.session().checkpoint or ""
    out = machine.home.folder / "out"
    assert machine("restore", agent.session, "--at", newest, "--out", str(out)).code == 0
    assert (out / live.name).read_bytes() == short


def test_a_session_that_has_outgrown_its_shrink_is_taken_as_it_is(machine: Machine) -> None:
    agent, live = a_session(machine, "one", "two")
    head = b"".join(live.read_bytes().splitlines(keepends=True)[:2])
    live.write_bytes(head)
    machine.settle()
    grown = head + agent.data * 2
    live.write_bytes(grown)
    machine.settle()
    live.unlink()
    assert machine("restore", agent.session).code == 0
    assert live.read_bytes() == grown


def test_a_damaged_checkpoint_is_passed_over(machine: Machine) -> None:
    agent, live = a_session(machine)
    first = live.read_bytes()
    agent.turn("x" * 9000)
    machine.write(agent)
    shutil.rmtree(machine.home.mirror)
    (pack,) = (path for path in machine.home.vault.rglob("pack*") if "claude." in str(path.parent))
    data = bytearray(pack.read_bytes())
    data[-40] ^= 0xFF
    pack.write_bytes(data)
    live.unlink()
    copies = machine("restore", agent.session, "--list", "--json").json["copies"]
    assert [(each["from"], each["complete"]) for each in copies] == [("vault", True), ("vault", False)]
    done = machine("restore", agent.session, "--json")
    assert done.code == 0
    assert live.read_bytes() == first
    assert any("is passed over" in note for note in done.json["notes"])
    newest = copies[-1]["checkpoint"]
    live.unlink()
    done = machine("restore", agent.session, "--at", newest)
    assert done.code == 1
    assert "copy_incomplete" in done.err
    assert not live.exists()
    assert not leftovers(machine)


def test_a_companion_that_is_damaged_is_left_out_and_said(machine: Machine) -> None:
    agent = machine.agent()
    agent.turn("hello")
    live = machine.write(agent)
    result = live.parent / agent.session / "tool-results" / "a.txt"
    write(live.parent, [(f"{agent.session}/tool-results/a.txt", random.Random(1).randbytes(3000))])
    agent.turn("more")
    machine.write(agent)
    shutil.rmtree(machine.home.mirror)
    (pack,) = (path for path in machine.home.vault.rglob("pack*") if "claude." in str(path.parent))
    data = bytearray(pack.read_bytes())
    at = data.find(result.read_bytes()[100:140])  # noise does not shrink
    data[at] ^= 0xFF
    pack.write_bytes(data)
    live.unlink()
    shutil.rmtree(live.parent / agent.session)
    done = machine("restore", agent.session, "--json")
    assert (done.code, done.json["complete"], done.json["missing"]) == (
        1,
        False,
        [f"{agent.session}/tool-results/a.txt"],
    )
    assert live.read_bytes() == agent.data


def test_a_checkpoint_that_a_crash_undid_is_read_by_itself(tmp_path: Path) -> None:
    """After a crash a file may go on differently from an older position: one read is not all its states."""
    vault, ref = Vault(tmp_path), Ref("claude", SESSION)
    name = f"{SESSION}.jsonl"

    def state(data: bytes) -> StoredFile:
        root = Root()
        root.update(data)
        return StoredFile(name, 0, len(data), root.hexdigest())

    with vault.lock():
        session = vault.open("app", ref)
        session.append(name, 0, 0, b"first\n")
        session.snapshot(id="1", at=1, trigger="", alias="", files=[state(b"first\n")], meta={})
        session.append(name, 0, 0, b"other\nand on\n")
        session.snapshot(id="2", at=2, trigger="", alias="", files=[state(b"other\nand on\n")], meta={})
    copies = VaultShelf(Vault(tmp_path)).copies(Known(ref, SESSION, ("app",)))
    found = Examiner().examine(copies)
    digests = [hashlib.sha256(data).hexdigest() for data in (b"first\n", b"other\nand on\n")]
    assert [(each.sha256, each.complete) for each in found] == list(zip(digests, [True, True], strict=True))


@dataclass
class Away:
    """A copy in a place that another machine may have gone on with."""

    checkpoint: str
    generation: int
    data: bytes
    at: float = 0.0
    origin: str = "archive"
    alias: str = ""
    author: str = ""
    exact: bool = True
    doubtful: bool = False
    united: bool = False
    revision: int = 0

    @property
    def main(self) -> StoredFile:
        return StoredFile(f"{SESSION}.jsonl", self.generation, len(self.data), "")

    def files(self) -> list[CopyFile]:
        return [CopyFile(f"{SESSION}.jsonl", len(self.data), Role.MAIN)]

    def read(self, file: CopyFile) -> Iterator[bytes]:
        yield self.data[: file.size]


def test_of_a_place_elsewhere_the_best_copy_is_taken() -> None:
    known = Known(Ref("claude", SESSION), SESSION)
    one, two, cut = Away("1", 0, b"1\n"), Away("2", 0, b"1\n2\n"), Away("3", 1, b"1\n")
    chosen = newest(known, [one, two])
    assert chosen.copies == [two, one]
    chosen = newest(known, [one, two, cut])
    assert chosen.copies == [two, cut, one]
    assert "was cut after checkpoint 2" in chosen.notes[0]
    here = Away("2", 0, b"1\n2\n", origin="vault")
    more = Away("4", 0, b"1\n2\n3\n")
    assert newest(known, [here, one, two]).copies == [here, two, one]
    assert newest(known, [here, one, more]).copies == [more, here, one]
    (union, first, second) = newest(known, [here, other := Away("5", 0, b"1\nother\n")]).copies
    assert (first, second) == (here, other)
    assert union.united
    (file,) = union.files()
    assert b"".join(union.read(file)) == b"1\nother\n2\n"
    all_of_it = Away("6", 0, b"1\n3\n2\n")
    assert newest(known, [here, all_of_it]).copies == [all_of_it, here]


def test_what_was_united_from_several_machines_is_said_by_the_exit_code() -> None:
    done = Restored(Away("1", 0, b"", united=True), OutTarget(Path("/")), 1, 1, changed=True)
    assert done.exit_code == 5
    assert Restored(Away("1", 0, b""), OutTarget(Path("/")), 1, 1, changed=True).exit_code == 0


def test_the_list_of_copies(machine: Machine) -> None:
    agent, live = a_session(machine)
    agent.turn("more")
    machine.write(agent)
    found = machine("restore", agent.session, "--list", "--json").json
    assert found["id"] == agent.session
    digest = hashlib.sha256(live.read_bytes()).hexdigest()
    for each in found["copies"]:
        assert {"from", "checkpoint", "at", "size", "sha256", "exact", "complete"} <= set(each)
    assert [each["from"] for each in found["copies"]] == ["mirror", "vault", "vault"]
    assert found["copies"][0]["sha256"] == found["copies"][-1]["sha256"] == digest
    assert found["copies"][-1]["size"] == live.stat().st_size
    text = machine("restore", agent.session, "--list").out
    assert text.splitlines()[0].split()[:2] == ["FROM", "CHECKPOINT"]
    assert digest[:12] in text


def test_a_plain_copy_that_was_cut_is_not_called_complete(machine: Machine) -> None:
    agent = machine.agent()
    agent.turn("hello")
    agent.turn("the end of which is lost")
    copy = machine.home.mirror / "app" / f"{agent.session}.jsonl"
    copy.parent.mkdir(parents=True)
    for size in (len(agent.data) - 20, len(agent.data)):  # as a full disk leaves it, and whole
        copy.write_bytes(agent.data[:size])
        (listed,) = machine("restore", agent.session, "--list", "--json").json["copies"]
        assert (listed["from"], listed["complete"]) == ("mirror", size == len(agent.data))
    copy.write_bytes(agent.data[:-20])
    out = machine.home.folder / "out"
    done = machine("restore", agent.session, "--out", str(out))
    assert done.code == 1
    assert "The plain copy was cut" in done.out
    assert (out / copy.name).read_bytes() == agent.data[:-20], "what there is of it is put all the same"


def test_a_plain_copy_is_held_to_what_was_seen_on_the_disk(machine: Machine) -> None:
    agent = machine.agent()
    agent.turn("hello")
    first = len(agent.data)
    agent.turn("more")
    torn = agent.data[:-20]  # as its agent has left it
    live = machine.put(agent.session, torn)
    assert machine("restore", agent.session, "--list", "--json").json["copies"][0]["complete"]
    copy = machine.rig.mirror.path_of("app", Ref("claude", agent.session), live.name)
    copy.write_bytes(torn[:first])  # whole lines, but not all of them
    plain, *others = machine("restore", agent.session, "--list", "--json").json["copies"]
    assert (plain["from"], plain["complete"]) == ("mirror", False)
    assert all(each["complete"] for each in others)
    live.unlink()
    assert machine("restore", agent.session, "--json").json["from"] == "vault"


def test_a_plain_copy_that_is_not_what_was_stored_is_not_called_whole(machine: Machine) -> None:
    agent, live = a_session(machine, "hello", "more of it")
    session = machine.rig.session()
    live.unlink()
    copy = machine.rig.mirror.path_of("app", session.stored_as, live.name)
    flip(copy, len(agent.data) // 2)
    hurt = copy.read_bytes()
    restored = machine("restore", agent.session, "--json", "--out", str(machine.home.folder / "sound"))
    assert (restored.code, restored.json["from"]) == (0, "vault"), "of two the sound one is taken"
    flip(pack_of(machine.rig, session), 50)
    plain, vault = machine("restore", agent.session, "--list", "--json").json["copies"]
    assert (vault["from"], plain["from"]) == ("vault", "mirror")
    assert (vault["complete"], plain["complete"]) == (False, False)
    out = machine.home.folder / "out"
    done = machine("restore", agent.session, "--out", str(out))
    assert (done.code, "its bytes are not what was stored" in done.out) == (1, True)
    assert (out / live.name).read_bytes() == hurt, "it is all there is"


def test_an_unknown_id_offers_those_that_come_near(machine: Machine) -> None:
    agent, _ = a_session(machine)
    write(machine.home.structured("checkout-redesign"), [("context.json", b"{}")])
    machine.settle()
    done = machine("restore", "chekout-redesing")
    assert (done.code, done.out) == (4, "")
    assert "Did you mean checkout-redesign?" in done.err
    wrong_end = agent.session[:-4] + "ffff"
    assert f"Did you mean {agent.session}?" in machine("restore", wrong_end).err
    assert machine("restore", agent.session, "--from", "github").code == 4
    assert machine("restore", agent.session, "--from", "archive").code == 4
    assert machine("restore", agent.session, "--at", "cp1", "--from", "mirror").code == 4


def test_an_id_that_is_two_sessions_is_not_guessed(machine: Machine) -> None:
    for name in ("plan-a", "plan-b"):
        write(machine.home.structured(name), [("context.json", b"{}")])
    machine.settle()
    done = machine("restore", "plan")
    assert done.code == 2
    assert "structured:plan-a" in done.err
    shutil.rmtree(machine.home.state)
    assert machine("restore", "plan").code == 2


@pytest.mark.parametrize(
    "arguments", [(), ("x", "--latest"), ("x", "--for-pr", "1"), ("x", "--cwd", ".", "--out", "o")]
)
def test_a_command_line_that_makes_no_sense(machine: Machine, arguments: tuple[str, ...]) -> None:
    assert machine("restore", *arguments).code == 2


# --- where it goes


def test_of_a_session_in_another_projects_folder_only_one_copy_is_left(machine: Machine) -> None:
    agent, live = a_session(machine)
    other = live.parent.with_name("-somewhere-else")
    other.mkdir()
    live.rename(other / live.name)
    write(other, [(f"{agent.session}/tool-results/a", b"r")])
    machine.settle()
    done = machine("restore", agent.session, "--json")
    assert done.code == 0, done.err
    assert transcripts_of(machine, agent.session) == [live]
    assert (live.parent / agent.session / "tool-results" / "a").read_bytes() == b"r"
    assert replaced(machine) == {live.name: agent.data, "a": b"r"}
    assert Path(done.json["replaced"], "projects", other.name, live.name).read_bytes() == agent.data


def test_another_path_on_another_machine_is_found_by_its_remote(make: Make) -> None:
    one, two = make("one"), make("two", project="code/checkout", remote="https://GitHub.com/O/App")
    agent, live = a_session(one)
    for name in ("mirror", "vault"):  # by rsync, say
        shutil.copytree(one.home.folder / name, two.home.folder / name, dirs_exist_ok=True)
    shutil.rmtree(one.home.project)
    done = two("restore", agent.session)
    assert done.code == 0, done.err
    assert done.last == f"cd {two.home.project} && claude --resume {agent.session}"
    assert two.home.transcript(agent.session).read_bytes() == live.read_bytes()


def test_what_was_put_into_a_project_here_is_gone_on_with_there(
    make: Make, gh: FakeGitHub, tmp_path: Path
) -> None:
    one, two, agent, live = two_homes(make, gh)
    shutil.rmtree(one.home.project)
    assert two("restore", agent.session, "--cwd", str(two.home.project)).code == 0
    two.settle()
    command = f"cd {two.home.project} && claude --resume {agent.session}"
    two.here = two.home.project / "src"
    two.here.mkdir()
    done = two("continue", "--json")
    assert (done.json["command"], done.json["restored"]) == (command, False)
    two.here = tmp_path
    put = two.home.transcript(agent.session)
    put.unlink()
    done = two("restore", agent.session)
    assert (done.code, done.last) == (0, command)
    assert put.read_bytes() == live.read_bytes()


def test_a_project_that_is_not_here_is_said(machine: Machine, tmp_path: Path) -> None:
    agent, live = a_session(machine)
    live.unlink()
    shutil.rmtree(machine.home.project)
    machine.here = tmp_path / "elsewhere"
    machine.here.mkdir()
    repository(machine.here, "git@github.com:o/other.git")
    done = machine("restore", agent.session)
    assert done.code == 1
    assert "github.com/o/app" in done.err
    assert "--cwd DIR" in done.err
    done = machine("restore", agent.session, "--cwd", str(machine.here))
    assert done.code == 0
    assert "is of the project github.com/o/other" in done.err
    (put,) = transcripts_of(machine, agent.session)
    assert put.parent.name == folder_name(str(machine.here))
    done = machine("continue")  # it is of another project, but lies in this one's folder now
    assert (done.code, done.out) == (0, f"cd {machine.here} && claude --resume {agent.session}\n")
    put.write_bytes(put.read_bytes()[:-20])
    assert machine("restore", agent.session, "--force").code == 0
    assert transcripts_of(machine, agent.session) == [put]


def test_where_its_folder_is_another_project_by_now_it_is_not_put_there(
    machine: Machine, tmp_path: Path
) -> None:
    agent, live = a_session(machine)
    live.unlink()
    shutil.rmtree(machine.home.project)
    machine.home.project.mkdir()
    repository(machine.home.project, "git@github.com:o/other.git")
    machine.here = tmp_path
    assert machine("restore", agent.session).code == 1


def test_from_anywhere_it_goes_back_to_where_it_was(machine: Machine, tmp_path: Path) -> None:
    agent, live = a_session(machine)
    live.unlink()
    machine.here = tmp_path
    assert machine("restore", agent.session).code == 0
    assert live.exists()
    live.unlink()
    machine.here = machine.home.project / "src"
    machine.here.mkdir()
    assert machine("restore", agent.session).code == 0
    assert live.exists()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/Users/me/my_app.v2", "-Users-me-my-app-v2"),
        ("/home/jürgen/übung", "-home-j-rgen--bung"),
        ("/home/ju\u0308rgen", "-home-j-rgen"),  # written apart, as macOS does
        ("/p/🚀", "-p---"),
    ],
)
def test_the_folders_name(path: str, name: str) -> None:
    assert folder_name(path) == name


def test_a_long_paths_folder_is_found_by_its_beginning(tmp_path: Path) -> None:
    path = "/" + "x" * 250
    made = project_folder(tmp_path, path, {})
    assert made.startswith(folder_name(path)[:200] + "-")
    assert len(made) > 201
    other = tmp_path / (folder_name(path)[:200] + "-bunhash")
    other.mkdir()
    assert project_folder(tmp_path, path, {}) == other.name
    third = tmp_path / (folder_name(path)[:200] + "-zzz")
    third.mkdir()
    (third / f"{SESSION}.jsonl").write_text(json.dumps({"cwd": path}) + "\n")
    assert project_folder(tmp_path, path, {}) == third.name
    (tmp_path / made).mkdir()
    assert project_folder(tmp_path, path, {}) == made


def test_the_agents_own_name_for_a_folder_is_respected(tmp_path: Path) -> None:
    environ = {"CLAUDE_CODE_PROJECT_DIR_NAME": "here"}
    assert project_folder(tmp_path, "/a", environ) == "-a"
    assert project_folder(tmp_path, "/a", environ | {"CLAUDE_CONFIG_DIR": "/c"}) == "here"
    environ["CLAUDE_CODE_PROJECT_DIR_NAME"] = "../x"
    assert project_folder(tmp_path, "/a", environ | {"CLAUDE_CONFIG_DIR": "/c"}) == "-a"


def test_a_link_to_the_project_is_followed_to_its_real_path(machine: Machine, tmp_path: Path) -> None:
    agent, live = a_session(machine)
    live.unlink()
    link = tmp_path / "link"
    link.symlink_to(machine.home.project)
    assert machine("restore", agent.session, "--cwd", str(link)).code == 0
    assert live.exists()


# --- what is refused


def running(machine: Machine, session: str, pid: int) -> None:
    folder = machine.home.agent / "sessions"
    folder.mkdir(exist_ok=True)
    (folder / f"{pid}.json").write_text(json.dumps({"pid": pid, "sessionId": session, "cwd": "/"}))


def grown(machine: Machine) -> tuple[Agent, Path, str]:
    """A session of which an older checkpoint is wanted, and that checkpoint."""
    agent, live = a_session(machine)
    first = machine.rig.session().checkpoint or ""
    agent.turn("more")
    machine.write(agent)
    return agent, live, first


def refused(done: Done, *words: str) -> None:
    assert (done.code, done.out) == (1, "")
    assert "session_live" in done.err
    assert "--force" in done.err
    assert all(word in done.err for word in words)


def test_a_session_that_a_process_has_open_is_not_written_over(machine: Machine) -> None:
    agent, live = a_session(machine, "one", "two")
    old = live.read_bytes()
    live.write_bytes(old[: old.index(b"\n") + 1])
    machine.age()
    running(machine, agent.session, os.getpid())
    refused(machine("restore", agent.session), f"process {os.getpid()}")
    running(machine, "another-session", os.getpid())
    running(machine, agent.session, 2**22 - 7)  # nobody's
    assert machine("restore", agent.session).code == 0
    assert live.read_bytes() == old


def test_a_session_that_was_just_written_to_is_not_written_over(machine: Machine) -> None:
    agent, live = a_session(machine, "one", "two")
    whole = live.read_bytes()
    live.write_bytes(whole[:300])
    refused(machine("restore", agent.session), "was changed")


def test_what_is_newer_on_the_disk_is_not_written_over(machine: Machine) -> None:
    agent, live, first = grown(machine)
    refused(machine("restore", agent.session, "--at", first), "not the beginning")
    assert live.read_bytes() == agent.data
    done = machine("restore", agent.session, "--at", first, "--force", "--json")
    assert done.code == 0
    assert len(live.read_bytes()) < len(agent.data)
    assert replaced(machine) == {live.name: agent.data}
    (kept,) = Path(done.json["replaced"]).rglob("*.jsonl")
    assert kept.stat().st_nlink == 1


def test_what_is_there_already_is_left_alone(machine: Machine) -> None:
    agent, live = a_session(machine)
    running(machine, agent.session, os.getpid())
    before = live.stat()
    done = machine("restore", agent.session, "--json")
    assert (done.code, done.json["changed"]) == (0, False)
    assert live.stat() == before
    assert replaced(machine) == {}


def test_a_beginning_of_it_is_gone_on_with(machine: Machine) -> None:
    agent, live = a_session(machine, "one", "two")
    whole = live.read_bytes()
    live.write_bytes(whole[: whole.index(b"\n") + 1])
    machine.age()
    assert machine("restore", agent.session).code == 0
    assert live.read_bytes() == whole


def test_a_newer_version_in_another_projects_folder_is_not_moved_away(machine: Machine) -> None:
    agent, live, first = grown(machine)
    other = live.parent.with_name("-other")
    other.mkdir()
    live.rename(other / live.name)
    machine.age()
    refused(machine("restore", agent.session, "--at", first))
    assert transcripts_of(machine, agent.session) == [other / live.name]
    assert machine("restore", agent.session, "--at", first, "--force").code == 0
    assert transcripts_of(machine, agent.session) == [live]
    assert replaced(machine) == {live.name: agent.data}


def test_a_structured_folder_that_has_more_is_not_mixed_with_less(machine: Machine) -> None:
    folder = machine.home.structured("plan")
    write(folder, [("context.json", b"1")])
    machine.settle()
    first = machine.rig.session().checkpoint or ""
    write(folder, [("context.json", b"2"), ("artifacts/new", b"n")])
    machine.settle()
    refused(machine("restore", "plan", "--at", first))
    assert machine("restore", "plan", "--at", first, "--force").code == 0
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {"context.json"}
    assert (folder / "context.json").read_bytes() == b"1"
    assert replaced(machine) == {"context.json": b"2", "new": b"n"}


def test_a_full_disk_leaves_everything_as_it_was(machine: Machine) -> None:
    agent, live = a_session(machine, "one", "x" * 200_000)
    whole = live.read_bytes()
    live.write_bytes(whole[:100])
    machine.age()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        done = machine("restore", agent.session, "--from", "vault")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.code == 1
    assert "nothing is changed" in done.err
    assert live.read_bytes() == whole[:100]
    assert not leftovers(machine)
    assert replaced(machine) == {}


def test_a_copy_that_says_more_than_the_disk_holds_is_not_begun(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, live = a_session(machine, "one")
    session = machine.rig.session()
    known = Known(session.stored_as, agent.session, (session.project or "",))
    (copy,) = MirrorShelf(machine.rig.mirror, machine.rig.vault).copies(known)
    live.unlink()
    puts, _ = AgentTarget(machine.home.agent, agent.session, machine.home.project, {}).puts(copy.files())
    free = len(agent.data) - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with Placing(tmp_path / "kept", 0.0, lambda _: None) as placing:
        with pytest.raises(RestoreError, match=f"holds {free + 1:,} bytes"):
            placing.stage(copy, puts)
        free += 1
        placing.stage(copy, puts)
    assert not leftovers(machine)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("origin", ["mirror", "vault"])
def test_what_is_written_is_read_back_and_proven(
    machine: Machine, tmp_path: Path, origin: str, times: int
) -> None:
    """The disk holds other bytes than those that were written, once or again and again."""
    agent, live = a_session(machine, "one", "two")
    session = machine.rig.session()
    known = Known(session.stored_as, agent.session, (session.project or "",))
    shelf = MirrorShelf(machine.rig.mirror, machine.rig.vault)
    copy = (shelf if origin == "mirror" else VaultShelf(machine.rig.vault)).copies(known)[-1]
    live.unlink()
    puts, _ = AgentTarget(machine.home.agent, agent.session, machine.home.project, {}).puts(copy.files())
    looked: list[bytes] = []

    def look(_: Put, draft: Path) -> None:
        looked.append(draft.read_bytes())
        if len(looked) <= times:
            flip(draft, len(agent.data) // 2)

    with Placing(tmp_path / "kept", 0.0, lambda _: None) as placing:
        if times == 2:
            with pytest.raises(RestoreError, match="is not what is there"):
                placing.stage(copy, puts, look)
        else:
            placing.stage(copy, puts, look)
            placing.commit([], machine.home.agent)
            assert live.read_bytes() == agent.data
    assert looked == [agent.data] * 2
    assert not leftovers(machine)


def test_what_is_damaged_without_a_sign_is_taken_from_where_it_lies_again(
    machine: Machine, tmp_path: Path
) -> None:
    """Two frames have changed places: each is sound, and nothing but hashes tell."""
    vault, ref = Vault(tmp_path / "vault"), Ref("structured", "s")
    data, root = random.Random(1).randbytes(200_000), Root()
    root.update(data)
    puts: list[Put] = []

    def restored() -> bytes:
        (copy,) = VaultShelf(vault).copies(Known(ref, "s", ("app",)))
        puts[:], _ = OutTarget(tmp_path / "out").puts(copy.files())
        with Placing(tmp_path / "kept", 0.0, lambda _: None) as placing:
            placing.stage(copy, puts)
            placing.commit([], tmp_path / "out")
        return puts[0].path.read_bytes()

    with vault.lock():
        session = vault.open("app", ref)
        for offset in (0, 100_000):
            session.append("context.json", 0, offset, data[offset : offset + 100_000])
        files = [StoredFile("context.json", 0, len(data), root.hexdigest())]
        session.snapshot(id="1", at=1.0, trigger="quiet", alias="", files=files, meta={})
        vault.flush()
        pack = tmp_path / "vault" / "app" / "structured.s" / "pack"
        frames = pack.read_bytes()
        middle = len(frames) // 2
        pack.write_bytes(frames[middle:] + frames[:middle])
        with pytest.raises(CopyIncomplete, match="damaged"):
            restored()
        session.append("context.json", 0, 0, data)
        vault.flush()
        assert restored() == data


def test_a_failure_half_way_takes_everything_back(machine: Machine, tmp_path: Path) -> None:
    agent = machine.agent()
    agent.turn("hello")
    live = machine.write(agent)
    write(live.parent, [(f"{agent.session}/tool-results/{n}", b"%d" % n) for n in range(3)])
    machine.settle()
    session = machine.rig.session()
    known = Known(session.stored_as, agent.session, (session.project or "",))
    (copy,) = MirrorShelf(machine.rig.mirror, machine.rig.vault).copies(known)
    results = live.parent / agent.session / "tool-results"
    (results / "0").write_bytes(b"other")
    (results / "1").unlink()
    live.unlink()
    target = AgentTarget(machine.home.agent, agent.session, machine.home.project, {})
    puts, _ = target.puts(copy.files())
    with Placing(tmp_path / "kept", 0.0, lambda _: None) as placing:
        placing.stage(copy, puts)
        assert placing.compare([], []) == []
        live.write_bytes(b"somebody else was faster")
        with pytest.raises(SessionLive):
            placing.commit([], target.root)
    assert live.read_bytes() == b"somebody else was faster"
    assert (results / "0").read_bytes() == b"other"
    assert not (results / "1").exists()
    assert not list(tmp_path.joinpath("kept").rglob("*.jsonl"))
    assert not leftovers(machine)


@pytest.mark.parametrize("depth", ["folder", "session", "file"])
def test_a_link_in_the_way_is_not_followed(machine: Machine, tmp_path: Path, depth: str) -> None:
    agent = machine.agent()
    agent.turn("hello")
    live = machine.write(agent)
    write(live.parent, [(f"{agent.session}/tool-results/a", b"a")])
    machine.settle()
    shutil.rmtree(live.parent)
    trap = tmp_path / "trap"
    trap.mkdir()
    place = {"folder": live.parent, "session": live.with_suffix(""), "file": live}[depth]
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(trap if depth != "file" else trap / "file")
    done = machine("restore", agent.session, "--cwd", str(machine.home.project))
    assert done.code == 1
    assert "nothing is written there" in done.err
    assert list(trap.iterdir()) == []


def test_a_projects_link_that_leads_out_of_it_is_not_followed(machine: Machine, tmp_path: Path) -> None:
    folder = machine.home.structured("plan")
    write(folder, [("context.json", b"{}")])
    machine.settle()
    shutil.rmtree(machine.home.project / ".claude")
    (machine.home.project / ".claude").symlink_to(tmp_path)
    assert machine("restore", "plan").code == 1
    assert not (tmp_path / "sessions").exists()
    for name in ("..", ".hidden", "a/b", ""):
        with pytest.raises(RestoreError):
            ProjectTarget(tmp_path, name)


def test_an_id_that_no_agent_gives_is_never_put_into_a_command(tmp_path: Path) -> None:
    for name in ("x; rm -rf ~", "../settings", "", f"{SESSION} ", "$(x)"):
        with pytest.raises(RestoreError, match="no id that the agent gives"):
            AgentTarget(tmp_path, name, tmp_path, {})


@pytest.mark.parametrize("text", ["../../etc/passwd", "claude:", ":", "a\0b", "x" * 5000, "%2e%2e", "-"])
def test_an_id_that_leads_out_is_nobodys(machine: Machine, text: str) -> None:
    a_session(machine)
    assert machine("restore", "--", text).code in {2, 4}
    assert replaced(machine) == {}


def test_a_file_from_the_future_counts_as_just_written(machine: Machine) -> None:
    agent, live = a_session(machine, "one", "two")
    live.write_bytes(live.read_bytes()[:300])
    ahead = time.time() + 60  # a disk in the network has a clock of its own
    os.utime(live, (ahead, ahead))
    refused(machine("restore", agent.session), "was changed")


def test_what_is_there_and_old_is_young_again(machine: Machine) -> None:
    agent, live = a_session(machine)
    old = time.time() - 29 * 86_400
    os.utime(live, (old, old))
    done = machine("restore", agent.session, "--json")
    assert (done.code, done.json["changed"]) == (0, False)
    assert live.stat().st_mtime > time.time() - 60  # else the agent's clean-up takes it at its next start


def test_a_folder_under_two_names_is_one_folder(machine: Machine) -> None:
    """As on a disk that takes no notice of case."""
    agent, live = a_session(machine, "one", "two")
    whole = live.read_bytes()
    live.write_bytes(whole[: whole.index(b"\n") + 1])
    machine.age()
    other = live.parent.with_name(live.parent.name.upper())
    other.mkdir()
    mount = ["mount", "--bind", str(live.parent), str(other)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can let one folder have two names, and not everywhere")
    try:
        done = machine("restore", agent.session)
        assert done.code == 0, done.err
        assert live.read_bytes() == whole
    finally:
        subprocess.run(["umount", "-l", str(other)], check=True)


def test_a_copy_that_holds_nothing_of_a_session_is_none(tmp_path: Path) -> None:
    class Foreign:
        origin, checkpoint, author, doubtful = "github", None, "", False

        def files(self) -> list[CopyFile]:
            return [CopyFile("settings.json", 2, Role.COMPANION)]

    chosen = Choice([Foreign()])  # type: ignore[list-item] # that is all it needs
    with pytest.raises(CopyIncomplete, match="holds none of the files"):
        put_back(
            Known(Ref("claude", SESSION), SESSION),
            chosen,
            lambda _: AgentTarget(tmp_path, SESSION, tmp_path, {}),
            confirm=lambda _: None,
            settle=lambda _copy, _target: None,
            keep_in=tmp_path / "kept",
            now=0.0,
            alive=lambda _: False,
            force=False,
            progress=lambda _done, _total: None,
        )
    assert not (tmp_path / "kept").exists()
    assert not (tmp_path / "projects").exists()


@pytest.mark.parametrize(
    "path",
    [".claude/settings.md", "x.md", ".claude/sessions/.x.md", ".claude/sessions/a/.git/x.md", "sessions/x.sh",
     ".claude/sessions/x.sh", ".claude/commands/x.md", ".claude/sessions/", "CLAUDE.md", "/etc/x.md",
     ".claude/sessions/../x.md", "sessions/a/x.tmp", "commands/x.md", "", "session-data/.x.tmp"],
)  # fmt: skip
def test_a_session_that_is_one_file_lies_in_its_folder_or_nowhere(path: str) -> None:
    assert beside_agent(path) is None
    with pytest.raises(RestoreError):
        in_project(path)


def test_a_session_that_is_one_file_is_put_where_it_was(tmp_path: Path) -> None:
    for path in (".claude/sessions/12.md", ".claude/sessions/2026-01-02-https:/x/y.tmp"):
        target = FileTarget(tmp_path, in_project(path), tmp_path)
        files = [CopyFile("anything.md", 1, Role.MAIN), CopyFile("more", 1, Role.PART)]
        (put,), left = target.puts(files)
        assert put.path == Path(target.known_as) == tmp_path / path
        assert left == files[1:]
        assert target.present() == []
        put.path.parent.mkdir(parents=True)
        put.path.write_text("x")
        (there,) = target.present()
        assert there.path == put.path
        assert target.live([there], time.time(), lambda _: False)
    assert beside_agent("session-data/2026-01-02-a-session.tmp") is not None
    (tmp_path / "link").symlink_to(tmp_path.parent)
    with pytest.raises(RestoreError, match="leads elsewhere"):
        FileTarget(tmp_path, ("link", "x.md"), None)


HOSTILE = (
    "../settings.json",
    "/etc/passwd",
    f"{SESSION}/../../settings.json",
    "a//b",
    f"{SESSION}/./x",
    "nul\0",
    "",
    "projects/../x/y",
)
FOREIGN = (
    "settings.json",
    "commands/x.md",
    "hooks/x",
    "projects/x/settings.json",
    f"todos/{SESSION}/x",
    "todos/other.json",
    "tasks/other/1.json",
    f"tasks/{SESSION}",
    f"file-history/{SESSION}",
    f"{SESSION.upper()}.jsonl",
    f"PROJECTS/x/{SESSION}.jsonl",
    f"projects/x/{SESSION}.jsonl",
    "agent-x/y.jsonl",
    "other.jsonl",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(RestoreError):
        in_agent(SESSION, "-app", name)


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_none_of_a_sessions_files_is_left_out(name: str) -> None:
    assert in_agent(SESSION, "-app", name) is None


def test_the_role_of_a_file_is_what_the_source_says(machine: Machine) -> None:
    agent = machine.agent()
    agent.turn("hello")
    sid = agent.session
    live = machine.write(agent)
    write(live.parent, [(f"{sid}/subagents/agent-1.jsonl", b"{}\n"), (f"{sid}/tool-results/x", b"x")])
    write(
        live.parent.with_name("-b"), [(f"{sid}.jsonl", b"{}\n"), (f"{sid}/subagents/agent-2.jsonl", b"{}\n")]
    )
    write(machine.home.agent, [(f"tasks/{sid}/1.json", b"{}")])
    write(machine.home.structured("plan"), [("context.json", b"{}"), ("artifacts/context.json", b"{}")])
    machine.settle()
    for source in machine.rig.sources:
        for found in source.find():
            for file in found.files:
                assert role_of(source.name, file.name) is file.role, file.name


# --- GitHub


def two_homes(make: Make, gh: FakeGitHub, *prompts: str) -> tuple[Machine, Machine, Agent, Path]:
    """A session of the first machine that is on GitHub, and a second machine with the same project."""
    one = make("one", gh=gh)
    agent, live = a_session(one, *prompts)
    one.push()
    return one, make("two", gh=gh, project="code/app"), agent, live


def test_a_fresh_machine_restores_from_the_comment_alone(make: Make, gh: FakeGitHub) -> None:
    one, two, agent, live = two_homes(make, gh)
    shutil.rmtree(one.home.project)
    shutil.rmtree(two.home.state)
    listed = two("restore", agent.session, "--list", "--json").json["copies"]
    assert [(each["from"], each["exact"], each["complete"]) for each in listed] == [("github", True, True)]
    assert listed[0]["sha256"] == hashlib.sha256(live.read_bytes()).hexdigest()
    done = two("restore", agent.session)
    assert done.code == 0, done.err
    assert two.home.transcript(agent.session).read_bytes() == live.read_bytes()
    assert done.last == f"cd {two.home.project} && claude --resume {agent.session}"


def test_a_session_in_many_parts_and_with_subagents_comes_back_from_comments(
    make: Make, gh: FakeGitHub
) -> None:
    one = make("one", gh=gh)
    agent = one.agent()
    agent.turn(random.Random(1).randbytes(14_000).hex())
    live = one.write(agent)
    write(live.parent, [(f"{agent.session}/subagents/agent-1.jsonl", b'{"type":"user"}\n')])
    one.settle()
    one.push()
    assert len(gh.comments("o/r", 1)) == 1
    one.environ["SESSIOND_TIERS_COMMENT_BYTES"] = "4096"
    two = make("two", gh=gh)
    assert two("restore", agent.session).code == 0
    put = two.home.transcript(agent.session)
    assert put.read_bytes() == live.read_bytes()
    assert (put.parent / agent.session / "subagents" / "agent-1.jsonl").read_bytes() == b'{"type":"user"}\n'


def test_a_structured_session_comes_back_from_its_comment(make: Make, gh: FakeGitHub) -> None:
    one = make("one", gh=gh)
    write(one.home.structured("plan"), [("context.json", b'{"title": "T"}'), ("artifacts/a", b"a")])
    one.settle()
    one.push()
    two = make("two", gh=gh, project="elsewhere/app")
    done = two("restore", "plan")
    assert done.code == 0, done.err
    folder = two.home.project / ".claude" / "sessions" / "plan"
    assert (folder / "context.json").read_bytes() == b'{"title": "T"}'
    assert (folder / "artifacts" / "a").read_bytes() == b"a"


def test_what_another_machine_went_on_with_is_newer(make: Make, gh: FakeGitHub) -> None:
    one, two, agent, live = two_homes(make, gh)
    assert two("restore", agent.session).code == 0
    agent.turn("on the second machine")
    two.home.transcript(agent.session).write_bytes(agent.data)
    two.settle()
    two.push()
    done = one("restore", agent.session, "--json")
    assert (done.code, done.json["from"]) == (0, "github")
    assert live.read_bytes() == agent.data
    assert one("restore", agent.session, "--from", "vault", "--out", str(one.home.folder / "o")).code == 0
    assert len((one.home.folder / "o" / live.name).read_bytes()) < len(agent.data)


def test_what_is_newer_here_stays(make: Make, gh: FakeGitHub) -> None:
    one = make("one", gh=gh)
    agent, live = a_session(one)
    one.push()
    agent.turn("not yet pushed")
    one.write(agent)
    live.unlink()
    done = one("restore", agent.session, "--json")
    assert done.json["from"] in {"mirror", "vault"}
    assert live.read_bytes() == agent.data


def test_two_ways_of_one_session_are_united_and_said(make: Make, gh: FakeGitHub) -> None:
    one, two, agent, live = two_homes(make, gh)
    assert two("restore", agent.session).code == 0
    begin = agent.data
    agent.turn("on the second machine")
    two.home.transcript(agent.session).write_bytes(agent.data)
    two.settle()
    two.push()
    local = (
        begin + Agent(session=agent.session, cwd=str(one.home.project), seed=9).data + b'{"type":"mode"}\n'
    )
    live.write_bytes(local)
    one.settle()
    live.unlink()
    done = one("restore", agent.session, "--json")
    assert (done.code, done.json["from"]) == (5, "mirror+github")
    assert any("holds the lines of both" in note for note in done.json["notes"])
    assert live.read_bytes() == agent.data + local.removeprefix(begin)  # the last word is this machine's
    assert loadable(live) == []
    live.write_bytes(local)
    machine_is_quiet = time.time() - 3600
    os.utime(live, (machine_is_quiet, machine_is_quiet))
    assert one("restore", agent.session).code == 5  # all that was there is in it
    assert live.read_bytes() == agent.data + local.removeprefix(begin)
    assert replaced(one)[live.name] == local
    live.unlink()
    assert one("restore", agent.session, "--from", "vault").code == 0
    assert live.read_bytes() == local
    live.unlink()
    assert one("restore", agent.session, "--from", "github").code == 0
    assert live.read_bytes() == agent.data


def test_a_redacted_copy_is_restored_and_said(make: Make, gh: FakeGitHub) -> None:
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
    one, two, agent, live = two_homes(make, gh, f"my token is {secret[:40]}")
    listed = two("restore", agent.session, "--list", "--json").json["copies"]
    assert [each["exact"] for each in listed] == [False]
    done = two("restore", agent.session)
    assert done.code == 5
    assert "redacted" in done.out
    put = two.home.transcript(agent.session)
    assert b"[REDACTED" in put.read_bytes()
    assert loadable(put) == []
    put.unlink()
    done = two("continue")
    assert done.code == 5
    assert "redacted" in done.err
    live.unlink()
    assert one("restore", agent.session).code == 0  # the exact bytes are here
    assert secret[:40].encode() in live.read_bytes()


def test_a_version_that_a_record_held_before_is_put_back_where_it_is_named(
    make: Make, gh: FakeGitHub
) -> None:
    one, two = make("one", gh=gh), make("two", gh=gh)
    here, there = one.home.structured("plan"), two.home.structured("plan")
    write(here, [("context.json", b'{"title": "one"}')])
    one.settle()
    one.push()
    session = one.rig.session()
    line = Line(one.rig, gh.url)
    known = Known(session.stored_as, "plan", project_key=session.project_key or "")
    filed = RecordShelf(line.github, authors=()).find(known)
    line.close()
    assert filed is not None
    theirs = msgspec.structs.replace(filed.record, updated_at=rfc3339(one.rig.now - 500), machine="0f0f0f0f")
    point = Elsewhere(one.home.vault).keep(
        session.stored_as,
        "0f0f0f0f",
        theirs,
        {"context.json": Plain(b'{"title": "theirs"}')},
        author="me",
        sha256="0" * 64,
    )
    listed = one("restore", "plan", "--list", "--json").json["copies"]
    assert next(each["checkpoint"] for each in listed if each["from"] == "github") == point
    assert all(each["complete"] for each in listed)
    assert one("restore", "plan", "--json").json["changed"] is False  # never unless it is named
    out = one.home.folder / "out"
    arguments = ("restore", "plan", "--from", "github", "--at", point, "--out", str(out))
    with gh.refused():
        done = one(*arguments)
    assert done.code == 0, done.err
    assert (out / "context.json").read_bytes() == b'{"title": "theirs"}'
    assert not list(there.iterdir())


def test_a_version_that_is_kept_here_and_in_its_comment_is_listed_once(make: Make, gh: FakeGitHub) -> None:
    one, two, agent, live = two_homes(make, gh)
    session = one.rig.session()
    line = Line(one.rig, gh.url)
    filed = RecordShelf(line.github, authors=()).find(Known(session.stored_as, agent.session))
    line.close()
    assert filed is not None
    files = {f"{agent.session}.jsonl": Plain(live.read_bytes())}
    Elsewhere(two.home.vault).keep(
        session.stored_as, "0f0f0f0f", filed.record, files, author="me", sha256="0" * 64
    )
    listed = two("restore", agent.session, "--list", "--from", "github", "--json").json["copies"]
    assert len(listed) == 1, listed


def test_what_was_redacted_elsewhere_is_whole_again_beside_what_went_on_there(
    make: Make, gh: FakeGitHub
) -> None:
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
    one, two, agent, live = two_homes(make, gh, f"my token is {secret[:40]}")
    assert two("restore", agent.session).code == 5
    put = two.home.transcript(agent.session)
    agent.lines = [put.read_bytes()]
    agent.turn("on the second machine")
    put.write_bytes(agent.data)
    two.settle()
    two.push()
    whole = live.read_bytes()
    live.unlink()
    done = one("restore", agent.session, "--json")
    assert done.code == 5
    assert live.read_bytes() == whole + agent.data.removeprefix(agent.lines[0])
    assert any("--from github" in note for note in done.json["notes"])


def test_a_session_of_the_same_name_in_another_project_is_another_one(make: Make, gh: FakeGitHub) -> None:
    one = make("one", gh=gh)
    write(one.home.structured("plan"), [("context.json", b'{"title": "one"}')])
    one.settle()
    two = make("two", gh=gh, remote="git@github.com:o/other.git")
    write(two.home.structured("plan"), [("context.json", b'{"title": "two"}')])
    two.settle()
    two.push()
    copies = one("restore", "plan", "--list", "--json").json["copies"]
    assert {each["from"] for each in copies} == {"mirror", "vault"}
    one.push()
    copies = one("restore", "plan", "--list", "--json").json["copies"]
    assert [each["sha256"] for each in copies] == [hashlib.sha256(b'{"title": "one"}').hexdigest()] * 3
    three = make("three", gh=gh, remote="git@github.com:o/other.git")
    assert three("restore", "plan").code == 0
    path = three.home.project / ".claude" / "sessions" / "plan" / "context.json"
    assert path.read_bytes() == b'{"title": "two"}'
    third = make("four", gh=gh, remote="git@github.com:o/third.git")
    assert third("restore", "plan").code == 2


def test_a_structured_session_that_was_changed_elsewhere_is_newer_unless_redacted(
    make: Make, gh: FakeGitHub
) -> None:
    one, two = make("one", gh=gh), make("two", gh=gh)
    here, there = one.home.structured("plan"), two.home.structured("plan")
    write(here, [("context.json", b'{"title": "one"}')])
    one.settle()
    one.push()
    write(there, [("context.json", b'{"title": "two"}')])
    two.settle()
    two.push()
    assert one("restore", "plan", "--force", "--json").json["from"] == "github"
    assert (here / "context.json").read_bytes() == b'{"title": "two"}'
    one.settle()
    one.push()
    write(there, [("context.json", b'{"title": "[REDACTED:token]"}')])
    two.settle()
    two.push()
    done = one("restore", "plan", "--json")
    assert done.json["from"] != "github"
    assert any("redacted" in note for note in done.json["notes"])


def test_somebody_elses_session_is_not_restored_unasked(make: Make, gh: FakeGitHub) -> None:
    _, two, agent, live = two_homes(make, gh)
    gh.token("T2", login="ann")
    done = two("restore", agent.session, GH_TOKEN="T2", SESSIOND_GITHUB_AUTHORS='["me"]')
    assert (done.code, done.out) == (5, "")
    assert "me's" in done.err
    assert "--yes" in done.err
    assert transcripts_of(two, agent.session) == []
    done = two("restore", agent.session, "--yes", GH_TOKEN="T2", SESSIOND_GITHUB_AUTHORS='["me"]')
    assert done.code == 0
    assert "me's" in done.err
    assert two.home.transcript(agent.session).read_bytes() == live.read_bytes()


def test_who_is_unknown_is_not_somebody_else(make: Make, gh: FakeGitHub) -> None:
    _, two, agent, _ = two_homes(make, gh)
    gh.token("A", kind="actions")  # GitHub does not tell such a token whose it is
    assert two("restore", agent.session, GH_TOKEN="A", SESSIOND_GITHUB_AUTHORS='["me"]').code == 0


def test_a_record_by_nobody_we_know_is_no_copy(make: Make, gh: FakeGitHub) -> None:
    _, two, agent, _ = two_homes(make, gh)
    (comment,) = gh.comments("o/r", 1)
    body = comment.body
    gh.delete_comment(comment.id)
    gh.add_comment("o/r", 1, body, login="mallory", association="NONE")
    assert two("restore", agent.session).code == 4
    gh.add_comment("o/r", 1, body, login="friend", association="MEMBER")
    done = two("restore", agent.session, "--yes")
    assert done.code == 0
    assert "friend's" in done.err


def test_a_record_that_was_changed_is_no_copy(make: Make, gh: FakeGitHub) -> None:
    _, two, agent, _ = two_homes(make, gh)
    (comment,) = gh.comments("o/r", 1)
    gh.edit_comment(comment.id, comment.body.replace('"github_only"', '"hybrid"'))
    done = two("restore", agent.session)
    assert done.code == 4


def test_a_record_that_is_not_whole_says_why(make: Make, gh: FakeGitHub) -> None:
    _, two, agent, _ = two_homes(make, gh)
    (comment,) = gh.comments("o/r", 1)
    gh.edit_comment(comment.id, comment.body.replace('"github_only"', '"hybrid"'))
    assert "it was edited" in two("restore", agent.session).err
    done = two("restore", agent.session, "--from", "github")
    assert done.code == 1
    assert "record_invalid" in done.err


def test_a_record_of_a_newer_format_is_not_guessed_at(
    make: Make, gh: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, two, agent, _ = two_homes(make, gh)
    monkeypatch.setattr("sessionsync.restore.records.SCHEMA", 0)
    done = two("restore", agent.session)
    assert done.code == 4
    assert "a newer sessiond wrote" in done.err
    assert transcripts_of(two, agent.session) == []


def test_of_somebody_elses_session_only_its_own_files_are_written(make: Make, gh: FakeGitHub) -> None:
    one = make("one", gh=gh)
    files = [
        ("context.json", b"{}"),
        ("artifacts/.claude/x", b"kept"),
        ("checkpoints/1.json", b"{}"),
        ("notes.md", b"mine"),
        ("CLAUDE.md", b"obey"),
        (".claude/settings.json", b"{}"),
    ]
    write(one.home.structured("plan"), files)
    one.settle()
    one.push()
    two = make("two", gh=gh, project="else/app")
    gh.token("T2", login="ann")
    ann = {"GH_TOKEN": "T2", "SESSIOND_GITHUB_AUTHORS": '["me"]'}
    out = two.home.folder / "out"
    there = two.home.project / ".claude" / "sessions" / "plan"
    for arguments, folder in (((), there), (("--out", str(out)), out)):
        done = two("restore", "plan", "--yes", *arguments, **ann)
        assert done.code == 0, done.err
        assert "have no place there" in done.out
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert found == {"context.json", "artifacts/.claude/x", "checkpoints/1.json"}
    shutil.rmtree(there)
    assert two("restore", "plan").code == 0  # one's own comes back as it was
    assert {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()} >= {"notes.md"}


def test_of_a_larger_session_the_comment_has_only_a_summary(make: Make, gh: FakeGitHub) -> None:
    _, two, agent, _ = two_homes(make, gh, "x" * 60_000)
    done = two("restore", agent.session)
    assert done.code == 4
    assert "no_such_copy" in done.err
    assert two("restore", agent.session, "--list", "--json").json["copies"] == []


def test_without_github_the_local_copies_do(make: Make, gh: FakeGitHub) -> None:
    one = make("one", gh=gh)
    agent, live = a_session(one)
    one.push()
    live.unlink()
    with gh.refused():
        done = one("restore", agent.session)
        assert done.code == 0
        assert "Nothing is known of copies in github" in done.err
        live.unlink()
        assert one("restore", agent.session, "--from", "vault").err == ""
        assert one("restore", agent.session, "--from", "github").code == 1


def test_volumes_are_read_to_the_end(make: Make, gh: FakeGitHub) -> None:
    one, two, agent, live = two_homes(make, gh)
    key = one.rig.session().project_key or ""
    body = comments.project_marker(key, 2)
    second = gh.add_issue("o/r", title="Sessions: app (2)", body=body, login="me", labels=["sessiond"])
    (comment,) = gh.comments("o/r", 1)
    gh.add_comment("o/r", second, comment.body, login="me")
    gh.delete_comment(comment.id)
    assert two("restore", agent.session).code == 0
    assert two.home.transcript(agent.session).read_bytes() == live.read_bytes()


# --- sessions that are one file

PAPERS = {
    "note.app.2026-01-02-topic": (".claude/sessions/2026-01-02-topic.tmp", b"# Topic\n\n**Status:** in_progress\n"),
    "context.app.12": (".claude/sessions/12.md", b"# Issue 12\n"),
    "messages.app.chat": (".claude/sessions/chat.json", b'{"messages": [{"role": "user", "content": "hi"}]}'),
}  # fmt: skip


@pytest.mark.parametrize("lost", ["", "state", "state and mirror", "vault", "state and vault"])
@pytest.mark.parametrize("name", PAPERS)
def test_a_session_that_is_one_file_comes_back_to_its_place(machine: Machine, name: str, lost: str) -> None:
    place, data = PAPERS[name]
    path = machine.home.project / place
    write(machine.home.project, [(place, data)])
    machine.settle()
    path.unlink()
    machine.rig.scan()
    for each in lost.split(" and ") if lost else ():
        shutil.rmtree(machine.home.folder / each)
    done = machine("restore", name)
    assert done.code == 0, done.err
    assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(data + b"more")
    assert machine("restore", name).code == 1
    assert path.read_bytes() == data + b"more"
    out = machine.home.folder / "out"
    assert machine("restore", name, "--out", str(out)).code == 0
    assert [file.read_bytes() for file in out.iterdir()] == [data]


@pytest.mark.parametrize("name", PAPERS)
def test_a_session_that_is_one_file_comes_back_on_another_machine(
    make: Make, gh: FakeGitHub, name: str
) -> None:
    one = make("one", gh=gh)
    for number in range(12):
        gh.add_issue("o/r", title=f"Issue {number}", login="me")
    place, data = PAPERS[name]
    write(one.home.project, [(place, data)])
    one.settle()
    one.push()
    two = make("two", gh=gh, project="code/other/app")
    done = two("restore", name)
    assert done.code == 0, done.err
    assert (two.home.project / place).read_bytes() == data


def test_a_note_beside_the_agent_comes_back_there(machine: Machine) -> None:
    data = f"# Note\n\n**Worktree:** {machine.home.project}\n".encode()
    path = machine.home.agent / "session-data" / "2026-01-02-abc-session.tmp"
    write(machine.home.agent, [("session-data/2026-01-02-abc-session.tmp", data)])
    machine.settle()
    name = machine.rig.session().name
    path.unlink()
    machine.rig.scan()
    done = machine("restore", name)
    assert done.code == 0, done.err
    assert path.read_bytes() == data


# --- by issue, by pull request, the latest


def about(machine: Machine, name: str, **context: Any) -> None:
    write(machine.home.structured(name), [("context.json", json.dumps(context).encode())])
    machine.settle()


def test_the_newest_session_about_an_issue_or_a_pull_request(make: Make, gh: FakeGitHub) -> None:
    one = make("one", gh=gh)
    gh.add_issue("o/r", title="A bug", login="me")
    about(one, "old", title="old", issue=1)
    about(one, "new", title="new", issue=1)
    about(one, "review", title="r", pr=7)
    assert one("restore", "--for-issue", "1", "--json").json["id"] == "new"  # from the state
    one.push()
    two = make("two", gh=gh)
    done = two("restore", "--for-issue", "1", "--json")
    assert (done.code, done.json["id"], done.json["from"]) == (0, "new", "github")
    assert "Of 2 sessions" in done.err
    assert two("restore", "--for-pr", "7", "--json").json["id"] == "review"
    assert two("restore", "--for-pr", "8").code == 4
    assert two("restore", "--latest", "--json").json["id"] == "review"


def test_an_index_is_about_no_issue_and_no_pull_request(make: Make, gh: FakeGitHub) -> None:
    one = make("one", gh=gh)
    about(one, "other", title="other")
    one.push()
    assert gh.issue("o/r", 1).title.startswith("Sessions: ")
    two = make("two", gh=gh)
    for asked in ("--for-pr", "--for-issue"):
        done = two("restore", asked, "1")
        assert (done.code, done.out) == (4, ""), done.out
    assert two("restore", "other", "--json").code == 0


def test_the_archive_is_asked_alone_where_it_is_named_with_a_whole_id(
    make: Make, gh: FakeGitHub, tmp_path: Path
) -> None:
    one = make("one", gh=gh)
    url = tmp_path / "archive.git"
    one.rig.config = one.rig.capture.config = with_archive(one.rig.config, url)
    agent, live = a_session(one)
    shipper = Shipper(one.rig)
    shipper.drain()
    shipper.close()
    two = make("two", gh=gh, project="code/app")
    two.environ["SESSIOND_ARCHIVE_URL"] = str(url)
    gh.forget_requests()
    done = two("restore", agent.session, "--from", "archive")
    assert done.code == 0, done.err
    assert two("restore", f"{agent.session[:-12]}{'0' * 12}", "--from", "archive").code == 4
    assert gh.requests() == []
    assert two.home.transcript(agent.session).read_bytes() == live.read_bytes()


def test_the_archive_alone_tells_of_an_issue_and_of_the_latest(make: Make, tmp_path: Path) -> None:
    one = make("one")
    url = tmp_path / "archive.git"
    one.rig.config = one.rig.capture.config = with_archive(one.rig.config, url)
    about(one, "old", title="old", issue=7)
    about(one, "new", title="new", issue=7)
    write(one.home.project, [(".claude/sessions/2026-01-02-topic.md", b"# Topic")])
    one.settle()
    shipper = Shipper(one.rig)
    shipper.drain()
    shipper.close()
    two = make("two", project="other/app")
    two.environ["SESSIOND_ARCHIVE_URL"] = str(url)
    done = two("restore", "--for-issue", "7", "--json")
    assert done.code == 0, done.err
    assert (done.json["id"], done.json["from"]) == ("new", "archive")
    folder = two.home.project / ".claude" / "sessions"
    assert json.loads((folder / "new" / "context.json").read_bytes())["title"] == "new"
    assert two("restore", "--for-issue", "8").code == 4
    done = two("restore", "--latest", "--json")
    assert done.code == 0, done.err
    assert (folder / "2026-01-02-topic.md").read_bytes() == b"# Topic"


def test_the_latest_is_of_this_folders_project(machine: Machine, tmp_path: Path) -> None:
    agent, _ = a_session(machine)
    assert machine("restore", "--latest", "--json").json["id"] == agent.session
    shutil.rmtree(machine.home.state)
    assert machine("restore", "--latest", "--json").json["id"] == agent.session
    machine.here = tmp_path
    assert machine("restore", "--latest").code == 4


# --- continue


def test_continue_prints_the_command_and_nothing_else(machine: Machine) -> None:
    a_session(machine, "first")
    agent, live = a_session(machine, "second")
    command = f"cd {machine.home.project} && claude --resume {agent.session}"
    done = machine("continue")
    assert (done.code, done.out) == (0, command + "\n")
    data = live.read_bytes()
    live.unlink()
    done = machine("continue", "--json")
    assert (done.code, done.json["command"], done.json["restored"]) == (0, command, True)
    assert live.read_bytes() == data


def test_continue_on_a_fresh_machine(make: Make, gh: FakeGitHub) -> None:
    _, two, agent, live = two_homes(make, gh)
    done = two("continue")
    assert done.code == 0, done.err
    assert done.out == f"cd {two.home.project} && claude --resume {agent.session}\n"
    assert two.home.transcript(agent.session).read_bytes() == live.read_bytes()


def test_continue_where_there_is_nothing(machine: Machine, tmp_path: Path) -> None:
    machine.here = tmp_path
    done = machine("continue")
    assert (done.code, done.out) == (4, "")
    machine.here = machine.home.project
    write(machine.home.structured("plan"), [("context.json", b"{}")])
    machine.settle()
    assert machine("continue").out == f"cd {machine.home.project}\n"


# --- will the agent open it

MIDDLE = "a parent is missing at line 1"
ASIDE = "it begins with a subagent's line"
STUMBLES = {
    # begin in the middle of a conversation: cut out of one
    "slices/2026-01-21-0cf3db51": MIDDLE,
    "2.1.2/2026-01-09-97007e37": MIDDLE,
    "2.1.3/2026-01-10-cef3602b": MIDDLE,
    "2.1.5/2026-01-13-21a2e002": MIDDLE,
    "2.1.6/2026-01-15-1664f311": MIDDLE,
    "2.1.14/2026-01-21-0cf3db51": MIDDLE,
    "2.1.15/2026-01-22-0cf3db51": MIDDLE,
    # a warm-up's lines come first, which the agent refuses to resume
    "-tmp-test1/4dd02356": ASIDE,
    "-tmp-tmp-Vm9PMxCP7R/91f8d70f": ASIDE,
}


def test_real_transcripts_are_loadable(shared: Path, tmp_path: Path) -> None:
    stumbled = {}
    files = [file for file in samples(shared, "claude-code-transcript") if file.suffix == ".jsonl"]
    for file in files:
        lines = file.read_bytes().split(b"\n")
        session = next(json.loads(line)["sessionId"] for line in lines if b'"sessionId"' in line)
        path = tmp_path / f"{session}.jsonl"
        shutil.copyfile(file, path)
        if problems := loadable(path):
            name = next((name for name in STUMBLES if name in str(file)), str(file))
            stumbled[name] = ", ".join(problems)
    assert stumbled == STUMBLES


def broken(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[bytes], bytes]:
    def rewrite(data: bytes) -> bytes:
        rows = [json.loads(line) for line in data.splitlines()]
        change(rows)
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    return rewrite


def no_results(rows: list[dict[str, Any]]) -> None:
    rows[:] = [row for row in rows if "toolUseResult" not in row]


def circle(rows: list[dict[str, Any]]) -> None:
    rows[0]["parentUuid"] = rows[-1]["uuid"]


@pytest.mark.parametrize(
    ("breaking", "problem"),
    [
        (lambda _: b"", "it is empty"),
        (lambda data: data + b'{"type": "us\n', "it is no JSON at line"),
        (broken(lambda rows: rows[0].update(isSidechain=True)), ASIDE),
        (broken(lambda rows: [row.update(sessionId="another") for row in rows]), "none of its lines"),
        (broken(lambda rows: rows.pop(1)), "a parent is missing"),
        (broken(circle), "in a circle"),
        (broken(no_results), "a call has no result"),
        (broken(lambda rows: [row.update(isSidechain=True) for row in rows[1:]]), ""),
        (lambda data: data.replace(b'"id":"toolu_', b'"id":"other_'), "a result has no call"),
        (lambda _: b'{"type": "mode"}\n', "it holds no message"),
    ],
)
def test_what_the_agent_stumbles_over(
    tmp_path: Path, breaking: Callable[[bytes], bytes], problem: str
) -> None:
    agent = Agent()
    agent.turn("one")
    agent.turn("two")
    path = tmp_path / f"{SESSION}.jsonl"
    path.write_bytes(agent.data)
    assert loadable(path) == []
    path.write_bytes(breaking(agent.data))
    found = "; ".join(loadable(path))
    assert problem in found
    assert bool(found) == bool(problem)


def test_a_call_that_still_waits_is_no_problem_and_a_wrong_name_is(tmp_path: Path) -> None:
    agent = Agent()
    agent.turn("one")
    agent.call("Bash", {})
    path = tmp_path / f"{SESSION}.jsonl"
    path.write_bytes(agent.data)
    assert loadable(path) == []
    assert loadable(path, "notes") == ["its name is no session's id"]
    other = path.rename(tmp_path / "notes.jsonl")
    assert loadable(other) == ["its name is no session's id"]


@pytest.mark.parametrize("before", [b"", b"\n\n", b"{}\n", b'{"type":\n"user"}\n'])
def test_a_line_that_is_none_is_counted_where_it_lies(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / f"{SESSION}.jsonl"
    path.write_bytes(before + b"no JSON\n")
    (flaw,) = (flaw for flaw in loadable(path) if "it is no JSON" in flaw)
    assert flaw.endswith((f"line {before.count(10) + 1}", f", {before.count(10) + 1}"))


def test_a_copy_without_the_transcript_says_so(machine: Machine) -> None:
    agent = machine.agent()
    live = machine.home.transcript(agent.session)
    write(live.parent, [(f"{agent.session}/subagents/agent-1.jsonl", b'{"type":"user","cwd":"/"}\n')])
    machine.settle()
    done = machine("restore", agent.session, "--cwd", str(machine.home.project), "--json")
    assert done.json["problems"] == ["its transcript was never captured: only subagents are there"]


def test_a_put_file_is_whole_in_its_base() -> None:
    put = Put(CopyFile("x", 1, Role.MAIN), Path("/a"), ("b", "c"))
    assert put.path == Path("/a/b/c")


def test_main_of_nothing() -> None:
    class Empty:
        def files(self) -> list[CopyFile]:
            return []

    assert main_of(Empty()) is None  # type: ignore[arg-type] # that is all it needs

"""The hook and the daemon write the same file: the same name, the same bytes, in any order."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessiond import hook as at_event
from sessiond import plaincopy
from sessiond.plaincopy import Copied, Copies, copy_session, locate
from sessionsync.errors import CopyError
from sessionsync.model import Ref
from sessionsync.paths import paths
from sessionsync.peek import first_cwd
from sessionsync.project_names import Names
from sessionsync.tombstones import Tombstones
from sessionsync.vault import Copy
from tests.conftest import PATIENCE_S
from tests.rig import Events, Home, Rig, append, line

SID = "3f2a9c1e-58d7-4cf4-9f3f-6a6f5c9c1a11"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook keeps nobody waiting: on a busy machine git would be given up."""
    monkeypatch.setattr(plaincopy, "GIT_S", PATIENCE_S)
    monkeypatch.setattr(plaincopy, "NAME_S", PATIENCE_S)


@pytest.fixture
def place(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def rig(place: Home) -> Iterator[Rig]:
    it = Rig(place)
    yield it
    it.close()


def hook(place: Home, transcript: Path, agent: object = None, until: float | None = None) -> Copied:
    session = locate(str(transcript), [str(place.agent)])
    end = time.monotonic() + 60 if until is None else until
    return copy_session(Copies(str(place.mirror)), session, agent, end, Events())


def copies(place: Home) -> set[str]:
    found = place.mirror.rglob("*.jsonl")
    return {str(path.relative_to(place.mirror)) for path in found}


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def test_what_is_forgotten_while_a_hook_copies_it_is_not_there_again(
    place: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcript, agent = place.transcript(SID), place.transcript(SID).with_suffix("") / "subagents"
    append(transcript, line("user", "hello", place.project, session=SID))
    agent.mkdir(parents=True)
    append(agent / "agent-1.jsonl", line("user", "hello", place.project, session=SID))
    environ = {
        "HOME": str(place.folder),
        "CLAUDE_CONFIG_DIR": str(place.agent),
        "SESSIOND_HOME": str(place.folder / "s"),
        "SESSIOND_BACKUP_MIRROR_DIR": str(place.mirror),
    }
    event = json.dumps({"session_id": SID, "transcript_path": str(transcript)}).encode()

    def forgotten_first(copies: Copies, *arguments: Any) -> Copied:
        Tombstones(copies.folder).add("claude", SID)
        copies.mirror().forget(Ref("claude", SID))
        return copy_session(copies, *arguments)

    monkeypatch.setattr(at_event, "copy_session", forgotten_first)
    handed_over: list[object] = []
    monkeypatch.setattr(at_event, "_hand_over", lambda *given: handed_over.append(given))
    at_event._at_event("Stop", event, environ, time.monotonic(), whole=True)
    assert (copies(place), handed_over) == (set(), [])


@pytest.mark.parametrize("first", ["hook", "daemon"])
@pytest.mark.parametrize(
    "kind",
    [
        "folder",
        "repository",
        "remote",
        "below",
        "other name taken",
        "no cwd",
        "subagent's cwd",
        "glued",
        "gone",
    ],
)
def test_hook_and_daemon_agree_on_the_name(rig: Rig, place: Home, kind: str, first: str) -> None:
    transcript = place.transcript(SID)
    cwd = place.project
    if kind in {"repository", "remote", "below"}:
        git(place.project, "init", "-q")
    if kind == "remote":
        git(place.project, "remote", "add", "origin", "git@github.com:o/other-name.git")
    if kind == "below":
        cwd = place.project / "deep"
        cwd.mkdir()
    if kind == "other name taken":
        Names(place.mirror).name_for("another project", "APP")
    if kind == "gone":
        cwd = place.project / "gone"
    lines = [
        b'{"type":"summary","summary":"x"}\n',
        line("user", "hi", cwd, session=SID),
        line("user", "on", "/tmp"),
    ]
    if kind in {"no cwd", "subagent's cwd"}:
        lines = lines[:1]
    if kind == "glued":
        lines = [b'{"type":"torn","x":"' + lines[0].rstrip() + lines[1]]
    append(transcript, *lines)
    if kind == "subagent's cwd":
        subagent = transcript.with_suffix("") / "subagents" / "agent-1.jsonl"
        subagent.parent.mkdir(parents=True)
        append(subagent, line("user", "hi", cwd, session=SID))
    if first == "hook":
        hook(place, transcript)
        rig.scan()
    else:
        rig.scan()
        hook(place, transcript)
    (one,) = {Path(name).parts[0] for name in copies(place)}
    assert rig.session().project == one
    assert rig.mirrored(rig.session(), f"{SID}.jsonl") == transcript.read_bytes()
    assert not rig.events.named("copy_set_aside")


def test_a_remote_that_comes_later_moves_no_copy(rig: Rig, place: Home) -> None:
    """The daemon settles a session's project for ever; the hook finds its copy and adds to it."""
    git(place.project, "init", "-q")
    transcript = place.transcript(SID)
    append(transcript, line("user", "one", place.project, session=SID))
    rig.scan()
    git(place.project, "remote", "add", "origin", "https://github.com/o/app")
    append(transcript, line("user", "two", place.project, session=SID))
    hook(place, transcript)
    assert copies(place) == {f"app/{SID}.jsonl"}
    rig.wait(1)
    assert rig.mirrored(rig.session(), f"{SID}.jsonl") == transcript.read_bytes()


def test_what_the_hook_wrote_ahead_is_kept_where_it_is_no_truth_any_more(rig: Rig, place: Home) -> None:
    """The agent cuts a line that only the hook has seen, and writes another in its place."""
    transcript = place.transcript(SID)
    append(transcript, line("user", "one", place.project, session=SID))
    rig.scan()
    one = transcript.read_bytes()
    dropped = line("assistant", "dropped", place.project, session=SID)
    append(transcript, dropped)
    hook(place, transcript)
    with transcript.open("r+b") as file:
        file.truncate(len(one))
    append(transcript, line("assistant", "another", place.project, session=SID) * 3)
    rig.wait(1)
    session = rig.session()
    assert rig.mirrored(session, f"{SID}.jsonl") == transcript.read_bytes()
    (aside,) = (place.mirror / "app").glob(f"{SID}.*.*.jsonl")
    assert dropped.endswith(aside.read_bytes())
    rig.wait(1000)
    assert rig.restored(rig.session())[f"{SID}.jsonl"] == transcript.read_bytes()


def test_a_copy_that_grows_is_durable_after_a_flush(place: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    transcript = place.transcript(SID)
    append(transcript, line("user", "one", place.project, session=SID))
    hook(place, transcript)
    append(transcript, line("user", "two", place.project, session=SID))
    copies = Copies(str(place.mirror))
    session = locate(str(transcript), [str(place.agent)])
    copied = copy_session(copies, session, None, time.monotonic() + 60, Events())
    synced: list[int] = []
    monkeypatch.setattr(plaincopy, "sync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    copies.flush()
    copies.flush()
    assert synced == [Path(copied.path).stat().st_ino]
    assert Path(copied.path).read_bytes() == transcript.read_bytes()


def test_another_name_of_a_copy_does_not_grow_with_it(place: Home) -> None:
    """A backup by hard links keeps what it had."""
    transcript = place.transcript(SID)
    append(transcript, line("user", "one", place.project, session=SID))
    copy, kept = Path(hook(place, transcript).path), place.folder / "kept"
    kept.hardlink_to(copy)
    before = kept.read_bytes()
    append(transcript, line("user", "two", place.project, session=SID))
    assert hook(place, transcript).complete
    assert kept.read_bytes() == before
    assert copy.read_bytes() == transcript.read_bytes()


def test_an_empty_transcript_makes_no_copy(place: Home) -> None:
    transcript = place.transcript(SID)
    transcript.touch()
    copied = hook(place, transcript)
    assert (copied.size, copied.length, copied.complete) == (0, 0, True)
    assert copies(place) == set()


def test_a_longer_copy_and_another_one_are_left(place: Home) -> None:
    transcript = place.transcript(SID)
    append(transcript, line("user", "one" * 100, place.project, session=SID))
    whole = transcript.read_bytes()
    copy = Path(hook(place, transcript).path)
    transcript.write_bytes(whole[:50])
    with pytest.raises(CopyError, match="which was cut"):
        hook(place, transcript)
    for spoiled in (b"X" + whole[1:], whole[:-1] + b"X"):
        transcript.write_bytes(whole)
        append(transcript, b"more\n")
        copy.write_bytes(spoiled)
        with pytest.raises(CopyError, match="not what the session was"):
            hook(place, transcript)
        assert copy.read_bytes() == spoiled


def test_when_time_is_over_the_rest_is_left_to_the_daemon(rig: Rig, place: Home) -> None:
    transcript = place.transcript(SID)
    append(transcript, line("user", "x" * 5_000_000, place.project, session=SID))
    copied = hook(place, transcript, until=0)
    assert not copied.complete
    assert 0 < copied.length < copied.size
    assert transcript.read_bytes().startswith(Path(copied.path).read_bytes())
    rig.scan()
    assert Path(copied.path).read_bytes() == transcript.read_bytes()
    assert hook(place, transcript).complete


@pytest.mark.parametrize("how", ["grows", "is cut", "is emptied", "is replaced", "vanishes", "is a folder"])
def test_what_happens_to_a_transcript_while_it_is_read_costs_nothing(
    rig: Rig, place: Home, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    transcript = place.transcript(SID)
    append(transcript, *[line("user", f"{n} " * 2000, place.project, session=SID) for n in range(1000)])
    before = transcript.read_bytes()
    other = line("user", "another", place.project, session=SID) * 5

    def happens() -> None:
        match how:
            case "grows":
                append(transcript, other)
            case "is cut":
                os.truncate(transcript, len(before) // 2)
            case "is emptied":
                os.truncate(transcript, 0)
            case _:
                transcript.unlink()
        if how == "is replaced":
            transcript.write_bytes(other)
        if how == "is a folder":
            transcript.mkdir()

    write, waiting = Copy.write, [happens]

    def written_meanwhile(copy: Copy, offset: int, data: bytes) -> None:
        if waiting:
            waiting.pop()()
        write(copy, offset, data)

    with monkeypatch.context() as patch:
        patch.setattr(Copy, "write", written_meanwhile)
        copied = hook(place, transcript)
    copy = Path(copied.path)
    kept = copy.read_bytes()
    assert before.startswith(kept)
    assert copied.length == len(kept) > 0
    assert copied.complete == (how not in {"is cut", "is emptied"})
    assert copied.complete == (kept == before)
    rig.scan()
    # an empty file is no transcript, and no truth
    now = transcript.read_bytes() if transcript.is_file() and transcript.stat().st_size else kept
    held = [
        copy.read_bytes(),
        *(path.read_bytes() for path in copy.parent.glob(f"{SID}.*.*.jsonl")),
    ]
    assert held[0] == now
    assert len(b"".join(held)) >= max(len(kept), len(now))
    assert all(kept.endswith(aside) for aside in held[1:])


def test_two_projects_of_one_name_keep_their_copies_apart(rig: Rig, place: Home) -> None:
    """Hook and daemon give the second one the same other name, whoever comes first."""
    other = place.folder / "elsewhere" / "APP"
    other.mkdir(parents=True)
    one, two = place.transcript(SID), place.transcript("4f2a9c1e-58d7-4cf4-9f3f-6a6f5c9c1a11")
    append(one, line("user", "one", place.project, session=one.stem))
    append(two, line("user", "two", other, session=two.stem))
    hook(place, two)
    rig.scan()
    hook(place, one)
    names = {Path(name).stem: Path(name).parts[0] for name in copies(place)}
    assert names[two.stem] == "APP"
    assert re.fullmatch(r"app-[0-9a-f]{6}", names[one.stem])
    assert len(copies(place)) == 2
    for path in (one, two):
        assert (place.mirror / names[path.stem] / path.name).read_bytes() == path.read_bytes()


def test_subagents_lie_where_the_daemon_puts_them(rig: Rig, place: Home) -> None:
    transcript = place.transcript(SID)
    append(transcript, line("user", "one", place.project, session=SID))
    own = transcript.with_suffix("") / "subagents"
    (own / "workflows" / "run").mkdir(parents=True)
    for name in ("agent-1.jsonl", "agent-1.meta.json", "workflows/run/agent-2.jsonl"):
        (own / name).write_bytes(b'{"a": 1}\n')
    beside = transcript.with_name("agent-old.jsonl")
    append(beside, line("user", "old", place.project, session=SID))
    hook(place, transcript, str(beside))
    before = {
        path: path.read_bytes() for path in place.mirror.rglob("*") if path.is_file() and path.name[0] != "."
    }
    assert len(before) == 5
    rig.scan()
    after = {
        path: path.read_bytes() for path in place.mirror.rglob("*") if path.is_file() and path.name[0] != "."
    }
    assert after == before


def test_a_name_that_another_process_holds_back_is_not_waited_for(
    place: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    transcript = place.transcript(SID)
    append(transcript, line("user", "one", place.project, session=SID))
    place.mirror.mkdir()
    held = os.open(place.mirror / ".projects.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(plaincopy, "NAME_S", 0.1)
            with pytest.raises(CopyError, match="not found within"):
                hook(place, transcript)
    finally:
        os.close(held)
    assert hook(place, transcript).complete


@pytest.mark.parametrize(
    ("data", "whole", "cwd"),
    [
        (b'{"a": 1}\n{"cwd": "/x"}\n{"cwd": "/y"}\n', True, "/x"),
        (b'{"cwd": "/x"}', True, "/x"),
        (b'{"cwd": "/x"}', False, ""),
        (b'{"cwd": ""}\n{"cwd": 7}\n{"cwd": null}\n{"cwd": "/x"}\n', True, "/x"),
        (b'{"input": {"cwd": "/inside"}}\n{"cwd": "/x"}\n', True, "/x"),
        (b'{"text": "\\"cwd\\": \\"/said\\""}\n{"cwd": "/x"}\n', True, "/x"),
        (b'{"a": 1}{"cwd": "/x"}\n', True, "/x"),
        (b'{"torn": "{"cwd": "/x"}\n', True, "/x"),
        (b'\0\0\0{"cwd": "/x"}\n', True, "/x"),
        (b'{"cwd": "/\xff"}\n', True, "/\ufffd"),
        (b'{"cwd": "/\\ud800"}\n{"cwd": "/x"}\n', True, "/x"),
        (b'{"cwd": "' + b"/" * 5000 + b'"}\n{"cwd": "/x"}\n', True, "/x"),
        (b'"cwd"' * 1000, True, ""),
        (b"[" * 100_000 + b'"cwd"\n{"cwd": "/x"}\n', True, "/x"),
        (b'{"cwd":' * 10_000 + b"\n", True, ""),
        (b"", True, ""),
    ],
)  # fmt: skip
def test_the_first_cwd(data: bytes, whole: bool, cwd: str) -> None:
    assert first_cwd(data, whole=whole) == cwd


def test_the_places_are_those_of_the_platform(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook works them out without the library, which has the say."""
    from platformdirs import PlatformDirs

    monkeypatch.delenv("SESSIOND_HOME")
    for config, state in (("/c", "/s"), ("", "relative"), (None, None)):
        for name, value in (("XDG_CONFIG_HOME", config), ("XDG_STATE_HOME", state)):
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        places = PlatformDirs("sessiond", appauthor=False)
        found = paths(os.environ, run_user=tmp_path)
        assert found.config_file.parent == places.user_config_path
        assert found.state_dir.is_relative_to(places.user_state_path)
        assert found.log_dir == places.user_log_path

"""Work shared out to threads comes to the same as work done by one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sessionsync.errors import CopyError
from sessionsync.hands import Hands, each
from sessionsync.model import Ref
from sessionsync.vault import Mirror, Vault
from tests.bench.corpus import session_bytes

SESSIONS = 12


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def test_all_of_it_is_done_and_each_failure_has_its_place(pool: ThreadPoolExecutor) -> None:
    done: set[int] = set()

    def step(number: int) -> None:
        if number % 3 == 0:
            raise ValueError(number)
        done.add(number)

    for hands in (map, pool.map):
        done.clear()
        found = each(hands, step, range(9))
        assert [type(error) for error in found] == [ValueError, type(None), type(None)] * 3
        assert done == {1, 2, 4, 5, 7, 8}


def test_what_must_not_be_survived_is_not(pool: ThreadPoolExecutor) -> None:
    def step(_: int) -> None:
        raise KeyboardInterrupt

    for hands in (map, pool.map):
        with pytest.raises(KeyboardInterrupt):
            each(hands, step, [1])


def test_without_threads_everything_stays_in_the_callers() -> None:
    seen: list[int] = []
    each(map, lambda _: seen.append(threading.get_ident()), range(3))
    assert set(seen) == {threading.get_ident()}


def told(folder: Path, hands: Hands) -> dict[str, bytes]:
    """A vault and a mirror in which several sessions are written; every file of them."""
    vault, mirror = Vault(folder / "vault", hands=hands), Mirror(folder / "mirror", hands)
    with vault.lock():
        for number in range(SESSIONS):
            ref = Ref("claude", f"s{number}")
            data = session_bytes(number, 300_000)
            session = vault.open(f"p{number % 3}", ref)
            session.describe(first_seen=1.0, project_key="k", meta={})
            session.append("a", 0, 0, data)
            mirror.write(mirror.path_of(f"p{number % 3}", ref, f"s{number}.jsonl"), 0, data)
        assert mirror.flush() == SESSIONS
        assert vault.flush() == SESSIONS
        for number in range(SESSIONS):
            reading = Vault(folder / "vault").open(f"p{number % 3}", Ref("claude", f"s{number}"))
            assert b"".join(reading.read("a", 0, reading.stored("a")[1])) == session_bytes(number, 300_000)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_copies_are_the_same_whoever_made_them(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    assert told(tmp_path / "alone", map) == told(tmp_path / "shared", pool.map)


def test_one_that_cannot_be_committed_keeps_no_other_back(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    vault = Vault(tmp_path, hands=pool.map)
    with vault.lock():
        for number in range(SESSIONS):
            vault.open("p", Ref("claude", f"s{number}")).append("a", 0, 0, b"data")
        (tmp_path / "p" / "claude.s7" / "journal").mkdir()
        with pytest.raises(CopyError, match=r"claude\.s7"):
            vault.flush()
        stored = [vault.open("p", Ref("claude", f"s{n}")).stored("a")[1] for n in range(SESSIONS) if n != 7]
        assert stored == [4] * (SESSIONS - 1)


def test_what_other_hands_could_not_pack_is_told_and_keeps_no_other_back(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(tmp_path, hands=pool.map)
    data = session_bytes(1, 200_000)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "claude.s7").write_text("no folder")
    with vault.lock():
        sessions = [vault.open("p", Ref("claude", f"s{number}")) for number in range(SESSIONS)]
        for session in sessions:
            session.append("a", 0, 0, data)
        with pytest.raises(CopyError, match=r"claude\.s7"):
            sessions[7].stored("a")
        with pytest.raises(CopyError, match=r"claude\.s7"):
            sessions[7].append("a", 0, len(data), data)
        assert list(vault.flush_each()) == ["claude:s7"]
        (tmp_path / "p" / "claude.s7").unlink()
        assert [session.stored("a")[1] for session in sessions if session is not sessions[7]] == [
            len(data)
        ] * (SESSIONS - 1)
        sessions[7].append("a", 0, 0, data)
        assert not vault.flush_each()
        assert b"".join(sessions[7].read("a", 0, len(data))) == data

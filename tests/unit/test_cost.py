"""What an append costs, counted: bytes read, written and hashed, files opened and flushed, statements.

Never by a clock.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sessionsync.capture.work import Hashed
from sessionsync.vault import Root, verify
from tests.bench.corpus import session_bytes
from tests.keeper import done, upkeep_of
from tests.rig import START, Home, Rig, append, line

KB = 1024
MB = KB * KB
APPENDED = 3 * KB
# Looked at again: the first 4 KB and the last 64 KB, which also go on with the last leaf of the root.
HEAD, TAIL = 4 * KB, 64 * KB
AGAIN = HEAD + TAIL
# The first 4 KB as they were and as they are, the last 64 KB as they are, and nodes of the root.
HASHED = 2 * HEAD + TAIL + KB


@contextmanager
def counted(rig: Rig, patch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Counts what is asked of the system and of the state."""
    counts: Counter[str] = Counter()
    pread, pwrite, opened, fsync = os.pread, os.pwrite, os.open, os.fsync
    sha256 = hashlib.sha256

    def a_read(descriptor: int, size: int, at: int) -> bytes:
        data = pread(descriptor, size, at)
        counts["read"] += len(data)
        return data

    def a_write(descriptor: int, data: bytes, at: int) -> int:
        counts["written"] += len(data)
        return pwrite(descriptor, data, at)

    def an_open(path: Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        counts["opened"] += 1
        return opened(path, flags, mode, dir_fd=dir_fd)

    def a_flush(descriptor: int) -> None:
        counts["flushed"] += 1
        fsync(descriptor)

    def a_hash(data: bytes = b"") -> object:
        counts["hashed"] += len(data)
        return sha256(data)

    heard = ""

    def a_statement(statement: str) -> None:
        nonlocal heard
        # a write is told again as a trigger of its table is entered
        if statement != heard or statement.startswith("SELECT"):
            counts["statements"] += 1
        heard = statement

    with patch.context() as here:
        for name, function in (("pread", a_read), ("pwrite", a_write), ("open", an_open), ("fsync", a_flush)):
            here.setattr(os, name, function)
        here.setattr(hashlib, "sha256", a_hash)
        connection: sqlite3.Connection = rig.store._connection
        connection.set_trace_callback(a_statement)
        try:
            yield counts
        finally:
            connection.set_trace_callback(None)


def grown(home: Home, size: int) -> tuple[Rig, Path, bytes]:
    """A session of so many bytes that is captured, and what comes next in it."""
    path = home.transcript()
    data = session_bytes(1, size + 8 * APPENDED, session_id=path.stem, cwd=str(home.project))
    cut = data.rfind(b"\n", 0, size) + 1
    # how long the lines are depends on the folder's path, and a compaction is stored at once: neither what
    # comes next has one, nor is one the last line, behind which nothing would wait for a quiet moment
    while True:
        more = data[cut : data.find(b"\n", cut + APPENDED) + 1]
        if b"compact_boundary" not in data[data.rfind(b"\n", 0, cut - 1) : cut] + more:
            break
        cut += len(more)
    path.write_bytes(data[:cut])
    rig = Rig(home)
    rig.scan()
    rig.wait(300)
    return rig, path, more


def appended(rig: Rig, path: Path, more: bytes, patch: pytest.MonkeyPatch) -> Counter[str]:
    """What it costs to capture `more` and to commit that."""
    with path.open("ab") as file:
        file.write(more)
    with counted(rig, patch) as counts:
        ref = rig.capture.locate(path)
        assert ref is not None
        assert rig.capture.capture(ref, rig.now) == len(more)
        rig.capture.flush(rig.now)
    return counts


@pytest.mark.parametrize("is_new_process", [False, True])
def test_an_append_costs_what_was_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_new_process: bool
) -> None:
    home = Home(tmp_path / "h")
    rig, path, more = grown(home, 2 * MB)
    if is_new_process:
        rig.close()
        rig = Rig(home, now=rig.now + 1)
    counts = appended(rig, path, more, monkeypatch)
    assert counts["written"] == len(more)
    assert counts["read"] <= 2 * len(more) + AGAIN
    assert counts["hashed"] <= HASHED + TAIL * is_new_process  # else they are remembered
    assert counts["opened"] <= 9
    assert counts["flushed"] == 1
    assert counts["statements"] <= 6
    rig.close()


def test_each_byte_of_a_new_session_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "h")
    path = home.transcript()
    path.write_bytes(session_bytes(1, MB, session_id=path.stem, cwd=str(home.project)))
    os.utime(path, (START - 1000, START - 1000))
    rig, hashed = Rig(home), 0
    update = Root.update

    def counted_update(root: Root, data: bytes | bytearray | memoryview) -> None:
        nonlocal hashed
        hashed += len(data)
        update(root, data)

    monkeypatch.setattr(Root, "update", counted_update)
    rig.scan()
    session = rig.session()
    assert hashed == path.stat().st_size, "what is stored of it has the root that it has itself"
    triggers = {checkpoint.trigger for checkpoint in rig.catalog.checkpoints(session.id)}
    assert triggers == {"compaction", "quiet"}
    assert rig.restored(session) == {path.name: path.read_bytes()}
    rig.close()


def test_however_many_checkpoints_are_verified_the_vault_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, path, more = grown(Home(tmp_path / "h"), MB)
    appended(rig, path, more, monkeypatch)
    path.write_bytes(path.read_bytes()[: MB // 2])  # from where another generation begins
    rig.scan()
    rig.wait(300)
    session = rig.session()
    vault = rig.vault.open(session.project or "", session.stored_as)
    assert len({file.generation for each in vault.snapshots() for file in each.files}) > 1
    with counted(rig, monkeypatch) as counts:
        assert not [checked for checked in verify.roots(vault, rig.mirror, ()) if checked.bad]
    assert counts["opened"] == 5, "the folders down to it, the journal and the pack"
    rig.close()


def test_of_sound_copies_each_byte_is_read_and_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, path, more = grown(Home(tmp_path / "h"), MB)
    appended(rig, path, more, monkeypatch)
    rig.wait(300)
    session = rig.session()
    vault = rig.vault.open(session.project or "", session.stored_as)
    pack = sum(segment.packed for segment, _ in vault.fold().stored)
    upkeep, size, hashed = upkeep_of(rig), path.stat().st_size, 0
    update = Root.update

    def counted_update(root: Root, data: bytes | bytearray | memoryview) -> None:
        nonlocal hashed
        hashed += len(data)
        update(root, data)

    monkeypatch.setattr(Root, "update", counted_update)
    with counted(rig, monkeypatch) as counts:
        assert done(upkeep.verify(session, deep=True)).bad == []
    assert hashed == size, "for the checkpoints, and no more for each segment and the plain copy"
    assert counts["read"] <= pack + size + TAIL + 16 * KB, "the pack, the plain copy, its end, the journal"
    rig.close()


def test_an_append_before_the_vault_has_the_last_one_looks_at_the_copy_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, path, more = grown(Home(tmp_path / "h"), 2 * MB)
    first, second = (appended(rig, path, more, monkeypatch) for _ in range(2))
    assert second["opened"] == first["opened"] + 3  # the copy, which is believed no further than it is whole
    assert second["read"] == first["read"] + TAIL
    assert max(first["hashed"], second["hashed"]) <= HASHED
    rig.close()


def test_an_append_costs_the_same_whatever_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []
    for name, size in (("small", MB // 4), ("large", 4 * MB)):
        rig, path, more = grown(Home(tmp_path / name), size)
        counts = appended(rig, path, more, monkeypatch)
        for each in ("written", "read", "hashed"):  # depends on the lines, and on where the last leaf begins
            del counts[each]
        costs.append(counts)
        rig.close()
    assert costs[0] == costs[1]


def test_many_appends_are_committed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "h")
    rig = Rig(home)
    paths = [home.transcript() for _ in range(30)]
    for number, path in enumerate(paths):
        path.write_bytes(session_bytes(number, 20 * KB, session_id=path.stem, cwd=str(home.project)))
    rig.scan()
    for path in paths:
        with path.open("ab") as file:
            file.write(b'{"type":"mode"}\n')
    with counted(rig, monkeypatch) as counts:
        for path in paths:
            ref = rig.capture.locate(path)
            assert ref is not None
            rig.capture.capture(ref, rig.now)
        rig.capture.flush(rig.now)
    assert counts["statements"] <= 4 * len(paths) + 2
    rig.close()


def test_the_checkpoints_of_all_are_committed_at_once(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    rig = Rig(home)
    for _ in range(30):
        append(home.transcript(), line("user", "Hello", home.project))
    rig.scan(flush=False)
    heard: list[str] = []
    rig.store._connection.set_trace_callback(heard.append)
    assert rig.capture.checkpoint_all("once", rig.now) == 30
    rig.store._connection.set_trace_callback(None)
    assert heard.count("COMMIT") == 1
    assert all(session.checkpoint for session in rig.catalog.sessions())
    rig.close()


def test_what_was_hashed_last_is_compared_and_of_no_more_than_so_many_it_is_remembered() -> None:
    hashed = Hashed(2)
    digests = [hashed.sha256(piece) for piece in (b"one", b"two", b"three")]
    assert digests == [hashlib.sha256(piece).hexdigest() for piece in (b"one", b"two", b"three")]
    assert len(hashed._pieces) == 2
    for piece, digest in ((b"one", digests[0]), (b"three", digests[2])):
        assert hashed.holds(piece, digest)
        assert not hashed.holds(b"other", digest)
    hashed.let_go()
    assert hashed.holds(b"two", digests[1])
    assert not hashed.holds(b"two", digests[0])


def test_of_a_file_that_grows_one_end_is_remembered(tmp_path: Path) -> None:
    home = Home(tmp_path / "h")
    rig, paths = Rig(home), [home.transcript() for _ in range(2)]
    for _ in range(3):
        for path in paths:
            append(path, line("user", "hello", home.project, session=path.stem))
        rig.scan()
    ends = set(rig.capture._stored.tails._pieces.values())
    assert ends == {path.read_bytes() for path in paths}
    rig.close()


SINGLE_RUN = """
import os
from sessiond.once import sync_once
from sessionsync.catalog import Catalog
looks, roots = [], Catalog.project_roots
Catalog.project_roots = lambda catalog: looks.append(catalog) or roots(catalog)
assert sync_once(os.environ) == 0
print(len(looks))
"""


def test_a_single_run_looks_once_for_projects(tmp_path: Path) -> None:
    """Each kind of session, and of note, lies in them."""
    home = Home(tmp_path)
    append(home.transcript(), line("user", "hello", home.project))
    environ = os.environ | {"CLAUDE_CONFIG_DIR": str(home.agent)}
    done = subprocess.run([sys.executable, "-c", SINGLE_RUN], env=environ, stdout=subprocess.PIPE, check=True)
    assert done.stdout.split()[-1] == b"1"

"""Whatever a session does, the archive gives back each of its checkpoints as the gate let it pass."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from sessionsync.errors import ArchiveSealed, CopyMismatch
from sessionsync.privacy.gate import Gate
from sessionsync.privacy.seal import is_sealed, make_identity
from sessionsync.remote.archive import refs, tree
from tests.archive import Elsewhere, Shipper, contents, objects_of, refs_of, run_git, with_archive
from tests.conftest import samples
from tests.rig import Home, Rig, append, line

SID = "3f0c9f8a-0000-4000-8000-000000000001"
SECRET = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"

WORDS = st.sampled_from(["hello", "x" * 3000, SECRET, "ünïcödé", f"token={SECRET} and more", ""])
STEPS = st.one_of(
    st.tuples(st.just("say"), st.lists(WORDS, min_size=1, max_size=6)),
    st.tuples(st.just("tear"), st.lists(WORDS, min_size=1, max_size=1)),
    st.tuples(st.just("mend"), st.just([])),
    st.tuples(st.just("cut"), st.just([])),
    st.tuples(st.just("rewrite"), st.lists(WORDS, min_size=1, max_size=3)),
    st.tuples(st.just("drop"), st.just([])),
    st.tuples(st.just("ship"), st.just([])),
    st.tuples(st.just("lose"), st.just([])),
    st.tuples(st.just("restart"), st.just([])),
)


def cleared(name: str, data: bytes) -> bytes:
    """What the gate leaves of a file: of one that grows by lines, line by line."""
    gate = Gate()
    end = data.rfind(b"\n") + 1 if name.endswith(".jsonl") else len(data)
    return gate.data(name, data[:end])[0] + (gate.data(name, data[end:])[0] if data[end:] else b"")


def keys(folder: Path, *, encrypted: bool) -> dict[str, object]:
    """The settings of an archive that is encrypted for one identity, or is not."""
    file = folder / "identity"
    return {"encrypt_to": (make_identity(file),), "identity_file": file} if encrypted else {}


# every step starts git: to make a failing case smaller would take longer than to read it
@settings(max_examples=25, phases=[Phase.explicit, Phase.generate])
@given(steps=st.lists(STEPS, min_size=3, max_size=14), encrypted=st.booleans())
def test_every_checkpoint_comes_back(
    steps: list[tuple[str, list[str]]], tmp_path_factory: pytest.TempPathFactory, *, encrypted: bool
) -> None:
    tmp_path = tmp_path_factory.mktemp("archive")
    place = Home(tmp_path / "one")
    settings = with_archive(place.config(), tmp_path / "archive.git", **keys(tmp_path, encrypted=encrypted))
    rig = Rig(place, settings=settings)
    shipper = Shipper(rig)
    path = place.transcript(SID)
    beside = path.parent / SID / "tool-results" / "result.txt"
    append(path, line("user", "it begins", place.project, session=SID))

    def say(words: list[str]) -> None:
        append(path, *(line("user", word, place.project, session=SID) for word in words))

    def rewrite(words: list[str]) -> None:
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text("\n".join(words))

    acts: dict[str, Callable[[list[str]], object]] = {
        "say": say,
        "tear": lambda words: append(path, b'{"type": "user", "torn": "' + words[0].encode()),
        "mend": lambda _: append(path, b'"}\n'),
        "cut": lambda _: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        "rewrite": rewrite,
        "drop": lambda _: beside.unlink(missing_ok=True),
        "ship": lambda _: shipper.drain(),
        "lose": lambda _: shutil.rmtree(shipper.folder / "archive.git", ignore_errors=True),
    }
    for act, words in steps:
        if act == "restart":
            shipper.close()
            shipper = Shipper(rig)
        else:
            acts[act](words)
        rig.scan()
        rig.wait(130)
    shipper.drain()
    session = rig.session()
    elsewhere = Elsewhere(tmp_path / "elsewhere", rig.config)
    versions = {version.manifest.checkpoint.id: version for version in elsewhere.versions(SID, rig.now)}
    kept = rig.catalog.checkpoints(session.id)
    assert kept
    assert {point.id for point in kept} <= set(versions)
    for point in kept:
        stored = rig.restored(session, point.id)
        wanted = stored if encrypted else {name: cleared(name, data) for name, data in stored.items()}
        assert contents(versions[point.id]) == wanted
    if encrypted:
        assert all(
            is_sealed(data) for _, kind, data in objects_of(tmp_path / "archive.git") if kind == "blob"
        )
    assert len(refs_of(tmp_path / "archive.git")) == 1
    run_git(tmp_path / "archive.git", "fsck", "--strict")
    elsewhere.close()
    shipper.close()
    rig.close()


@given(session_id=st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=120))
def test_every_id_is_a_name_that_git_takes(session_id: str) -> None:
    place = refs.place("claude", session_id, "0a1b2c3d")
    assert refs.parse(place.ref) == place
    run_git(Path("/"), "check-ref-format", place.ref)
    if len(place.session) < refs.LONGEST and "%2E" not in place.session[-35:]:
        assert place.session_id == session_id or not session_id.isprintable()


@given(data=st.binary(max_size=200))
@example(data=b"age-encryption.org/v1\n")
def test_no_bytes_of_a_remote_are_more_than_damage(data: bytes) -> None:
    for read in (
        lambda: tree.decode_manifest(data, "it"),
        lambda: tree.decode_page(data, "it"),
        lambda: tree.unpack(data, tree.Line(0, 10, tree.name_of(data)), "it"),
        lambda: tree.decode(list[tree.ArchivedFile], data, "it"),
    ):
        with suppress(CopyMismatch, ArchiveSealed):  # it may look encrypted
            read()


@pytest.mark.parametrize("way", ["encrypted", "redacted"])
def test_real_sessions_that_grow_come_back_byte_for_byte(shared: Path, tmp_path: Path, way: str) -> None:
    chains = sorted({file.parent for file in (shared / "data" / "transcripts").glob("chain-*/*")})[:3]
    others = samples(shared, "claude-code-transcript")
    place = Home(tmp_path / "one")
    encrypted = way == "encrypted"
    settings = with_archive(place.config(), tmp_path / "archive.git", **keys(tmp_path, encrypted=encrypted))
    rig = Rig(place, settings=settings)
    shipper = Shipper(rig)
    expected: dict[str, list[bytes]] = {}
    gate = Gate(redact=not encrypted)
    for number, chain in enumerate(chains):
        sid = f"{number:08x}-0000-4000-8000-0000000000c1"
        for file in sorted(chain.iterdir()):
            data = file.read_bytes()
            place.transcript(sid).write_bytes(data)
            rig.scan()
            rig.wait(130)
            if not expected.get(sid) or expected[sid][-1] != data:
                expected.setdefault(sid, []).append(data)
            shipper.drain()
    for number, file in enumerate(
        f for f in others if f.suffix == ".jsonl" and 0 < f.stat().st_size < 1 << 20
    ):
        if number >= 60:
            break
        sid = f"{number:08x}-0000-4000-8000-0000000000a1"
        data = file.read_bytes()
        place.transcript(sid).write_bytes(data)
        expected[sid] = [data]
    rig.scan()
    rig.wait(130)
    shipper.drain()
    elsewhere = Elsewhere(tmp_path / "elsewhere", rig.config)
    for sid, states in expected.items():
        name = f"{sid}.jsonl"
        found = [contents(version)[name] for version in elsewhere.versions(sid, rig.now)]
        wanted = []
        for data in states:
            end = data.rfind(b"\n") + 1
            wanted.append(gate.data(name, data[:end])[0] + gate.data(name, data[end:])[0])
        assert found[-1] == wanted[-1]
        assert [data for data in wanted if data not in found] == []
    elsewhere.close()
    shipper.close()
    rig.close()

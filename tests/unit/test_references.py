"""What of a session refers to what, and whether it is there."""

import json
from pathlib import Path

import pytest

from sessionsync.model import Ref
from sessionsync.vault.references import references
from sessionsync.vault.verify import JOURNAL, MIRROR, VAULT, Bad, Expected
from tests.keeper import done, flip, pack_of, upkeep_of
from tests.rig import Rig, append, line, write


def files(*names: str) -> list[Expected]:
    return [Expected(name, Path(name), 0, 10, 10, "", ()) for name in names]


def gone(name: str, store: str = VAULT, result: str = "missing") -> Bad:
    return Bad(store, name, 0, 0, 10, result, "is not there")


CLAUDE = files(
    "5f0c2f6e.jsonl", "5f0c2f6e/subagents/agent-1.jsonl", "agent-2.jsonl", "5f0c2f6e/tool-results/3.txt"
)


def test_what_is_there_is_referred_to_rightly() -> None:
    assert references(CLAUDE, ["a", "b"], []) == {
        ("checkpoint", "ok"): 2,
        ("subagent", "ok"): 2,
        ("parent", "ok"): 1,
    }
    assert references(files("context.json", "artifacts/plan.md", "artifacts/a/b.png"), [], []) == {
        ("artifact", "ok"): 2
    }
    assert references(files("5f0c2f6e.jsonl"), [], []) == {}


def test_what_the_vault_lacks_is_broken() -> None:
    bad = [gone(JOURNAL), gone("agent-2.jsonl"), gone("5f0c2f6e.jsonl")]
    assert references(CLAUDE, ["a", "b"], bad) == {
        ("checkpoint", "ok"): 1,
        ("checkpoint", "broken"): 1,
        ("subagent", "ok"): 1,
        ("subagent", "broken"): 1,
        ("parent", "broken"): 1,
    }
    artifact = files("artifacts/plan.md")
    assert references(artifact, [], [gone("artifacts/plan.md")]) == {("artifact", "broken"): 1}


def test_damage_is_no_broken_reference_and_neither_is_what_another_copy_has() -> None:
    artifact = files("artifacts/plan.md")
    for bad in (gone("artifacts/plan.md", MIRROR), gone("artifacts/plan.md", result="mismatch")):
        assert references(artifact, [], [bad]) == {("artifact", "ok"): 1}


def test_a_subagent_without_the_transcript_that_called_it() -> None:
    assert references(files("5f0c2f6e/subagents/agent-1.jsonl"), [], []) == {
        ("subagent", "ok"): 1,
        ("parent", "broken"): 1,
    }


def captured(rig: Rig) -> Ref:
    (ref,) = rig.scan()
    rig.wait(300)
    return ref


def without(rig: Rig, ref: Ref, *live: Path) -> dict[tuple[str, str], int]:
    """How it refers when these files are gone, and then every copy of what is in the session."""
    session = rig.session(ref)
    for path in live:
        path.unlink()
    rig.scan()
    sound = done(upkeep_of(rig).look(rig.session(ref)))
    assert sound.bad == []
    assert {result for _, result in sound.references} <= {"ok"}
    pack_of(rig, session).write_bytes(b"")
    for copy in rig.home.mirror.rglob("*"):
        if copy.is_file():
            copy.write_bytes(b"")
    return dict(done(upkeep_of(rig).look(rig.session(ref))).references)


def test_a_subagent_that_was_captured_once_is_missed(rig: Rig) -> None:
    path = rig.home.transcript()
    append(path, line("user", "go", rig.home.project, session=path.stem))
    other = "subagents/agent-1.jsonl"
    write(path.with_suffix(""), [(other, line("user", "do", rig.home.project, session=path.stem))])
    gone = path.with_suffix("") / other
    found = without(rig, captured(rig), gone, path)
    assert found["subagent", "broken"] == found["parent", "broken"] == 1


def test_what_a_session_keeps_itself_is_missed(rig: Rig) -> None:
    folder = rig.home.structured("s")
    context = {
        "checkpoints": ["checkpoints/1.json", "checkpoints/never.json"],
        "artifacts": ["artifacts/never"],
    }
    files = [
        ("context.json", json.dumps(context).encode()),
        ("checkpoints/1.json", b"{}"),
        ("artifacts/a", b"x"),
    ]
    write(folder, files)
    found = without(rig, captured(rig), folder / "checkpoints" / "1.json", folder / "artifacts" / "a")
    assert found["artifact", "broken"] == 1
    assert found["checkpoint", "broken"] == 1


def test_what_the_text_names_and_never_was_is_no_broken_reference(rig: Rig) -> None:
    path = rig.home.transcript()
    named = {"type": "user", "uuid": "b", "parentUuid": "a", "toolUseResult": {"agentId": "deadbeef"}}
    append(path, line("user", "go", rig.home.project, session=path.stem))
    append(path, json.dumps(named).encode() + b"\n")
    look = done(upkeep_of(rig).look(rig.session(captured(rig))))
    assert look.bad == []
    assert {result for _, result in look.references} == {"ok"}


@pytest.mark.parametrize("store", [MIRROR, VAULT])
def test_a_parent_that_only_a_copy_lacks_is_damage_to_its_bytes(rig: Rig, store: str) -> None:
    path = rig.home.transcript()
    parent = line("user", "the parent", rig.home.project, session=path.stem)
    child = {"type": "user", "uuid": "b", "parentUuid": json.loads(parent)["uuid"]}
    append(path, parent)
    append(path, json.dumps(child).encode() + b"\n")
    session = rig.session(captured(rig))
    assert done(upkeep_of(rig).verify(session, deep=True)).bad == []
    if store == MIRROR:
        (copy,) = rig.home.mirror.rglob(path.name)
        copy.write_bytes(copy.read_bytes().replace(parent, b" " * (len(parent) - 1) + b"\n"))
    else:
        flip(pack_of(rig, session), 60)
    assert {bad.store for _, bad in done(upkeep_of(rig).verify(session, deep=True)).bad} == {store}


def test_a_parent_that_a_rewrite_cut_stays_in_a_copy_or_is_missed(rig: Rig) -> None:
    """The last checkpoint before it was cut stays, however few are kept; if its bytes go that is found."""
    path = rig.home.transcript()
    append(path, line("user", "the parent", rig.home.project, session=path.stem))
    ref = captured(rig)
    path.write_bytes(line("user", "the child", rig.home.project, session=path.stem))
    captured(rig)
    for turn in range(5):
        append(path, line("user", f"turn {turn}", rig.home.project, session=path.stem))
        captured(rig)
    upkeep = upkeep_of(rig, keep=1)
    upkeep.forget(rig.session(ref))
    done(upkeep.merge(rig.session(ref), rig.now))
    session = rig.session(ref)
    kept = [rig.restored(session, each.id)[path.name] for each in rig.catalog.checkpoints(session.id)]
    assert any(b"the parent" in text for text in kept)

    vault = rig.vault.open(session.project or "", session.stored_as)
    (parent, *_) = [each for each, _ in vault.fold().stored if each.generation == 0]
    with pack_of(rig, session).open("r+b") as pack:
        pack.seek(parent.at)
        pack.write(b"\0" * parent.packed)
    bad = [each for each in done(upkeep.verify(session, deep=True)).bad if each[1].store == VAULT]
    assert [each.generation for _, each in bad][:1] == [0]

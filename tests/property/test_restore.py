"""Restoring holds for any history of a session, and for any name a copy may give its files."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath

from hypothesis import given, settings
from hypothesis import strategies as st

from sessionsync.errors import RestoreError
from sessionsync.restore import Known, MirrorShelf, Shelves, VaultShelf
from sessionsync.restore.examine import Examiner
from sessionsync.restore.names import in_agent
from sessionsync.restore.target import folder_name
from tests.fakes.agent import SESSION
from tests.rig import Home, Rig, line

STEPS = st.sampled_from(
    f"{SESSION} {SESSION}.jsonl {SESSION.upper()} agent-1.jsonl subagents settings.json hooks projects"
    " todos tasks file-history .. . é \0 ~ ".split(" ")
)
ALLOWED = ("projects", "todos", "tasks", "file-history")


@given(st.lists(STEPS | st.text(max_size=5), max_size=6).map("/".join))
@settings(max_examples=500)
def test_no_name_leads_to_anything_but_the_sessions_own_files(name: str) -> None:
    try:
        place = in_agent(SESSION, "-app", name)
    except RestoreError:
        return
    if place is None:
        return
    path = PurePosixPath(*place)
    assert path.parts == place
    assert ".." not in place
    assert place[0] in ALLOWED
    if place[0] == "projects":
        assert place[1] == "-app"
        assert place[2].removesuffix(".jsonl") == SESSION or place[2].startswith("agent-")
        assert len(place) > 3 or place[2].endswith(".jsonl")
    else:
        assert place[1].startswith(SESSION)


@given(st.text(max_size=300))
def test_a_folders_name_is_one_plain_name(path: str) -> None:
    name = folder_name(f"/{path}")
    assert set(name) <= set("-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "append", "append", "shrink", "rewrite"]), st.integers(1, 4)),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=25)
def test_every_checkpoint_is_restorable_and_the_newest_loses_nothing(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        rig = Rig(home)
        path = home.transcript(SESSION)
        path.write_bytes(line("user", "hello", home.project, session=SESSION))
        states: dict[str, bytes] = {}
        for how, amount in [("append", 1), *steps]:
            data = path.read_bytes()
            more = b"".join(line("user", f"m{n}" * 20, home.project, session=SESSION) for n in range(amount))
            lines = data.splitlines(keepends=True)
            changed = {
                "append": data + more,
                "shrink": b"".join(lines[: max(1, len(lines) - amount)]),
                "rewrite": lines[0] + more,
            }[how]
            path.write_bytes(changed)
            rig.wait(5)
            rig.wait(200)
            states[rig.session().checkpoint or ""] = changed
        session = rig.session()
        known = Known(session.stored_as, SESSION, (session.project or "",))
        shelves = Shelves([MirrorShelf(rig.mirror, rig.vault), VaultShelf(rig.vault)])
        for point, state in states.items():
            (copy, *_) = shelves.choose(known, at=point).copies
            (file,) = copy.files()
            assert b"".join(copy.read(file)) == state
        best = shelves.choose(known).copies[0]
        (file,) = best.files()
        assert file.size >= len(path.read_bytes())
        copies = shelves.copies(known, "vault")
        for copy, examined in zip(copies, Examiner().examine(copies), strict=True):
            assert examined.complete
            assert examined.size == copy.files()[0].size
        rig.close()

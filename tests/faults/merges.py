"""A merge that is killed at every system call, and disks that lose what it did not flush.

Run by test_merge_kill.py as `python -m tests.faults.merges kill|power FOLDER`; see crashes.py.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from sessionsync.vault import StoredFile, Vault
from tests.faults import crashes
from tests.faults.crashes import AT, REF, stated

TURNS = 2
ROUNDS = 2
chance = random.Random(0)
LINES = [bytes(chance.choices(b"abcdefgh\n", k=300)) for _ in range(TURNS * (ROUNDS + 1) + 1)]


def content(turns: int) -> dict[str, bytes]:
    """The files when so many turns are over; `b` is rewritten at each."""
    return {"a": b"".join(LINES[:turns]), "b": b'{"n": %d}' % turns}


def files(turns: int) -> list[StoredFile]:
    return [
        stated(name, generation, data)
        for generation, (name, data) in zip((0, turns), content(turns).items(), strict=True)
    ]


def grow(vault: Vault, begin: int, end: int) -> None:
    session = vault.open("app", REF)
    for turn in range(begin, end):
        session.append("a", 0, len(content(turn)["a"]), LINES[turn])
        session.fork("b", turn + 1, turn, 0)
        session.append("b", turn + 1, 0, content(turn + 1)["b"])
        session.snapshot(
            id=str(turn + 1), at=AT, trigger="story", alias="", files=files(turn + 1), meta={"turn": turn}
        )
    vault.flush()


def tell(folder: Path, acknowledge: crashes.Acknowledge) -> None:
    vault = Vault(folder)
    with vault.lock():
        vault.open("app", REF).describe(first_seen=AT, project_key="k", meta={})
        grow(vault, 0, TURNS)
        acknowledge(f"grown-{TURNS}")
        for number in range(1, ROUNDS + 1):
            turns = number * TURNS
            vault.open("app", REF).forget([str(turn) for turn in range(1, turns - 1)], AT)
            vault.flush()
            acknowledge(f"forgotten-{turns - 2}")
            merge = vault.merge("app", REF, {"a": 0, "b": turns}, force=True)
            for _ in merge.prepare():
                pass
            grow(vault, turns, turns + 1)  # which is taken over
            acknowledge(f"grown-{turns + 1}")
            assert vault.commit(merge), merge.why
            acknowledge("merged")
            grow(vault, turns + 1, turns + TURNS)
            acknowledge(f"grown-{turns + TURNS}")


def check(folder: Path, acknowledged: list[str], *, honest: bool = True) -> None:
    """What is kept reads back, before and after the next merge, whatever the killed one left."""
    said = [text.split("-") for text in acknowledged]
    grown = max((int(words[1]) for words in said if words[0] == "grown"), default=0)
    forgotten = max((int(words[1]) for words in said if words[0] == "forgotten"), default=0)
    vault = Vault(folder)
    look(vault, grown, forgotten, honest=honest)
    with vault.lock():
        session = vault.open("app", REF)
        known = {int(snapshot.id) for snapshot in session.snapshots()}
        newest = max(known, default=0)
        merge = vault.merge("app", REF, {"a": 0, "b": newest}, force=True)
        for _ in merge.prepare():
            pass
        if not merge.why:
            assert vault.commit(merge)
            left = {path.name for path in (folder / "app" / "claude.s").iterdir()}
            names = {name for name in left if not name.startswith("damaged-")}
            assert honest or "journal" in names
            if honest:
                fold = vault.open("app", REF).fold()
                orphans = {path.name for path in vault.orphans(float("inf"))}
                assert names - orphans == {"journal", f"pack-{fold.pack}"}
        look(vault, grown, forgotten, honest=honest)
        if grown:
            turns = newest if newest > grown and honest else grown
            grow(vault, turns, turns + 1)
            grown = turns + 1
    look(Vault(folder), grown, forgotten, honest=honest)


def look(vault: Vault, grown: int, forgotten: int, *, honest: bool) -> None:
    session = vault.open("app", REF)
    there = {int(snapshot.id): snapshot for snapshot in session.snapshots()}
    assert set(range(max(grown - 1, forgotten + 1), grown + 1)) <= set(there) | {0}
    assert not honest or session.damaged_lines() == 0
    for turn, snapshot in there.items():
        assert snapshot.meta == {"turn": turn - 1}
        for file in files(turn):
            assert session.files(str(turn))[file.name] == file
            read = session.read(file.name, file.generation, file.length, root=file.root)
            if honest or turn <= grown:
                assert b"".join(read) == content(turn)[file.name]


crashes.STORIES["merge"] = (tell, check)

if __name__ == "__main__":
    _, way, where = sys.argv
    print({"kill": crashes.kill, "power": crashes.power}[way]("merge", Path(where) / "copies"))

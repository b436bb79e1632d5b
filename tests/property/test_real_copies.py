"""Real sessions through the copies: the same bytes at every step, after retention and merging, and restored."""

from __future__ import annotations

import random
from itertools import groupby
from pathlib import Path

from sessionsync.catalog import Session
from sessionsync.restore.drill import Drill
from tests.keeper import done, pack_of, upkeep_of
from tests.rig import Home, Rig

SID = "5f0e7d52-58d7-4cf4-9f3f-6a6f5c9c1a11"
KEEP = 2
DAY_S = 86_400.0


def look_after(rig: Rig) -> Session:
    """Forget, merge as cold, and look at every byte."""
    upkeep = upkeep_of(rig, keep=KEEP)
    upkeep.forget(rig.session())
    done(upkeep.merge(rig.session(), rig.now + 30 * DAY_S, force=True))
    verdict = done(upkeep.verify(rig.session(), deep=True))
    assert verdict.bad == []
    return rig.session()


def test_chains_grow_through_vault_retention_and_merge(transcripts: list[Path], tmp_path: Path) -> None:
    """Each file of a chain is the session at a later time; a later one need not go on from the one before."""
    for number, (folder, chain) in enumerate(groupby(transcripts, key=lambda path: path.parent)):
        rig = Rig(Home(tmp_path / str(number)))
        live = rig.home.transcript(SID)
        steps: dict[str, bytes] = {}
        for path in chain:
            live.write_bytes(path.read_bytes())
            rig.scan()
            rig.wait(300)
            session = look_after(rig)
            now = live.read_bytes()
            assert rig.restored(session) == {live.name: now}
            for checkpoint in rig.catalog.checkpoints(session.id):
                restored = rig.restored(session, checkpoint.id)[live.name]
                if checkpoint.id not in steps:  # one that the agent's own lines ask for lies before the end
                    assert now.startswith(restored)
                assert steps.setdefault(checkpoint.id, restored) == restored, (folder.name, path.name)
            assert rig.mirrored(session, live.name) == live.read_bytes()
            rig.now += 40 * DAY_S
        assert len(steps) >= 1
        rig.close()


def test_every_real_transcript_is_restored_in_a_drill(transcripts: list[Path], tmp_path: Path) -> None:
    rig = Rig(Home(tmp_path))
    for number, path in enumerate(transcripts):
        rig.home.transcript(f"{number:08x}-58d7-4cf4-9f3f-6a6f5c9c1a11").write_bytes(path.read_bytes())
    rig.scan()
    rig.wait(300)
    raw = sum(path.stat().st_size for path in transcripts)
    sessions = rig.catalog.sessions()
    assert len(sessions) == len(transcripts)
    assert sum(pack_of(rig, session).stat().st_size for session in sessions) < raw / 2
    drill = Drill(
        catalog=rig.catalog,
        mirror=rig.mirror,
        vault=rig.vault,
        scratch=tmp_path / "drill",
        chance=random.Random(1),
        emit=rig.events,
    )
    restored = drill.run(sessions, rig.now, lambda _size: None)
    assert [(each.session, each.problems) for each in restored if each.result != "ok"] == []
    rig.close()

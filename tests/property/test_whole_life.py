"""Whatever happens to sessions and their copies, in any order: every byte of every kept checkpoint comes back.

A seeded story: agents append, rewrite, cut and delete; checkpoints are made, forgotten, merged; the process
dies and starts again; bits flip, files vanish.  After every step each kept checkpoint is restored and
compared with what was on the disk when it was made.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from sessionsync.catalog import Session
from tests.keeper import done, flip, pack_of, place_of, upkeep_of
from tests.rig import Home, Rig, append, line, write

STEPS = 60
KEEP = 4

Versions = dict[tuple[str, str], dict[str, bytes]]


class Story:
    """A home, what is known of it, and everything that may happen."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.home = Home(folder)
        self.rig = Rig(self.home)
        self.seen: Versions = {}
        self.told: list[str] = []
        self.transcripts = [self.home.transcript(f"0000000{n}-58d7-4cf4-9f3f-6a6f5c9c1a11") for n in range(2)]
        self.structured = self.home.structured("s1")
        for path in self.transcripts:
            self.append(path)
        self.rewrite_structured()
        self.settle()
        self.foreign = {
            self.home.mirror / "app" / "notes.txt": b"a person's",
            self.home.mirror / "elsewhere" / "2023" / "a.jsonl": b"of another program",
            self.home.vault / "app" / "2023-01-01.tar.gz": b"of an older backup",
            self.home.vault / "app" / f"claude.{self.transcripts[0].stem}" / "notes.md": b"beside ours",
            self.home.vault / "readme": b"in the way of nothing",
        }
        for path, data in self.foreign.items():
            write(path.parent, [(path.name, data)])

    def close(self) -> None:
        self.rig.close()

    # --- what agents do

    def append(self, path: Path | None = None) -> None:
        path = path or self.chance.choice(self.transcripts)
        for _ in range(self.chance.randrange(1, 12)):
            text = self.chance.randbytes(self.chance.randrange(10, 900)).hex()
            append(path, self.line(path, text))

    def line(self, path: Path, text: str) -> bytes:
        row = json.loads(line("user", text, self.home.project, session=path.stem))
        row["uuid"] = str(uuid.UUID(int=self.chance.getrandbits(128), version=4))
        return json.dumps(row).encode() + b"\n"

    def cut(self) -> None:
        path = self.chance.choice(self.transcripts)
        if path.exists():
            data = path.read_bytes()
            end = data.rfind(b"\n", 0, self.chance.randrange(len(data) + 1)) + 1
            path.write_bytes(data[:end])

    def change(self) -> None:
        """Other bytes in the middle, and perhaps no other length."""
        path = self.chance.choice(self.transcripts)
        if path.exists() and len(lines := path.read_bytes().splitlines(keepends=True)) > 1:
            number = self.chance.randrange(len(lines))
            lines[number] = self.line(path, self.chance.randbytes(200).hex())
            path.write_bytes(b"".join(lines))

    def delete(self) -> None:
        self.chance.choice(self.transcripts).unlink(missing_ok=True)

    def rewrite_structured(self) -> None:
        for _ in range(3):
            name = self.chance.choice(["context.json", "metrics.json", "artifacts/a.bin", "artifacts/b.bin"])
            data = b'{"a": %d}' % self.chance.randrange(10**9) * self.chance.randrange(1, 50)
            if name.endswith(".json"):
                data = b'{"a": %d}' % self.chance.randrange(10**9)
            write(self.structured, [(name, data)])

    def drop_artifact(self) -> None:
        (self.structured / self.chance.choice(["artifacts/a.bin", "artifacts/b.bin"])).unlink(missing_ok=True)

    # --- what the program does

    def settle(self) -> None:
        self.rig.scan()
        self.rig.wait(self.chance.choice([1, 70, 200, 700]))

    def days(self) -> None:
        self.rig.wait(self.chance.choice([0.3, 1, 8, 40]) * 86_400)

    def checkpoint(self) -> None:
        session = self.chance.choice(self.rig.catalog.sessions())
        self.rig.capture.checkpoint(session.ref, "manual", self.rig.now)

    def forget(self) -> None:
        for session in self.rig.catalog.sessions():
            upkeep_of(self.rig, keep=KEEP).forget(session)

    def merge(self) -> None:
        for session in self.rig.catalog.sessions():
            work = upkeep_of(self.rig, keep=KEEP).merge(
                session, self.rig.now, force=self.chance.random() < 0.5
            )
            if self.chance.random() < 0.2:
                for _ in range(self.chance.randrange(6)):
                    next(work, None)
                del work  # it was killed
            else:
                done(work)

    def clean(self) -> None:
        done(upkeep_of(self.rig).gc(self.rig.now))

    def restart(self) -> None:
        self.rig.close()
        self.rig = Rig(self.home, now=self.rig.now)
        self.rig.scan()

    def die(self) -> None:
        """What was captured is not flushed."""
        self.append()
        self.rig.scan(flush=False)
        self.rig.capture._work.clear()
        self.rig.vault._batch.drop()
        self.restart()

    # --- what disks and people do

    def damage(self) -> None:
        """One bit anywhere in a copy: found, and healed from the other."""
        self.rig.scan()
        session = self.chance.choice(self.rig.catalog.sessions())
        copies = [
            path
            for name, file in self.rig.catalog.files(session.id).items()
            if file.length and (path := self.copy_of(session, name)).exists()
        ]
        vaults = [pack_of(self.rig, session), place_of(self.rig, session) / "journal"]
        path = self.chance.choice([path for path in (*vaults, *copies) if path.exists()])
        position, bit = self.chance.randrange(path.stat().st_size), self.chance.randrange(8)
        self.told.append(f"  bit {bit} at {position} of {path}")
        before = self.bytes_beside(place_of(self.rig, session))
        flip(path, position, bit)
        self.healed(session)
        assert self.bytes_beside(place_of(self.rig, session)) == before

    def loss(self) -> None:
        """A whole copy is gone."""
        self.rig.scan()
        session = self.chance.choice(self.rig.catalog.sessions())
        name = self.chance.choice(list(self.rig.catalog.files(session.id)))
        copy = self.copy_of(session, name)
        self.told.append(f"  without {copy}")
        copy.unlink(missing_ok=True)
        self.healed(session)

    def bytes_beside(self, place: Path) -> dict[Path, bytes]:
        """Everything in the backups but one session's vault, and what was kept of damage."""
        files = [*self.home.mirror.rglob("*"), *self.home.vault.rglob("*")]
        return {
            path: path.read_bytes()
            for path in files
            if path.is_file() and place not in path.parents and path.suffix != ".damaged"
        }

    def copy_of(self, session: Session, name: str) -> Path:
        return self.rig.mirror.path_of(session.project or "", session.stored_as, name)

    def healed(self, session: Session) -> None:
        upkeep = upkeep_of(self.rig, keep=KEEP)
        outcome = done(upkeep.repair(session))
        assert outcome.left == []
        assert done(upkeep.verify(session, deep=True)).bad == []

    # --- what must hold

    def check(self) -> None:
        assert {path: path.read_bytes() for path in self.foreign} == self.foreign
        for session in self.rig.catalog.sessions():
            ids = [checkpoint.id for checkpoint in self.rig.catalog.checkpoints(session.id)]
            assert (session.checkpoint in ids) or not ids
            vault = self.rig.vault.open(session.project or "", session.stored_as)
            assert {snapshot.id for snapshot in vault.snapshots()} == set(ids)
            for name in ids:
                restored = self.rig.restored(session, name)
                assert self.seen.setdefault((session.name, name), restored) == restored
            if session.dirty_since is None and session.checkpoint:
                self.is_on_disk(session, self.rig.restored(session))
            for name, file in self.rig.catalog.files(session.id).items():
                copy = self.copy_of(session, name)
                if file.deleted_at is None:
                    copied = copy.read_bytes() if file.length else b""
                    assert copied == self.live_of(session, name).read_bytes()

    def is_on_disk(self, session: Session, restored: dict[str, bytes]) -> None:
        """The newest checkpoint of a session that rests is what lies there."""
        for name, data in restored.items():
            live = self.live_of(session, name)
            if live.exists():
                assert live.read_bytes() == data, name

    def live_of(self, session: Session, name: str) -> Path:
        if session.ref.source == "structured":
            return self.structured / name
        return next(path for path in self.transcripts if path.name == name)

    @property
    def acts(self) -> list[Callable[[], None]]:
        often = [self.append, self.append, self.settle, self.settle, self.rewrite_structured, self.checkpoint]
        seldom = [self.cut, self.change, self.delete, self.drop_artifact, self.days, self.forget, self.merge]
        return [
            *often,
            *seldom,
            self.merge,
            self.clean,
            self.restart,
            self.die,
            self.damage,
            self.damage,
            self.loss,
        ]

    def live(self, steps: int) -> None:
        for _ in range(steps):
            act = self.chance.choice(self.acts)
            self.told.append(act.__name__)
            act()
            self.rig.scan()
            self.check()


@pytest.mark.parametrize("seed", range(8))
def test_every_byte_of_every_kept_checkpoint_comes_back(tmp_path: Path, seed: int) -> None:
    story = Story(tmp_path, seed)
    try:
        story.live(STEPS)
    except BaseException as error:
        error.add_note("\n".join(story.told))
        raise
    finally:
        story.close()

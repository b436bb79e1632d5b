"""The vault's model once more, now with checkpoints forgotten and segments merged in between."""

from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from sessionsync.vault import journal, plan
from sessionsync.vault.merge import Merge
from tests.property.test_vault import REF, Model


class Merging(Model):
    """`reads` are readers that began before and go on after whatever happens."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[Iterator[bytes], bytes]] = []
        self.limits = pytest.MonkeyPatch()
        self.limits.setattr(plan, "FRAME_BYTES", 50)  # files here are small, frames shall be smaller

    @rule(draw=st.data())
    def forget(self, draw: st.DataObject) -> None:
        known = [snapshot.id for snapshot in self.session.snapshots()]
        ids = [name for name in known[:-1] if draw.draw(st.booleans())]
        self.session.forget(ids, 1.0)
        for name in ids:
            self.safe.pop(name, None)
            self.held.pop(name, None)
        assert [snapshot.id for snapshot in self.session.snapshots()] == [n for n in known if n not in ids]

    @rule(cold=st.booleans(), force=st.booleans())
    def merge(self, cold: bool, force: bool) -> None:
        self.flush_and_commit()
        self._merge(cold=cold, force=force)

    @rule()
    def merge_and_die_before_the_commit(self) -> None:
        """The caller goes on from an older state than the vault's, which the merge was told of."""
        self.vault.flush()
        self.safe |= self.held
        if any(file.stated(name) != self._committed(name).stated(name) for name, file in self.now.items()):
            self.straight = False
        self._merge(cold=False, force=True)
        self._die()
        self._rise()

    @rule(steps=st.integers(0, 5))
    def die_while_merging(self, steps: int) -> None:
        self.flush_and_commit()
        merge = self._begin(cold=False, force=True)
        work = merge.prepare()
        for _ in zip(range(steps), work, strict=False):
            pass
        left = {path.name: path.read_bytes() for path in self.place.glob("*")} if self.place.is_dir() else {}
        work.close()
        for name, data in left.items():  # what a kill leaves
            (self.place / name).write_bytes(data)
        self._die()
        self._rise()

    @rule(flushed=st.booleans())
    def write_while_merging(self, flushed: bool) -> None:
        self.flush_and_commit()
        merge = self._begin(cold=False, force=True)
        for _ in merge.prepare():
            pass
        file, name = self.place / "journal", "s.jsonl"
        is_torn = file.exists() and not file.read_bytes().endswith(b"\n")
        is_known = name in self.committed
        self.append(name, b"meanwhile")
        if flushed:
            self.flush_and_commit()
        done = self.vault.commit(merge)
        assert not done or flushed
        if flushed and is_known and not is_torn:
            assert done == (not merge.why)
        assert self._files() <= {"journal", "pack", journal.pack_name(self.session.fold().pack)}

    @precondition(lambda self: self.safe)
    @rule(draw=st.data())
    def begin_reading(self, draw: st.DataObject) -> None:
        files = self.safe[draw.draw(st.sampled_from(sorted(self.safe)))]
        for name, file in files.items():
            stated = file.stated(name)
            reading = self.session.read(name, file.generation, len(file.data), root=stated.root)
            self.reads.append((reading, next(reading, b"")))
            self.reads[-1] = reading, file.data[len(self.reads[-1][1]) :]

    @rule()
    def end_reading(self) -> None:
        for reading, rest in self.reads:
            assert b"".join(reading) == rest
        self.reads.clear()

    def _die(self) -> None:
        self.reads.clear()
        super()._die()

    def _begin(self, *, cold: bool, force: bool) -> Merge:
        besides = {name: file.generation for name, file in self.committed.items()}
        return self.vault.merge("app", REF, besides, cold=cold, force=force)

    def _merge(self, *, cold: bool, force: bool) -> None:
        merge = self._begin(cold=cold, force=force)
        before = self.session.snapshots()
        pair = {"journal", journal.pack_name(self.session.fold().pack)}
        there = self.place.is_dir() and pair <= self._files()
        for _ in merge.prepare():
            pass
        done = self.vault.commit(merge)
        if force and self.straight and there:
            assert done, merge.why
        if done:
            assert {"journal", journal.pack_name(self.session.fold().pack)} <= self._files()
            assert self.session.fold().damaged == 0
            assert merge.frames[1] <= merge.frames[0]
            assert [s.id for s in self.session.snapshots()] == [s.id for s in before]

    def teardown(self) -> None:
        self.limits.undo()
        super().teardown()

    def _files(self) -> set[str]:
        return {path.name for path in self.place.iterdir()}


TestCompaction = Merging.TestCase
TestCompaction.settings = settings(max_examples=80, stateful_step_count=40)

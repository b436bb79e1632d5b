"""The vault against a plain model in memory: whatever happens in between, a checkpoint reads back byte by byte."""

import contextlib
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sessionsync.errors import CopyMismatch
from sessionsync.model import Ref
from sessionsync.vault import Root, SessionVault, StoredFile, Vault

REF = Ref("claude", "session")
MEMORY = Path("/dev/shm")
names = st.sampled_from(["s.jsonl", "todos/a.json", "context.json"])
contents = st.binary(min_size=1, max_size=40)


class File:
    """A file as the caller knows it: what it has stored of which generation."""

    def __init__(self, generation: int = 0, data: bytes = b"", deleted_at: float | None = None) -> None:
        self.generation, self.data, self.deleted_at = generation, data, deleted_at

    def stated(self, name: str) -> StoredFile:
        root = Root()
        root.update(self.data)
        return StoredFile(name, self.generation, len(self.data), root.hexdigest(), self.deleted_at)

    def twin(self) -> "File":
        return File(self.generation, self.data, self.deleted_at)


Files = dict[str, File]


def twins(files: Files) -> Files:
    return {name: file.twin() for name, file in files.items()}


class Model(RuleBasedStateMachine):
    """The caller, its state and its crashes.

    `now` is what the caller knows, `committed` what it would know after a crash, `held` and `safe` the
    checkpoints it has made and those that are durable.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.held_open = ExitStack()
        self.now: Files = {}
        self.committed: Files = {}
        self.changed: set[str] = set()
        self.held: dict[str, Files] = {}
        self.safe: dict[str, Files] = {}
        self.number = 0
        self.straight = True  # the vault never knew more than the caller

    @initialize()
    def begin(self) -> None:
        self.vault = Vault(self.folder)
        self.held_open.enter_context(self.vault.lock())

    @property
    def session(self) -> SessionVault:
        return self.vault.open("app", REF)

    @property
    def place(self) -> Path:
        return self.folder / "app" / "claude.session"

    # --- what a caller does

    @rule(name=names, data=contents)
    def append(self, name: str, data: bytes) -> None:
        file = self.now.setdefault(name, File())
        self.session.append(name, file.generation, len(file.data), data)
        file.data += data
        file.deleted_at = None
        self.changed.add(name)

    @rule(name=names, draw=st.data())
    def append_again(self, name: str, draw: st.DataObject) -> None:
        file = self.now.get(name)
        if file is not None and file.data:
            begin = draw.draw(st.integers(0, len(file.data) - 1))
            end = draw.draw(st.integers(begin + 1, len(file.data)))
            self.session.append(name, file.generation, begin, file.data[begin:end])

    @rule(name=names, data=st.binary(max_size=40), draw=st.data())
    def rewrite(self, name: str, data: bytes, draw: st.DataObject) -> None:
        file = self.now.setdefault(name, File())
        shared = draw.draw(st.integers(0, len(file.data)))
        self.session.fork(name, file.generation + 1, file.generation, shared)
        self.session.append(name, file.generation + 1, shared, data)
        self.now[name] = File(file.generation + 1, file.data[:shared] + data)
        self.changed.add(name)

    @rule(name=names)
    def remove(self, name: str) -> None:
        if name in self.now:
            self.number += 1
            self.now[name].deleted_at = float(self.number)
            self.session.remove(name, float(self.number))
            # a removal alone says it only of files that a snapshot has stated
            self.changed.add(name)

    @rule(all_of_them=st.booleans())
    def snapshot(self, all_of_them: bool) -> None:
        self.number += 1
        stating = self.now if all_of_them else self.changed
        files = [self.now[name].stated(name) for name in sorted(stating)]
        self.session.snapshot(id=str(self.number), at=1.0, trigger="x", alias="", files=files, meta={})
        self.held[str(self.number)] = twins(self.now)
        self.changed.clear()

    @rule()
    def flush_and_commit(self) -> None:
        self.vault.flush()
        self.safe |= self.held
        self.held = {}
        self.committed = twins(self.now)

    # --- what happens to it

    @rule(torn=st.binary(max_size=30), rubbish=st.binary(max_size=30))
    def die_before_the_flush(self, torn: bytes, rubbish: bytes) -> None:
        self._die()
        if self.place.is_dir():
            with (self.place / "journal").open("ab") as journal:
                journal.write(torn.replace(b"\n", b"?"))
            with (self.place / "pack").open("ab") as pack:
                pack.write(rubbish)
        self._rise()

    @rule()
    def die_between_flush_and_commit(self) -> None:
        self.vault.flush()
        self.safe |= self.held
        if any(file.stated(name) != self._committed(name).stated(name) for name, file in self.now.items()):
            self.straight = False
        self._die()
        self._rise()

    @precondition(lambda self: (self.place / "pack").is_file())
    @rule(lost=st.integers(1, 60))
    def lose_power_while_the_disk_lies(self, lost: int) -> None:
        """The pack's end is gone although the journal names it: what a disk may do that ignores a flush."""
        self._die()
        pack = self.place / "pack"
        os.truncate(pack, max(0, pack.stat().st_size - lost))
        self._rise()
        # mended from the plain copy: what does not read is stored again
        for files in (*self.safe.values(), self.now):
            for name, file in files.items():
                if not self._reads(name, file):
                    self.session.append(name, file.generation, 0, file.data)
        self.flush_and_commit()
        for number, files in list(self.safe.items()):
            if not all(self._reads(name, file) for name, file in files.items()):
                # bytes from before another crash lay under those that were lost: refused, never given out
                assert not self.straight
                del self.safe[number]

    @rule()
    def stop_and_start(self) -> None:
        self.flush_and_commit()
        self.held_open.close()
        self.begin()

    def _committed(self, name: str) -> File:
        return self.committed.get(name, File())

    def _die(self) -> None:
        self.vault._batch.drop()
        self.held_open.close()

    def _rise(self) -> None:
        self.held = {}
        self.now = twins(self.committed)
        self.changed = set(self.now)
        self.begin()

    def _reads(self, name: str, file: File) -> bool:
        stated = file.stated(name)
        try:
            read = b"".join(self.session.read(name, file.generation, len(file.data), root=stated.root))
        except CopyMismatch:
            return False
        assert read == file.data
        return True

    # --- what must hold

    @invariant()
    def every_checkpoint_reads_back(self) -> None:
        for vault, checkpoints in ((self.vault, self.safe | self.held), (Vault(self.folder), self.safe)):
            session = vault.open("app", REF)
            known = {snapshot.id for snapshot in session.snapshots()}
            assert known >= set(checkpoints)
            for number, files in checkpoints.items():
                listed = session.files(number)
                stated = {name: file.stated(name) for name, file in files.items()}
                # a file that was stated before a crash and then forgotten stays
                assert listed | stated == listed
                assert stated == listed or not self.straight
                for name, file in files.items():
                    read = session.read(name, file.generation, len(file.data), root=stated[name].root)
                    assert b"".join(read) == file.data

    @invariant()
    def what_is_stored_is_known(self) -> None:
        for name, file in self.now.items():
            generation, length = self.session.stored(name)
            if self.straight:
                assert (generation, length) == (file.generation, len(file.data))
                assert b"".join(self.session.read(name, generation, length)) == file.data

    def teardown(self) -> None:
        with contextlib.suppress(Exception):
            self._die()
        shutil.rmtree(self.folder)


TestVault = Model.TestCase
TestVault.settings = settings(max_examples=60, stateful_step_count=30)

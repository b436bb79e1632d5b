"""What the vault holds of one session: written piece by piece, read back byte by byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

from sessionsync.errors import CopyError, CopyMismatch, NoSuchCheckpoint
from sessionsync.hands import Hands, ahead
from sessionsync.model import Ref
from sessionsync.vault.batch import Batch, Pending, lines, pack_number
from sessionsync.vault.folder import Folder, open_regular, translated
from sessionsync.vault.frames import Frames
from sessionsync.vault.journal import (
    Description,
    Entry,
    Fold,
    Forget,
    Fork,
    Generation,
    Removal,
    Segment,
    Snapshot,
    StoredFile,
    pack_name,
)
from sessionsync.vault.pack import FRAME_BYTES, Dictionaries, Unpacker
from sessionsync.vault.root import Root

# So many segments are unpacked before they are asked for, where there are other hands: each is in memory.
AHEAD = 2
# To hand on what is unpacked in a millisecond takes longer than that.
LEAST_SHARED_BYTES = FRAME_BYTES
# How often a reader looks again because the writer has just flushed.
_LOOKS = 100

Opened = tuple[Fold, Frames]
"""What the journal says, and the frames of the pack that it speaks of, while that is open."""


class SessionVault:
    """What is stored of one session; made by `Vault.open`.

    Writing takes effect with `Vault.flush`.  Reading shows what is flushed, and through the `Vault`
    that writes also what is not.  A handle belongs to one thread and keeps what it has read of the
    journal, so let it go after use.
    """

    def __init__(
        self,
        tree: Folder,
        batch: Batch,
        dictionaries: Dictionaries,
        folder: Path,
        project: str,
        ref: Ref,
        hands: Hands = map,
    ) -> None:
        self.ref = ref
        self.project = project
        self._tree = tree
        self._batch = batch
        self._folder = folder
        self._unpacker = Unpacker(dictionaries)
        self._hands = hands
        self._known: tuple[object, Fold] | None = None
        self._is_writer = False

    # --- writing

    def describe(self, *, first_seen: float, project_key: str, meta: dict[str, Any]) -> None:
        """Say once, before anything else, whose vault this is; `first_seen` in Unix seconds."""
        self._write(
            Description(
                source=self.ref.source,
                session_id=self.ref.session_id,
                project=self.project,
                project_key=project_key,
                first_seen=first_seen,
                meta=meta,
            )
        )

    def append(
        self, name: str, generation: int, offset: int, data: bytes, *, root: str = "", proves: bool = True
    ) -> None:
        """Store `data`, the bytes of a file's generation from `offset` on, as one segment.

        Who knows the `root` of `data` gives it, so that nothing is hashed twice.  Each frame is unpacked and
        compared, if this `proves` it; else that has to be done later, see `unproven`.
        More than `FRAME_BYTES` become several, cut behind a line where there is one.  The cost is that of
        `data`, whatever is stored already; what is stored already may be stored again.

        Raises:
            DiskFull: the disk is full or read-only.
            CopyError: what was stored before could not be written or verified; of the last that is told when
                it is read, or flushed.
        """
        self._is_writer = True
        if data:
            self._batch.pack(
                self._folder, str(self.ref), name, generation, offset, _parts(data), root, proves=proves
            )

    def fork(self, name: str, generation: int, parent: int, shared: int) -> None:
        """Begin a generation of a file: its first `shared` bytes are those of the generation `parent`."""
        self._write(Fork(name, generation, parent, shared))

    def remove(self, name: str, at: float) -> None:
        """Say that the session dropped a file at `at` (Unix seconds).  Its bytes stay."""
        self._write(Removal(name, at))

    def snapshot(
        self,
        *,
        id: str,  # noqa: A002 - it has no other name
        at: float,
        trigger: str,
        alias: str,
        files: Sequence[StoredFile],
        meta: dict[str, Any],
    ) -> None:
        """Make a snapshot.  `files` must name those that differ from the one before, and may name others."""
        self._write(Snapshot(id=id, at=at, trigger=trigger, alias=alias, files=list(files), meta=meta))

    def forget(self, ids: Sequence[str], at: float) -> None:
        """Say that these snapshots are not kept any longer; what they alone need goes with the next merge."""
        self._write(Forget(list(ids), at))

    def _write(self, entry: Entry) -> None:
        self._batch.add(self._folder, str(self.ref), entry)

    # --- reading

    def is_new(self) -> bool:
        """Whether nothing is stored of the session nor about to be; reads nothing."""
        return self._batch.pending(self._folder) is None and not self._is_begun()

    def _is_begun(self) -> bool:
        return os.path.lexists(f"{self._folder}/journal")  # a Path takes longer to make than to look at

    def first_seen(self) -> float | None:
        """When this session was first seen (Unix seconds); None where the vault does not say."""
        description = self.fold().description
        return None if description is None else description.first_seen

    def description(self) -> Description | None:
        """What was said of the session when its vault was begun; None where the vault does not say."""
        return self.fold().description

    def snapshots(self) -> list[Snapshot]:
        """Every snapshot in the order in which they were made."""
        return self.fold().snapshots()

    def files(self, at_snapshot: str | None = None) -> dict[str, StoredFile]:
        """The session's files by name, as they were at a snapshot, or are now.

        Raises:
            NoSuchCheckpoint: there is no such snapshot.
        """
        files = self.fold().files(at_snapshot)
        if files is None:
            raise NoSuchCheckpoint(
                f"Session {self.ref} has no checkpoint {at_snapshot} in the vault.",
                hint=f"`sessiond restore {self.ref.session_id} --list` shows those it has.",
            )
        return files

    def stored(self, name: str) -> tuple[int, int]:
        """A file's newest generation, and how many bytes of it are stored without a gap."""
        fold = self.fold()
        generation = fold.newest.get(name, 0)
        life = fold.generations.get((name, generation))
        return generation, 0 if life is None else life.reach(fold.line)

    def damaged_lines(self) -> int:
        """How many of the journal's lines are not what was written: 0 in a sound vault."""
        return self.fold().damaged

    def read(
        self,
        name: str,
        generation: int,
        length: int,
        start: int = 0,
        *,
        root: str = "",
        opened: Opened | None = None,
    ) -> Iterator[bytes]:
        """Bytes [start, length) of a generation, as they were when a snapshot stated them, else as they are.

        Each segment is checked before it is given out, and the whole, where it is read from its start,
        against the root in the snapshot.  `root` chooses between snapshots that state the same length.
        Who reads several times opens once (`frames`), and has all of it as it was `opened`.

        Raises:
            CopyMismatch: what is stored is not what was; the message names session, file and offset.
        """
        position, whole = start, Root()
        with self._opened(opened) as (fold, frames):
            life, line, root = fold.as_stated(name, generation, length, root)
            pieces = list(_pieces(life, length, line, start))
            with closing(self._unpacked(frames.unpack, pieces)) as unpacked:
                for end, segment, raw in unpacked:
                    while position < end:
                        if segment is not None and raw is not None:
                            data = raw[position - segment.offset : end - segment.offset]
                        else:
                            data = self._instead(frames, name, life, position, end)
                        position += len(data)
                        if not start:
                            whole.update(data)
                        yield data
        if root and not start and whole.hexdigest() != root:
            raise self._mismatch(name, 0, f"up to {length} are not those of the checkpoint")

    def unproven(
        self, name: str, generation: int, length: int, *, root: str, opened: Opened | None = None
    ) -> Iterator[bytes]:
        """The first `length` bytes of a generation, as they were when a snapshot stated that `root` of them.

        No segment is compared with its hash: what proves all of them, in one pass, is their root, which who
        takes them has to compute and compare before anything of it counts.  Where it is another one, `read`
        says what is damaged, and takes that from where it was stored again.  `opened` as there.

        Raises:
            CopyMismatch: some are not there, or a frame cannot be unpacked.
        """
        position = 0
        with self._opened(opened) as (fold, frames):
            life, line, _ = fold.as_stated(name, generation, length, root)
            pieces = list(_pieces(life, length, line, 0))
            with closing(self._unpacked(frames.unproven, pieces)) as unpacked:
                for end, segment, raw in unpacked:
                    if segment is None or raw is None:
                        raise self._mismatch(name, position, "are damaged" if segment else "are not there")
                    yield raw[position - segment.offset : end - segment.offset]
                    position = end

    def _unpacked(
        self, unpack: Callable[[Segment], bytes | None], pieces: Sequence[tuple[int, Segment | None]]
    ) -> Generator[tuple[int, Segment | None, bytes | None], None, None]:
        """Each piece with its segment's bytes; of many, with other hands, some are unpacked ahead."""

        def step(piece: tuple[int, Segment | None]) -> bytes | None:
            return None if piece[1] is None else unpack(piece[1])

        size = sum(segment.length for _, segment in pieces if segment is not None)
        if len(pieces) < 2 or size < LEAST_SHARED_BYTES:
            for piece in pieces:
                yield *piece, step(piece)
            return
        with closing(ahead(self._hands, step, pieces, AHEAD)) as unpacked:
            for (end, segment), raw in zip(pieces, unpacked, strict=True):
                yield end, segment, raw

    def _instead(self, frames: Frames, name: str, life: Generation | None, position: int, end: int) -> bytes:
        """Verified bytes from `position` on, of any segment that holds them."""
        candidates = [] if life is None else list(life.covering(position))
        for candidate, limit in candidates:
            if (data := frames.unpack(candidate)) is not None:
                return data[position - candidate.offset : min(limit, end) - candidate.offset]
        raise self._mismatch(name, position, "are damaged" if candidates else "are not there")

    def _mismatch(self, name: str, offset: int, what: str) -> CopyMismatch:
        return CopyMismatch(
            f"Session {self.ref}: in the vault, the bytes of {name} from {offset} {what}.",
            hint=f"`sessiond ctl repair {self.ref.session_id}` mends it from another copy.",
        )

    def fold(self) -> Fold:
        """What the journal says, read again only when it has changed."""
        with ExitStack() as held:
            return self._look(held)[0]

    @contextmanager
    def frames(self) -> Iterator[Opened]:
        """What the journal says, and the frames of the pack that it speaks of, to read many of them.

        Raises:
            CopyError: it cannot be read.
        """
        with ExitStack() as held:
            fold, pack = self._look(held)
            yield fold, Frames(pack, self._unpacker)

    def _opened(self, opened: Opened | None) -> AbstractContextManager[Opened]:
        return self.frames() if opened is None else nullcontext(opened)

    def _look(self, held: ExitStack) -> tuple[Fold, int | None]:
        """What the journal says, and the pack that it speaks of: open as long as `held` is."""
        if self._is_writer:
            self._batch.settle(self._folder)
        for _ in range(_LOOKS):
            held.close()  # what was looked at before
            pending = self._batch.pending(self._folder)
            waiting = [] if pending is None else pending.lines[:]
            with translated(self._folder):
                folder = self._enter(held, pending)
                journal = self._open(held, folder, "journal")
                state = (pending, len(waiting), None if journal is None else _identity(journal))
                fold = self._known[1] if self._known is not None and self._known[0] == state else None
                written: list[bytes] = []
                number = 0 if fold is None else fold.pack
                if fold is None and journal is not None:
                    written = list(lines(journal))
                    number = pack_number(self._tree, self._folder, journal)
                # after the journal: what that names is in it
                pack = self._open(held, folder, pack_name(number))
                if pack is None and journal is not None and not self._is_current(folder, journal):
                    continue  # both were written anew meanwhile
                size = 0 if pack is None else os.fstat(pack).st_size
            if fold is not None:
                return fold, pack
            # While it is being flushed a batch is here and, wholly or not, in the journal: read twice it says
            # the same.  If it is gone by now, more of the journal may have to be read before the next one.
            if self._batch.pending(self._folder) is pending:
                fold = Fold(size, pack=number)
                fold.feed(chain(written, (line[:-1] for line in waiting)))
                self._known = state, fold
                return fold, pack
        raise CopyError(
            f"The vault of session {self.ref} changes while it is read.", hint="It is tried again."
        )

    def _enter(self, held: ExitStack, pending: Pending | None) -> int | None:
        """The session's folder, open as long as `held` is; None where nothing is stored of it."""
        if pending is None and not self._is_begun():
            return None
        try:
            return held.enter_context(self._tree.directory(self._folder))
        except FileNotFoundError:
            return None

    def _open(self, held: ExitStack, folder: int | None, name: str) -> int | None:
        """A file in the session's open folder, likewise; None where it is not there."""
        if folder is None:
            return None
        try:
            descriptor = open_regular(f"{self._folder}/{name}", folder, os.O_RDONLY)
        except FileNotFoundError:
            return None
        held.callback(os.close, descriptor)
        return descriptor

    def _is_current(self, folder: int | None, journal: int) -> bool:
        """Whether the open journal is the one that lies there."""
        with ExitStack() as held:
            now = self._open(held, folder, "journal")
            return now is not None and os.fstat(now).st_ino == os.fstat(journal).st_ino


def _parts(data: bytes) -> list[bytes]:
    """Cut where a part would be longer than a segment; behind a line, where there is one."""
    parts: list[bytes] = []
    begin = 0
    while len(data) - begin > FRAME_BYTES:
        end = data.rfind(b"\n", begin, begin + FRAME_BYTES) + 1 or begin + FRAME_BYTES
        parts.append(data[begin:end])
        begin = end
    return [*parts, data[begin:] if begin else data]


def _pieces(
    life: Generation | None, length: int, line: int, start: int
) -> Iterator[tuple[int, Segment | None]]:
    """Up to where to read, from `start` on, and which segment should hold it: None in a gap."""
    position = start
    for extent in [] if life is None else life.extents(length, line):
        if extent.end <= position:
            continue
        if extent.start > position:
            yield extent.start, None
        yield extent.end, extent.segment
        position = extent.end
    if position < length:
        yield length, None


def _identity(descriptor: int) -> tuple[int, int, int]:
    status = os.fstat(descriptor)
    return status.st_ino, status.st_size, status.st_mtime_ns

"""Keeps the numbers up with what is captured, reading the copies; off the way of what is being captured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from sessionsync.captured import Block, Captured, blocks_of
from sessionsync.catalog import Catalog, File, Session
from sessionsync.errors import CopyError, NoSuchSession
from sessionsync.model import Role, SessionFile
from sessionsync.peek import PEEK_BYTES
from sessionsync.sources import Source
from sessionsync.stats.numbers import Numbers, Seen


class Counter:
    """Brings the numbers up to what is captured.  Call it from one thread.

    `restored` says when sessions were put back on this machine (Unix milliseconds), by their names.
    """

    def __init__(
        self,
        numbers: Numbers,
        catalog: Catalog,
        captured: Captured,
        sources: Iterable[Source],
        restored: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self._numbers = numbers
        self._catalog = catalog
        self._captured = captured
        self._sources = {source.name: source for source in sources}
        self._restored = restored or {}

    def behind(self) -> list[int]:
        """Sessions of which captured lines are not counted yet, the newest first."""
        seen = self._numbers.seen()
        return self._catalog.store.made(
            lambda rows: [number for number, name, *said in rows if seen.get(name) != tuple(said)],
            "SELECT sessions.id, source || ':' || key, coalesce(sum(read_to), 0),"
            " coalesce(sum(generation), 0)"
            " FROM sessions LEFT JOIN files ON files.session = sessions.id"
            " GROUP BY sessions.id ORDER BY modified_at DESC",
        )

    def catch_up(self) -> Iterator[int]:
        """Count everything that is behind; yields after each piece the bytes that were read, committed.

        Where a copy cannot be read now, its session stays behind.
        """
        for number in self.behind():
            with suppress(CopyError, NoSuchSession):  # or it was forgotten meanwhile
                yield from self.steps(number)

    def steps(self, number: int) -> Iterator[int]:
        """Count what is new of one session, a piece at a time; yields the bytes read for each.

        Raises:
            NoSuchSession: it was forgotten meanwhile.
            CopyError: its copy cannot be read now.
            NumbersBroken: the numbers cannot be written.
        """
        session = self._catalog.session(number)
        source = self._sources.get(session.ref.source)
        files = list(self._catalog.files(number).values())
        with self._numbers.transaction():
            own = self._numbers.session(session.name, session.ref.source, session.project or "")
        growing = [file for file in files if source is not None and _grows(source, file)]
        for file in growing:
            if source is not None and not file.is_rewritten:
                yield from self._file(session, own, file, source)
        seen = Seen(sum(file.read_to for file in files), sum(file.generation for file in files))
        with self._numbers.transaction():
            if all(self._is_counted(own, file) for file in growing):  # not by half by somebody else
                self._numbers.mark(own, seen)

    def _is_counted(self, own: int, file: File) -> bool:
        reached = self._numbers.reached(own, file.name, file.generation)
        return not file.read_to or (reached is not None and reached[0] >= file.read_to)

    def _file(self, session: Session, own: int, file: File, source: Source) -> Iterator[int]:
        """What is new of a file; of one that was written anew, what it was before as well."""
        reached = self._numbers.reached(own, file.name, file.generation)
        if reached is None:
            for life in self._captured.lives(session, file):
                was = self._numbers.reached(own, file.name, life.generation)
                with suppress(CopyError):  # damaged: what is sound of the others counts
                    blocks = life.blocks(was[0] if was else 0)
                    yield from self._count(session, own, file, source, life.generation, blocks)
        blocks = self._captured.blocks(session, file, reached[0] if reached else 0)
        yield from self._count(session, own, file, source, file.generation, blocks)

    def _count(
        self,
        session: Session,
        own: int,
        file: File,
        source: Source,
        generation: int,
        blocks: Iterator[Block],
    ) -> Iterator[int]:
        restored = self._restored.get(session.name, ())
        anew = generation > 0 and self._numbers.reached(own, file.name, generation) is None
        for begin, data in blocks:
            with self._numbers.transaction():
                upto, memory = self._numbers.reached(own, file.name, generation) or (0, "")
                if upto != begin:
                    return  # somebody else counts it at this moment
                usage = source.usage(file.role, data, memory, restored)
                if anew:  # what is written again is no growth
                    usage = usage._replace(volume={})
                self._numbers.add(own, file.name, generation, begin + len(data), usage)
            yield len(data)


def count_live(numbers: Numbers, source: Source, read: Callable[[Path, int, int], bytes]) -> None:
    """Count what an agent's own files hold, where nothing of them was captured yet."""
    for found in source.find():
        project = Path(source.peek_cwd(found, PEEK_BYTES)).name
        with numbers.transaction():
            own = numbers.session(str(found.ref), source.name, project)
            for file in found.files:
                if not _grows(source, file):
                    continue
                memory, path = "", file.path
                for begin, data in blocks_of(partial(read, path), 0, file.size):
                    usage = source.usage(file.role, data, memory, ())
                    memory = usage.memory
                    numbers.add(own, file.name, 0, begin + len(data), usage)


def _grows(source: Source, file: File | SessionFile) -> bool:
    return file.role is not Role.COMPANION and source.append_only(file.name)

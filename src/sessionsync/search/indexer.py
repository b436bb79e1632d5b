"""Keeps the index up with what is captured, reading the plain copies."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import suppress

from sessionsync.captured import Block, Captured
from sessionsync.catalog import Catalog, File, Session
from sessionsync.errors import CopyError, NoSuchSession
from sessionsync.search.index import Index, Row, numbered
from sessionsync.sources import Source
from sessionsync.sources.passages import Passage
from sessionsync.vault import Mirror, Vault

# A rebuild commits after so many, and not after each session: twice as fast.
BULK_BYTES = 64 * 1024 * 1024
# A file that is no transcript is searched up to this size.
TEXT_BYTES = 16 * 1024 * 1024


class Indexer:
    """Brings an index up to what is captured.  Call it from one thread."""

    def __init__(
        self,
        index: Index,
        catalog: Catalog,
        mirror: Mirror,
        vault: Vault,
        sources: Iterable[Source],
        rotated: Collection[int] = (),
    ) -> None:
        """Wire it; `rotated` are sessions that are too old to be in the index."""
        self._rotated = rotated
        self._index = index
        self._catalog = catalog
        self._captured = Captured(mirror, vault)
        self._vault = vault
        self._sources = {source.name: source for source in sources}

    def behind(self, since: float = 0.0) -> list[int]:
        """Sessions of which captured bytes are not in the index yet, the newest first.

        Of those only that have changed since then (Unix seconds).
        """
        return [number for number in behind(self._index, self._catalog, since) if number not in self._rotated]

    def outdated(self) -> list[int]:
        """Sessions in the index that are too old to be there."""
        return [number for number in self._index.seen() if number in self._rotated] if self._rotated else []

    def gone(self) -> list[int]:
        """Sessions in the index that are known no longer: somebody had them forgotten."""
        if _is_same(self._index, self._catalog):
            return []
        known = self._catalog.store.made(
            lambda rows: {number for (number,) in rows}, "SELECT id FROM sessions"
        )
        return [number for number in self._index.seen() if number not in known]

    def index(self, number: int) -> int:
        """Index what is new of one session; returns the bytes that were read for it.

        Raises:
            NoSuchSession: it was forgotten meanwhile.
            CopyError: its copy cannot be read now.
            IndexBroken: the index cannot be written.
        """
        return sum(self.steps(number))

    def steps(self, number: int) -> Iterator[int]:
        """`index` a piece at a time: yields the bytes read for each, committed."""
        session = self._catalog.session(number)
        captured = session.captured_bytes
        for file in self._catalog.files(number).values():
            source = self._sources.get(session.ref.source)
            if source is None:
                continue
            grows = source.append_only(file.name)
            yield from (self._lines if grows else self._whole)(session, file, source)
        self._index.mark(number, captured)

    def fill(self, failed: Callable[[CopyError], None]) -> Generator[tuple[int, int, int], None, None]:
        """Index everything that is behind, the oldest first and in large transactions, for a new index.

        Yields after each piece how many sessions are done, how many there are, and the bytes just read.
        What cannot be read is told to `failed` and stays behind.
        """
        waiting = self.behind()[::-1]
        pieces = self._pieces(waiting, failed)
        for done, size in pieces:  # the first of a transaction
            written = size
            with self._index.transaction():
                yield done, len(waiting), size
                for each, more in pieces:
                    yield each, len(waiting), more
                    if (written := written + more) > BULK_BYTES:
                        break
        self._index.tidy()

    def _pieces(self, waiting: list[int], failed: Callable[[CopyError], None]) -> Iterator[tuple[int, int]]:
        for done, number in enumerate(waiting, 1):
            try:
                for size in self.steps(number):
                    yield done - 1, size
            except NoSuchSession:
                pass  # it was forgotten meanwhile
            except CopyError as error:
                failed(error)
            yield done, 0

    def _lines(self, session: Session, file: File, source: Source) -> Iterator[int]:
        """A file that grows by lines: what is behind the place it was read to, and what was cut off."""
        start = self._index.upto(session.id, file.name, file.generation)
        if start is None:
            for life in self._captured.lives(session, file):
                begin = self._index.upto(session.id, file.name, life.generation)
                with suppress(CopyError):  # damaged: what is sound of the others is found
                    yield from self._add(session, file, source, life.generation, life.blocks(begin))
            before = self._index.upto(session.id, file.name, file.generation - 1)
            start = min(before or 0, self._captured.own_from(session, file))
        blocks = self._captured.blocks(session, file, start)
        yield from self._add(session, file, source, file.generation, blocks)

    def _add(
        self, session: Session, file: File, source: Source, generation: int, blocks: Iterator[Block]
    ) -> Iterator[int]:
        for begin, data in blocks:
            self._index.add(
                session.id,
                file.name,
                generation,
                begin + len(data),
                source.passages(file.name, data, begin),
                otherwise_at=file.changed_at,
            )
            yield len(data)

    def _whole(self, session: Session, file: File, source: Source) -> Iterator[int]:
        """A file that is written anew each time: of what it was only what it still is stays."""
        known = self._index.newest(session.id, file.name)
        if known == (file.generation, file.length) or not 0 < file.length <= TEXT_BYTES:
            return
        data = self._captured.whole(session, file)
        found = list(source.passages(file.name, data, 0))
        with self._index.transaction():
            if known is not None:
                stays = self._take_out(session, file, source, known, found)
                found = [passage for passage in found if passage.offset not in stays]
                self._index.rename(session.id, file.name, known[0], file.generation)
            self._index.add(
                session.id,
                file.name,
                file.generation,
                file.length,
                found,
                otherwise_at=file.changed_at,
            )
        yield len(data)

    def _take_out(
        self, session: Session, file: File, source: Source, known: tuple[int, int], found: list[Passage]
    ) -> set[int]:
        """Take out the passages of what a file was that are not where they were; the places of the others."""
        generation, upto = known
        kept = 0
        if generation == file.generation:
            kept = upto
        elif generation == file.generation - 1:
            kept = min(upto, file.forked_at)
        old = self._index.rows(session.id, file.name, generation)
        was, now = _lengths(old), _lengths(found)
        stays = {
            offset
            for offset, lengths in was.items()
            if now.get(offset) == lengths and offset + max(lengths) <= kept
        }
        rows = [row for row in old if row.offset not in stays]
        if rows:
            texts = self._texts(session, file.name, generation, upto, source)
            self._index.remove((row.id, texts.get((row.offset, row.nth), "")) for row in rows)
        return stays

    def _texts(
        self, session: Session, name: str, generation: int, upto: int, source: Source
    ) -> dict[tuple[int, int], str]:
        """Every passage of what a file was, by its place; none where the vault has it no more."""
        try:
            stored = self._vault.open(session.project or "unknown", session.stored_as)
            data = b"".join(stored.read(name, generation, upto))
        except CopyError:
            return {}
        return {(p.offset, nth): p.text for nth, p in numbered(source.passages(name, data, 0))}


def behind(index: Index, catalog: Catalog, since: float = 0.0) -> list[int]:
    """Sessions of which captured bytes are not in the index yet, the newest first."""
    if not since and _is_same(index, catalog):
        return []
    rows = catalog.store.rows(
        "SELECT id, captured_bytes FROM sessions WHERE modified_at >= ? ORDER BY modified_at DESC", (since,)
    )
    seen = index.seen([number for number, _ in rows] if since else None)  # few, of what may be many
    return [number for number, captured in rows if seen.get(number) != captured]


def _is_same(index: Index, catalog: Catalog) -> bool:
    """Whether all that is captured is in the index and nothing else, as nearly always.

    To compare thousands one by one costs more than a search.
    """
    return index.sums() == catalog.sums()


def _lengths(places: Iterable[Row | Passage]) -> dict[int, list[int]]:
    """How long the passages are that begin at each offset."""
    found: dict[int, list[int]] = {}
    for place in places:
        found.setdefault(place.offset, []).append(place.length)
    return found

"""The full-text index: which passages of which sessions hold these words.

A database of its own (SQLite FTS5, WAL: readers beside the writer), thrown away and rebuilt at will.
It holds no text: its rows say where a passage lies, and what is shown is cut from the copies.
unicode61 splits words at blanks and punctuation; before that, `words` adds the parts of identifiers
and cuts Chinese, Japanese and Korean into pairs of characters, of texts and of queries alike.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sessionsync.catalog import Catalog, File, Session
from sessionsync.errors import CopyError, IndexBroken, QueryInvalid
from sessionsync.model import unix_seconds
from sessionsync.sources import Source
from sessionsync.sources.passages import Passage
from sessionsync.vault import Mirror, Vault

VERSION = 1
ROLES = ("user", "assistant", "tool", "title", "note")
BLOCK_BYTES = 4 * 1024 * 1024
# A file that is no transcript is searched up to this size.
TEXT_BYTES = 1024 * 1024
SNIPPET_CHARS = 160
# So many matching rows are looked through for those that pass the filters.
SCANNED_ROWS = 50_000

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE seen (session INTEGER PRIMARY KEY, captured_bytes INTEGER NOT NULL);
CREATE TABLE files (id INTEGER PRIMARY KEY, session INTEGER NOT NULL, name TEXT NOT NULL,
                    generation INTEGER NOT NULL, upto INTEGER NOT NULL, UNIQUE (session, name, generation));
CREATE TABLE places (id INTEGER PRIMARY KEY, file INTEGER NOT NULL, offset INTEGER NOT NULL,
                     length INTEGER NOT NULL, nth INTEGER NOT NULL,
                     role INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE VIRTUAL TABLE passages
    USING fts5 (text, content='', columnsize=0, tokenize="unicode61 remove_diacritics 2");
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that matches: where it is, who said it, when (Unix seconds, 0 unknown)."""

    session: int
    name: str
    generation: int
    offset: int
    length: int
    nth: int
    role: str
    at: float


class Index:
    """The index in `file`, open.  One writer at a time; readers open their own.

    `state` names the state that row numbers refer to: an index of another state is begun anew.

    Raises:
        IndexBroken: it cannot be opened or made.
    """

    def __init__(self, file: Path, state: str, *, read_only: bool = False) -> None:
        self.file = file
        self._state = state
        try:
            self._open(read_only=read_only)
            if not self._fits():
                if read_only:
                    raise _broken(file, "it is not up to date")
                self.begin_anew()
        except sqlite3.Error as error:
            if read_only:
                raise _broken(file, str(error)) from error
            self.begin_anew()

    def _open(self, *, read_only: bool = False) -> None:
        mode = "ro" if read_only else "rwc"
        self._connection = sqlite3.connect(
            f"{self.file.resolve().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=10,
        )
        if not read_only:
            self._connection.execute("PRAGMA synchronous=NORMAL")  # a lost tail is indexed again
        self._connection.execute("PRAGMA cache_size=-4000")

    def _fits(self) -> bool:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            return False
        row = self._connection.execute("SELECT value FROM meta WHERE key = 'state'").fetchone()
        return row is not None and row[0] == self._state

    def begin_anew(self) -> None:
        """Throw everything away; all that is captured is behind again."""
        with suppress(AttributeError, sqlite3.Error):  # it was never open, or is beyond closing
            self._connection.close()
        for suffix in ("", "-wal", "-shm"):
            self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)
        try:
            self._open()
            self._connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.executescript(_SCHEMA)
            self._connection.execute("INSERT INTO meta VALUES ('state', ?)", (self._state,))
            self._connection.execute(f"PRAGMA user_version={VERSION}")
            self.file.chmod(0o600)
        except sqlite3.Error as error:
            raise _broken(self.file, str(error)) from error

    def close(self) -> None:
        """Close the index."""
        self._connection.close()

    # --- writing

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise _broken(self.file, str(error)) from error

    def seen(self) -> dict[int, int]:
        """How many captured bytes of each session are in the index."""
        return dict(self._connection.execute("SELECT session, captured_bytes FROM seen"))

    def upto(self, session: int, name: str, generation: int) -> int | None:
        """How far a file's generation is indexed; None where nothing of it is."""
        row = self._connection.execute(
            "SELECT upto FROM files WHERE session = ? AND name = ? AND generation = ?",
            (session, name, generation),
        ).fetchone()
        return None if row is None else int(row[0])

    def add(self, session: int, name: str, generation: int, upto: int, found: Iterable[Passage]) -> int:
        """Put passages in and remember how far the file is indexed, in one transaction; returns how many."""
        with self._transaction():
            run = self._connection.execute
            run(
                "INSERT INTO files (session, name, generation, upto) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (session, name, generation) DO UPDATE SET upto = excluded.upto",
                (session, name, generation, upto),
            )
            (file,) = run(
                "SELECT id FROM files WHERE session = ? AND name = ? AND generation = ?",
                (session, name, generation),
            ).fetchone()
            count, last, nth = 0, -1, 0
            for passage in found:
                nth = nth + 1 if passage.offset == last else 0
                last = passage.offset
                cursor = run(
                    "INSERT INTO places (file, offset, length, nth, role, at) VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        file,
                        passage.offset,
                        passage.length,
                        nth,
                        ROLES.index(passage.role),
                        _unix(passage.at),
                    ),
                )
                run(
                    "INSERT INTO passages (rowid, text) VALUES (?, ?)",
                    (cursor.lastrowid, words(passage.text)),
                )
                count += 1
        return count

    def mark(self, session: int, captured_bytes: int) -> None:
        """Everything of the session that was captured by then is in the index."""
        with self._transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO seen (session, captured_bytes) VALUES (?, ?)",
                (session, captured_bytes),
            )

    def optimize(self) -> None:
        """Merge the index's segments and give back what that frees: smaller, and faster to search."""
        with self._transaction():
            self._connection.execute("INSERT INTO passages (passages) VALUES ('optimize')")
        # a script: it gives back one page a step, and `execute` takes one step only
        self._connection.executescript(
            "PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA shrink_memory"
        )

    # --- reading

    def search(
        self,
        query: str,
        *,
        sessions: set[int] | None = None,
        role: str = "",
        since: float = 0.0,
        limit: int = 20,
    ) -> list[Hit]:
        """Passages that match, the newest first.

        A query is words, "phrases", prefix*, OR and NOT; words must all be there.

        Raises:
            QueryInvalid: the query holds no word.
            IndexBroken: the index cannot be read.
        """
        match = expression(query)
        wanted = ROLES.index(role) if role else -1
        hits: list[Hit] = []
        try:
            rows = self._connection.execute(
                "SELECT f.session, f.name, f.generation, p.offset, p.length, p.nth, p.role, p.at"
                " FROM passages JOIN places p ON p.id = passages.rowid JOIN files f ON f.id = p.file"
                " WHERE passages MATCH ? ORDER BY passages.rowid DESC LIMIT ?",
                (match, SCANNED_ROWS),
            )
            for session, name, generation, offset, length, nth, spoken, at in rows:
                if (sessions is not None and session not in sessions) or at < since:
                    continue
                if wanted not in {-1, spoken}:
                    continue
                hits.append(Hit(session, name, generation, offset, length, nth, ROLES[spoken], at))
                if len(hits) == limit:
                    break
        except sqlite3.Error as error:
            if "fts5" in str(error):
                raise QueryInvalid(f"{query!r} is no query: {error}.", hint=QUERY_HINT) from error
            raise _broken(self.file, str(error)) from error
        return hits

    def bytes(self) -> int:
        """Size on disk."""
        names = (self.file.name + suffix for suffix in ("", "-wal"))
        return sum(path.stat().st_size for name in names if (path := self.file.with_name(name)).exists())


class Indexer:
    """Keeps the index up with what is captured.  Call it from one thread."""

    def __init__(self, index: Index, catalog: Catalog, mirror: Mirror, sources: Iterable[Source]) -> None:
        self._index = index
        self._catalog = catalog
        self._mirror = mirror
        self._sources = {source.name: source for source in sources}

    def behind(self) -> list[int]:
        """Sessions of which captured bytes are not in the index yet, the newest first."""
        seen = self._index.seen()
        rows = self._catalog.store.rows("SELECT id, captured_bytes FROM sessions ORDER BY modified_at DESC")
        return [number for number, captured in rows if seen.get(number) != captured]

    def index(self, number: int) -> int:
        """Index what is new of one session; returns the number of passages."""
        session = self._catalog.session(number)
        captured, count = session.captured_bytes, 0
        for file in self._catalog.files(number).values():
            count += self._file(session, file)
        self._index.mark(number, captured)
        return count

    def _file(self, session: Session, file: File) -> int:
        source = self._sources[session.ref.source]
        transcript = source.append_only(file.name)
        end = file.read_to if transcript else file.length
        known = self._index.upto(session.id, file.name, file.generation)
        start = file.forked_at if known is None and transcript else known or 0
        if start >= end or (not transcript and end > TEXT_BYTES):
            return 0
        copy = self._mirror.path_of(session.project or "unknown", session.stored_as, file.name)
        count = 0
        for begin, data in _blocks(self._mirror, copy, start, end, whole=not transcript):
            found = source.passages(file.name, data, begin)
            count += self._index.add(session.id, file.name, file.generation, begin + len(data), found)
        return count


def text_of(
    hit: Hit, session: Session, file: File | None, source: Source, mirror: Mirror, vault: Vault
) -> str:
    """The passage itself, cut from the plain copy or, where that has moved on, from the vault; '' if gone."""
    end = hit.offset + hit.length
    try:
        if file is not None and (file.generation == hit.generation or end <= file.forked_at):
            copy = mirror.path_of(session.project or "unknown", session.stored_as, hit.name)
            data = mirror.read(copy, hit.offset, end)
        else:
            stored = vault.open(session.project or "unknown", session.stored_as)
            data = b"".join(stored.read(hit.name, hit.generation, end, start=hit.offset))
    except CopyError:
        return ""
    found = [p for p in source.passages(hit.name, data, hit.offset) if p.offset == hit.offset]
    return found[hit.nth].text if hit.nth < len(found) else ""


def snippet(text: str, query: str, mark: Callable[[str], str], chars: int = SNIPPET_CHARS) -> str:
    """The part of a text around the first match, on one line, with every match marked."""
    terms = sorted({t for t in _terms(query) if t}, key=len, reverse=True)
    flat = " ".join(text.split())
    pattern = re.compile("|".join(re.escape(term) for term in terms) or r"(?!)", re.IGNORECASE)
    first = pattern.search(flat)
    start = max(0, (first.start() if first else 0) - chars // 3)
    part = flat[start : start + chars]
    marked = pattern.sub(lambda match: mark(match[0]), part)
    return ("…" if start else "") + marked + ("…" if start + chars < len(flat) else "")


QUERY_HINT = 'Give words, "a phrase", or a prefix*; OR and NOT stand between words.'

_CJK = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0002fa1f]+"
)
_WORD = re.compile(r"[^\W_]+(?:[_\-./:]+[^\W_]+)*")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\dA-Za-z_]+")
_BETWEEN = frozenset({"OR", "NOT", "AND"})
_TOKEN = re.compile(r'"([^"]*)"|(\S+)')


def words(text: str) -> str:
    """A text as it is indexed: with the parts behind each identifier, CJK in pairs of characters.

    >>> words("getUserName in 日本語")
    'getUserName get User Name in 日本 本語 '
    """
    text = unicodedata.normalize("NFKC", text)
    text = _CJK.sub(lambda match: f" {_pairs(match[0])} ", text)
    return re.sub(r" +", " ", _WORD.sub(_with_parts, text))


def _pairs(run: str) -> str:
    return run if len(run) == 1 else " ".join(run[n : n + 2] for n in range(len(run) - 1))


def _with_parts(match: re.Match[str]) -> str:
    word = match[0]
    pieces = [piece for whole in re.split(r"[_\-./:]+", word) for piece in _PART.findall(whole)]
    # what unicode61 splits by itself needs no help; only humps inside a word do
    humps = [whole for whole in re.split(r"[_\-./:]+", word) if len(_PART.findall(whole)) > 1]
    return word if not humps or len(pieces) > 12 else f"{word} {' '.join(pieces)}"


def expression(query: str) -> str:
    """A person's query in FTS5's language.

    >>> expression('deploy "blue green" kube*')
    '"deploy" "blue green" "kube" *'
    """
    parts: list[str] = []
    for phrase, word in _TOKEN.findall(query):
        if word in _BETWEEN:
            if parts and parts[-1] not in _BETWEEN:
                parts.append(word)
            continue
        text = phrase or word
        prefix = not phrase and text.endswith("*")
        inner = words(text.rstrip("*")).replace('"', " ").strip()
        if not any(character.isalnum() for character in inner):
            continue
        short = not phrase and len(inner) == 1 and _CJK.fullmatch(inner) is not None
        parts.append(f'"{inner}"' + (" *" if prefix or short else ""))
    while parts and parts[-1] in _BETWEEN:
        parts.pop()
    if not parts:
        raise QueryInvalid(f"{query!r} holds no word to search for.", hint=QUERY_HINT)
    return " ".join(parts)


def _terms(query: str) -> Iterator[str]:
    for phrase, word in _TOKEN.findall(query):
        if word not in _BETWEEN:
            yield (phrase or word).rstrip("*").strip('"')


def _blocks(mirror: Mirror, copy: Path, start: int, end: int, *, whole: bool) -> Iterator[tuple[int, bytes]]:
    """The bytes [start, end) of a copy in blocks that end on lines, each with its offset."""
    if whole:
        yield 0, mirror.read(copy, 0, end)
        return
    while start < end:
        size = BLOCK_BYTES
        data = mirror.read(copy, start, min(start + size, end))
        while start + len(data) < end and b"\n" not in data and len(data) == size:
            size *= 2
            data = mirror.read(copy, start, min(start + size, end))
        if start + len(data) < end:
            data = data[: data.rfind(b"\n") + 1] or data
        if not data:
            return
        yield start, data
        start += len(data)


def _unix(at: str) -> int:
    try:
        return int(unix_seconds(at))
    except ValueError:
        return 0


def _broken(file: Path, why: str) -> IndexBroken:
    return IndexBroken(
        f"The search index {file} cannot be used: {why}.", hint="`sessiond search --rebuild` makes it anew."
    )

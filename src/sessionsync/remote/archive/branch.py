"""The write side: the checkpoints of a session become commits, each at the cost of what was appended.

Bytes come from the vault and go through the privacy gate, line by line; whole lines that are in the archive
stay as they are there.  A file whose beginning changed, and one that does not grow by lines, is cut anew
where its segments were cut before, so that what is still the same is the same object.

Encrypted, bytes are as they are, and nothing is read back of what was written, since who writes need not be
able to read.  The same bytes are another object each time, so what does not only grow is stored whole.  Where
it is encrypted for others than before, or no longer, a session begins anew with its next checkpoint: nothing
exact is told of in clear then, and who reads one part of the newest commit reads all of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import msgspec

from sessionsync.catalog import Catalog, Session
from sessionsync.config import Config
from sessionsync.errors import CopyError, GitFailed, RedactionFailed
from sessionsync.events import Emit
from sessionsync.model import Context, Role, rfc3339
from sessionsync.privacy.gate import Gate
from sessionsync.privacy.seal import Seal
from sessionsync.remote.archive import refs
from sessionsync.remote.archive.cache import Cache, Writer
from sessionsync.remote.archive.ledger import Branch, FileState, Ledger
from sessionsync.remote.archive.tree import (
    BLOB_BYTES,
    LINES,
    LISTED,
    MANIFEST,
    SCHEMA,
    SEGMENT_BYTES,
    ArchivedFile,
    Line,
    Manifest,
    Point,
    Segments,
    decode_page,
    encode,
    encode_page,
    list_path,
    name_of,
    page_path,
    pages_of,
    segment_path,
    unpack,
)
from sessionsync.remote.comments.marker import project_hash
from sessionsync.vault import Root, SessionVault, Snapshot, StoredFile, Vault

# Running roots are kept of so many files, the most recently used.
KEPT = 64
T = TypeVar("T")


@dataclass(slots=True)
class _Commit:
    """What a commit changes: (path, mark)."""

    changes: list[tuple[str, int]] = field(default_factory=list)
    states: list[FileState] = field(default_factory=list)


class Branches:
    """Makes commits.  Call it from one thread."""

    def __init__(
        self,
        *,
        cache: Cache,
        ledger: Ledger,
        catalog: Catalog,
        vault: Vault,
        gate: Gate,
        config: Config,
        host: str,
        machine: Callable[[], str],
        context: Context,
        emit: Emit,
        seal: Seal | None = None,
    ) -> None:
        self._cache = cache
        self._ledger = ledger
        self._catalog = catalog
        self._vault = vault
        self._names = gate
        self._gate = gate if seal is None else Gate(redact=False)
        self._config = config
        self._host = host
        self._machine = machine
        self._context = context
        self._emit = emit
        self._seal = seal
        self._segments = Segments()
        self._roots: OrderedDict[tuple[int, int], Root] = OrderedDict()

    def extend(self, session: Session, branch: Branch | None) -> tuple[Branch, list[FileState], bool]:
        """Commit every kept checkpoint of a session that is newer than the branch's, without publishing it.

        `branch` is None, or one whose tip is in the cache.  A branch with a tip but without files in the
        ledger is gone on with, its files stored anew.  Returns the branch as it is now, the files that went
        on, and whether the ledger's others no longer count.

        Raises:
            CopyError: the vault cannot be read.
            RedactionFailed: the gate could not judge something, or a name holds a secret.
            GitFailed: the cache cannot be written.
        """
        vault = self._vault.open(session.project or "unknown", session.stored_as)
        place = refs.place(session.ref.source, session.key, self._machine())
        known = self._ledger.files(session.id) if branch is not None else {}
        if any(state.sealed != self._sealed_for for state in known.values()):
            known = {}
        now = Branch(session.id, place.ref) if branch is None else replace(branch)
        if now.ref != place.ref:  # this machine goes by another name now
            now.ref, now.pushed, now.folded = place.ref, "", False
        anew = not known
        try:
            for snapshot in self._missing(session, vault, now):
                states = self._commit(session, vault, snapshot, now, known, anew=anew and known == {})
                known |= {state.entry.name: state for state in states}
        finally:
            self._segments.rest()
        return now, list(known.values()), anew

    def _missing(self, session: Session, vault: SessionVault, branch: Branch) -> list[Snapshot]:
        """The checkpoints behind the branch's, in order; of those committed in the catalog."""
        known = set(self._catalog.checkpoint_ids(session.id))
        kept = [snapshot for snapshot in vault.snapshots() if snapshot.id in known]
        ids = [snapshot.id for snapshot in kept]
        if branch.tip and branch.checkpoint in ids:
            return kept[ids.index(branch.checkpoint) + 1 :]
        if branch.tip:  # it is no longer kept here
            return [snapshot for snapshot in kept if snapshot.at > branch.checkpoint_at]
        return kept

    def _commit(
        self,
        session: Session,
        vault: SessionVault,
        snapshot: Snapshot,
        branch: Branch,
        known: dict[str, FileState],
        *,
        anew: bool,
    ) -> list[FileState]:
        commit = _Commit()
        roles = {file.name: file.role for file in self._catalog.files(session.id).values()}
        free = max((state.entry.number for state in known.values()), default=-1) + 1
        before = self._gate.taken.copy()
        with self._cache.writing() as writer:
            for name, file in sorted(vault.files(snapshot.id).items()):
                if self._stays_here(session, name):
                    continue
                state = known.get(name)
                number = state.entry.number if state is not None else free
                free += state is None
                role = roles.get(name, Role.COMPANION)
                made = self._file(session, vault, file, state, number, role, branch.tip, commit, writer)
                if made is not None:
                    commit.states.append(made)
            files = {**known, **{state.entry.name: state for state in commit.states}}
            self._write_manifest(session, snapshot, files, known, commit, writer, anew=anew)
            branch.tip = writer.commit(
                branch.ref,
                branch.tip,
                snapshot.at,
                f"{session.name} {snapshot.id}" if self._seal is None else "checkpoint",
                commit.changes,
                removed=("files", "list", "seg") if anew and branch.tip else (),
            )
        branch.checkpoint, branch.checkpoint_at = snapshot.id, snapshot.at
        for kind, count in (self._gate.taken - before).items():
            self._emit("secret_redacted", session=session.name, kind=kind, count=count)
        return commit.states

    def _stays_here(self, session: Session, name: str) -> bool:
        """Whether a file is not archived: earlier versions of a project's files are git's business there."""
        is_history = session.ref.source == "claude" and name.startswith("file-history/")
        return is_history and not self._config.archive.file_history

    # --- the manifest

    def _write_manifest(
        self,
        session: Session,
        snapshot: Snapshot,
        files: dict[str, FileState],
        known: dict[str, FileState],
        commit: _Commit,
        writer: Writer,
        *,
        anew: bool,
    ) -> None:
        pages = pages_of([state.entry for state in files.values()])
        manifest = self._manifest(session, snapshot, len(pages) if len(pages) > 1 else 0, files)
        if manifest.listed:
            changed = {state.entry.number // LISTED for state in commit.states}
            changed |= set(range(len(pages))) if anew or len(known) <= LISTED else set()
            for number in sorted(changed):
                mark = writer.blob(self._stored(encode(pages[number])))
                commit.changes.append((list_path(number), mark))
        commit.changes.append((MANIFEST, writer.blob(self._stored(encode(manifest)))))

    def _manifest(
        self, session: Session, snapshot: Snapshot, listed: int, files: dict[str, FileState]
    ) -> Manifest:
        key = session.project_key or ""
        is_remote = bool(key) and not key.startswith(("/", "unknown:", "path:"))
        local_path = _local_path(session)
        for name in (session.key, local_path, *files):
            if self._names.names_secret(name) and (name == session.key or self._seal is None):
                raise RedactionFailed(
                    f"the name of a file of session {session.name} holds a secret, or its id does",
                    hint="rename it, or put it into privacy.allow, then `sessiond ctl retry`",
                )
        said, here = session.summary.context, self._context
        rules = {state.rules for state in files.values() if not state.entry.exact}
        return Manifest(
            schema=SCHEMA,
            session_id=session.key,
            source=session.ref.source,
            machine=self._machine(),
            checkpoint=Point(
                id=snapshot.id,
                at=rfc3339(snapshot.at),
                trigger=self._text(snapshot.trigger),
                alias=self._text(snapshot.alias),
            ),
            host=self._text(self._host),
            title=self._text(str(snapshot.meta.get("title", ""))),
            project=self._text(session.project or ""),
            project_hash=project_hash(key) if key else "",
            remote=self._text(key) if is_remote else "",
            local_path=local_path,
            size=int(snapshot.meta.get("size", 0)),
            context=Context(
                repo=self._text(said.repo or here.repo),
                branch=self._text(said.branch or session.summary.branch or here.branch),
                commit=self._text(said.commit or here.commit),
                issue=said.issue or here.issue,
                pr=said.pr or here.pr,
                run_id=said.run_id or here.run_id,
            ),
            rules=", ".join(sorted(rules)),
            listed=listed,
            files=[] if listed else sorted((s.entry for s in files.values()), key=lambda entry: entry.number),
        )

    def _text(self, text: str) -> str:
        return self._gate.text(text)[0]

    # --- a file

    def _file(
        self,
        session: Session,
        vault: SessionVault,
        file: StoredFile,
        state: FileState | None,
        number: int,
        role: Role,
        tip: str,
        commit: _Commit,
        writer: Writer,
    ) -> FileState | None:
        """Store what is new of a file; None where nothing is."""
        deleted_at = rfc3339(file.deleted_at) if file.deleted_at is not None else ""
        if state is not None:
            same = (state.generation, state.length, state.root) == (file.generation, file.length, file.root)
            if same and (state.entry.deleted_at, state.entry.role) == (deleted_at, role.value):
                return None
            if same:
                entry = msgspec.structs.replace(state.entry, role=role.value, deleted_at=deleted_at)
                return msgspec.structs.replace(state, entry=entry)
        by_lines = file.name.endswith(".jsonl")
        run = _Run(self._gate, self._pack, self._stored, writer, commit, number, file.name)

        def stored(start: int) -> Iterator[bytes]:
            return vault.read(file.name, file.generation, file.length, start=start, root=file.root)

        if by_lines and state is not None and _goes_on(state, file):
            root = self._root(session, vault, state, tip)
            run.go_on(state, root)
            run.grow(stored(state.raw))
        else:
            if state is not None and self._seal is None:
                run.aligned = self._lines(tip, state)
            if by_lines:
                run.grow(stored(0))
            else:
                run.whole(b"".join(stored(0)))
        self._keep_root((session.id, number), run.root.copy())
        made = run.end(file, role.value, deleted_at, self._gate.rules)
        made.sealed = self._sealed_for
        return made

    @property
    def _sealed_for(self) -> str:
        return "" if self._seal is None else self._seal.id

    def _pack(self, data: bytes) -> bytes:
        """What is stored of a segment."""
        packed = self._segments.pack(data)
        return packed if self._seal is None else self._seal(packed)

    def _stored(self, data: bytes) -> bytes:
        """What is stored of anything else, which git packs where it is in clear."""
        return data if self._seal is None else self._pack(data)

    # --- what is in the newest commit

    def _lines(self, tip: str, state: FileState, first: int = 0) -> list[Line]:
        """Where a file's bytes lie, from a page on."""
        found: list[Line] = []
        for page in range(first, state.entry.pages):
            data = self._read(f"{tip}:{page_path(state.entry.number, page)}", state.entry.name)
            found += _ours(partial(decode_page, data, state.entry.name))
        return found

    def _root(self, session: Session, vault: SessionVault, state: FileState, tip: str) -> Root:
        """The root at the end of the whole lines, to go on from: kept, or from at most a leaf of bytes."""
        kept = self._roots.get((session.id, state.entry.number))
        if kept is not None and kept.size == state.stored and kept.peaks == state.peaks:
            return kept.copy()
        begin = state.stored - state.stored % Root.LEAF_BYTES
        name = state.entry.name
        if state.clean:
            last = b"".join(vault.read(name, state.generation, state.raw, start=begin))
        else:
            lines, first = [*state.page], state.lines // LINES
            while first and (not lines or lines[0].offset > begin):
                first -= 1
                lines = self._lines(tip, state, first)
            last = b"".join(
                self._segment(tip, line, name)[max(0, begin - line.offset) :]
                for line in lines
                if begin < line.end <= state.stored
            )
        return _ours(lambda: Root.resume(state.stored, state.peaks, last))

    def _segment(self, tip: str, line: Line, name: str) -> bytes:
        data = self._read(f"{tip}:{segment_path(line.segment)}", name)
        return _ours(lambda: unpack(data, line, name))

    def _read(self, path: str, name: str) -> bytes:
        data = self._cache.read(path, at_most=BLOB_BYTES)
        if data is None:  # perhaps it was written only just now
            self._cache.publish()
            data = self._cache.read(path, at_most=BLOB_BYTES)
        if data is None:
            raise GitFailed(
                f"The archive's local copy lacks something of {name}.", hint="Nothing to do: it is made anew."
            )
        return data

    def _keep_root(self, key: tuple[int, int], root: Root) -> None:
        self._roots.pop(key, None)
        self._roots[key] = root
        if len(self._roots) > KEPT:
            self._roots.popitem(last=False)


class _Run:
    """One file on its way into one commit."""

    def __init__(
        self,
        gate: Gate,
        pack: Callable[[bytes], bytes],
        stored: Callable[[bytes], bytes],
        writer: Writer,
        commit: _Commit,
        number: int,
        name: str,
    ) -> None:
        self.root = Root()
        self.aligned: Sequence[Line] = ()
        """Where the file was cut before: it is cut there again while the segments stay the same."""
        self._gate = gate
        self._pack = pack
        self._stored = stored
        self._writer = writer
        self._commit = commit
        self._number = number
        self._name = name
        self._raw = 0
        self._lines = 0
        self._page: list[Line] = []
        self._clean = True
        self._searched: list[tuple[int, str]] = []
        self._begun = 0
        self._torn = b""
        self._cut = 0
        self._buffer = bytearray()

    def go_on(self, state: FileState, root: Root) -> None:
        """Begin behind the whole lines that are stored already."""
        self.root = root
        self._raw, self._lines, self._page = state.raw, state.lines, [*state.page]
        self._clean = state.clean
        # What an earlier version stored says nothing of its rules.
        self._searched = state.searched or [(0, "")]
        self._begun = state.stored

    def grow(self, blocks: Iterable[bytes]) -> None:
        """Take in lines; the end of the last one may be missing."""
        rest: list[bytes] = []
        for block in blocks:
            end = block.rfind(b"\n") + 1
            if end:
                self._clear(b"".join((*rest, block[:end])))
                rest = []
            rest.append(block[end:])
        self._flush()
        self._torn = b"".join(rest)

    def whole(self, data: bytes) -> None:
        """Take in a file that only makes sense as a whole."""
        self._clear(data)
        self._flush()

    def end(self, file: StoredFile, role: str, deleted_at: str, rules: str) -> FileState:
        """Write the last page; returns how far the file is."""
        root, peaks, lines = self.root.copy(), self.root.peaks, [*self._page]
        stored, exact = self.root.size, self._clean
        if self._torn:
            cleared, _ = self._gate.data(self._name, self._torn)
            exact = exact and cleared == self._torn
            cuts = range(0, len(cleared), SEGMENT_BYTES)
            lines += [self._store(cleared[at : at + SEGMENT_BYTES], root) for at in cuts]
        searched = self._searched
        if not searched or searched[-1][1] != rules:
            searched = [*searched, (self._begun, rules)]
        full = (self._lines - len(self._page)) // LINES
        for at in range(0, len(lines), LINES):
            self._write_page(full + at // LINES, lines[at : at + LINES])
        entry = ArchivedFile(
            number=self._number,
            name=self._name,
            role=role,
            length=root.size,
            root=root.hexdigest(),
            pages=full + -(-len(lines) // LINES),
            generation=file.generation,
            exact=exact,
            deleted_at=deleted_at,
        )
        return FileState(
            entry=entry,
            generation=file.generation,
            length=file.length,
            root=file.root,
            raw=self._raw,
            stored=stored,
            lines=self._lines,
            page=self._page,
            peaks=peaks,
            clean=self._clean,
            rules="" if exact else rules,
            searched=searched,
        )

    def _clear(self, data: bytes) -> None:
        cleared, _ = self._gate.data(self._name, data)
        self._clean = self._clean and cleared == data
        self._raw += len(data)
        self._buffer += cleared
        self._align()
        while not self.aligned and len(self._buffer) > SEGMENT_BYTES:
            cut = self._buffer.rfind(b"\n", 0, SEGMENT_BYTES) + 1
            self._add(self._store(self._taken(cut or SEGMENT_BYTES), self.root))

    def _align(self) -> None:
        """Cut where it was cut before; what has become the same segment need not be written again."""
        while self._cut < len(self.aligned) and len(self._buffer) >= self.aligned[self._cut].length:
            old = self.aligned[self._cut]
            data = bytes(self._buffer[: old.length])
            if old.offset != self.root.size or name_of(self._pack(data)) != old.segment:
                break
            self.root.update(self._taken(old.length))
            self._add(old)
            self._cut += 1
        else:
            if self._cut < len(self.aligned):
                return  # more may come
        self.aligned = ()

    def _flush(self) -> None:
        self.aligned = ()
        while self._buffer:
            cut = len(self._buffer)
            if cut > SEGMENT_BYTES:
                cut = self._buffer.rfind(b"\n", 0, SEGMENT_BYTES) + 1 or SEGMENT_BYTES
            self._add(self._store(self._taken(cut), self.root))

    def _taken(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    def _store(self, data: bytes, root: Root) -> Line:
        blob = self._pack(data)
        line = Line(root.size, len(data), name_of(blob))
        self._commit.changes.append((segment_path(line.segment), self._writer.blob(blob)))
        root.update(data)
        return line

    def _add(self, line: Line) -> None:
        self._page.append(line)
        self._lines += 1
        if len(self._page) == LINES:
            self._write_page(self._lines // LINES - 1, self._page)
            self._page = []

    def _write_page(self, page: int, lines: Sequence[Line]) -> None:
        mark = self._writer.blob(self._stored(encode_page(lines)))
        self._commit.changes.append((page_path(self._number, page), mark))


def _goes_on(state: FileState, file: StoredFile) -> bool:
    """Whether a file has only grown since."""
    return state.generation == file.generation and state.raw <= state.length <= file.length


def _ours(read: Callable[[], T]) -> T:
    """Read from the local copy, whose damage is no damage of the archive."""
    try:
        return read()
    except (CopyError, ValueError) as problem:
        raise GitFailed(
            f"The archive's local copy is damaged: {problem}", hint="Nothing to do: it is made anew."
        ) from problem


def _local_path(session: Session) -> str:
    try:
        return session.location.relative_to(session.root).as_posix()
    except ValueError:
        return session.location.name

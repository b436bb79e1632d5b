"""Which sessions can be restored, by whatever is left that knows of them: state, vault, plain copies.

With the state lost, or on a machine that never had one, the copies themselves say what they are of.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from sessionsync.catalog import NAMED, Catalog, Session
from sessionsync.errors import AmbiguousSession, CopyError, NoSuchSession
from sessionsync.model import Ref
from sessionsync.peek import leading_id
from sessionsync.project_names import Names
from sessionsync.remote.placements import Placements
from sessionsync.sources.places import SESSIONS
from sessionsync.sources.roles import PAPERS
from sessionsync.vault import Vault
from sessionsync.vault.folder import component

_STRUCTURED = ("context.json", "checkpoints", "metrics.json", "artifacts")
NEAR = 3  # ids that are offered where none fits


@dataclass(frozen=True, slots=True)
class Known:
    """A session that something knows of.

    `ref` is what its copies are kept under, `session_id` its own id, which differs where two sessions of
    one machine had the same; of a session that is one file it is its path below its project or the agent's
    folder.  `projects` are the folders of the local copies it may lie in, the likeliest first.
    `project_key` and `folder`, where it was begun (of all but transcripts: its project), are '' where that
    is not known; `project_hash` is what an issue says of the key.  `issue` is where its record lies, 0
    where that is not known, and `revision` the record's where that holds the newest checkpoint here, else 0.
    """

    ref: Ref
    session_id: str
    projects: tuple[str, ...] = ()
    project_key: str = ""
    project_hash: str = ""
    folder: str = ""
    title: str = ""
    changed_at: float = 0.0
    issue: int = 0
    revision: int = 0

    @property
    def name(self) -> str:
        """`source:key`, as messages name it."""
        return f"{self.ref.source}:{self.ref.session_id}"


def of_session(session: Session, catalog: Catalog) -> Known:
    """What the state knows of a session."""
    is_transcript = session.ref.source == "claude"
    sent = Placements(catalog.store).newest_sent(session.id)
    is_sent = session.dirty_since is None and session.pushed_checkpoint == session.checkpoint
    return Known(
        ref=session.stored_as,
        session_id=session.ref.session_id,
        projects=(session.project or "unknown",),
        project_key=session.project_key or "",
        folder=_folder(session) if is_transcript else str(session.root),
        title=session.summary.title,
        changed_at=session.modified_at,
        issue=sent.issue if sent is not None else 0,
        revision=sent.revision if sent is not None and is_sent else 0,
    )


def _folder(session: Session) -> str:
    """Where a transcript was begun, or, where that is on another machine, the project that it is of here."""
    began, root = session.summary.cwd, session.project_root or ""
    is_here = began.startswith("/") and Path(began).is_dir()
    return began if is_here or not root or not Path(root).is_dir() else root


class Cupboard:
    """The local copies, searched without the state."""

    def __init__(self, vault: Vault, vault_dir: Path, mirror_dir: Path) -> None:
        self._vault = vault
        self._vault_dir = vault_dir
        self._mirror_dir = mirror_dir

    def sessions(self) -> Iterator[Known]:
        """Every session that a local copy is of, once for each project folder that it lies in."""
        yield from self.versioned()
        yield from self.plain()

    def versioned(self, besides: Iterable[Ref] = ()) -> Iterator[Known]:
        """Those in the vault; none of those `besides`."""
        for project, ref in self._vault.sessions(besides):
            yield Known(ref, own_id(ref), (project,))

    def folders_of(self, ref: Ref) -> list[str]:
        """The project folders in which something of a session lies."""
        places = [(self._vault_dir, component(f"{ref.source}.{ref.session_id}"))]
        places += [(self._mirror_dir, component(ref.session_id, ending=end)) for end in ("", ".jsonl")]
        found = [
            project.name
            for folder, name in places
            for project in _entries(folder)
            if not project.name.startswith(".") and os.path.exists(f"{project.path}/{name}")  # noqa: PTH110
        ]
        return list(dict.fromkeys(found))

    def described(self, session: Known) -> Known:
        """The session with what its vaults and the names of projects tell of it."""
        keys = {name: key for key, name in Names(self._mirror_dir).known().items()}
        for project in session.projects:
            vault = self._vault.open(project, session.ref)
            said = vault.description()
            title = next((s.meta["title"] for s in reversed(vault.snapshots()) if s.meta.get("title")), "")
            changed_at = max((snapshot.at for snapshot in vault.snapshots()), default=0.0)
            session = replace(
                session, title=session.title or str(title), changed_at=max(session.changed_at, changed_at)
            )
            if said is not None and session.ref.source != "claude":
                session = _lies(session, Path(str(said.meta.get("location", ""))))
            key = (said.project_key if said is not None else "") or keys.get(project, "")
            if not session.project_key and not key.startswith("unknown:"):
                session = replace(session, project_key=key)
        return session

    def strangers(self, known: Collection[Ref]) -> Iterator[tuple[Known, list[str]]]:
        """The sessions that copies tell of and that are not `known`, and where copies of each are.

        As of one that a hook saw, and no daemon since; or that was adopted from an older backup.
        """
        found: dict[Ref, tuple[Known, list[str]]] = {}
        for name, sessions in (("mirror", self.plain(known)), ("vault", self.versioned(known))):
            with suppress(CopyError):  # a folder that is closed is said where it hurts
                for session in sessions:
                    if session.ref not in known:
                        found.setdefault(session.ref, (session, []))[1].append(name)
        for session, copies in found.values():
            told = session
            with suppress(CopyError):
                told = self.described(session)
            yield told, copies

    def plain(self, besides: Iterable[Ref] = ()) -> Iterator[Known]:
        """Those with a plain copy; none of those `besides`, at whose copies nobody looks."""
        names = {component(ref.session_id) for ref in besides}
        for project in _entries(self._mirror_dir):
            if project.name.startswith(".") or not project.is_dir(follow_symlinks=False):
                continue
            for entry in _entries(project.path):
                if entry.name.removesuffix(".jsonl") in names:
                    continue
                if (ref := _said_by(entry, project.name)) is not None:
                    yield Known(ref, own_id(ref), (project.name,), changed_at=_changed_at(entry))


def _lies(session: Known, location: Path) -> Known:
    """The session with what the place that it lay in tells."""
    parts = location.parts
    if session.ref.source == "structured" and len(parts) > 3:
        return replace(session, session_id=location.name, folder=str(location.parents[2]))
    if session.ref.source in PAPERS and len(parts) > 3:
        below = next((n for n in range(len(parts) - 3, 0, -1) if parts[n : n + 2] == SESSIONS), 0)
        root = Path(*parts[: below or -2])
        return replace(session, session_id=location.relative_to(root).as_posix(), folder=str(root))
    return session


def _said_by(entry: os.DirEntry[str], project: str) -> Ref | None:
    """Which session an entry in a project's folder of plain copies is of; None for what is set aside."""
    name = entry.name.removesuffix(".jsonl")
    is_id = leading_id(name) != ""
    if entry.is_dir(follow_symlinks=False):
        for source in PAPERS:
            if name.startswith(f"{source}.{project}."):
                return Ref(source, name)
        is_data = any(Path(entry.path, file).exists() for file in _STRUCTURED)
        return None if name.startswith(".") else Ref("structured" if is_data or not is_id else "claude", name)
    return Ref("claude", name) if is_id and name != entry.name and "." not in name else None


def _changed_at(entry: os.DirEntry[str]) -> float:
    """When a plain copy grew last; of a folder, when something in it came or went; 0 where it is gone."""
    try:
        return entry.stat(follow_symlinks=False).st_mtime
    except OSError:
        return 0.0


def own_id(ref: Ref, path: str = "") -> str:
    """A session's own id, as far as the name its copies are kept under tells it, and `path`, where it lay.

    People choose the ids of all but transcripts, by their place: relative to the project.
    """
    if ref.source in PAPERS and path:
        return path
    if ref.source == "structured" and (named := PurePosixPath(path).name):
        return named
    return (leading_id(ref.session_id) if ref.source == "claude" else "") or ref.session_id


def resolve(text: str, catalog: Catalog | None, cupboard: Cupboard) -> Known | None:
    """The session of this machine that a person means by `text`: an id, `source:id`, or its beginning.

    Raises:
        AmbiguousSession: several are meant.
    """
    if catalog is not None:
        try:
            found = of_session(catalog.resolve(text), catalog)
        except AmbiguousSession:
            raise
        except NoSuchSession:
            pass
        else:
            # it went under a provisional name until it said which project it is of
            others = [name for name in cupboard.folders_of(found.ref) if name not in found.projects]
            return replace(found, projects=(*found.projects, *others))
    meant = pick(text, cupboard.sessions())
    return None if meant is None else cupboard.described(meant)


def pick(text: str, sessions: Iterable[Known]) -> Known | None:
    """The one session meant by `text`; an exact id comes before the beginning of one.

    Raises:
        AmbiguousSession: several are meant.
    """
    merged: dict[Ref, Known] = {}
    for session in sessions:
        known = merged.setdefault(session.ref, session)
        more = tuple(name for name in session.projects if name not in known.projects)
        merged[session.ref] = replace(known, projects=known.projects + more)
    source, _, rest = text.partition(":")
    ways: list[Callable[[Ref], bool]] = [
        lambda ref: ref.source == source and ref.session_id == rest,
        lambda ref: ref.session_id == text,
        lambda ref: bool(text) and ref.session_id.startswith(text),
        lambda ref: ref.source == source and bool(rest) and ref.session_id.startswith(rest),
    ]
    for fits in ways:
        found = [session for ref, session in merged.items() if fits(ref)]
        if len(found) == 1:
            return found[0]
        if found:
            names = [*(session.name for session in found[:NAMED]), *["and others"] * (len(found) > NAMED)]
            raise AmbiguousSession(
                f"{text!r} is more than one session: {', '.join(names)}.",
                hint="Give more of its id, or name it as source:id.",
            )
    return None


def unknown(text: str, ids: Sequence[str], *, asked: str, hint: str) -> NoSuchSession:
    """The error for an id that nobody knows, with the ids that come near it; `asked` is who was asked.

    `hint` says what to do where none comes near.
    """
    from difflib import get_close_matches  # noqa: PLC0415 - only for errors

    word = text.rpartition(":")[2].lower()
    near = get_close_matches(word, sorted(set(ids)), n=NEAR, cutoff=0.6)
    for length in range(len(word) - 1, 3, -1):  # a UUID mistyped at its end has the same beginning
        if near:
            break
        near = sorted(one for one in set(ids) if one.lower().startswith(word[:length]))[:NEAR]
    did_you_mean = f"Did you mean {' or '.join(near)}? " if near else ""
    return NoSuchSession(f"No session {text!r} is known {asked}.", hint=f"{did_you_mean}{hint}")


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []

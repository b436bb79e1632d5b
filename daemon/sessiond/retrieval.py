"""What can be restored on this machine: its settings, its copies, its state, and GitHub where it is set up.

Needs no daemon, and does without the state where that is lost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sessionsync import __version__, projects
from sessionsync.catalog import Catalog, Session
from sessionsync.config import Config, Paths, load, paths
from sessionsync.errors import (
    AmbiguousSession,
    ArchiveUnreadable,
    CopyError,
    CopyMismatch,
    NoSuchSession,
    NotConfirmed,
    RemoteError,
    RestoreError,
    StoreError,
)
from sessionsync.events import silent
from sessionsync.forgotten import meant, was_forgotten
from sessionsync.hands import Hands, R, W
from sessionsync.model import Ref, rfc3339
from sessionsync.paths import claude_root
from sessionsync.peek import PEEK_BYTES, first_cwd, is_session_id
from sessionsync.project_names import Names
from sessionsync.remote.archive.address import address_of
from sessionsync.remote.archive.refs import encode
from sessionsync.restore import (
    PAPERS,
    AgentTarget,
    Choice,
    Copy,
    Cupboard,
    FileTarget,
    KeptShelf,
    Known,
    MirrorShelf,
    OutTarget,
    ProjectTarget,
    Restored,
    Shelf,
    Shelves,
    Target,
    VaultShelf,
    beside_agent,
    head_of,
    home_of,
    in_project,
    is_of,
    is_own,
    of_session,
    project_of,
    put_back,
    resolve,
    unknown,
)
from sessionsync.restore.copies import main_of
from sessionsync.restore.target import Allowed, project_folder
from sessionsync.store import Store
from sessionsync.tombstones import Tombstones
from sessionsync.vault import Mirror, Vault

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from sessionsync.remote.archive.refs import Place
    from sessionsync.remote.archive.tree import Manifest
    from sessionsync.remote.github import GitHub
    from sessionsync.restore.archived import ArchiveShelf
    from sessionsync.restore.records import Filed, RecordShelf

Json = dict[str, Any]
Ask = Callable[[str], bool]
"""Asks a person, who says yes or no."""

SHOWN = 20
LISTED = "`sessiond list` shows the known ones."
# Threads beside the one that writes: a copy's reader has no more in their hands (`vault.session.AHEAD`).
HANDS = 2


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line says about one restore."""

    origin: str = ""
    at: str = ""
    cwd: Path | None = None
    out: Path | None = None
    force: bool = False
    issue: int = 0
    """What people said on it is put behind its context file."""
    yes: bool = False
    ask: Ask | None = None
    """Asks a person; None where nobody is there."""
    progress: Callable[[int, int], object] = lambda _done, _total: None
    """Is told (bytes written, bytes in all)."""


def strangers(
    config: Config, catalog: Catalog, project: Path | None = None, archived: Sequence[Place] = ()
) -> list[tuple[Known, list[str]]]:
    """The sessions that the state does not know, of a project's folder or all, and where copies of each are.

    Plain copies tell of them, and the archive, of which only the names of what is `archived` are known.
    """
    backup = config.backup
    cupboard = Cupboard(Vault(backup.vault_dir), backup.vault_dir, backup.mirror_dir)
    known = {ref for _, ref in catalog.stored()}
    tombstones = Tombstones(backup.mirror_dir)
    found = [
        (session, copies)
        for session, copies in cupboard.strangers(known)
        if not tombstones.holds(session.ref.source, session.ref.session_id)
    ]
    if project is not None:
        key = projects.identify(str(project)).key
        return [(session, copies) for session, copies in found if is_of(session, key)]
    here = {(ref.source, encode(ref.session_id)) for ref in known}
    places = {(place.source, place.session): place for place in archived}
    for place in (place for key, place in places.items() if key not in here):
        ref = Ref(place.source, place.session_id)
        if not tombstones.holds(ref.source, ref.session_id):
            found.append((Known(ref, ref.session_id), ["archive"]))
    return found


class Restoring:
    """This home's copies and what is known of them; GitHub where there is a repository and a token."""

    def __init__(
        self,
        config: Config,
        catalog: Catalog | None,
        records: RecordShelf | None,
        archive: ArchiveShelf | None = None,
        returned: Path | None = None,
        hands: Hands = map,
    ) -> None:
        self._returned = returned
        self._hands = hands
        backup = config.backup
        vault, mirror = Vault(backup.vault_dir, hands=hands), Mirror(backup.mirror_dir)
        plain = MirrorShelf(mirror, vault, self._seen)
        shelves: list[Shelf] = [plain, VaultShelf(vault), KeptShelf(backup.vault_dir)]
        self.records = records
        self.archive = archive
        shelves += [records] if records is not None else []
        shelves += [archive] if archive is not None else []
        self.shelves = Shelves(shelves)
        self.notes: list[str] = []
        self.config = config
        self.catalog = catalog
        self._cupboard = Cupboard(vault, backup.vault_dir, backup.mirror_dir)
        self._names = Names(backup.mirror_dir)
        self._here = _here()

    @cached_property
    def _key(self) -> str:
        """The current folder's project: git is asked, so only where it counts."""
        return projects.identify(str(self._here)).key

    @property
    def remarks(self) -> list[str]:
        """What a person should know of what was looked for and not found, or not read."""
        archived = self.archive.notes if self.archive is not None else []
        return [*self.notes, *self.shelves.notes, *archived]

    # --- which session

    def find(self, text: str, origin: str = "") -> Known:
        """The session that a person means: of this machine, else of the repository, else of the archive.

        With a whole id and the archive as `origin` GitHub is not asked, which would list every comment.

        Raises:
            NoSuchSession: nobody knows it; the hint offers those that come near.
            AmbiguousSession: several are meant.
        """
        found = resolve(text, self.catalog, self._cupboard)
        if found is not None:
            return found
        if origin == "archive" and self.archive is not None and is_session_id(text.rpartition(":")[2]):
            if (archived := self.archive.named(text, self._key)) is None:
                raise self._unknown(text, [], ["on this machine", "in the archive"])
            return replace(archived, projects=tuple(self._cupboard.folders_of(archived.ref)))
        ids = [session.ref.session_id for session in self._cupboard.sessions()]
        if self.catalog is not None:
            ids += [session.key for session in self.catalog.sessions()]
        asked = ["on this machine"]
        if self.records is not None:
            filed = self.records.named(text, self._key)
            if filed:
                return self._recorded(_only(text, filed, self._key))
            ids += [record.session_id for record in self.records.all(self._key)]
            asked.append("in the repository's issues")
        if self.archive is not None:
            if (archived := self.archive.named(text, self._key)) is not None:
                return replace(archived, projects=tuple(self._cupboard.folders_of(archived.ref)))
            asked.append("in the archive")
        raise self._unknown(text, ids, asked)

    def _unknown(self, text: str, ids: Sequence[str], asked: Sequence[str]) -> NoSuchSession:
        """Why nobody knows a session: it was forgotten here, or never was."""
        if (ref := meant(Tombstones(self.config.backup.mirror_dir), text)) is not None:
            return was_forgotten(ref)
        return unknown(text, ids, asked=" or ".join(asked), hint=self.hint(LISTED))

    def hint(self, usual: str) -> str:
        """What to do where a session was not found: as `usual`, but where this machine knows of none."""
        here = iter(self._local()) if self.catalog is not None else self._cupboard.sessions()
        if any(True for _ in here):
            return usual
        if self.archive is not None or self.records is not None:
            return (
                "Nothing is known on this machine yet. `sessiond continue` finds the sessions of the project"
                " in whose folder it runs, `sessiond restore ID` any by its id."
            )
        return (
            "Nothing is known on this machine yet. Set archive.url or github.repo to where the other machine"
            " sends its sessions, then `sessiond continue` in the project's folder."
        )

    def about(self, issue: int, pull: int) -> Known:
        """The newest session about an issue or a pull request."""
        what = f"issue {issue}" if issue else f"pull request {pull}"
        filed = self._ask(lambda records: records.about(issue=issue, pull=pull, here=self._key))
        known = [
            of_session(session, catalog)
            for catalog, session in self._local()
            if (issue and session.summary.context.issue == issue)
            or (pull and session.summary.context.pr == pull)
        ]
        known = known if known or filed else self._archived(lambda said: _is_about(said, issue, pull))
        return self._newest(known, filed, f"about {what}", besides="context")

    def context_of(self, issue: int) -> Known | None:
        """An issue's own context file, that of the current folder's project first; None if none is known."""
        filed = self._ask(lambda records: records.about(issue=issue, here=self._key))
        known = [
            of_session(session, catalog)
            for catalog, session in self._local()
            if session.ref.source == "context" and session.summary.context.issue == issue
        ]
        its = [
            each for each in filed if each.record.source == "context" and each.record.context.issue == issue
        ]
        found = self._merged(known, its)
        return next((each for each in found if is_of(each, self._key)), next(iter(found), None))

    def latest(self) -> Known:
        """The newest session of the current folder's project."""
        return self._newest(*self._of_project(), f"of the project of {self._here}")

    def of_project(self) -> list[Known]:
        """Every session of the current folder's project, newest first."""
        known, filed = self._of_project()
        return self._merged(known, filed)

    def everything(self) -> dict[Known, list[str]]:
        """Every session that the copies on this machine, the records and the archive tell of, newest first.

        And where it can be restored from.  What only the archive has is known by its id alone.
        """
        held: dict[Ref, list[str]] = {}
        for name, sessions in (("mirror", self._cupboard.plain()), ("vault", self._cupboard.versioned())):
            for session in sessions:
                held.setdefault(session.ref, []).append(name)
        filed = self._ask(lambda records: records.all(self._key))
        for record in filed:
            held.setdefault(record.known().ref, []).extend(["github"] if record.contents is not None else [])
        described = {session.ref: session for session in self._named_in_archive()}
        for session in described.values():
            held.setdefault(session.ref, []).append("archive")
        described |= {each.ref: self._cupboard.described(each) for each in self._cupboard.sessions()}
        return {
            session: list(dict.fromkeys(held[session.ref]))
            for session in self._merged(list(described.values()), filed)
        }

    def _of_project(self) -> tuple[list[Known], list[Filed]]:
        from sessionsync.report import is_in  # noqa: PLC0415 - who names a session does not wait for it

        filed = self._ask(lambda records: records.of_project(self._key))
        lying = self._lying_here()
        known = [
            found
            for catalog, session in self._local()
            if is_of(found := of_session(session, catalog), self._key)
            or is_in(session, self._here)
            or session.ref in lying
        ]
        if self.catalog is None:
            described = (self._cupboard.described(each) for each in self._cupboard.sessions())
            known = [each for each in described if is_of(each, self._key)]
        if not known and not filed:
            from sessionsync.remote.comments import project_hash  # noqa: PLC0415 - as above

            sought = project_hash(self._key)
            known = self._archived(lambda said: said.project_hash == sought)
        return known, filed

    def _lying_here(self) -> set[Ref]:
        """What the agent has for this folder, also what was put here from another with --cwd."""
        root = self._agent() / "projects"
        folder = root / project_folder(root, str(self._here), os.environ)
        return {Ref("claude", path.stem) for path in folder.glob("*.jsonl")}

    def _named_in_archive(self) -> list[Known]:
        if self.archive is None:
            return []
        try:
            return self.archive.names()
        except RemoteError as error:
            self.notes.append(f"The archive was not asked: {error}")
            return []

    def _archived(self, fits: Callable[[Manifest], bool]) -> list[Known]:
        """What the archive has that fits; asked where neither this machine nor GitHub knows of any."""
        if self.archive is None:
            return []
        try:
            found = self.archive.told(fits)
        except ArchiveUnreadable as error:
            self.notes.append(f"{error} {error.hint}")
            return []
        except (RemoteError, CopyError, AmbiguousSession) as error:
            self.notes.append(f"The archive was not asked: {error}")
            return []
        return [replace(each, projects=tuple(self._cupboard.folders_of(each.ref))) for each in found]

    def _local(self) -> list[tuple[Catalog, Session]]:
        catalog = self.catalog
        return [] if catalog is None else [(catalog, session) for session in catalog.sessions()]

    def _newest(self, known: list[Known], filed: list[Filed], what: str, besides: str = "") -> Known:
        """The newest; one of the source `besides` only where there is no other: it is put back as well."""
        found = self._merged(known, filed)
        found = [session for session in found if session.ref.source != besides] or found
        if not found:
            self.check_asked(what)
            raise NoSuchSession(
                f"There is no session {what}.",
                hint=self.hint("`sessiond list` shows the known ones; name one by its id."),
            )
        if len(found) > 1:
            self.notes.append(f"Of {len(found)} sessions {what} this is the newest: {found[0].name}.")
        return found[0]

    def check_asked(self, what: str) -> None:
        """See that whoever may know of a session was heard, before it is said that there is none.

        Raises:
            RestoreError: somebody was not.
        """
        if self.notes:
            raise RestoreError(f"Whether there is a session {what} is not known: {self.notes[0]}")

    def _merged(self, known: list[Known], filed: list[Filed]) -> list[Known]:
        """What is known and what the repository tells, each session once, newest first.

        Of what the archive alone tells of there is no more than an id: the record says the rest.
        """
        merged = {session.ref: session for session in known}
        for record in filed:
            session = self._recorded(record)
            here = merged.setdefault(session.ref, session)
            merged[session.ref] = replace(
                here,
                title=here.title or session.title,
                project_key=here.project_key or session.project_key,
                project_hash=here.project_hash or session.project_hash,
                issue=here.issue or session.issue,
                changed_at=max(here.changed_at, session.changed_at),
            )
        return sorted(merged.values(), key=lambda session: -session.changed_at)

    def _recorded(self, filed: Filed) -> Known:
        session = filed.known()
        return replace(session, projects=tuple(self._cupboard.folders_of(session.ref)))

    def _ask(self, question: Callable[[RecordShelf], list[Filed]]) -> list[Filed]:
        if self.records is None:
            return []
        try:
            return question(self.records)
        except RemoteError as error:
            self.notes.append(f"GitHub was not asked: {error}")
            return []

    # --- what there is of it

    def _seen(self, session: Known) -> dict[str, int]:
        """How many bytes of each file the state has seen on the disk."""
        known = None if self.catalog is None else self.catalog.named(session.ref.session_id)
        if self.catalog is None or known is None or known.stored_as != session.ref:
            return {}
        files = self.catalog.files(known.id).values()
        return {file.name: max(file.length, file.size) for file in files if not file.is_rewritten}

    def listing(self, session: Known, origin: str) -> Json:
        """`restore ID --list`."""
        from sessionsync.restore.examine import Examiner  # noqa: PLC0415 - as above

        copies = self.shelves.copies(session, origin)
        listed = [
            {
                "from": copy.origin,
                "checkpoint": copy.checkpoint,
                "alias": copy.alias,
                "at": rfc3339(copy.at),
                "size": examined.size,
                "sha256": examined.sha256,
                "exact": copy.exact,
                "complete": examined.complete,
            }
            for copy, examined in zip(copies, Examiner().examine(copies), strict=True)
        ]
        # a version of the record that is kept here too is one version
        alone = [each for number, each in enumerate(listed) if each not in listed[:number]]
        return {
            "id": session.ref.session_id,
            "source": session.ref.source,
            "title": session.title,
            "copies": alone,
        }

    # --- putting it back

    def put_back(self, session: Known, wish: Wish) -> Restored:
        """Put a session back as the command line wishes; see `sessionsync.restore.put_back`."""
        chosen = self.shelves.choose(session, origin=wish.origin, at=wish.at)
        if wish.issue and session.ref.source == "context":
            self._discuss(chosen, wish.issue)
        done = put_back(
            session,
            chosen,
            lambda copy: self._target(session, copy, wish),
            confirm=lambda copy: self._confirm(session, copy, wish),
            settle=lambda copy, target: self._settle(session, copy, target),
            keep_in=self.config.backup.mirror_dir,
            now=time.time(),
            alive=is_alive,
            force=wish.force,
            progress=wish.progress,
            hands=self._hands,
        )
        if self._returned is not None and wish.out is None:
            from sessionsync.stats import returns  # noqa: PLC0415 - as above

            returns.note(self._returned, session.name, time.time())
        return done

    def _discuss(self, chosen: Choice, issue: int) -> None:
        """Put what people have said on an issue since behind the copy of its context file that is taken."""
        records = self.records
        if records is None:
            return
        from sessionsync.restore.discussion import discussed  # noqa: PLC0415 - only where GitHub is asked

        try:
            said = records.said(issue)
        except RemoteError as error:
            self.notes.append(f"What was said on issue {issue} since is not in it: {error}")
            return
        for number, copy in enumerate(chosen.copies):
            try:
                chosen.copies[number], made = discussed(copy, said, counts=records.counts)
            except CopyMismatch:
                continue  # another is taken, and says why
            if made.added:
                chosen.notes.append(
                    f"{_comments(made.added)} at its end: what was said on issue {issue} since."
                )
            if made.strangers:
                outside = "by people whom the repository does not know"
                chosen.notes.append(f"{_comments(made.strangers)} {outside}, and left out.")
            return

    def live(self, session: Known) -> Target | None:
        """Where a session lies that the agent can resume as it is; None where it must be put back first."""
        if session.ref.source != "claude":
            folder = Path(session.folder or "/")
            try:
                place = self._beside(session, folder, None)
            except RestoreError:  # nothing tells where it lay
                return None
            return place if folder.is_dir() and place.present() else None
        agent = self._agent()
        places = (AgentTarget(agent, session.session_id, Path(f), os.environ) for f in self._folders(session))
        return next((place for place in places if place.has_transcript()), None)

    def _folders(self, session: Known) -> list[str]:
        """The folders of this machine that a session may be resumed in."""
        return [folder for folder in (session.folder, str(self._here)) if folder and Path(folder).is_dir()]

    def _target(self, session: Known, copy: Copy, wish: Wish) -> Target:
        allowed = None
        if not self._is_mine(copy):
            allowed = partial(is_own, session.ref.source, session.session_id)
        if wish.out is not None:
            return OutTarget(wish.out.absolute(), allowed)
        is_transcript = session.ref.source == "claude"
        began = _began(session, copy)
        if session.ref.source in PAPERS:
            session = _lying(session, copy)
            if beside_agent(session.session_id) is not None:
                return self._beside(session, self._here, allowed)  # it lies in no project
        if wish.cwd is not None:
            home = wish.cwd.absolute()
            key = projects.identify(str(home)).key
            if (session.project_key or session.project_hash) and not is_of(session, key):
                its = session.project_key or "another"
                self.notes.append(f"{home} is of the project {key}, the session of {its}.")
        elif is_transcript and session.ref in self._lying_here():
            home = self._here
        else:
            home = home_of(session, began, self._here)
        if not is_transcript:
            if wish.cwd is None and str(home) != session.folder:
                home = Path(projects.identify(str(home)).root)
            return self._beside(session, home, allowed)
        return AgentTarget(self._agent(), session.session_id, home, os.environ)

    def _beside(self, session: Known, project: Path, allowed: Allowed | None) -> Target:
        """Where a session that is no transcript lies: in its project, or where the agent keeps notes."""
        if session.ref.source not in PAPERS:
            return ProjectTarget(project, session.session_id, allowed)
        path = session.session_id
        if (steps := beside_agent(path)) is not None:
            return FileTarget(self._agent(), steps, None)
        return FileTarget(project, in_project(path), Path(os.path.realpath(project)))

    def _settle(self, session: Known, copy: Copy, target: Target) -> None:
        """Put down which project a session from another machine is of, before anybody captures it here."""
        if target.home is None:
            return
        # a structured session's folder says it; a transcript's lines do, wherever it lies
        began = _began(session, copy) if session.ref.source == "claude" else str(target.home)
        home = project_of(session, began, target.home)
        if home is None:
            return
        try:
            self._names.put_down(target.known_as, began, home)
        except CopyError as error:
            self.notes.append(f"It may be taken for one of another project from here on: {error}")

    def _agent(self) -> Path:
        """The agent's folder: its own, where that is watched, else the first that is."""
        roots, own = self.config.claude_roots(os.environ), claude_root(os.environ)
        return own if own in roots else roots[0]

    def _is_mine(self, copy: Copy) -> bool:
        """Whether a copy is from this disk, or by the token's own account; not where GitHub does not say."""
        return not copy.author or copy.author.lower() == self._login().lower()

    def _login(self) -> str:
        """The token's own login; '' where nobody says."""
        try:
            return self.records.login if self.records is not None else ""
        except RemoteError:
            return ""

    def _confirm(self, session: Known, copy: Copy, wish: Wish) -> None:
        """Ask before somebody else's session is put back; who is unknown is not somebody else."""
        login = self._login() if copy.author else ""
        if not login or self._is_mine(copy):
            return
        said = f"Session {session.name} is {copy.author}'s, as GitHub says; you are {login}."
        if wish.yes:
            self.notes.append(said)
        elif wish.ask is None:
            raise NotConfirmed(said, hint="With --yes it is restored all the same.")
        elif not wish.ask(f"{said} Restore it?"):
            raise NotConfirmed(f"{said} It was not restored.", hint="With --yes nothing is asked.")


@contextmanager
def opened() -> Iterator[Restoring]:
    """What there is on this machine, and the repository where one is set up."""
    with ExitStack() as ends:
        where = paths(os.environ)
        config = load(os.environ, where.config_file)
        catalog, problem = None, ""
        if where.state_db.exists():
            try:
                store = Store(where.state_db, read_only=True)
            except StoreError as error:
                problem = f"The state is not used, only the copies themselves: {error}"
            else:
                ends.callback(store.close)
                catalog = Catalog(store)
        github = github_of(config)
        if github is not None:
            ends.callback(github.close)
        records = None
        if github is not None:
            from sessionsync.restore.records import RecordShelf  # noqa: PLC0415 - only where it is asked

            records = RecordShelf(github, authors=config.github.authors, issue=config.github.issue)
        archive = open_archive(config, where, ends)
        restoring = Restoring(config, catalog, records, archive, where.returns, _hands(ends))
        restoring.notes += [problem] if problem else []
        yield restoring


def _hands(ends: ExitStack) -> Hands:
    """Threads that unpack what comes next while this one writes; begun where a copy has several pieces."""
    pools: list[Executor] = []

    def hands(step: Callable[[W], R], work: Iterable[W]) -> Iterable[R]:
        if not pools:
            from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as long as a short restore takes

            pools.append(ends.enter_context(ThreadPoolExecutor(HANDS, "hand")))
        return pools[0].map(step, work)

    return hands


def open_archive(config: Config, where: Paths, ends: ExitStack) -> ArchiveShelf | None:
    """The archive, through the same local copy that the daemon fills; None where none is set up."""
    address = address_of(config)
    if address is None:
        return None
    from sessiond import memory  # noqa: PLC0415 - only where there is one
    from sessiond.token import find_token  # noqa: PLC0415
    from sessionsync.archiving import CACHE, COLD  # noqa: PLC0415
    from sessionsync.privacy.seal import Unseal  # noqa: PLC0415
    from sessionsync.remote.archive.cache import Cache  # noqa: PLC0415
    from sessionsync.remote.archive.fold import Cold  # noqa: PLC0415
    from sessionsync.remote.archive.git import Git  # noqa: PLC0415
    from sessionsync.remote.archive.host import Host  # noqa: PLC0415
    from sessionsync.remote.archive.reader import Reader  # noqa: PLC0415
    from sessionsync.restore.archived import ArchiveShelf  # noqa: PLC0415

    memory.keep()  # an identity, and what it opens, is nobody else's to read
    token = find_token(os.environ, config.github.api_url) if address.repo or address.is_loopback else None
    git = Git(
        address,
        os.environ,
        where.state_dir / "git",
        token=lambda: token.value if token is not None else "",
    )
    cache, cold = Cache(where.state_dir / CACHE, git), Cold(git, where.state_dir / COLD)
    ends.callback(cache.close)
    ends.callback(cold.close)
    unseal = Unseal(config.archive.identity_file)
    return ArchiveShelf(Reader(cache, Host(git), cold, unseal), time.time())


def github_of(config: Config) -> GitHub | None:
    """A client for the repository in the settings, which the caller closes; None without one or a token."""
    settings = config.github
    if not settings.repo:
        return None
    from sessiond.token import find_token  # noqa: PLC0415 - as above

    if (token := find_token(os.environ, settings.api_url)) is None:
        return None
    from sessionsync.remote.github import GitHub  # noqa: PLC0415

    return GitHub(
        repo=settings.repo,
        api_url=settings.api_url,
        token=lambda: token.value,
        user_agent=f"sessiond/{__version__}",
        wall=time.time,
        monotonic=time.monotonic,
        emit=silent,
    )


def _comments(count: int) -> str:
    return "1 comment is" if count == 1 else f"{count} comments are"


def _is_about(said: Manifest, issue: int, pull: int) -> bool:
    return bool((issue and said.context.issue == issue) or (pull and said.context.pr == pull))


def _lying(session: Known, copy: Copy) -> Known:
    """A session that is one file with the place where it lay; the usual one, where only its name is left."""
    main = main_of(copy)
    if "/" in session.session_id or main is None:
        return session
    return replace(session, session_id=f".claude/sessions/{main.name}")


def _here() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise RestoreError(
            "The folder that this runs in is gone.", hint="Change into another one."
        ) from error


def _began(session: Known, copy: Copy) -> str:
    """The folder that a session was begun in: of a transcript the first one that its lines name."""
    if session.ref.source != "claude":
        return session.folder
    head = head_of(copy, PEEK_BYTES)
    return first_cwd(head, whole=len(head) < PEEK_BYTES) or session.folder


def _only(text: str, filed: Sequence[Filed], key: str) -> Filed:
    """The one record that is meant; of several, the current project's."""
    here = [record for record in filed if is_of(record.known(), key)]
    meant = here if len(here) == 1 else filed
    if len(meant) > 1:
        names = ", ".join(f"{record.known().name} (issue {record.issue})" for record in meant[:SHOWN])
        raise AmbiguousSession(
            f"{text!r} is more than one session: {names}.",
            hint="Give more of the id, or change into the project's folder.",
        )
    return meant[0]


def is_alive(pid: int) -> bool:
    """Whether a process of this number lives."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True

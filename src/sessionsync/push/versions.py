"""This machine's version of a session: its bytes are in the vault, its record is through the privacy gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from sessionsync.catalog import Catalog, Checkpoint, Session
from sessionsync.config import Config
from sessionsync.conflict import Ours
from sessionsync.digests import Digests
from sessionsync.elsewhere import Stored
from sessionsync.errors import NoSuchCheckpoint
from sessionsync.events import Emit
from sessionsync.model import CheckpointEntry, Context, Role, Tier, rfc3339
from sessionsync.privacy.gate import Gate
from sessionsync.remote import comments
from sessionsync.remote.github import Repository
from sessionsync.remote.issues import Whose
from sessionsync.remote.placements import Placements
from sessionsync.remote.tiers import tier_of
from sessionsync.vault import SessionVault, StoredFile, Vault


class OwnVersions:
    """Makes the record of a session as this machine alone would send it, and says whose it is."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        vault: Vault,
        placements: Placements,
        digests: Digests,
        gate: Gate,
        config: Config,
        host: str,
        machine: Callable[[], str],
        context: Context,
        emit: Emit,
    ) -> None:
        self.machine = machine
        """This machine's name as it is now: the archive may give it another."""
        self.context = context
        """The CI job that it runs in, if any; what a session says of itself goes before it."""
        self._catalog = catalog
        self._vault = vault
        self._placements = placements
        self._digests = digests
        self._gate = gate
        self._config = config
        self._host = host
        self._emit = emit

    def at(self, session: Session, checkpoint: Checkpoint) -> Ours:
        """A session's version at a checkpoint.

        Raises:
            CopyError: its bytes cannot be read.
            RedactionFailed: the gate could not judge a text.
        """
        roles = {file.name: file.role for file in self._catalog.files(session.id).values()}
        vault = self._vault.open(session.project or "unknown", session.stored_as)
        stored = [
            file
            for file in vault.files(checkpoint.id).values()
            if file.deleted_at is None and roles.get(file.name, Role.COMPANION) is not Role.COMPANION
        ]
        with self.telling_redactions(session):
            draft = self._draft(session, checkpoint, vault, stored)
        files = {file.name: Stored(vault, file) for file in stored}
        return Ours(files, draft, comments.content_hash(draft), roles)

    def newest(self, session: Session) -> Ours:
        """A session's version at its newest checkpoint; as `at`.

        Raises:
            NoSuchCheckpoint: it has none yet.
        """
        if session.checkpoint is None:
            raise NoSuchCheckpoint(
                f"Session {session.name} has no checkpoint yet.",
                hint=f"Make one: sessiond ctl checkpoint {session.key}",
            )
        return self.at(session, self._catalog.checkpoint(session, session.checkpoint))

    def whose(self, session: Session, repository: Repository) -> Whose:
        """A session as the issues of a repository know it."""
        return Whose(
            name=session.name,
            key=session.key,
            source=session.ref.source,
            project_key=session.project_key or f"path:{session.root}",
            project=session.project or "unknown",
            issue=self._issue_of(session) or self._config.github.issue,
            sent=self._placements.sent(session.id, repository.id),
        )

    @contextmanager
    def telling_redactions(self, session: Session) -> Iterator[None]:
        """Tell of every secret that the gate takes out meanwhile."""
        before = self._gate.taken.copy()
        yield
        for kind, count in (self._gate.taken - before).items():
            self._emit("secret_redacted", session=session.name, kind=kind, count=count)

    def _issue_of(self, session: Session) -> int:
        """The issue that the session or the CI job names, unless it is of another repository than these."""
        said, here, ours = session.summary.context, self.context, self._config.github.repo.lower()
        is_ours = not said.repo or said.repo.lower().split("/")[-2:] == ours.split("/")
        return (said.issue if is_ours else 0) or (here.issue if here.repo.lower() in {"", ours} else 0)

    def _draft(
        self, session: Session, checkpoint: Checkpoint, vault: SessionVault, stored: Sequence[StoredFile]
    ) -> comments.Draft:
        summary = checkpoint.summary or session.summary
        tier = session.tier or Tier.GITHUB_ONLY
        points = [
            point
            for point in self._catalog.checkpoints(session.id)
            if (point.at, point.id) <= (checkpoint.at, checkpoint.id)
        ]
        told = {entry.id: entry for entry in summary.critical.checkpoints}
        told |= {point.id: CheckpointEntry(point.id, rfc3339(point.at), point.trigger) for point in points}
        contents = None
        if tier is Tier.GITHUB_ONLY:
            contents = [
                (file.name, b"".join(vault.read(file.name, file.generation, file.length, root=file.root)))
                for file in stored
            ]
        return comments.clear(
            self._gate,
            session_id=session.key,
            source=session.ref.source,
            tier=tier,
            size=checkpoint.size,
            summary=summary,
            checkpoints=sorted(told.values(), key=lambda entry: (entry.at, entry.id)),
            project=session.project or "",
            local_path=_local_path(session),
            host=self._host,
            machine=self.machine(),
            updated_at=rfc3339(checkpoint.at),
            context=self._context_of(session),
            files=[self._digests.of(session, vault, file) for file in stored] if contents is None else None,
            contents=contents,
            promoted_from=self._grown_from(points, tier),
            archived=self._config.has_archive,
        )

    def _grown_from(self, points: Sequence[Checkpoint], tier: Tier) -> Tier | None:
        """The tier that a session was in before its own, as the sizes of its checkpoints tell."""
        limits = self._config.tiers
        were = {
            tier_of(
                point.size,
                None,
                github_only_bytes=limits.github_only_bytes,
                hybrid_bytes=limits.hybrid_bytes,
            )
            for point in points
        }
        below = (each for each in were if each.rank < tier.rank)
        return max(below, key=lambda each: each.rank, default=None)

    def _context_of(self, session: Session) -> Context:
        said, here = session.summary.context, self.context
        key = session.project_key or ""
        return Context(
            repo=said.repo or here.repo or (key.partition("/")[2] if key.startswith("github.com/") else ""),
            branch=said.branch or session.summary.branch or here.branch,
            commit=said.commit or here.commit,
            issue=said.issue or here.issue,
            pr=said.pr or here.pr,
            run_id=said.run_id or here.run_id,
        )


def _local_path(session: Session) -> str:
    try:
        return session.location.relative_to(session.root).as_posix()
    except ValueError:
        return session.location.name

"""The engine, assembled from settings: what `sessiond run` and `sessiond sync --once` both drive."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from sessiond.process import LOOK_S
from sessiond.token import Token, find_token
from sessionsync import __version__, age, projects
from sessionsync.capture import Capture
from sessionsync.catalog import Catalog
from sessionsync.config import Config, Paths
from sessionsync.errors import AlreadyRunning, ConfigError, CopyError, DiskFull, StoreFull
from sessionsync.events import Emit
from sessionsync.forget.rows import Forgettings
from sessionsync.model import rfc3339
from sessionsync.paths import home
from sessionsync.privacy.gate import Gate
from sessionsync.project_names import Names
from sessionsync.queue import Queue
from sessionsync.remote.archive.address import Address, address_of
from sessionsync.remote.archive.ledger import CURRENT
from sessionsync.sources import Source
from sessionsync.sources.claude import Claude
from sessionsync.sources.contexts import Contexts
from sessionsync.sources.messages import Messages
from sessionsync.sources.notes import Notes
from sessionsync.sources.places import Places
from sessionsync.sources.structured import Structured
from sessionsync.store import Store, open_or_set_aside
from sessionsync.vault import Mirror, Vault

if TYPE_CHECKING:  # what sends is imported where there is something to send to: a tenth of a second
    from sessiond.worker import Assignment
    from sessionsync.archiving import Archiving
    from sessionsync.forget.here import Forget
    from sessionsync.gather import Gather
    from sessionsync.privacy.seal import Seal
    from sessionsync.pull import Pull
    from sessionsync.push import Push
    from sessionsync.remote.archive.reader import Reader
    from sessionsync.remote.github import GitHub
    from sessionsync.remote.placements import Placements

# Threads that wait for the disk, or compress, beside the one that captures; they start when first needed.
HANDS = 3
# Workers of a process that was killed hold the vault until the disk lets go of them.
LETS_GO_S = 5.0


class Engine:
    """State, copies, sources, capture and push of one home.

    `push`, and `pull` with it, is None while there is no repository or no token, `archiving` while no archive
    is set: then everything stays local.
    """

    def __init__(self, environ: Mapping[str, str], config: Config, paths: Paths, emit: Emit) -> None:
        now = time.time()
        self.environ = environ
        self.config = config
        self.paths = paths
        self._emit = emit
        self.beat: Callable[[], None] = lambda: None
        """Called while the archive is read for who pushes, at least every second and with each object."""
        self.store, aside = _open_state(paths, now)
        if aside is not None:
            emit("state_set_aside", file=str(aside))
        if self.store.put_aside is not None:
            emit("state_migrated", copy=str(self.store.put_aside))
        self.catalog = Catalog(self.store)
        self.queue = Queue(self.store)
        self.machine = self.store.meta("machine", lambda: _made_up(4))
        self.state_id = self.store.meta("state", lambda: _made_up(8))
        self._ends = ExitStack()
        hands = self._ends.enter_context(ThreadPoolExecutor(HANDS, "hand")).map
        self.mirror = Mirror(config.backup.mirror_dir, hands)
        self.vault = Vault(config.backup.vault_dir, emit, hands)
        self.vault_trouble: DiskFull | None = None
        """Why nothing can be written into the vault, since before the start; see `hold_vault`."""
        self._first_seen = self.hold_vault(now, wait_s=LETS_GO_S)
        self.queue.recover(now)
        self.catalog.clamp(now)
        self.places = Places(self._project_folders, emit)
        self.sources: list[Source] = [
            Claude(config.claude_roots(environ), emit),
            # notes come first: one whose title has a `/` in it lies in a folder, as structured sessions do
            Notes(self.places, emit, [*config.claude_roots(environ), home(environ) / ".claude"]),
            Contexts(self.places, emit),
            Messages(self.places, emit),
            Structured(self.places, emit),
        ]
        names = Names(config.backup.mirror_dir)
        with suppress(CopyError):  # said where the next name is to be written down
            names.keep(self.catalog.project_names())
        self.capture = Capture(
            catalog=self.catalog,
            queue=self.queue,
            mirror=self.mirror,
            vault=self.vault,
            sources=self.sources,
            names=names,
            config=config,
            first_seen=self._first_seen,
            emit=emit,
            everything_new=self.is_passing,
            hands=hands,
        )
        self.forgotten = Forgettings(self.store).names()
        """Sessions that were being forgotten when this process began."""
        if self.forgotten:
            with suppress(CopyError, StoreFull):  # the next start tries again
                self.forget.finish()
        self.token: Token | None = None
        self.token_problem: ConfigError | None = None
        self.push: Push | None = None
        self.pull: Pull | None = None
        self.archiving: Archiving | None = None
        self.gather: Gather | None = None
        self._offline: Push | None = None
        self.connect()
        self.connect_archive()

    @cached_property
    def placements(self) -> Placements:
        """What is known of the records on GitHub."""
        from sessionsync.remote.placements import Placements  # noqa: PLC0415 - as above

        return Placements(self.store)

    @cached_property
    def forget(self) -> Forget:
        """Who removes sessions everywhere."""
        from sessionsync.elsewhere import Elsewhere  # noqa: PLC0415 - as above
        from sessionsync.forget.here import Forget  # noqa: PLC0415

        return Forget(
            catalog=self.catalog,
            queue=self.queue,
            mirror=self.mirror,
            vault=self.vault,
            elsewhere=Elsewhere(self.config.backup.vault_dir, self._emit),
            emit=self._emit,
        )

    def hold_vault(self, now: float, *, wait_s: float = 0.0) -> float:
        """Take the vault for writing, or say in `vault_trouble` why that has to wait; when it was first used.

        A full or read-only disk keeps nothing else from going on.  Whoever holds it has `wait_s` to let go.

        Raises:
            SessiondError: it cannot be used for another reason.
        """
        try:
            self._lock_vault(time.monotonic() + wait_s)
            first = self.store.meta("first_seen", lambda: repr(self.vault.first_used(now)))
        except DiskFull as error:
            self.vault_trouble = error
            self.vault.refuse(error)
            return float(self.store.meta("first_seen") or now)
        self.vault_trouble = None
        return float(first)

    def _lock_vault(self, until: float) -> None:
        while True:
            try:
                self._ends.enter_context(self.vault.lock())
            except AlreadyRunning:
                if time.monotonic() >= until:
                    raise
                time.sleep(LOOK_S)
            else:
                return

    def keep_vault(self, now: float) -> None:
        """Take the vault anew where the lock went with its folder; for the writer's thread.

        Raises:
            SessiondError: another process has it by now, or it cannot be used.
        """
        if self.vault_trouble is not None or self.vault.is_held():
            return
        try:
            self.hold_vault(now)
        except AlreadyRunning as error:  # nor is what is captured on the way out written beside the other
            self.vault.refuse(CopyError(str(error), hint=error.hint))
            raise

    def clock_set_back(self, now: float, by_s: float) -> None:
        """The clock was set by so many seconds, which are below 0: nothing that is kept waits for longer.

        Raises:
            StoreError: it cannot be written.
        """
        with self.store.transaction():
            self.catalog.clock_set_back(now, by_s)
            self.queue.clock_set_back(now)

    def assignment(self) -> Assignment:
        """What a worker of this engine goes by."""
        from sessiond.worker import Assignment  # noqa: PLC0415 - only where there are some

        roots = self.config.claude_roots(self.environ)
        return Assignment(self.config, list(roots), self._first_seen, self.is_passing)

    @property
    def is_passing(self) -> bool:
        """Whether this home is gone soon, as a runner's in CI: then nothing is kept for later."""
        return self.environ.get("CI") == "true"

    def _project_folders(self) -> Iterator[Path]:
        """Projects whose `.claude/sessions` is watched: by the settings, and by what transcripts name."""
        home = Path(self.environ.get("HOME", "/"))
        for pattern in self.config.sources.projects:
            folder = Path(pattern).expanduser() if not pattern.startswith("~") else home / pattern[2:]
            base = Path(folder.anchor)
            yield from base.glob(str(folder.relative_to(base)))
        for folder in self.catalog.project_roots():
            if projects.watchable(folder):
                yield folder

    def look_for_token(self) -> Token | None:
        """The token that would be used now; None without a repository, or with a `token_problem`."""
        settings = self.config.github
        problem = None
        try:
            archive = address_of(self.config)
            wanted = settings.repo or (archive is not None and (archive.repo or archive.is_loopback))
            return find_token(self.environ, settings.api_url) if wanted else None
        except ConfigError as error:  # no reason to stop backing up
            problem = error
            return None
        finally:
            self.token_problem = problem

    def connect(self) -> bool:
        """Find the token and make the pusher anew; returns whether there is one now."""
        self.token = self.look_for_token()
        if self.push is not None:
            self.push.github.close()
            self.push = self.pull = None
        self._let_offline_go()
        github = self.client()
        if github is None:
            return False
        from sessionsync.pull import Pull  # noqa: PLC0415 - as above

        self.push = self._pusher(github)
        self.pull = Pull(
            push=self.push,
            catalog=self.catalog,
            queue=self.queue,
            placements=self.placements,
            emit=self._emit,
        )
        return True

    def judging(self) -> Push:
        """Who weighs and settles: the pusher, or where there is none one that sends nothing."""
        if self.push is not None:
            return self.push
        if self._offline is None:
            self._offline = self._pusher(self._client(lambda: ""), tells=False)
        return self._offline

    def _let_offline_go(self) -> None:
        if self._offline is not None:
            self._offline.github.close()
            self._offline = None

    def _pusher(self, github: GitHub, *, tells: bool = True) -> Push:
        from random import SystemRandom  # noqa: PLC0415 - as above

        from sessiond.ci import ci_context  # noqa: PLC0415
        from sessionsync.digests import Digests  # noqa: PLC0415
        from sessionsync.elsewhere import Elsewhere  # noqa: PLC0415
        from sessionsync.push import Push  # noqa: PLC0415

        gate, address = self._gate(), address_of(self.config)
        return Push(
            catalog=self.catalog,
            queue=self.queue,
            placements=self.placements,
            vault=self.vault,
            elsewhere=Elsewhere(self.config.backup.vault_dir, self._emit),
            digests=Digests(self.store, gate, self.mirror),
            github=github,
            gate=gate,
            config=self.config,
            host=os.uname().nodename,
            machine=lambda: self.machine,
            context=ci_context(self.environ),
            chance=SystemRandom(),
            emit=self._emit,
            archive=partial(self._open_archive, address) if address is not None else None,
            tells=tells,
        )

    def _gate(self) -> Gate:
        return Gate.of(self.config.privacy)

    def connect_archive(self) -> None:
        """Make the archive's step anew, and queue what the archive lacks; its loop lets the old one go."""
        config, address = self.config, address_of(self.config)
        self.archiving = self.gather = None
        self.store.set_meta(CURRENT, address.id if address is not None else "")
        if address is None:
            return
        from random import SystemRandom  # noqa: PLC0415 - as above

        from sessiond.ci import ci_context  # noqa: PLC0415
        from sessionsync.archiving import Archiving  # noqa: PLC0415
        from sessionsync.elsewhere import Elsewhere  # noqa: PLC0415
        from sessionsync.gather import Gather  # noqa: PLC0415
        from sessionsync.remote.archive.git import Git  # noqa: PLC0415

        def rename() -> str:
            self.machine = _made_up(4)
            self.store.set_meta("machine", self.machine)
            return self.machine

        def token() -> str:
            return self.token.value if self.token is not None else ""

        self.archiving = Archiving(
            address=address,
            git=Git(address, self.environ, self.paths.state_dir / "git", token=token),
            folder=self.paths.state_dir,
            catalog=self.catalog,
            queue=self.queue,
            vault=self.vault,
            gate=self._gate(),
            config=config,
            github=self.client,
            host=os.uname().nodename,
            machine=lambda: self.machine,
            rename=rename,
            context=ci_context(self.environ),
            chance=SystemRandom(),
            emit=self._emit,
            seal=_seal(config),
        )
        self.archiving.catch_up(time.time())
        self.gather = Gather(
            archive=partial(self._open_archive, address),
            name=address.id,
            push=self.judging,
            catalog=self.catalog,
            elsewhere=Elsewhere(config.backup.vault_dir, self._emit),
            gate=self._gate(),
            limits=(config.tiers.github_only_bytes, config.tiers.hybrid_bytes),
            machine=lambda: self.machine,
            ready=self._is_archive_there,
            emit=self._emit,
        )

    def _is_archive_there(self) -> bool:
        """Whether the archive can be asked: its own loop is in no trouble, and a folder was made."""
        archiving = self.archiving
        if archiving is None or not archiving.uplink.is_open:
            return False
        folder = archiving.address.folder
        return folder is None or folder.exists()

    @contextmanager
    def _open_archive(self, known: Address) -> Iterator[Reader]:
        """The archive for reading what others have put there; asked anew each time.

        Where the settings name none any more, as when they were read anew just now, it is the one `known`.
        """
        address = address_of(self.config) or known
        from sessionsync.archiving import CACHE, COLD  # noqa: PLC0415 - as above
        from sessionsync.privacy.seal import Unseal  # noqa: PLC0415
        from sessionsync.remote.archive.cache import Cache  # noqa: PLC0415
        from sessionsync.remote.archive.fold import Cold  # noqa: PLC0415
        from sessionsync.remote.archive.git import Git  # noqa: PLC0415
        from sessionsync.remote.archive.host import Host  # noqa: PLC0415
        from sessionsync.remote.archive.reader import Reader  # noqa: PLC0415

        state = self.paths.state_dir
        token = self.token
        git = Git(
            address,
            self.environ,
            state / "git",
            token=lambda: token.value if token is not None else "",
            beat=self.beat,
        )
        with closing(Cache(state / CACHE, git)) as cache, closing(Cold(git, state / COLD)) as cold:
            yield Reader(cache, Host(git), cold, Unseal(self.config.archive.identity_file))

    def client(self) -> GitHub | None:
        """A client for GitHub, which the caller closes; None without a repository or a token."""
        settings, token = self.config.github, self.token
        if token is None or not settings.repo:
            return None
        return self._client(lambda: token.value)

    def _client(self, token: Callable[[], str]) -> GitHub:
        from sessionsync.remote.github import GitHub  # noqa: PLC0415 - as above

        settings = self.config.github
        return GitHub(
            repo=settings.repo,
            api_url=settings.api_url,
            token=token,
            user_agent=f"sessiond/{__version__}",
            wall=time.time,
            monotonic=time.monotonic,
            emit=self._emit,
        )

    def reload(self, config: Config) -> None:
        """Apply new settings; what they do not touch goes on."""
        self.config = config
        self.capture.config = config
        self.connect()
        self.connect_archive()

    def close(self) -> None:
        """Commit what is captured and close the state."""
        self.capture.flush(time.time())
        if self.push is not None:
            self.push.github.close()
        self._let_offline_go()
        if self.archiving is not None:
            self.archiving.rest()
        self._ends.close()
        self.store.close()


def _made_up(size: int) -> str:
    """So many random bytes, in hex."""
    return os.urandom(size).hex()


def _seal(config: Config) -> Seal | None:
    """What encrypts the archive; None where it is not to be, or where the library is missing."""
    if not config.archive.encrypt_to:
        return None
    from sessionsync.privacy.seal import Seal  # noqa: PLC0415 - as above

    try:
        return Seal(config.archive.encrypt_to)
    except age.Unavailable:
        return None  # then nothing is archived, which the archive's step says


def _open_state(paths: Paths, now: float) -> tuple[Store, Path | None]:
    paths.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return open_or_set_aside(paths.state_db, rfc3339(now).replace(":", ""))

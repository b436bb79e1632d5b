"""The engine on a home of its own, with a time that the test moves: what most tests drive."""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sessionsync.capture import Capture
from sessionsync.catalog import Catalog, Session
from sessionsync.config import Config
from sessionsync.conflict import OpenArchive
from sessionsync.digests import Digests
from sessionsync.elsewhere import Elsewhere
from sessionsync.model import Context, Ref
from sessionsync.privacy.gate import Gate, Redacted
from sessionsync.project_names import Names
from sessionsync.push import Push
from sessionsync.queue import Queue
from sessionsync.remote.github import GitHub
from sessionsync.remote.placements import Placements
from sessionsync.sources import Source
from sessionsync.sources.claude import Claude
from sessionsync.sources.contexts import Contexts
from sessionsync.sources.messages import Messages
from sessionsync.sources.notes import Notes
from sessionsync.sources.places import Places
from sessionsync.sources.structured import Structured
from sessionsync.store import Store
from sessionsync.vault import Mirror, Vault

START = 1_790_000_000.0


class Events:
    """Remembers what was told."""

    def __init__(self) -> None:
        self.all: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: str, **fields: Any) -> None:
        self.all.append((event, fields))

    def named(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.all if name == event]


class Home:
    """Folders of one user: an agent's, the backups', the state's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agent = folder / "claude"
        self.mirror = folder / "mirror"
        self.vault = folder / "vault"
        self.state = folder / "state"
        self.project = folder / "work" / "app"
        for made in (self.agent / "projects", self.state, self.project):
            made.mkdir(parents=True, exist_ok=True)

    def config(self, **github: Any) -> Config:
        defaults = Config()
        return defaults._replace(
            backup=defaults.backup._replace(mirror_dir=self.mirror, vault_dir=self.vault),
            github=defaults.github._replace(**github),
        )

    def transcript(self, session_id: str | None = None) -> Path:
        """Where a new session's transcript lies, in the folder that Claude Code would use."""
        name = "".join(c if c.isascii() and c.isalnum() else "-" for c in str(self.project))
        folder = self.agent / "projects" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{session_id or uuid.uuid4()}.jsonl"

    def structured(self, session_id: str, project: Path | None = None) -> Path:
        folder = (project or self.project) / ".claude" / "sessions" / session_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def no_loop_fails(name: str, error: BaseException) -> None:
    """What a loop is given to tell of its end by an error: there is to be none."""
    raise AssertionError(name) from error


class Rig:
    """An engine.  Make another one over the same home to see what a restart sees."""

    def __init__(
        self, home: Home, *, now: float = START, settings: Config | None = None, ci: bool = False
    ) -> None:
        self.home = home
        self.now = now
        self.events = Events()
        self.config = settings or home.config()
        self.store = Store(home.state / "state.db")
        self.catalog = Catalog(self.store)
        self.queue = Queue(self.store)
        self.queue.recover(now)
        self.mirror = Mirror(home.mirror)
        self.vault = Vault(home.vault)
        self._lock = ExitStack()
        self._lock.enter_context(self.vault.lock())
        first_seen = float(self.store.meta("first_seen", lambda: repr(self.vault.first_used(now))))
        places = Places(self.projects, self.events)
        self.sources: list[Source] = [
            Claude([home.agent], self.events),
            Notes(places, self.events, [home.agent]),
            Contexts(places, self.events),
            Messages(places, self.events),
            Structured(places, self.events),
        ]
        self.capture = Capture(
            catalog=self.catalog,
            queue=self.queue,
            mirror=self.mirror,
            vault=self.vault,
            sources=self.sources,
            names=Names(home.mirror),
            config=self.config,
            first_seen=first_seen,
            emit=self.events,
            everything_new=ci,
        )
        self.chance = random.Random(0)

    def close(self) -> None:
        self._lock.close()
        self.store.close()

    def projects(self) -> list[Path]:
        return [self.home.project, *self.catalog.project_roots()]

    def scan(self, *, flush: bool = True) -> list[Ref]:
        """Look at everything that differs, and at everything that is due; returns what was looked at."""
        refs = list(dict.fromkeys([*self.capture.survey(), *self.capture.due(self.now)]))
        for ref in refs:
            self.capture.capture(ref, self.now)
        if flush:
            self.capture.flush(self.now)
        return refs

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.scan()

    def session(self, ref: Ref | None = None) -> Session:
        """The session of this name, or the only one."""
        if ref is not None:
            found = self.catalog.find(ref)
            assert found is not None
            return found
        (only,) = self.catalog.sessions()
        return only

    def restored(self, session: Session, checkpoint: str | None = None) -> dict[str, bytes]:
        """Every file of a session as the vault gives it back at a checkpoint."""
        vault = self.vault.open(session.project or "", session.stored_as)
        return {
            name: b"".join(vault.read(name, file.generation, file.length, root=file.root))
            for name, file in vault.files(checkpoint or session.checkpoint).items()
            if file.deleted_at is None
        }

    def mirrored(self, session: Session, name: str) -> bytes:
        return self.mirror.path_of(session.project or "", session.stored_as, name).read_bytes()


def line(
    kind: str, text: str, cwd: Path | str, *, session: str = "", at: str = "2026-09-21T10:00:00.000Z"
) -> bytes:
    """A transcript's line as an agent writes it."""
    content: Any = text if kind == "user" else [{"type": "text", "text": text}]
    message: dict[str, Any] = {"role": kind, "content": content}
    if kind == "assistant":
        message |= {"id": f"msg_{uuid.uuid4().hex}", "stop_reason": "end_turn", "model": "m"}
    entry = {
        "type": kind,
        "uuid": str(uuid.uuid4()),
        "parentUuid": None,
        "sessionId": session,
        "timestamp": at,
        "cwd": str(cwd),
        "version": "2.1.200",
        "gitBranch": "main",
        "message": message,
    }
    return json.dumps(entry).encode() + b"\n"


def boundary(cwd: Path | str) -> bytes:
    """The line that an agent writes when it has compacted its context."""
    return (
        json.dumps(
            {
                "type": "system",
                "subtype": "compact_boundary",
                "uuid": str(uuid.uuid4()),
                "parentUuid": None,
                "timestamp": "2026-09-21T10:00:00.000Z",
                "cwd": str(cwd),
                "compactMetadata": {"trigger": "auto", "preTokens": 1},
            }
        ).encode()
        + b"\n"
    )


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        for data in lines:
            file.write(data)


def write(folder: Path, files: Iterable[tuple[str, bytes]]) -> None:
    for name, data in files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def let_nothing_search(patch: pytest.MonkeyPatch, word: bytes) -> None:
    """Let the gate fail at whatever holds a word, as at what is nested too deep."""
    judge = Gate._redact

    def fails(gate: Gate, data: bytes, *, whole_json: bool) -> Redacted:
        if word in data:
            raise RecursionError
        return judge(gate, data, whole_json=whole_json)

    patch.setattr(Gate, "_redact", fails)


class Line:
    """A pusher on a rig: the same state, and the tests' GitHub at the other end."""

    def __init__(
        self,
        rig: Rig,
        url: str,
        *,
        token: str = "T",
        repo: str = "o/r",
        host: str = "laptop",
        machine: str = "0a1b2c3d",
        archive: OpenArchive | None = None,
        tells: bool = True,
        **github: Any,
    ) -> None:
        self.rig = rig
        self.machine = machine
        self.config = rig.config._replace(
            github=rig.config.github._replace(repo=repo, api_url=url, **github),
        )
        gate = Gate(redact=True)
        self.placements = Placements(rig.store)
        self.github = GitHub(
            repo=repo,
            api_url=url,
            token=lambda: token,
            user_agent="sessiond/test",
            wall=lambda: rig.now,
            monotonic=time.monotonic,
            emit=rig.events,
        )
        self.push = Push(
            catalog=rig.catalog,
            queue=rig.queue,
            placements=self.placements,
            vault=rig.vault,
            elsewhere=Elsewhere(rig.home.vault, rig.events),
            digests=Digests(rig.store, gate, rig.mirror),
            github=self.github,
            gate=gate,
            config=self.config,
            host=host,
            machine=lambda: self.machine,
            context=Context(),
            chance=rig.chance,
            emit=rig.events,
            archive=archive,
            tells=tells,
        )

    def close(self) -> None:
        self.github.close()

    def step(self) -> bool:
        """One item, with the waiting that the pace asks for; False when there was none."""
        steps = self.push.work(self.rig.now)
        try:
            wait = next(steps)
            while True:
                self.rig.now += wait
                wait = steps.send(self.rig.now)
        except StopIteration as end:
            return bool(end.value)

    def drain(self, most: int = 200) -> None:
        """Send until nothing waits, moving the time to whenever the pusher wants to go on."""
        for _ in range(most):
            if self.step():
                continue
            at = self.push.next_at(self.rig.now)
            if at is None:
                return
            self.rig.now = max(self.rig.now + 0.001, at)
        pytest.fail(f"still waiting: {self.rig.queue.items()}")

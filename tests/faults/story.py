"""A seeded story of sessions, crashes and a bad line, and the proof at its end that nothing is lost or doubled."""

from __future__ import annotations

import gc
import json
import os
import random
import re
import shutil
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sessionsync.catalog import Checkpoint, Session
from sessionsync.config import Config
from sessionsync.model import Ref, Tier
from sessionsync.remote import comments
from tests import arrived
from tests.fakes import faults
from tests.fakes.answers import Answer, Call
from tests.fakes.faults import Fault
from tests.fakes.github import FakeGitHub
from tests.fakes.world import Clock, Comment, Issue
from tests.faults.machine import Crash, Machine
from tests.rig import START, Home, Line, Rig, boundary, line

QUIET_S = 120
_UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
WORDS = (
    "session",
    "commit",
    "the",
    "parser",
    "waits",
    "green",
    "why",
    "again",
    "index",
    "of",
    "drops",
    "tests",
)


class SharedClock(Clock):
    """GitHub's clock goes with the story's."""

    story: Story | None = None

    def now(self) -> float:
        assert self.story is not None
        return self.story.now


class Lagging(FakeGitHub):
    """A GitHub whose lists show what is new only after so many seconds."""

    def __init__(self, seed: int, lag_s: float) -> None:
        super().__init__(seed=seed, frozen_at=START)
        self.lag_s = lag_s

    def serve(self, call: Call, arrived_s: float) -> tuple[Answer | None, Fault | None]:
        with self.lock:
            new: list[Issue | Comment] = [*self.issues.values(), *self.posts.values()]
            for thing in new:
                if thing.lag and self.now() - thing.created_at >= self.lag_s:
                    thing.lag = 0
        return super().serve(call, arrived_s)


@dataclass
class Live:
    """A session as its agent writes it: `versions` are all contents that each of its files ever had."""

    ref: Ref
    place: Path
    versions: dict[str, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def path(self, name: str) -> Path:
        """Where a file of this name lies."""
        if self.ref.source == "claude":
            return self.place.parent / name
        return self.place / name

    def names(self) -> list[str]:
        return [name for name in self.versions if self.path(name).exists()]

    def now(self) -> dict[str, bytes]:
        """What is on disk."""
        return {name: self.path(name).read_bytes() for name in self.names()}


class Story:
    """`tell` lets things happen until so many crashes have; `end` lets everything come to rest and checks it."""

    def __init__(self, folder: Path, seed: int, machine: Machine) -> None:
        self.chance = random.Random(seed)
        self.machine = machine
        self.home = Home(folder)
        self.gh = Lagging(seed, self.chance.choice((0, 2, 20)))
        self.gh.clock = SharedClock(frozen_at=START)
        self.crashes: list[str] = []
        self._now = START
        self._rig: Rig | None = None
        self._line: Line | None = None
        self._sessions: list[Live] = []
        self._issues: dict[Ref, int] = {}
        self._witnessed: dict[tuple[Ref, str], dict[str, bytes]] = {}
        # an issue that a session named once and names no more is not found again without the state
        self._may_lose_state = seed % 2 == 0
        self._captured: dict[tuple[Ref, str], set[bytes]] = defaultdict(set)
        SharedClock.story = self
        self.gh.add_repo("o/r", private=True)
        self.gh.token("T", login="me")

    def close(self) -> None:
        self._die()
        self.gh.close()

    @property
    def now(self) -> float:
        if self._rig is not None:
            self._now = max(self._now, self._rig.now)
        return self._now

    @property
    def rig(self) -> Rig:
        assert self._rig is not None
        return self._rig

    # --- what happens

    def tell(self, crashes: int) -> None:
        self._begin_sessions()
        self._set_faults()
        self._arm()
        while len(self.crashes) < crashes:
            self._pass(self.chance.choice((0.3, 5, 70, 130)))
            if self._survives():
                self._witness()
                if self.chance.random() < 0.9:
                    self._change()
            else:
                # not while the exception is handled: it holds what a crash at the start has left
                self._crash()

    def _survives(self) -> bool:
        try:
            with self.machine.running():
                self._live()
        except Crash:
            return False
        return True

    def _live(self) -> None:
        """One turn of the engine's life, as the daemon's loops drive it."""
        if self._rig is None:
            self._rig = Rig(self.home, now=self._now, settings=self._config())
            self._line = Line(self._rig, self.gh.url)
        rig, push = self._rig, self._line
        assert push is not None
        flush = self.chance.random() < 0.7
        rig.scan(flush=flush)
        if flush:
            for session in self._sessions:
                for name, data in session.now().items():
                    self._captured[session.ref, name].add(data)
        for _ in range(self.chance.randint(0, 4)):
            if not push.step() and (at := push.push.next_at(rig.now)) is not None:
                rig.now = max(rig.now, at)

    def _crash(self) -> None:
        power = self.chance.random() < 0.4
        self._die()
        self.machine.recover(power=power)
        lost = [
            f" and {what}"
            for what, is_lost in (("the power", power), ("the state", self._lose_state()))
            if is_lost
        ]
        self.crashes.append(self.machine.died_of + "".join(lost))
        self._arm()

    def _arm(self) -> None:
        if self.chance.random() < 0.7:
            self.machine.arm(int(self.chance.expovariate(1 / 60)))
        else:
            self.machine.arm(self.chance.randint(0, 6), self.chance.choice(("commit", "request")))

    def _lose_state(self) -> bool:
        """A state file that is lost, once it is known everywhere what was created."""
        things: list[Issue | Comment] = [*self.gh.issues.values(), *self.gh.posts.values()]
        young = max((thing.created_at for thing in things), default=0.0)
        if not self._may_lose_state or self.chance.random() < 0.9 or self.now - young <= self.gh.lag_s:
            return False
        if not all(live.names() for live in self._sessions):
            return False  # one that its agent deleted is not found again without the state
        (self.home.state / "state.db").unlink()
        return True

    def _die(self) -> None:
        """Leave nothing in memory, and tidy nothing up."""
        self._now = self.now
        rig, push, self._rig, self._line = self._rig, self._line, None, None
        if push is not None:
            push.close()
        if rig is not None:
            with suppress(Crash):
                rig._lock.__exit__(Crash, Crash(), None)
            rig.store._connection.close()
        del rig, push
        gc.collect()  # what a crash while it started has left is only held by its own frames

    def _pass(self, seconds: float) -> None:
        self._now = self.now + seconds
        if self._rig is not None:
            self._rig.now = self._now

    def _config(self) -> Config:
        config = self.home.config()
        return config._replace(
            tiers=config.tiers._replace(github_only_bytes=8_000, hybrid_bytes=25_000, comment_bytes=4096)
        )

    def _set_faults(self) -> None:
        writes = "POST|PATCH|DELETE"
        self.gh.behave(lag_reads=-1)
        self.gh.fault(
            faults.accept_then_drop(probability=0.08),
            faults.rule("drop", probability=0.03),
            faults.rule("truncate", probability=0.05, keep_bytes=self.chance.randint(0, 200)),
            faults.rule("malformed", probability=0.02),
            faults.server_error(502, probability=0.03),
            faults.server_error(500, effect=True, method=writes, probability=0.05),
            faults.limited(403, probability=0.02),
            faults.limited(429, retry_after_s=7, probability=0.02),
            faults.limited(403, wording="abuse", effect=False, probability=0.01),
        )

    # --- sessions

    def _begin_sessions(self) -> None:
        issue = self.gh.add_issue("o/r", title="A bug", login="me")
        other = self.home.folder / "work" / "lib"
        other.mkdir()
        for project in (self.home.project, self.home.project, other):
            name = str(self._uuid())
            folder = self.home.agent / "projects" / "".join(c if c.isalnum() else "-" for c in str(project))
            folder.mkdir(exist_ok=True)
            live = Live(Ref("claude", name), folder / f"{name}.jsonl")
            nameless = b'{"type":"mode","mode":"plan"}\n'  # says nothing yet of where it was started
            self._put(live, f"{name}.jsonl", nameless if project == other else self._lines(project, 3))
            self._sessions.append(live)
        self.gh.behave(comments_per_issue=self.chance.choice((4, 10, 2500)))
        for number in range(2):
            place = self.home.project / ".claude" / "sessions" / f"plan-{number}"
            live = Live(Ref("structured", place.name, str(self.home.project)), place)
            self._issues[live.ref] = issue * number
            self._put(live, "context.json", self._context(issue * number))
            self._sessions.append(live)

    def _change(self) -> None:
        for live in self.chance.sample(self._sessions, self.chance.randint(1, 3)):
            self._pass(0.01)
            if live.ref.source == "claude":
                self._change_transcript(live)
            else:
                self._change_folder(live)

    def _change_transcript(self, live: Live) -> None:
        main = live.place.name
        there = live.place.exists()
        data = live.place.read_bytes() if there else live.versions[main][-1]
        project = self.home.project
        match self.chance.choices(range(8), (40, 8, 6, 6, 4, 6, 6, 4))[0]:
            case 0:
                self._put(live, main, data + self._lines(project, self.chance.randint(1, 6)))
            case 1:  # torn, to be continued
                torn = self._lines(project, 1)
                self._put(live, main, data + torn[: self.chance.randrange(len(torn))])
            case 2:
                self._put(live, main, data[: self.chance.randrange(len(data) + 1)])
            case 3:  # rewritten from somewhere on, sometimes under another inode
                kept = data[: self.chance.randrange(min(len(data), 4096) + 1)]
                if self.chance.random() < 0.5:
                    live.place.unlink(missing_ok=True)
                self._put(live, main, kept + self._lines(project, self.chance.randint(1, 4)))
            case 4:
                live.place.unlink(missing_ok=True)
            case 5:
                agent = f"{live.ref.session_id}/subagents/agent-{self.chance.randrange(2)}.jsonl"
                was = live.path(agent).read_bytes() if live.path(agent).exists() else b""
                self._put(live, agent, was + self._lines(project, self.chance.randint(1, 3)))
            case 6:
                result = f"{live.ref.session_id}/tool-results/{self.chance.randrange(3)}.txt"
                self._put(live, result, self._text(300).encode())
            case _:  # back to what it was before
                self._put(live, main, self.chance.choice(live.versions[main]))

    def _change_folder(self, live: Live) -> None:
        match self.chance.randrange(6):
            case 0:
                said = self._context(self._issues[live.ref] * self._may_lose_state)
                back = self.chance.random() < 0.4
                self._put(
                    live, "context.json", self.chance.choice(live.versions["context.json"]) if back else said
                )
            case 1:
                name = f"artifacts/{self.chance.randrange(3)}.md"
                self._put(live, name, self._text(self.chance.choice((20, 400, 2000))).encode())
            case 2:
                name = f"checkpoints/c{self.chance.randrange(50)}.json"
                whole = json.dumps({"summary": self._text(10)}).encode()
                self._put(live, name, whole if self.chance.random() < 0.7 else whole[:-3])
            case 3:
                self._put(live, "metrics.json", json.dumps({"score": self.chance.random()}).encode())
            case 4:
                self._put(live, "artifacts/log.jsonl", self._text(30).encode() + b"\n")
            case _:
                if kept := [name for name in live.names() if name.startswith("artifacts/")]:
                    live.path(self.chance.choice(kept)).unlink()

    def _put(self, live: Live, name: str, data: bytes) -> None:
        """Write a file as agents do: appended to where it goes on, else in place or anew."""
        path = live.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        was = path.read_bytes() if path.exists() else None
        if was is not None and data.startswith(was):
            with path.open("ab") as file:
                file.write(data[len(was) :])
        else:
            path.write_bytes(data)
        self._now += 0.001
        os.utime(path, (self.now, self.now))
        live.versions[name].append(data)

    def _lines(self, project: Path, number: int) -> bytes:
        found = b""
        for _ in range(number):
            kind = self.chance.choices(("user", "assistant", "boundary"), (6, 6, 2))[0]
            made = (
                boundary(project)
                if kind == "boundary"
                else line(kind, self._text(self.chance.choice((5, 20, 200))), project)
            )
            found += _UUID.sub(lambda _: str(self._uuid()).encode(), made)
        return found

    def _uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self.chance.getrandbits(128), version=4)

    def _text(self, words: int) -> str:
        return " ".join(f"{self.chance.choice(WORDS)} {self.chance.randrange(10_000)}" for _ in range(words))

    def _context(self, issue: int) -> bytes:
        said: dict[str, object] = {"title": self._text(2), "decisions": [self._text(3)]}
        return json.dumps(said | ({"issue": issue} if issue else {})).encode()

    # --- what must hold

    def _witness(self) -> None:
        """Every checkpoint that is known is one of what was on disk, and stays what it was."""
        if self._rig is None:
            return
        for live in self._sessions:
            session = self.rig.catalog.find(live.ref)
            for checkpoint in self.rig.catalog.checkpoints(session.id) if session else ():
                if session and (live.ref, checkpoint.id) not in self._witnessed:
                    self._witnessed[live.ref, checkpoint.id] = self._seen_once(live, session, checkpoint)

    def _seen_once(self, live: Live, session: Session, checkpoint: Checkpoint) -> dict[str, bytes]:
        restored = self.rig.restored(session, checkpoint.id)
        assert restored, f"{session.name} {checkpoint}"
        for name, data in restored.items():
            versions = live.versions[name]
            is_part = name.endswith(".jsonl") and (
                checkpoint.trigger in {"compaction", "interval"} or not live.path(name).exists()
            )
            assert data in versions or (
                is_part and data[-1:] in {b"\n", b""} and any(v.startswith(data) for v in versions)
            ), (
                f"{session.name} {checkpoint.id} ({checkpoint.trigger}): {name} never had these {len(data)} bytes"
            )
        return restored

    def end(self) -> None:
        """Let it all come to rest on an honest line, and check."""
        self.machine.disarm()
        self.gh.clear_faults()
        self._die()
        self._live()
        for _ in range(3):
            self._pass(QUIET_S + 1)
            self.rig.scan()
        self._witness()
        assert self._line is not None
        self._line.drain()
        self._check_copies()
        self._check_github()

    def _check_copies(self) -> None:
        for (ref, checkpoint), files in self._witnessed.items():
            assert self.rig.restored(self.rig.session(ref), checkpoint) == files, f"{ref} {checkpoint}"
        for live in self._sessions:
            session = self.rig.session(live.ref)
            newest = self.rig.restored(session)
            for name, data in live.now().items():
                assert self.rig.mirrored(session, name) == data, f"{session.name}: plain copy of {name}"
                assert newest[name] == data, f"{session.name}: newest checkpoint of {name}"
            for name in live.versions:
                for version in self._captured[live.ref, name]:
                    assert self._is_held(session, name, version), (
                        f"{session.name}: {len(version)} bytes of {name} were captured and are nowhere"
                    )

    def _is_held(self, session: Session, name: str, version: bytes) -> bool:
        """Whether a version can be had from a checkpoint, or from the plain copy and what was set aside of it."""
        for (ref, _), files in self._witnessed.items():
            if ref == session.ref and files.get(name, b"\0").startswith(version):
                return True
        copy = self.rig.mirror.path_of(session.project or "", session.stored_as, name)
        place = copy.relative_to(self.home.mirror).parts[1:]
        # also where it lay before its lines named its project
        return any(_is_pieced(Path(project, *place), version) for project in self.home.mirror.iterdir())

    def _check_github(self) -> None:
        assert self.rig.queue.items() == []
        assert self.rig.queue.items(buried=True) == []
        records: dict[str, list[comments.Part]] = defaultdict(list)
        for comment in self.gh.all_comments():
            part = comments.parse(comment.body)
            assert part is not None, f"a comment that is no record: {comment.body[:80]!r}"
            assert part.intact
            records[part.session_id].append(part)
        expected = {s.key: s for s in self.rig.catalog.sessions() if s.checkpoint and _is_told(s)}
        if not self._may_lose_state:  # else one may be left of a session that has nothing to tell any more
            assert records.keys() == expected.keys()
        for key, session in expected.items():
            parts = records[key]
            assert len({part.revision for part in parts}) == 1, f"{key}: parts of several revisions"
            assert sorted(part.part for part in parts) == [*range(1, parts[0].parts + 1)], key
            record, files = comments.assemble(parts)
            assert record.tier is session.tier
            assert record.critical_data.checkpoints[-1].id == session.checkpoint
            assert session.pushed_checkpoint == session.checkpoint
            newest = self.rig.restored(session)
            counted = {name: data for name, data in newest.items() if "/tool-results/" not in name}
            assert record.size == sum(map(len, counted.values())), f"{session.name} {sizes(counted)}"
            if record.tier is Tier.GITHUB_ONLY:
                assert files == counted, session.name
        assert arrived.doubled(self.gh) == []


def _is_pieced(copy: Path, version: bytes) -> bool:
    """Whether a version can be put together from a plain copy and what was set aside of it."""
    pieces = [
        (int(path.stem.rpartition(".")[2]), path.read_bytes())
        for path in copy.parent.glob(f"{copy.stem}.*.*{copy.suffix}")
    ]
    whole = copy.read_bytes() if copy.exists() else b""

    def held(end: int) -> bool:
        return whole.startswith(version[:end]) or any(
            offset < end and data.startswith(version[offset:end]) and held(offset) for offset, data in pieces
        )

    return held(len(version))


def _is_told(session: Session) -> bool:
    """A transcript without a user's message gets no comment; it keeps one that it had before it lost the message."""
    spoke = session.summary.prompts > 0 or session.pushed_checkpoint is not None
    return session.commented and (session.ref.source != "claude" or spoke)


@contextmanager
def told(parent: Path, seed: int, machine: Machine) -> Iterator[Story]:
    """A story in a folder of its own, which goes with it; where it fails it says how to tell it again."""
    folder = parent / f"story-{os.getpid():07}-{seed:05}"
    folder.mkdir()
    story = Story(folder, seed, machine)
    try:
        yield story
    except BaseException:
        print(f"seed {seed}, crashes: {story.crashes}")
        raise
    finally:
        story.close()
        shutil.rmtree(folder)


def sizes(files: dict[str, bytes]) -> dict[str, int]:
    return {name: len(data) for name, data in files.items()}

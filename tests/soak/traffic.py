"""Agents at work in front of a daemon, and a GitHub that fails in every way it can."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Self

from tests import arrived, hooked
from tests.bench import place, usage
from tests.bench.place import Transcript
from tests.daemon import Daemon
from tests.fakes.faults import Fault, accept_then_drop, limited, rule, server_error
from tests.fakes.github import FakeGitHub
from tests.soak.growth import Held, held

# Of the sizes of a transcript's beginning every tier has some.
SIZES = (4_000, 20_000, 60_000, 150_000, 400_000)
# Bytes of an append: half are above, hardly any above 30 KB.
MEDIAN_LOG, SPREAD, MOST_BYTES = 8.0, 1.0, 60_000
# Of so many turns one is also: an event of a hook, a look by a person, a cut, a rewrite.
HOOK, LOOK, CUT, REWRITE = 5, 7, 23, 31
EVENTS = ("Stop", "SubagentStop", "PreCompact", "SessionEnd")
# How long the queue may take to be empty once GitHub is well, and the archive to end the processes it holds.
THROUGH_S, RESTS_S = 300.0, 300.0
POLL_S = 0.5

FAULTS = (
    rule("refuse", delay_s=2, probability=0.2),
    rule("hang", delay_s=4, probability=0.2),
    rule("drop", probability=0.4),
    rule("drop", reset=True, probability=0.4),
    accept_then_drop(probability=0.4),
    server_error(502, effect=True, probability=0.4),
    server_error(500, probability=0.4),
    limited(403, retry_after_s=1, method="POST|PATCH", times=1),
    limited(429, retry_after_s=1, wording="abuse", times=1),
    rule("truncate", probability=0.3),
    rule("slow", delay_s=1, probability=0.5),
    rule("malformed", probability=0.3),
    rule("html", probability=0.3),
)
OUTAGE, CALM = "outage", "calm"
# Calm again and again, so that something gets through.
TROUBLES: tuple[Fault | str, ...] = (*FAULTS[:4], CALM, *FAULTS[4:9], OUTAGE, CALM, *FAULTS[9:], OUTAGE, CALM)


class Traffic:
    """A daemon, its sessions and its GitHub, all below `folder`; all that is chance comes from `seed`.

    `trouble_turns` is how long a trouble of GitHub's lasts; `pause_s` is what there is between two turns, and
    may be changed.
    `leaks` makes it a mutant; that, or `hasty`, is started with `launch.py`.
    """

    def __init__(
        self,
        folder: Path,
        seed: int,
        sessions: int,
        *,
        trouble_turns: int,
        pause_s: float,
        leaks: str = "",
        hasty: bool = False,
    ) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.pause_s, self._trouble_turns = pause_s, trouble_turns
        self._troubles: Iterator[Fault | str] = cycle(TROUBLES)
        self._number = sessions
        self._turns = 0
        self._ends = ExitStack()
        self.gh = FakeGitHub(seed=seed)
        self.gh.add_repo("o/r", private=True)
        self.gh.token(place.TOKEN, login="me")
        # a run makes more requests than a person's daemon does in an hour
        self.gh.behave(content_per_minute=100_000, content_per_hour=100_000)
        self._scratch = folder / "tmp"
        self._scratch.mkdir()
        self._leaks, self._is_other = leaks, hasty or bool(leaks)

    def __enter__(self) -> Self:
        self._ends.enter_context(self.gh)
        self.daemon = Daemon(
            self.folder,
            **self.gh.settings(place.TOKEN),
            SESSIOND_GITHUB_CREATIONS_PER_HOUR="500",
            SESSIOND_SOURCES_QUIET_SECONDS="1",
            SESSIOND_ARCHIVE_URL=str(self.folder / "archive.git"),
            TMPDIR=str(self._scratch),
            SOAK_LEAKS=self._leaks,
        )
        if self._is_other:
            self.daemon.program = (self.daemon.program[0], str(Path(__file__).with_name("launch.py")))
        self._ends.enter_context(self.daemon)
        self.daemon.start()
        # written after the first start, so that they are new to it
        self.sessions = [
            Transcript(self.daemon, number, SIZES[number % len(SIZES)], "app")
            for number in range(self._number)
        ]
        # from here on they are asked for by name
        place.until(
            lambda: self.daemon.ctl("status")["sessions"]["watched"] == self._number, THROUGH_S, POLL_S
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    # --- what happens

    def turn(self) -> None:
        """A session goes on, and now and then something happens to one."""
        self._turns += 1
        session = self.chance.choice(self.sessions)
        session.append(min(MOST_BYTES, int(self.chance.lognormvariate(MEDIAN_LOG, SPREAD))))
        self.counts["appends"] += 1
        if self._turns % self._trouble_turns == 0:
            self._next_trouble()
        if self._turns % HOOK == 0:
            self._fire(session)
        if self._turns % LOOK == 0:
            self._look(session)
        if self._turns % CUT == 0:
            self._cut()
        if self._turns % REWRITE == 0:
            self._rewrite()
        time.sleep(self.pause_s)

    def _fire(self, session: Transcript) -> None:
        event = {"session_id": session.id, "transcript_path": str(session.file), "cwd": str(session.cwd)}
        done = hooked.run(self.daemon, self.chance.choice(EVENTS), data=json.dumps(event).encode())
        assert (done.returncode, done.stderr) == (0, b""), "a hook says nothing"
        self.counts["hooks"] += 1

    def _look(self, session: Transcript) -> None:
        for verb in ("status", "health", "queue", "sessions"):
            self.daemon.ctl(verb)
        self.daemon.ctl("show", session=session.id)
        self.daemon.get("/metrics")
        self.counts["looks"] += 1

    def _cut(self) -> None:
        """An agent goes back in a session: its end is gone."""
        session = self.chance.choice(self.sessions)
        os.truncate(session.file, session.size // 2)
        self.counts["cuts"] += 1

    def _rewrite(self) -> None:
        """An agent puts another file in a transcript's place, the same up to a point."""
        session = self.chance.choice(self.sessions)
        lines = session.file.read_bytes().splitlines(keepends=True)
        there = self.chance.randrange(len(lines)) + 1
        draft = self._scratch / session.file.name
        draft.write_bytes(b"".join(lines[:there] + lines[there + 1 :]))
        draft.replace(session.file)
        self.counts["cuts"] += 1

    def _next_trouble(self) -> None:
        self._be_well()
        trouble = next(self._troubles)
        if isinstance(trouble, Fault):
            self.gh.fault(trouble)
        elif trouble == OUTAGE:
            self.gh.refuse()
        self.counts["troubles"] += 1
        self.daemon.ctl("sync", acts=True)

    def _be_well(self) -> None:
        self.gh.clear_faults()
        self.gh.accept()

    # --- what has come of it

    @property
    def failed(self) -> int:
        """How many requests met a fault so far."""
        return sum(1 for request in self.gh.requests() if request.fault)

    def rest(self) -> None:
        """Let GitHub be well and all arrive, until there is nothing left to do and no process is held.

        Raises:
            TimeoutError: something waits for ever, or does not end.
        """
        self._be_well()
        for session in self.sessions:
            session.append()
            self.daemon.ctl("checkpoint", acts=True, session=session.id)
        place.until(self._is_sent, THROUGH_S, POLL_S)
        place.until(lambda: not usage.children(self.daemon.pid) and self._is_through(), RESTS_S, POLL_S)

    def _is_sent(self) -> bool:
        self.daemon.ctl("sync", acts=True)
        return self._is_through()

    def _is_through(self) -> bool:
        status = self.daemon.ctl("status")
        waits = status["queue"]["pending"] or status["sessions"]["unpushed"]
        return not waits and status["sessions"]["watched"] == len(self.sessions)

    def held(self) -> Held:
        """What the daemon and its folders hold now."""
        return held(self.daemon.pid, self.folder)

    def wrong(self) -> list[str]:
        """What is not as it must be once all is at rest: in words, each copy and each record."""
        found = [f"doubled on GitHub: {what}" for what in arrived.doubled(self.gh)]
        records = arrived.records(self.gh)
        for session in self.sessions:
            parts = sorted(part.part for part in records.pop(session.id, []))
            if not parts or parts != list(range(1, len(parts) + 1)):
                found.append(f"the record of {session.id} has the parts {parts}")
            if session.copy.read_bytes() != session.file.read_bytes():
                found.append(f"the plain copy of {session.id} is another")
        found += [f"nobody wrote {session}" for session in records]
        aside = sum(
            1 for session in self.sessions for _ in session.copy.parent.glob(f"{session.id}.*.*.jsonl")
        )
        if aside > self.counts["cuts"]:
            found.append(f"{aside} files set aside for {self.counts['cuts']} cuts")
        return found

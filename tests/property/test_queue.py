"""The queue against a model of it, with crash as an action."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sessionsync.queue import Item, Queue, State
from sessionsync.store import Store
from tests.crowd import fill


@dataclass
class Row:
    """What the model knows of one item: the newest checkpoint asked for, and the one in flight."""

    checkpoint: str
    state: State
    attempts: int = 0
    leased: str | None = None
    due_at: float = 0.0


class Crash(Exception):
    """The process dies here."""


class QueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1_000_000.0
        self.count = 0
        self.model: dict[int, Row] = {}
        self.sent: dict[int, list[str]] = {}
        self.asked: dict[int, str] = {}
        self.leased: Item | None = None

    @initialize()
    def begin(self) -> None:
        self.open()
        fill(self.store, 1, 4, waiting=False)

    def open(self) -> None:
        self.store = Store(Path(self.folder.name) / "state.db")
        self.queue = Queue(self.store)
        self.queue.recover(self.now)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    # --- what happens

    @rule(subject=st.integers(1, 4), dies=st.booleans())
    def enqueue(self, subject: int, dies: bool) -> None:
        self.count += 1
        checkpoint = f"c{self.count}"
        try:
            with self.store.transaction():
                self.store.execute(
                    "INSERT INTO checkpoints (session, id, at, trigger, size) VALUES (?, ?, 0, 'once', ?)",
                    (subject, checkpoint, 60_000 + 7_000 * self.count),
                )
                self.queue.enqueue("comment", subject, checkpoint, self.now)
                if dies:
                    raise Crash
        except Crash:
            return
        self.asked[subject] = checkpoint
        row = self.model.setdefault(subject, Row(checkpoint, State.PENDING, due_at=self.now))
        row.checkpoint = checkpoint
        if row.state is State.BURIED:
            row.state, row.due_at = State.RETRYING, self.now

    @precondition(lambda self: self.leased is None)
    @rule()
    def lease(self) -> None:
        self.leased = self.queue.lease(self.now)
        due = [n for n, row in self.model.items() if row.state in _WAITING and row.due_at <= self.now]
        assert (self.leased is None) == (not due)
        if self.leased is not None:
            row = self.model[self.leased.subject]
            assert self.leased.subject in due
            assert row.due_at == min(self.model[n].due_at for n in due)
            assert self.leased.checkpoint == row.checkpoint
            row.state, row.leased = State.IN_FLIGHT, row.checkpoint
            row.attempts += 1
            assert self.leased.in_doubt == (row.attempts > 1)

    @precondition(lambda self: self.leased is not None)
    @rule(dies=st.booleans())
    def done(self, dies: bool) -> None:
        assert self.leased is not None
        row = self.model[self.leased.subject]
        try:
            with self.store.transaction():
                self.queue.done(self.leased, self.now)
                if dies:
                    raise Crash
        except Crash:
            self.crash()
            return
        self.sent.setdefault(self.leased.subject, []).append(self.leased.checkpoint)
        if row.checkpoint == row.leased:
            del self.model[self.leased.subject]
        else:
            row.state, row.leased, row.attempts, row.due_at = State.PENDING, None, 0, self.now
        self.leased = None

    @precondition(lambda self: self.leased is not None)
    @rule(wait=st.floats(0, 300))
    def retry(self, wait: float) -> None:
        self._end(State.RETRYING, wait, 0)

    @precondition(lambda self: self.leased is not None)
    @rule(wait=st.floats(0, 300))
    def release(self, wait: float) -> None:
        self._end(State.PAUSED, wait, 1)

    @precondition(lambda self: self.leased is not None)
    @rule()
    def bury(self) -> None:
        self._end(State.BURIED, 0.0, 0)

    def _end(self, state: State, wait: float, unburnt: int) -> None:
        assert self.leased is not None
        row = self.model[self.leased.subject]
        at = self.now + wait
        match state:
            case State.RETRYING:
                self.queue.retry(self.leased, at, "no answer", "github_unreachable")
            case State.PAUSED:
                self.queue.release(self.leased, at, "limit", "github_rate_limited")
            case _:
                self.queue.bury(self.leased, "too long", "github_refused")
        row.state, row.leased = state, None
        if state is not State.BURIED:
            row.due_at = at
        row.attempts -= unburnt
        self.leased = None

    @rule(seconds=st.floats(0, 400))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(buried=st.booleans())
    def make_due(self, buried: bool) -> None:
        self.queue.make_due(self.now, buried=buried)
        for row in self.model.values():
            if row.state in _WAITING or (buried and row.state is State.BURIED):
                row.due_at = min(row.due_at, self.now)
                row.state = State.RETRYING if row.state is State.BURIED else row.state

    @rule()
    def crash(self) -> None:
        """The process dies and starts again: leases are taken back, attempts stay counted."""
        self.store.close()
        self.open()
        self.leased = None
        for row in self.model.values():
            if row.state is State.IN_FLIGHT:
                row.state, row.leased, row.due_at = State.RETRYING, None, min(row.due_at, self.now)

    # --- what always holds

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        if not hasattr(self, "queue"):
            return
        rows = {i.subject: i for i in [*self.queue.items(), *self.queue.items(buried=True)]}
        assert rows.keys() == self.model.keys()
        for subject, row in self.model.items():
            item = rows[subject]
            assert (item.checkpoint, item.state, item.attempts) == (row.checkpoint, row.state, row.attempts)

    @invariant()
    def what_is_counted_as_it_changes_is_what_counting_finds(self) -> None:
        kinds = "operation, state, last_code"
        counted = self.store.rows(f"SELECT {kinds}, number, size, behind FROM item_counts ORDER BY {kinds}")
        found = (
            f"SELECT {kinds}, count(*), sum(size), sum(behind) FROM items GROUP BY {kinds} ORDER BY {kinds}"
        )
        assert counted == self.store.rows(found)
        limited = "github_rate_limited"
        aged = [item.enqueued_at for item in self.queue.items() if item.last_code != limited]
        assert self.queue.census(besides=limited).oldest == ({"comment": min(aged)} if aged else {})

    @invariant()
    def the_newest_checkpoint_is_never_lost(self) -> None:
        for subject, checkpoint in self.asked.items():
            waiting = self.model.get(subject)
            assert (waiting is not None and waiting.checkpoint == checkpoint) or self.sent[subject][
                -1
            ] == checkpoint

    @invariant()
    def nothing_is_sent_twice(self) -> None:
        for checkpoints in self.sent.values():
            assert len(checkpoints) == len(set(checkpoints))


_WAITING = {State.PENDING, State.RETRYING, State.PAUSED}

TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=60, stateful_step_count=40)

"""Gives readers their inputs, and watches what comes out and how long it takes."""

from __future__ import annotations

import random
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import NamedTuple, Self

from sessionsync.errors import SessiondError
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS

# Of this process's own CPU time, so that a busy machine makes no failure.
HANGS_S = 1.0
# Of one reader so many are kept, one of each place.
KEPT = 5


class Hangs(BaseException):
    """An input takes too long; no `except Exception` on the way keeps it."""


class Failure(NamedTuple):
    """What came out that should not."""

    target: str
    data: bytes
    trace: str

    @property
    def place(self) -> str:
        """Where it came from: the innermost frame."""
        return [line for line in self.trace.splitlines() if line.startswith("  File ")][-1]


@dataclass(slots=True)
class Tally:
    """What became of a reader's inputs: `refused` with an error of the tree, the others were read."""

    target: str
    inputs: int = 0
    refused: int = 0
    failed: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    failures: list[Failure] = field(default_factory=list)

    @classmethod
    def of(cls, parts: Sequence[Self]) -> Self:
        """Several processes' as one."""
        whole = cls(parts[0].target)
        for part in parts:
            whole.inputs += part.inputs
            whole.refused += part.refused
            whole.failed += part.failed
            whole.seconds += part.seconds
            whole.slowest_s = max(whole.slowest_s, part.slowest_s)
            whole.failures += part.failures
        return whole

    def line(self) -> str:
        """For people."""
        pace = 1e6 * self.seconds / max(1, self.inputs)
        return (
            f"{self.target:16} {self.inputs:9,} inputs  {self.refused:9,} refused  {pace:7.0f} us each"
            f"  slowest {1000 * self.slowest_s:6.1f} ms  {self.failed} failures"
        )


@contextmanager
def watched() -> Iterator[None]:
    """Ends what takes too long; for the main thread."""

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise Hangs

    before = signal.signal(signal.SIGPROF, late)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run(seed: int, inputs: int, names: Sequence[str]) -> list[Tally]:
    """About so many inputs, shared among readers as their table says; the same seed, the same inputs."""
    shares = sum(TARGETS[name].share for name in names)
    tallies = []
    with watched():
        for name in names:
            tally = Tally(name)
            chance = random.Random(f"{seed} {name}")
            for _ in range(-(-inputs * TARGETS[name].share // shares)):
                _one(tally, mutated(TARGETS[name].good(), chance))
            tallies.append(tally)
    return tallies


def _one(tally: Tally, data: bytes) -> None:
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, HANGS_S)
    try:
        TARGETS[tally.target].read(data)
    except SessiondError:
        tally.refused += 1
    except (Exception, Hangs):  # noqa: BLE001 - what it is all about
        tally.failed += 1
        failure = Failure(tally.target, data, traceback.format_exc())
        if len(tally.failures) < KEPT and failure.place not in {kept.place for kept in tally.failures}:
            tally.failures.append(failure)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    took = time.process_time() - began
    tally.inputs += 1
    tally.seconds += took
    tally.slowest_s = max(tally.slowest_s, took)

"""Whatever a daemon lives through, its ledger agrees with a list of all that happened, second by second."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessionsync.reliability.score import STATES
from tests.lives import Machine

SECONDS = st.integers(0, 5000)
STEPS = st.one_of(
    st.tuples(st.just("run"), SECONDS),
    st.tuples(st.just("degraded"), SECONDS),
    st.tuples(st.just("sleep"), SECONDS.filter(bool)),
    st.tuples(st.just("jump"), st.integers(-100_000_000, 100_000_000)),
    st.tuples(st.just("kill"), SECONDS),
    st.tuples(st.just("stop"), SECONDS),
    st.tuples(st.just("reboot"), SECONDS),
    st.tuples(st.just("freeze"), st.integers(121, 5000)),
    st.tuples(st.just("push"), st.integers(1, 9)),
)


def live(machine: Machine, step: str, amount: int) -> list[tuple[str, float]]:  # noqa: PLR0911 - a table
    """One step on the machine; returns the states that it was in, and for how long."""
    match step:
        case "run" | "degraded":
            state = "up" if step == "run" else step
            machine.runs(amount, state)
            return [(state, amount)]
        case "sleep":
            machine.sleeps(amount)
            machine.ledger.beat(machine.clocks(), "up")
            return [("suspended", amount)]
        case "jump":
            machine.wall += amount
        case "kill":
            machine.passes(amount)
            machine.starts()
            return [("down", amount)]
        case "stop":
            machine.ledger.end(machine.clocks(), "up")
            machine.passes(amount)
            machine.starts()
            return [("off", amount)]
        case "reboot":
            # what the clock was changed by before is not to be seen after a boot
            machine.runs(1)
            machine.reboots(amount)
            machine.starts()
            return [("up", 1), ("off", amount)]
        case "freeze":
            machine.passes(amount)
            machine.ledger.beat(machine.clocks(), "up")
            return [("down", amount)]
    return []


@settings(max_examples=60)
@given(st.lists(STEPS, min_size=1, max_size=12), st.integers(1, 40_000))
def test_every_second_is_in_the_state_that_it_was_in(steps: list[tuple[str, int]], window: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine, happened, pushed = Machine(Path(folder)), list[tuple[str, float]](), 0
        machine.store.rows("PRAGMA synchronous=OFF")
        for step, amount in steps:
            if step == "push":
                machine.ledger.count("sync_success", "claude", by=amount)
                machine.runs(1)
                happened.append(("up", 1))
                pushed += amount
            else:
                happened += live(machine, step, amount)
        spent, total = machine.ledger.sums(window).seconds, machine.ledger.totals().seconds
        counted = machine.ledger.totals().tallies["sync_success"]
        machine.store.close()

    expected, left = dict.fromkeys(STATES, 0.0), float(window)
    for state, seconds in reversed(happened):
        expected[state] += min(seconds, left)
        left -= min(seconds, left)
    assert spent == pytest.approx(expected, abs=1e-3)
    assert sum(total.values()) == pytest.approx(sum(seconds for _, seconds in happened))
    assert counted == pushed

"""What 10 KB more cost, at the end of a short transcript and of a long one: the same, also after a restart."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

from tests.bench import place
from tests.bench.figures import Figure
from tests.bench.place import MB, SETTLED_S, Transcript
from tests.bench.usage import cpu_s, peak_mib
from tests.daemon import Daemon

# A long transcript may cost so much more than a short one, per cent.
SPREAD = 50
REPO = "team/app"


def measure(*, quick: bool) -> Iterator[Figure]:
    """CPU time of the whole process for a capture, and for a capture with its comment."""
    sizes, rounds = ((MB, 10 * MB), 2) if quick else ((MB, 100 * MB), 5)
    yield from _captures(sizes, rounds)
    yield from _comments(sizes, rounds)


def _captures(sizes: Sequence[int], rounds: int) -> Iterator[Figure]:
    with place.daemon(SESSIOND_SOURCES_QUIET_SECONDS="3600") as home:
        sessions = {size: Transcript(home, n, size, f"of{n}") for n, size in enumerate(sizes)}
        home.start()
        place.rested(home)
        yield Figure(f"peak memory while {sum(sizes) // MB} MB were captured", peak_mib(home.pid), "MiB")
        for when, first in (("10 KB appended", False), ("10 KB appended, first after a restart", True)):
            yield from _compare(when, home, sessions, rounds, _capture, restart=first)


def _comments(sizes: Sequence[int], rounds: int) -> Iterator[Figure]:
    with ExitStack() as ends:
        github = ends.enter_context(place.github(REPO))
        home = ends.enter_context(place.daemon(**place.online(github, REPO), CI="true"))
        sessions = {size: Transcript(home, n, size, f"of{n}") for n, size in enumerate(sizes)}
        home.start()
        place.until(lambda: len(github.call("all_comments")) == len(sizes), 120)
        for session in sessions.values():  # from the second revision on they are all alike
            _comment(home, session)
        for when, first in (("10 KB and their comment", False), ("the same, first after a restart", True)):
            yield from _compare(when, home, sessions, rounds, _comment, restart=first)


def _compare(
    what: str,
    home: Daemon,
    sessions: Mapping[int, Transcript],
    rounds: int,
    step: Callable[[Daemon, Transcript], None],
    *,
    restart: bool,
) -> Iterator[Figure]:
    spent: dict[int, list[float]] = {size: [] for size in sessions}
    for _ in range(rounds):
        for size, session in sessions.items():
            if restart:
                home.stop()
                home.start()
                place.rested(home)
            before = cpu_s(home.pid)
            step(home, session)
            spent[size].append((cpu_s(home.pid) - before) * 1000)
    short, long = (statistics.median(times) for times in spent.values())
    small, large = (f"{size // MB} MB" for size in sessions)
    yield Figure(f"CPU: {what}, {small}", short, "ms")
    yield Figure(f"CPU: {what}, {large}", long, "ms")
    yield Figure(f"  {large} beside {small}", (long / short - 1) * 100, "%", most=SPREAD)


def _capture(home: Daemon, session: Transcript) -> None:
    session.append()
    session.copied()
    time.sleep(SETTLED_S)


def _comment(home: Daemon, session: Transcript) -> None:
    session.append()
    session.copied()
    home.ctl("checkpoint", acts=True, session=session.id)
    home.ctl("sync", acts=True, session=session.id, wait=60)
    time.sleep(SETTLED_S)

"""What a checkpoint costs of GitHub's limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from tests.bench import place
from tests.bench.figures import Figure
from tests.bench.place import Transcript

REPO = "team/app"


def measure(*, quick: bool) -> Iterator[Figure]:
    """Checkpoints of a session whose comment is there: one write each, and one read that costs nothing."""
    checkpoints = 3 if quick else 10
    with ExitStack() as ends:
        github = ends.enter_context(place.github(REPO))
        home = ends.enter_context(place.daemon(**place.online(github, REPO), CI="true"))
        session = Transcript(home, 0, 60_000, "app")
        home.start()
        place.until(lambda: github.call("all_comments"), 60)
        home.ctl("sync", acts=True, wait=60)
        place.until(lambda: not home.ctl("queue")["items"], 60)
        for number in range(checkpoints + 1):
            if number == 1:  # the first one after a creation still reads once without a condition
                github.call("forget_requests")
            session.append()
            session.copied()
            home.ctl("checkpoint", acts=True, session=session.id)
            home.ctl("sync", acts=True, wait=60)
        asked = github.call("requests")
    writes = [request for request in asked if request["method"] not in {"GET", "HEAD"}]
    free = [request for request in asked if request["status"] == 304]
    counted = len(asked) - len(writes) - len(free)
    yield Figure("a checkpoint: writes", len(writes) / checkpoints, "", most=1)
    yield Figure(
        "a checkpoint: reads answered with 304, which cost nothing", len(free) / checkpoints, "", most=1
    )
    yield Figure("a checkpoint: reads that count", counted / checkpoints, "", most=0.5)

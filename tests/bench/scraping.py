"""What a scrape of the daemon's metrics takes, over HTTP, with ten thousand sessions.

python -m tests.bench scraping
"""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sessiond.bookkeeping import Bookkeeping
from sessiond.engine import Engine
from sessiond.faces import Faces, open_faces
from sessiond.metrics import Metrics, catalogue, of_engine
from sessiond.metrics.readings import of_books
from sessiond.pulse import Pulse
from sessiond.verbs import Verbs
from sessionsync.config import load, paths
from sessionsync.events import silent
from sessionsync.privacy.rules import KINDS
from tests.bench.figures import Figure, quantile
from tests.crowd import fill

SESSIONS = 10_000
ROUNDS = 100
GOAL_MS = 5
FORMATS = {"text": "", "OpenMetrics": "application/openmetrics-text; version=1.0.0"}
LOOPS = ("capture", "push", "archive", "index", "upkeep", "health")
JOBS = ("rescan", "supervise", "refresh", "trim", "spool", "beat", "health", "count")


def measure(*, quick: bool) -> Iterator[Figure]:
    """At rest, and with everything waiting."""
    sessions = SESSIONS // 10 if quick else SESSIONS
    for state, waiting in (("at rest", False), ("all of them waiting", True)):
        with TemporaryDirectory(prefix="s-") as folder:
            environ = {"HOME": folder, "SESSIOND_HOME": f"{folder}/s", "PATH": os.defpath}
            where = paths(environ)
            engine = Engine(environ, load(environ, where.config_file), where, silent)
            try:
                fill(engine.store, 1, sessions, waiting=waiting)
                yield from _scraping(engine, Path(folder), f"{sessions:,} sessions, {state}")
            finally:
                engine.close()


def _scraping(engine: Engine, folder: Path, what: str) -> Iterator[Figure]:
    books = Bookkeeping(engine.store, Pulse(folder / "pulse"), silent)
    books.begin()
    metrics = Metrics(catalogue(loops=LOOPS, jobs=JOBS, commands=Verbs.NAMES, kinds=KINDS), time.time)
    for source in of_engine(engine):
        metrics.read(source)
    metrics.read(partial(of_books, books))
    observe = partial(_observed, metrics)
    faces = Faces(metrics.application(), healthy=dict, ready=dict, observe=observe)
    opened = open_faces(faces, ("127.0.0.1", 0), silent)
    assert opened is not None
    server, port = opened
    try:
        for name, accept in FORMATS.items():
            connection = http.client.HTTPConnection("127.0.0.1", port)
            _scrape(connection, accept)
            taken = []
            for number in range(ROUNDS):
                # what happens between two scrapes of a working daemon
                metrics.job(JOBS[number % len(JOBS)], 0.1, success=True)
                metrics.observe("ctl_request_duration_seconds", "status", seconds=0.01)
                began = time.perf_counter()
                size = _scrape(connection, accept)
                taken.append(1000 * (time.perf_counter() - began))
            connection.close()
            yield Figure(f"{what}: {name}, p50", quantile(taken, 0.5), "ms", most=GOAL_MS)
            yield Figure(f"{what}: {name}, p95", quantile(taken, 0.95), "ms")
            yield Figure(f"{what}: {name}, size", size / 1024, "KB")
    finally:
        server.close()


def _observed(metrics: Metrics, handler: str, seconds: float) -> None:
    metrics.observe("http_request_duration_seconds", handler, seconds=seconds)


def _scrape(connection: http.client.HTTPConnection, accept: str) -> int:
    connection.request("GET", "/metrics", headers={"Accept": accept})
    answer: Any = connection.getresponse()
    return len(answer.read())

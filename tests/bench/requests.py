"""What a checkpoint costs of GitHub's limits, and what it sends; beside git pushing the same files."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench import place
from tests.bench.figures import Beside, Figure, of_rounds, said
from tests.bench.place import MB, Transcript
from tests.bench.usage import cpu_s
from tests.daemon import Daemon
from tests.fakes.git_host import GitHost

REPO = "team/app"
SESSIONS, SESSION_BYTES = 20, 13_150
RAW_MB_CHECKPOINTS = 20
APPENDED_BYTES = 3 * 1024
ARCHIVE_REQUESTS = 2
MOST_A_MB = 5


def measure(*, quick: bool) -> Iterator[Figure]:
    """Checkpoints of a session whose comment is there; then an archive of twenty."""
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
            place.until(lambda: not _waiting(home, "comment"), 60)
        asked = github.call("requests")
    writes = [request for request in asked if request["method"] not in {"GET", "HEAD"}]
    free = [request for request in asked if request["status"] == 304]
    counted = len(asked) - len(writes) - len(free)
    yield Figure("a checkpoint's comment: writes", len(writes) / checkpoints, "", most=1)
    yield Figure("a checkpoint's comment: reads", (len(free) + counted) / checkpoints, "", most=1)
    yield Figure("  of which answered with 304, which cost nothing", len(free) / checkpoints, "")
    yield from _archived()
    yield from _a_megabyte()
    yield from _after_restart(10 * MB if quick else 100 * MB, 2 if quick else 5)


def _after_restart(size: int, rounds: int) -> Iterator[Figure]:
    """The first comment about a long transcript after a start: its hash is in the record."""
    with ExitStack() as ends:
        github = ends.enter_context(place.github(REPO))
        home = ends.enter_context(place.daemon(**place.online(github, REPO), CI="true"))
        sessions = [Transcript(home, n, size, f"of{n}") for n, size in enumerate((MB, size))]
        home.start()
        place.until(lambda: len(github.call("all_comments")) == len(sessions), 120)
        spent: list[list[float]] = [[] for _ in sessions]
        for _ in range(rounds):
            for number, session in enumerate(sessions):
                home.stop()
                home.start()
                place.rested(home)
                session.append(APPENDED_BYTES)
                session.copied()
                time.sleep(place.SETTLED_S)
                before = cpu_s(home.pid)
                home.ctl("checkpoint", acts=True, session=session.id)
                place.until(lambda: not _waiting(home, "comment"), 60)
                spent[number].append((cpu_s(home.pid) - before) * 1000)
    other = Beside("1 MB", median(spent[0]))
    name = f"the first comment after a restart, {size // MB} MB: CPU time"
    yield of_rounds(name, spent[1], "ms", most=1.5, peer=other, times=True)


def _a_megabyte() -> Iterator[Figure]:
    """A megabyte of work in one session, as it is at the pace of a pushed comment every few minutes."""
    with ExitStack() as ends:
        github = ends.enter_context(place.github(REPO))
        home = ends.enter_context(place.daemon(**place.online(github, REPO), CI="true"))
        session = Transcript(home, 0, 60_000, "app")
        home.start()
        place.until(lambda: github.call("all_comments"), 60)
        home.ctl("sync", acts=True, wait=60)
        github.call("forget_requests")
        for _ in range(RAW_MB_CHECKPOINTS):
            session.append(MB // RAW_MB_CHECKPOINTS)
            session.copied()
            home.ctl("checkpoint", acts=True, session=session.id)
        place.until(lambda: not _waiting(home, "comment"), 60)
        asked = len(github.call("requests"))
    yield Figure(f"requests for 1 MB in {RAW_MB_CHECKPOINTS} checkpoints at once", asked, "", most=MOST_A_MB)


def _archived() -> Iterator[Figure]:
    yield said(f"{SESSIONS} sessions in an archive behind git's own HTTP server")
    with ExitStack() as ends:
        folder = Path(ends.enter_context(TemporaryDirectory(prefix="bench-")))
        host = ends.enter_context(GitHost(folder / "repos"))
        host.make("archive")
        host.make("files")
        home = ends.enter_context(
            place.daemon(
                SESSIOND_ARCHIVE_URL=host.url("archive"), SESSIOND_SOURCES_QUIET_SECONDS="3600", CI="true"
            )
        )
        made = [Transcript(home, number, SESSION_BYTES, "app") for number in range(SESSIONS)]
        home.start()
        for each in made:
            home.ctl("checkpoint", acts=True, session=each.id)
        place.until(lambda: not _waiting(home, "archive"), 120)
        ours = sum(size for _, size in host.received)
        host.received.clear()
        first = made[0]
        first.append()
        first.copied()
        home.ctl("checkpoint", acts=True, session=first.id)
        place.until(lambda: not _waiting(home, "archive"), 120)
        asked = [path for path, _ in host.received]
        host.received.clear()
        _push(folder / "work", [each.file for each in made], host.url("files"))
        theirs = sum(size for _, size in host.received)
        raw = sum(each.size for each in made) / 1000
    yield Figure(
        f"bytes sent, {SESSIONS} sessions of {raw:.0f} KB together",
        ours / 1000,
        "KB",
        most=1.15,
        peer=Beside("git push", theirs / 1000),
        times=True,
    )
    # the advertisement of refs is a GET, and is not in `received`
    yield Figure("a checkpoint's archive: requests", len(asked) + 1, "", most=ARCHIVE_REQUESTS)


def _waiting(home: Daemon, operation: str) -> int:
    return sum(item["operation"] == operation for item in home.ctl("queue")["items"])


def _push(work: Path, files: list[Path], url: str) -> None:
    """Commit these files, and push the commit."""
    work.mkdir()
    environ = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    for file in files:
        (work / file.name).write_bytes(file.read_bytes())
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["commit", "-qm", "sessions"],
        ["push", "-q", url, "HEAD:refs/heads/main"],
    ):
        subprocess.run(["git", "-C", str(work), *words], env=environ, check=True, capture_output=True)

"""How long a command takes, from its start to its end: beside Python alone, in turns.

A hook holds an agent up, and the quick ones are asked all day by prompts and scripts.  What is measured is what
people have: a wheel that pip has put into an environment of its own, and that environment's Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sessionsync import __version__
from tests.bench import place
from tests.bench.figures import Beside, Figure, quantile
from tests.rig import Home, append, line
from tests.wheels import Environment, built

SID = "3f2a9c1e-58d7-4cf4-9f3f-6a6f5c9c1a11"
MISSING_BYTES = 10 * 1024 * 1024
HOOK_MS, HOOK_SLOW_MS = 100, 300
QUICK, USUAL = 2.5, 5.0
SESSIONS = 100
NOTHING = ("-c", "pass")
Command = tuple[str | Path, ...]

COMMANDS: dict[tuple[str, ...], float] = {
    ("ctl", "status"): QUICK,
    ("ctl", "health"): QUICK,
    ("ctl", "sessions"): QUICK,
    ("ctl", "queue"): USUAL,
    ("list",): USUAL,
    ("search", "parser"): USUAL,
    ("--help",): USUAL,
}


def measure(*, quick: bool) -> Iterator[Figure]:
    """What asks a daemon, and what an agent waits for."""
    runs = 10 if quick else 40
    with TemporaryDirectory(prefix="bench-") as folder:
        installed = Environment(Path(folder, "env"))
        installed.install(built(Path(folder), __version__))
        yield from _commands(installed, runs)
        yield from _hook(installed, runs)


def _commands(installed: Environment, runs: int) -> Iterator[Figure]:
    with place.daemon(SESSIOND_SOURCES_QUIET_SECONDS="3600") as home:
        place.fleet(home, range(SESSIONS))
        home.start()
        place.rested(home)
        for words, most in COMMANDS.items():
            ours, python = _in_turns(installed, words, home.environ, runs)
            yield _beside_python(f"sessiond {' '.join(words)}", ours, python, most)


def _beside_python(name: str, ours: list[float], python: list[float], most: float) -> Figure:
    peer = Beside("python -c pass", quantile(python, 0.5))
    return Figure(
        f"{name}, p50",
        quantile(ours, 0.5),
        "ms",
        most=most,
        lowest=min(ours),
        highest=max(ours),
        peer=peer,
        times=True,
    )


def _in_turns(
    installed: Environment, words: tuple[str, ...], environ: dict[str, str], runs: int
) -> tuple[list[float], list[float]]:
    command: Command = (installed.sessiond, *words)
    nothing: Command = (installed.python, *NOTHING)
    _took(command, environ)
    ours, python = [], []
    for _ in range(runs):
        ours.append(_took(command, environ))
        python.append(_took(nothing, environ))
    return ours, python


def _took(command: Command, environ: dict[str, str], event: bytes = b"") -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environ, input=event, check=True, capture_output=True)
    return (time.perf_counter() - began) * 1000


def _hook(installed: Environment, runs: int) -> Iterator[Figure]:
    """With little to copy, and with 10 MB missing.

    No daemon runs, which is the worst case: the event goes to the spool, behind the agent's back.
    """
    hook, nothing = (installed.sessiond, "hook", "Stop"), (installed.python, *NOTHING)
    with ExitStack() as ends:
        home, environ = ends.enter_context(_place())
        transcript = home.transcript(SID)
        append(transcript, line("user", "hi", home.project, session=SID))
        event = json.dumps({"session_id": SID, "transcript_path": str(transcript)}).encode()
        _took(hook, environ, event)
        python, usual, missing = [], [], []
        for _ in range(runs):
            python.append(_took(nothing, environ))
            append(transcript, line("assistant", "x" * 5000, home.project, session=SID))
            usual.append(_took(hook, environ, event))
        for _ in range(runs):
            more = line("user", "y" * 1023, home.project, session=SID)
            append(transcript, *[more] * (MISSING_BYTES // len(more)))
            missing.append(_took(hook, environ, event))
            transcript.unlink()
            (home.mirror / "app" / transcript.name).unlink()
            append(transcript, line("user", "hi", home.project, session=SID))
    yield _beside_python("sessiond hook Stop", usual, python, QUICK)
    yield Figure("sessiond hook Stop, p50", quantile(usual, 0.5), "ms", most=HOOK_MS)
    yield Figure("sessiond hook Stop, p95", quantile(usual, 0.95), "ms")
    yield Figure("  with 10 MB to copy first, p95", quantile(missing, 0.95), "ms", most=HOOK_SLOW_MS)


@contextmanager
def _place() -> Iterator[tuple[Home, dict[str, str]]]:
    with TemporaryDirectory(prefix="hook-", ignore_cleanup_errors=True) as folder:
        home = Home(Path(folder))
        environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": folder,
            "CLAUDE_CONFIG_DIR": str(home.agent),
            "SESSIOND_HOME": f"{folder}/s",
            "SESSIOND_BACKUP_MIRROR_DIR": str(home.mirror),
        }
        yield home, environ
        time.sleep(2)  # those that nobody waits for end

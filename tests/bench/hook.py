"""How long an agent waits for a hook: the whole process, from its start to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.figures import Figure, quantile
from tests.rig import Home, append, line

SID = "3f2a9c1e-58d7-4cf4-9f3f-6a6f5c9c1a11"
MISSING_BYTES = 10 * 1024 * 1024
WAIT_MS = 100


def measure(*, quick: bool) -> Iterator[Figure]:
    """With little to copy, with 10 MB missing, and Python alone to compare.

    No daemon runs, which is the worst case: the event goes to the spool, behind the agent's back.
    """
    runs = 10 if quick else 30
    program = Path(sys.executable).with_name("sessiond")
    with _place() as (home, environ):
        transcript = home.transcript(SID)
        append(transcript, line("user", "hi", home.project, session=SID))
        event = json.dumps({"session_id": SID, "transcript_path": str(transcript)}).encode()

        def run(*command: str) -> float:
            began = time.perf_counter()
            subprocess.run(command, env=environ, input=event, check=True, capture_output=True)
            return (time.perf_counter() - began) * 1000

        hook = (str(program), "hook", "Stop")
        run(*hook)
        python, usual, missing = [], [], []
        for _ in range(runs):
            python.append(run(sys.executable, "-c", "pass"))
            append(transcript, line("assistant", "x" * 5000, home.project, session=SID))
            usual.append(run(*hook))
        for _ in range(runs):
            more = line("user", "y" * 1023, home.project, session=SID)
            append(transcript, *[more] * (MISSING_BYTES // len(more)))
            missing.append(run(*hook))
            transcript.unlink()
            (home.mirror / "app" / transcript.name).unlink()
            append(transcript, line("user", "hi", home.project, session=SID))
    yield Figure("sessiond hook Stop, p50", quantile(usual, 0.5), "ms", most=WAIT_MS)
    yield Figure("sessiond hook Stop, p95", quantile(usual, 0.95), "ms")
    yield Figure("  with 10 MB to copy first, p50", quantile(missing, 0.5), "ms")
    yield Figure("  python -c pass, p50", quantile(python, 0.5), "ms")


@contextmanager
def _place() -> Iterator[tuple[Home, dict[str, str]]]:
    with tempfile.TemporaryDirectory(prefix="hook-", ignore_cleanup_errors=True) as folder:
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

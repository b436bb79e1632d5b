"""How long an agent waits for a hook: the whole process, from its start to its end.

python -m tests.bench.hook [runs]
"""

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

from tests.rig import Home, append, line

SID = "3f2a9c1e-58d7-4cf4-9f3f-6a6f5c9c1a11"
MISSING_BYTES = 10 * 1024 * 1024


def measure(runs: int = 30) -> dict[str, float]:
    """Wall times in seconds: p50 with little to copy, p95 with 10 MB missing, and Python alone to compare.

    No daemon runs, which is the worst case: the event goes to the spool, behind the agent's back.
    """
    program = Path(sys.executable).with_name("sessiond")
    with _place() as (home, environ):
        transcript = home.transcript(SID)
        append(transcript, line("user", "hi", home.project, session=SID))
        event = json.dumps({"session_id": SID, "transcript_path": str(transcript)}).encode()

        def run(*command: str) -> float:
            began = time.perf_counter()
            subprocess.run(command, env=environ, input=event, check=True, capture_output=True)
            return time.perf_counter() - began

        hook = (str(program), "hook", "Stop")
        first = run(*hook)
        python = [run(sys.executable, "-c", "pass") for _ in range(runs)]
        normal, missing = [], []
        for _ in range(runs):
            append(transcript, line("assistant", "x" * 5000, home.project, session=SID))
            normal.append(run(*hook))
        for _ in range(runs):
            append(
                transcript, *[line("user", "y" * 1023, home.project, session=SID)] * (MISSING_BYTES // 1400)
            )
            missing.append(run(*hook))
            transcript.unlink()
            (home.mirror / "app" / transcript.name).unlink()
            append(transcript, line("user", "hi", home.project, session=SID))
    return {
        "first_s": round(first, 4),
        "python_p50_s": _quantile(python, 0.5),
        "normal_p50_s": _quantile(normal, 0.5),
        "normal_p95_s": _quantile(normal, 0.95),
        "missing_10mb_p50_s": _quantile(missing, 0.5),
        "missing_10mb_p95_s": _quantile(missing, 0.95),
    }


def _quantile(values: list[float], part: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(part * len(values)))], 4)


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


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if sys.argv[1:] else 30), indent=2))

"""Somebody who sits at a terminal and answers what a command asks."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conftest import PATIENCE_S

ASKS = b"]: "


def sit(command: Sequence[str], *answers: str, environ: Mapping[str, str], cwd: Path) -> tuple[int, str]:
    """Run a command on a terminal and answer what it asks; '' for what it proposes.  Exit code and screen."""
    ours, theirs = pty.openpty()
    left = list(answers)
    with subprocess.Popen(
        command,
        env={**environ, "TERM": "dumb", "COLUMNS": "200"},
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        screen = b""
        try:
            while select.select([ours], [], [], PATIENCE_S)[0] and (block := os.read(ours, 65536)):
                screen += block
                if screen.endswith(ASKS):
                    if not left:
                        process.terminate()
                        raise AssertionError(f"asked once more than expected:\n{screen.decode()}")
                    os.write(ours, f"{left.pop(0)}\n".encode())
        except OSError:  # Linux says EIO where the other end has gone
            pass
        os.close(ours)
        code = process.wait(PATIENCE_S)
    assert not left, screen.decode()
    return code, screen.decode().replace("\r\n", "\n")

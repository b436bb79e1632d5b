"""A merge may be killed at any moment, by the system or by a power cut: nothing that is kept is lost."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from sessionsync.vault import Vault
from sessionsync.vault.journal import pack_name
from tests.faults import merges
from tests.faults.crashes import REF

ROOT = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")


@pytest.mark.parametrize("way", ["kill", "power"])
def test_a_merge_that_dies_loses_nothing(way: str) -> None:
    if way == "power" and not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell which file a descriptor is")
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        command = [sys.executable, "-m", "tests.faults.merges", way, folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 90


MERGING = """
import sys
from pathlib import Path
from sessionsync.vault import Vault
from tests.faults.merges import REF, TURNS
vault = Vault(Path(sys.argv[1]))
with vault.lock():
    print("ready", flush=True)
    while True:
        merge = vault.merge("app", REF, {"a": 0, "b": TURNS}, force=True)
        for _ in merge.prepare():
            pass
        assert vault.commit(merge)
"""


def test_killed_at_random_while_merging_all_the_time(tmp_path: Path) -> None:
    chance = random.Random(5)
    vault = Vault(tmp_path)
    with vault.lock():
        vault.open("app", REF).describe(first_seen=1.0, project_key="k", meta={})
        merges.grow(vault, 0, merges.TURNS)
    for _ in range(6):
        command = [sys.executable, "-c", MERGING, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            time.sleep(chance.uniform(0, 0.05))
            merges.look(Vault(tmp_path), merges.TURNS, 0, honest=True)  # a reader beside it
            os.kill(child.pid, signal.SIGKILL)
        merges.look(Vault(tmp_path), merges.TURNS, 0, honest=True)
    with vault.lock():
        for orphan in vault.orphans(float("inf")):
            vault.remove(orphan)
    left = {path.name for path in (tmp_path / "app" / "claude.s").iterdir()}
    assert left == {"journal", pack_name(vault.open("app", REF).fold().pack)}
    merges.look(Vault(tmp_path), merges.TURNS, 0, honest=True)

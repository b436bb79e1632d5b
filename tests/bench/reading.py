"""All sessions of a vault, each byte proven by the roots of its checkpoints, as `ctl verify --deep` does.

python -m tests.bench.reading VAULT [OUT]: with OUT their newest files are written there, proven likewise.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from sessionsync.model import Ref
from sessionsync.vault import Mirror, Root, SessionVault, Vault, verify

# Sessions that are read at once, and threads that unpack long ones ahead: those of the engine.
AT_ONCE, HANDS = 2, 2
NO_MIRROR = Mirror(Path("none"))


def main(vault: Path, out: Path | None = None) -> None:
    """Read what is there."""
    with ThreadPoolExecutor(HANDS) as hands, ThreadPoolExecutor(AT_ONCE) as readers:
        opened = Vault(vault, hands=hands.map)
        done = readers.map(partial(_session, opened, out), opened.sessions())
        sys.stdout.write(f"{sum(done)} bytes\n")


def _session(vault: Vault, out: Path | None, known: tuple[str, Ref]) -> int:
    """Prove a session's files, or write and prove them below `out`; returns their bytes."""
    session = vault.open(*known)
    return _proven(session) if out is None else _written(session, out / known[0])


def _proven(session: SessionVault) -> int:
    size = 0
    for checked in verify.everything(session, NO_MIRROR, []):
        if checked.bad is not None:
            raise SystemExit(f"{session.ref}: {checked.bad.where} {checked.bad.what}")
        size += checked.size
    return size


def _written(session: SessionVault, out: Path) -> int:
    size = 0
    for file in session.files().values():
        place, root = out / file.name, Root()  # which begins with the session's id, as in the agent's folder
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb", buffering=0) as written:
            for part in session.unproven(file.name, file.generation, file.length, root=file.root):
                written.write(part)
                root.update(part)
        if root.hexdigest() != file.root:
            raise SystemExit(f"{session.ref}: {file.name} is not what the checkpoint had")
        size += root.size
    return size


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

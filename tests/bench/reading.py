"""All sessions of a vault, each byte checked against its hash and each file against its root.

python -m tests.bench.reading VAULT [OUT]: with OUT their newest files are written there, else only read.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from sessionsync.vault import SessionVault, Vault

# Sessions that are read at once, and threads that unpack long ones ahead: those of the engine.
AT_ONCE, HANDS = 2, 3


def main(vault: Path, out: Path | None = None) -> None:
    """Read what is there."""
    with ThreadPoolExecutor(HANDS) as hands, ThreadPoolExecutor(AT_ONCE) as readers:
        opened = Vault(vault, hands=hands.map)
        done = readers.map(lambda each: _read(opened.open(*each), out and out / each[0]), opened.sessions())
        sys.stdout.write(f"{sum(done)} bytes\n")


def _read(session: SessionVault, out: Path | None) -> int:
    """Read a session's files, and write them below `out`; returns their bytes."""
    size = 0
    for file in session.files().values():
        with ExitStack() as held:
            written = None
            if out is not None:
                place = out / session.ref.session_id / file.name
                place.parent.mkdir(parents=True, exist_ok=True)
                written = held.enter_context(place.open("wb"))
            for part in session.read(file.name, file.generation, file.length, root=file.root):
                size += len(part)
                if written is not None:
                    written.write(part)
    return size


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

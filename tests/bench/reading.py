"""All sessions of a vault, each byte checked against its hash and each file against its root.

python -m tests.bench.reading VAULT [OUT]: with OUT their newest files are written there, else only read.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sessionsync.vault import Vault


def main(vault: Path, out: Path | None = None) -> None:
    """Read what is there."""
    opened = Vault(vault)
    for project, ref in opened.sessions():
        session = opened.open(project, ref)
        for file in session.files().values():
            data = session.read(file.name, file.generation, file.length, root=file.root)
            if out is None:
                for _ in data:
                    pass
                continue
            place = out / project / ref.session_id / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as written:
                for part in data:
                    written.write(part)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

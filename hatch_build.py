"""The commit that a wheel or source archive is built from goes into it, as `sessiond --version` tells it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILE = "daemon/sessiond/commit"


class Commit(BuildHookInterface[Any]):
    """Writes `sessiond/commit`, where it is built from a clone; a source archive has it already."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file to what is built."""
        commit = self._commit()
        if not commit or version == "editable":
            return
        self._scratch = Path(self.directory) / "commit"
        self._scratch.parent.mkdir(parents=True, exist_ok=True)
        self._scratch.write_text(f"{commit}\n", encoding="ascii")
        place = FILE if self.target_name == "sdist" else FILE.partition("/")[2]
        build_data["force_include"][str(self._scratch)] = place

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Leave nothing beside what was built."""
        del version, build_data, artifact_path
        if scratch := getattr(self, "_scratch", None):
            scratch.unlink(missing_ok=True)

    def _commit(self) -> str:
        if not (Path(self.root) / ".git").exists():
            return ""
        command = ["git", "-C", self.root, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return ""
        return done.stdout.strip()

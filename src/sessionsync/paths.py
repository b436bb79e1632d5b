"""Where the program's own files lie, and whose home that is in: `places`, as paths."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sessionsync import places


class Paths(NamedTuple):
    """Where the program's own files lie. None of it need exist."""

    config_file: Path
    state_dir: Path
    socket: Path
    log_dir: Path

    @property
    def state_db(self) -> Path:
        """Queue and state."""
        return self.state_dir / "state.db"

    @property
    def index_db(self) -> Path:
        """The full-text index, rebuildable."""
        return self.state_dir / "index.db"

    @property
    def numbers_db(self) -> Path:
        """What `stats` adds up, rebuildable."""
        return self.state_dir / "numbers.db"

    @property
    def returns(self) -> Path:
        """When sessions were put back, a line each."""
        return self.state_dir / "returns.jsonl"

    @property
    def lock(self) -> Path:
        """Locked as long as a daemon lives on this state."""
        return self.state_dir / "lock"

    @property
    def spool_dir(self) -> Path:
        """Where a hook leaves its event when the daemon does not answer."""
        return self.state_dir / "spool"


def paths(environ: Mapping[str, str], *, run_user: Path = Path("/run/user"), uid: int | None = None) -> Paths:
    """Given the environment, return the paths: below `SESSIOND_HOME`, else in the platform's own places.

    Raises `ConfigError`, also for a socket whose path no system could bind.
    """
    return Paths(*map(Path, places.places(environ, run_user=str(run_user), uid=uid)))


def claude_root(environ: Mapping[str, str]) -> Path:
    """Return Claude Code's own folder: `$CLAUDE_CONFIG_DIR`, else `~/.claude`."""
    return Path(places.claude_root(environ))


def variable(environ: Mapping[str, str], name: str) -> Path | None:
    """Return the folder a variable names, None where it is empty or not set."""
    found = places.variable(environ, name)
    return None if found is None else Path(found)


def home(environ: Mapping[str, str]) -> Path:
    """Return the user's home: `HOME`, else what the system knows of this user."""
    return Path(places.home(environ) or "/")


def absolute(path: str, home: Path) -> Path:
    """Given a path as a person writes it, return it absolute, `~` expanded; nothing is looked up on disk.

    Raises `ValueError`, whose text is the reason.
    """
    return Path(places.absolute(path, str(home)))

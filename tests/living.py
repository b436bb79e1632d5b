"""The daemon in this process: wired as `sessiond run` wires it, in a home of its own, without its signals."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sessiond import client, process
from sessiond.app import App
from sessiond.logs import Log
from sessiond.notify import Notify
from sessionsync.config import load, paths
from tests.conftest import lines_of, poll
from tests.rig import Home, append, line


class Daemon(App):
    """The daemon, but for its end: this process goes on."""

    def end(self, exit_code: int = 0) -> None:
        """Remember how it would have ended."""
        self.exit_code = self.exit_code or exit_code


class Living:
    """An `App` that runs; its home's folders, and what `sessiond ctl` would be told."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.home = Home(folder)
        self.environ = {
            "HOME": str(folder),
            "PATH": "/usr/bin:/bin",
            "CLAUDE_CONFIG_DIR": str(self.home.agent),
            "SESSIOND_HOME": str(folder / "s"),
            "SESSIOND_BACKUP_MIRROR_DIR": str(self.home.mirror),
            "SESSIOND_BACKUP_VAULT_DIR": str(self.home.vault),
            "SESSIOND_SOURCES_PROJECTS": json.dumps([str(self.home.project)]),
            "SESSIOND_HTTP_LISTEN": '""',
            "GIT_CONFIG_NOSYSTEM": "1",
            **settings,
        }
        self.app: Daemon

    def start(self, *, scanned: bool = True) -> Self:
        """Start it and, with `scanned`, wait for its first look at everything."""
        where = paths(self.environ)
        config = load(self.environ, where.config_file)
        process.own(where.state_dir)
        log = Log(self.environ, level="debug", shape="json", folder=process.own(where.log_dir), quiet=True)
        self.app = Daemon(self.environ, config, where, log, Notify(self.environ))
        self.app.start()
        self.until(self.app.capture.scanned.is_set if scanned else self.app.capture.is_alive)
        return self

    def stop(self) -> None:
        """Stop it; an error where it would have ended by itself."""
        self.app.stop()
        self.app.log.close()
        assert self.app.exit_code == 0, f"a loop has failed: {self.lines('loop_failed')}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ctl(self, verb: str, *, acts: bool = False, **params: Any) -> dict[str, Any]:
        """What `sessiond ctl VERB --json` would print."""
        return client.request(self.app.paths.socket, verb, params, acts=acts, timeout_s=60)

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds that comes by itself."""
        poll(holds)

    def told(self, event: str) -> int:
        """How many events of this name are in the log."""
        return len(self.lines(event))

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What the log says of events of this name."""
        return [line for line in lines_of(self.app.paths.log_dir / "sessiond.log") if line["event"] == event]

    @contextmanager
    def heard(self, tell: Callable[[str], object]) -> Iterator[None]:
        """Have `tell` told of each statement of the state, whichever thread runs it.

        SQLite lets nobody change that while a statement runs, and who waits for it keeps what `tell` needs.
        """
        store = self.app.engine.store
        with store._lock:
            store._connection.set_trace_callback(tell)
        try:
            yield
        finally:
            with store._lock:
                store._connection.set_trace_callback(None)

    def copy_of(self, path: Path) -> Path:
        """Where the plain copy of a transcript is."""
        return self.home.mirror / "app" / path.name

    def is_copied(self, path: Path) -> bool:
        """Whether the plain copy of a transcript is all of it."""
        copy = self.copy_of(path)
        return copy.is_file() and copy.read_bytes() == path.read_bytes()

    def captured_bytes(self, path: Path) -> int:
        """How far a transcript is captured, as the state knows."""
        catalog = self.app.engine.catalog
        return catalog.files(catalog.resolve(path.stem).id)[path.name].length

    def codes(self) -> set[str]:
        """The findings that are open, consequences too."""
        return {found.code for found in self.app.health.open(time.time())}

    def write(self, path: Path | None = None, text: str = "hello") -> Path:
        """Let an agent write a message, into a session or a new one, which is there with it at once.

        One seen while it is still empty would have no project yet, and its copies would move.
        """
        path = path or self.home.transcript()
        new = path if path.exists() else path.with_suffix(".new")
        append(new, line("user", text, self.home.project, session=path.stem))
        new.rename(path)
        return path

    def transcript(self, text: str = "hello") -> Path:
        """Write a new session with a message in it, and make a checkpoint of it."""
        path = self.write(text=text)
        self.ctl("checkpoint", acts=True, session=path.stem)
        return path

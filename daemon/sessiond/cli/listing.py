"""`sessiond list`: from the daemon, else from what the last one left, else from the copies themselves."""

from __future__ import annotations

import os

from sessiond import client
from sessiond.cli.look import tell
from sessiond.cli.sessions import listed
from sessionsync.errors import DaemonNotRunning, DaemonSilent
from sessionsync.places import socket_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json
    from sessionsync.paths import Paths

NOTHING_YET = "Nothing was captured yet: `sessiond run` begins."


def show(project: str | None, *, as_json: bool) -> None:
    """Print the sessions of one project's folder, or all."""
    tell(sessions(project), listed, as_json=as_json)


def sessions(project: str | None) -> Json:
    """What `list --json` prints: the sessions of one project's folder, or all."""
    asked = {"project": project, "everywhere": True}
    try:
        return client.request(socket_of(os.environ), "sessions", asked, timeout_s=client.ASK_S)
    except (DaemonNotRunning, DaemonSilent):
        from sessionsync.paths import paths  # noqa: PLC0415 - the daemon knows

        where = paths(os.environ)
        return _left(where, project) if where.state_db.exists() else _found(where, project)


def _left(where: Paths, project: str | None) -> Json:
    import time  # noqa: PLC0415 - heavy, and the daemon knows
    from pathlib import Path  # noqa: PLC0415

    from sessiond.retrieval import strangers  # noqa: PLC0415
    from sessionsync import report  # noqa: PLC0415
    from sessionsync.catalog import Catalog  # noqa: PLC0415
    from sessionsync.config import load  # noqa: PLC0415
    from sessionsync.store import Store  # noqa: PLC0415

    config = load(os.environ, where.config_file)  # no daemon may be running because of them
    store = Store(where.state_db, read_only=True)
    try:
        catalog, folder = Catalog(store), None if project is None else Path(project)
        found = report.sessions(
            catalog, time.time(), folder, everywhere=True, strangers=strangers(config, catalog, folder)
        )
        return found if project or found["sessions"] else found | {"hint": NOTHING_YET}
    finally:
        store.close()


def _found(where: Paths, project: str | None) -> Json:
    """Where there is no state: what `restore` and `continue` would find."""
    from sessiond.retrieval import opened  # noqa: PLC0415 - as above
    from sessionsync import projects, report  # noqa: PLC0415
    from sessionsync.config import load  # noqa: PLC0415
    from sessionsync.restore.target import is_of  # noqa: PLC0415

    config = load(os.environ, where.config_file)
    with opened() as restoring:
        found = restoring.everything()
        if project is not None:
            key = projects.identify(project).key
            found = {session: copies for session, copies in found.items() if is_of(session, key)}
        said = [report.found_in(session, copies) for session, copies in found.items()]
        hints = [*restoring.notes]
    hints += [] if said else [NOTHING_YET]
    if config.has_archive:
        hints.append("What the archive holds of a project, `sessiond continue` finds in its folder.")
    return {"sessions": said, "hint": " ".join(hints)}

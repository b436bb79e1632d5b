"""`ctl reconstruct`: the best that can be made of what is left of a session, in a folder of its own."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sessiond.retrieval import Restoring
from sessionsync.config import paths
from sessionsync.errors import ArchiveUnreadable, CopyError, IndexBroken, NoSuchCopy, RemoteError
from sessionsync.events import silent
from sessionsync.model import Ref, SessionFile, rfc3339
from sessionsync.restore import Copy, Known, loadable
from sessionsync.restore.place import lay_out
from sessionsync.restore.reconstruct import session as made_of
from sessionsync.restore.records import Filed
from sessionsync.restore.remains import Remains, gather
from sessionsync.restore.restore import free
from sessionsync.search import Index
from sessionsync.sources import Source
from sessionsync.sources.claude import Claude
from sessionsync.sources.contexts import Contexts
from sessionsync.sources.messages import Messages
from sessionsync.sources.notes import Notes
from sessionsync.sources.places import Places
from sessionsync.sources.structured import Structured
from sessionsync.vault import Mirror, Vault
from sessionsync.vault.replaced import REPLACED, plain

Json = dict[str, Any]

REPORT = "report.json"
"""What is exact, inferred and missing, of each file and of each line."""


def reconstruct(restoring: Restoring, session: Known, out: Path | None, *, dry_run: bool) -> Json:
    """Make the best of what is left of a session; what lies where it was is never touched.

    It goes into `out`, which must be new or empty, else into a folder beside the state.

    Raises:
        NoSuchCopy: nothing is left of it.
        RestoreError: it could not be written.
    """
    found = made_of(session, _remains(restoring, session))
    if not found.files and not found.fragments:
        raise NoSuchCopy(
            " ".join([f"Nothing is left of session {session.name}.", *found.notes]),
            hint="If it is on GitHub, see that this machine may read it there.",
        )
    report = {
        "session": session.ref.session_id,
        "source": session.ref.source,
        "title": session.title,
        "made_at": rfc3339(time.time()),
        **found.report(),
    }
    files = {name: made.data for name, made in found.files.items()} | found.fragments
    files[REPORT if REPORT not in files else f"sessiond-{REPORT}"] = (
        json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    ).encode("utf-8", "replace")
    with tempfile.TemporaryDirectory(prefix="sessiond-") as scratch:
        folder = Path(scratch, "made") if dry_run else out or _folder_for(session)
        lay_out(files, folder, time.time())
        main = folder / f"{session.session_id}.jsonl"
        problems = loadable(main) if session.ref.source == "claude" and main.exists() else []
    return report | {
        "files": [{name: of[name] for name in of if name != "lines"} for of in report["files"]],
        "notes": [*restoring.remarks, *found.notes],
        "path": None if dry_run else str(folder),
        "complete": not found.missing and all(made.exact for made in found.files.values()),
        "problems": problems,
    }


def _remains(restoring: Restoring, session: Known) -> Remains:
    """All that is held of it, here and on GitHub."""
    backup, catalog = restoring.config.backup, restoring.catalog
    notes: list[str] = []
    index: Index | None = None
    try:
        if catalog is not None:
            index = Index(paths(os.environ).index_db, catalog.store.meta("state"), read_only=True)
    except IndexBroken as error:
        notes.append(str(error))
    try:
        remains = gather(
            session,
            vault=Vault(backup.vault_dir),
            mirror=Mirror(backup.mirror_dir),
            replaced=backup.mirror_dir / REPLACED,
            live=_present(restoring, session),
            away=_archived(restoring, session, notes),
            filed=_filed(restoring, session, notes),
            catalog=catalog,
            index=index,
        )
    finally:
        if index is not None:
            index.close()
    remains.notes[:0] = notes
    return remains


def _archived(restoring: Restoring, session: Known, notes: list[str]) -> Sequence[Copy]:
    """The copies in the archive, the oldest first."""
    if restoring.archive is None:
        return ()
    try:
        return restoring.archive.copies(session)
    except ArchiveUnreadable as error:
        notes.append(str(error))
        return ()
    except (RemoteError, CopyError) as error:
        notes.append(f"The archive was not asked: {error}")
        return ()


def _filed(restoring: Restoring, session: Known, notes: list[str]) -> Filed | None:
    if restoring.records is None:
        return None
    try:
        return restoring.records.find(session)
    except RemoteError as error:
        notes.append(f"GitHub was not asked: {error}")
        return None


def _present(restoring: Restoring, session: Known) -> Sequence[SessionFile]:
    """What the session's own folders still have of it."""
    agents = restoring.config.claude_roots(os.environ)
    project = Path(os.path.realpath(session.folder or "/"))
    places = Places(lambda: [project], silent)
    sources: dict[str, Source] = {
        "claude": Claude(agents, silent),
        "structured": Structured(places, silent),
        "note": Notes(places, silent, agents),
        "context": Contexts(places, silent),
        "messages": Messages(places, silent),
    }
    source = sources.get(session.ref.source)
    scope = "" if session.ref.source == "claude" else str(project)
    found = source.look(Ref(session.ref.source, session.session_id, scope)) if source is not None else None
    return found.files if found is not None else ()


def _folder_for(session: Known) -> Path:
    made = datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%dT%H%M%SZ")
    return free(paths(os.environ).state_dir / "reconstructed" / f"{plain(session.ref.session_id)}.{made}")

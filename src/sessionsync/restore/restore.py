"""The step itself: from copies to a session in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sessionsync.errors import CopyError, CopyIncomplete, NoSuchCopy, RecordError, RemoteError, SessionLive
from sessionsync.hands import Hands
from sessionsync.model import SessionFile
from sessionsync.restore import choice
from sessionsync.restore.choice import Choice
from sessionsync.restore.copies import Copy, Shelf, main_of
from sessionsync.restore.kept import KeptCopy, KeptShelf
from sessionsync.restore.known import Known
from sessionsync.restore.loadable import loadable
from sessionsync.restore.place import Placing
from sessionsync.restore.target import Alive, Put, Target
from sessionsync.vault.replaced import REPLACED, plain

Confirm = Callable[[Copy], None]
"""Is asked before a copy is put back; raises NotConfirmed."""
Settle = Callable[[Copy, Target], None]
"""Is told when nothing speaks against a copy any more, just before its first file is in its place."""


@dataclass(slots=True)
class Restored:
    """What was done.  `kept` is where what was replaced went, None where nothing was.

    `missing` are companions that could not be read; `changed` is False where all of it was there already;
    `problems` are what the agent will stumble over (see `loadable`).
    """

    copy: Copy
    target: Target
    files: int
    size: int
    changed: bool
    kept: Path | None = None
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every file of the copy is there."""
        return not self.missing and not self.copy.doubtful

    @property
    def exit_code(self) -> int:
        """0, 1 where something is missing, 5 where something is redacted, or was united from several."""
        if not self.complete:
            return 1
        return 0 if self.copy.exact and not self.copy.united else 5


class Shelves:
    """The places where copies lie.  One that does not answer is passed over, and said in `notes`."""

    def __init__(self, shelves: Sequence[Shelf]) -> None:
        self._shelves = list(shelves)
        self._silent: RemoteError | None = None
        self.notes: list[str] = []

    @property
    def names(self) -> list[str]:
        """What `--from` may name now."""
        return list(dict.fromkeys(shelf.name for shelf in self._shelves))

    @property
    def places(self) -> list[str]:
        """Those of them that are set up: what others' records held may be kept here without GitHub."""
        return [shelf.name for shelf in self._shelves if not isinstance(shelf, KeptShelf)]

    def copies(self, session: Known, origin: str = "") -> list[Copy]:
        """The copies of a session, of one place or of all.

        Raises:
            NoSuchCopy: that place is not set up.
            RemoteError: GitHub was named, and does not answer.
            RecordError: GitHub was named, and what it holds is not whole.
            CopyError: a folder was named, and cannot be read.
        """
        if origin and origin not in self.names:
            raise NoSuchCopy(
                f"Nothing can be restored from {origin}: it is not set up.",
                hint=f"Without it there are: {', '.join(self.places)}.",
            )
        found: list[Copy] = []
        failed: RemoteError | CopyError | RecordError | None = None
        for shelf in self._shelves:
            if origin not in {"", shelf.name}:
                continue
            try:
                found.extend(shelf.copies(session))
            except (RemoteError, CopyError, RecordError) as error:
                failed = error
                self.notes.append(f"Nothing is known of copies in {shelf.name}: {error}")
                self._silent = error if isinstance(error, RemoteError) else self._silent
        if origin and not found and failed is not None:
            raise failed
        return found

    def choose(self, session: Known, *, origin: str = "", at: str = "") -> Choice:
        """The copies to try, the best first.

        Raises:
            NoSuchCopy: there is none, or none in that place.
            RemoteError: there is none here, and GitHub does not answer.
            NoSuchCheckpoint: there is none of that name.
            ArchiveUnreadable: it cannot be read here.
        """
        copies = self.copies(session, origin)
        if at:
            from sessionsync.restore.archived import ArchiveShelf  # noqa: PLC0415 - mostly it is not asked

            archives = [shelf for shelf in self._shelves if isinstance(shelf, ArchiveShelf)]
            return choice.named(session, copies, at, [each for shelf in archives for each in shelf.unread])
        if not copies and self._silent is not None:
            raise self._silent
        if not copies:
            where = f"in {origin}" if origin else "that could be restored"
            raise NoSuchCopy(
                " ".join([f"There is no copy of session {session.name} {where}.", *self.notes]),
                hint=f"`sessiond restore {session.name} --list` shows what there is.",
            )
        return choice.newest(session, [copy for copy in copies if not isinstance(copy, KeptCopy)])


def put_back(
    session: Known,
    chosen: Choice,
    target: Callable[[Copy], Target],
    *,
    confirm: Confirm,
    settle: Settle,
    keep_in: Path,
    now: float,
    alive: Alive,
    force: bool,
    progress: Callable[[int, int], object],
    hands: Hands = map,
) -> Restored:
    """Put the first of these copies that is whole into its place.

    `target` says where a copy goes; `settle` is told before it goes there; `progress` is told (bytes
    written, bytes in all); what is replaced is kept below `keep_in`, the folder of the plain copies;
    `hands` make what is written durable, and read it back.

    Raises:
        CopyIncomplete: none is whole.
        SessionLive: it is open, or newer than the copy, and not `force`.
        NotConfirmed: a person said no, or none was there to be asked.
        RestoreError: it could not be written.  Nothing is changed then.
    """
    time = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    kept_in = free(keep_in / REPLACED / f"{plain(session.ref.session_id)}.{time}")
    notes = list(chosen.notes)
    failed: CopyIncomplete | None = None
    for copy in chosen.copies:
        place = target(copy)
        puts, left = place.puts(copy.files())
        if not puts:
            failed = failed or CopyIncomplete(
                f"The copy in {copy.origin} holds none of the files that a session has.",
                hint="`sessiond restore ID --list` shows the others.",
            )
            continue
        confirm(copy)
        total, done = sum(put.file.size for put in puts), 0

        def tell(more: int, total: int = total) -> None:
            nonlocal done
            done += more
            progress(done, total)

        problems = _Problems(session, copy)
        with Placing(kept_in, now, tell, hands) as placing:
            try:
                placing.stage(copy, puts, problems.look)
            except CopyIncomplete as error:
                failed = failed or error
                notes.append(f"{_called(copy)} is passed over: {error}")
                continue
            gone = _judge(placing, place, puts, session, now=now, alive=alive, force=force)
            settle(copy, place)
            if gone is not None:
                placing.commit(gone, place.root)
            placing.freshen()
            if left:
                names = ", ".join(file.name for file in left[:3])
                notes.append(f"{len(left)} of its files have no place there and stay in the backup: {names}")
            if placing.lines_ended:
                notes.append(
                    f"A newline was added at the end of {placing.lines_ended} of its files: the agent would"
                    " write its next line behind the last one.  All other bytes are those of the copy."
                )
            return Restored(
                copy=copy,
                target=place,
                files=len(puts) - len(placing.missing),
                size=total,
                changed=gone is not None,
                kept=kept_in if placing.kept else None,
                missing=list(placing.missing),
                notes=notes,
                problems=problems.found,
            )
    raise failed or CopyIncomplete(
        f"There is no copy of session {session.name} that is whole.", hint="See --list."
    )


def _judge(
    placing: Placing,
    place: Target,
    puts: Sequence[Put],
    session: Known,
    *,
    now: float,
    alive: Alive,
    force: bool,
) -> list[SessionFile] | None:
    """What must go from the place, unless something speaks against it; None where all is there already."""
    present = place.present()
    rivals, extras = place.in_the_way(puts, present)
    against = placing.compare(rivals, extras)
    if not placing.changes and not rivals and not extras:
        return None
    if not force:
        if (against or place.held_open) and (why := place.live(present, now, alive)):
            raise SessionLive(
                f"Session {session.name} is open: {why}.",
                hint="End it and wait two minutes, or use --out DIR; --force writes all the same.",
            )
        if against:
            raise SessionLive(
                f"What is there of session {session.name} is newer, or goes another way: {against[0]}.",
                hint="--out DIR writes elsewhere; --force replaces it, and keeps what is replaced.",
            )
    return [*rivals, *extras]


class _Problems:
    """What the agent will stumble over in the transcript that is put; `found` once it was looked at."""

    def __init__(self, session: Known, copy: Copy) -> None:
        self._main = main_of(copy) if session.ref.source == "claude" else None
        is_headless = session.ref.source == "claude" and self._main is None
        self.found = ["its transcript was never captured: only subagents are there"] if is_headless else []

    def look(self, put: Put, draft: Path) -> None:
        if self._main is not None and put.file.name == self._main.name:
            self.found = loadable(draft, put.path.stem)


def _called(copy: Copy) -> str:
    return (
        f"checkpoint {copy.checkpoint} in {copy.origin}" if copy.checkpoint else f"the copy in {copy.origin}"
    )


def free(folder: Path) -> Path:
    """The folder, with a number behind its name where that is taken."""
    number, free = 1, folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free

"""What is known of GitHub: which issues and comments hold which records.

A cache of GitHub's own markers: losing it costs one complete listing an issue, never a double.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

from sessionsync.store import Store


@dataclass(slots=True)
class Placement:
    """An issue that takes comments of one project.

    `volume` counts on where an earlier issue is full.  `ours` says that sessiond made it and keeps
    its body.  `intended_at` is set before the issue is asked for and stays until its number is
    known.  `listed_at` is when all its comments were last listed, None until then; `since` and
    `etag` continue from there.  `total` is how many comments of anybody it has.
    """

    id: int
    repository: int
    project_key: str
    volume: int
    number: int | None = None
    ours: bool = True
    intended_at: float | None = None
    listed_at: float | None = None
    since: str = ""
    etag: str = ""
    total: int = 0
    index_sha: str = ""


@dataclass(slots=True)
class Held:
    """A comment that holds a part of a record, by an author that counts.

    `sha256` is the marker's, `intact` whether it fits the comment as it is now; `kept` is the text
    that a person put around the record.  The rest is what the record in part 1 says: `said_at` is its
    `updated_at`, `files_sha` its `sha256`, `critical` a hash of its critical data.
    """

    repository: int
    id: int
    issue: int
    session_id: str
    part: int
    parts: int
    revision: int
    sha256: str
    intact: bool
    author: str
    updated_at: str
    title: str = ""
    tier: str = ""
    kept: str = ""
    source: str = ""
    host: str = ""
    machine: str = ""
    said_at: str = ""
    size: int = 0
    files_sha: str = ""
    critical: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """What was last completely sent of a session: revision and hash of its content, 0 and '' for nothing yet.

    `issue` is where its newest comment was asked for.  `sha256` and `critical` are of the part 1 that holds
    it, or that is newer and holds all of it: what is not these was written by somebody else since.
    """

    issue: int
    revision: int
    content: str
    sha256: str = ""
    critical: str = ""


_PLACEMENT = [f.name for f in fields(Placement)]
_HELD = [f.name for f in fields(Held)]


class Placements:
    """Issues, comments, sent records and creations in the store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    # --- issues

    def of_project(self, repository: int, project_key: str) -> list[Placement]:
        """The project's issues in this repository, first volume first."""
        return self._placements(
            "repository = ? AND project_key = ? ORDER BY volume", (repository, project_key)
        )

    def placement(self, number: int) -> Placement | None:
        """The placement of this row number."""
        found = self._placements("id = ?", (number,))
        return found[0] if found else None

    def of_issue(self, repository: int, issue: int) -> list[Placement]:
        """Every placement that uses this issue."""
        return self._placements("repository = ? AND number = ?", (repository, issue))

    def _placements(self, condition: str, parameters: tuple[object, ...]) -> list[Placement]:
        rows = self.store.rows(f"SELECT {', '.join(_PLACEMENT)} FROM issues WHERE {condition}", parameters)
        found = [Placement(*row) for row in rows]
        for placement in found:
            placement.ours = bool(placement.ours)
        return found

    def save(self, placement: Placement) -> None:
        """Insert or update; gives a new one its id."""
        values = astuple(placement)[1:]
        if placement.id:
            assignments = ", ".join(f"{name} = ?" for name in _PLACEMENT[1:])
            self.store.execute(f"UPDATE issues SET {assignments} WHERE id = ?", (*values, placement.id))
        else:
            marks = ", ".join("?" * len(values))
            placement.id = self.store.insert(
                f"INSERT INTO issues ({', '.join(_PLACEMENT[1:])}) VALUES ({marks})", values
            )

    def forget(self, placement: Placement) -> None:
        """The issue is gone from GitHub; so are its comments."""
        with self.store.transaction():
            self.store.execute("DELETE FROM issues WHERE id = ?", (placement.id,))
            self.store.execute(
                "DELETE FROM comments WHERE repository = ? AND issue = ?",
                (placement.repository, placement.number),
            )

    # --- comments

    def hold(self, comments: Iterable[Held]) -> None:
        """Insert or update comments."""
        marks = ", ".join("?" * len(_HELD))
        with self.store.transaction():
            for comment in comments:
                self.store.execute(
                    f"INSERT OR REPLACE INTO comments ({', '.join(_HELD)}) VALUES ({marks})", astuple(comment)
                )

    def replace(self, repository: int, issue: int, comments: Iterable[Held]) -> None:
        """After a complete listing: these comments of the issue are all there are."""
        with self.store.transaction():
            self.store.execute("DELETE FROM comments WHERE repository = ? AND issue = ?", (repository, issue))
            self.hold(comments)

    def drop(self, repository: int, comment: int) -> None:
        """The comment is gone from GitHub, or is no record any more."""
        self.store.execute("DELETE FROM comments WHERE repository = ? AND id = ?", (repository, comment))

    def comment(self, repository: int, comment: int) -> Held | None:
        """A comment, as it was when it was last read."""
        found = self._held("repository = ? AND id = ?", (repository, comment))
        return found[0] if found else None

    def everywhere(self) -> list[Held]:
        """Every first part that is known of, in whichever issue, the newest first."""
        return self._held("part = 1 ORDER BY said_at DESC, id", ())

    def held(self, repository: int, session_id: str) -> list[Held]:
        """Every comment that claims to be a part of the session's record, oldest first."""
        return self._held("repository = ? AND session_id = ? ORDER BY id", (repository, session_id))

    def in_issue(self, repository: int, issue: int) -> list[Held]:
        """Every first part in an issue, oldest first: what its index lists."""
        return self._held("repository = ? AND issue = ? AND part = 1 ORDER BY id", (repository, issue))

    def _held(self, condition: str, parameters: tuple[object, ...]) -> list[Held]:
        rows = self.store.rows(f"SELECT {', '.join(_HELD)} FROM comments WHERE {condition}", parameters)
        found = [Held(*row) for row in rows]
        for comment in found:
            comment.intact = bool(comment.intact)
        return found

    # --- what was sent

    def sent(self, session: int, repository: int) -> Sent | None:
        """What was last completely sent of a session."""
        row = self.store.row(
            "SELECT issue, revision, content, sha256, critical FROM records"
            " WHERE session = ? AND repository = ?",
            (session, repository),
        )
        return Sent(*row) if row else None

    def newest_sent(self, session: int) -> Sent | None:
        """What was last completely sent of a session, to whichever repository."""
        row = self.store.row(
            "SELECT issue, revision, content, sha256, critical FROM records"
            " WHERE session = ? AND revision > 0 ORDER BY revision DESC",
            (session,),
        )
        return Sent(*row) if row else None

    def save_sent(self, session: int, repository: int, sent: Sent) -> None:
        """Remember what was completely sent."""
        self.store.execute(
            "INSERT OR REPLACE INTO records (session, repository, issue, revision, content, sha256, critical)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (session, repository, *astuple(sent)),
        )

    def intend(self, session: int, repository: int, issue: int) -> None:
        """A comment of the session is about to be created there: without an answer it is looked for there."""
        self.store.execute(
            "INSERT INTO records (session, repository, issue, revision, content) VALUES (?, ?, ?, 0, '')"
            " ON CONFLICT (session, repository) DO UPDATE SET issue = excluded.issue",
            (session, repository, issue),
        )

    # --- the pace

    def created(self, at: float) -> None:
        """An issue or comment is about to be created: it counts whether or not the answer arrives."""
        with self.store.transaction():
            self.store.execute("INSERT INTO creations (at) VALUES (?)", (at,))
            self.store.execute("DELETE FROM creations WHERE at < ?", (at - 3600,))

    def creations(self) -> list[float]:
        """When something was created in the last hour, oldest first."""
        return [row[0] for row in self.store.rows("SELECT at FROM creations ORDER BY at")]

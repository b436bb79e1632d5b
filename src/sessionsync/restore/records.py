"""The copies that GitHub's comments hold, and what the records there tell of sessions.

Works from nothing but a repository and a token: a fresh machine and a CI runner know no issue yet.  Only
records count whose authors do; see `Trusted`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sessionsync.errors import Lagging, Missing, NotPermitted, RecordError
from sessionsync.model import Ref, checkpoint_id, unix_seconds
from sessionsync.remote import comments
from sessionsync.remote.authors import Trusted
from sessionsync.remote.comments.record import SCHEMA
from sessionsync.remote.github import Comment, GitHub, Issue
from sessionsync.restore.copies import CopyFile
from sessionsync.restore.known import Known, own_id
from sessionsync.sources.papers import issue_of
from sessionsync.sources.roles import role_of
from sessionsync.vault import StoredFile

LABEL = "sessiond"
STREWN_PAGES = 20


@dataclass(frozen=True, slots=True, eq=False)
class Filed:
    """A session's record on GitHub.

    `contents` are its files where its tier has them in the comment; `problem` says why they cannot be
    had.  `project_hash` is the issue's, '' where a person's issue holds the record.
    """

    session_id: str
    record: comments.Record
    contents: Mapping[str, bytes] | None
    author: str
    issue: int
    project_hash: str = ""
    problem: str = ""

    @property
    def at(self) -> float:
        """When the session was last changed, Unix seconds; 0.0 where the record does not say."""
        try:
            return unix_seconds(self.record.updated_at)
        except (ValueError, OverflowError):
            return 0.0

    def known(self) -> Known:
        """The session as its record tells of it."""
        record = self.record
        ref = Ref(record.source or "claude", self.session_id)
        return Known(
            ref=ref,
            session_id=own_id(ref, record.local_path),
            project_key=f"github.com/{record.context.repo.lower()}" if record.context.repo else "",
            project_hash=self.project_hash,
            title=record.title,
            changed_at=self.at,
            issue=self.issue,
        )


@dataclass(frozen=True, slots=True, eq=False)
class RecordCopy:
    """What a comment holds of a session."""

    filed: Filed
    contents: Mapping[str, bytes]
    origin: str = "github"
    alias: str = ""
    doubtful: bool = False
    united: bool = False
    main: StoredFile | None = None

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint that was sent: the newest that is as old as the record."""
        record = self.filed.record
        named = [c.id for c in record.critical_data.checkpoints if c.at == record.updated_at]
        return named[-1] if named else checkpoint_id(self.filed.at)

    @property
    def at(self) -> float:
        """When it was made."""
        return self.filed.at

    @property
    def revision(self) -> int:
        """The record's revision, which grows whoever writes it."""
        return self.filed.record.revision

    @property
    def exact(self) -> bool:
        """Whether redaction changed no file."""
        return all(entry.sha256 is not None for entry in self.filed.record.files)

    @property
    def author(self) -> str:
        """The login that wrote the record."""
        return self.filed.author

    def files(self) -> list[CopyFile]:
        """The files in the comment."""
        source = self.filed.record.source or "claude"
        return [CopyFile(name, len(data), role_of(source, name)) for name, data in self.contents.items()]

    def read(self, file: CopyFile) -> Iterator[bytes]:
        """Its bytes, which fitted the record's hashes."""
        yield self.contents[file.name]


class RecordShelf:
    """Records in the issues of one repository.  Each issue is read once."""

    name = "github"

    def __init__(self, github: GitHub, *, authors: Sequence[str], issue: int = 0) -> None:
        self._github = github
        self._authors = tuple(authors)
        self._issue = issue
        self._login: str | None = None
        self._asked = False
        self._labelled: list[Issue] | None = None
        self._said: dict[int, list[Comment]] = {}
        self._strewn: dict[str, set[int]] | None = None
        self._read: dict[int, list[tuple[Comment, comments.Part]]] = {}

    @property
    def login(self) -> str:
        """The token's own login; '' where GitHub does not say, as to a token of Actions."""
        if not self._asked:
            self._asked = True
            try:
                self._login = self._github.login()
            except NotPermitted:
                self._login = None
        return self._login or ""

    def copies(self, session: Known) -> list[RecordCopy]:
        """The session's copy, where its record holds one.

        Raises:
            RecordError: there is a record, but it is not whole, or of a format that is not known here.
            RemoteError: GitHub does not answer.
        """
        filed = self.find(session)
        if filed is not None and filed.problem:
            raise RecordError(filed.problem, hint="Another copy may be whole: `sessiond restore ID --list`.")
        if filed is None or filed.contents is None:
            return []
        return [RecordCopy(filed, filed.contents)]

    def find(self, session: Known) -> Filed | None:
        """The session's record: in the issue it was last in, in those of its project, or in any other."""
        for group in self._groups(session.project_key, session.issue or _issue_of(session.ref.session_id)):
            for filed in self._records(group, session.ref.session_id):
                if _is_same(filed, session):
                    return filed
        strays = self._strays(session.ref.session_id.__eq__)
        return next((filed for filed in strays if _is_same(filed, session)), None)

    def named(self, text: str, here: str = "") -> list[Filed]:
        """Every record whose session is called `text`, or begins so; those of the project `here` first."""
        source, _, rest = text.partition(":")
        for word in (text, rest):
            groups = self._groups(here, _issue_of(word))
            exact = [filed for group in groups for filed in self._records(group, word)]
            exact = exact or self._strays(word.__eq__)
            if found := [f for f in exact if word == text or f.record.source == source]:
                return found
        begun = self._strays(lambda session_id: session_id.startswith((text, rest or text)))
        return [
            filed
            for filed in [*self.all(here), *begun]
            if filed.session_id.startswith(text)
            or (rest and filed.record.source == source and filed.session_id.startswith(rest))
        ]

    def all(self, here: str = "") -> list[Filed]:
        """Every record, those of the project `here` first."""
        return [filed for group in self._groups(here) for filed in self._records(group)]

    def of_project(self, key: str) -> list[Filed]:
        """The records in the issues of one project."""
        sought = comments.project_hash(key)
        groups = (group for group in self._groups(key) if group and group[0][1] == sought)
        return [filed for group in groups for filed in self._records(group)]

    def about(self, *, issue: int = 0, pull: int = 0, here: str = "") -> list[Filed]:
        """The records about an issue or a pull request, by their context or because they lie in it.

        An issue that lists a project's sessions is about none of them, whatever its number.
        """
        found = [
            filed
            for filed in self.all(here)
            if (issue and filed.record.context.issue == issue) or (pull and filed.record.context.pr == pull)
        ]
        if (number := issue or pull) not in {index for index, _, _ in self._indexes()}:
            found += self._records([(number, "")])
        return list({(filed.record.source, filed.session_id): filed for filed in reversed(found)}.values())

    def said(self, issue: int) -> list[Comment]:
        """Every comment of an issue, whoever wrote it; RemoteError where GitHub does not answer."""
        if issue not in self._said:
            self._said[issue] = self._listing(issue)
        return self._said[issue]

    def counts(self, author: str, association: str) -> bool:
        """Whether a record by this author would be believed."""
        return self._trusted.counts(author, association)

    # --- issues

    def _strays(self, is_meant: Callable[[str], object]) -> list[Filed]:
        """Records in persons' issues, which bear no label: found where the repository lists its comments.

        One request for 100 comments, the newest `STREWN_PAGES` hundred, once.
        """
        if self._strewn is None:
            self._strewn = {}
            for page in self._github.newest_comments(most_pages=STREWN_PAGES):
                for comment in page:
                    part = comments.parse(comment.text)
                    if part is not None and self.counts(comment.author, comment.author_association):
                        issue = int(comment.issue_url.rpartition("/")[2] or 0)
                        self._strewn.setdefault(part.session_id, set()).add(issue)
        labelled = {issue.number for issue in self._issues()}
        return [
            filed
            for session_id, issues in self._strewn.items()
            if is_meant(session_id) is True
            for number in sorted(issues - labelled - {self._issue})
            for filed in self._records([(number, "")], session_id)
        ]

    def _groups(self, here: str, also: int = 0) -> Iterator[list[tuple[int, str]]]:
        """The issues of each project, all volumes, as (number, project); that of `here` first.

        Of two issues that say they are the same volume the lower number comes first.  Persons' issues are
        a group each: that of the settings, and `also`.
        """
        projects: dict[str, list[tuple[int, int]]] = {}
        for number, project, volume in self._indexes():
            projects.setdefault(project, []).append((volume, number))
        first = comments.project_hash(here) if here else ""
        numbers = {number for its in projects.values() for _, number in its}
        for number in dict.fromkeys((self._issue, also)):
            if number and number not in numbers:
                yield [(number, "")]
        for project in sorted(projects, key=lambda project: project != first):
            yield [(number, project) for _, number in sorted(projects[project])]

    def _indexes(self) -> Iterator[tuple[int, str, int]]:
        """The issues that sessiond made to list a project's sessions: (number, project, volume)."""
        for issue in self._issues():
            marker = comments.parse_project_marker(issue.text)
            if marker is not None and self._trusted.counts(issue.author, issue.author_association):
                yield issue.number, marker.project, marker.volume

    def _issues(self) -> list[Issue]:
        if self._labelled is None:
            self._labelled = self._github.find_issues(LABEL)
        return self._labelled

    @property
    def _trusted(self) -> Trusted:
        return Trusted(self.login, self._authors)

    # --- records

    def _records(self, group: Sequence[tuple[int, str]], only: str | None = None) -> list[Filed]:
        """The records in one project's issues; a record may go over from one volume into the next."""
        parts: dict[str, list[tuple[int, Comment, comments.Part]]] = {}
        for number, _ in group:
            for comment, part in self._parts(number):
                if only in {None, part.session_id}:
                    parts.setdefault(part.session_id, []).append((number, comment, part))
        project = group[0][1] if group else ""
        found = (_assembled(session_id, its, project) for session_id, its in parts.items())
        return [filed for filed in found if filed is not None]

    def _parts(self, number: int) -> list[tuple[Comment, comments.Part]]:
        if number not in self._read:
            self._read[number] = [
                (comment, part)
                for comment in self.said(number)
                if self._trusted.counts(comment.author, comment.author_association)
                and (part := comments.parse(comment.text)) is not None
            ]
        return self._read[number]

    def _listing(self, number: int) -> list[Comment]:
        try:
            return self._github.complete_comments(number)
        except Lagging:
            return self._github.comments(number).items or []
        except Missing:
            return []


def _assembled(
    session_id: str, parts: Iterable[tuple[int, Comment, comments.Part]], project: str
) -> Filed | None:
    """The newest whole record among the parts, else what the newest first part says of it."""
    chosen: dict[tuple[int, int], comments.Part] = {}
    firsts: list[tuple[comments.Record, int, str]] = []
    wrong = ""
    for number, comment, part in parts:
        wrong = wrong or (part.problem and f"part {part.part} of its record: {part.problem}")
        if not part.problem:  # of doubles the oldest counts
            chosen.setdefault((part.revision, part.part), part)
        if part.part == 1 and part.record is not None:
            firsts.append((part.record, number, comment.author))
    if not firsts:
        return None
    contents, problem = None, ""
    try:
        record, contents = comments.assemble(chosen.values())
    except RecordError as error:
        record = max((first[0] for first in firsts), key=lambda said: said.revision)
        problem = wrong or str(error)
    if record.schema > SCHEMA:
        contents, problem = None, _newer(record.schema)
    _, issue, author = next(first for first in firsts if first[0] == record)
    return Filed(session_id, record, contents, author, issue, project, problem)


def _issue_of(session_id: str) -> int:
    """The issue that a context file's record lies in, by its name `context.<PROJECT>.<stem>`; 0 of others."""
    source, _, rest = session_id.partition(".")
    return issue_of(f"{rest.rpartition('.')[2]}.md") if source == "context" else 0


def _newer(schema: int) -> str:
    return f"the record is of schema {schema}, which a newer sessiond wrote: update this one"


def _is_same(filed: Filed, session: Known) -> bool:
    """Whether a record is of this session: an id that a person chose may be another one's elsewhere."""
    found = filed.known()
    if found.ref.source != session.ref.source:
        return False
    if session.ref.source == "claude" or not session.project_key:
        return True
    if found.project_hash:
        return found.project_hash == comments.project_hash(session.project_key)
    return found.project_key in {"", session.project_key}

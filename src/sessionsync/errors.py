"""Everything that can go wrong, as one tree.

The class decides what happens next, never the text.  Every error has a stable `code`, a message
(what happened, to what) and a `hint` (what to do next).

    SessiondError
    ├── ConfigError            a setting is wrong; nothing starts until it is mended
    ├── IdentityUnusable       an identity file cannot be read, made, or is none; it is left as it is
    ├── NotAllowed             the state, the socket or a backup belongs to another user
    ├── OutputFailed           it is done or known, but where it should be written takes nothing
    ├── AlreadyRunning         another daemon holds the lock
    ├── NoSuchSession          no session has this id
    │   └── AmbiguousSession   several have it
    ├── NoSuchCheckpoint       the session has no such checkpoint
    ├── UsageError             a command line, or a request to the daemon, makes no sense
    ├── DaemonError            what the daemon answered; code and exit code are its own
    │   ├── DaemonNotRunning   nobody listens on its socket
    │   └── DaemonSilent       somebody listens, but does not answer in time
    ├── ServiceFailed          systemd or launchd did not do what was asked
    ├── StoreError             the state file cannot be used
    │   ├── StoreCorrupt       its content is broken: it is set aside and rebuilt
    │   ├── StoreTooNew        a newer sessiond wrote it: refused
    │   └── StoreFull          its disk is full or read-only: capture stops
    ├── CopyError              a local copy could not be made or verified
    │   ├── DiskFull           no space, or read-only: capture stops, pushing goes on
    │   ├── CopyMismatch       source and copy disagree, or stored bytes are not what was stored
    │   ├── VaultTooNew        a newer sessiond has written to the backup: refused
    │   └── ArchiveUnreadable  a copy in the archive may be whole, and is not for this machine to read
    │       ├── ArchiveTooNew  a newer sessiond wrote it
    │       └── ArchiveSealed  it is encrypted, and the identity is missing, or another's
    ├── RestoreError           a session could not be put back; what was there is as it was
    │   ├── SessionLive        it is open, or what lies there is newer
    │   ├── NoSuchCopy         there is no copy of it, or not in that place
    │   ├── CopyIncomplete     there is one, but its bytes are damaged or not all there
    │   ├── ProjectElsewhere   its project is not on this machine
    │   └── NotConfirmed       a person is to be asked, and nobody is there
    ├── NoteError              a note could not be made
    │   ├── NoteExists         there is one of that name already
    │   └── NoSuchNote         there is none about that
    ├── ConversationError      what a program keeps of a conversation could not be read or written
    │   └── ConversationDamaged   nothing of it can be read
    ├── MessageInvalid         a message is none, and was not taken
    ├── IndexBroken            the search index cannot be used: it is rebuilt
    ├── NumbersBroken          the numbers for `stats` cannot be used: they are made again
    ├── QueryInvalid           a search for nothing
    ├── RecordError            a comment is not a record of ours, or not a whole one
    ├── RedactionFailed        the privacy gate failed: this item stops, nothing is sent
    └── RemoteError            GitHub did not do what was asked
        ├── Unreachable        no answer, or a cut one: retried for ever, the write may have happened
        ├── ServerFailed       5xx: retried for ever, the write may have happened
        ├── Limited            a rate limit: nobody's fault, wait until `retry_at`
        ├── TokenRefused       401: pushing pauses until the token is replaced
        ├── NotPermitted       403 for want of a right, or an archived repository: pushing pauses
        │   └── RepositoryPublic   readable by everyone, and nobody said that this is meant
        ├── RepositoryMissing  404 or 410 for the repository itself: pushing pauses
        ├── Missing            404 or 410 for an issue or a comment: looked up anew
        ├── Lagging            a list is older than what it lists: read again later
        ├── IssueFull          the issue takes no more comments: the next issue is used
        ├── IssueLocked        the issue takes no comment from this token
        ├── Refused            4xx for good: the item is buried with its bytes
        └── GitFailed          the git program is missing, or failed on this machine
"""

from __future__ import annotations


class SessiondError(Exception):
    """The root.  `str()` is the message; `hint` says what to do next."""

    code = "internal"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(SessiondError):
    """A setting is unknown or has a value that is not allowed."""

    code = "config_invalid"
    exit_code = 78


class IdentityUnusable(SessiondError):
    """An identity file cannot be read or made, or is none."""

    code = "identity_unusable"


class NotAllowed(SessiondError):
    """The state folder, socket or backup belongs to another user."""

    code = "not_allowed"
    exit_code = 77


class OutputFailed(SessiondError):
    """What was asked is done or known, but where it should be written takes nothing."""

    code = "output_failed"


class AlreadyRunning(SessiondError):
    """Another daemon holds the lock of the state or of the vault."""

    code = "already_running"
    exit_code = 75


class NoSuchSession(SessiondError):
    """No session has this id."""

    code = "no_such_session"
    exit_code = 4


class AmbiguousSession(NoSuchSession):
    """More than one session has this id; the message lists them."""

    code = "ambiguous_session"
    exit_code = 2


class NoSuchCheckpoint(SessiondError):
    """The session has no checkpoint of that id, alias or time."""

    code = "no_such_checkpoint"
    exit_code = 4


class UsageError(SessiondError):
    """A command line, or a request to the daemon, makes no sense."""

    code = "usage"
    exit_code = 2


class DaemonError(SessiondError):
    """What the daemon answered instead of doing what was asked; code and exit code are its own."""

    def __init__(self, message: str, *, hint: str = "", code: str = "", exit_code: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.code = code or self.code
        self.exit_code = exit_code or self.exit_code


class DaemonNotRunning(DaemonError):
    """Nobody listens on the daemon's socket."""

    code = "daemon_not_running"
    exit_code = 3


class DaemonSilent(DaemonError):
    """Somebody listens on the daemon's socket, but does not answer in time."""

    code = "daemon_silent"


class ServiceFailed(SessiondError):
    """The service manager did not do what was asked, or the service does not start."""

    code = "service_failed"


class StoreError(SessiondError):
    """The state file cannot be used."""

    code = "state_unusable"


class StoreCorrupt(StoreError):
    """The state file's content is broken."""

    code = "state_corrupt"


class StoreTooNew(StoreError):
    """The state file was written by a newer sessiond."""

    code = "state_too_new"
    exit_code = 78


class StoreFull(StoreError):
    """The state file cannot be written: its disk is full or read-only."""

    code = "state_disk_full"


class CopyError(SessiondError):
    """A local copy could not be made or verified."""

    code = "copy_failed"


class DiskFull(CopyError):
    """A backup folder's disk is full or read-only."""

    code = "backup_disk_full"


class CopyMismatch(CopyError):
    """Stored bytes are not the bytes that were to be stored."""

    code = "copy_mismatch"


class VaultTooNew(CopyError):
    """A newer sessiond has written to the versioned backup."""

    code = "backup_too_new"
    exit_code = 78


class ArchiveUnreadable(CopyError):
    """What lies in the archive cannot be read here, though nothing may be wrong with it."""

    code = "archive_unreadable"


class ArchiveTooNew(ArchiveUnreadable):
    """What lies in the archive was written by a newer sessiond."""

    code = "archive_too_new"


class ArchiveSealed(ArchiveUnreadable):
    """What lies in the archive is encrypted, and the identity that opens it is not here."""

    code = "archive_sealed"

    def __init__(self, message: str, *, hint: str = "", why: str = "") -> None:
        super().__init__(message, hint=hint)
        self.why = why
        """The reason alone, to be told of several things at once."""


class RestoreError(SessiondError):
    """A session could not be put back; what was there is as it was."""

    code = "restore_failed"


class SessionLive(RestoreError):
    """The session is open, or what lies on the disk is newer than what was to be put there."""

    code = "session_live"


class NoSuchCopy(RestoreError):
    """There is no copy of the session, or not in the place that was named."""

    code = "no_such_copy"
    exit_code = 4


class CopyIncomplete(RestoreError):
    """There is a copy of the session, but its bytes are damaged or not all there."""

    code = "copy_incomplete"


class ProjectElsewhere(RestoreError):
    """The session's project is not on this machine, or nobody can tell where."""

    code = "project_elsewhere"


class NotConfirmed(RestoreError):
    """A person is to be asked first, and nobody is there, or said no."""

    code = "not_confirmed"
    exit_code = 5


class NoteError(SessiondError):
    """A note could not be made; what was there is as it was."""

    code = "note_failed"


class NoteExists(NoteError):
    """There is a note of that name already."""

    code = "note_exists"


class NoSuchNote(NoteError):
    """There is no note about that."""

    code = "no_such_note"
    exit_code = 4


class ConversationError(SessiondError):
    """What a program keeps of a conversation could not be read or written; what was there is as it was."""

    code = "conversation_failed"


class ConversationDamaged(ConversationError):
    """Nothing of what is there can be read, and nothing was written over it."""

    code = "conversation_damaged"


class MessageInvalid(SessiondError):
    """A message is none, or holds what JSON cannot; nothing was written."""

    code = "message_invalid"
    exit_code = 2


class IndexBroken(SessiondError):
    """The search index cannot be used; everything else goes on without it."""

    code = "index_broken"


class NumbersBroken(SessiondError):
    """The numbers for `stats` cannot be used: they are made again."""

    code = "numbers_broken"


class QueryInvalid(SessiondError):
    """A search query holds nothing to search for."""

    code = "query_invalid"
    exit_code = 2


class RecordError(SessiondError):
    """A comment is not a record of ours, or its parts do not make a whole one."""

    code = "record_invalid"


class RedactionFailed(SessiondError):
    """The privacy gate could not judge a text; nothing of it is sent."""

    code = "redaction_failed"


class RemoteError(SessiondError):
    """GitHub did not do what was asked.

    `status` is the HTTP status, 0 where there was no answer.  `retry_at` (Unix seconds) is when the
    server wants to be asked again, None where it did not say.
    """

    code = "github_failed"

    def __init__(
        self, message: str, *, hint: str = "", status: int = 0, retry_at: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retry_at = retry_at


class Unreachable(RemoteError):
    """No answer came, or only a part of one; a write may have happened."""

    code = "github_unreachable"


class ServerFailed(RemoteError):
    """GitHub answered 5xx; a write may have happened (probot#921: 500, but created)."""

    code = "github_server_error"


class Limited(RemoteError):
    """A rate limit is exhausted; `retry_at` (Unix seconds) is when to ask again.

    `kind` is `primary` or `secondary`.
    """

    code = "github_rate_limited"
    retry_at: float

    def __init__(
        self, message: str, *, retry_at: float, kind: str, hint: str = "", status: int = 403
    ) -> None:
        super().__init__(message, hint=hint, status=status, retry_at=retry_at)
        self.kind = kind


class TokenRefused(RemoteError):
    """The token is wrong, expired or revoked.

    Asking again with it makes GitHub refuse valid ones too, so the first 401 stops everything.
    """

    code = "github_token_refused"


class NotPermitted(RemoteError):
    """The token lacks a right, or the repository does not take writes."""

    code = "github_not_permitted"


class RepositoryPublic(NotPermitted):
    """The repository is readable by everyone, and `github.allow_public` is not set."""

    code = "github_repository_public"


class RepositoryMissing(RemoteError):
    """The repository does not exist for this token, or has its issues turned off."""

    code = "github_repository_missing"


class Missing(RemoteError):
    """An issue or a comment is gone."""

    code = "github_missing"


class Lagging(RemoteError):
    """A list does not show everything that is known to be there; GitHub promises no read after write."""

    code = "github_lagging"


class IssueFull(RemoteError):
    """The issue has reached GitHub's cap of 2,500 comments, which is permanent."""

    code = "github_issue_full"


class IssueLocked(RemoteError):
    """The issue is locked and the token may not comment on it."""

    code = "github_issue_locked"


class Refused(RemoteError):
    """GitHub refuses this request for good."""

    code = "github_refused"


class GitFailed(RemoteError):
    """The `git` program is missing, too old, or failed for a reason of this machine."""

    code = "git_failed"

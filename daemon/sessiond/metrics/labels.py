"""The values that labels can have, and the bounds of histograms: closed sets, all of them here."""

from __future__ import annotations

from collections.abc import Iterator

from sessionsync import errors
from sessionsync.archiving import code_of
from sessionsync.model import Tier
from sessionsync.queue import ARCHIVE

# What a value counts as that is in no list, where the list has it.
OTHER = "other"

# 5, 10, 300 and 900 seconds are thresholds of findings and alerts, so each is a bound.
REQUEST_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
WAIT_BUCKETS = (0.1, 1, 5, 15, 60, 300, 900, 3600, 21600, 86400)
LOCAL_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60)
ANSWER_BUCKETS = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)

OPERATIONS = (
    *("get_repository", "get_user", "get_rate_limit"),
    *("list_issues", "get_issue", "create_issue", "update_issue"),
    *("list_comments", "get_comment", "create_comment", "update_comment", "delete_comment"),
    OTHER,
)
OUTCOMES = ("success", "client_error", "server_error", "rate_limited", "timeout", "network_error")
DONE = ("success", "failure")
TIERS = tuple(tier.value for tier in Tier)
TOOLS = ("claude", "structured", "note", "context", "messages")
TOKENS = ("input", "output", "cache_read", "cache_creation")
ITEMS = ("comment", "index", "notice", ARCHIVE)
STORES = ("mirror", "vault", "github", "archive")
AREAS = ("live", "mirror", "vault", "archive", "index")
RESULTS = ("ok", "mismatch", "missing", "error")
VERDICTS = ("ok", "failed", "error")
CHECKED = ("ok", "failed")
RESCANS = ("start", "timer", "overflow", "clock", "trouble", "command", OTHER)


def _codes(error: type[errors.SessiondError]) -> Iterator[str]:
    yield error.code
    for narrower in error.__subclasses__():
        yield from _codes(narrower)


# Why an item was tried again or buried: the codes of the errors that end an attempt.
REASONS = (
    *dict.fromkeys(
        code
        for error in (errors.RemoteError, errors.CopyError, errors.RecordError, errors.RedactionFailed)
        for code in _codes(error)
    ),
    *(
        code_of(error)
        for error in (
            *(errors.Unreachable, errors.ServerFailed, errors.Limited, errors.TokenRefused, errors.Refused),
            *(errors.NotPermitted, errors.RepositoryPublic, errors.RepositoryMissing),
        )
    ),
    OTHER,
)

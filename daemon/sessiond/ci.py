"""What a CI job is about: the variables and the event of GitHub Actions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sessionsync.model import Context

# GitHub sends no event larger than 25 MB.
MOST_EVENT_BYTES = 32 * 1024 * 1024
# As claude-code-action names its branches, and people theirs: claude/issue-12-20260301, fix/issue_12.
ISSUE_BRANCH = re.compile(r"(?:^|[/_-])issue[-_/]?([1-9]\d{0,8})(?!\d)", re.IGNORECASE)


def ci_context(environ: Mapping[str, str]) -> Context:
    """Where a CI job works: repository, branch, commit, run, issue and pull request; empty elsewhere.

    The issue is the one of the event, else the one that the branch names, unless the branch is a fork's.
    What GitHub calls an issue in a comment's event may be a pull request, and is one here.
    """
    if environ.get("GITHUB_ACTIONS") != "true":
        return Context()
    event = _event(environ)
    pull, issue = _number(event, "pull_request"), _number(event, "issue")
    if _object(_object(event, "issue"), "pull_request"):
        pull, issue = pull or issue, 0
    reference = environ.get("GITHUB_REF", "").split("/")
    if not pull and reference[:2] == ["refs", "pull"]:
        pull = _digits(reference[2]) if len(reference) > 2 else 0
    branch = environ.get("GITHUB_HEAD_REF") or environ.get("GITHUB_REF_NAME", "")
    if not issue and not _is_from_fork(event) and (named := ISSUE_BRANCH.search(branch)):
        issue = int(named[1])
    return Context(
        repo=environ.get("GITHUB_REPOSITORY", ""),
        branch=branch,
        commit=environ.get("GITHUB_SHA", ""),
        issue=issue,
        pr=pull,
        run_id=_digits(environ.get("GITHUB_RUN_ID", "")),
    )


def is_from_fork(environ: Mapping[str, str]) -> bool:
    """Whether the job is a pull request's from a fork: its token may then only read."""
    return _is_from_fork(_event(environ))


def _is_from_fork(event: Mapping[str, Any]) -> bool:
    pull = _object(event, "pull_request")
    if not pull:
        return False
    head, base = (_object(_object(pull, end), "repo").get("full_name") for end in ("head", "base"))
    return head != base  # a fork that was deleted has no name


def _event(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """The event that started the job; nothing where it cannot be read."""
    file = environ.get("GITHUB_EVENT_PATH", "")
    try:
        with Path(file).open("rb") as stream:
            event = json.loads(stream.read(MOST_EVENT_BYTES + 1))
    except (OSError, ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _object(of: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = of.get(key)
    return value if isinstance(value, dict) else {}


def _number(event: Mapping[str, Any], key: str) -> int:
    number = _object(event, key).get("number")
    return number if isinstance(number, int) and not isinstance(number, bool) and number > 0 else 0


def _digits(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0

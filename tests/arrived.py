"""What has arrived on the tests' GitHub, read as any reader would."""

from __future__ import annotations

from sessionsync.remote import comments
from tests.fakes.github import FakeGitHub


def records(gh: FakeGitHub) -> dict[str, list[comments.Part]]:
    """The parts of every record, in whichever issue, by session."""
    found: dict[str, list[comments.Part]] = {}
    for comment in gh.all_comments():
        if (part := comments.parse(comment.body)) is not None:
            found.setdefault(part.session_id, []).append(part)
    return found


def files(gh: FakeGitHub, session_id: str) -> dict[str, bytes]:
    """Every file that the session's record holds, which must be whole and there once."""
    parts = records(gh).get(session_id, [])
    assert sorted(part.part for part in parts) == list(range(1, len(parts) + 1)), session_id
    found = comments.assemble(parts)[1]
    assert found is not None, session_id
    return found

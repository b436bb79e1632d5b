"""What has arrived on the tests' GitHub, read as any reader would."""

from __future__ import annotations

import json
from collections import Counter

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


def doubled(gh: FakeGitHub) -> list[str]:
    """What was created while it was there already, also where it was taken away again; by the log of requests."""
    found: list[str] = []
    there: dict[str, tuple[str, int]] = {}
    for request in gh.requests(writes=True):
        what, _, number = request.effect.rpartition(" ")
        if what == "created comment" and (part := comments.parse(json.loads(request.body)["body"])):
            if (part.session_id, part.part) in there.values():
                found.append(f"part {part.part} of {part.session_id}")
            there[number] = part.session_id, part.part
        elif what == "deleted comment":
            there.pop(number, None)
    issues = Counter(comments.parse_project_marker(issue.body or "") for issue in gh.issues.values())
    return found + [f"issue of {marker}" for marker, count in issues.items() if marker and count > 1]

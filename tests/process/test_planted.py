"""Secrets of every kind, planted in one go in everything that is watched: none of them ever leaves."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sessionsync.errors import RecordError
from sessionsync.privacy.rules import CUSTOM, CUT_OFF, KINDS
from sessionsync.remote import comments
from tests.archive import every_object
from tests.conftest import poll
from tests.fakes.agent import Agent
from tests.fakes.faults import rule
from tests.fakes.github import FakeGitHub
from tests.process.user import User
from tests.unit.test_gate import SECRETS

LINES = [around % secret for _, secret, around in SECRETS]
ALL = "\n".join(LINES)
ACME = "ACME-123456"
PATTERN = json.dumps([r"ACME-\d+"])


@pytest.fixture
def users(socket_dir: Path, gh: FakeGitHub) -> Iterator[tuple[User, User]]:
    """Two machines with one project, one repository and one archive; comments are cut into small parts."""
    settings = {
        "SESSIOND_PRIVACY_PATTERNS": PATTERN,
        "SESSIOND_TIERS_COMMENT_BYTES": "4096",
        "SESSIOND_TIERS_HYBRID_BYTES": "60000",
        "SESSIOND_LOG_LEVEL": "debug",
        "SESSIOND_ARCHIVE_URL": json.dumps(str(socket_dir / "archive.git")),
    }
    both = User(socket_dir / "a", gh, **settings), User(socket_dir / "b", gh, **settings)
    for user in both:
        subprocess.run(["git", "init", "-q", str(user.project)], check=True)
        remote = ["remote", "add", "origin", "https://github.com/o/app.git"]
        subprocess.run(["git", "-C", str(user.project), *remote], check=True)
        user.environ["SESSIOND_SOURCES_PROJECTS"] = json.dumps([str(user.project)])
    yield both
    for user in both:
        user.stop()


def plant(user: User, number: int, *, in_tools: bool) -> Path:
    """A transcript with all of them: said, in an image, and in tools' arguments and results, in JSON in JSON."""
    agent = Agent(cwd=str(user.project), session=f"00000000-0000-4000-8000-{number:012}")
    picture = base64.b64encode(b"\x89PNG" + ALL.encode()).decode()
    image = {"type": "image", "source": {"type": "base64", "data": picture}}
    agent.prompt(f"{ACME} {LINES[0]}")
    agent.prompt([{"type": "text", "text": ALL}, image])
    for line in LINES if in_tools else ():
        arguments = {"command": line, "env": json.dumps({"of": line})}
        agent.use("Bash", arguments, outcome={"stdout": json.dumps({"x": line})})
    agent.say(f"Decision: use {LINES[1]}\n\n## Next steps\n1. {LINES[2]}\n{ALL}")
    agent.compact(f"8. Current Work:\n   {LINES[3]}\n")
    path = user.folder_of_project / f"{agent.session}.jsonl"
    path.write_bytes(agent.data)
    return path


def plant_papers(user: User, version: str) -> None:
    """A structured session, a note, an issue's context file and a message store."""
    sessions = user.project / ".claude" / "sessions"
    (sessions / "plan" / "checkpoints").mkdir(parents=True, exist_ok=True)
    context = {
        "title": LINES[4],
        "decisions": [version, *LINES],
        "next_steps": LINES,
        "current_phase": LINES[5],
    }
    (sessions / "plan" / "context.json").write_text(json.dumps(context))
    (sessions / "plan" / "checkpoints" / "one.json").write_text(json.dumps({"of": ALL}))
    note = f"# Session: {LINES[6]}\n\n**Status**: in_progress\n\n## Decisions\n" + "".join(
        f"- {line}\n" for line in LINES
    )
    (sessions / "a-note.md").write_text(note)
    (sessions / "1.md").write_text(note)
    store = {"title": LINES[7], "messages": [{"role": "user", "content": line} for line in LINES]}
    (sessions / "store.json").write_text(json.dumps(store))


def told(gh: FakeGitHub) -> Iterator[tuple[str, bytes]]:
    """Everything that GitHub was ever sent, and what lies packed in it."""
    parts: dict[tuple[str, int], list[comments.Part]] = defaultdict(list)
    for body in [*gh.ever_readable(), *(request.body for request in gh.requests(writes=True))]:
        yield "GitHub", body.encode()
        with suppress(ValueError):
            yield "GitHub", json.dumps(json.loads(body), ensure_ascii=False).encode()
        if (part := comments.parse(body)) is not None:
            parts[part.session_id, part.revision].append(part)
    for (session, _), found in parts.items():
        with suppress(RecordError):
            _, files = comments.assemble(found)
            for name, data in (files or {}).items():
                yield f"GitHub: {session}: {name}", data


def kept(user: User) -> Iterator[tuple[str, bytes]]:
    """What others may be shown of this machine: logs, metrics, a support archive."""
    for file in (user.folder / "s" / "log").iterdir():
        yield str(file), file.read_bytes()
    yield "metrics", user.get("/metrics").encode()
    bundle = user.folder / "bundle.tar.gz"
    user.type("doctor", "--bundle", str(bundle))
    with tarfile.open(bundle) as tar:
        for entry in tar:
            content = tar.extractfile(entry)
            yield f"{bundle}: {entry.name}", content.read() if content else b""


def holds(data: bytes, secret: bytes) -> bool:
    """Whether it is in there, and not only a part of a longer word."""
    if secret not in data:  # a hundred times as fast
        return False
    return re.search(rb"(?<![A-Za-z0-9])" + re.escape(secret) + rb"(?![A-Za-z0-9])", data) is not None


def test_no_secret_of_any_kind_ever_leaves(
    users: tuple[User, User], gh: FakeGitHub, socket_dir: Path
) -> None:
    assert {kind for kind, *_ in SECRETS} >= {*KINDS} - {CUSTOM, CUT_OFF}
    one, two = users
    gh.add_issue("o/r", "The issue of a context file")
    # GitHub repeats what it was sent, and refuses it
    gh.fault(
        rule(
            "status", method="POST", path="/comments$", status=422, body=json.dumps({"message": ALL}), times=1
        )
    )
    one.start()
    small, large = plant(one, 1, in_tools=False), plant(one, 2, in_tools=True)
    plant_papers(one, "one")
    for session in (small.stem, large.stem, "plan"):
        one.ctl("checkpoint", acts=True, session=session)
    one.until(lambda status: status["queue"]["buried"] == 1)
    one.ctl("retry", acts=True)
    poll(lambda: '"plan"' in "".join(gh.ever_readable()), 60)
    two.start()
    plant_papers(two, "two")  # begun apart: a conflict
    two.ctl("checkpoint", acts=True, session="plan")
    poll(lambda: any(comments.parse_notice(body) for body in gh.ever_readable()), 60)
    for copy in (*one.mirror.rglob(f"{small.stem}*"), small):
        if copy.is_file():
            copy.unlink()
    assert one.type("ctl", "reconstruct", small.stem).returncode in {0, 5}
    for user in users:
        assert user.type("ctl", "sync", "--wait", "60").returncode == 0
    tiers = {session["id"]: session["tier"] for session in one.ctl("sessions")["sessions"]}
    assert (tiers[small.stem], tiers[large.stem]) == ("github_only", "local_primary")

    everything = [
        *told(gh),
        *((f"archive: {oid}", data) for oid, data in every_object(socket_dir / "archive.git").items()),
        *kept(one),
        *kept(two),
    ]
    found = {
        (kind, place)
        for kind, secret, _ in [*SECRETS, (CUSTOM, ACME, "")]
        for form in {secret, json.dumps(secret)[1:-1], json.dumps(json.dumps(secret))[3:-3]}
        for place, data in everything
        if holds(data, form.encode())
    }
    assert found == set()
    marks = b"".join(data for place, data in everything if place.startswith(("GitHub", "archive")))
    replaced = {kind.decode() for kind in re.findall(rb"\[REDACTED:([a-z0-9_]+)\]", marks)}
    assert replaced >= {*KINDS} - {CUT_OFF}
    parts = [part for body in gh.ever_readable() if (part := comments.parse(body)) is not None]
    assert {part.session_id for part in parts if part.parts > 1} >= {small.stem, "plan"}

"""What each reader is meant to read, to begin with: made here, and small, so that most of it matters."""

from __future__ import annotations

import binascii
import io
import json
import tarfile
from collections.abc import Sequence
from functools import cache
from typing import Any

from sessionsync import age
from sessionsync.privacy.seal import Seal
from sessionsync.remote.archive import tree
from sessionsync.remote.comments import payload
from sessionsync.remote.comments.marker import normalise, project_marker, text_hash
from sessionsync.vault.journal import Description, Fork, Pack, Removal, Segment, Snapshot, StoredFile
from sessionsync.vault.journal import encode as journal_line
from tests.fakes.agent import SESSION, Agent

HEX = "0123456789abcdef" * 4


def _json(*values: Any) -> tuple[bytes, ...]:
    return tuple(json.dumps(value).encode() for value in values)


@cache
def transcripts() -> Sequence[bytes]:
    agent = Agent()
    agent.turn(
        "Please add a cache. password = 'hunter2-x9'", answer="Decision: use **SQLite**\n\n1. one\n2. two"
    )
    agent.use("TodoWrite", {"todos": [{"content": "go on", "status": "pending", "activeForm": "going"}]})
    agent.use("ExitPlanMode", {"plan": "# Plan\n## 1. Do\n## 2. Test\n"})
    agent.compact("## Decisions\n- one\n8. Current Work:\n   Testing.\n7. Pending Tasks:\n   - more\n")
    agent.use(
        "AskUserQuestion", {"questions": [{"question": "Which?"}]}, outcome={"answers": {"Which?": "this"}}
    )
    agent.use("TaskCreate", {"subject": "a task"}, outcome={"task": {"id": "1", "subject": "a task"}})
    agent.label("summary", summary="A title", leafUuid="x")
    agent.attach("todo", content=[])
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----"
    agent.prompt(
        [
            {"type": "text", "text": f"AKIAIOSFODNN7EXAMPLZ {key}"},
            {"type": "image", "source": {"data": "iVBO"}},
        ]
    )
    lines = agent.lines
    return (agent.data, b"".join(lines[:3]), *lines[-4:], b"".join(lines[3:5]) + lines[2].rstrip() + lines[4])


@cache
def objects() -> Sequence[bytes]:
    return _json(
        {
            "session_id": "s", "title": "t", "status": "in_progress", "issue": "#12", "startedAt": 1.8e9,
            "decisions": [{"decision": "a", "rationale": "b"}, "c"], "next_steps": {"one": {"status": "done"}},
            "current_phase": "p", "session": {"Updated_At": "2026-01-01T00:00:00Z", "name": "n"}, "pr": {"number": 3},
        },
        {"quality": {"score": 0.5, "deep": {"a": 1, "b": [1, 2]}}, "tokens": 12},
        [{"content": "one", "status": "pending"}, {"content": "two", "status": "in_progress"}],
        {"id": "1", "subject": "a", "status": "completed", "blockedBy": []},
        {"timestamp": 1_800_000_000_000, "trigger": "phase", "id": "x"},
    )  # fmt: skip


@cache
def stores() -> Sequence[bytes]:
    message = {
        "role": "user",
        "content": [{"type": "text", "text": "hello"}, {"type": "tool_use", "name": "x", "input": {}}],
    }
    return _json(
        {
            "messages": [message, {"role": "assistant", "content": "hi", "timestamp": "2026-01-01"}],
            "title": "t",
        },
        {
            "messages": [{"sender": {"role": "model"}, "parts": ["a"], "tool_calls": [{"f": "g"}]}],
            "status": "done",
        },
    )


def notes() -> Sequence[bytes]:
    return (
        (
            b"---\ntitle: A note\nstatus: in_progress\n---\n# Session: A note\n\n**Status**: in_progress\n**Updated**: "
            b"2026-01-01 10:00\n\n## Decisions\n- [x] one\n- two <b>x</b>\n\n## Next steps\n1. go\n   - on\n\n> quoted\n\n"
            b"| a | b |\n|---|---|\n| c | d |\n"
        ),
        b"# Issue #12: A thing\n\nIssue: https://github.com/o/r/issues/12\n\n```\ncode\n```\n\nWhat failed\n===========\n* it\n",
        "# Ünïcödé\r\n## Status\r\nblocked\r\n".encode(),
    )


def urls() -> Sequence[bytes]:
    return (
        b"git@github.com:Owner/Name.git",
        b"https://user:secret@Git.Example:8443/Group/Name/",
        b"file:///srv/a%20b.git",
        b"ssh://git@[::1]:22/a/b",
        b"ext::sh -c true",
        b"../relative/path",
    )


def queries() -> Sequence[bytes]:
    return (
        b'deploy "blue green" kube* OR stop NOT now',
        "日本語 fooBar_baz".encode(),
        b'"a" "b',
        b"NOT a OR OR",
    )


@cache
def hooks() -> Sequence[bytes]:
    common = {
        "session_id": SESSION, "transcript_path": f"/x/projects/-p/{SESSION}.jsonl", "cwd": "/p",
        "hook_event_name": "Stop", "stop_hook_active": False, "agent_transcript_path": "/x/a.jsonl",
    }  # fmt: skip
    saved = {"session": SESSION, "trigger": "stop", "path": "/x", "size": 3, "at": "2026-01-01T00:00:00Z"}
    logged = {"at": "2026-01-01T00:00:00Z", "level": "info", "event": "x", "reason": "\x1b[31m"}
    return _json(common, common | {"hook_event_name": "PreCompact", "trigger": "auto"}, saved, logged)


@cache
def settings() -> Sequence[bytes]:
    ours = {"type": "command", "command": "/usr/bin/sessiond hook Stop", "timeout": 30}
    return _json(
        {"cleanupPeriodDays": 30, "hooks": {"Stop": [{"matcher": "", "hooks": [ours]}], "PreCompact": []}},
        {"hooks": {"Other": [{"hooks": [{"type": "command", "command": "echo 'x"}]}]}, "env": {"A": "b"}},
        {},
    )


def configs() -> Sequence[bytes]:
    return (
        (
            b'[sources]\nclaude = ["~/.claude"]\nprojects = ["~/work/*"]\nquiet_seconds = 5\n[github]\nrepo = "o/r"\n'
            b'api_url = "https://api.github.com"\nissue = 3\nauthors = ["me"]\n[archive]\nurl = "github"\n'
        ),
        (
            b'[privacy]\nredact = true\npatterns = [\'A-\\d+\']\nallow = ["x"]\n[http]\nlisten = "127.0.0.1:17865"\n'
            b'[log]\nlevel = "info"\nformat = "auto"\n[health]\ninterval_seconds = 1\non_critical = "notify-send x"\n'
        ),
        b'[backup]\nmirror_dir = "~/a"\nvault_dir = "~/b"\nkeep_checkpoints = 50\n[tiers]\ngithub_only_bytes = 1\n',
    )


def variables() -> Sequence[bytes]:
    return (
        b"GITHUB_REPO=o/r", b"GITHUB_ISSUE=3", b'SOURCES_PROJECTS=["~/x"]', b"PRIVACY_REDACT=false",
        b"HTTP_LISTEN=127.0.0.1:1", b'ARCHIVE_URL="git@h:a/b.git"', b"HOME=/x", b'PRIVACY_PATTERNS=["(a+)+$"]',
    )  # fmt: skip


def requests() -> Sequence[bytes]:
    return (
        b'/v1/act\n{"session": "claude:x", "n": 3, "all": true}',
        b"/v1/look?session=a%20b&n=3&all=1\n",
        b"/v1/nothing?x\n[]",
        b'/v2/act\n{"n": "1e5"}',
    )


@cache
def journals() -> Sequence[bytes]:
    made = (
        Description(source="claude", session_id="x", project="p", project_key="k", first_seen=1.0),
        Pack(number=1),
        Segment("a.jsonl", 0, 0, 3, 0, 9, root=HEX),
        Fork("a.jsonl", 1, 0, 3),
        Removal("a.jsonl", 1.0),
        Snapshot(id="c", at=1.0, trigger="quiet", files=[StoredFile("a.jsonl", 0, 3, HEX)]),
    )
    return [journal_line(entry).rstrip(b"\n")[skipped:] for entry in made for skipped in (0, 9)]


RECORD = {
    "session_id": "s", "tier": "hybrid", "size": 3, "local_path": ".claude/sessions/s", "schema": 1, "revision": 1,
    "critical_data": {"decisions": ["a"], "checkpoints": [{"id": "c", "at": "2026-01-01T00:00:00Z", "trigger": "t"}],
                      "current_phase": "", "next_steps": []},
    "source": "structured", "title": "t", "host": "h", "machine": "m", "updated_at": "2026-01-01T00:00:00Z",
    "sha256": HEX, "parts": 1, "redactions": 0, "context": {"repo": "o/r", "issue": 1},
    "files": [{"path": "context.json", "size": 3, "sha256": HEX}], "files_total": 1,
}  # fmt: skip


def as_part(body: str) -> str:
    """A comment whose hash fits, so that what is in it is believed."""
    rest = normalise(body)
    return f"<!-- sessiond v1 session=s part=1/1 revision=1 sha256={text_hash(rest)} -->\n{rest}"


@cache
def bodies() -> Sequence[bytes]:
    block = f"A summary\n\n```json\n{json.dumps(RECORD)}\n```\n"
    whole = json.dumps(RECORD | {"tier": "github_only"})
    held = "\n".join(payload.to_lines(payload.pack([("context.json", b"abc")])))
    files = f"Words\n\n```json\n{whole}\n```\n<details>\n\n```sessiond\n{held}\n```\n</details>\n"
    texts = (block, files, as_part(block), as_part(files) + "\nA person's words", project_marker("k"))
    return tuple(text.encode() for text in texts)


@cache
def records() -> Sequence[bytes]:
    return _json(RECORD)


@cache
def tars() -> Sequence[bytes]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a.jsonl", "b/c.txt", "ü" * 60):
            entry = tarfile.TarInfo(name)
            entry.size = 3
            tar.addfile(entry, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return (out.getvalue(), out.getvalue()[:1536])


@cache
def packs() -> Sequence[bytes]:
    packed = payload.pack([("a.jsonl", b"abc" * 50), ("b/c", b"")])
    return (packed, "\n".join(payload.to_lines(packed)).encode())


@cache
def manifests() -> Sequence[bytes]:
    file = {"number": 0, "name": f"{SESSION}.jsonl", "role": "main", "length": 3, "root": HEX, "pages": 1}
    manifest = {
        "schema": 1, "session_id": SESSION, "source": "claude", "machine": "0a1b2c3d", "rules": "2:x", "size": 3,
        "checkpoint": {"id": "20260101T000000Z", "at": "2026-01-01T00:00:00Z", "trigger": "quiet"}, "host": "h",
        "context": {"repo": "o/r", "issue": 1}, "files": [file, file | {"number": 1, "name": "x", "exact": False}],
    }  # fmt: skip
    return _json(manifest, manifest | {"files": [], "listed": 3}, manifest | {"schema": 2})


def pages() -> Sequence[bytes]:
    return (f"0 100 {HEX}\n100 50 {HEX}\n".encode(), f"0 1 {HEX}\n".encode() * 64)


@cache
def segments() -> Sequence[bytes]:
    return (tree.Segments().pack(b"a" * 100), tree.Segments().pack(b'{"type":"user"}\n' * 20))


@cache
def _sealed(seal: Seal) -> Sequence[bytes]:
    return (seal(tree.Segments().pack(b"a" * 100)), seal(b"not packed"))


def sealed(seal: Seal) -> Sequence[bytes]:
    return _sealed(seal)


def identities() -> Sequence[bytes]:
    secret, recipient = age.new_identity()
    # the beginning of a key of SSH's: what it holds of the public half is read here, the rest by the library
    fields = (b"none", b"none", b"")
    head = b"openssh-key-v1\0" + b"".join(len(each).to_bytes(4) + each for each in fields)
    public = (11).to_bytes(4) + b"ssh-ed25519" + (32).to_bytes(4) + bytes(32)
    body = binascii.b2a_base64(head + (1).to_bytes(4) + len(public).to_bytes(4) + public)
    return (
        f"# of mine: {recipient}\n{secret}\n".encode(),
        f"{secret}\r\n\n{secret}\n".encode(),
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n%b-----END OPENSSH PRIVATE KEY-----\n" % body,
        b"AGE-PLUGIN-YUBIKEY-1QQQQ\n",
    )


@cache
def names() -> Sequence[bytes]:
    return (
        f"{SESSION}/subagents/agent-1.jsonl".encode(),
        b".claude/sessions/note.md",
        b"refs/sessiond/claude/a%20b/0a1b2c3d",
        f"*\t{HEX[:40]}:refs/sessiond/claude/a/0a1b2c3d\t[new reference]".encode(),
    )


@cache
def answers() -> Sequence[bytes]:
    comment = {
        "id": 1, "body": "b", "user": {"login": "me", "type": "User"}, "author_association": "OWNER",
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "issue_url": "https://api.github.com/repos/o/r/issues/1",
    }  # fmt: skip
    repository = {"id": 1, "full_name": "o/r", "private": True, "permissions": {"push": True}}
    head = (
        b'200\ndate: Mon, 01 Jan 2026 00:00:00 GMT\netag: "x"\nx-ratelimit-limit: 5000\nx-ratelimit-remaining: 1\n'
        b'x-ratelimit-reset: 1800000000\nlink: <https://api.github.com/x?page=2>; rel="next"\nx-oauth-scopes: repo, gist\n\n'
    )
    refused = (
        b"403\nretry-after: 60\nx-ratelimit-remaining: 0\n\n"
        + json.dumps({"message": "secondary rate limit"}).encode()
    )
    moved = b"301\nlocation: https://elsewhere.example/repos/o/r\n\n{}"
    fields = (
        b"422\n\n"
        + json.dumps({"message": "Validation Failed", "errors": [{"code": "x", "field": "body"}]}).encode()
    )
    return (
        *(head + text for text in _json(repository, [comment], comment, {"resources": {}})),
        refused,
        moved,
        fields,
    )

"""The readers: each is given bytes of anybody's, and may only say so with an error of the tree."""

from __future__ import annotations

import atexit
import io
import json
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zstandard

from sessiond import hook, hooks, logbook, plaincopy, spool
from sessiond.cli.terminal import Terminal, clean, table
from sessiond.control import Control, Verb, flag, number, text
from sessionsync import age, divergence, projects
from sessionsync.config import load
from sessionsync.divergence import redaction
from sessionsync.errors import SessiondError
from sessionsync.events import silent
from sessionsync.model import FileEntry, Found, Ref, Role, SessionFile, Summary
from sessionsync.peek import first_cwd
from sessionsync.privacy.gate import Gate
from sessionsync.privacy.seal import Seal, Unseal, identities
from sessionsync.project_names import folder_name
from sessionsync.remote import comments
from sessionsync.remote.answers import Answer, Bounds
from sessionsync.remote.archive import host, refs, tree
from sessionsync.remote.comments import payload
from sessionsync.remote.comments.marker import decode_id
from sessionsync.remote.comments.record import decode
from sessionsync.remote.github import GitHub
from sessionsync.restore import loadable, names
from sessionsync.search.words import expression, words
from sessionsync.sources import Source
from sessionsync.sources.claude import Claude
from sessionsync.sources.cleanup import cleanup_days
from sessionsync.sources.contexts import Contexts
from sessionsync.sources.messages import Messages
from sessionsync.sources.notes import Notes
from sessionsync.sources.places import Places
from sessionsync.sources.roles import role_of
from sessionsync.sources.structured import Structured
from sessionsync.vault import journal
from tests.fakes.agent import SESSION
from tests.fuzz import goods

GATE = Gate(patterns=[r"ACME-\d+"])


class Target(NamedTuple):
    """A reader.  `good` are inputs to begin with; of each round it gets `share` inputs."""

    read: Callable[[bytes], None]
    good: Callable[[], Sequence[bytes]]
    share: int = 1


@cache
def place() -> Path:
    """A folder of this process, in memory where there is such a disk."""
    shm = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="sessiond-fuzz-", dir=shm if os.access(shm, os.W_OK) else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    transcript_file = folder / "projects" / "-p" / f"{SESSION}.jsonl"
    transcript_file.parent.mkdir(parents=True)
    transcript_file.touch()
    return folder


def _file(name: str, data: bytes) -> Path:
    file = place() / name
    file.write_bytes(data)
    return file


# --- what agents and people write


def transcript(data: bytes) -> None:
    claude = Claude([], silent)
    summary = Summary()
    name = f"{SESSION}.jsonl"
    claude.follow(summary, name, data, 0)
    _kept(summary)
    list(claude.passages(name, data, 0))
    for whole in (True, False):
        first_cwd(data, whole=whole)


def opened_by_its_agent(data: bytes) -> None:
    loadable(_file("session.jsonl", data))


def two_versions(data: bytes) -> None:
    half = len(data) // 2
    ours, theirs = divergence.Plain(data[:half]), divergence.Plain(data[half:])
    union = divergence.unite(ours, theirs)
    divergence.whole(union)
    redaction.same(data[:half], data[half:])


def _kept(summary: Summary) -> None:
    """What was read can be kept in the state, and read from it again."""
    msgspec.json.decode(msgspec.json.encode(summary), type=Summary)


def _concludes(source: Source, names: Sequence[str], data: bytes) -> None:
    """A source reads the files of a session, each with these bytes."""
    files = tuple(
        SessionFile(name, place() / name, Role.MAIN if at == 0 else Role.PART, len(data), 1, at)
        for at, name in enumerate(names)
    )
    found = Found(Ref(source.name, names[0], "/p"), Path("/p"), Path("/p") / names[0], files)
    summary = Summary()
    for _ in range(2):  # what was read before is there when it is read again
        source.conclude(summary, found, lambda _name: data)
        _kept(summary)
    source.stamp(summary)
    for name in names:
        source.is_complete(name, data)
        list(source.passages(name, data, 0))
    source.peek_cwd(found, 1024)


def companions(data: bytes) -> None:
    _concludes(
        Claude([], silent), [f"{SESSION}.jsonl", f"todos/{SESSION}.json", f"tasks/{SESSION}/1.json"], data
    )


def note(data: bytes) -> None:
    _concludes(Notes(Places(list, silent), silent), ["note.md"], data)


def context(data: bytes) -> None:
    _concludes(Contexts(Places(list, silent), silent), ["12.md"], data)


def messages(data: bytes) -> None:
    _concludes(Messages(Places(list, silent), silent), ["store.json"], data)


def structured(data: bytes) -> None:
    _concludes(
        Structured(Places(list, silent), silent), ["context.json", "metrics.json", "checkpoints/1.json"], data
    )


def remote_url(data: bytes) -> None:
    projects.normalise(os.fsdecode(data), "/")
    folder_name(os.fsdecode(data))


def query(data: bytes) -> None:
    words([data.decode("utf-8", "replace")])
    expression(data.decode("utf-8", "replace"))


# --- what programs on this machine say


def hook_event(data: bytes) -> None:
    said = hook._parse(data.replace(b'"/x/', f'"{place()}/'.encode()), whole=True)
    hook._named(str(said.get("hook_event_name", "")))
    hook._id(said)
    with suppress(FileNotFoundError):  # as it says
        plaincopy.locate(said.get("transcript_path"), [str(place())])


def spooled(data: bytes) -> None:
    spool._read(_file("event.json", data))


def agents_settings(data: bytes) -> None:
    file = _file("settings.json", data)
    cleanup_days(file.parent)
    settings = hooks.read("user", file)
    ours = hooks.with_ours(settings.json, Path("/usr/bin/sessiond"))
    assert len(list(hooks.entries(ours))) >= len(hooks.EVENTS)
    json.loads(ours.text)
    json.loads(hooks.without_ours(ours).text)


def config(data: bytes) -> None:
    load({"HOME": str(place())}, _file("config.toml", data))


def variable(data: bytes) -> None:
    name, _, value = data.partition(b"=")
    load({"HOME": str(place()), f"SESSIOND_{os.fsdecode(name)}": os.fsdecode(value).replace("\0", "")})


def _verb(params: dict[str, Any]) -> dict[str, Any]:
    session, count, sure = text(params, "session", ""), number(params, "n", 1), flag(params, "all")
    return {"session": session, "n": count, "all": sure}


_CONTROL = Control({name: Verb(name, _verb, acts=name == "act") for name in ("look", "act")}, silent)


class _Told:
    """What WSGI calls `start_response`."""

    status = ""

    def __call__(self, status: str, headers: object, exc_info: object = None, /) -> Callable[[bytes], object]:
        self.status = status
        return bytes


def control(data: bytes) -> None:
    head, _, body = data.partition(b"\n")
    target, _, question = head.decode("latin-1").partition("?")
    for method in ("GET", "POST"):
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": target,
            "QUERY_STRING": question,
            "wsgi.input": io.BytesIO(body),
        }
        told = _Told()
        answer = b"".join(_CONTROL(environ, told))
        assert isinstance(json.loads(answer), dict)
        assert not told.status.startswith("500"), answer


def log_line(data: bytes) -> None:
    found = logbook._parsed(data.replace(b"\n", b" "))
    logbook._rank(found)
    shown = "".join(
        table(["a", "b"], [[str(value)[:300], "x"] for value in found.values()], Terminal(80, colours=False))
    )
    assert shown.isprintable(), shown
    assert clean(data.decode("utf-8", "surrogateescape")).isprintable()


def journal_line(data: bytes) -> None:
    journal.decode(data)
    journal.decode(_summed(data))


def _summed(body: bytes) -> bytes:
    return b"%08x %b" % (zlib.crc32(body), body)


# --- what lies on GitHub and in archives


def comment(data: bytes) -> None:
    body = data.decode("utf-8", "replace")
    for text_ in (body, goods.as_part(body)):
        part = comments.parse(text_)
        comments.outside(text_)
        with suppress(SessiondError):
            comments.assemble([part] if part is not None else [])


def other_comments(data: bytes) -> None:
    body = data.decode("utf-8", "replace")
    comments.parse_notice(body)
    comments.parse_project_marker(body)
    decode_id(body)


def packed(data: bytes) -> None:
    with suppress(SessiondError):
        payload.unpack(payload.from_text(data.decode("latin-1")))
    payload.unpack(data)


def packed_tar(data: bytes) -> None:
    payload.unpack(zstandard.ZstdCompressor(level=1).compress(data))


def manifest(data: bytes) -> None:
    found = tree.decode_manifest(data, "a manifest")
    for file in found.files[:100]:
        role_of(found.source, file.name)
        with suppress(SessiondError):
            names.steps(file.name)


def page(data: bytes) -> None:
    tree.decode_page(data, "a page")


def segment(data: bytes) -> None:
    tree.unpack(data, tree.Line(0, 100, tree.name_of(data)), "a segment")


@cache
def _identity() -> tuple[Seal, Unseal]:
    secret, recipient = age.new_identity()
    return Seal([recipient]), Unseal(_file("identity", f"{secret}\n".encode()))


def sealed(data: bytes) -> None:
    _, unseal = _identity()
    for blob in (data, age.MAGIC + data):
        with suppress(SessiondError):
            tree.opened(blob, "a page", tree.PAGE_BYTES, unseal)


def identity(data: bytes) -> None:
    identities(_file("key", data))


def names_in_it(data: bytes) -> None:
    name = os.fsdecode(data)
    for judge in (names.steps, names.in_project):
        with suppress(SessiondError):
            steps = judge(name)
            assert not {"", ".", ".."} & {*steps}, steps
            assert not any("/" in step or "\0" in step for step in steps), steps
    refs.parse(name)
    host._told(name)
    with suppress(UnicodeEncodeError):
        refs.encode(name)


class _Wire:
    """In the network's place: answers everything with one answer."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def ask(self, *_: object) -> Answer:
        return self.answer

    def cut(self) -> None:
        pass


def github_answer(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    status, *lines = head.decode("latin-1").split("\n")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    answer = Answer(
        int(status) if status.isascii() and status.isdecimal() and len(status) < 4 else 200, headers, body
    )
    asks: tuple[Callable[[GitHub], object], ...] = (
        lambda github: github.repository(),
        lambda github: github.comments(1),
        lambda github: github.find_issues(),
        lambda github: github.create_comment(1, comments.new_issue(GATE, "p", "k")[0]),
        lambda github: github.rate_limit(),
    )
    for ask in asks:
        github = GitHub(
            repo="o/r",
            api_url="https://api.github.com",
            token=lambda: "T",
            user_agent="fuzz",
            wall=lambda: 1.8e9,
            monotonic=time.monotonic,
            emit=silent,
            bounds=Bounds(),
        )
        github._api._wire = _Wire(answer)  # type: ignore[assignment]
        with suppress(SessiondError):
            ask(github)


def gate(data: bytes) -> None:
    cleared = GATE.redact("a.jsonl", data).data
    assert cleared.count(b"\n") == data.count(b"\n")
    GATE.text(data.decode("utf-8", "replace"))


def gate_on_a_file(data: bytes) -> None:
    GATE.redact("a.json", data)


def critical(data: bytes) -> None:
    """A record's own block, as anybody who may comment can write it."""
    with suppress(msgspec.MsgspecError, ValueError, RecursionError):  # what its caller expects
        record = decode(data.decode("utf-8", "replace"))
        comments.files_hash([FileEntry(entry.path, entry.size, entry.sha256) for entry in record.files])


TARGETS: dict[str, Target] = {
    "transcript": Target(transcript, goods.transcripts, 8),
    "loadable": Target(opened_by_its_agent, goods.transcripts, 3),
    "two_versions": Target(two_versions, goods.transcripts, 3),
    "companions": Target(companions, goods.objects, 3),
    "note": Target(note, goods.notes, 2),
    "context": Target(context, goods.notes, 1),
    "messages": Target(messages, goods.stores, 4),
    "structured": Target(structured, goods.objects, 4),
    "remote_url": Target(remote_url, goods.urls, 4),
    "query": Target(query, goods.queries, 4),
    "hook": Target(hook_event, goods.hooks, 8),
    "spool": Target(spooled, goods.hooks, 3),
    "agents_settings": Target(agents_settings, goods.settings, 3),
    "config": Target(config, goods.configs, 4),
    "variable": Target(variable, goods.variables, 3),
    "control": Target(control, goods.requests, 6),
    "log_line": Target(log_line, goods.hooks, 3),
    "journal": Target(journal_line, goods.journals, 4),
    "comment": Target(comment, goods.bodies, 6),
    "other_comments": Target(other_comments, goods.bodies, 3),
    "record": Target(critical, goods.records, 4),
    "payload": Target(packed, goods.packs, 4),
    "tar": Target(packed_tar, goods.tars, 4),
    "manifest": Target(manifest, goods.manifests, 8),
    "page": Target(page, goods.pages, 4),
    "segment": Target(segment, goods.segments, 4),
    "identity": Target(identity, goods.identities, 2),
    "sealed": Target(sealed, lambda: goods.sealed(_identity()[0]), 2),
    "names": Target(names_in_it, goods.names, 4),
    "github": Target(github_answer, goods.answers, 3),
    "gate": Target(gate, goods.transcripts, 3),
    "gate_on_a_file": Target(gate_on_a_file, goods.objects, 2),
}

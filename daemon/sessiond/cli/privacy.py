"""`sessiond privacy scan`: what would be redacted, and what older rules have let through."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

import msgspec

from sessiond.cli.searching import Searching, opened
from sessiond.cli.terminal import Terminal, clean, count, table
from sessiond.retrieval import github_of
from sessionsync.archiving import CACHE, COLD
from sessionsync.captured import Captured
from sessionsync.catalog import Session
from sessionsync.config import Config, load
from sessionsync.errors import CopyError, RedactionFailed, RemoteError, SessiondError
from sessionsync.privacy.gate import Gate
from sessionsync.privacy.scan import Hit, scan
from sessionsync.privacy.seal import Unseal
from sessionsync.remote.archive.address import address_of
from sessionsync.remote.archive.cache import Cache
from sessionsync.remote.archive.fold import Cold
from sessionsync.remote.archive.git import Git
from sessionsync.remote.archive.host import Host
from sessionsync.remote.archive.ledger import Ledger
from sessionsync.remote.archive.pushed import Pushed
from sessionsync.remote.archive.reader import Reader
from sessionsync.restore.known import of_session
from sessionsync.restore.records import RecordShelf

Json = dict[str, Any]
LINES = 20


def report(text: str | None, *, pushed: bool) -> Json:
    """What the rules find in one session, or in all: in the copies here, or in what was pushed."""
    with opened() as home:
        config = load(os.environ, home.where.config_file)
        gate = Gate(patterns=config.privacy.patterns, allow=config.privacy.allow)
        sessions = home.catalog.sessions() if text is None else [home.catalog.resolve(text)]
        found = _pushed(home, config, gate, sessions) if pushed else _kept(home, gate, sessions)
        files, failed = _told(found)
    kinds = sum((Counter(file["kinds"]) for file in files), Counter[str]())
    return {
        "rules": gate.rules,
        "redact": config.privacy.redact,
        "pushed": pushed,
        "encrypted": bool(config.archive.encrypt_to),
        "sessions": len(sessions),
        "files": files,
        "kinds": dict(kinds.most_common()),
        "failed": failed,
    }


Found = Iterator[tuple[Session, str, str, Iterable[Hit]]]
"""A session, where something of it lies, its name, and what is found there, or an error as that is read."""


def _kept(home: Searching, gate: Gate, sessions: Iterable[Session]) -> Found:
    copies = Captured(home.mirror, home.vault)
    for session in sessions:
        vault = home.vault.open(session.project or "unknown", session.stored_as)
        stored = vault.files()
        # what came after the newest checkpoint is in the plain copy alone
        newer = {
            name: captured
            for name, captured in home.catalog.files(session.id).items()
            if captured.length > captured.stored or name not in stored
        }
        for name in sorted({*stored, *newer}):
            if name in newer:
                yield session, "mirror", name, scan(gate, name, copies.pieces(session, newer[name]))
            else:
                file = stored[name]
                yield session, "vault", name, scan(gate, name, vault.read(name, file.generation, file.length))


def _pushed(home: Searching, config: Config, gate: Gate, sessions: Sequence[Session]) -> Found:
    yield from _archived(home, config, gate, sessions)
    yield from _commented(home, config, gate, sessions)


def _commented(home: Searching, config: Config, gate: Gate, sessions: Iterable[Session]) -> Found:
    """What the comments hold now; what they held before is in GitHub's history of edits alone."""
    github = github_of(config)
    if github is None:
        return
    with closing(github):
        shelf = RecordShelf(github, authors=config.github.authors, issue=config.github.issue)
        for session in sessions:
            if session.pushed_checkpoint is None:
                continue
            try:
                filed = shelf.find(of_session(session, home.catalog))
            except RemoteError as error:  # it would be the same for the others
                yield session, "github", "its comment", _unread(error)
                return
            if filed is not None:
                yield session, "github", "its comment", scan(gate, "", [msgspec.json.encode(filed.record)])
                for name, data in sorted((filed.contents or {}).items()):
                    yield session, "github", name, scan(gate, name, [data])


def _unread(error: SessiondError) -> Iterator[Hit]:
    """No hits, but why there are none."""
    yield from ()
    raise error


def _archived(home: Searching, config: Config, gate: Gate, sessions: Iterable[Session]) -> Found:
    address = address_of(config)
    if address is None:
        return
    state = home.where.state_dir
    git = Git(address, os.environ, state / "git")
    with closing(Cache(state / CACHE, git)) as cache, closing(Cold(git, state / COLD)) as cold:
        reader = Reader(cache, Host(git), cold, Unseal(None))
        archive = Pushed(cache, Ledger(home.store, address.id), reader)
        for session in sessions:
            for name, older in archive.under_other_rules(session.id, gate.rules):
                yield session, "archive", name, scan(gate, name, older)


def _told(found: Found) -> tuple[list[Json], list[Json]]:
    """Every file in which something was found, and those that could not be judged."""
    files: list[Json] = []
    failed: list[Json] = []
    for session, where, name, hits in found:
        try:
            seen = list(hits)
        except (CopyError, RedactionFailed, RemoteError) as problem:
            failed.append({"session": session.name, "path": name, "what": str(problem)})
            continue
        if seen:
            kinds: Counter[str] = Counter()
            for hit in seen:
                kinds[hit.kind] += hit.times
            lines = [{"line": hit.line, "kind": hit.kind, "count": hit.times} for hit in seen]
            told = {"session": session.name, "where": where, "path": name}
            files.append(told | {"kinds": dict(kinds), "lines": lines})
    return files, failed


def render(answer: Json, _now: float, out: Terminal) -> list[str]:
    """The report for a person: a line a file and kind, and in which lines."""
    looked = count(answer["sessions"], "session")
    problems = [
        f"{clean(each['session'])} {clean(each['path'])}: {clean(each['what'])}" for each in answer["failed"]
    ]
    if answer["pushed"] and answer["encrypted"]:
        problems.append(
            "What is encrypted there was not redacted and not looked at: only its recipients read it."
        )
    if not answer["files"]:
        nothing = "let nothing through" if answer["pushed"] else "would take nothing out"
        return [f"{looked} looked at: the rules {nothing}.", *problems]
    rows = [
        (file["session"], file["where"], file["path"], kind, str(number), _lines(file["lines"], kind))
        for file in answer["files"]
        for kind, number in file["kinds"].items()
    ]
    total = sum(answer["kinds"].values())
    head = f"{looked} looked at: {count(total, 'secret')} would be replaced by [REDACTED:kind]."
    end = "What is none goes into privacy.allow, what is missing into privacy.patterns."
    if answer["pushed"]:
        head = f"{looked} looked at: older rules let {count(total, 'secret')} through."
        end = "Take them for known: replace each of these secrets where it is used."
    elif not answer["redact"]:
        head += "  Nothing is: privacy.redact is off."
    return [
        head,
        *table(("SESSION", "WHERE", "FILE", "KIND", "COUNT", "LINES"), rows, out, right=(4,)),
        *problems,
        end,
    ]


def _lines(hits: list[Json], kind: str) -> str:
    numbers = [str(hit["line"]) for hit in hits if hit["kind"] == kind]
    return ", ".join(numbers[:LINES]) + ("…" if len(numbers) > LINES else "")

"""`sessiond restore` and `sessiond continue`: without a daemon, and without a state where that is lost."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from sessiond.cli.look import tell
from sessiond.cli.progress import progress
from sessiond.cli.terminal import Terminal, ago, clean, clock, count, size, table, wrap
from sessiond.retrieval import SHOWN, Restoring, Wish, opened
from sessionsync.errors import NoSuchSession, RestoreError, UsageError
from sessionsync.model import rfc3339
from sessionsync.restore import Known, Restored

Json = dict[str, Any]

# What takes less time than it takes to read of it needs no progress bar.
BAR_BYTES = 16 * 1024 * 1024
REDACTED = "Secrets in it were redacted before it left its machine: these bytes are not the original."


def restore(
    text: str | None,
    *,
    wish: Wish,
    listing: bool,
    issue: int = 0,
    pull: int = 0,
    latest: bool = False,
    as_json: bool = False,
) -> int:
    """`sessiond restore`; the exit code."""
    if sum([text is not None, bool(issue), bool(pull)]) > 1 or (text is not None and latest):
        raise UsageError(
            "One session is restored at a time.", hint="Give an id, or --for-issue, --for-pr or --latest."
        )
    if text is None and not (issue or pull or latest):
        raise UsageError("There is no session to restore.", hint="Give an id, as `sessiond list` shows them.")
    if wish.cwd is not None and wish.out is not None:
        raise UsageError(
            "--cwd and --out name two places.", hint="--out writes into any folder, for nobody to resume."
        )
    with opened() as restoring:
        if text is not None:
            session = restoring.find(text, wish.origin)
        else:
            session = restoring.about(issue, pull) if issue or pull else restoring.latest()
        if listing:
            answer = restoring.listing(session, wish.origin)
            _warn(restoring)
            tell(answer, listed, as_json=as_json)
            return 0
        done = _put_back(restoring, session, replace(wish, issue=issue))
        if issue:
            _put_context_back(restoring, session, done, replace(wish, issue=issue, at=""))
        _warn(restoring)
        tell(_told(session, done), restored, as_json=as_json)
        return done.exit_code


def go_on(*, latest: bool, wish: Wish, as_json: bool = False) -> int:
    """`sessiond continue`; the exit code."""
    with opened() as restoring:
        found = restoring.of_project()
        # a structured session has no command that resumes it
        found = [session for session in found if session.ref.source == "claude"] or found
        if not found:
            restoring.check_asked("of this folder's project")
            raise NoSuchSession(
                "There is no session of this folder's project.",
                hint=restoring.hint("`sessiond list` shows all; `sessiond restore ID` puts one back."),
            )
        session = found[0] if latest or not _is_asked() else _picked(found)
        place, was_there, code = restoring.live(session), True, 0
        if place is None:
            done = _put_back(restoring, session, wish)
            place, was_there, code = done.target, not done.changed, done.exit_code
            redacted = [] if done.copy.exact else [REDACTED]
            for note in [*done.notes, *redacted, *done.problems]:
                click.echo(clean(note), err=True)
        _warn(restoring)
        if not as_json:
            click.echo(clean(session.title) or session.name, err=True)
        answer = {"session": session.ref.session_id, "title": session.title, "restored": not was_there}
        tell(
            {**answer, "command": place.commands()},
            lambda told, _now, _out: [told["command"]],
            as_json=as_json,
        )
        return code


def _put_back(restoring: Restoring, session: Known, wish: Wish) -> Restored:
    """Put a session back, with a bar to watch and somebody to ask where there is a terminal."""
    with progress("Restoring", BAR_BYTES) as told:
        asking = replace(wish, ask=_ask if _is_asked() else None, progress=told)
        return restoring.put_back(session, asking)


def _put_context_back(restoring: Restoring, session: Known, done: Restored, wish: Wish) -> None:
    """Put an issue's context file back beside the session that was: who goes on with it reads that first."""
    context = restoring.context_of(wish.issue)
    if context is None or context.ref == session.ref:
        return
    try:
        also = _put_back(restoring, context, wish)
    except RestoreError as error:
        done.notes.append(f"The issue's context file was not put back: {error}")
        return
    done.notes += [f"The issue's context file is in {also.target.folder}.", *also.notes]


def _picked(found: Sequence[Known]) -> Known:
    """Let a person pick one, the newest first."""
    now = time.time()
    for number, session in enumerate(found[:SHOWN], 1):
        changed = ago(rfc3339(session.changed_at), now)
        click.echo(f"{number:>3}  {changed:<12}  {clean(session.title) or session.name}", err=True)
    most = min(len(found), SHOWN)
    while True:
        answer = _answer("Which [1]: ") or "1"
        if answer.isdecimal() and 1 <= int(answer[:4]) <= most:
            return found[int(answer) - 1]
        click.echo(f"A number from 1 to {most}.", err=True)


# --- what is told


def _told(session: Known, done: Restored) -> Json:
    copy = done.copy
    return {
        "id": session.ref.session_id,
        "source": session.ref.source,
        "title": session.title,
        "from": copy.origin,
        "checkpoint": copy.checkpoint,
        "at": rfc3339(copy.at),
        "author": copy.author,
        "path": str(done.target.folder),
        "files": done.files,
        "size": done.size,
        "exact": copy.exact,
        "complete": done.complete,
        "changed": done.changed,
        "replaced": str(done.kept) if done.kept is not None else None,
        "missing": done.missing,
        "notes": done.notes,
        "problems": done.problems,
        "command": done.target.commands(),
    }


def restored(answer: Json, now: float, out: Terminal) -> list[str]:
    """`restore`: what was put where, what is to be known about it, and how to go on."""
    what = f"{answer['source']}:{clean(answer['id'])}"
    point = f"checkpoint {answer['checkpoint']}, " if answer["checkpoint"] else ""
    how_much = f"{size(answer['size'])} in {count(answer['files'], 'file')}"
    verb = "Restored" if answer["changed"] else "Already there:"
    origin = f"from {answer['from']}, {point}{clock(answer['at'], now)}, {how_much}"
    lines = [f"{verb} {what} {origin}", f"  in {clean(answer['path'])}"]
    said = list(answer["notes"])
    if not answer["exact"]:
        said.append(REDACTED)
    if answer["missing"]:
        said.append(f"Not all of it could be read: {', '.join(answer['missing'][:3])} is missing.")
    elif not answer["complete"] and answer["from"] == "mirror":
        said.append(
            "The plain copy was cut, as on a full disk, or its bytes are not what was stored:"
            f" `sessiond ctl verify {answer['id']} --deep` says which."
        )
    elif not answer["complete"]:
        said.append("The vault is damaged there: some of its files may be older than they were.")
    if answer["replaced"]:
        said.append(f"What was replaced is in {answer['replaced']}.")
    said += [f"The agent may stumble over it: {problem}." for problem in answer["problems"]]
    for note in said:
        lines += wrap(f"  - {clean(note)}", out.width, "    ")
    return [*lines, clean(answer["command"])] if answer["command"] else lines


def listed(answer: Json, now: float, out: Terminal) -> list[str]:
    """`restore --list`."""
    if not answer["copies"]:
        return ["There is no copy of it."]
    rows = [
        (
            each["from"],
            each["checkpoint"] or "(newest)",
            clock(each["at"], now),
            size(each["size"]),
            "yes" if each["exact"] else "redacted",
            "yes" if each["complete"] else "no",
            (each["sha256"] or "")[:12],
            each["alias"],
        )
        for each in reversed(answer["copies"])
    ]
    heads = ("FROM", "CHECKPOINT", "AT", "SIZE", "EXACT", "COMPLETE", "SHA256", "ALIAS")
    return table(heads, rows, out, right=(3,))


def _warn(restoring: Restoring) -> None:
    for note in restoring.remarks:
        click.echo(clean(note), err=True)


# --- the person


def _is_asked() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask(question: str) -> bool:
    return _answer(f"{clean(question)} [y/N]: ").lower() in {"y", "yes"}


def _answer(question: str) -> str:
    """What a person types; not by click, which would put a blank before the one line on stdout."""
    sys.stderr.write(question)
    sys.stderr.flush()
    if not (line := sys.stdin.readline()):
        raise click.Abort
    return line.strip()

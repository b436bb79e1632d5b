"""`sessiond init`: what is found, what is asked, what will be done, and how it looks then."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from sessiond import setup
from sessiond.cli import serving, status
from sessiond.cli.terminal import Terminal, ago, cells, clean, count, size, terminal, wall, wrap
from sessiond.setup import Found, Plan, Wish
from sessiond.token import LOG_IN
from sessionsync.config import Config
from sessionsync.errors import (
    IdentityUnusable,
    NotConfirmed,
    RemoteError,
    RepositoryPublic,
    SessiondError,
    UsageError,
)
from sessionsync.model import rfc3339
from sessionsync.paths import paths

NONE = "none"
TRIES = 5
SCRIPT = "sessiond init --yes --repo owner/name --hooks --service"
ARCHIVE = (
    "Comments show sessions; an archive restores them whole, also on another machine: every checkpoint goes "
    "into a git repository.  `github` is the same one; another git URL or a folder will do."
)


ENCRYPT = (
    "Encrypted, the archive holds every byte as it was, for whoever has the identity, and nobody else; else "
    "secrets in it are redacted, and whoever may read the repository reads the rest."
)
KEEP = (
    "Keep a copy of the identity off this machine: without it nobody can read what is archived, nor can you."
)


def init(wish: Wish, *, yes: bool) -> None:
    """Set sessiond up.

    Raises:
        NotConfirmed: there is nobody to ask, or the answer was no; nothing is changed.
        SessiondError: what is wanted cannot be; nothing is changed before every check has passed.
    """
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise NotConfirmed(
            "`sessiond init` asks, and nobody is here to answer.", hint=f"Say it all, with --yes: {SCRIPT}"
        )
    out = terminal()
    environ, where = os.environ, paths(os.environ)
    found = setup.find(environ, where, Path.cwd(), serving.of_here)
    click.echo("\n".join(_found(found, out)))
    setup.plan(found, wish)  # what is wrong with the flags is said before anything is asked
    wish = _given(found, wish) if yes else _asked(found, wish, out)
    todo = setup.plan(found, wish)
    _say(["", "Nothing to change." if not todo else "This will be done:", *_todo(found, todo)], out)
    for name in setup.overriding(environ, todo):
        _say([f"{name} is set, and wins over it."], out)
    if todo:
        if not yes and not click.confirm("Go on?", default=True, err=True):
            raise NotConfirmed("Nothing was changed.", hint="Run it again when you like.")
        _say(setup.apply(todo, found, environ, serving.of_here), out)
        if todo.identity is not None:
            _say([KEEP], out)
    _say(["", *_end(setup.find(environ, where, Path.cwd(), serving.of_here))], out)


# --- what is there


def _found(found: Found, out: Terminal) -> list[str]:
    rows = [("Claude Code", _agent(each)) for each in found.agents]
    if found.unwatched is not None:
        rows.append(("Not watched", f"{_agent(found.unwatched)}; name it in sources.claude"))
    rows.append(("Token", _token(found)))
    rows.append(("This folder", found.proposed or "belongs to no repository on GitHub"))
    rows.append(("Settings", f"{found.where.config_file}{'' if _is_set_up(found) else ' (not there yet)'}"))
    if found.config.github.repo:
        rows.append(("Repository", found.config.github.repo))
    if found.config.archive.url:
        rows.append(("Archive", _archived(found.config)))
    rows.append(("Hooks", found.hooks_problem or ("installed" if found.hooked else "not installed")))
    rows.append(("Service", found.service_problem or _service(found)))
    widest = max(cells(name) for name, _ in rows)
    lines = []
    for name, text in rows:
        width = None if out.width is None else max(20, out.width - widest - 2)
        first, *others = wrap(clean(text), width)
        lines.append(f"{out.paint(name.ljust(widest), 'dim')}  {first}")
        lines += [" " * (widest + 2) + other for other in others]
    return lines


def _archived(config: Config) -> str:
    recipients = len(config.archive.encrypt_to)
    return config.archive.url + (f", encrypted for {count(recipients, 'recipient')}" if recipients else "")


def _agent(agent: setup.Agent) -> str:
    if not agent.sessions:
        return f"{agent.folder}: no sessions yet"
    changed = ago(rfc3339(agent.newest_at), wall())
    return f"{agent.folder}: {count(agent.sessions, 'session')}, {size(agent.size)}, the newest {changed}"


def _token(found: Found) -> str:
    if found.token_problem is not None:
        return f"{found.token_problem}"
    if found.token is None:
        return f"none. {LOG_IN}"
    words = {"credential": "the service's credential", "gh": "`gh auth token`", "keyring": "the keyring"}
    return f"from {words.get(found.token.source, found.token.source)}"


def _service(found: Found) -> str:
    return str(found.service["state"]) if found.service and found.service["installed"] else "not installed"


def _is_set_up(found: Found) -> bool:
    """Whether somebody has made up his mind before: then what is stays, unless it is asked for."""
    return found.where.config_file.exists()


# --- what is wanted


def _given(found: Found, wish: Wish) -> Wish:
    """What the flags say, checked; nobody is asked."""
    todo = setup.plan(found, wish)
    config = setup.planned(found, todo)
    _check_pair(config)
    _check_encryption(config, todo)
    if config.github.repo and {wish.repo, wish.issue, wish.allow_public} != {None}:
        try:
            _check_repository(found, config)
        except RemoteError as problem:
            if not setup.is_passing(problem):
                raise
            _unchecked(problem)
    if wish.archive:
        _check_archive(found, config)
    return wish


def _asked(found: Found, wish: Wish, out: Terminal) -> Wish:
    """What the flags say, and else the person on the terminal."""
    wish = _repository(found, wish)
    repo = setup.planned(found, setup.plan(found, wish)).github.repo
    wish = _archive(found, wish, repo, out)
    wish = _encryption(found, wish, out)
    first = not _is_set_up(found)
    if wish.hooks is None and not found.hooked and not found.hooks_problem:
        text = f"\nLet Claude Code tell when a turn ends (4 entries in {found.hooks_file})?"
        wish = replace(wish, hooks=click.confirm(text, default=first, err=True))
    if wish.service is None and found.service is not None and not found.service["installed"]:
        text = "\nRun it as a service of yours, from now on and at each login?"
        wish = replace(wish, service=click.confirm(text, default=first, err=True))
    return wish


def _repository(found: Found, wish: Wish) -> Wish:
    """The repository, asked for until GitHub takes it or it is none."""
    usual = found.config.github.repo or ("" if _is_set_up(found) else found.proposed)
    given = wish.repo is not None
    if not given:
        click.echo("\nSessions are shown in the issues of a private repository on GitHub.", err=True)
    for _ in range(TRIES):
        if not given:
            answer = click.prompt("Repository (owner/name, or none)", default=usual or NONE, err=True).strip()
            wish = replace(wish, repo="" if answer == NONE else answer)
        try:
            config = setup.planned(found, setup.plan(found, wish))
            if config.github.repo:
                _check_repository(found, config)
            return wish
        except RepositoryPublic as problem:
            click.echo(clean(problem), err=True)
            if click.confirm("Show them there all the same?", default=False, err=True):
                wish, given = replace(wish, allow_public=True), True
                continue
        except (RemoteError, UsageError) as problem:
            if isinstance(problem, RemoteError) and setup.is_passing(problem):
                _unchecked(problem)
                return wish
            _complain(problem)
        usual, given = "", False
    raise NotConfirmed("Nothing was changed.", hint="Run it again when the repository is there.")


def _archive(found: Found, wish: Wish, repo: str, out: Terminal) -> Wish:
    """The archive, asked for until it would take a push or is none."""
    usual = found.config.archive.url or ("github" if repo and not _is_set_up(found) else "")
    given = wish.archive is not None
    if not given:
        _say(["", ARCHIVE], out)
    for _ in range(TRIES):
        if not given:
            answer = click.prompt(
                "Archive (github, URL, folder, or none)", default=usual or NONE, err=True
            ).strip()
            wish = replace(wish, archive="" if answer == NONE else answer)
        try:
            config = setup.planned(found, setup.plan(found, wish))
            _check_pair(config)
            if wish.archive:
                _check_archive(found, config)
            return wish
        except (RemoteError, UsageError) as problem:
            _complain(problem)
        usual, given = "", False
    raise NotConfirmed("Nothing was changed.", hint="Run it again when the archive is there.")


def _encryption(found: Found, wish: Wish, out: Terminal) -> Wish:
    """Whether an archive that was just named is encrypted, and with which identity it is read."""
    todo = setup.plan(found, wish)
    config = setup.planned(found, todo)
    archive = config.archive
    is_new = bool(archive.url) and archive.url != found.written.archive.url
    if not is_new or archive.encrypt_to or {wish.encrypt, wish.identity} != {None}:
        _check_encryption(config, todo)
        return wish
    _say(["", ENCRYPT], out)
    wish = replace(wish, encrypt=click.confirm("Encrypt it?", default=False, err=True))
    if not wish.encrypt:
        return wish
    usual = archive.identity_file or setup.identity_file(found)
    for _ in range(TRIES):
        answer = click.prompt("Identity file (made if it is not there)", default=str(usual), err=True)
        try:
            wish = replace(wish, identity=setup.placed(answer.strip()))
            setup.plan(found, wish)
            return wish
        except IdentityUnusable as problem:
            _complain(problem)
    raise NotConfirmed("Nothing was changed.", hint="Run it again when the identity is there.")


def _check_encryption(config: Config, todo: Plan) -> None:
    if todo.identity is not None and not config.archive.url:
        raise UsageError(
            "There is no archive that could be encrypted.",
            hint="Name one with --archive: github, a URL, a folder.",
        )


def _check_pair(config: Config) -> None:
    if config.archive.url == "github" and not config.github.repo:
        raise UsageError(
            "The archive `github` is the repository's own, and there is none.",
            hint="Name a repository with --repo, or another git URL or a folder for the archive.",
        )


def _check_repository(found: Found, config: Config) -> None:
    if found.token is None:
        return
    name = setup.check_repository(config, found.token)
    seen = "public, as allowed" if config.github.allow_public else "private"
    click.echo(f"{name}: {seen}, issues can be written.", err=True)


def _check_archive(found: Found, config: Config) -> None:
    if config.archive.url == "github" and found.token is None:
        return
    try:
        setup.check_archive(config, found.token, os.environ)
    except RemoteError as problem:
        if not setup.is_passing(problem):
            raise
        _unchecked(problem)
        return
    click.echo("The archive can be written to.", err=True)


def _unchecked(problem: SessiondError) -> None:
    click.echo(f"Not checked: {clean(problem)}", err=True)
    click.echo("It is set all the same; until it answers, everything stays on this disk.", err=True)


def _complain(problem: SessiondError) -> None:
    click.echo(clean(problem), err=True)
    if problem.hint:
        click.echo(clean(problem.hint), err=True)


# --- what is done, and how it is then


def _todo(found: Found, todo: Plan) -> list[str]:
    words = {
        "github.repo": ("show sessions in the issues of {}", "show sessions nowhere"),
        "github.issue": ("all of them in issue {}", "one issue a project"),
        "github.allow_public": ("also where everyone can read them", "only in private repositories"),
        "archive.url": ("archive every checkpoint in {}", "archive nothing"),
        "archive.encrypt_to": (
            "encrypt the archive for {}",
            "encrypt it no more: what is archived from now on is redacted",
        ),
        "archive.identity_file": ("read what is encrypted there with {}", ""),
    }
    lines = []
    if todo.identity is not None:
        lines.append(f"identity: make {todo.identity}, for you alone, and encrypt the archive for it")
    for setting, value in todo.settings.items():
        some, none = words[setting]
        said = "the same repository" if value == "github" else value
        said = ", ".join(value) if isinstance(value, list) else said
        lines.append(f"{setting}: {(some if value else none).format(said)}")
    if todo.hooks is not None:
        what = "4 entries into" if todo.hooks else "our entries out of"
        lines.append(f"hooks: {what} {found.hooks_file}; the rest of it stays as it is")
    if todo.service is not None:
        lines.append(f"service: {'start it now, and at each login' if todo.service else 'remove it'}")
    return [f"  {clean(line)}" for line in lines]


def _end(found: Found) -> list[str]:
    """What still lacks, what `ctl status` says first, and what to do next."""
    lines = []
    repo = found.config.github.repo
    if not repo and found.config.has_archive:
        lines.append("No repository on GitHub is set: sessions are shown nowhere, and go to the archive.")
    elif not repo:
        lines.append("No repository is set: everything stays on this machine, twice.")
    elif found.token is None:
        why = f"{found.token_problem}" if found.token_problem is not None else "There is no token"
        lines.append(f"{why.rstrip('.')}: nothing goes to GitHub yet, all is kept here. {LOG_IN}")
    elif setup.kept_from_service(found):
        lines.append(
            f"The service does not see {found.token.source} of this shell: run `gh auth login`, or put the "
            "token into a file (0600) and: sessiond service install --token-file FILE"
        )
    said = setup.status(found.where)
    if said is not None:
        head = status.headline(said, wall())
        return [*lines, head.text, *filter(None, [head.advice]), "Next: sessiond ctl status"]
    if found.service and found.service["installed"]:
        return [*lines, "Next: sessiond service start"]
    return [*lines, "Next: sessiond run"]


def _say(lines: list[str], out: Terminal) -> None:
    for line in lines:
        for each in wrap(line, out.width, "  ") if line else [""]:
            click.echo(each)

"""Every command, as click sees it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from sessiond import client
from sessiond.cli import tables
from sessiond.cli.group import Verbs
from sessiond.cli.look import PLAIN, act, look, tell, watch
from sessiond.cli.progress import progress
from sessionsync.errors import UsageError
from sessionsync.paths import paths

Function = TypeVar("Function", bound=Callable[..., Any])

# What `ctl sync --wait` waits for without a number, and what an answer may come later than asked for.
WAIT_S = 120.0
GRACE_S = 30.0
# The first checkpoint of a huge session reads all of it.
CHECKPOINT_S = 600.0
# Every byte of a large backup is read.
VERIFY_S = 4 * 3600.0
# GitHub and the archive are waited for.
FORGET_S = 600.0
FOLLOW_S = 1.0
QUERY_HINT = "Give words, \"a phrase\" or a prefix*, as in: sessiond search 'blue green'"
# What click looks at to complete a line that is being typed.
COMPLETE = "_SESSIOND_COMPLETE"
JSON_HELP = "Print the answer as JSON."
DRY_HELP = "Only say what would be done."


def example(*lines: str) -> str:
    """The end of a command's help."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def as_json(function: Function) -> Function:
    """The option --json."""
    return click.option("--json", "as_json", is_flag=True, help=JSON_HELP)(function)


def _version(context: click.Context) -> None:
    from sessiond import build  # noqa: PLC0415 - reads the list of what is installed

    click.echo(build.described())
    context.exit()


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("sessiond run", "sessiond ctl status"),
    subcommand_metavar="COMMAND [ARGUMENTS]...",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _option, wanted: _version(context) if wanted else None,
    help="What runs here: version, commit and libraries.",
)
@click.option("--debug", is_flag=True, help="Show tracebacks; may stand anywhere.")
def sessiond(*, debug: bool) -> None:
    """Back up AI coding sessions, show them on GitHub, restore them anywhere."""
    del debug  # taken from the command line before it is parsed


@sessiond.command(epilog=example("sessiond run", "SESSIOND_HOME=/tmp/try sessiond run --debug"))
@click.option("--check", is_flag=True, help="Only say whether it would start here; nothing is changed.")
@click.pass_context
def run(context: click.Context, *, check: bool) -> None:
    """Run the daemon in the foreground, until it is told to stop."""
    from sessiond import app, upgrade  # noqa: PLC0415 - heavy, and only for the daemon

    if check:
        click.echo(upgrade.check(os.environ))
        click.echo(upgrade.would_start(os.environ), err=True)  # stdout is for the daemon that asks
        return
    context.exit(app.run(os.environ, debug=bool(context.obj)))


@sessiond.command(
    short_help="Set it up: repository, archive, hooks and service.",
    epilog=example(
        "sessiond init",
        "sessiond init --yes --repo owner/name --archive github --hooks --service",
        "sessiond init --yes --archive git@git.example:ann/sessions.git --encrypt",
    ),
)
@click.option("--repo", metavar="OWNER/NAME", help="The repository that shows the sessions; `none` for none.")
@click.option(
    "--issue", type=click.IntRange(min=0), metavar="N", help="Show all in this issue; 0: one a project."
)
@click.option("--archive", metavar="URL", help="`github`, a git URL, a folder, or `none`.")
@click.option("--encrypt/--no-encrypt", default=None, help="Encrypt the archive: exact then, else redacted.")
@click.option(
    "--identity",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The identity that opens it (age, or a key of SSH); made where it is missing, never replaced.",
)
@click.option(
    "--hooks/--no-hooks", "hooked", default=None, help="Put hooks into Claude Code's settings, or not."
)
@click.option(
    "--service/--no-service", "served", default=None, help="Start it at each login and now, or not."
)
@click.option(
    "--allow-public", is_flag=True, default=None, help="Also in a repository that everyone can read."
)
@click.option("-y", "--yes", is_flag=True, help="Ask nothing: do what the options say, and leave the rest.")
def init(
    *,
    repo: str | None,
    issue: int | None,
    archive: str | None,
    encrypt: bool | None,
    identity: str | None,
    hooked: bool | None,
    served: bool | None,
    allow_public: bool | None,
    yes: bool,
) -> None:
    """Set sessiond up on this machine: asks for what is needed, and does nothing before it has said what.

    Repository, visibility and rights are checked with GitHub first.  Again: only what is asked for changes.
    """
    from sessiond.cli import setting_up  # noqa: PLC0415 - only for this
    from sessiond.setup import Wish, placed  # noqa: PLC0415

    repo, archive = ("" if text == "none" else text for text in (repo, archive))
    file = None if identity is None else placed(identity)
    wish = Wish(repo, issue, archive, allow_public, hooked, served, encrypt, file)
    setting_up.init(wish, yes=yes)


@sessiond.command(
    "list",
    short_help="What sessions there are, and where their copies lie.",
    epilog=example("sessiond list", "sessiond list --project ."),
)
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Only sessions of the project that this folder is in.",
)
@as_json
def list_sessions(*, project: Path | None, as_json: bool) -> None:
    """Sessions, newest first: what is next in each, and where it can be restored from."""
    from sessiond.cli import listing  # noqa: PLC0415 - only for this

    folder = None if project is None else project.resolve()
    tell(listing.sessions(folder), tables.listed, as_json=as_json)


@sessiond.command(
    short_help="Capture and push once, as in CI, without a daemon.",
    epilog=example(
        "sessiond sync --once --timeout 300", "sessiond sync --once --textfile /var/lib/node/s.prom"
    ),
)
@click.option("--once", is_flag=True, required=True, help="Until everything is through, then end.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), default=600, show_default=True)
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the metrics to this file, for node_exporter.",
)
@as_json
@click.pass_context
def sync(
    context: click.Context, *, once: bool, timeout_s: float, textfile: Path | None, as_json: bool
) -> None:
    """Capture and push once, without a daemon, as in CI; a daemon that runs does it instead.

    Exit code 1 says that something is left, which is printed.
    """
    del once  # there is no other way yet; `ctl sync` is for the daemon
    from sessiond import once as alone  # noqa: PLC0415 - heavy

    code = alone.sync_once(
        os.environ, timeout_s=timeout_s, textfile=textfile, as_json=as_json, debug=bool(context.obj)
    )
    context.exit(code)


@sessiond.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": ["-h", "--help"]},
    short_help="What Claude Code runs at an event.",
    epilog=example("sessiond hook Stop < event.json", "sessiond hook PreCompact --passthrough | next-hook"),
)
@click.argument("event", metavar="EVENT")
@click.option("--passthrough", is_flag=True, help="Copy stdin to stdout, for the next in a chain.")
def hook(*, event: str, passthrough: bool) -> None:
    """What Claude Code runs at an event, with JSON on stdin: the session is copied, and the daemon told.

    Prints nothing and ends with 0 whatever happens; what went wrong is in hook.log.
    """
    from sessiond import hook as hooked  # noqa: PLC0415 - a hook itself never comes this way

    hooked.run([event, "--passthrough"] if passthrough else [event])


@sessiond.group(
    short_help="Have Claude Code tell sessiond when a turn ends.",
    epilog=example("sessiond hooks install", "sessiond hooks status"),
)
def hooks() -> None:
    """Claude Code's settings: have it tell sessiond at once when a turn, a subagent or a session ends."""


def scoped(function: Function) -> Function:
    """The options that say whose settings are meant."""
    project = click.option(
        "--project",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=".",
        help="The project's folder, where it is not this one.",
    )
    scope = click.option(
        "--scope",
        type=click.Choice(["user", "project", "local"]),
        default="user",
        show_default=True,
        help="Your settings, those of a project, or yours in a project.",
    )
    return scope(project(function))


@hooks.command(
    "install",
    short_help="Add four entries to Claude Code's settings.",
    epilog=example("sessiond hooks install", "sessiond hooks install --scope project"),
)
@scoped
@as_json
def hooks_install(*, scope: str, project: Path, as_json: bool) -> None:
    """Add four entries to the settings, once; everything else in them stays as it is, to the byte."""
    from sessiond import hooks as settings  # noqa: PLC0415 - only for this

    file = settings.settings_file(scope, os.environ, project.absolute())
    changed = settings.install(settings.read(scope, file), paths(os.environ), settings.program())
    tell({"file": str(file), "changed": changed}, tables.hooks_in, as_json=as_json)


@hooks.command("uninstall", short_help="Take them out again.", epilog=example("sessiond hooks uninstall"))
@scoped
@as_json
def hooks_uninstall(*, scope: str, project: Path, as_json: bool) -> None:
    """Take the entries out again; the settings are then what they were before."""
    from sessiond import hooks as settings  # noqa: PLC0415 - only for this

    file = settings.settings_file(scope, os.environ, project.absolute())
    changed = settings.uninstall(settings.read(scope, file), paths(os.environ))
    answer = {"file": str(file), "changed": changed, "removed": changed and not file.exists()}
    tell(answer, tables.hooks_out, as_json=as_json)


@hooks.command(
    "status",
    short_help="Where they are, and when one was last heard of.",
    epilog=example("sessiond hooks status", "sessiond hooks status --json"),
)
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="The project's folder, where it is not this one.",
)
@as_json
def hooks_status(*, project: Path, as_json: bool) -> None:
    """Where the entries are, whether they can run, and when a hook was last heard of."""
    from sessiond import hooks as settings  # noqa: PLC0415 - only for this

    tell(settings.status(os.environ, paths(os.environ), project.absolute()), tables.hooks, as_json=as_json)


@sessiond.group(
    short_help="The daemon as a service of yours.",
    epilog=example("sessiond service install", "sessiond service status"),
)
def service() -> None:
    """The daemon as a service of yours: a systemd user unit, or a launchd agent."""


@service.command(
    "install",
    epilog=example(
        "sessiond service install --linger", "sessiond service install --token-file ~/.github-token"
    ),
)
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Hand the GitHub token in this file (0600) to the service as a credential; systemd only.",
)
@click.option(
    "--hardening/--no-hardening",
    default=None,
    help="With mounts of its own; else that is tried once, and left out where it does not work.",
)
@click.option(
    "--linger/--no-linger",
    "lingering",
    default=None,
    help="Run from boot on, also while you are not logged in; systemd only.",
)
@as_json
def service_install(
    *, token_file: Path | None, hardening: bool | None, lingering: bool | None, as_json: bool
) -> None:
    """Start the daemon at login and now, and come back when it is ready.

    Again: what has changed since is brought up to date, else nothing happens.
    """
    from sessiond.cli import serving  # noqa: PLC0415 - only for this
    from sessiond.service import Wish  # noqa: PLC0415

    here = serving.of_here()
    wish = Wish(token_file, hardening, serving.lingering(lingering, here.status()))
    tell(here.install(wish), serving.render, as_json=as_json)


@service.command("uninstall", epilog=example("sessiond service uninstall"))
@as_json
def service_uninstall(*, as_json: bool) -> None:
    """Stop the service, and take away exactly what install made; sessions and backups stay."""
    from sessiond.cli import serving  # noqa: PLC0415 - only for this

    tell(serving.of_here().uninstall(), serving.render, as_json=as_json)


@service.command("start", epilog=example("sessiond service start"))
@as_json
def service_start(*, as_json: bool) -> None:
    """Start the service, and come back when it is ready, or with why it does not start."""
    from sessiond.cli import serving  # noqa: PLC0415 - only for this

    tell(serving.of_here().start(), serving.render, as_json=as_json)


@service.command("stop", epilog=example("sessiond service stop"))
@as_json
def service_stop(*, as_json: bool) -> None:
    """Stop the service until the next login, or the next start."""
    from sessiond.cli import serving  # noqa: PLC0415 - only for this

    tell(serving.of_here().stop(), serving.render, as_json=as_json)


@service.command("status", epilog=example("sessiond service status", "sessiond service status --json"))
@as_json
@click.pass_context
def service_status(context: click.Context, *, as_json: bool) -> None:
    """Whether the service runs, and what it said last.  Exit code 3 when it does not run."""
    from sessiond.cli import serving  # noqa: PLC0415 - only for this

    answer = serving.status()
    tell(answer, serving.render, as_json=as_json)
    context.exit(0 if answer["state"] == "running" else 3)


@sessiond.command(
    short_help="Whether everything is in order, and what to do.",
    epilog=example("sessiond doctor", "sessiond doctor --bundle /tmp/support.tar.gz"),
)
@click.option(
    "--bundle",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write a support archive, without secrets, session text and titles.",
)
@as_json
@click.pass_context
def doctor(context: click.Context, *, bundle: Path | None, as_json: bool) -> None:
    """Look at everything that sessiond needs and promises, and say what to do.  Needs no running daemon.

    Exit code 1 when something has failed; warnings are 0.
    """
    from sessiond.cli import examining  # noqa: PLC0415 - heavy

    context.exit(examining.examine(bundle, as_json=as_json))


@sessiond.command(
    short_help="What Prometheus and Grafana need to watch the daemon.",
    epilog=example("sessiond observe > /etc/prometheus/prometheus.yml", "sessiond observe --json"),
)
@as_json
def observe(*, as_json: bool) -> None:
    """Print a configuration for Prometheus, with where the alert rules and the Grafana dashboard lie."""
    from sessiond.cli import observing  # noqa: PLC0415 - only for this
    from sessionsync.config import load  # noqa: PLC0415

    config = load(os.environ, paths(os.environ).config_file)
    tell(observing.found(config), observing.render, as_json=as_json)


@sessiond.command(
    short_help="Take away what sessiond has made on this machine.",
    epilog=example("sessiond uninstall --dry-run", "sessiond uninstall --purge --yes"),
)
@click.option(
    "--purge",
    count=True,
    help="Also settings, state and logs; given twice, also the backups, which nothing else may have.",
)
@click.option("--dry-run", is_flag=True, help=DRY_HELP)
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@as_json
def uninstall(*, purge: int, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Take away the service and the hooks, after showing what goes and what stays.

    Sessions stay where their agent keeps them, and so do the backups, until they are given up with a second
    --purge.  What was sent to GitHub or to an archive stays there.
    """
    from sessiond.cli import removing  # noqa: PLC0415 - only for this

    removing.uninstall(min(purge, 2), dry_run=dry_run, yes=yes, as_json=as_json)


@sessiond.command(
    short_help="Have the Tab key complete commands.",
    epilog=example(
        'eval "$(sessiond completion bash)"',
        "sessiond completion fish > ~/.config/fish/completions/sessiond.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes the Tab key complete commands in this shell: to eval at its start, or to save."""
    from click import shell_completion  # noqa: PLC0415 - only for this

    kind = shell_completion.get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click knows these three
    click.echo(kind(sessiond, {}, "sessiond", COMPLETE).source())


@sessiond.command(
    short_help="Remove a session everywhere, on purpose.",
    epilog=example("sessiond forget 0f4c --dry-run", "sessiond forget 0f4c", "sessiond forget --undo 0f4c"),
)
@click.argument("session", metavar="ID")
@click.option("--dry-run", is_flag=True, help=DRY_HELP)
@click.option("--undo", is_flag=True, help="Let a session that was forgotten be captured again.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_context
def forget(
    context: click.Context, *, session: str, dry_run: bool, undo: bool, yes: bool, as_json: bool
) -> None:
    """Remove a session everywhere: plain copies, backup, index, comments, archive; says first what that is.

    The agent's own file is not touched, and is captured no more.  Other machines that have the session keep
    it, and send it again: it is to be forgotten there as well.  Exit code 1 says that something is left,
    which goes on by itself.  --undo takes the beginning of an id while the agent's file is there, else all
    of it.
    """
    from sessiond.cli import forgetting  # noqa: PLC0415 - rarely wanted

    if undo:
        tell(act("forget", session=session, undo=True), forgetting.undone, as_json=as_json)
        return
    found = act("forget", session=session, dry_run=True)
    if dry_run:
        tell(found, forgetting.planned, as_json=as_json)
        return
    forgetting.confirm(found, yes=yes)
    answer = act("forget", timeout_s=FORGET_S, session=found["session"])
    tell(answer, forgetting.done, as_json=as_json)
    context.exit(1 if answer["left"] else 0)


@sessiond.command(
    short_help="What sessions cost, how fast they were answered, how often resumed.",
    epilog=example("sessiond stats", "sessiond stats --since 7d --json"),
)
@click.option("--since", default="", metavar="TIME", help="Only what came after: 7d, 12h, or a date.")
@as_json
def stats(*, since: str, as_json: bool) -> None:
    """Numbers from the transcripts: sessions, reuse, tokens, response time, errors, storage, goals.

    Every answer counts once, in however many files it is written.  Days are those of UTC.
    """
    from sessiond.cli import counting  # noqa: PLC0415 - heavy

    tell(counting.stats(since), counting.render, as_json=as_json)


@sessiond.command(
    short_help="Find sessions by what was said in them.",
    epilog=example("sessiond search 'blue green' --since 7d", "sessiond search --rebuild"),
)
@click.argument("query", nargs=-1)
@click.option("--rebuild", is_flag=True, help="Make the index anew from the copies.")
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Only sessions of the project that this folder is in.",
)
@click.option("--since", default="", metavar="TIME", help="A date, an RFC 3339 time, or an age such as 7d.")
@click.option("--role", type=click.Choice(["user", "assistant", "tool", "title", "note"]), default=None)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@as_json
def search(
    *,
    query: tuple[str, ...],
    rebuild: bool,
    project: Path | None,
    since: str,
    role: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Find sessions by words that were said in them: words, "phrases", prefix*, OR, NOT.

    The newest come first, also those of sessions that their agent has deleted.  Needs no daemon.
    """
    from sessiond.cli import searching  # noqa: PLC0415 - heavy

    if not query and not rebuild:
        raise UsageError("There is nothing to search for.", hint=QUERY_HINT)
    with progress("Indexing") as told:
        count = searching.rebuild(told) if rebuild else searching.make_missing(told)
    if rebuild:
        click.echo(f"{count} sessions indexed", err=True)
    if not query:
        return
    folder = None if project is None else project.resolve()
    found = searching.search(
        " ".join(query),
        project=folder,
        since=since,
        role=role or "",
        limit=limit,
        marks=tables.MARKS,
    )
    if as_json:
        for hit in found["hits"]:
            hit["snippet"] = tables.starred(hit["snippet"])
    tell(found, partial(tables.hits, limit=limit), as_json=as_json)


@sessiond.command(
    short_help="Put a session back, so that the agent finds it.",
    epilog=example(
        "sessiond restore 3f2a9c1e",
        "sessiond restore 3f2a9c1e --at 2026-01-31T12:00:00Z --out /tmp/before",
        "sessiond restore --for-pr 12 --yes",
    ),
)
@click.argument("session", metavar="[ID]", required=False)
@click.option(
    "--from",
    "origin",
    type=click.Choice(["mirror", "vault", "github", "archive"]),
    default=None,
    help="Take this copy, not the newest.",
)
@click.option(
    "--at",
    default="",
    metavar="CHECKPOINT",
    help="An id or alias, or an RFC 3339 time: the newest until then.",
)
@click.option(
    "--cwd",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The project's folder on this machine, where it is not this one.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write it there, byte for byte, and not back.",
)
@click.option("--force", is_flag=True, help="Also over a session that is open, or newer; that is kept.")
@click.option("--list", "listing", is_flag=True, help="Only show which copies there are.")
@click.option("--for-issue", type=click.IntRange(min=1), metavar="N", help="The newest about this issue.")
@click.option("--for-pr", type=click.IntRange(min=1), metavar="N", help="The newest about this pull request.")
@click.option("--latest", is_flag=True, help="The newest of this folder's project.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@as_json
@click.pass_context
def restore(
    context: click.Context,
    session: str | None,
    *,
    origin: str | None,
    at: str,
    cwd: Path | None,
    out: Path | None,
    force: bool,
    listing: bool,
    for_issue: int | None,
    for_pr: int | None,
    latest: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Put a session back so that the agent finds it; the last line printed is the command that resumes it.

    Takes the newest copy there is, on this disk or GitHub; needs no daemon.  Exit code 5 says that secrets
    in it are redacted, 4 that there is no such copy, 1 that it is open, newer, or not all there.
    """
    from sessiond.cli import restoring  # noqa: PLC0415 - heavy
    from sessiond.retrieval import Wish  # noqa: PLC0415

    wish = Wish(origin or "", at, cwd, out, force=force, yes=yes)
    code = restoring.restore(
        session,
        wish=wish,
        listing=listing,
        issue=for_issue or 0,
        pull=for_pr or 0,
        latest=latest,
        as_json=as_json,
    )
    context.exit(code)


@sessiond.command(
    "continue",
    short_help="Get the command that resumes a session of this project.",
    epilog=example("sessiond continue", 'eval "$(sessiond continue --latest)"'),
)
@click.option("--latest", is_flag=True, help="The newest of this project, unasked.")
@click.option("--force", is_flag=True, help="Also over a session that is open, or newer; that is kept.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing.")
@as_json
@click.pass_context
def go_on(context: click.Context, *, latest: bool, force: bool, yes: bool, as_json: bool) -> None:
    """Pick one of this project's sessions, and get the command that resumes it, the only line on stdout.

    It is restored first where its file is gone.  Without a terminal the newest is taken.
    """
    from sessiond.cli import restoring  # noqa: PLC0415 - heavy
    from sessiond.retrieval import Wish  # noqa: PLC0415

    wish = Wish(force=force, yes=yes)
    context.exit(restoring.go_on(latest=latest or yes, wish=wish, as_json=as_json))


@sessiond.group(epilog=example("sessiond privacy scan", "sessiond privacy scan --pushed --json"))
def privacy() -> None:
    """What is secret in your sessions, as far as the rules know."""


@privacy.command("scan", epilog=example("sessiond privacy scan 3f2a9c1e", "sessiond privacy scan --pushed"))
@click.argument("session", metavar="[ID]", required=False)
@click.option("--pushed", is_flag=True, help="What older rules have let through to comments and archive.")
@as_json
@click.pass_context
def privacy_scan(context: click.Context, *, session: str | None, pushed: bool, as_json: bool) -> None:
    """Show what would be redacted in a session, or in all: where and of which kind, never what.

    Exit 5 where something could not be searched; nothing of that is sent either.
    """
    from sessiond.cli import privacy as looking  # noqa: PLC0415 - only for this

    answer = looking.report(session, pushed=pushed)
    tell(answer, looking.render, as_json=as_json)
    context.exit(5 if answer["failed"] else 0)


@sessiond.group(
    short_help="Notes beside the work: begin, check, read them.",
    epilog=example("sessiond note new 'add a cache'", "sessiond note lint"),
)
def note() -> None:
    """Notes beside the work, in a project's .claude/sessions: begin, check and read them."""


def in_project(function: Function) -> Function:
    """The option that says which project's notes are meant."""
    return click.option(
        "--project",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        default=".",
        help="The project's folder, where it is not this one.",
    )(function)


@note.command(
    "new",
    short_help="Begin a note of today about a topic.",
    epilog=example("sessiond note new 'add a cache'", "sessiond note new 'cart is empty' --kind bug"),
)
@click.argument("topic")
@click.option(
    "--kind",
    type=click.Choice(["feature", "bug", "refactor"]),
    default="feature",
    show_default=True,
    help="What the template asks for.",
)
@in_project
@as_json
def note_new(*, topic: str, kind: str, project: Path, as_json: bool) -> None:
    """Begin a note of today about a topic, linked to the session that is active here and to the note before.

    It lies in .claude/sessions/YYYY-MM-DD-topic.tmp; one that is there already stays as it is.
    """
    from sessiond.cli import noting  # noqa: PLC0415 - only for this

    noting.new(topic, kind=kind, project=project, as_json=as_json)


@note.command(
    "lint",
    short_help="What keeps the next reader from going on.",
    epilog=example("sessiond note lint", "sessiond note lint .claude/sessions/2026-01-31-cache.tmp"),
)
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@in_project
@as_json
@click.pass_context
def note_lint(context: click.Context, *, file: Path | None, project: Path, as_json: bool) -> None:
    """Check a note, or all of this project: status, dates, reasons, the order of the next steps.

    Of each problem it says where, why, and how to mend it.  Exit code 1 where something is wrong; hints alone
    are none.
    """
    from sessiond.cli import noting  # noqa: PLC0415 - only for this

    context.exit(noting.lint(file, project=project, as_json=as_json))


@note.command(
    "show",
    short_help="A topic's notes as one story, the oldest first.",
    epilog=example("sessiond note show", "sessiond note show 'add a cache'"),
)
@click.argument("topic", required=False, default="")
@in_project
@as_json
def note_show(*, topic: str, project: Path, as_json: bool) -> None:
    """Tell a topic's notes as one story: what worked, what failed, what was decided, and what is open.

    Notes that name each other, or the same issue, as their thread belong to it; so do copies of notes that
    were deleted.  Without a topic it is that of the newest note.
    """
    from sessiond.cli import noting  # noqa: PLC0415 - only for this

    noting.show(topic, project=project, as_json=as_json)


@sessiond.group(epilog=example("sessiond ctl status", "sessiond ctl sync --wait"))
def ctl() -> None:
    """Look at the running daemon, and tell it what to do."""


# --- look


@ctl.command(
    short_help="Whether everything is safe, and where not, why.",
    epilog=example("sessiond ctl status", "sessiond ctl status --json | jq .safe_until"),
)
@as_json
def status(*, as_json: bool) -> None:
    """Whether everything is safe, and where not: since when, why, and what to do."""
    look("status", PLAIN["status"], as_json=as_json)


@ctl.command(epilog=example("sessiond ctl sessions"))
@as_json
def sessions(*, as_json: bool) -> None:
    """The sessions that are watched, newest first."""
    look("sessions", PLAIN["sessions"], as_json=as_json)


@ctl.command(
    epilog=example("sessiond ctl show 3f2a9c1e", "sessiond ctl show structured:checkout-redesign --json")
)
@click.argument("session", metavar="ID")
@as_json
def show(session: str, *, as_json: bool) -> None:
    """All that is known of one session.  ID may be the beginning of an id, or source:id."""
    look("show", tables.show, as_json=as_json, session=session)


@ctl.command(
    short_help="What waits to be sent, and why it has not gone yet.",
    epilog=example("sessiond ctl queue", "sessiond ctl queue --buried"),
)
@click.option("--buried", is_flag=True, help="What GitHub has refused for good.")
@as_json
def queue(*, buried: bool, as_json: bool) -> None:
    """What waits to be sent to GitHub, and why it has not gone yet."""
    look("queue", tables.buried if buried else PLAIN["queue"], as_json=as_json, buried=buried or None)


@ctl.command(
    short_help="Sessions that were changed in two places.",
    epilog=example("sessiond ctl conflicts", "sessiond ctl conflicts --json | jq -r .conflicts[].id"),
)
@as_json
def conflicts(*, as_json: bool) -> None:
    """Sessions that were changed in two places, where nobody has chosen a version yet."""
    look("conflicts", tables.conflicts, as_json=as_json)


@ctl.command(
    short_help="What is wrong, since when, and what to do.",
    epilog=example("sessiond ctl health --watch", "sessiond ctl health --json | jq -r .findings[].code"),
)
@click.option("-w", "--watch", is_flag=True, help="Stay, and show it anew every two seconds.")
@as_json
@click.pass_context
def health(context: click.Context, *, watch: bool, as_json: bool) -> None:
    """What is wrong, since when, what is done about it, and what to do.  Exit code 5 when something is."""
    if watch:
        from sessiond.cli.watching import watch_health  # noqa: PLC0415 - only for this

        watch_health(as_json=as_json)
    answer = client.request(paths(os.environ).socket, "health")
    tell(answer, tables.health, as_json=as_json)
    context.exit(0 if answer["status"] == "ok" else 5)


@ctl.command(epilog=example("sessiond ctl events --limit 5", "sessiond ctl events --follow"))
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now, until interrupted.")
@as_json
def events(*, limit: int, follow: bool, as_json: bool) -> None:
    """What has happened, oldest first."""
    after = 0
    while True:
        answer = client.request(paths(os.environ).socket, "events", {"limit": limit, "after": after or None})
        if not as_json or not follow:
            tell(answer, tables.events, as_json=as_json)
        else:
            for event in answer["events"]:
                click.echo(json.dumps(event))
        if not follow:
            return
        after = max([after, *(event["number"] for event in answer["events"])])
        time.sleep(FOLLOW_S)


@ctl.command(
    short_help="The daemon's log, wherever it lies.",
    epilog=example("sessiond ctl logs -f", "sessiond ctl logs --level warning --lines 200"),
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now, until interrupted.")
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=50, show_default=True)
@click.option(
    "--level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="debug",
    help="Only lines of this level, and worse ones.",
)
@as_json
def logs(*, follow: bool, lines: int, level: str, as_json: bool) -> None:
    """The daemon's log: from the journal under systemd, else from its file.  Needs no running daemon."""
    from sessiond.cli import logs as reading  # noqa: PLC0415 - only for this

    reading.show(lines=lines, level=level, follow=follow, as_json=as_json)


# --- act


@ctl.command(
    short_help="Make a checkpoint of a session as it is now.",
    epilog=example("sessiond ctl checkpoint 3f2a9c1e"),
)
@click.argument("session", metavar="ID")
@as_json
def checkpoint(session: str, *, as_json: bool) -> None:
    """Capture a session as it is now, and make a checkpoint of it."""
    tell(act("checkpoint", timeout_s=CHECKPOINT_S, session=session), tables.checkpointed, as_json=as_json)


@ctl.command(
    "sync",
    short_help="Send now what waits.",
    epilog=example("sessiond ctl sync", "sessiond ctl sync --wait=60", "sessiond ctl sync --full --dry-run"),
)
@click.argument("session", metavar="[ID]", required=False)
@click.option("--full", is_flag=True, help="Also sessions from before sessiond first ran here.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    is_flag=False,
    flag_value=WAIT_S,
    metavar="[=SECONDS]",
    help=f"Wait until all is through, at most so long ({WAIT_S:.0f}).",
)
@click.option("--dry-run", is_flag=True, help=DRY_HELP)
@as_json
@click.pass_context
def ctl_sync(
    context: click.Context,
    session: str | None,
    *,
    full: bool,
    wait_s: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send now what waits, and ask GitHub at once if it was unreachable.

    With --wait: exit code 0 when all is through, 1 when time ran out, 5 when GitHub refused something.
    """
    answer = act(
        "sync",
        timeout_s=(wait_s or 0) + GRACE_S,
        session=session,
        full=full or None,
        wait=wait_s,
        dry_run=dry_run or None,
    )
    tell(answer, tables.to_sync if dry_run else tables.synced, as_json=as_json)
    if wait_s is not None:
        context.exit(5 if answer.get("buried") else 1 if answer.get("left") else 0)


@ctl.command(
    short_help="Try again what GitHub has refused.",
    epilog=example("sessiond ctl retry", "sessiond ctl retry 3f2a9c1e"),
)
@click.argument("session", metavar="[ID]", required=False)
@as_json
def retry(session: str | None, *, as_json: bool) -> None:
    """Try again what GitHub has refused, of one session or of all."""
    tell(act("retry", session=session), tables.retried, as_json=as_json)


@ctl.command(
    epilog=example(
        "sessiond ctl resolve 3f2a9c1e --keep remote --dry-run", "sessiond ctl resolve 3f2a9c1e --keep both"
    )
)
@click.argument("session", metavar="ID")
@click.option(
    "--keep",
    type=click.Choice(["local", "remote", "both", "merge"]),
    required=True,
    help="This machine's version, the other one, a record for each, or one of both.",
)
@click.option("--dry-run", is_flag=True, help=DRY_HELP)
@as_json
def resolve(session: str, *, keep: str, dry_run: bool, as_json: bool) -> None:
    """Choose between two versions of a session.

    Changes the record on GitHub, never the agent's files; the version that is not chosen stays restorable.
    """
    answer = act("resolve", session=session, keep=keep, dry_run=dry_run or None)
    tell(answer, tables.resolved, as_json=as_json)


@ctl.command(short_help="Send nothing more until `resume`.", epilog=example("sessiond ctl pause"))
@as_json
def pause(*, as_json: bool) -> None:
    """Send nothing more until `resume`, also after a restart; the backup on this disk goes on."""
    tell(act("pause"), tables.mode, as_json=as_json)


@ctl.command(epilog=example("sessiond ctl resume"))
@as_json
def resume(*, as_json: bool) -> None:
    """Send again, after `pause`."""
    tell(act("resume"), tables.mode, as_json=as_json)


@ctl.command("local-only", epilog=example("sessiond ctl local-only on", "sessiond ctl local-only off"))
@click.argument("state", type=click.Choice(["on", "off"]))
@click.option("--dry-run", is_flag=True, help=DRY_HELP)
@as_json
def local_only(state: str, *, dry_run: bool, as_json: bool) -> None:
    """Keep everything on this machine, also after a restart."""
    tell(act("local-only", on=state == "on", dry_run=dry_run or None), tables.mode, as_json=as_json)


@ctl.command(
    short_help="Whether the copies are what was stored.",
    epilog=example(
        "sessiond ctl verify",
        "sessiond ctl verify 3f2a9c1e --deep",
        "sessiond ctl verify --sample 1/7",
        "sessiond ctl verify --drill",
    ),
)
@click.argument("session", metavar="[ID]", required=False)
@click.option("--sample", metavar="N/T", help="Also read the N-th of T parts of all bytes.")
@click.option("--deep", is_flag=True, help="Also read every byte, and compute every hash anew.")
@click.option("--drill", is_flag=True, help="Also restore it, or a sample, into a scratch folder.")
@as_json
@click.pass_context
def verify(
    context: click.Context, session: str | None, *, sample: str | None, deep: bool, drill: bool, as_json: bool
) -> None:
    """Whether the copies on this disk are what was stored: their structure, or every byte.

    A drill restores sessions as `sessiond restore` would, into a scratch folder, and proves that their agent
    will load them.  Exit code 1 when something is not right.  What is damaged is repaired by itself as far as
    it can be.
    """
    asked = {"session": session, "sample": sample, "deep": deep or None, "drill": drill or None}
    with progress("Verifying") as told:
        answer = watch("verify", told, timeout_s=VERIFY_S, **asked)
    tell(answer, partial(tables.verify, deep=deep), as_json=as_json)
    context.exit(1 if answer["bad"] else 0)


@ctl.command(
    short_help="Heal a session's copies from each other.", epilog=example("sessiond ctl repair 3f2a9c1e")
)
@click.argument("session", metavar="ID")
@as_json
@click.pass_context
def repair(context: click.Context, session: str, *, as_json: bool) -> None:
    """Heal a session's copies from each other, and from the live file.

    Only bytes that can be proven are put back, and damaged ones are kept aside.  Exit code 1 when something
    cannot be healed, which is listed.
    """
    with progress("Repairing") as told:
        answer = watch("repair", told, timeout_s=VERIFY_S, session=session)
    tell(answer, tables.repair, as_json=as_json)
    context.exit(1 if answer["left"] else 0)


@ctl.command(
    short_help="Make the best of a session that no copy has whole.",
    epilog=example(
        "sessiond ctl reconstruct 3f2a9c1e --dry-run", "sessiond ctl reconstruct 3f2a9c1e --out /tmp/s"
    ),
)
@click.argument("session", metavar="ID")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write it into, new or empty; else one beside the state.",
)
@click.option("--dry-run", is_flag=True, help=DRY_HELP)
@as_json
@click.pass_context
def reconstruct(
    context: click.Context, session: str, *, out: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Make the best of what is left of a session that no copy has whole.

    Of lines whose bytes lie anywhere, of the words in the search index, and of what the record and the state
    tell.  Nothing is written over: it goes into a folder of its own, with a report.json that says of each
    line whether it is exact or inferred, and of each gap where it was.  Exit code 5 when it is not exact.
    """
    answer = act(
        "reconstruct",
        timeout_s=VERIFY_S,
        session=session,
        out=str(out.absolute()) if out is not None else None,
        dry_run=dry_run or None,
    )
    tell(answer, tables.reconstruct, as_json=as_json)
    context.exit(0 if answer["complete"] else 5)


@ctl.command(
    short_help="Remove from the backup what nothing names.",
    epilog=example("sessiond ctl gc --dry-run", "sessiond ctl gc"),
)
@click.option("--dry-run", is_flag=True, help=DRY_HELP)
@as_json
def gc(*, dry_run: bool, as_json: bool) -> None:
    """Remove from the backup what nothing names any longer, such as leftovers of a crash."""
    answer = act("gc", timeout_s=VERIFY_S, dry_run=dry_run or None)
    tell(answer, partial(tables.gc, dry_run=dry_run), as_json=as_json)


@ctl.command(epilog=example("sessiond ctl reload"))
@as_json
def reload(*, as_json: bool) -> None:
    """Read the settings again."""
    tell(act("reload"), tables.reloaded, as_json=as_json)


@ctl.command(epilog=example("sessiond ctl stop"))
@as_json
def stop(*, as_json: bool) -> None:
    """End the daemon, and return when it has ended."""
    answer = client.end(paths(os.environ).socket)
    tell(answer or {"stopped": True}, tables.stopped, as_json=as_json)


def parse(arguments: list[str], *, debug: bool) -> int:
    """Run the command line; the exit code.

    Raises:
        SessiondError: the command failed.
        click.ClickException: the command line makes no sense.
    """
    result = sessiond.main(
        arguments, prog_name="sessiond", complete_var=COMPLETE, standalone_mode=False, obj=debug
    )
    return result if isinstance(result, int) else 0

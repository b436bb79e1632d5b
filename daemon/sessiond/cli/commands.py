"""Every command, as click sees it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sessiond import client
from sessiond.cli import tables
from sessiond.cli.look import PLAIN, Json, act, look, tell
from sessionsync import __version__
from sessionsync.errors import DaemonNotRunning, DaemonSilent
from sessionsync.paths import paths

Function = TypeVar("Function", bound=Callable[..., Any])

# What `ctl sync --wait` waits for without a number, and what an answer may come later than asked for.
WAIT_S = 120.0
GRACE_S = 30.0
# The first checkpoint of a huge session reads all of it.
CHECKPOINT_S = 600.0
FOLLOW_S = 1.0
STOP_S = 20.0
JSON_HELP = "Print the answer as JSON."
DRY_HELP = "Only say what would be done."


def example(*lines: str) -> str:
    """The end of a command's help."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def as_json(function: Function) -> Function:
    """The option --json."""
    return click.option("--json", "as_json", is_flag=True, help=JSON_HELP)(function)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("sessiond run", "sessiond ctl status"),
    subcommand_metavar="COMMAND [ARGUMENTS]...",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks; may stand anywhere.")
def sessiond(*, debug: bool) -> None:
    """Back up AI coding sessions, show them on GitHub, restore them anywhere."""
    del debug  # taken from the command line before it is parsed


@sessiond.command(epilog=example("sessiond run", "SESSIOND_HOME=/tmp/try sessiond run --debug"))
@click.pass_context
def run(context: click.Context) -> None:
    """Run the daemon in the foreground, until it is told to stop."""
    from sessiond import app  # noqa: PLC0415 - heavy, and only for the daemon

    context.exit(app.run(os.environ, debug=bool(context.obj)))


@sessiond.command("list", epilog=example("sessiond list", "sessiond list --project ."))
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Only sessions of the project that this folder is in.",
)
@as_json
def list_sessions(*, project: Path | None, as_json: bool) -> None:
    """Sessions, newest first: what is next in each, and where it can be restored from."""
    folder = None if project is None else project.resolve()
    tell(_sessions(folder), tables.listed, as_json=as_json)


def _sessions(project: Path | None) -> Json:
    """From the daemon, else from what the last one left."""
    where = paths(os.environ)
    try:
        return client.request(where.socket, "sessions", {"project": project and str(project)})
    except DaemonNotRunning:
        if not where.state_db.exists():
            return {"sessions": []}
    from sessionsync import report  # noqa: PLC0415 - heavy, and the daemon knows
    from sessionsync.catalog import Catalog  # noqa: PLC0415
    from sessionsync.store import Store  # noqa: PLC0415

    store = Store(where.state_db)
    try:
        return report.sessions(Catalog(store), time.time(), project)
    finally:
        store.close()


@sessiond.command(
    epilog=example(
        "sessiond sync --once --timeout 300", "sessiond sync --once --textfile /var/lib/node/s.prom"
    )
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

    context.exit(alone.sync_once(os.environ, timeout_s=timeout_s, textfile=textfile, as_json=as_json))


@sessiond.group(epilog=example("sessiond ctl status", "sessiond ctl sync --wait"))
def ctl() -> None:
    """Look at the running daemon, and tell it what to do."""


# --- look


@ctl.command(epilog=example("sessiond ctl status", "sessiond ctl status --json | jq .safe_until"))
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


@ctl.command(epilog=example("sessiond ctl queue", "sessiond ctl queue --buried"))
@click.option("--buried", is_flag=True, help="What GitHub has refused for good.")
@as_json
def queue(*, buried: bool, as_json: bool) -> None:
    """What waits to be sent to GitHub, and why it has not gone yet."""
    look("queue", PLAIN["queue"], as_json=as_json, buried=buried or None)


@ctl.command(epilog=example("sessiond ctl health", "sessiond ctl health --json | jq -r .findings[].code"))
@as_json
@click.pass_context
def health(context: click.Context, *, as_json: bool) -> None:
    """What is wrong, since when, and what to do.  Exit code 5 when something is."""
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


# --- act


@ctl.command(epilog=example("sessiond ctl checkpoint 3f2a9c1e"))
@click.argument("session", metavar="ID")
@as_json
def checkpoint(session: str, *, as_json: bool) -> None:
    """Capture a session as it is now, and make a checkpoint of it."""
    tell(act("checkpoint", timeout_s=CHECKPOINT_S, session=session), tables.done, as_json=as_json)


@ctl.command(
    "sync",
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
    tell(answer, tables.done, as_json=as_json)
    if wait_s is not None:
        context.exit(5 if answer.get("buried") else 1 if answer.get("left") else 0)


@ctl.command(epilog=example("sessiond ctl retry", "sessiond ctl retry 3f2a9c1e"))
@click.argument("session", metavar="[ID]", required=False)
@as_json
def retry(session: str | None, *, as_json: bool) -> None:
    """Try again what GitHub has refused, of one session or of all."""
    tell(act("retry", session=session), tables.done, as_json=as_json)


@ctl.command(epilog=example("sessiond ctl pause"))
@as_json
def pause(*, as_json: bool) -> None:
    """Send nothing more until `resume`, also after a restart; the backup on this disk goes on."""
    tell(act("pause"), tables.done, as_json=as_json)


@ctl.command(epilog=example("sessiond ctl resume"))
@as_json
def resume(*, as_json: bool) -> None:
    """Send again, after `pause`."""
    tell(act("resume"), tables.done, as_json=as_json)


@ctl.command("local-only", epilog=example("sessiond ctl local-only on", "sessiond ctl local-only off"))
@click.argument("state", type=click.Choice(["on", "off"]))
@click.option("--dry-run", is_flag=True, help=DRY_HELP)
@as_json
def local_only(state: str, *, dry_run: bool, as_json: bool) -> None:
    """Keep everything on this machine, also after a restart."""
    tell(act("local-only", on=state == "on", dry_run=dry_run or None), tables.done, as_json=as_json)


@ctl.command(epilog=example("sessiond ctl reload"))
@as_json
def reload(*, as_json: bool) -> None:
    """Read the settings again."""
    tell(act("reload"), tables.done, as_json=as_json)


@ctl.command(epilog=example("sessiond ctl stop"))
@as_json
def stop(*, as_json: bool) -> None:
    """End the daemon, and return when it has ended."""
    socket = paths(os.environ).socket
    answer = act("stop")
    until = time.monotonic() + STOP_S
    while time.monotonic() < until:
        try:
            client.request(socket, "status", timeout_s=max(1.0, until - time.monotonic()))
        except DaemonNotRunning:
            tell(answer or {"stopped": True}, tables.done, as_json=as_json)
            return
        time.sleep(0.1)
    raise DaemonSilent(
        f"sessiond has not ended within {STOP_S:.0f} s.", hint="See what it does: sessiond ctl events"
    )


def parse(arguments: list[str], *, debug: bool) -> int:
    """Run the command line; the exit code.

    Raises:
        SessiondError: the command failed.
        click.ClickException: the command line makes no sense.
    """
    result = sessiond.main(arguments, prog_name="sessiond", standalone_mode=False, obj=debug)
    return result if isinstance(result, int) else 0

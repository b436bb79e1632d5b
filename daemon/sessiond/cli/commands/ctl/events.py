"""`sessiond ctl events`."""

from __future__ import annotations

import json
import time

import click

from sessiond.cli.look import ask, tell
from sessiond.cli.options import as_json, example
from sessiond.cli.terminal import Terminal, clean, clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json

FOLLOW_S = 1.0


@click.command(epilog=example("sessiond ctl events --limit 5", "sessiond ctl events --follow"))
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="How many.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now, until interrupted.")
@as_json
def command(*, limit: int, follow: bool, as_json: bool) -> None:
    """What has happened, oldest first."""
    after = 0
    while True:
        answer = ask("events", limit=limit, after=after or None)
        if not as_json or not follow:
            tell(answer, render, as_json=as_json)
        else:
            for event in answer["events"]:
                click.echo(json.dumps(event))
        if not follow:
            return
        after = max([after, *(event["number"] for event in answer["events"])])
        time.sleep(FOLLOW_S)


def render(answer: Json, now: float, _out: Terminal) -> list[str]:
    """`ctl events`, one a line."""
    lines = []
    for each in answer["events"]:
        known = {"at", "event", "session", "number"}
        fields = " ".join(f"{clean(k)}={_value(v)}" for k, v in each.items() if k not in known)
        words = (clock(each["at"], now), clean(each["event"]), clean(each["session"]), fields)
        lines.append("  ".join(word for word in words if word))
    return lines


def _value(value: object) -> str:
    return ", ".join(map(clean, value)) if isinstance(value, list) else clean(value)

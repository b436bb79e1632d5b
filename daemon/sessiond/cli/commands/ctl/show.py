"""`sessiond ctl show`."""

from __future__ import annotations

import click

from sessiond.cli.look import look
from sessiond.cli.options import as_json, example
from sessiond.cli.sessions import left, title, whereabouts
from sessiond.cli.terminal import SHOWN, Terminal, ago, clean, clock, count, size, table, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json


@click.command(
    epilog=example("sessiond ctl show 3f2a9c1e", "sessiond ctl show structured:checkout-redesign --json")
)
@click.argument("session", metavar="ID")
@as_json
def command(session: str, *, as_json: bool) -> None:
    """All that is known of one session.  ID may be the beginning of an id, or source:id."""
    look("show", render, as_json=as_json, session=session)


def render(answer: Json, now: float, out: Terminal) -> list[str]:
    """`ctl show`."""
    critical = answer["critical_data"]
    lines = [
        out.paint(title(answer), "bold"),
        f"{answer['source']}:{clean(answer['id'])}  {clean(answer['project'])}  {clean(answer['path'])}",
        ", ".join(
            (
                answer["state"],
                f"changed {ago(answer['updated_at'], now)}",
                size(answer["size"]),
                answer["tier"] or "no tier yet",
                count(answer["turns"], "turn"),
            )
        ),
        f"on GitHub: {whereabouts(answer, now)}",
        f"restorable from: {', '.join(answer['copies']) or 'nowhere yet'}",
        f"the agent keeps it: {left(answer) or 'until somebody deletes it'}",
    ]
    if bad := answer.get("bad_lines"):
        lines.append(f"{count(bad, 'line')} of it {'is' if bad == 1 else 'are'} not JSON; copied as they are")
    if quality := answer.get("quality"):
        scores = ", ".join(f"{clean(name)} {value:g}" for name, value in list(quality.items())[:SHOWN])
        lines += wrap(f"quality scores: {scores}", out.width, "    ")
    for heading, words in (
        ("Phase", [critical["current_phase"]] if critical["current_phase"] else []),
        ("Next", critical["next_steps"]),
        ("Decided", critical["decisions"]),
        ("Findings", [f"{found['message']} {found['hint']}" for found in answer["findings"]]),
    ):
        if words:
            lines += ["", out.paint(heading, "bold")]
            for word in words[:SHOWN]:
                lines += wrap(f"  - {clean(word)}", out.width, "    ")
    if answer["checkpoints"]:
        rows = [
            (
                point["id"],
                clock(point["at"], now),
                point["trigger"],
                size(point["size"]),
                "yes" if point["pushed"] else "",
                point["alias"],
            )
            for point in reversed(answer["checkpoints"][-SHOWN:])
        ]
        lines += [
            "",
            *table(("CHECKPOINT", "AT", "TRIGGER", "SIZE", "GITHUB", "ALIAS"), rows, out, right=(3,)),
        ]
    files = [
        (size(each["size"]), each["role"], each["path"] + (" (deleted)" if each["deleted_at"] else ""))
        for each in answer["files"]
    ]
    return [*lines, "", *table(("SIZE", "ROLE", "FILE"), files[: 2 * SHOWN], out, right=(0,)), *_more(files)]


def _more(rows: list[tuple[str, str, str]]) -> list[str]:
    hidden = len(rows) - 2 * SHOWN
    return [f"… and {count(hidden, 'file')} more: --json shows all"] if hidden > 0 else []

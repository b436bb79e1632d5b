"""`sessiond ctl repair`."""

from __future__ import annotations

import click

from sessiond.cli.look import VERIFY_S, tell, watch
from sessiond.cli.options import as_json, example
from sessiond.cli.progress import progress
from sessiond.cli.terminal import Terminal, clean, count, size, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json


@click.command(epilog=example("sessiond ctl repair 3f2a9c1e"))
@click.argument("session", metavar="ID")
@as_json
@click.pass_context
def command(context: click.Context, session: str, *, as_json: bool) -> None:
    """Heal a session's copies from each other, and from the live file.

    Only bytes that can be proven are put back, and damaged ones are kept aside.  Exit code 1 when something
    cannot be healed, which is listed.
    """
    with progress("Repairing") as told:
        answer = watch("repair", told, timeout_s=VERIFY_S, session=session)
    tell(answer, render, as_json=as_json)
    context.exit(1 if answer["left"] else 0)


def render(answer: Json, _now: float, out: Terminal) -> list[str]:
    """`ctl repair`."""
    lines = [f"{size(number)} healed from: {clean(name)}" for name, number in answer["healed_bytes"].items()]
    lines += [f"{count(answer['healed_bits'], 'bit')} of the journal turned back"] * bool(
        answer["healed_bits"]
    )
    lines += [f"damaged bytes are kept in {clean(path)}" for path in answer["kept"]]
    if not answer["left"]:
        return [*lines, "Every copy is what was stored."]
    rows = [(each["where"], each["what"]) for each in answer["left"]]
    return [*lines, "No other copy can heal:", *table(("WHERE", "WHAT"), rows, out)]

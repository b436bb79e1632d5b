"""`sessiond ctl verify`."""

from __future__ import annotations

from functools import partial

import click

from sessiond.cli.look import VERIFY_S, tell, watch
from sessiond.cli.options import as_json, example
from sessiond.cli.progress import progress
from sessiond.cli.terminal import Terminal, clean, count, size, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json


@click.command(
    epilog=example(
        "sessiond ctl verify",
        "sessiond ctl verify 3f2a9c1e --deep",
        "sessiond ctl verify --sample 1/7",
        "sessiond ctl verify --drill",
    )
)
@click.argument("session", metavar="[ID]", required=False)
@click.option("--sample", metavar="N/T", help="Also read the N-th of T parts of all bytes.")
@click.option("--deep", is_flag=True, help="Also read every byte, and compute every hash anew.")
@click.option("--drill", is_flag=True, help="Also restore it, or a sample, into a scratch folder.")
@as_json
@click.pass_context
def command(
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
    tell(answer, partial(render, deep=deep), as_json=as_json)
    context.exit(1 if answer["bad"] else 0)


def render(answer: Json, _now: float, out: Terminal, *, deep: bool = False) -> list[str]:
    """`ctl verify`: what was looked at, and not more than that, and what is not right."""
    looked = f"{count(answer['checked'], 'session')} looked at, {size(answer['bytes'])} read"
    restored = answer.get("restored", [])
    passed = [each for each in restored if each["result"] == "ok"]
    lines = [f"{len(passed)} of {count(len(restored), 'restore')} whole and loadable."]
    if not restored:
        lines = ["There is no checkpoint yet that could be restored."]
    lines += [
        f"{clean(each['session'])} is so in the agent's own file, too: {clean(flaw)}."
        for each in restored
        if each["checkpoint"]
        for flaw in each["flaws"]
    ]
    lines = list(dict.fromkeys(lines)) if "restored" in answer else []
    if not answer["bad"]:
        if deep:
            return [f"{looked}: every copy is what was stored.", *lines]
        return [f"{looked}: nothing is damaged.  --deep reads every byte.", *lines]
    rows = [(each["session"], each["where"], each["what"]) for each in answer["bad"]]
    return [
        f"{looked}: {count(len(rows), 'place')} not as stored.",
        *lines,
        *table(("SESSION", "WHERE", "WHAT"), rows, out),
        "What another copy still has is put back by itself: `sessiond ctl events` tells.",
    ]

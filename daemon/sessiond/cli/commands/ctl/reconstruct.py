"""`sessiond ctl reconstruct`."""

from __future__ import annotations

from pathlib import Path

import click

from sessiond.cli.look import VERIFY_S, act, tell
from sessiond.cli.options import as_json, dry_run, example
from sessiond.cli.terminal import SHOWN, Terminal, clean, size, table, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json


@click.command(
    epilog=example(
        "sessiond ctl reconstruct 3f2a9c1e --dry-run", "sessiond ctl reconstruct 3f2a9c1e --out /tmp/s"
    )
)
@click.argument("session", metavar="ID")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write it into, new or empty; else one beside the state.",
)
@dry_run
@as_json
@click.pass_context
def command(context: click.Context, session: str, *, out: Path | None, dry_run: bool, as_json: bool) -> None:
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
    tell(answer, render, as_json=as_json)
    context.exit(0 if answer["complete"] else 5)


def render(answer: Json, _now: float, out: Terminal) -> list[str]:
    """`ctl reconstruct`: each file, what is missing of it, and where it all lies."""
    rows = [
        (
            each["path"],
            size(each["size"]),
            each["status"],
            f"{each['exact']:,}",
            f"{each['inferred']:,}",
            str(len(each["gaps"])),
        )
        for each in answer["files"]
    ]
    heads = ("FILE", "SIZE", "IS", "EXACT LINES", "INFERRED", "GAPS")
    lines = table(heads, rows, out, right=(1, 3, 4, 5))
    gaps = [(file["path"], gap) for file in answer["files"] for gap in file["gaps"]]
    for path, gap in gaps[:SHOWN]:
        end = gap["offset"] + gap["length"]
        lines.append(f"  - {clean(path)}: bytes {gap['offset']} to {end} are lost, behind {_line(gap)}.")
    lines += [f"  - and {len(gaps) - SHOWN} more gaps: see the report"] * (len(gaps) > SHOWN)
    lines += [f"  - {clean(path)} is lost." for path in answer["missing"][:SHOWN]]
    lines += [f"  - {len(answer['fragments'])} fragments are kept beside."] * bool(answer["fragments"])
    for note in answer["notes"]:
        lines += wrap(f"  - {clean(note)}", out.width, "    ")
    lines += [f"  - The agent may stumble over it: {clean(problem)}." for problem in answer["problems"]]
    if answer["complete"]:
        lines.append("Nothing is missing: `sessiond restore` may do as well.")
    return [*lines, clean(answer["path"])] if answer["path"] else [*lines, "Nothing was written."]


def _line(gap: Json) -> str:
    return f"line {clean(gap['after_uuid'])}" if gap["after_uuid"] else "the beginning"

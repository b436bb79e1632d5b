"""`sessiond doctor`: what was looked at, and what to do."""

from __future__ import annotations

import os
from pathlib import Path

from sessiond import bundle, doctor
from sessiond.cli.look import tell
from sessiond.cli.terminal import Terminal, clean, count, wall, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json

MARKS = {doctor.OK: ("ok", "green"), doctor.WARNING: ("warning", "yellow"), doctor.FAILED: ("failed", "red")}


def examine(file: Path | None, *, as_json: bool) -> int:
    """Look at everything, and write the support archive where one is wanted; the exit code."""
    here = doctor.Here(os.environ, wall())
    checks = doctor.examine(here)
    if file is not None:
        bundle.write(file, here, checks)
    answer: Json = {
        "checks": [
            {"name": each.name, "status": each.status, "message": each.message, "hint": each.hint}
            for each in checks
        ]
    }
    if file is not None:
        answer["bundle"] = str(file)
    tell(answer, render, as_json=as_json)
    return 1 if any(each.status == doctor.FAILED for each in checks) else 0


def render(answer: Json, _now: float, out: Terminal) -> list[str]:
    """A line for each check, and below it what to do; in the end how many are not well."""
    lines = []
    widest = max(len(each["name"]) for each in answer["checks"])
    for each in answer["checks"]:
        mark, colour = MARKS[each["status"]]
        head = f"{mark:7}  {each['name']:{widest}}  "
        text = wrap(clean(each["message"]), None if out.width is None else max(20, out.width - len(head)))
        lines.append(f"{out.paint(f'{mark:7}', colour)}  {each['name']:{widest}}  {text[0]}")
        blanks = " " * len(head)
        hint = wrap(clean(each["hint"]), None if out.width is None else max(20, out.width - len(head) - 2))
        lines += [blanks + line for line in text[1:]]
        lines += [f"{blanks}{'→ ' if not number else '  '}{line}" for number, line in enumerate(hint) if line]
    failed, warned = (
        sum(each["status"] == status for each in answer["checks"])
        for status in (doctor.FAILED, doctor.WARNING)
    )
    words = [f"{failed} failed"] if failed else []
    words += [count(warned, "warning")] if warned else []
    lines += ["", ", ".join(words) + "." if words else "Everything is well."]
    if "bundle" in answer:
        lines.append(f"Written without secrets, session text and titles: {clean(answer['bundle'])}")
    return lines

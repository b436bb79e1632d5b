"""What is wrong, as `ctl health` shows it."""

from __future__ import annotations

from sessiond.cli.terminal import Terminal, ago, clean, clock, count, span, wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sessiond.cli.look import Json


def render(answer: Json, now: float, out: Terminal) -> list[str]:
    """`ctl health`: what is wrong, and what to do."""
    colour = {"ok": "green", "warning": "yellow"}.get(answer["status"], "red")
    at = answer["checked_at"]
    checked = f"checked {ago(at, now)}" if at else "not everything is checked yet since the start"
    lines = [out.paint(answer["status"], "bold", colour) + f", {checked}"]
    for found in answer["findings"]:
        about = f"{found['session']}: " if found["session"] else ""
        lines += [
            "",
            *wrap(clean(f"{found['severity']} {found['code']}: {about}{found['message']}"), out.width, "  "),
        ]
        since = f"since {clock(found['since'], now)}, {ago(found['since'], now)}"
        doing = f"; {found['doing']}" if found.get("doing") else ""
        for text in (clean(found["hint"]), clean(f"{since}{doing}")):
            lines += wrap(f"  {text}", out.width, "  ")
    day = (answer.get("reliability") or {}).get("24h")
    if day is not None:
        mttr, ended = day["mttr_seconds"], count(day["incidents"], "incident")
        took = f", {ended} ended, after {span(mttr)} on average" if mttr is not None else ""
        lines += ["", f"{100 * day['score']:.2f} % reliable over 24 h{took}"]
    return lines
